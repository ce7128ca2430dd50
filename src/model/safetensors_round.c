/* Floats rounded to the types that files store. Entry point: ap_tensor_from_f32. */
#include "model/safetensors.h"

#include <string.h>

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* Adding half of what is cut off, less one where the last kept bit is even, rounds to nearest even.
 * Subnormals are rounded by an addition that has their last bit as its own. */
static uint16_t to_f16(float f)
{
    uint32_t bits = to_bits(f), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (size >= 0x477ff000) /* 65520 */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) /* 2^-14 */
        return (uint16_t)(sign | (to_bits(from_bits(size) + 0.5f) - to_bits(0.5f)));
    size += 0xfff + (size >> 13 & 1);
    return (uint16_t)(sign | (size - (112u << 23)) >> 13);
}

static uint16_t to_bf16(float f)
{
    uint32_t bits = to_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

bool ap_tensor_from_f32(ap_dtype dtype, const float *in, void *out, size_t n)
{
    unsigned char *bytes = out;
    uint16_t infinite = dtype == AP_BF16 ? 0x7f80 : 0x7c00;
    bool fits = true;
    if (dtype == AP_F32) {
        memcpy(out, in, n * sizeof(float));
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t h = dtype == AP_BF16 ? to_bf16(in[i]) : to_f16(in[i]);
        fits &= (h & 0x7fff) != infinite || (to_bits(in[i]) & 0x7fffffff) == 0x7f800000;
        memcpy(bytes + 2 * i, &h, sizeof(h));
    }
    return fits;
}
