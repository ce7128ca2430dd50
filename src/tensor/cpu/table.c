/* The CPU's tables of operations, and the choice among them: the widest vectors that the processor
 * has, and who does the products. Entry point: ap_ops_cpu of tensor/ops.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/onednn.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* From this many weights on, on AVX-512, oneDNN's forward product is the faster:
 * docs/decisions/0001-products.md. By the weight's size only, so that a row has the same bits
 * however many others come with it. */
#define ONEDNN_WEIGHTS ((size_t)512 * 512)

static struct ap_packed *onednn_pack_new(int n_out, int n_in)
{
    struct ap_packed *p = ap_calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    *p = (struct ap_packed){.n_out = n_out, .n_in = n_in, .onednn = ap_onednn_new(n_out, n_in)};
    if (!p->onednn) {
        ap_free(p);
        return NULL;
    }
    return p;
}

static void pack(struct ap_packed *p, const float *w)
{
    if (p->onednn)
        ap_onednn_pack(p->onednn, w);
    else
        ap_gemm_pack(p, w);
}

static void pack_free(struct ap_packed *p)
{
    if (!p)
        return;
    ap_onednn_free(p->onednn);
    ap_free(p->panels);
    ap_free(p);
}

static void linear(float *y, const float *x, const struct ap_packed *w, int n_row, bool accumulate)
{
    if (w->onednn)
        ap_onednn_linear(y, x, w->onednn, n_row, accumulate);
    else
        ap_gemm_linear(y, x, w, n_row, accumulate);
}

/* dx[M, K] (+)= dy[M, N] w[N, K] */
static void dx_with(const struct ap_tiles *t, float *dx, const float *dy, const float *w, int n_row,
                    int n_out, int n_in, bool accumulate)
{
    ap_gemm_product(t, dx, dy, n_out, 1, w, n_row, n_in, n_out, accumulate);
}

/* dw[N, K] += dyᵀ[N, M] x[M, K] */
static void dw_with(const struct ap_tiles *t, float *dw, const float *dy, const float *x, int n_row,
                    int n_out, int n_in)
{
    ap_gemm_product(t, dw, dy, 1, n_out, x, n_out, n_in, n_row, true);
}

static struct ap_packed *base_pack_new(int n_out, int n_in)
{
    return ap_gemm_pack_new(&ap_tiles_base, n_out, n_in);
}

static void base_dx(float *dx, const float *dy, const float *w, int n_row, int n_out, int n_in,
                    bool accumulate)
{
    dx_with(&ap_tiles_base, dx, dy, w, n_row, n_out, n_in, accumulate);
}

static void base_dw(float *dw, const float *dy, const float *x, int n_row, int n_out, int n_in)
{
    dw_with(&ap_tiles_base, dw, dy, x, n_row, n_out, n_in);
}

#define TABLE(its_name, its_pack_new, its_dx, its_dw)                                              \
    {                                                                                              \
        .name = its_name, .pack_new = its_pack_new, .pack_bytes = ap_gemm_pack_bytes,              \
        .pack = pack, .pack_free = pack_free, .linear = linear, .linear_dx = its_dx,               \
        .linear_dw = its_dw, .bias = ap_cpu_bias, .bias_db = ap_cpu_bias_db,                       \
        .embed = ap_cpu_embed, .embed_backward = ap_cpu_embed_backward, .gather = ap_cpu_gather,   \
        .scatter_add = ap_cpu_scatter_add, .rmsnorm = ap_cpu_rmsnorm,                              \
        .rmsnorm_backward = ap_cpu_rmsnorm_backward, .rope = ap_cpu_rope, .swiglu = ap_cpu_swiglu, \
        .swiglu_backward = ap_cpu_swiglu_backward, .attention_scratch = ap_cpu_attention_scratch,  \
        .attention = ap_cpu_attention, .attention_backward = ap_cpu_attention_backward,            \
        .kv_store = ap_cpu_kv_store, .attention_cached = ap_cpu_attention_cached,                  \
        .kv_copy = ap_cpu_kv_copy, .logprob = ap_cpu_logprob,                                      \
        .logprob_backward = ap_cpu_logprob_backward, .add = ap_cpu_add, .scale = ap_cpu_scale,     \
        .sum_squares = ap_cpu_sum_squares, .adamw = ap_cpu_adamw,                                  \
    }

/* -- what the processor has -- */

#if defined(__x86_64__)

#define BASE_NAME "cpu avx2"

static bool has_base(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

static struct ap_packed *avx512_pack_new(int n_out, int n_in)
{
    return ap_gemm_pack_new(&ap_tiles_avx512, n_out, n_in);
}

/* oneDNN for a large weight, unless its rows are not exact here. */
static struct ap_packed *avx512_pack_new_auto(int n_out, int n_in)
{
    if ((size_t)n_out * (size_t)n_in >= ONEDNN_WEIGHTS) {
        struct ap_packed *p = onednn_pack_new(n_out, n_in);
        if (p && ap_onednn_is_exact(p->onednn))
            return p;
        pack_free(p);
    }
    return avx512_pack_new(n_out, n_in);
}

static void avx512_dx(float *dx, const float *dy, const float *w, int n_row, int n_out, int n_in,
                      bool accumulate)
{
    dx_with(&ap_tiles_avx512, dx, dy, w, n_row, n_out, n_in, accumulate);
}

static void avx512_dw(float *dw, const float *dy, const float *x, int n_row, int n_out, int n_in)
{
    dw_with(&ap_tiles_avx512, dw, dy, x, n_row, n_out, n_in);
}

/* By who does the forward products: by size, own, oneDNN. */
static const struct ap_ops wide_tables[] = {
    TABLE("cpu avx512", avx512_pack_new_auto, avx512_dx, avx512_dw),
    TABLE("cpu avx512, own products", avx512_pack_new, avx512_dx, avx512_dw),
    TABLE("cpu avx512, oneDNN products", onednn_pack_new, avx512_dx, avx512_dw),
};

#else

#define BASE_NAME "cpu"

static bool has_base(void)
{
    return true;
}

static bool has_avx512(void)
{
    return false;
}

#define wide_tables base_tables

#endif

static const struct ap_ops base_tables[] = {
    TABLE(BASE_NAME, base_pack_new, base_dx, base_dw),
    TABLE(BASE_NAME ", own products", base_pack_new, base_dx, base_dw),
    TABLE(BASE_NAME ", oneDNN products", onednn_pack_new, base_dx, base_dw),
};

ap_status ap_ops_cpu(const struct ap_ops **out, struct ap_error *err)
{
    const char *wish = getenv("ALIGNPRO_MATMUL");
    int who = 0;
    if (!has_base())
        return ap_fail(err, AP_UNSUPPORTED,
                       "processor: expected x86-64 with AVX2 and FMA, found one without; use a "
                       "processor from 2013 or later");
    if (wish && strcmp(wish, "own") == 0)
        who = 1;
    else if (wish && strcmp(wish, "onednn") == 0)
        who = 2;
    else if (wish && *wish)
        return ap_fail(err, AP_INVALID,
                       "ALIGNPRO_MATMUL: expected own or onednn, found %s; unset it to let the "
                       "processor decide",
                       wish);
    *out = has_avx512() ? &wide_tables[who] : &base_tables[who];
    return AP_OK;
}
