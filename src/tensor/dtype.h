/* Types of stored numbers, and what reads halves as floats and rounds floats to bf16. */
#ifndef AP_TENSOR_DTYPE_H
#define AP_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum ap_dtype { AP_F32, AP_F16, AP_BF16, AP_I32, AP_I64, AP_F64, AP_U8 } ap_dtype;

/* Bytes of one number. */
size_t ap_dtype_size(ap_dtype dtype);
/* out[i] = in[i] as f32, exactly; in: n numbers of type AP_F32, AP_F16 or AP_BF16, at any address.
 */
void ap_to_f32(float *out, const void *in, ap_dtype dtype, size_t n);

static inline uint32_t ap_f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static inline float ap_f32_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static inline float ap_bf16_to_f32(uint16_t h)
{
    return ap_f32_of_bits((uint32_t)h << 16);
}

/* To nearest, ties to even; subnormals stay, what is too large becomes infinite, NaN stays NaN. */
static inline uint16_t ap_bf16_of(float x)
{
    uint32_t bits = ap_f32_bits(x);
    if (x != x)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
