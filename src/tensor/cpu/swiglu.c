/* SwiGLU (Shazeer 2020), elementwise: h = silu(gate)·up. Entry points: ap_cpu_swiglu,
 * ap_cpu_swiglu_backward, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"
#include "tensor/cpu/vmath.h"

AP_INLINE ap_vf swiglu_v(ap_vf gate, ap_vf up)
{
    return gate * ap_vsigmoid(gate) * up;
}

void ap_cpu_swiglu(float *h, const float *gate, const float *up, size_t n)
{
    size_t whole = n - n % AP_VEC_N;
    bool parallel = ap_worth_threads(n, 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (size_t i = 0; i < whole; i += AP_VEC_N)
        ap_vstore(h + i, swiglu_v(ap_vload(gate + i), ap_vload(up + i)));
    if (whole < n) {
        size_t left = n - whole;
        ap_vf x = swiglu_v(ap_vload_part(gate + whole, left, 0.0f),
                           ap_vload_part(up + whole, left, 0.0f));
        ap_vstore_part(h + whole, x, left);
    }
}

/* σ = sigmoid(gate): dup = dh·gate·σ, dgate = dh·up·σ·(1 + gate·(1 − σ)) */
AP_INLINE void swiglu_backward_v(ap_vf *dgate, ap_vf *dup, ap_vf dh, ap_vf gate, ap_vf up)
{
    ap_vf s = ap_vsigmoid(gate);
    ap_vf slope = 1.0f + gate * (1.0f - s);
    *dup = dh * gate * s;
    *dgate = dh * up * s * slope;
}

void ap_cpu_swiglu_backward(float *dgate, float *dup, const float *dh, const float *gate,
                            const float *up, size_t n)
{
    size_t whole = n - n % AP_VEC_N, left = n - whole;
    bool parallel = ap_worth_threads(n, 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (size_t i = 0; i < whole; i += AP_VEC_N) {
        ap_vf dg, du;
        swiglu_backward_v(&dg, &du, ap_vload(dh + i), ap_vload(gate + i), ap_vload(up + i));
        ap_vstore(dgate + i, dg);
        ap_vstore(dup + i, du);
    }
    if (left) {
        ap_vf dg, du;
        swiglu_backward_v(&dg, &du, ap_vload_part(dh + whole, left, 0.0f),
                          ap_vload_part(gate + whole, left, 0.0f),
                          ap_vload_part(up + whole, left, 0.0f));
        ap_vstore_part(dgate + whole, dg, left);
        ap_vstore_part(dup + whole, du, left);
    }
}
