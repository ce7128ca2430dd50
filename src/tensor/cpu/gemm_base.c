/* The tiles for the baseline's vectors (AVX2; else 128 bits), and the small strided product that
 * attention is made of. Not here: blocking and threads (gemm.c). Entry points: ap_tiles_base,
 * ap_block_product. */
#include "tensor/cpu/tile.h"

#include <assert.h>

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

/* Half a panel: adapters of rank 8, heads of width 8. */
AP_TILE_DEFINE(half_1, 1, VECS(1) / 2)
AP_TILE_DEFINE(half_2, 2, VECS(1) / 2)
AP_TILE_DEFINE(half_3, 3, VECS(1) / 2)
AP_TILE_DEFINE(half_4, 4, VECS(1) / 2)
AP_TILE_DEFINE(half_5, 5, VECS(1) / 2)
AP_TILE_DEFINE(half_6, 6, VECS(1) / 2)

const struct ap_tiles ap_tiles_base = {
    .n_row = 6,
    .n_panel = {0, WIDEST_1, 2, 2, 1, 1, 1},
    .by_1 = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1},
    .by_2 = {NULL, tile_1x2, tile_2x2, tile_3x2},
    .by_4 = {NULL, tile_1x4},
    .by_half = {NULL, half_1, half_2, half_3, half_4, half_5, half_6},
};

/* Rows of rising length, for causal attention. */
AP_TILE_DEFINE_AS(stair_1, 1, VECS(1), true)
AP_TILE_DEFINE_AS(stair_2, 2, VECS(1), true)
AP_TILE_DEFINE_AS(stair_3, 3, VECS(1), true)
AP_TILE_DEFINE_AS(stair_4, 4, VECS(1), true)
AP_TILE_DEFINE_AS(stair_5, 5, VECS(1), true)
AP_TILE_DEFINE_AS(stair_6, 6, VECS(1), true)
AP_TILE_DEFINE_AS(half_stair_1, 1, VECS(1) / 2, true)
AP_TILE_DEFINE_AS(half_stair_2, 2, VECS(1) / 2, true)
AP_TILE_DEFINE_AS(half_stair_3, 3, VECS(1) / 2, true)
AP_TILE_DEFINE_AS(half_stair_4, 4, VECS(1) / 2, true)
AP_TILE_DEFINE_AS(half_stair_5, 5, VECS(1) / 2, true)
AP_TILE_DEFINE_AS(half_stair_6, 6, VECS(1) / 2, true)

static const ap_tile_fn stair[] = {NULL, stair_1, stair_2, stair_3, stair_4, stair_5, stair_6};
static const ap_tile_fn half_stair[] = {NULL,         half_stair_1, half_stair_2, half_stair_3,
                                        half_stair_4, half_stair_5, half_stair_6};

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

/* Whole panels, as many side by side as the tile's height allows; returns the columns covered. */
static int block_panels(const struct ap_tiles *t, float *c, size_t c_row, const float *a,
                        size_t a_row, size_t a_k, const float *b, size_t b_row, size_t b_panel,
                        int m, int n, int k, bool accumulate)
{
    int j = 0;
    for (int panels = t->n_panel[m]; panels > 0; panels /= 2) {
        ap_tile_fn tile = panels == 4 ? t->by_4[m] : panels == 2 ? t->by_2[m] : t->by_1[m];
        for (; j + panels * AP_PANEL <= n; j += panels * AP_PANEL)
            tile(c + j, c_row, a, a_row, a_k, b + (size_t)(j / AP_PANEL) * b_panel, b_row, b_panel,
                 (size_t)k, accumulate);
    }
    return j;
}

void ap_block_product(float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,
                      const float *b, size_t b_row, size_t b_panel, int m, int n, int k,
                      bool accumulate)
{
    const struct ap_tiles *t = &ap_tiles_base;
    for (int i = 0; i < m; i += t->n_row) {
        int rows = m - i < t->n_row ? m - i : t->n_row;
        float *ci = c + (size_t)i * c_row;
        const float *ai = a + (size_t)i * a_row;
        int j =
            block_panels(t, ci, c_row, ai, a_row, a_k, b, b_row, b_panel, rows, n, k, accumulate);
        const float *bj = b + (size_t)(j / AP_PANEL) * b_panel;
        if (j + AP_PANEL / 2 <= n) {
            t->by_half[rows](ci + j, c_row, ai, a_row, a_k, bj, b_row, 0, (size_t)k, accumulate);
            j += AP_PANEL / 2;
            bj += AP_PANEL / 2;
        }
        if (j < n)
            scalar_columns(ci + j, c_row, ai, a_row, a_k, bj, b_row, rows, n - j, k, accumulate);
    }
}

void ap_stair_product(float *c, size_t c_row, const float *a, size_t a_row, const float *b,
                      size_t b_row, int m, int n, int k)
{
    int j = 0;
    assert(m <= AP_STAIR_ROWS);
    for (; j + AP_PANEL <= n; j += AP_PANEL)
        stair[m](c + j, c_row, a, a_row, 1, b + j, b_row, AP_PANEL, k, false);
    if (j + AP_PANEL / 2 <= n) {
        half_stair[m](c + j, c_row, a, a_row, 1, b + j, b_row, AP_PANEL, k, false);
        j += AP_PANEL / 2;
    }
    for (int r = 0; j < n && r < m; r++)
        scalar_columns(c + (size_t)r * c_row + j, c_row, a + (size_t)r * a_row, a_row, 1, b + j,
                       b_row, 1, n - j, k + r, false);
}
