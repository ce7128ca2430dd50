/* Reading stored numbers as floats (dtype.h). */
#include "tensor/dtype.h"

#include <assert.h>

size_t ap_dtype_size(ap_dtype dtype)
{
    static const unsigned char size[] = {[AP_F32] = 4, [AP_F16] = 2, [AP_BF16] = 2, [AP_I32] = 4,
                                         [AP_I64] = 8, [AP_F64] = 8, [AP_U8] = 1};
    return size[dtype];
}

/* Exact: the exponent is moved by a product with 2^112, which carries subnormals too. */
static float f32_of_f16(uint16_t h)
{
    float f = ap_f32_of_bits((uint32_t)(h & 0x7fff) << 13) * 0x1p112f;
    uint32_t bits = ap_f32_bits(f);
    if ((h & 0x7c00) == 0x7c00)
        bits |= 0x7f800000; /* infinity, NaN */
    return ap_f32_of_bits(bits | (uint32_t)(h & 0x8000) << 16);
}

static void halves_to_f32(float *out, const unsigned char *in, size_t n, bool bf16)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, in + 2 * i, sizeof(h));
        out[i] = bf16 ? ap_bf16_to_f32(h) : f32_of_f16(h);
    }
}

void ap_to_f32(float *out, const void *in, ap_dtype dtype, size_t n)
{
    assert(dtype == AP_F32 || dtype == AP_F16 || dtype == AP_BF16);
    if (dtype == AP_F32)
        memcpy(out, in, n * sizeof(float));
    else
        halves_to_f32(out, in, n, dtype == AP_BF16);
}
