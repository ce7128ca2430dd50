/* Log-probabilities and entropies over the vocabulary, one row of logits at a time, and their
 * gradient. Sums: sixteen lanes of f32 within a block of 1024, blocks in double. Entry points:
 * ap_cpu_logprob, ap_cpu_logprob_backward, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"
#include "tensor/cpu/vmath.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define BLOCK 1024
#define WIDE 4 /* vectors side by side */
#define STEP (WIDE * AP_VEC_N)
#define LOWEST (-104.0f) /* e^LOWEST is 0: keeps 0·(−Inf) out of the entropy */

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* The next STEP logits: x itself, or its last few with −Inf behind them in `end`. */
AP_INLINE const float *whole_step(const float *x, int left, float end[STEP])
{
    if (left >= STEP)
        return x;
    for (int i = 0; i < STEP; i++)
        end[i] = i < left ? x[i] : -INFINITY;
    return end;
}

static float row_max(const float *x, int n)
{
    ap_vf top[AP_LANE_VECS];
    float end[STEP];
    for (int v = 0; v < AP_LANE_VECS; v++)
        top[v] = ap_vsplat(-INFINITY);
    for (int i = 0; i < n; i += STEP) {
        const float *at = whole_step(x + i, n - i, end);
        AP_EACH(v, WIDE)
        top[v % AP_LANE_VECS] = ap_vmax(ap_vload(at + v * AP_VEC_N), top[v % AP_LANE_VECS]);
    }
    return ap_lanes_max(top);
}

/* d := log p up to a constant, bounded below (NaN stays NaN), and e := e^d, of STEP logits. */
AP_INLINE void shifted_exp(ap_vf d[WIDE], ap_vf e[WIDE], const float *x, float inverse, float shift)
{
    AP_EACH(v, WIDE) d[v] = ap_vload(x + v * AP_VEC_N) * inverse - shift;
    AP_EACH(v, WIDE) e[v] = d[v] = ap_vselect(d[v] < LOWEST, ap_vsplat(LOWEST), d[v]);
    ap_vexp_each(e, WIDE);
}

struct sums {
    double e, ed; /* Σ e^d and Σ d·e^d, d = logits/temperature − max */
};

static void add_block(struct sums *s, const float *x, int n, float inverse, float most)
{
    ap_vf e_sum[AP_LANE_VECS] = {{0}}, ed_sum[AP_LANE_VECS] = {{0}}, d[WIDE], e[WIDE];
    float end[STEP];
    for (int i = 0; i < n; i += STEP) {
        shifted_exp(d, e, whole_step(x + i, n - i, end), inverse, most);
        AP_EACH(v, WIDE) e_sum[v % AP_LANE_VECS] += e[v];
        AP_EACH(v, WIDE) ed_sum[v % AP_LANE_VECS] += e[v] * d[v];
    }
    s->e += (double)ap_lanes_sum(e_sum);
    s->ed += (double)ap_lanes_sum(ed_sum);
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
            add_block(&s, x + j, smaller(n_vocab - j, BLOCK), inverse, most);
        double log_sum = log(s.e);
        logp[i] = (float)((double)x[target[i]] * inverse - most - log_sum);
        lse[i] = (float)(most + log_sum);
        if (entropy)
            entropy[i] = (float)(log_sum - s.ed / s.e);
    }
}

/* What a row's every logit gets: p_j (a + b (log p_j + H)), a = −dlogp/temperature, b =
 * −dentropy/temperature. */
static void backward_row(float *x, int n, float inverse, float lse, float a, float b, float h)
{
    ap_vf d[WIDE], e[WIDE], g[WIDE];
    float end[STEP];
    for (int i = 0; i < n; i += STEP) {
        shifted_exp(d, e, whole_step(x + i, n - i, end), inverse, lse);
        AP_EACH(v, WIDE) d[v] = d[v] + h;
        AP_EACH(v, WIDE) g[v] = d[v] * b + a;
        float *to = n - i >= STEP ? x + i : end;
        AP_EACH(v, WIDE) ap_vstore(to + v * AP_VEC_N, g[v] * e[v]);
        if (to == end)
            memcpy(x + i, end, (size_t)(n - i) * sizeof(float));
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
