/* The vector type of the CPU kernels: GNU vectors of the baseline's width (AVX2: 8 floats,
 * otherwise 4), or of AP_VEC_BYTES where a file built for a wider processor defines it first. No
 * intrinsics. */
#ifndef AP_TENSOR_CPU_VEC_H
#define AP_TENSOR_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>

#ifndef AP_VEC_BYTES
#if defined(__AVX__)
#define AP_VEC_BYTES 32
#else
#define AP_VEC_BYTES 16
#endif
#endif

#define AP_VEC_N (AP_VEC_BYTES / 4) /* floats in a vector */
#define AP_LANES 16 /* lanes of every reduction: the same sums at any vector width */
#define AP_LANE_VECS (AP_LANES / AP_VEC_N)

#define AP_INLINE static inline __attribute__((always_inline))

typedef float ap_vf __attribute__((vector_size(AP_VEC_BYTES)));
typedef int32_t ap_vi __attribute__((vector_size(AP_VEC_BYTES)));
typedef float ap_vf_any __attribute__((vector_size(AP_VEC_BYTES), aligned(4), may_alias));

AP_INLINE ap_vf ap_vload(const float *p)
{
    return *(const ap_vf_any *)p;
}

AP_INLINE void ap_vstore(float *p, ap_vf x)
{
    *(ap_vf_any *)p = x;
}

/* The first n floats, the rest `fill`: the end of an array goes through the same vector code. */
AP_INLINE ap_vf ap_vload_part(const float *p, size_t n, float fill)
{
    float part[AP_VEC_N];
    for (size_t i = 0; i < AP_VEC_N; i++)
        part[i] = i < n ? p[i] : fill;
    return ap_vload(part);
}

AP_INLINE void ap_vstore_part(float *p, ap_vf x, size_t n)
{
    float part[AP_VEC_N];
    ap_vstore(part, x);
    for (size_t i = 0; i < n; i++)
        p[i] = part[i];
}

AP_INLINE ap_vf ap_vsplat(float x)
{
    return x - (ap_vf){0};
}

AP_INLINE ap_vf ap_vselect(ap_vi mask, ap_vf yes, ap_vf no)
{
    return (ap_vf)((mask & (ap_vi)yes) | (~mask & (ap_vi)no));
}

/* Of a NaN in x and a number in y: y for max with x first, so NaN is never chosen; see callers. */
AP_INLINE ap_vf ap_vmax(ap_vf x, ap_vf y)
{
    return ap_vselect(x > y, x, y);
}

/* Sixteen lanes to one number in one order, whatever the vector width. */
AP_INLINE float ap_lanes_sum(const ap_vf lanes[AP_LANE_VECS])
{
    float x[AP_LANES];
    for (int v = 0; v < AP_LANE_VECS; v++)
        ap_vstore(x + v * AP_VEC_N, lanes[v]);
    for (int step = AP_LANES / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++)
            x[i] += x[i + step];
    return x[0];
}

AP_INLINE float ap_lanes_max(const ap_vf lanes[AP_LANE_VECS])
{
    float x[AP_LANES];
    for (int v = 0; v < AP_LANE_VECS; v++)
        ap_vstore(x + v * AP_VEC_N, lanes[v]);
    for (int i = 1; i < AP_LANES; i++)
        x[0] = x[i] > x[0] ? x[i] : x[0];
    return x[0];
}

#endif
