/* A tiny random language model with the demo's tokenizer, prompts and a stage that keeps what it
 * was told, for the tests of what trains models. Nothing is read but examples/demo. */
#ifndef AP_TESTS_ALIGN_TINY_LM_H
#define AP_TESTS_ALIGN_TINY_LM_H

#include "align/learner.h"
#include "align/prompts.h"
#include "align/stage.h"
#include "base/memory.h"
#include "check.h"

enum { TINY_CONTEXT = 160, TINY_PROMPTS = 6 };

static const struct ap_config tiny_lm_config = {
    .n_vocab = 600,
    .width = 32,
    .n_layer = 2,
    .n_head = 4,
    .n_kv_head = 2,
    .head_dim = 8,
    .n_ffn = 48,
    .max_position = TINY_CONTEXT,
    .rms_eps = 1e-5f,
    .tied = true,
    .rope = AP_ROPE_DEFAULT,
    .rope_theta = 10000,
    .initializer_range = 0.25, /* far from uniform, far from certain */
    .bos = 0,
    .pad = -1,
    .eos = {1},
    .n_eos = 1,
};

static inline struct ap_lm *tiny_lm_new(uint64_t seed)
{
    struct ap_error err;
    struct ap_weights *weights;
    struct ap_lm *lm;
    struct ap_template_options options = {.name = "plain"};
    ap_threads_set(1);
    check_ok(ap_weights_random(&weights, &tiny_lm_config, 0, AP_F32, seed, &err), err);
    check_ok(ap_lm_open(&lm, "tiny", weights, AP_SOURCE_DIR "/examples/demo", &options, 0, &err),
             err);
    return lm;
}

static const struct ap_adapter_settings tiny_lora = {
    .rank = 4, .alpha = 8, .targets = (char *)"all-linear"};

/* A fresh adapter; filled: B is not zero, as if it had learned something. */
static inline struct ap_adapter *tiny_adapter(const struct ap_lm *lm, bool with_head, bool filled,
                                              uint64_t seed)
{
    struct ap_error err;
    struct ap_adapter *a;
    struct ap_random random;
    check_ok(ap_adapter_new(&a, lm->weights, &tiny_lora, with_head, seed, &err), err);
    ap_random_init(&random, &(struct ap_stream){.seed = seed, .stage = 7});
    for (int i = 0; filled && i < a->table.n; i++)
        for (size_t k = 0; k < a->table.rows[i].n; k++)
            a->table.rows[i].own[k] += (float)(0.05 * ap_random_normal(&random));
    ap_params_repack(a->ops, &a->table);
    return a;
}

/* -- prompts -- */

struct tiny_prompts {
    struct ap_example examples[TINY_PROMPTS];
    struct ap_dataset data;
    struct ap_prompts prompts;
};

static inline void tiny_prompts_open(struct tiny_prompts *p, const struct ap_lm *lm)
{
    static const char *const x[TINY_PROMPTS] = {"Tell me about the otter.",
                                                "fox food",
                                                "What does the bear eat at night?",
                                                "duck",
                                                "the wolf, home pls",
                                                "A long prompt about a goat and a lion."};
    struct ap_error err;
    int32_t index[TINY_PROMPTS];
    *p = (struct tiny_prompts){.data = {.n = TINY_PROMPTS, .cap = TINY_PROMPTS}};
    for (int i = 0; i < TINY_PROMPTS; i++) {
        p->examples[i] = (struct ap_example){.record = 100 + (uint64_t)i, .prompt = (char *)x[i]};
        index[i] = i;
    }
    p->data.examples = p->examples;
    check_ok(ap_prompts_make(&p->prompts, &p->data, index, TINY_PROMPTS, lm, "{prompt}", 96,
                             AP_TOO_LONG_ERROR, 0, &err),
             err);
    assert_int_equal(p->prompts.n, TINY_PROMPTS);
}

/* -- copies of trained values -- */

static inline size_t tiny_table_size(const struct ap_param_table *t)
{
    size_t n = 0;
    for (int i = 0; i < t->n; i++)
        n += t->rows[i].n;
    return n;
}

