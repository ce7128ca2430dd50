/* bf16 products for the baseline's vectors (AVX2; else 128 bits): the widening tile. Entry point:
 * ap_tiles_bf16_base. */
#include "tensor/cpu/tile_bf16.h"

#define VECS(panels) ((panels)*AP_LANE_VECS)

AP_TILE_BF16_DEFINE(tile_1x1, 1, VECS(1))
AP_TILE_BF16_DEFINE(tile_2x1, 2, VECS(1))
AP_TILE_BF16_DEFINE(tile_3x1, 3, VECS(1))
AP_TILE_BF16_DEFINE(tile_4x1, 4, VECS(1))
AP_TILE_BF16_DEFINE(tile_5x1, 5, VECS(1))
AP_TILE_BF16_DEFINE(tile_6x1, 6, VECS(1))
AP_TILE_BF16_DEFINE(tile_1x2, 1, VECS(2))
AP_TILE_BF16_DEFINE(tile_2x2, 2, VECS(2))
AP_TILE_BF16_DEFINE(tile_3x2, 3, VECS(2))

static void round_rows(float *out, size_t out_row, const float *x, size_t x_row, int m, int k)
{
    ap_round_as_f32(out, out_row, x, x_row, m, k);
}

const struct ap_tiles ap_tiles_bf16_base = {
    .n_row = 6,
    .n_panel = {0, 2, 2, 2, 1, 1, 1},
    .by_1 = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1},
    .by_2 = {NULL, tile_1x2, tile_2x2, tile_3x2},
    .pair_words = 2,
    .round = round_rows,
};
