/* The bound from samples (bound.h). Every number is a function of means over prompts, so each
 * prompt becomes one row, a resample is a sum of drawn rows, and one function turns a sum into what
 * is told.
 *
 * Entry point: ap_bound_of. */
#include "eval/bound.h"

#include "align/loss.h"
#include "base/memory.h"
#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
#define X(field) AT_##field,
    AP_BOUND_LIST(X)
#undef X
        N_TOLD
};

/* What a prompt gives. */
enum {
    ROW_SFT,
    ROW_LOWER,
    ROW_PLUG_IN,
    ROW_REWARD,
    ROW_KL,
    ROW_STAR,
    ROW_LACKS,
    ROW_DISTURBS,
    N_ROW
};

/* ---- one prompt ---- */

static double mean_of(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    return sum / n;
}

double ap_bound_plug_in(const double *reward, int n, int K, double kl)
{
    double best = -INFINITY, sum = 0; /* of exponents that are at most 0 */
    for (int i = 0; i < n; i++)
        best = fmax(best, mean_of(reward + (size_t)i * (size_t)K, K));
    for (int i = 0; i < n; i++)
        sum += exp((mean_of(reward + (size_t)i * (size_t)K, K) - best) / kl);
    return best + kl * log(sum / n);
}

/* Answers of one rewrite: those that weigh it and those that value it. */
struct half {
    int first, n;
};

/* Σ w b − λ KL(w ‖ 1/n) = Σ w (b − a) + λ log mean exp(a/λ), for w ∝ exp(a/λ). */
static double one_way(const double *reward, int n, int K, double kl, struct half weigh,
                      struct half value)
{
    double best = -INFINITY, sum = 0, differences = 0;
    for (int i = 0; i < n; i++)
        best = fmax(best, mean_of(reward + (size_t)i * (size_t)K + weigh.first, weigh.n));
    for (int i = 0; i < n; i++) {
        const double *r = reward + (size_t)i * (size_t)K;
        const double a = mean_of(r + weigh.first, weigh.n), b = mean_of(r + value.first, value.n);
        const double w = exp((a - best) / kl);
        sum += w;
        differences += w * (b - a);
    }
    return differences / sum + best + kl * log(sum / n);
}

double ap_bound_lower(const double *reward, int n, int K, double kl)
{
    assert(K >= 2);
    const struct half first = {0, K / 2}, second = {K / 2, K - K / 2};
    return (one_way(reward, n, K, kl, first, second) + one_way(reward, n, K, kl, second, first)) /
           2;
}

double ap_bound_tv(const double *logp, const double *logq, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += ap_tv_term(logp[i], logq[i]);
    return sum / n;
}

double ap_bound_range(const double *reward, size_t n)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        low = fmin(low, reward[i]);
        high = fmax(high, reward[i]);
    }
    return n > 0 ? high - low : 0;
}

/* ---- rows, and what their sum tells ---- */

static double tv_of(const struct ap_bound_pairs *pairs, int64_t x)
{
    const size_t at = (size_t)x * (size_t)pairs->n;
    return pairs->n > 0 ? ap_bound_tv(pairs->logp + at, pairs->logq + at, pairs->n) : NAN;
}

static void fill_rows(double *rows, const struct ap_bound_samples *s)
{
    const int n = s->n_rewrite, K = s->n_answer;
    for (int64_t x = 0; x < s->n_prompt; x++, rows += N_ROW) {
        const double *reward = s->reward + (size_t)x * (size_t)n * (size_t)K;
        rows[ROW_SFT] = mean_of(reward, n * K);
        rows[ROW_LOWER] = ap_bound_lower(reward, n, K, s->kl);
        rows[ROW_PLUG_IN] = ap_bound_plug_in(reward, n, K, s->kl);
        rows[ROW_REWARD] = s->trained_reward ? s->trained_reward[x] : NAN;
        rows[ROW_KL] = s->trained_kl ? s->trained_kl[x] : NAN;
        rows[ROW_STAR] = s->star_reward ? s->star_reward[x] : NAN;
        rows[ROW_LACKS] = tv_of(&s->lacks, x);
        rows[ROW_DISTURBS] = tv_of(&s->disturbs, x);
    }
}

