/* Tokens per second of decoding and of prefill, at several batch sizes.
 *
 *     bench_generate MODEL_DIR | --config FILE  [--batch 1,8,32] [--prompt N] [--new N]
 *                    [--rounds N] [--threads N] [--temperature T]
 *                    [--dtype f32|bf16]
 *
 * --config makes a model with random weights. Each figure is the best of the rounds. Prefill: B
 * prompts of N tokens, one token drawn. Decode: the tokens after the first, which came with the
 * prompt. peak: the share of the machine's multiply-adds that prefill's products make. weights: the
 * share of a decoding step that one pass over the weights would take at the machine's bandwidth.
 * Both limits are measured in the same run. */
#include "gen/generator.h"
#include "machine.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES_MAX = 16 };

struct settings {
    const char *dir, *config, *dtype_name;
    ap_dtype dtype;
    int batch[BATCHES_MAX], n_batch;
    int prompt, n_new, rounds, threads;
    double temperature;
};

static int fail(const struct ap_error *err)
{
    fprintf(stderr, "bench_generate: %s\n", err->text);
    return 1;
}

static int usage(void)
{
    fputs("usage: bench_generate MODEL_DIR | --config FILE [--batch 1,8,32] [--prompt N] [--new N]"
          " [--rounds N] [--threads N] [--temperature T] [--dtype f32|bf16]\n",
          stderr);
    return 2;
}

static ap_status ignore(void *context, int request, int sample, const struct ap_generated *g)
{
    (void)context, (void)request, (void)sample, (void)g;
    return AP_OK;
}

/* Seconds of one batch: every sequence with a prompt of its own. */
static ap_status time_batch(struct ap_generator *g, const struct ap_role *role,
                            const struct settings *s, int batch, int n_new, double *seconds,
                            struct ap_error *err)
{
    struct ap_sampling sampling = {.temperature = s->temperature, .top_p = 1};
    struct ap_gen_request *requests = ap_calloc((size_t)batch, sizeof(*requests));
    int32_t *prompts = ap_calloc((size_t)batch * (size_t)s->prompt, sizeof(*prompts));
    struct ap_random random;
    ap_random_init(&random, &(struct ap_stream){.seed = 1});
    for (int i = 0; i < batch * s->prompt; i++)
        prompts[i] = (int32_t)ap_random_below(&random, (uint32_t)role->weights->config.n_vocab);
    for (int i = 0; i < batch; i++)
        requests[i] = (struct ap_gen_request){.prompt = prompts + i * s->prompt,
                                              .n_prompt = s->prompt,
                                              .n_samples = 1,
                                              .max_new_tokens = n_new,
                                              .stream = {.record = (uint64_t)i}};
    double begin = ap_clock_seconds();
    ap_status status = ap_generate(g, role, &sampling, requests, batch, ignore, NULL, err);
    *seconds = ap_clock_seconds() - begin;
    ap_free(requests);
    ap_free(prompts);
    return status;
}

static ap_status best_of(struct ap_generator *g, const struct ap_role *role,
                         const struct settings *s, int batch, int n_new, double *best,
                         struct ap_error *err)
{
    double seconds;
    *best = 1e30;
    for (int i = 0; i < s->rounds; i++) {
        ap_status status = time_batch(g, role, s, batch, n_new, &seconds, err);
        if (status != AP_OK)
            return status;
        *best = seconds < *best ? seconds : *best;
    }
    return AP_OK;
}

static size_t count_parameters(const struct ap_weights *w)
{
    size_t n = 0;
    for (int i = 0; i < w->table.n; i++)
        n += w->table.rows[i].n;
    return n;
}

/* Parameters that a decode step reads whole: all but an embedding that is only looked up. */
static size_t count_read(const struct ap_weights *w)
{
    return count_parameters(w) - (w->head >= 0 ? w->table.rows[w->embed].n : 0);
}

struct limits {
    double bandwidth; /* bytes per second */
    double fma;       /* operations per second */
};

