/* Tokens per second of supervised training steps: the whole model, and a LoRA adapter on all linear
 * maps.
 *
 *     bench_train MODEL_DIR | --config FILE  [--length N] [--batch N] [--rank N] [--steps N]
 *                 [--threads N] [--only full|lora] [--dtype f32|bf16] [--checkpoint]
 *
 * --config makes a model with random weights. A step: `batch` sequences of `length` random tokens,
 * packed in one forward, every token but the first a target; forward, backward, clip, AdamW. The
 * figure is the best of the steps after a first one. of peak: the matrix products and the attention
 * that the step needs (no recomputation counted), as a share of the multiply-adds that the machine
 * does in registers, measured here in the same run. */
#include "base/random.h"
#include "machine.h"
#include "model/transformer.h"
#include "train/optimiser.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *dir, *config, *only, *dtype_name;
    ap_dtype dtype;
    bool checkpoint;
    int length, batch, rank, steps, threads;
};

/* A packed batch of equal sequences; targets are all tokens but each first. */
struct batch {
    int32_t *ids, *start, *row, *target;
    float *logp, *dlogp;
    int n_row, n_seq, n_target;
};

static int fail(const struct ap_error *err)
{
    fprintf(stderr, "bench_train: %s\n", err->text);
    return 1;
}

static int usage(void)
{
    fputs("usage: bench_train MODEL_DIR | --config FILE [--length N] [--batch N] [--rank N]"
          " [--steps N] [--threads N] [--only full|lora] [--dtype f32|bf16] [--checkpoint]\n",
          stderr);
    return 2;
}

static void batch_free(struct batch *b)
{
    ap_free(b->ids), ap_free(b->start), ap_free(b->row);
    ap_free(b->target), ap_free(b->logp), ap_free(b->dlogp);
}

static ap_status batch_make(struct batch *b, const struct settings *s, int n_vocab,
                            struct ap_error *err)
{
    size_t n = (size_t)s->length * (size_t)s->batch;
    struct ap_random random;
    *b = (struct batch){.n_row = s->length * s->batch, .n_seq = s->batch};
    b->ids = ap_calloc(n, sizeof(*b->ids));
    b->start = ap_calloc((size_t)s->batch + 1, sizeof(*b->start));
    b->row = ap_calloc(n, sizeof(*b->row));
    b->target = ap_calloc(n, sizeof(*b->target));
    b->logp = ap_calloc(n, sizeof(*b->logp));
    b->dlogp = ap_calloc(n, sizeof(*b->dlogp));
    if (!b->ids || !b->start || !b->row || !b->target || !b->logp || !b->dlogp)
        return ap_fail(err, AP_MEMORY, "batch of %d tokens: out of memory", b->n_row);
    ap_random_init(&random, &(struct ap_stream){.seed = 1});
    for (int i = 0; i < b->n_row; i++)
        b->ids[i] = (int32_t)ap_random_below(&random, (uint32_t)n_vocab);
    for (int i = 0; i <= s->batch; i++)
        b->start[i] = i * s->length;
    for (int i = 0; i + 1 < b->n_row; i++)
        if ((i + 1) % s->length != 0) {
            b->row[b->n_target] = i;
            b->target[b->n_target++] = b->ids[i + 1];
        }
    for (int i = 0; i < b->n_target; i++)
        b->dlogp[i] = -1.0f / (float)b->n_target;
    return AP_OK;
}

static size_t linear_parameters(const struct ap_weights *w)
{
    const struct ap_config *c = &w->config;
    size_t q = (size_t)c->n_head * c->head_dim, kv = (size_t)c->n_kv_head * c->head_dim;
    size_t layer = (size_t)c->width * (2 * q + 2 * kv + 3 * (size_t)c->n_ffn);
    return (size_t)c->n_layer * layer + (size_t)c->n_vocab * c->width;
}

/* Operations of a step: math.md has none of this; two for a multiply-add. A product costs as much
 * again for its input's gradient and for its weight's, which a frozen weight skips. Attention: half
 * of the square is masked; four products of it backward, the recomputed one not counted. */
static double step_flop(const struct ap_weights *w, const struct ap_adapter *a,
                        const struct batch *b, int length)
{
    const struct ap_config *c = &w->config;
    double product = 2.0 * (double)linear_parameters(w) * b->n_row, adapter = 0;
    double square = 0.5 * b->n_row * length;
    double attention = 4.0 * square * c->n_layer * c->n_head * c->head_dim;
    for (int i = 0; a && i < a->table.n; i++)
        adapter += 2.0 * (double)a->table.rows[i].n * b->n_row;
    return product * (a ? 2 : 3) + adapter * 3 + attention * 3;
}

static ap_status train_step(struct ap_tape *tape, const struct ap_role *role, struct batch *b,
                            struct ap_optimiser *optimiser, int64_t step, struct ap_error *err)
{
    struct ap_rows rows = {.ids = b->ids, .start = b->start, .n_row = b->n_row, .n_seq = b->n_seq};
    struct ap_update update;
    ap_status status = ap_forward(tape, role, &rows, err);
    if (status != AP_OK)
        return status;
    ap_logp_forward(tape, role, b->row, b->target, b->n_target, 1, b->logp, NULL);
    ap_logp_backward(tape, role, b->row, b->target, b->n_target, 1, b->dlogp, NULL);
    ap_backward(tape, role);
    ap_optimiser_step(optimiser, step, &update);
    if (update.skipped)
        return ap_fail(err, AP_NUMERIC, "%s: its gradient is not finite", update.bad);
    return AP_OK;
}

