/* A tiny random model for the tests of gen: no file is read. */
#ifndef AP_TESTS_GEN_TINY_H
#define AP_TESTS_GEN_TINY_H

#include "check.h"

#include "base/memory.h"
#include "gen/generator.h"

static const struct ap_config tiny_config = {
    .n_vocab = 300,
    .width = 32,
    .n_layer = 2,
    .n_head = 4,
    .n_kv_head = 2,
    .head_dim = 8,
    .n_ffn = 48,
    .max_position = 640,
    .rms_eps = 1e-5f,
    .rope = AP_ROPE_DEFAULT,
    .rope_theta = 10000,
    .initializer_range = 0.35, /* far from uniform, far from certain */
    .bos = 1,
    .pad = -1,
    .eos = {2},
    .n_eos = 1,
};

static inline struct ap_weights *tiny_weights(uint64_t seed)
{
    struct ap_weights *w;
    struct ap_error err;
    check_ok(ap_weights_random(&w, &tiny_config, 0, AP_F32, seed, &err), err);
    return w;
}

static inline struct ap_generator *tiny_generator(const struct ap_generator_options *options)
{
    struct ap_generator *g;
    struct ap_error err;
    check_ok(ap_generator_open(&g, &tiny_config, options, &err), err);
    return g;
}

/* Prompts of 1 to `longest` ids, drawn from a seed. */
static inline void tiny_prompt(int32_t *ids, int *n, int longest, uint64_t record)
{
    struct ap_random r;
    ap_random_init(&r, &(struct ap_stream){.seed = 99, .record = record});
    *n = 1 + (int)ap_random_below(&r, (uint32_t)longest);
    for (int i = 0; i < *n; i++)
        ids[i] = (int32_t)ap_random_below(&r, (uint32_t)tiny_config.n_vocab);
}

/* What a call of ap_generate delivered, one cell a (request, sample). */
struct tiny_cell {
    int n, n_calls;
    ap_stop stop;
    size_t n_text;
    int32_t *ids;
    float *logp;
};

struct tiny_result {
    int n_requests, n_samples, room;
    struct tiny_cell *cells;
    int32_t *ids;
    float *logp;
    int order[4096], n_order; /* cells as they came */
};

static inline struct tiny_result *tiny_result_new(int n_requests, int n_samples, int room)
{
    struct tiny_result *r = ap_calloc(1, sizeof(*r));
    size_t n = (size_t)n_requests * (size_t)n_samples;
    r->n_requests = n_requests;
    r->n_samples = n_samples;
    r->room = room;
    r->cells = ap_calloc(n, sizeof(*r->cells));
    r->ids = ap_calloc(n * (size_t)room, sizeof(*r->ids));
    r->logp = ap_calloc(n * (size_t)room, sizeof(*r->logp));
    for (size_t i = 0; i < n; i++) {
        r->cells[i].ids = r->ids + i * (size_t)room;
        r->cells[i].logp = r->logp + i * (size_t)room;
    }
    return r;
}

static inline void tiny_result_free(struct tiny_result *r)
{
    ap_free(r->cells);
    ap_free(r->ids);
    ap_free(r->logp);
    ap_free(r);
}

static inline ap_status tiny_take(void *context, int request, int sample,
                                  const struct ap_generated *g)
{
    struct tiny_result *r = context;
    struct tiny_cell *cell = &r->cells[request * r->n_samples + sample];
    assert_in_range(request, 0, r->n_requests - 1);
    assert_in_range(sample, 0, r->n_samples - 1);
    assert_in_range(g->n, 1, r->room);
    cell->n = g->n;
    cell->n_calls++;
    cell->stop = g->stop;
    cell->n_text = g->n_text;
    memcpy(cell->ids, g->ids, (size_t)g->n * sizeof(*g->ids));
    memcpy(cell->logp, g->logp, (size_t)g->n * sizeof(*g->logp));
    if (r->n_order < 4096)
        r->order[r->n_order++] = request * r->n_samples + sample;
    return AP_OK;
}

static inline void tiny_same_cell(const struct tiny_cell *a, const struct tiny_cell *b)
{
    assert_int_equal(a->n_calls, 1);
    assert_int_equal(b->n_calls, 1);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->stop, b->stop);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof(*a->ids));
    assert_memory_equal(a->logp, b->logp, (size_t)a->n * sizeof(*a->logp));
}

/* Log-probabilities of `ids` after `prompt` by the training forward; n of them. */
static inline void tiny_forward_logp(const struct ap_role *role, const int32_t *prompt,
                                     int n_prompt, const int32_t *ids, int n, double temperature,
                                     float *logp)
{
    struct ap_error err;
    struct ap_tape *tape;
    int n_all = n_prompt + n, rank = role->adapter ? role->adapter->rank : 0;
    int32_t *all = ap_calloc((size_t)n_all, sizeof(*all));
    int32_t *row = ap_calloc((size_t)n, sizeof(*row));
    memcpy(all, prompt, (size_t)n_prompt * sizeof(*all));
    memcpy(all + n_prompt, ids, (size_t)n * sizeof(*all));
    for (int i = 0; i < n; i++)
        row[i] = n_prompt - 1 + i;
    check_ok(ap_tape_open(&tape, &role->weights->config, n_all, rank, AP_TAPE_FORWARD, &err), err);
    struct ap_rows rows = {all, (int32_t[]){0, n_all}, n_all, 1, NULL, NULL};
    check_ok(ap_forward(tape, role, &rows, &err), err);
    ap_logp_forward(tape, role, row, ids, n, temperature, logp, NULL);
    ap_tape_close(tape);
    ap_free(all);
    ap_free(row);
}

#endif