static ap_status measure(const struct ap_weights *w, const struct settings *s, int batch,
                         const struct limits *limits, struct ap_error *err)
{
    struct ap_role role = {(struct ap_weights *)w, NULL};
    struct ap_generator *g;
    double prefill, whole;
    struct ap_generator_options options = {.n_slot = batch, .context = s->prompt + s->n_new};
    ap_status status = ap_generator_open(&g, &w->config, &options, err);
    if (status != AP_OK)
        return status;
    status = best_of(g, &role, s, batch, 1, &prefill, err);
    if (status == AP_OK)
        status = best_of(g, &role, s, batch, s->n_new, &whole, err);
    ap_generator_close(g);
    if (status != AP_OK)
        return status;
    double step = (whole - prefill) / (s->n_new - 1);
    if (step <= 0) {
        printf("batch %3d   the machine is too busy to tell decode from prefill; --rounds, --new\n",
               batch);
        return AP_OK;
    }
    double rate = batch * s->prompt / prefill, n_read = (double)count_read(w);
    printf(
        "batch %3d   prefill %9.0f tokens/s (%3.0f%% of peak)   decode %9.1f tokens/s   %8.3f ms a "
        "step (weights %3.0f%%)\n",
        batch, rate, 100 * 2 * n_read * rate / limits->fma, batch / step, 1e3 * step,
        100 * n_read * (double)ap_dtype_size(s->dtype) / limits->bandwidth / step);
    fflush(stdout);
    return AP_OK;
}

static int parse_batches(struct settings *s, char *text)
{
    s->n_batch = 0;
    for (char *part = strtok(text, ","); part; part = strtok(NULL, ",")) {
        int n = atoi(part);
        if (n < 1 || s->n_batch == BATCHES_MAX)
            return -1;
        s->batch[s->n_batch++] = n;
    }
    return s->n_batch > 0 ? 0 : -1;
}

static int parse(struct settings *s, int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"batch", required_argument, NULL, 'b'},
                                            {"prompt", required_argument, NULL, 'p'},
                                            {"new", required_argument, NULL, 'n'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"temperature", required_argument, NULL, 'T'},
                                            {"dtype", required_argument, NULL, 'd'},
                                            {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'c')
            s->config = optarg;
        else if (c == 'b' && parse_batches(s, optarg) == 0)
            continue;
        else if (c == 'p')
            s->prompt = atoi(optarg);
        else if (c == 'n')
            s->n_new = atoi(optarg);
        else if (c == 'r')
            s->rounds = atoi(optarg);
        else if (c == 't')
            s->threads = atoi(optarg);
        else if (c == 'T')
            s->temperature = atof(optarg);
        else if (c == 'd')
            s->dtype_name = optarg;
        else
            return -1;
    }
    if (optind < argc)
        s->dir = argv[optind++];
    bool one_model = !s->dir != !s->config;
    return optind == argc && one_model && s->prompt > 0 && s->n_new > 1 && s->rounds > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct settings s = {.batch = {1, 8, 32},
                         .n_batch = 3,
                         .prompt = 128,
                         .n_new = 64,
                         .rounds = 3,
                         .temperature = 1};
    struct ap_error err = {0};
    struct ap_weights *w = NULL;
    struct ap_config config;
    if (parse(&s, argc, argv) != 0 || ap_weights_dtype(&s.dtype, s.dtype_name, &err) != AP_OK)
        return usage();
    int n_thread = ap_threads_set(s.threads);
    ap_status status;
    if (s.dir) {
        status = ap_weights_load(&w, s.dir, 0, s.dtype, &err);
    } else {
        status = ap_config_read_file(&config, s.config, &err);
        if (status == AP_OK)
            status = ap_weights_random(&w, &config, 0, s.dtype, 1, &err);
    }
    if (status != AP_OK)
        return fail(&err);
    struct limits limits = {machine_bandwidth(), machine_fma_peak()};
    printf("%s: %.1f M parameters, %s, %s, %d threads, memory %.1f GB/s, peak %.0f GFLOP/s, "
           "prompts of %d "
           "tokens, %d new\n",
           s.dir ? s.dir : s.config, (double)count_parameters(w) / 1e6,
           s.dtype == AP_BF16 ? "bf16" : "f32", w->ops->name, n_thread, limits.bandwidth / 1e9,
           limits.fma / 1e9, s.prompt, s.n_new);
    for (int i = 0; i < s.n_batch && status == AP_OK; i++)
        status = measure(w, &s, s.batch[i], &limits, &err);
    ap_weights_free(w);
    return status == AP_OK ? 0 : fail(&err);
}
