/* The CPU's tables of operations, and the choice among them: the widest vectors that the processor
 * has, and who does the products. Entry point: ap_ops_cpu of tensor/ops.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/onednn.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static struct ap_packed *f32_or_bf16(const struct ap_tiles *f32, const struct ap_tiles *bf16,
                                     int n_out, int n_in, ap_dtype dtype)
{
    return ap_panels_new(dtype == AP_BF16 ? bf16 : f32, f32, n_out, n_in, dtype);
}

static void pack_free(struct ap_packed *p)
{
    if (!p)
        return;
    ap_onednn_free(p->onednn);
    ap_free(p->panels);
    ap_free(p);
}

/* -- the baseline's vectors -- */

static struct ap_packed *base_pack_new(int n_out, int n_in, ap_dtype dtype)
{
    return f32_or_bf16(&ap_tiles_base, &ap_tiles_bf16_base, n_out, n_in, dtype);
}

/* dw[N, K] += dyᵀ[N, M] x[M, K] */
static void base_dw(float *dw, const float *dy, const float *x, int n_row, int n_out, int n_in)
{
    ap_gemm_across(&ap_tiles_base, dw, dy, x, n_out, n_in, n_row, true);
}

/* -- oneDNN for the forward product in f32, beside our panels -- */

static struct ap_packed *with_onednn(struct ap_packed *p)
{
    if (!p || p->dtype != AP_F32)
        return p;
    p->onednn = ap_onednn_new(p->n_out, p->n_in);
    if (p->onednn)
        return p;
    pack_free(p);
    return NULL;
}

static void onednn_pack(struct ap_packed *p, const void *w, ap_dtype stored)
{
    ap_panels_fill(p, w, stored);
    if (p->onednn && stored == AP_F32 && (uintptr_t)w % sizeof(float) == 0)
        ap_onednn_pack(p->onednn, w);
    else { /* what is no array of floats stays with ours */
        ap_onednn_free(p->onednn);
        p->onednn = NULL;
    }
}

static void onednn_linear(float *y, const float *x, const struct ap_packed *w, int n_row,
                          bool accumulate)
{
    if (w->onednn)
        ap_onednn_linear(y, x, w->onednn, n_row, accumulate);
    else
        ap_gemm_linear(y, x, w, n_row, accumulate);
}

static struct ap_packed *base_onednn_new(int n_out, int n_in, ap_dtype dtype)
{
    return with_onednn(base_pack_new(n_out, n_in, dtype));
}

#define TABLE(its_name, its_pack_new, its_pack, its_linear, its_dw)                                \
    {                                                                                              \
        .name = its_name, .pack_bytes = ap_panels_bytes, .pack_new = its_pack_new,                 \
        .pack = its_pack, .pack_free = pack_free, .linear = its_linear,                            \
        .linear_dx = ap_gemm_linear_dx, .linear_dw = its_dw, .bias = ap_cpu_bias,                  \
        .bias_db = ap_cpu_bias_db, .embed = ap_cpu_embed, .embed_packed = ap_cpu_embed_packed,     \
        .embed_backward = ap_cpu_embed_backward, .gather = ap_cpu_gather,                          \
        .scatter_add = ap_cpu_scatter_add, .rmsnorm = ap_cpu_rmsnorm,                              \
        .rmsnorm_backward = ap_cpu_rmsnorm_backward, .rope = ap_cpu_rope, .swiglu = ap_cpu_swiglu, \
        .swiglu_backward = ap_cpu_swiglu_backward, .attention_scratch = ap_cpu_attention_scratch,  \
        .attention = ap_cpu_attention, .attention_backward = ap_cpu_attention_backward,            \
        .kv_store = ap_cpu_kv_store, .attention_cached = ap_cpu_attention_cached,                  \
        .kv_copy = ap_cpu_kv_copy, .logprob = ap_cpu_logprob,                                      \
        .logprob_backward = ap_cpu_logprob_backward, .dropout = ap_cpu_dropout, .add = ap_cpu_add, \
        .scale = ap_cpu_scale, .sum_squares = ap_cpu_sum_squares, .adamw = ap_cpu_adamw,           \
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

static struct ap_packed *avx512_pack_new(int n_out, int n_in, ap_dtype dtype)
{
    bool dot = __builtin_cpu_supports("avx512bf16");
    return f32_or_bf16(&ap_tiles_avx512, dot ? &ap_tiles_bf16_dot : &ap_tiles_bf16_avx512, n_out,
                       n_in, dtype);
}

static struct ap_packed *avx512_onednn_new(int n_out, int n_in, ap_dtype dtype)
{
    return with_onednn(avx512_pack_new(n_out, n_in, dtype));
}

static void avx512_dw(float *dw, const float *dy, const float *x, int n_row, int n_out, int n_in)
{
    ap_gemm_across(&ap_tiles_avx512, dw, dy, x, n_out, n_in, n_row, true);
}

/* By who does the forward products in f32: we, oneDNN. */
static const struct ap_ops wide_tables[] = {
    TABLE("cpu avx512", avx512_pack_new, ap_panels_fill, ap_gemm_linear, avx512_dw),
    TABLE("cpu avx512, oneDNN products", avx512_onednn_new, onednn_pack, onednn_linear, avx512_dw),
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
    TABLE(BASE_NAME, base_pack_new, ap_panels_fill, ap_gemm_linear, base_dw),
    TABLE(BASE_NAME ", oneDNN products", base_onednn_new, onednn_pack, onednn_linear, base_dw),
};

ap_status ap_ops_cpu(const struct ap_ops **out, struct ap_error *err)
{
    const char *wish = getenv("ALIGNPRO_MATMUL");
    int who = 0;
    if (!has_base())
        return ap_fail(err, AP_UNSUPPORTED,
                       "processor: expected x86-64 with AVX2 and FMA, found one without; use a "
                       "processor from 2013 or later");
    if (wish && strcmp(wish, "onednn") == 0)
        who = 1;
    else if (wish && *wish)
        return ap_fail(
            err, AP_INVALID,
            "ALIGNPRO_MATMUL: expected onednn, found %s; unset it for the products of our "
            "own",
            wish);
    *out = has_avx512() ? &wide_tables[who] : &base_tables[who];
    return AP_OK;
}