/* All values one after another; the caller frees. */
static inline float *tiny_values(const struct ap_param_table *t)
{
    float *out = ap_calloc(tiny_table_size(t), sizeof(*out)), *at = out;
    assert_non_null(out);
    for (int i = 0; i < t->n; at += t->rows[i++].n)
        memcpy(at, t->rows[i].data, t->rows[i].n * sizeof(*at));
    return out;
}

static inline void tiny_same_tables(const struct ap_param_table *a, const struct ap_param_table *b)
{
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        assert_string_equal(a->rows[i].name, b->rows[i].name);
        assert_int_equal(a->rows[i].n, b->rows[i].n);
        assert_memory_equal(a->rows[i].data, b->rows[i].data, a->rows[i].n * sizeof(float));
    }
}

/* Largest |gradient| of a table; 0 where it has none. */
static inline double tiny_largest_grad(const struct ap_param_table *t)
{
    double largest = 0;
    for (int i = 0; i < t->n; i++)
        for (size_t k = 0; t->rows[i].grad && k < t->rows[i].n; k++)
            if (!(fabs((double)t->rows[i].grad[k]) <= largest))
                largest = fabs((double)t->rows[i].grad[k]);
    return largest;
}

/* -- log-probabilities without the code under test -- */

/* Sum over the marked tokens of one sequence; *n counts them. */
static inline double tiny_logp_sum(const struct ap_role *role, const int32_t *ids,
                                   const uint8_t *trained, int n_ids, int *n)
{
    struct ap_error err;
    struct ap_tape *tape;
    struct ap_rows rows = {ids, (int32_t[]){0, n_ids}, n_ids, 1, NULL, NULL};
    int rank = role->adapter ? role->adapter->rank : 0;
    double sum = 0;
    check_ok(ap_tape_open(&tape, &role->weights->config, n_ids, rank, AP_TAPE_FORWARD, &err), err);
    check_ok(ap_forward(tape, role, &rows, &err), err);
    for (int32_t t = 1; t < n_ids; t++)
        if (trained[t]) {
            float logp;
            ap_logp_forward(tape, role, &(int32_t){t - 1}, &ids[t], 1, 1, &logp, NULL);
            sum += (double)logp;
            ++*n;
        }
    ap_tape_close(tape);
    return sum;
}

/* -- a stage that writes down its events -- */

enum { TINY_STEPS = 64 };

struct tiny_stage {
    struct ap_stage stage;
    struct ap_run_dir dir;
    struct ap_sink sink;
    volatile sig_atomic_t stop;
    int64_t stop_at; /* ask for a stop after this many steps; 0: never */
    int n_step, n_warn;
    double loss[TINY_STEPS]; /* of step s */
    char warning[1024];
};

static inline void tiny_event(void *context, const struct ap_event *e)
{
    struct tiny_stage *s = context;
    if (e->kind == AP_EVENT_WARN) {
        s->n_warn++;
        snprintf(s->warning, sizeof(s->warning), "%s", e->text);
    }
    if (e->kind != AP_EVENT_STEP)
        return;
    assert_in_range(e->step, 1, TINY_STEPS);
    s->loss[e->step - 1] = e->loss;
    s->n_step++;
    if (e->step == s->stop_at)
        s->stop = 1;
}

/* folder: where checkpoints go; NULL: nowhere. */
static inline void tiny_stage_init(struct tiny_stage *s, const char *name, const char *folder)
{
    *s = (struct tiny_stage){.dir = {.path = (char *)folder, .lock = {.fd = -1}}};
    s->sink = (struct ap_sink){tiny_event, s, &s->stop};
    s->stage = (struct ap_stage){.name = name,
                                 .seed = 5,
                                 .dir = folder ? &s->dir : NULL,
                                 .sink = &s->sink,
                                 .max_bad_steps = 2};
}

static inline int tiny_folder_make(void **state)
{
    char path[] = "/tmp/alignpro-test-XXXXXX";
    *state = mkdtemp(path) ? ap_strdup(path) : NULL;
    return *state ? 0 : -1;
}

static inline int tiny_folder_remove(void **state)
{
    ap_status status = ap_dir_remove(*state, NULL);
    ap_free(*state);
    return status == AP_OK ? 0 : -1;
}

#endif