static ap_status measure(const struct ap_role *role, const struct settings *s, struct batch *b,
                         double peak, struct ap_error *err)
{
    static const struct ap_optimiser_settings settings = {
        .lr = 1e-5, .schedule = "constant", .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 1};
    struct ap_param_table *table = role->adapter ? &role->adapter->table : &role->weights->table;
    struct ap_optimiser *optimiser = NULL;
    struct ap_tape *tape = NULL;
    double best = 1e30;
    ap_status status = AP_OK;
    AP_TRY(role->adapter ? ap_adapter_set_trainable(role->adapter, err)
                         : ap_weights_set_trainable(role->weights, err));
    AP_TRY(
        ap_optimiser_open(&optimiser, role->weights->ops, &table, 1, &settings, s->steps + 1, err));
    AP_TRY(ap_tape_open(&tape, &role->weights->config, b->n_row, role->adapter ? s->rank : 0,
                        s->checkpoint ? AP_TAPE_CHECKPOINT : AP_TAPE_BACKWARD, err));
    for (int i = 0; i <= s->steps; i++) {
        double begin = ap_clock_seconds();
        AP_TRY(train_step(tape, role, b, optimiser, i, err));
        double seconds = ap_clock_seconds() - begin;
        best = i > 0 && seconds < best ? seconds : best;
    }
    double flop = step_flop(role->weights, role->adapter, b, s->length);
    printf("train %-4s  %9.1f tokens/s   %9.1f ms a step   %7.1f GFLOP/s   %3.0f%% of peak\n",
           role->adapter ? "lora" : "full", b->n_row / best, 1e3 * best, flop / best * 1e-9,
           100 * flop / best / peak);
    fflush(stdout);
out:
    ap_tape_close(tape);
    ap_optimiser_close(optimiser);
    return status;
}

/* The adapter first: once trainable, the weights would train along with it. */
static ap_status measure_both(struct ap_weights *w, const struct settings *s, double peak,
                              struct ap_error *err)
{
    struct ap_adapter_settings settings = {
        .rank = s->rank, .alpha = 2.0 * s->rank, .targets = "all-linear"};
    struct ap_adapter *adapter = NULL;
    struct batch b = {0};
    ap_status status = AP_OK;
    bool lora = !s->only || strcmp(s->only, "lora") == 0;
    bool full = !s->only || strcmp(s->only, "full") == 0;
    AP_TRY(batch_make(&b, s, w->config.n_vocab, err));
    if (lora) {
        AP_TRY(ap_adapter_new(&adapter, w, &settings, false, 1, err));
        AP_TRY(measure(&(struct ap_role){w, adapter}, s, &b, peak, err));
    }
    if (full)
        AP_TRY(measure(&(struct ap_role){w, NULL}, s, &b, peak, err));
out:
    ap_adapter_free(adapter);
    batch_free(&b);
    return status;
}

static int parse(struct settings *s, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},  {"length", required_argument, NULL, 'l'},
        {"batch", required_argument, NULL, 'b'},   {"rank", required_argument, NULL, 'r'},
        {"steps", required_argument, NULL, 's'},   {"only", required_argument, NULL, 'o'},
        {"threads", required_argument, NULL, 't'}, {"dtype", required_argument, NULL, 'd'},
        {"checkpoint", no_argument, NULL, 'k'},    {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'c')
            s->config = optarg;
        else if (c == 'k')
            s->checkpoint = true;
        else if (c == 'd')
            s->dtype_name = optarg;
        else if (c == 'o')
            s->only = optarg;
        else if (c == 'l')
            s->length = atoi(optarg);
        else if (c == 'b')
            s->batch = atoi(optarg);
        else if (c == 'r')
            s->rank = atoi(optarg);
        else if (c == 's')
            s->steps = atoi(optarg);
        else if (c == 't')
            s->threads = atoi(optarg);
        else
            return -1;
    }
    if (optind < argc)
        s->dir = argv[optind++];
    bool in_range = s->length > 1 && s->length <= 1 << 16 && s->batch > 0 && s->batch <= 1 << 12 &&
                    s->rank > 0 && s->rank <= 1 << 10 && s->steps > 0;
    return optind == argc && !s->dir != !s->config && in_range ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct settings s = {.length = 128, .batch = 8, .rank = 16, .steps = 3};
    struct ap_error err = {0};
    struct ap_weights *w = NULL;
    struct ap_config config;
    ap_status status;
    if (parse(&s, argc, argv) != 0 || ap_weights_dtype(&s.dtype, s.dtype_name, &err) != AP_OK)
        return usage();
    int n_thread = ap_threads_set(s.threads);
    if (s.dir) {
        status = ap_weights_load(&w, s.dir, 0, s.dtype, &err);
    } else {
        status = ap_config_read_file(&config, s.config, &err);
        if (status == AP_OK)
            status = ap_weights_random(&w, &config, 0, s.dtype, 1, &err);
    }
    if (status != AP_OK)
        return fail(&err);
    double peak = machine_fma_peak(), bandwidth = machine_bandwidth();
    printf("%s: %s, %d threads, %d sequences of %d tokens; the machine: %.1f GFLOP/s of f32"
           " multiply-adds, %.1f GB/s\n",
           s.dir ? s.dir : s.config, w->ops->name, n_thread, s.batch, s.length, peak * 1e-9,
           bandwidth * 1e-9);
    status = measure_both(w, &s, peak, &err);
    ap_weights_free(w);
    return status == AP_OK ? 0 : fail(&err);
}
