/* The frontier of reward against KL (frontier.h). From samples every prompt gives one row, and a
 * resample is a sum of drawn rows, as in bound.c. Entry points: ap_frontier_exact, ap_frontier_of,
 * ap_frontier_knee. */
#include "eval/frontier.h"

#include "align/exact.h"
#include "base/memory.h"
#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

void ap_frontier_lambdas(double *lambda, int n, double low, double high)
{
    assert(low > 0 && high >= low && n > 0);
    for (int i = 0; i < n; i++)
        lambda[i] = n > 1 ? low * pow(high / low, (double)i / (n - 1)) : low;
}

/* ---- a world that is known ---- */

ap_status ap_frontier_exact(struct ap_frontier_point *out, const struct ap_frontier_world *world,
                            const double *lambda, int n, struct ap_error *err)
{
    const int R = world->n_rewrite;
    double *star = ap_calloc((size_t)R, sizeof(*star));
    if (!star)
        return ap_fail(err, AP_MEMORY, "frontier: out of memory for %d rewrites", R);
    for (int i = 0; i < n; i++) {
        double kl = 0, reward = 0;
        for (int x = 0; x < world->n_prompt; x++) {
            const size_t row = (size_t)x * (size_t)R;
            const double *sft = world->rho_sft + row, *value = world->value + row;
            ap_exact_tilt(sft, value, R, lambda[i], star);
            kl += world->prompts[x] * ap_exact_kl(star, sft, R);
            reward += world->prompts[x] * ap_exact_mean(star, value, R);
        }
        out[i] = (struct ap_frontier_point){lambda[i], {kl, NAN, NAN}, {reward, NAN, NAN}};
    }
    ap_free(star);
    return AP_OK;
}

/* ---- samples ---- */

struct pair {
    double kl, reward;
};

static double mean_of(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    return sum / n;
}

/* Weights from `n_weigh` answers at `weigh`, values from `n_value` at `value`; scratch [3, n]. */
static struct pair one_way(const double *reward, int n, int K, double lambda, const int weigh[2],
                           const int value[2], double *scratch)
{
    double *a = scratch, *equal = scratch + n, *w = scratch + 2 * n;
    struct pair out = {0, 0};
    for (int i = 0; i < n; i++) {
        a[i] = mean_of(reward + (size_t)i * (size_t)K + weigh[0], weigh[1]);
        equal[i] = 1.0 / n;
    }
    ap_exact_tilt(equal, a, n, lambda, w);
    out.kl = ap_exact_kl(w, equal, n);
    for (int i = 0; i < n; i++)
        out.reward += w[i] * mean_of(reward + (size_t)i * (size_t)K + value[0], value[1]);
    return out;
}

static void fill_row(struct pair *row, const double *reward, const struct ap_frontier_samples *s,
                     const double *lambda, int n_lambda, double *scratch)
{
    const int n = s->n_rewrite, K = s->n_answer;
    const int first[] = {0, K / 2}, second[] = {K / 2, K - K / 2};
    for (int i = 0; i < n_lambda; i++) {
        struct pair a = one_way(reward, n, K, lambda[i], first, second, scratch);
        struct pair b = one_way(reward, n, K, lambda[i], second, first, scratch);
        row[i] = (struct pair){(a.kl + b.kl) / 2, (a.reward + b.reward) / 2};
    }
}

static void add_row(struct pair *restrict sum, const struct pair *restrict row, int n)
{
    for (int i = 0; i < n; i++) {
        sum[i].kl += row[i].kl;
        sum[i].reward += row[i].reward;
    }
}

/* drawn [2, n_lambda, n_bootstrap]: of kl, then of reward. */
static void resample(double *drawn, const struct pair *rows, int64_t n_prompt, int n_lambda,
                     int n_bootstrap, uint64_t seed)
{
    const size_t half = (size_t)n_lambda * (size_t)n_bootstrap;
    for (int b = 0; b < n_bootstrap; b++) {
        struct pair sum[AP_FRONTIER_MAX] = {0};
        struct ap_random random;
        ap_random_init(&random, &(struct ap_stream){.seed = seed,
                                                    .stage = ap_stream_stage("frontier.bootstrap"),
                                                    .step = (uint32_t)b});
        for (int64_t k = 0; k < n_prompt; k++)
            add_row(sum,
                    rows + (size_t)ap_random_below(&random, (uint32_t)n_prompt) * (size_t)n_lambda,
                    n_lambda);
        for (int i = 0; i < n_lambda; i++) {
            size_t at = (size_t)i * (size_t)n_bootstrap + (size_t)b;
            drawn[at] = sum[i].kl / (double)n_prompt;
            drawn[half + at] = sum[i].reward / (double)n_prompt;
        }
    }
}

