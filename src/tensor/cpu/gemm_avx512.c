/* The tiles for AVX-512. Built with -mavx512f and chosen at run time by table.c; the same chains as
 * gemm_base.c, so the same bits. Entry point: ap_tiles_avx512. */
#if defined(__x86_64__)

#define AP_VEC_BYTES 64
#include "tensor/cpu/tile.h"
#include "tensor/cpu/tile_wide.h"

AP_TILES_WIDE(AP_TILE_DEFINE)

const struct ap_tiles ap_tiles_avx512 = {AP_TILES_WIDE_TABLE};

#else
typedef int ap_no_avx512_here; /* ISO C wants a declaration in every file */
#endif
