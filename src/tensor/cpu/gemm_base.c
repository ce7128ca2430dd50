/* The tiles for the baseline's vectors (AVX2; else 128 bits), and the small strided product that
 * attention is made of. Not here: blocking and threads (gemm.c). Entry points: ap_tiles_base,
 * ap_block_product. */
#include "tensor/cpu/tile.h"

#define VECS(panels) ((panels)*AP_LANE_VECS)

/* Twelve accumulators of two vectors each is what sixteen registers hold: six rows of one panel.
 * Lower tiles are wider, to keep enough chains in flight. */
AP_TILE_DEFINE(tile_1x1, 1, VECS(1))
AP_TILE_DEFINE(tile_2x1, 2, VECS(1))
AP_TILE_DEFINE(tile_3x1, 3, VECS(1))
AP_TILE_DEFINE(tile_4x1, 4, VECS(1))
AP_TILE_DEFINE(tile_5x1, 5, VECS(1))
AP_TILE_DEFINE(tile_6x1, 6, VECS(1))
AP_TILE_DEFINE(tile_1x2, 1, VECS(2))
AP_TILE_DEFINE(tile_2x2, 2, VECS(2))
AP_TILE_DEFINE(tile_3x2, 3, VECS(2))
#if AP_VEC_BYTES == 32
AP_TILE_DEFINE(tile_1x4, 1, VECS(4))
#define WIDEST_1 4
#else
#define WIDEST_1 2
#define tile_1x4 NULL
#endif

const struct ap_tiles ap_tiles_base = {
    .n_row = 6,
    .n_panel = {0, WIDEST_1, 2, 2, 1, 1, 1},
    .by_1 = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1},
    .by_2 = {NULL, tile_1x2, tile_2x2, tile_3x2},
    .by_4 = {NULL, tile_1x4},
};

/* Half a panel, for heads of width 8. */
AP_TILE_DEFINE(half_1, 1, VECS(1) / 2)
AP_TILE_DEFINE(half_2, 2, VECS(1) / 2)
AP_TILE_DEFINE(half_3, 3, VECS(1) / 2)
AP_TILE_DEFINE(half_4, 4, VECS(1) / 2)
AP_TILE_DEFINE(half_5, 5, VECS(1) / 2)
AP_TILE_DEFINE(half_6, 6, VECS(1) / 2)

static const ap_tile_fn half_panel[] = {NULL, half_1, half_2, half_3, half_4, half_5, half_6};

static void scalar_columns(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,
                           const float *b, size_t b_row, int m, int n, int k, bool accumulate)
{
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            float acc = accumulate ? c[(size_t)i * c_row + j] : 0.0f;
            for (int l = 0; l < k; l++)
                acc = __builtin_fmaf(a[(size_t)i * a_row + (size_t)l * a_k],
                                     b[(size_t)l * b_row + j], acc);
            c[(size_t)i * c_row + j] = acc;
        }
    }
}

/* One tile's height of rows across all columns. */
static void block_rows(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,
                       const float *b, size_t b_row, int m, int n, int k, bool accumulate)
{
    const struct ap_tiles *t = &ap_tiles_base;
    int j = 0;
    if (t->n_panel[m] == 4)
        for (; j + 4 * AP_PANEL <= n; j += 4 * AP_PANEL)
            t->by_4[m](c + j, c_row, a, a_row, a_k, b + j, b_row, AP_PANEL, k, accumulate);
    if (t->n_panel[m] >= 2)
        for (; j + 2 * AP_PANEL <= n; j += 2 * AP_PANEL)
            t->by_2[m](c + j, c_row, a, a_row, a_k, b + j, b_row, AP_PANEL, k, accumulate);
    for (; j + AP_PANEL <= n; j += AP_PANEL)
        t->by_1[m](c + j, c_row, a, a_row, a_k, b + j, b_row, AP_PANEL, k, accumulate);
    if (j + AP_PANEL / 2 <= n) {
        half_panel[m](c + j, c_row, a, a_row, a_k, b + j, b_row, AP_PANEL, k, accumulate);
        j += AP_PANEL / 2;
    }
    if (j < n)
        scalar_columns(c + j, c_row, a, a_row, a_k, b + j, b_row, m, n - j, k, accumulate);
}

void ap_block_product(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,
                      const float *b, size_t b_row, int m, int n, int k, bool accumulate)
{
    for (int i = 0; i < m; i += ap_tiles_base.n_row) {
        int rows = m - i < ap_tiles_base.n_row ? m - i : ap_tiles_base.n_row;
        block_rows(c + (size_t)i * c_row, c_row, a + (size_t)i * a_row, a_row, a_k, b, b_row, rows,
                   n, k, accumulate);
    }
}