static ap_status check(const struct ap_frontier_samples *s, int n, int n_bootstrap,
                       struct ap_error *err)
{
    assert(n <= AP_FRONTIER_MAX);
    if (n_bootstrap < 1 || n_bootstrap > AP_BOOTSTRAP_MAX)
        return ap_fail(err, AP_INVALID, "frontier: %d bootstrap resamples, expected 1 to %d",
                       n_bootstrap, AP_BOOTSTRAP_MAX);
    if (s->n_prompt < 1 || s->n_prompt > INT32_MAX)
        return ap_fail(err, AP_LIMIT, "frontier: %lld prompts, expected 1 to %d",
                       (long long)s->n_prompt, INT32_MAX);
    if (s->n_rewrite < 1 || s->n_answer < 2 || s->n_rewrite > INT32_MAX / s->n_answer)
        return ap_fail(err, AP_INVALID,
                       "frontier: %d rewrites with %d answers each, expected at least 1 and 2: one "
                       "half of the answers weighs the rewrites, the other values them",
                       s->n_rewrite, s->n_answer);
    const size_t n_all = (size_t)s->n_prompt * (size_t)s->n_rewrite * (size_t)s->n_answer;
    for (size_t i = 0; i < n_all; i++)
        if (!isfinite(s->reward[i]))
            return ap_fail(err, AP_INVALID,
                           "frontier: a reward is not a finite number; leave out the prompt that "
                           "it belongs to");
    return AP_OK;
}

ap_status ap_frontier_of(struct ap_frontier_point *out, const struct ap_frontier_samples *samples,
                         const double *lambda, int n, int n_bootstrap, uint64_t seed,
                         struct ap_error *err)
{
    ap_status status = check(samples, n, n_bootstrap, err);
    if (status != AP_OK)
        return status;
    const size_t n_prompt = (size_t)samples->n_prompt, n_lambda = (size_t)n;
    const size_t per = (size_t)samples->n_rewrite * (size_t)samples->n_answer;
    const int n_sample = n_prompt > 1 ? n_bootstrap : 0; /* one prompt: no interval */
    struct pair sum[AP_FRONTIER_MAX] = {0};
    struct pair *rows = ap_calloc(n_prompt, n_lambda * sizeof(*rows));
    double *drawn = ap_calloc((size_t)n_bootstrap, 2 * n_lambda * sizeof(*drawn));
    double *scratch = ap_calloc((size_t)samples->n_rewrite, 3 * sizeof(*scratch));
    if (!rows || !drawn || !scratch) {
        status = ap_fail(err, AP_MEMORY, "frontier: out of memory for %zu prompts; ask for fewer",
                         n_prompt);
        goto out;
    }
    for (size_t x = 0; x < n_prompt; x++) {
        fill_row(rows + x * n_lambda, samples->reward + x * per, samples, lambda, n, scratch);
        add_row(sum, rows + x * n_lambda, n);
    }
    resample(drawn, rows, samples->n_prompt, n, n_sample, seed);
    for (int i = 0; i < n; i++) {
        double *at = drawn + (size_t)i * (size_t)n_sample;
        out[i] = (struct ap_frontier_point){
            lambda[i], ap_interval_of(sum[i].kl / (double)n_prompt, at, n_sample),
            ap_interval_of(sum[i].reward / (double)n_prompt, at + n_lambda * (size_t)n_sample,
                           n_sample)};
    }
out:
    ap_free(rows);
    ap_free(drawn);
    ap_free(scratch);
    return status;
}

/* ---- the knee ---- */

/* Of the points to the right of `from`, that to which the slope is steepest; of equal ones the
 * farthest. −1: nothing rises from here. */
static int next_corner(const double *kl, const double *reward, int n, int from)
{
    int best = -1;
    double steepest = 0;
    for (int i = 0; i < n; i++) {
        if (!(kl[i] > kl[from]) || !(reward[i] > reward[from]) || isinf(kl[i]) || isinf(reward[i]))
            continue;
        double slope = (reward[i] - reward[from]) / (kl[i] - kl[from]);
        if (slope > steepest || (best >= 0 && slope == steepest && kl[i] > kl[best])) {
            steepest = slope;
            best = i;
        }
    }
    return best;
}

/* The least KL; of equal ones the most reward. */
static int first_corner(const double *kl, const double *reward, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++) {
        if (!isfinite(kl[i]) || !isfinite(reward[i]))
            continue;
        if (best < 0 || kl[i] < kl[best] || (kl[i] == kl[best] && reward[i] > reward[best]))
            best = i;
    }
    return best;
}

int ap_frontier_knee(const double *kl, const double *reward, int n, bool *corner)
{
    int first = first_corner(kl, reward, n), last = first, knee = -1;
    double most = 0;
    for (int i = 0; corner && i < n; i++)
        corner[i] = false;
    for (int at = first; at >= 0; at = next_corner(kl, reward, n, at)) {
        last = at;
        if (corner)
            corner[at] = true;
    }
    if (first == last)
        return -1;
    for (int at = first; at != last; at = next_corner(kl, reward, n, at)) {
        double x = (kl[at] - kl[first]) / (kl[last] - kl[first]);
        double y = (reward[at] - reward[first]) / (reward[last] - reward[first]);
        if (y - x > most) {
            most = y - x;
            knee = at;
        }
    }
    return knee;
}