/* A resample without room stands above every share, as in statistics.c. */
static double share_of(double gain, double room)
{
    return isnan(gain) ? NAN : room > 0 ? gain / room : INFINITY;
}

static void tell(const double *sum, const struct ap_bound_samples *s, double *told)
{
    const double n = (double)s->n_prompt;
    told[AT_j_sft] = sum[ROW_SFT] / n;
    told[AT_lower] = sum[ROW_LOWER] / n;
    told[AT_plug_in] = sum[ROW_PLUG_IN] / n;
    told[AT_wins_back] = s->kl * sum[ROW_KL] / n;
    told[AT_j_trained] = sum[ROW_REWARD] / n - told[AT_wins_back];
    told[AT_gain] = told[AT_j_trained] - told[AT_j_sft];
    told[AT_room_lower] = told[AT_lower] - told[AT_j_sft];
    told[AT_room_plug_in] = told[AT_plug_in] - told[AT_j_sft];
    told[AT_share_lower] = share_of(told[AT_gain], told[AT_room_lower]);
    told[AT_share_plug_in] = share_of(told[AT_gain], told[AT_room_plug_in]);
    told[AT_lacks] = s->r_max * sum[ROW_LACKS] / n;
    told[AT_disturbs] = s->r_max * sum[ROW_DISTURBS] / n;
    told[AT_gap] = (sum[ROW_STAR] - sum[ROW_REWARD]) / n;
    told[AT_sum] = told[AT_lacks] + told[AT_disturbs] - told[AT_wins_back];
}

/* ---- the bootstrap ---- */

static void add_row(double *restrict sum, const double *restrict row)
{
    for (int i = 0; i < N_ROW; i++)
        sum[i] += row[i];
}

/* samples [N_TOLD, n_bootstrap] */
static void resample(double *samples, const double *rows, const struct ap_bound_samples *s,
                     int n_bootstrap, uint64_t seed)
{
    for (int i = 0; i < n_bootstrap; i++) {
        double sum[N_ROW] = {0}, told[N_TOLD];
        struct ap_random random;
        ap_random_init(&random, &(struct ap_stream){.seed = seed,
                                                    .stage = ap_stream_stage("bound.bootstrap"),
                                                    .step = (uint32_t)i});
        for (int64_t k = 0; k < s->n_prompt; k++)
            add_row(sum, rows + (size_t)ap_random_below(&random, (uint32_t)s->n_prompt) * N_ROW);
        tell(sum, s, told);
        for (int m = 0; m < N_TOLD; m++)
            samples[(size_t)m * (size_t)n_bootstrap + (size_t)i] = told[m];
    }
}

static void drop_share(struct ap_interval *share, struct ap_interval room)
{
    if (!(room.low > 0))
        *share = (struct ap_interval){NAN, NAN, NAN};
}

static enum ap_bound_check check_of(struct ap_interval gain)
{
    if (isnan(gain.value))
        return AP_BOUND_UNKNOWN;
    return gain.low >= 0 ? AP_BOUND_HOLDS : gain.high < 0 ? AP_BOUND_FAILS : AP_BOUND_OPEN;
}

