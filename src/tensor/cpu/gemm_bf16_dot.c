/* bf16 products by vdpbf16ps: both operands in words of two inputs, a step of a chain adds the
 * product of each. What the sum of a step rounds to, and that subnormal operands and sums count as
 * zero, is the processor's; the order of the steps is ours, so a row's bits do not depend on what
 * comes with it. Built with -mavx512bf16 and chosen at run time. Entry point: ap_tiles_bf16_dot. */
#if defined(__x86_64__)

#define AP_VEC_BYTES 64
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/round.h"
#include "tensor/cpu/tile_wide.h"

#include <immintrin.h>

#define TILE_VECS 4 /* the most vectors across a tile */

AP_INLINE void tile_dot(const int n_r, const int n_v, float *c, size_t c_row, const float *a,
                        size_t a_row, size_t a_k, const float *b, size_t b_k, size_t b_panel,
                        size_t n_pair, bool accumulate)
{
    __m512 acc[AP_TILE_ROWS][TILE_VECS];
    __m512bh bv[TILE_VECS];
#pragma GCC unroll 12
    for (int r = 0; r < n_r; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_v; v++)
            acc[r][v] = accumulate ? _mm512_loadu_ps(c + (size_t)r * c_row + v * AP_PANEL)
                                   : _mm512_setzero_ps();
    for (size_t k = 0; k < n_pair; k++) {
#pragma GCC unroll 4
        for (int v = 0; v < n_v; v++)
            bv[v] = (__m512bh)_mm512_loadu_ps(b + (size_t)v * b_panel);
#pragma GCC unroll 12
        for (int r = 0; r < n_r; r++) {
            __m512bh pair = (__m512bh)_mm512_set1_ps(a[(size_t)r * a_row]);
#pragma GCC unroll 4
            for (int v = 0; v < n_v; v++)
                acc[r][v] = _mm512_dpbf16_ps(acc[r][v], bv[v], pair);
        }
        a += a_k;
        b += b_k;
    }
#pragma GCC unroll 12
    for (int r = 0; r < n_r; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_v; v++)
            _mm512_storeu_ps(c + (size_t)r * c_row + v * AP_PANEL, acc[r][v]);
}

#define DEFINE(name, n_r, n_v)                                                                     \
    static void name(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,             \
                     const float *b, size_t b_k, size_t b_panel, size_t n_k, bool accumulate)      \
    {                                                                                              \
        tile_dot(n_r, n_v, c, c_row, a, a_row, a_k, b, b_k, b_panel, n_k, accumulate);             \
    }

AP_TILES_WIDE(DEFINE)

/* Rows of bf16, in the order of the inputs. */
static void round_rows(float *out, size_t out_row, const float *x, size_t x_row, int m, int k)
{
    for (int i = 0; i < m; i++, x += x_row, out += out_row) {
        uint16_t *row = (uint16_t *)out;
        int l = 0;
        for (; l + AP_VEC_N <= k; l += AP_VEC_N) {
            ap_vi bits = ap_round_bits(ap_vload(x + l));
            _mm256_storeu_si256((__m256i *)(row + l),
                                _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)bits, 16)));
        }
        for (; l < k; l++)
            row[l] = ap_bf16_of(x[l]);
        if (k % 2)
            row[k] = 0;
    }
}

const struct ap_tiles ap_tiles_bf16_dot = {AP_TILES_WIDE_TABLE, .pair_words = 1,
                                           .round = round_rows};

#else
typedef int ap_no_avx512_here; /* ISO C wants a declaration in every file */
#endif
