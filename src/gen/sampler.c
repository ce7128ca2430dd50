/* The sampler (sampler.h): one uniform number, one row of logits, one token.
 *
 * Untruncated, a row costs one vectorised pass and the second look at one block:
 *
 *     weights  e^((l − max)/T)    | 256 | 256 | 256 | …      block sums, in double
 *                                        ▲ the block that the number falls into is weighed again
 *
 * Truncated, a heap gives tokens from the largest down until enough are kept; nothing sorts the
 * whole vocabulary. Entry points: ap_sample_token, ap_penalise. */
#include "gen/sampler.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 256, LANES = 16 };

/* Outside of these a float's quotient of logits overflows or says nothing. */
static const double temperature_min = 1e-3, temperature_max = 1e3;
static const double penalty_min = 1e-2, penalty_max = 1e2;

size_t ap_sampler_n_block(int n_vocab)
{
    return ((size_t)n_vocab + BLOCK - 1) / BLOCK;
}

ap_status ap_sampling_check(const struct ap_sampling *s, struct ap_error *err)
{
    if (s->temperature != 0 &&
        !(s->temperature >= temperature_min && s->temperature <= temperature_max))
        return ap_fail(err, AP_INVALID,
                       "temperature is %g, expected 0 (greedy) or a number from %g to %g",
                       s->temperature, temperature_min, temperature_max);
    if (s->top_k < 0)
        return ap_fail(err, AP_INVALID, "top_k is %d, expected 0 (off) or a number of tokens",
                       s->top_k);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return ap_fail(err, AP_INVALID, "top_p is %g, expected a share in (0, 1]; 1 is off",
                       s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return ap_fail(err, AP_INVALID, "min_p is %g, expected a share in [0, 1]; 0 is off",
                       s->min_p);
    if (s->repetition_penalty != 0 &&
        !(s->repetition_penalty >= penalty_min && s->repetition_penalty <= penalty_max))
        return ap_fail(err, AP_INVALID,
                       "repetition_penalty is %g, expected a number from %g to %g; 1 is off",
                       s->repetition_penalty, penalty_min, penalty_max);
    return AP_OK;
}

static float largest(const float *x, int n)
{
    float lane[LANES], max = -INFINITY;
    int i = 0;
    for (int j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int j = 0; j < LANES; j++)
        max = lane[j] > max ? lane[j] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static int32_t first_at(const float *x, int n, float value)
{
    for (int i = 0; i < n; i++)
        if (x[i] == value)
            return i;
    return 0;
}

/* e^x for x ≤ 0 to 2 ulp, without branches (Cephes' expf); below −87, and for NaN, 0. */
static inline float exp_nonpositive(float x)
{
    float bounded = x > -87.0f ? x : -87.0f;
    float n = rintf(bounded * 1.44269504088896341f);
    float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof(power));
    return x > -87.0f ? p * power : 0.0f;
}

static void weigh(float *weight, const float *x, int n, float max, float per_t)
{
    for (int j = 0; j < n; j++)
        weight[j] = exp_nonpositive((x[j] - max) * per_t);
}

static double weigh_block(const float *x, int n, float max, float per_t)
{
    float weight[BLOCK];
    double lane[LANES] = {0}, sum = 0;
    weigh(weight, x, n, max, per_t);
    for (int j = n; j < BLOCK; j++)
        weight[j] = 0;
    for (int i = 0; i < BLOCK; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)weight[i + j];
    for (int j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

static int block_size(int n_vocab, int first)
{
    return n_vocab - first < BLOCK ? n_vocab - first : BLOCK;
}

static double weigh_all(double *block, const float *logits, int n_vocab, float max, float per_t)
{
    double total = 0;
    for (int first = 0; first < n_vocab; first += BLOCK) {
        double sum = weigh_block(logits + first, block_size(n_vocab, first), max, per_t);
        block[first / BLOCK] = sum;
        total += sum;
    }
    return total;
}

/* The token at `goal` of the mass, `before` of which lies before this block; −1 when all its
 * weights are 0. Rounding may leave goal past the last: then the last one that has any weight. */
static int32_t find_in_block(const float *x, int n, float max, float per_t, double before,
                             double goal)
{
    float weight[BLOCK];
    int32_t last = -1;
    weigh(weight, x, n, max, per_t);
    for (int j = 0; j < n; j++) {
        if (!(weight[j] > 0))
            continue;
        last = j;
        before += (double)weight[j];
        if (before > goal)
            break;
    }
    return last;
}

static int32_t sample_all(const float *logits, int n_vocab, float max, float per_t, double uniform,
                          double *block)
{
    double goal = uniform * weigh_all(block, logits, n_vocab, max, per_t), before = 0;
    int b = 0, n_block = (int)ap_sampler_n_block(n_vocab);
    while (b + 1 < n_block && before + block[b] <= goal)
        before += block[b++];
    int first = b * BLOCK;
    int32_t at =
        find_in_block(logits + first, block_size(n_vocab, first), max, per_t, before, goal);
    return at < 0 ? first_at(logits, n_vocab, max) : first + at;
}

/* -- truncation: a heap of ids; `least` on top while it gathers, the most probable one after -- */

static inline bool stands_before(const float *logits, int32_t a, int32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static inline void sift_down(int32_t *heap, int n, int at, const float *logits, bool least)
{
    int32_t id = heap[at];
    for (int child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && stands_before(logits, heap[child + 1], heap[child]) != least)
            child++;
        if (stands_before(logits, heap[child], id) == least)
            break;
        heap[at] = heap[child];
    }
    heap[at] = id;
}

static inline void make_heap(int32_t *heap, int n, const float *logits, bool least)
{
    for (int i = n / 2 - 1; i >= 0; i--)
        sift_down(heap, n, i, logits, least);
}

/* The top goes to where the heap ended: what was taken stands from the end downwards. */
static int32_t take_top(int32_t *heap, int *n, const float *logits)
{
    int32_t top = heap[0];
    heap[0] = heap[--*n];
    heap[*n] = top;
    sift_down(heap, *n, 0, logits, false);
    return top;
}

static double weight_of(float logit, float max, double temperature)
{
    return exp(((double)logit - (double)max) / temperature);
}

/* The k that stand first: a later id takes the place of the last of them only when it is larger. */
static int gather_top(int32_t *heap, const float *logits, int n_vocab, int k)
{
    for (int i = 0; i < k; i++)
        heap[i] = i;
    make_heap(heap, k, logits, true);
    for (int i = k; i < n_vocab; i++)
        if (logits[i] > logits[heap[0]]) {
            heap[0] = i;
            sift_down(heap, k, 0, logits, true);
        }
    return k;
}

static int gather_above(int32_t *heap, const float *logits, int n_vocab, float floor)
{
    int n = 0;
    for (int i = 0; i < n_vocab; i++) {
        heap[n] = i;
        n += logits[i] >= floor;
    }
    return n;
}

/* All tokens under (1−p)/V together have less than 1−p: the nucleus lies among the others. The nat
 * less is for rounding. */
static float nucleus_floor(double top_p, double total, int n_vocab, float max, double temperature)
{
    return max + (float)(temperature * (log((1 - top_p) * total / n_vocab) - 1));
}

/* Under this logit a token has less than min_p of the largest's probability. */
static float min_p_floor(double min_p, float max, double temperature)
{
    return min_p > 0 ? max + (float)(temperature * (log(min_p) - 1e-3)) : -INFINITY;
}

static int32_t sample_truncated(const float *logits, int n_vocab, float max,
                                const struct ap_sampling *s, double uniform,
                                const struct ap_sampler_scratch *scratch)
{
    int32_t *heap = scratch->heap;
    bool by_count = s->top_k > 0 && s->top_k < n_vocab;
    double reach = INFINITY, mass = 0;
    float floor = min_p_floor(s->min_p, max, s->temperature);
    int n;
    if (by_count) {
        n = gather_top(heap, logits, n_vocab, s->top_k);
    } else {
        if (s->top_p < 1) {
            float per_t = (float)(1 / s->temperature);
            double total = weigh_all(scratch->block, logits, n_vocab, max, per_t);
            reach = s->top_p * total;
            floor = fmaxf(floor, nucleus_floor(s->top_p, total, n_vocab, max, s->temperature));
        }
        n = gather_above(heap, logits, n_vocab, floor);
    }
    make_heap(heap, n, logits, false);
    int left = n;
    while (left > 0 && mass < reach &&
           (by_count || weight_of(logits[heap[0]], max, s->temperature) >= s->min_p))
        mass += weight_of(logits[take_top(heap, &left, logits)], max, s->temperature);

    int first = n - 1, last = left; /* kept ones: heap[first], heap[first − 1], … heap[last] */
    if (by_count && (s->top_p < 1 || s->min_p > 0)) {
        reach = s->top_p < 1 ? s->top_p * mass : INFINITY;
        mass = 0;
        for (last = n; last > left && mass < reach &&
                       weight_of(logits[heap[last - 1]], max, s->temperature) >= s->min_p;)
            mass += weight_of(logits[heap[--last]], max, s->temperature);
    }
    double goal = uniform * mass, before = 0;
    for (int i = first; i > last; i--) {
        before += weight_of(logits[heap[i]], max, s->temperature);
        if (before > goal)
            return heap[i];
    }
    return last < n ? heap[last] : first_at(logits, n_vocab, max); /* none kept: logits hold Inf */
}

int32_t ap_sample_token(const float *logits, int n_vocab, const struct ap_sampling *s,
                        double uniform, const struct ap_sampler_scratch *scratch)
{
    float max = largest(logits, n_vocab);
    if (s->temperature == 0)
        return first_at(logits, n_vocab, max);
    bool truncated = (s->top_k > 0 && s->top_k < n_vocab) || s->top_p < 1 || s->min_p > 0;
    if (truncated)
        return sample_truncated(logits, n_vocab, max, s, uniform, scratch);
    return sample_all(logits, n_vocab, max, (float)(1 / s->temperature), uniform, scratch->block);
}

/* -- the penalty of repetition -- */

/* All are read before one is written: an id that stands twice is penalised once. */
void ap_penalise(float *logits, const int32_t *ids, int n, double penalty, float *saved)
{
    const float p = (float)penalty;
    for (int i = 0; i < n; i++)
        saved[i] = logits[ids[i]];
    for (int i = 0; i < n; i++)
        logits[ids[i]] = saved[i] < 0 ? saved[i] * p : saved[i] / p;
}

void ap_unpenalise(float *logits, const int32_t *ids, int n, const float *saved)
{
    for (int i = 0; i < n; i++)
        logits[ids[i]] = saved[i];
}
