/* SwiGLU (Shazeer 2020), elementwise: h = silu(gate)·up. Entry points: ap_cpu_swiglu,
 * ap_cpu_swiglu_backward, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"
#include "tensor/cpu/vmath.h"

#include <string.h>

#define WIDE 4 /* vectors side by side */
#define STEP ((size_t)WIDE * AP_VEC_N)

/* STEP elements. */
AP_INLINE void swiglu_step(float *h, const float *gate, const float *up)
{
    ap_vf g[WIDE], s[WIDE];
    AP_EACH(v, WIDE) s[v] = g[v] = ap_vload(gate + v * AP_VEC_N);
    ap_vsigmoid_each(s, WIDE);
    AP_EACH(v, WIDE) s[v] = g[v] * s[v];
    AP_EACH(v, WIDE) ap_vstore(h + v * AP_VEC_N, s[v] * ap_vload(up + v * AP_VEC_N));
}

void ap_cpu_swiglu(float *h, const float *gate, const float *up, size_t n)
{
    size_t whole = n - n % STEP, left = n - whole;
    bool parallel = ap_worth_threads(n, 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (size_t i = 0; i < whole; i += STEP)
        swiglu_step(h + i, gate + i, up + i);
    if (left) {
        float end[3][STEP] = {{0}};
        memcpy(end[1], gate + whole, left * sizeof(float));
        memcpy(end[2], up + whole, left * sizeof(float));
        swiglu_step(end[0], end[1], end[2]);
        memcpy(h + whole, end[0], left * sizeof(float));
    }
}

/* σ = sigmoid(gate): dup = dh·gate·σ, dgate = dh·up·σ·(1 + gate·(1 − σ)) */
AP_INLINE void swiglu_backward_step(float *dgate, float *dup, const float *dh, const float *gate,
                                    const float *up)
{
    ap_vf g[WIDE], s[WIDE], d[WIDE], slope[WIDE];
    AP_EACH(v, WIDE) s[v] = g[v] = ap_vload(gate + v * AP_VEC_N);
    ap_vsigmoid_each(s, WIDE);
    AP_EACH(v, WIDE) d[v] = s[v] * ap_vload(dh + v * AP_VEC_N);
    AP_EACH(v, WIDE) slope[v] = 1.0f - s[v];
    AP_EACH(v, WIDE) slope[v] = 1.0f + g[v] * slope[v];
    AP_EACH(v, WIDE) slope[v] = slope[v] * ap_vload(up + v * AP_VEC_N);
    AP_EACH(v, WIDE) ap_vstore(dup + v * AP_VEC_N, d[v] * g[v]);
    AP_EACH(v, WIDE) ap_vstore(dgate + v * AP_VEC_N, d[v] * slope[v]);
}

void ap_cpu_swiglu_backward(float *dgate, float *dup, const float *dh, const float *gate,
                            const float *up, size_t n)
{
    size_t whole = n - n % STEP, left = n - whole;
    bool parallel = ap_worth_threads(n, 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (size_t i = 0; i < whole; i += STEP)
        swiglu_backward_step(dgate + i, dup + i, dh + i, gate + i, up + i);
    if (left) {
        float end[5][STEP] = {{0}};
        memcpy(end[2], dh + whole, left * sizeof(float));
        memcpy(end[3], gate + whole, left * sizeof(float));
        memcpy(end[4], up + whole, left * sizeof(float));
        swiglu_backward_step(end[0], end[1], end[2], end[3], end[4]);
        memcpy(dgate + whole, end[0], left * sizeof(float));
        memcpy(dup + whole, end[1], left * sizeof(float));
    }
}
