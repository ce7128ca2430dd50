/* Products of a fixed order on the CPU: the tables of tiles, and what is built of them.
 *
 * A weight is packed as panels [N/16][K][16]: 16 outputs side by side for each input, the last
 * panel padded with zeros. */
#ifndef AP_TENSOR_CPU_GEMM_H
#define AP_TENSOR_CPU_GEMM_H

#include "tensor/ops.h"

#define AP_PANEL 16     /* columns of a panel */
#define AP_TILE_ROWS 12 /* the tallest tile of any table */
#define AP_STAIR_ROWS 6

/* C[R, 16·P] (+)= A B. A's element (r, k) is a[r·a_row + k·a_k]; B's row k starts at b + k·b_k, its
 * panel p at b_panel·p further on. R and P belong to the function. See tile.h for the order. */
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
};

extern const struct ap_tiles ap_tiles_base;   /* gemm_base.c */
extern const struct ap_tiles ap_tiles_avx512; /* gemm_avx512.c; x86-64 only */

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
    const struct ap_tiles *tiles;
    float *panels;            /* owned; NULL when oneDNN has the weight */
    struct ap_onednn *onednn; /* owned; NULL when the panels have it */
};

/* Panels for these tiles; NULL: out of memory. */
struct ap_packed *ap_gemm_pack_new(const struct ap_tiles *tiles, int n_out, int n_in);
/* Bytes that panels take, by any tiles; oneDNN's layouts pad no more. */
size_t ap_gemm_pack_bytes(int n_out, int n_in);
void ap_gemm_pack(struct ap_packed *p, const float *w);
void ap_gemm_linear(float *y, const float *x, const struct ap_packed *w, int n_row,
                    bool accumulate);
/* C[m, n] (+)= A[m, k] B[k, n], B row-major and unpacked, C row-major; threads. */
void ap_gemm_product(const struct ap_tiles *tiles, float *c, const float *a, size_t a_row,
                     size_t a_k, const float *b, int m, int n, int k, bool accumulate);

#endif
