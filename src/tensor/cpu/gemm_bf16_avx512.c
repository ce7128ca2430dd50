/* bf16 products for AVX-512 without avx512_bf16: the widening tile on wide vectors. Entry point:
 * ap_tiles_bf16_avx512. */
#if defined(__x86_64__)

#define AP_VEC_BYTES 64
#include "tensor/cpu/tile_bf16.h"
#include "tensor/cpu/tile_wide.h"

AP_TILES_WIDE(AP_TILE_BF16_DEFINE)

static void round_rows(float *out, size_t out_row, const float *x, size_t x_row, int m, int k)
{
    ap_round_as_f32(out, out_row, x, x_row, m, k);
}

const struct ap_tiles ap_tiles_bf16_avx512 = {AP_TILES_WIDE_TABLE, .pair_words = 2,
                                              .round = round_rows};

#else
typedef int ap_no_avx512_here; /* ISO C wants a declaration in every file */
#endif
