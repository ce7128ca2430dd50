/* The widening tile of bf16 products: weights come as words of two inputs and become f32 in
 * registers, A is f32 that was rounded to bf16, and an element is one chain of fused multiply-adds
 * over all inputs: what AP_F32 gives for the rounded operands, bit for bit. For processors without
 * an instruction of their own; gemm_bf16_dot.c is the other way.
 *
 * A template: include it in files built with -ffp-contract=fast. */
#ifndef AP_TENSOR_CPU_TILE_BF16_H
#define AP_TENSOR_CPU_TILE_BF16_H

#include "tensor/cpu/round.h"
#include "tensor/cpu/tile.h"

AP_INLINE void ap_tile_bf16(const int n_r, const int n_v, float *c, size_t c_row, const float *a,
                            size_t a_row, size_t a_k, const float *b, size_t b_k, size_t b_panel,
                            size_t n_pair, bool accumulate)
{
    ap_vf acc[AP_TILE_ROWS][AP_TILE_VECS];
#pragma GCC unroll 12
    for (int r = 0; r < n_r; r++)
#pragma GCC unroll 8
        for (int v = 0; v < n_v; v++)
            acc[r][v] = accumulate ? ap_vload(c + (size_t)r * c_row + v * AP_VEC_N) : (ap_vf){0};
    for (size_t k = 0; k < n_pair; k++) {
#pragma GCC unroll 8
        for (int v = 0; v < n_v; v++) {
            ap_vi pair = *(const ap_vi_any *)(b + AP_TILE_B(v));
            ap_vf first = (ap_vf)(pair << 16), second = (ap_vf)(pair & (int32_t)0xffff0000);
#pragma GCC unroll 12
            for (int r = 0; r < n_r; r++)
                acc[r][v] += a[(size_t)r * a_row] * first;
#pragma GCC unroll 12
            for (int r = 0; r < n_r; r++)
                acc[r][v] += a[(size_t)r * a_row + 1] * second;
        }
        a += a_k;
        b += b_k;
    }
#pragma GCC unroll 12
    for (int r = 0; r < n_r; r++)
#pragma GCC unroll 8
        for (int v = 0; v < n_v; v++)
            ap_vstore(c + (size_t)r * c_row + v * AP_VEC_N, acc[r][v]);
}

#define AP_TILE_BF16_DEFINE(name, n_r, n_v)                                                        \
    static void name(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,             \
                     const float *b, size_t b_k, size_t b_panel, size_t n_k, bool accumulate)      \
    {                                                                                              \
        ap_tile_bf16(n_r, n_v, c, c_row, a, a_row, a_k, b, b_k, b_panel, n_k, accumulate);         \
    }

/* ap_tiles.round: floats with the value of their bf16. */
AP_INLINE void ap_round_as_f32(float *out, size_t out_row, const float *x, size_t x_row, int m,
                               int k)
{
    for (int i = 0; i < m; i++, x += x_row, out += out_row) {
        int l = 0;
        for (; l + AP_VEC_N <= k; l += AP_VEC_N)
            ap_vstore(out + l, (ap_vf)ap_round_bits(ap_vload(x + l)));
        for (; l < k; l++)
            out[l] = ap_bf16_to_f32(ap_bf16_of(x[l]));
        if (k % 2)
            out[k] = 0.0f;
    }
}

#endif
