/* AdamW (Loshchilov & Hutter 2019) in f32 with the order of operations of torch.optim.AdamW, single
 * tensor; built without fused products, as there. Entry point: ap_cpu_adamw, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"

#include <math.h>

/* The scalars of one step, computed in double and rounded once. */
struct adamw_step {
    float keep; /* 1 − lr·decay */
    float g_scale;
    float beta2, one_minus_beta1, one_minus_beta2;
    float root_correction; /* √(1 − β₂^step) */
    float eps;
    float minus_lr; /* −lr / (1 − β₁^step) */
};

static void adamw_range(float *restrict w, const float *restrict g, float *restrict m,
                        float *restrict v, size_t n, const struct adamw_step *step)
{
    const struct adamw_step s = *step;
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * s.g_scale;
        m[i] += s.one_minus_beta1 * (grad - m[i]);
        v[i] = v[i] * s.beta2 + s.one_minus_beta2 * grad * grad;
        float denominator = sqrtf(v[i]) / s.root_correction + s.eps;
        w[i] = w[i] * s.keep + s.minus_lr * m[i] / denominator;
    }
}

#define RANGE ((size_t)16384)

void ap_cpu_adamw(float *w, const float *g, float *m, float *v, size_t n, float g_scale, double lr,
                  double beta1, double beta2, double eps, double decay, int64_t step)
{
    const struct adamw_step s = {
        .keep = (float)(1.0 - lr * decay),
        .g_scale = g_scale,
        .beta2 = (float)beta2,
        .one_minus_beta1 = (float)(1.0 - beta1),
        .one_minus_beta2 = (float)(1.0 - beta2),
        .root_correction = (float)sqrt(1.0 - pow(beta2, (double)step)),
        .eps = (float)eps,
        .minus_lr = (float)(-lr / (1.0 - pow(beta1, (double)step))),
    };
    bool parallel = ap_worth_threads(n, 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (size_t i = 0; i < n; i += RANGE)
        adamw_range(w + i, g + i, m + i, v + i, n - i < RANGE ? n - i : RANGE, &s);
}
