/* The shapes of the tiles for 512-bit vectors, where a panel is one vector: twenty-four
 * accumulators of the 32 registers. AP_TILES_WIDE(DEFINE) defines them, DEFINE(name, rows,
 * vectors); AP_TILES_WIDE_TABLE is their part of a struct ap_tiles. */
#ifndef AP_TENSOR_CPU_TILE_WIDE_H
#define AP_TENSOR_CPU_TILE_WIDE_H

#define AP_TILES_WIDE(DEFINE)                                                                      \
    DEFINE(tile_1x1, 1, 1)                                                                         \
    DEFINE(tile_2x1, 2, 1)                                                                         \
    DEFINE(tile_3x1, 3, 1)                                                                         \
    DEFINE(tile_4x1, 4, 1)                                                                         \
    DEFINE(tile_5x1, 5, 1)                                                                         \
    DEFINE(tile_6x1, 6, 1)                                                                         \
    DEFINE(tile_7x1, 7, 1)                                                                         \
    DEFINE(tile_8x1, 8, 1)                                                                         \
    DEFINE(tile_9x1, 9, 1)                                                                         \
    DEFINE(tile_10x1, 10, 1)                                                                       \
    DEFINE(tile_11x1, 11, 1)                                                                       \
    DEFINE(tile_12x1, 12, 1)                                                                       \
    DEFINE(tile_1x2, 1, 2)                                                                         \
    DEFINE(tile_2x2, 2, 2)                                                                         \
    DEFINE(tile_3x2, 3, 2)                                                                         \
    DEFINE(tile_4x2, 4, 2)                                                                         \
    DEFINE(tile_5x2, 5, 2)                                                                         \
    DEFINE(tile_6x2, 6, 2)                                                                         \
    DEFINE(tile_7x2, 7, 2)                                                                         \
    DEFINE(tile_8x2, 8, 2)                                                                         \
    DEFINE(tile_9x2, 9, 2)                                                                         \
    DEFINE(tile_10x2, 10, 2)                                                                       \
    DEFINE(tile_11x2, 11, 2)                                                                       \
    DEFINE(tile_12x2, 12, 2)                                                                       \
    DEFINE(tile_1x4, 1, 4)                                                                         \
    DEFINE(tile_2x4, 2, 4)                                                                         \
    DEFINE(tile_3x4, 3, 4)                                                                         \
    DEFINE(tile_4x4, 4, 4)                                                                         \
    DEFINE(tile_5x4, 5, 4)                                                                         \
    DEFINE(tile_6x4, 6, 4)

#define AP_TILES_WIDE_TABLE                                                                        \
    .n_row = 12, .n_panel = {0, 4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2},                               \
    .by_1 = {NULL,     tile_1x1, tile_2x1, tile_3x1,  tile_4x1,  tile_5x1, tile_6x1,               \
             tile_7x1, tile_8x1, tile_9x1, tile_10x1, tile_11x1, tile_12x1},                       \
    .by_2 = {NULL,     tile_1x2, tile_2x2, tile_3x2,  tile_4x2,  tile_5x2, tile_6x2,               \
             tile_7x2, tile_8x2, tile_9x2, tile_10x2, tile_11x2, tile_12x2},                       \
    .by_4 = {NULL, tile_1x4, tile_2x4, tile_3x4, tile_4x4, tile_5x4, tile_6x4}

#endif
