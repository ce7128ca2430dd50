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
typedef int32_t ap_vi_any __attribute__((vector_size(AP_VEC_BYTES), aligned(4), may_alias));

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

/* -- sixteen lanes to one number: halves are folded together until one is left, so the order is the
 * same whatever the vector width (16 lanes + 8, 4, 2, 1 further on). Baseline vectors only. -- */

#define AP_FOLD_DEFINE(name, OP)                                                                   \
    AP_INLINE float name(const ap_vf lanes[AP_LANE_VECS])                                          \
    {                                                                                              \
        ap_v4 x = OP(ap_v4_of(lanes, 0), ap_v4_of(lanes, 2));                                      \
        ap_v4 y = OP(ap_v4_of(lanes, 1), ap_v4_of(lanes, 3));                                      \
        x = OP(x, y);                                                                              \
        x = OP(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));                                      \
        x = OP(x, __builtin_shufflevector(x, x, 1, 0, 3, 2));                                      \
        return x[0];                                                                               \
    }

typedef float ap_v4 __attribute__((vector_size(16)));
typedef int32_t ap_v4i __attribute__((vector_size(16)));

/* Quarter i of the lanes. */
AP_INLINE ap_v4 ap_v4_of(const ap_vf lanes[AP_LANE_VECS], int i)
{
    const float *at = (const float *)lanes + 4 * i;
    return (ap_v4){at[0], at[1], at[2], at[3]};
}

AP_INLINE ap_v4 ap_v4_add(ap_v4 x, ap_v4 y)
{
    return x + y;
}

AP_INLINE ap_v4 ap_v4_max(ap_v4 x, ap_v4 y)
{
    ap_v4i mask = x > y;
    return (ap_v4)((mask & (ap_v4i)x) | (~mask & (ap_v4i)y));
}

AP_FOLD_DEFINE(ap_lanes_sum, ap_v4_add)
AP_FOLD_DEFINE(ap_lanes_max, ap_v4_max)

#endif
