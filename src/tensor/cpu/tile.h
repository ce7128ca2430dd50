/* The tile of every product: C[R, columns] (+)= A[R, k] B[k, columns], each element one chain of
 * fused multiply-adds over k = 0, 1, … that starts at 0, or at C. So an element's bits depend
 * neither on the tile's height and width nor on the vectors' width nor on where k is cut into
 * blocks: whoever covers it computes the same.
 *
 * A template: include it in files built with -ffp-contract=fast. */
#ifndef AP_TENSOR_CPU_TILE_H
#define AP_TENSOR_CPU_TILE_H

#include "tensor/cpu/gemm.h"
#include "tensor/cpu/vec.h"

#define AP_TILE_VECS 8 /* the most vectors across a tile */

/* B's columns come in panels of AP_PANEL: vector v starts at v's panel. */
#define AP_TILE_B(v)                                                                               \
    ((size_t)((v)*AP_VEC_N / AP_PANEL) * b_panel + (size_t)((v)*AP_VEC_N % AP_PANEL))

/* n_r, n_v and stair are constants at every call, and the loops over rows and vectors are unrolled
 * early, so that all of acc lives in registers. stair: row r takes r steps more than n_k. */
AP_INLINE void ap_tile(const int n_r, const int n_v, const bool stair, float *c, size_t c_row,
                       const float *a, size_t a_row, size_t a_k, const float *b, size_t b_k,
                       size_t b_panel, size_t n_k, bool accumulate)
{
    ap_vf acc[AP_TILE_ROWS][AP_TILE_VECS], bv[AP_TILE_VECS];
#pragma GCC unroll 12
    for (int r = 0; r < n_r; r++)
#pragma GCC unroll 8
        for (int v = 0; v < n_v; v++)
            acc[r][v] = accumulate ? ap_vload(c + (size_t)r * c_row + v * AP_VEC_N) : (ap_vf){0};
    for (size_t k = 0; k < n_k; k++) {
#pragma GCC unroll 8
        for (int v = 0; v < n_v; v++)
            bv[v] = ap_vload(b + AP_TILE_B(v));
#pragma GCC unroll 12
        for (int r = 0; r < n_r; r++)
#pragma GCC unroll 8
            for (int v = 0; v < n_v; v++)
                acc[r][v] += a[(size_t)r * a_row] * bv[v];
        a += a_k;
        b += b_k;
    }
#pragma GCC unroll 12
    for (int i = 1; i < n_r; i++)
#pragma GCC unroll 12
        for (int r = i; r < n_r; r++)
#pragma GCC unroll 8
            for (int v = 0; v < n_v; v++)
                if (stair)
                    acc[r][v] += a[(size_t)r * a_row + (size_t)(i - 1) * a_k] *
                                 ap_vload(b + (size_t)(i - 1) * b_k + AP_TILE_B(v));
#pragma GCC unroll 12
    for (int r = 0; r < n_r; r++)
#pragma GCC unroll 8
        for (int v = 0; v < n_v; v++)
            ap_vstore(c + (size_t)r * c_row + v * AP_VEC_N, acc[r][v]);
}

/* An ap_tile_fn of fixed height and width. */
#define AP_TILE_DEFINE(name, n_r, n_v) AP_TILE_DEFINE_AS(name, n_r, n_v, false)
#define AP_TILE_DEFINE_AS(name, n_r, n_v, stair)                                                   \
    static void name(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,             \
                     const float *b, size_t b_k, size_t b_panel, size_t n_k, bool accumulate)      \
    {                                                                                              \
        ap_tile(n_r, n_v, stair, c, c_row, a, a_row, a_k, b, b_k, b_panel, n_k, accumulate);       \
    }

#endif
