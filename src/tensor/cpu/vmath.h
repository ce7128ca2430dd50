/* exp of a vector, at most 2 ulp, the same code for every caller. Include in files built with
 * -ffp-contract=fast: each line holds one product, so what is fused does not depend on the caller.
 */
#ifndef AP_TENSOR_CPU_VMATH_H
#define AP_TENSOR_CPU_VMATH_H

#include "tensor/cpu/vec.h"

#define AP_EACH(v, n) _Pragma("GCC unroll 4") for (int v = 0; v < (n); v++)

/* x := e^x for n vectors, n a constant up to 4, step by step side by side: one alone is a long
 * chain that leaves the processor waiting. 0 below −87.33 (no subnormal results), Inf above 88.73,
 * NaN for NaN. Cephes' polynomial of e^r on |r| <= ln2/2, after x = k·ln2 + r. */
AP_INLINE void ap_vexp_each(ap_vf *x, const int n)
{
    const float shifter = 12582912.0f; /* 1.5·2²³: adding it rounds to an integer in the low bits */
    ap_vf r[4], p[4], m[4];
    ap_vi k[4], small[4], half[4];
    AP_EACH(v, n) small[v] = x[v] < -87.33f;
    AP_EACH(v, n) r[v] = ap_vselect(x[v] > 89.0f, ap_vsplat(89.0f), x[v]);
    AP_EACH(v, n) r[v] = (ap_vf)(~small[v] & (ap_vi)r[v]); /* or k would leave the integers */
    AP_EACH(v, n) m[v] = r[v] * 1.44269504088896341f + shifter;
    AP_EACH(v, n) k[v] = (ap_vi)m[v] - (ap_vi)ap_vsplat(shifter);
    AP_EACH(v, n) m[v] = m[v] - shifter;
    AP_EACH(v, n) r[v] = r[v] - m[v] * 0.693147182464599609375f;
    AP_EACH(v, n) r[v] = r[v] + m[v] * 1.904654323148236017e-9f;
    AP_EACH(v, n) p[v] = r[v] * 1.9875691500e-4f + 1.3981999507e-3f;
    AP_EACH(v, n) p[v] = p[v] * r[v] + 8.3334519073e-3f;
    AP_EACH(v, n) p[v] = p[v] * r[v] + 4.1665795894e-2f;
    AP_EACH(v, n) p[v] = p[v] * r[v] + 1.6666665459e-1f;
    AP_EACH(v, n) p[v] = p[v] * r[v] + 5.0000001201e-1f;
    AP_EACH(v, n) p[v] = p[v] * r[v];
    AP_EACH(v, n) p[v] = p[v] * r[v] + r[v];
    AP_EACH(v, n) p[v] = p[v] + 1.0f;
    AP_EACH(v, n) half[v] = k[v] >> 1; /* 2^128 has no exponent: two factors */
    AP_EACH(v, n) p[v] = p[v] * (ap_vf)((half[v] + 127) << 23);
    AP_EACH(v, n) p[v] = p[v] * (ap_vf)((k[v] - half[v] + 127) << 23);
    AP_EACH(v, n) x[v] = (ap_vf)(~small[v] & (ap_vi)p[v]);
}

/* x := 1 / (1 + e^−x) */
AP_INLINE void ap_vsigmoid_each(ap_vf *x, const int n)
{
    AP_EACH(v, n) x[v] = -x[v];
    ap_vexp_each(x, n);
    AP_EACH(v, n) x[v] = 1.0f / (1.0f + x[v]);
}

#endif
