/* Log-probabilities and entropies over the vocabulary, one row of logits at a time, and their
 * gradient. Sums: sixteen lanes of f32 within a block of 1024, blocks in double. Entry points:
 * ap_cpu_logprob, ap_cpu_logprob_backward, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"
#include "tensor/cpu/vmath.h"

#include <assert.h>
#include <math.h>

#define BLOCK 1024
#define LOWEST (-104.0f) /* e^LOWEST is 0: keeps 0·(−Inf) out of the entropy */

AP_INLINE ap_vf load_logits(const float *x, int left)
{
    return left >= AP_VEC_N ? ap_vload(x) : ap_vload_part(x, (size_t)left, -INFINITY);
}

static float row_max(const float *x, int n)
{
    ap_vf top[AP_LANE_VECS];
    for (int v = 0; v < AP_LANE_VECS; v++)
        top[v] = ap_vsplat(-INFINITY);
    for (int i = 0; i < n; i += AP_LANES)
        for (int v = 0; v < AP_LANE_VECS && i + v * AP_VEC_N < n; v++)
            top[v] = ap_vmax(load_logits(x + i + v * AP_VEC_N, n - i - v * AP_VEC_N), top[v]);
    return ap_lanes_max(top);
}

/* log p up to a constant, bounded below; NaN stays NaN. */
AP_INLINE ap_vf shifted(ap_vf logits, float inverse, float shift)
{
    ap_vf x = logits * inverse - shift;
    return ap_vselect(x < LOWEST, ap_vsplat(LOWEST), x);
}

struct sums {
    double e, ex; /* Σ e^x and Σ x·e^x, x = logits/temperature − max */
};

static void add_block(struct sums *s, const float *x, int n, float inverse, float most)
{
    ap_vf e_sum[AP_LANE_VECS] = {{0}}, ex_sum[AP_LANE_VECS] = {{0}};
    for (int i = 0; i < n; i += AP_LANES) {
        for (int v = 0; v < AP_LANE_VECS && i + v * AP_VEC_N < n; v++) {
            int at = i + v * AP_VEC_N;
            ap_vf d = shifted(load_logits(x + at, n - at), inverse, most);
            ap_vf e = ap_vexp(d);
            e_sum[v] += e;
            ex_sum[v] += e * d;
        }
    }
    s->e += (double)ap_lanes_sum(e_sum);
    s->ex += (double)ap_lanes_sum(ex_sum);
}

void ap_cpu_logprob(float *logp, float *entropy, float *lse, const float *logits,
                    const int32_t *target, int n_row, int n_vocab, float temperature)
{
    float inverse = 1.0f / temperature;
    bool parallel = ap_worth_threads(n_row, (size_t)n_vocab * 4);
    assert(temperature > 0.0f);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++) {
        const float *x = logits + (size_t)i * n_vocab;
        struct sums s = {0};
        assert(target[i] >= 0 && target[i] < n_vocab);
        float most = row_max(x, n_vocab) * inverse;
        for (int j = 0; j < n_vocab; j += BLOCK)
            add_block(&s, x + j, n_vocab - j < BLOCK ? n_vocab - j : BLOCK, inverse, most);
        double log_sum = log(s.e);
        logp[i] = (float)((double)x[target[i]] * inverse - most - log_sum);
        lse[i] = (float)(most + log_sum);
        if (entropy)
            entropy[i] = (float)(log_sum - s.ex / s.e);
    }
}

/* What a row's every logit gets: p_j (a + b (log p_j + H)), a = −dlogp/temperature, b =
 * −dentropy/temperature. */
static void backward_row(float *x, int n, float inverse, float lse, float a, float b, float h)
{
    for (int i = 0; i < n; i += AP_VEC_N) {
        ap_vf d = shifted(load_logits(x + i, n - i), inverse, lse);
        ap_vf g = (d + h) * b + a;
        g = g * ap_vexp(d);
        if (n - i >= AP_VEC_N)
            ap_vstore(x + i, g);
        else
            ap_vstore_part(x + i, g, (size_t)(n - i));
    }
}

void ap_cpu_logprob_backward(float *logits, const float *lse, const float *entropy,
                             const int32_t *target, const float *dlogp, const float *dentropy,
                             int n_row, int n_vocab, float temperature)
{
    float inverse = 1.0f / temperature;
    bool parallel = ap_worth_threads(n_row, (size_t)n_vocab * 4);
    assert(!dentropy || entropy);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++) {
        float *x = logits + (size_t)i * n_vocab;
        float a = -dlogp[i] * inverse, b = dentropy ? -dentropy[i] * inverse : 0.0f;
        backward_row(x, n_vocab, inverse, lse[i], a, b, dentropy ? entropy[i] : 0.0f);
        x[target[i]] -= a;
    }
}
