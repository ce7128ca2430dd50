/* Products of a fixed order on the CPU: the tables of tiles, packed weights, and what is built of
 * them.
 *
 * A weight is packed as panels of 16 outputs side by side, the last padded with zeros:
 *     f32   [N/16][K][16] floats
 *     bf16  [N/16][K/2][16] words: the weights of two inputs, the first in the low half. An odd
 *           last input has a zero beside it. */
#ifndef AP_TENSOR_CPU_GEMM_H
#define AP_TENSOR_CPU_GEMM_H

#include "tensor/ops.h"

#define AP_PANEL 16     /* columns of a panel */
#define AP_TILE_ROWS 12 /* the tallest tile of any table */
#define AP_STAIR_ROWS 6

/* C[R, 16·P] (+)= A B. A's element (r, k) is a[r·a_row + k·a_k]; B's row k starts at b + k·b_k, its
 * panel p at b_panel·p further on. R and P belong to the function. See tile.h for the order; in a
 * table for bf16 k counts pairs, B's elements are words, and A is what the table's round wrote. */
typedef void (*ap_tile_fn)(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,
                           const float *b, size_t b_k, size_t b_panel, size_t n_k, bool accumulate);

/* The tiles of one kind of processor. */
struct ap_tiles {
    int n_row;                         /* height of the full tile */
    int n_panel[AP_TILE_ROWS + 1];     /* widest tile at each height: 1, 2 or 4 panels */
    ap_tile_fn by_1[AP_TILE_ROWS + 1]; /* one panel wide, by height 1 … n_row */
    ap_tile_fn by_2[AP_TILE_ROWS + 1]; /* NULL beyond n_panel */
    ap_tile_fn by_4[AP_TILE_ROWS + 1];
    ap_tile_fn by_half[AP_TILE_ROWS + 1]; /* half a panel; NULL where a whole one costs the same */
    /* bf16 only. A's words to a pair of inputs, and m rows of k inputs, x_row apart, rounded into
     * rows of such words, out_row apart; an odd last input gets a zero beside it. */
    size_t pair_words;
    void (*round)(float *out, size_t out_row, const float *x, size_t x_row, int m, int k);
};

extern const struct ap_tiles ap_tiles_base;        /* gemm_base.c */
extern const struct ap_tiles ap_tiles_avx512;      /* gemm_avx512.c; x86-64 only */
extern const struct ap_tiles ap_tiles_bf16_base;   /* gemm_bf16_base.c: widens to f32 */
extern const struct ap_tiles ap_tiles_bf16_avx512; /* gemm_bf16_avx512.c; the same, x86-64 only */
extern const struct ap_tiles ap_tiles_bf16_dot;    /* gemm_bf16_dot.c: vdpbf16ps, x86-64 only */

/* A small product on strided operands, one thread: C[m, n] (+)= A[m, k] B[k, n] with B's rows b_row
 * apart and its panels b_panel (AP_PANEL when B is row-major). Any n: columns past the last half
 * panel go by scalar chains of the same order. */
void ap_block_product(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,
                      const float *b, size_t b_row, size_t b_panel, int m, int n, int k,
                      bool accumulate);
/* The same, = only and B row-major, for at most AP_STAIR_ROWS rows, of which row r has k + r
 * elements in A: the rows of causal attention. */
void ap_stair_product(float *c, size_t c_row, const float *a, size_t a_row, const float *b,
                      size_t b_row, int m, int n, int k);

struct ap_onednn; /* onednn.c */

struct ap_packed {
    int n_out, n_in;
    ap_dtype dtype;               /* AP_F32 or AP_BF16 */
    const struct ap_tiles *tiles; /* of the forward product */
    const struct ap_tiles *f32;   /* of the gradient's */
    float *panels;                /* owned; words in bf16 */
    struct ap_onednn *onednn;     /* owned; NULL where ours does the forward product */
};

/* -- panels.c -- */
size_t ap_panels_bytes(int n_out, int n_in, ap_dtype dtype);
/* NULL: out of memory. */
struct ap_packed *ap_panels_new(const struct ap_tiles *tiles, const struct ap_tiles *f32, int n_out,
                                int n_in, ap_dtype dtype);
void ap_panels_fill(struct ap_packed *p, const void *w, ap_dtype stored);
/* w[from_n … +depth, from_k … +n] as f32 panels of its own: columns side by side, row by row,
 * panels `panel` floats apart. from_n and from_k are whole panels; rows are written up to a whole
 * one, columns that do not exist are zero. */
void ap_panels_rows(float *out, size_t panel, const struct ap_packed *p, int from_n, int depth,
                    int from_k, int n);
void ap_cpu_embed_packed(float *y, const struct ap_packed *table, const int32_t *ids, int n_row);

/* -- gemm.c -- */
void ap_gemm_linear(float *y, const float *x, const struct ap_packed *w, int n_row,
                    bool accumulate);
void ap_gemm_linear_dx(float *dx, const float *dy, const struct ap_packed *w, int n_row,
                       bool accumulate);
/* C[m, n] (+)= Aᵀ B of row-major A[k, m], B[k, n], C. */
void ap_gemm_across(const struct ap_tiles *tiles, float *c, const float *a, const float *b, int m,
                    int n, int k, bool accumulate);

#endif
