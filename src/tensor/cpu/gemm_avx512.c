/* The tiles for AVX-512: a panel is one vector. Built with -mavx512f and chosen at run time by
 * table.c; the same chains as gemm_base.c, so the same bits. Entry point: ap_tiles_avx512. */
#if defined(__x86_64__)

#define AP_VEC_BYTES 64
#include "tensor/cpu/tile.h"

/* Twenty-four accumulators of the 32 registers. */
AP_TILE_DEFINE(tile_1x1, 1, 1)
AP_TILE_DEFINE(tile_2x1, 2, 1)
AP_TILE_DEFINE(tile_3x1, 3, 1)
AP_TILE_DEFINE(tile_4x1, 4, 1)
AP_TILE_DEFINE(tile_5x1, 5, 1)
AP_TILE_DEFINE(tile_6x1, 6, 1)
AP_TILE_DEFINE(tile_7x1, 7, 1)
AP_TILE_DEFINE(tile_8x1, 8, 1)
AP_TILE_DEFINE(tile_9x1, 9, 1)
AP_TILE_DEFINE(tile_10x1, 10, 1)
AP_TILE_DEFINE(tile_11x1, 11, 1)
AP_TILE_DEFINE(tile_12x1, 12, 1)
AP_TILE_DEFINE(tile_1x2, 1, 2)
AP_TILE_DEFINE(tile_2x2, 2, 2)
AP_TILE_DEFINE(tile_3x2, 3, 2)
AP_TILE_DEFINE(tile_4x2, 4, 2)
AP_TILE_DEFINE(tile_5x2, 5, 2)
AP_TILE_DEFINE(tile_6x2, 6, 2)
AP_TILE_DEFINE(tile_7x2, 7, 2)
AP_TILE_DEFINE(tile_8x2, 8, 2)
AP_TILE_DEFINE(tile_9x2, 9, 2)
AP_TILE_DEFINE(tile_10x2, 10, 2)
AP_TILE_DEFINE(tile_11x2, 11, 2)
AP_TILE_DEFINE(tile_12x2, 12, 2)
AP_TILE_DEFINE(tile_1x4, 1, 4)
AP_TILE_DEFINE(tile_2x4, 2, 4)
AP_TILE_DEFINE(tile_3x4, 3, 4)
AP_TILE_DEFINE(tile_4x4, 4, 4)
AP_TILE_DEFINE(tile_5x4, 5, 4)
AP_TILE_DEFINE(tile_6x4, 6, 4)

const struct ap_tiles ap_tiles_avx512 = {
    .n_row = 12,
    .n_panel = {0, 4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2},
    .by_1 = {NULL, tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1, tile_7x1, tile_8x1,
             tile_9x1, tile_10x1, tile_11x1, tile_12x1},
    .by_2 = {NULL, tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2, tile_7x2, tile_8x2,
             tile_9x2, tile_10x2, tile_11x2, tile_12x2},
    .by_4 = {NULL, tile_1x4, tile_2x4, tile_3x4, tile_4x4, tile_5x4, tile_6x4},
};

#else
typedef int ap_no_avx512_here; /* ISO C wants a declaration in every file */
#endif