static void intervals(struct ap_bound *out, const double *rows, double *samples, int n_sample,
                      size_t stride, const struct ap_bound_samples *s)
{
    double sum[N_ROW] = {0}, told[N_TOLD];
    for (int64_t x = 0; x < s->n_prompt; x++)
        add_row(sum, rows + (size_t)x * N_ROW);
    tell(sum, s, told);
#define X(field)                                                                                   \
    out->field = ap_interval_of(told[AT_##field], samples + AT_##field * stride, n_sample);
    AP_BOUND_LIST(X)
#undef X
    drop_share(&out->share_lower, out->room_lower);
    drop_share(&out->share_plug_in, out->room_plug_in);
    out->check = check_of(out->gain);
}

/* ---- what may come in ---- */

static bool all_finite(const double *x, size_t n)
{
    for (size_t i = 0; x && i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static bool no_nan(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]))
            return false;
    return true;
}

static ap_status check_pairs(const struct ap_bound_pairs *pairs, int64_t n_prompt, const char *name,
                             struct ap_error *err)
{
    const size_t n = (size_t)n_prompt * (size_t)pairs->n;
    if (!all_finite(pairs->logp, n) || (pairs->n > 0 && !no_nan(pairs->logq, n)))
        return ap_fail(err, AP_INVALID,
                       "bound: a log-probability of the term '%s' is not a number; leave out the "
                       "prompt that it belongs to",
                       name);
    return AP_OK;
}

static ap_status check(const struct ap_bound_samples *s, int n_bootstrap, struct ap_error *err)
{
    ap_status status;
    assert(s->kl > 0 && s->r_max >= 0 && !s->trained_reward == !s->trained_kl);
    if (n_bootstrap < 1 || n_bootstrap > AP_BOOTSTRAP_MAX)
        return ap_fail(err, AP_INVALID, "bound: %d bootstrap resamples, expected 1 to %d",
                       n_bootstrap, AP_BOOTSTRAP_MAX);
    if (s->n_prompt < 1 || s->n_prompt > INT32_MAX)
        return ap_fail(err, AP_LIMIT, "bound: %lld prompts, expected 1 to %d",
                       (long long)s->n_prompt, INT32_MAX);
    if (s->n_rewrite < 1 || s->n_answer < 2 || s->n_rewrite > INT32_MAX / s->n_answer)
        return ap_fail(
            err, AP_INVALID,
            "bound: %d rewrites with %d answers each, expected at least 1 and 2: one half "
            "of the answers weighs the rewrites, the other values them",
            s->n_rewrite, s->n_answer);
    if (!all_finite(s->reward, (size_t)s->n_prompt * (size_t)s->n_rewrite * (size_t)s->n_answer) ||
        !all_finite(s->trained_reward, (size_t)s->n_prompt) ||
        !all_finite(s->trained_kl, (size_t)s->n_prompt) ||
        !all_finite(s->star_reward, (size_t)s->n_prompt))
        return ap_fail(err, AP_INVALID,
                       "bound: a reward or a KL is not a finite number; leave out "
                       "the prompt that it belongs to");
    status = check_pairs(&s->lacks, s->n_prompt, "lacks", err);
    return status == AP_OK ? check_pairs(&s->disturbs, s->n_prompt, "disturbs", err) : status;
}

ap_status ap_bound_of(struct ap_bound *out, const struct ap_bound_samples *samples, int n_bootstrap,
                      uint64_t seed, struct ap_error *err)
{
    double *rows = NULL, *drawn = NULL;
    ap_status status = check(samples, n_bootstrap, err);
    if (status != AP_OK)
        return status;
    /* Every resample of one prompt is that prompt: no interval. */
    const int n_sample = samples->n_prompt > 1 ? n_bootstrap : 0;
    rows = ap_calloc((size_t)samples->n_prompt, N_ROW * sizeof(*rows));
    drawn = ap_calloc((size_t)n_bootstrap, N_TOLD * sizeof(*drawn));
    if (!rows || !drawn) {
        status = ap_fail(err, AP_MEMORY,
                         "bound: out of memory for %lld prompts and %d resamples; ask for fewer",
                         (long long)samples->n_prompt, n_bootstrap);
        goto out;
    }
    fill_rows(rows, samples);
    resample(drawn, rows, samples, n_sample, seed);
    intervals(out, rows, drawn, n_sample, (size_t)n_sample, samples);
out:
    ap_free(rows);
    ap_free(drawn);
    return status;
}
