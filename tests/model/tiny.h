/* Small random models with every option on, for tests that need no reference. */
#ifndef AP_TESTS_MODEL_TINY_H
#define AP_TESTS_MODEL_TINY_H

#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "model/transformer.h"

static inline struct ap_config tiny_config(void)
{
    return (struct ap_config){.n_vocab = 41,
                              .width = 16,
                              .n_layer = 2,
                              .n_head = 4,
                              .n_kv_head = 2,
                              .head_dim = 6,
                              .n_ffn = 24,
                              .max_position = 64,
                              .rms_eps = 1e-5f,
                              .qkv_bias = true,
                              .o_bias = true,
                              .mlp_bias = true,
                              .rope_theta = 10000,
                              .initializer_range = 0.3,
                              .bos = 1,
                              .pad = -1,
                              .eos = {2},
                              .n_eos = 1};
}

/* The same with fused weights, a window in the second layer, and two of a head's three pairs turned
 * by longrope's long factors. */
static inline struct ap_config tiny_phi3_config(void)
{
    struct ap_config c = tiny_config();
    c.family = AP_PHI3;
    c.fused = true;
    c.qkv_bias = c.o_bias = c.mlp_bias = false;
    c.window = 5;
    c.sliding[0] = 2;
    c.rope_partial = 0.7;
    c.rope = AP_ROPE_LONGROPE;
    c.rope_original = 32;
    c.rope_short[0] = c.rope_short[1] = 1;
    c.rope_long[0] = 1.5f;
    c.rope_long[1] = 3;
    return c;
}

static inline struct ap_random tiny_stream(uint64_t seed)
{
    struct ap_random r;
    ap_random_init(&r, &(struct ap_stream){.seed = seed});
    return r;
}

/* Every value of the table away from zeros and ones, so that nothing hides. */
static inline void tiny_stir(const struct ap_ops *ops, struct ap_param_table *t, uint64_t seed,
                             double size)
{
    struct ap_random r = tiny_stream(seed);
    for (int i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->rows[i].n; k++)
            t->rows[i].own[k] += (float)(size * ap_random_normal(&r));
    ap_params_repack(ops, t);
}

static ap_dtype tiny_dtype = AP_F32; /* of the products of models made from here on */

static inline struct ap_weights *tiny_weights(const struct ap_config *c)
{
    struct ap_error err;
    struct ap_weights *w;
    check_ok(ap_weights_random(&w, c, c->max_position, tiny_dtype, 7, &err), err);
    tiny_stir(w->ops, &w->table, 3, 0.1);
    return w;
}

/* Adapted everywhere; B = 0 unless stirred. */
static inline struct ap_adapter *tiny_adapter(const struct ap_weights *w, bool head, bool stirred)
{
    struct ap_error err;
    struct ap_adapter *a;
    struct ap_adapter_settings s = {
        .rank = 3, .alpha = 5, .targets = (char[]){"all-linear"}, .rslora = true};
    check_ok(ap_adapter_new(&a, w, &s, head, 5, &err), err);
    if (stirred)
        tiny_stir(a->ops, &a->table, 11, 0.2);
    return a;
}

/* n_seq sequences of different lengths, at most 128 rows. */
struct tiny_rows {
    int32_t ids[128], start[16];
    struct ap_rows rows;
};

static inline void tiny_fill(struct tiny_rows *t, const struct ap_config *c, int n_seq,
                             uint64_t seed)
{
    struct ap_random r = tiny_stream(seed);
    int n = 0;
    for (int s = 0; s < n_seq; s++) {
        t->start[s] = n;
        for (int end = n + 3 + 5 * s; n < end; n++)
            t->ids[n] = (int32_t)ap_random_below(&r, (uint32_t)c->n_vocab);
    }
    t->start[n_seq] = n;
    t->rows = (struct ap_rows){t->ids, t->start, n, n_seq, NULL, NULL};
}

#endif
