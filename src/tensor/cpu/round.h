/* Rounding vectors of f32 to nearest-even bf16, as ap_bf16_of does: in integers, so that every
 * processor gives the same, subnormals included. */
#ifndef AP_TENSOR_CPU_ROUND_H
#define AP_TENSOR_CPU_ROUND_H

#include "tensor/cpu/vec.h"
#include "tensor/dtype.h"

/* The bf16 in the upper half of each lane, zeros below: its value as f32. */
AP_INLINE ap_vi ap_round_bits(ap_vf x)
{
    ap_vi bits = (ap_vi)x, nan = x != x;
    ap_vi even = (bits >> 16) & 1, rounded = bits + 0x7fff + even;
    ap_vi chosen = (nan & (bits | 0x400000)) | (~nan & rounded);
    return chosen & (int32_t)0xffff0000;
}

#endif
