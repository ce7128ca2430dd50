/* exp of a vector, at most 2 ulp, the same code for every caller. Include in files built with
 * -ffp-contract=fast: each line holds one product, so what is fused does not depend on the caller.
 */
#ifndef AP_TENSOR_CPU_VMATH_H
#define AP_TENSOR_CPU_VMATH_H

#include "tensor/cpu/vec.h"

/* 0 below −87.33 (no subnormal results), Inf above 88.73, NaN for NaN. Cephes' polynomial of e^r on
 * |r| <= ln2/2, after x = n·ln2 + r. */
AP_INLINE ap_vf ap_vexp(ap_vf x)
{
    const float shifter = 12582912.0f; /* 1.5·2²³: adding it rounds to an integer in the low bits */
    ap_vf c = ap_vselect(x > 89.0f, ap_vsplat(89.0f), x);
    c = ap_vselect(c < -88.0f, ap_vsplat(-88.0f), c);
    ap_vf t = c * 1.44269504088896341f + shifter;
    ap_vf n = t - shifter;
    ap_vi k = (ap_vi)t - (ap_vi)ap_vsplat(shifter);
    ap_vf r = c - n * 0.693147182464599609375f;
    r = r + n * 1.904654323148236017e-9f;
    ap_vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    ap_vf q = p * r;
    p = q * r + r;
    p = p + 1.0f;
    ap_vi half = k >> 1; /* 2^128 has no exponent: two factors */
    ap_vf a = (ap_vf)((half + 127) << 23), b = (ap_vf)((k - half + 127) << 23);
    ap_vi small = x < -87.33f;
    return (ap_vf)(~small & (ap_vi)(p * a * b));
}

/* 1 / (1 + e^−x) */
AP_INLINE ap_vf ap_vsigmoid(ap_vf x)
{
    return 1.0f / (1.0f + ap_vexp(-x));
}

#endif
