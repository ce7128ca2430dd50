/* Statistics of arms over a table of scores, and their bootstrap. Not here: run.db (report_read.c).
 *
 * Every metric is a function of sums over prompts, so each prompt becomes one row of numbers, a
 * resample is a sum of drawn rows, and one function turns a sum into metrics: the estimate from the
 * sum of all rows, the intervals from resamples.
 *
 *     row = n | n of seed 0 … S−1 | arm 0: 8 sums, then (x, x²) of seed 0 … S−1 | arm 1 …
 *
 * Entry point: ap_arm_statistics_of. */
#include "eval/statistics.h"

#include "base/memory.h"
#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
#define X(field) AT_##field,
    AP_STATISTIC_LIST(X)
#undef X
        N_STATISTIC
};

const struct ap_statistic ap_statistics[] = {
#define X(field) {#field, offsetof(struct ap_arm_statistics, field)},
    AP_STATISTIC_LIST(X)
#undef X
};
const int ap_n_statistics = N_STATISTIC;

struct ap_interval *ap_statistic_at(struct ap_arm_statistics *arm, int which)
{
    assert(which >= 0 && which < N_STATISTIC);
    return (struct ap_interval *)((char *)arm + ap_statistics[which].offset);
}

/* The sums of an arm in a row, before its seeds. */
enum {
    SUM_SCORE,
    SUM_WIN_BARE,
    SUM_WIN_INSTRUCT,
    SUM_KL,
    SUM_REWRITE_TOKENS,
    SUM_ANSWER_TOKENS,
    SUM_REWRITE_ENDED,
    SUM_ANSWER_ENDED,
    N_SUM
};

struct layout {
    int n_seed, n_arm, width; /* width: numbers in a row */
    int bare, instruct, rlhf;
};

static int arm_at(const struct layout *l, int arm)
{
    return 1 + l->n_seed + arm * (N_SUM + 2 * l->n_seed);
}

/* ---- rows from the table ---- */

static bool in_all_arms(const struct ap_score_cell *cells, int n_arm, bool *in_some)
{
    int n = 0;
    for (int a = 0; a < n_arm; a++)
        n += isfinite(cells[a].score) ? 1 : 0;
    *in_some = n > 0;
    return n == n_arm;
}

static double win(const struct ap_score_cell *cells, int arm, int other)
{
    if (other < 0)
        return NAN;
    double a = cells[arm].score, b = cells[other].score;
    return a > b ? 1 : a == b ? 0.5 : 0;
}

static void add_cell(double *row, const struct layout *l, const struct ap_score_cell *cells,
                     int seed, const double *centre)
{
    row[0] += 1;
    row[1 + seed] += 1;
    for (int a = 0; a < l->n_arm; a++) {
        const struct ap_score_cell *c = &cells[a];
        double *sum = row + arm_at(l, a), x = c->score - centre[a];
        sum[SUM_SCORE] += c->score;
        sum[SUM_WIN_BARE] += win(cells, a, l->bare);
        sum[SUM_WIN_INSTRUCT] += win(cells, a, l->instruct);
        sum[SUM_KL] += c->kl;
        sum[SUM_REWRITE_TOKENS] += c->rewrite_tokens;
        sum[SUM_ANSWER_TOKENS] += c->answer_tokens;
        sum[SUM_REWRITE_ENDED] += c->rewrite_ended;
        sum[SUM_ANSWER_ENDED] += c->answer_ended;
        sum[N_SUM + 2 * seed] += x;
        sum[N_SUM + 2 * seed + 1] += x * x;
    }
}

static const struct ap_score_cell *cells_at(const struct ap_score_table *t, int64_t prompt,
                                            int seed)
{
    return t->cells + (size_t)(prompt * t->n_seed + seed) * (size_t)t->n_arm;
}

/* Means of the arms: the squares are taken about them, so that no variance is lost to rounding. */
static int64_t centre_of(const struct ap_score_table *t, double *centre, int64_t *n_dropped)
{
    int64_t n = 0;
    bool in_some;
    for (int64_t p = 0; p < t->n_prompt; p++)
        for (int s = 0; s < t->n_seed; s++) {
            const struct ap_score_cell *cells = cells_at(t, p, s);
            if (!in_all_arms(cells, t->n_arm, &in_some)) {
                *n_dropped += in_some;
                continue;
            }
            n++;
            for (int a = 0; a < t->n_arm; a++)
                centre[a] += cells[a].score;
        }
    for (int a = 0; a < t->n_arm && n > 0; a++)
        centre[a] /= (double)n;
    return n;
}

/* One row a prompt that has any shared answer; returns how many. */
static int64_t fill_rows(double *rows, const struct layout *l, const struct ap_score_table *t,
                         const double *centre)
{
    int64_t n = 0;
    bool in_some;
    for (int64_t p = 0; p < t->n_prompt; p++) {
        double *row = rows + n * l->width;
        for (int s = 0; s < t->n_seed; s++) {
            const struct ap_score_cell *cells = cells_at(t, p, s);
            if (in_all_arms(cells, t->n_arm, &in_some))
                add_cell(row, l, cells, s, centre);
        }
        n += row[0] > 0;
    }
    return n;
}

/* ---- metrics from a sum of rows ---- */

static double variance_of(const double *sum, const struct layout *l, int arm)
{
    const double *x = sum + arm_at(l, arm) + N_SUM;
    double total = 0;
    int n_seed = 0;
    for (int s = 0; s < l->n_seed; s++) {
        double n = sum[1 + s];
        if (n < 2)
            continue;
        total += fmax(0, x[2 * s + 1] - x[2 * s] * x[2 * s] / n) / (n - 1);
        n_seed++;
    }
    return n_seed > 0 ? total / n_seed : NAN;
}

static double delta_of(const double *sum, const struct layout *l, int arm, int other)
{
    if (other < 0)
        return NAN;
    return (sum[arm_at(l, arm) + SUM_SCORE] - sum[arm_at(l, other) + SUM_SCORE]) / sum[0];
}

/* A resample without a gap stands above every share; where that may matter the share is NaN. */
static double share_of(const double *sum, const struct layout *l, int arm, int from)
{
    if (l->rlhf < 0 || from < 0)
        return NAN;
    double gap = delta_of(sum, l, l->rlhf, from);
    return gap > 0 ? delta_of(sum, l, arm, from) / gap : INFINITY;
}

static void metrics_of(const double *sum, const struct layout *l, double *out)
{
    for (int a = 0; a < l->n_arm; a++, out += N_STATISTIC) {
        const double *s = sum + arm_at(l, a);
        double n = sum[0];
        out[AT_mean] = s[SUM_SCORE] / n;
        out[AT_variance] = variance_of(sum, l, a);
        out[AT_delta_bare] = delta_of(sum, l, a, l->bare);
        out[AT_delta_instruct] = delta_of(sum, l, a, l->instruct);
        out[AT_win_bare] = s[SUM_WIN_BARE] / n;
        out[AT_win_instruct] = s[SUM_WIN_INSTRUCT] / n;
        out[AT_share_bare] = share_of(sum, l, a, l->bare);
        out[AT_share_instruct] = share_of(sum, l, a, l->instruct);
        out[AT_kl] = s[SUM_KL] / n;
        out[AT_rewrite_tokens] = s[SUM_REWRITE_TOKENS] / n;
        out[AT_answer_tokens] = s[SUM_ANSWER_TOKENS] / n;
        out[AT_rewrite_ended] = s[SUM_REWRITE_ENDED] / n;
        out[AT_answer_ended] = s[SUM_ANSWER_ENDED] / n;
    }
}

/* ---- the bootstrap ---- */

static void add_row(double *restrict sum, const double *restrict row, int width)
{
    for (int i = 0; i < width; i++)
        sum[i] += row[i];
}

struct bootstrap {
    struct layout l;
    double *rows; /* [n_row][l.width] */
    int64_t n_row;
    double *sum;     /* [l.width] */
    double *metrics; /* [n_arm][N_STATISTIC] of one sum */
    double *samples; /* [n_arm][N_STATISTIC][n_sample] */
    int n_sample;
};

static void resample(struct bootstrap *b, uint64_t seed)
{
    int n_metric = b->l.n_arm * N_STATISTIC;
    for (int i = 0; i < b->n_sample; i++) {
        struct ap_random random;
        ap_random_init(&random, &(struct ap_stream){.seed = seed,
                                                    .stage = ap_stream_stage("eval.bootstrap"),
                                                    .step = (uint32_t)i});
        memset(b->sum, 0, (size_t)b->l.width * sizeof(*b->sum));
        for (int64_t k = 0; k < b->n_row; k++)
            add_row(b->sum, b->rows + ap_random_below(&random, (uint32_t)b->n_row) * b->l.width,
                    b->l.width);
        metrics_of(b->sum, &b->l, b->metrics);
        for (int m = 0; m < n_metric; m++)
            b->samples[(size_t)m * (size_t)b->n_sample + (size_t)i] = b->metrics[m];
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear between order statistics; NaN when it falls on something that is not finite. */
static double quantile(const double *sorted, int n, double q)
{
    double place = q * (n - 1);
    int i = (int)place;
    double next = i + 1 < n ? sorted[i + 1] : sorted[i];
    double value = place > i ? sorted[i] + (place - i) * (next - sorted[i]) : sorted[i];
    return isfinite(value) ? value : NAN;
}

struct ap_interval ap_interval_of(double value, double *samples, int n_sample)
{
    struct ap_interval out = {value, NAN, NAN};
    int n = 0;
    for (int i = 0; i < n_sample; i++)
        if (!isnan(samples[i]))
            samples[n++] = samples[i];
    if (isnan(value) || n == 0)
        return out;
    qsort(samples, (size_t)n, sizeof(*samples), ascending);
    out.low = quantile(samples, n, 0.025);
    out.high = quantile(samples, n, 0.975);
    return out;
}

/* A share is told only of a gap whose interval lies above zero. */
static void drop_share(struct ap_arm_statistics *out, int n_arm, int which, struct ap_interval gap)
{
    if (gap.low > 0)
        return;
    for (int a = 0; a < n_arm; a++)
        *ap_statistic_at(&out[a], which) = (struct ap_interval){NAN, NAN, NAN};
}

static void intervals(struct ap_arm_statistics *out, struct bootstrap *b)
{
    const struct layout *l = &b->l;
    memset(b->sum, 0, (size_t)l->width * sizeof(*b->sum));
    for (int64_t k = 0; k < b->n_row; k++)
        add_row(b->sum, b->rows + k * l->width, l->width);
    metrics_of(b->sum, l, b->metrics);
    for (int m = 0; m < l->n_arm * N_STATISTIC; m++)
        *ap_statistic_at(&out[m / N_STATISTIC], m % N_STATISTIC) = ap_interval_of(
            b->metrics[m], b->samples + (size_t)m * (size_t)b->n_sample, b->n_sample);
    if (l->rlhf >= 0) {
        drop_share(out, l->n_arm, AT_share_bare, out[l->rlhf].delta_bare);
        drop_share(out, l->n_arm, AT_share_instruct, out[l->rlhf].delta_instruct);
    }
}

static ap_status check(const struct ap_score_table *t, int n_bootstrap, struct ap_error *err)
{
    assert(t->n_arm > 0 && t->n_arm <= AP_ARMS_MAX);
    if (n_bootstrap < 1 || n_bootstrap > AP_BOOTSTRAP_MAX)
        return ap_fail(err, AP_INVALID, "eval: %d bootstrap resamples, expected 1 to %d",
                       n_bootstrap, AP_BOOTSTRAP_MAX);
    if (t->n_seed > AP_SEEDS_MAX || t->n_prompt > INT32_MAX)
        return ap_fail(
            err, AP_LIMIT,
            "eval: %d seeds and %lld prompts, expected at most %d and %d; evaluate fewer",
            t->n_seed, (long long)t->n_prompt, AP_SEEDS_MAX, INT32_MAX);
    return AP_OK;
}

static ap_status allocate(struct bootstrap *b, int64_t n_prompt, struct ap_error *err)
{
    size_t n_metric = (size_t)b->l.n_arm * N_STATISTIC;
    b->rows = ap_calloc((size_t)n_prompt, (size_t)b->l.width * sizeof(double));
    b->sum = ap_calloc((size_t)b->l.width, sizeof(double));
    b->metrics = ap_calloc(n_metric, sizeof(double));
    b->samples = ap_calloc(n_metric * (size_t)b->n_sample, sizeof(double));
    if (!b->rows || !b->sum || !b->metrics || !b->samples)
        return ap_fail(err, AP_MEMORY,
                       "eval: out of memory for %lld prompts and %d resamples; ask for fewer",
                       (long long)n_prompt, b->n_sample);
    return AP_OK;
}

static int n_seeds_used(const struct bootstrap *b)
{
    int n = 0;
    for (int s = 0; s < b->l.n_seed; s++)
        n += b->sum[1 + s] > 0;
    return n;
}

ap_status ap_arm_statistics_of(struct ap_arm_statistics *out, const struct ap_score_table *table,
                               int n_bootstrap, uint64_t seed, int64_t *n_dropped,
                               struct ap_error *err)
{
    ap_status status = check(table, n_bootstrap, err);
    double centre[AP_ARMS_MAX] = {0};
    int64_t dropped = 0;
    if (status != AP_OK)
        return status;
    int64_t n_used = centre_of(table, centre, &dropped);
    if (n_dropped)
        *n_dropped = dropped;
    if (n_used == 0)
        return ap_fail(
            err, AP_NOT_FOUND,
            "eval: no prompt and seed has a score in each of the %d arms; run eval again",
            table->n_arm);

    struct bootstrap b = {.l = {.n_seed = table->n_seed,
                                .n_arm = table->n_arm,
                                .bare = table->bare,
                                .instruct = table->instruct,
                                .rlhf = table->rlhf},
                          .n_sample = n_bootstrap};
    b.l.width = arm_at(&b.l, table->n_arm);
    AP_TRY(allocate(&b, table->n_prompt, err));
    b.n_row = fill_rows(b.rows, &b.l, table, centre);
    if (b.n_row < 2)
        b.n_sample = 0; /* every resample of one prompt is that prompt: no interval */
    resample(&b, seed);
    intervals(out, &b);
    for (int a = 0; a < table->n_arm; a++) {
        out[a].n_prompt = b.n_row;
        out[a].n_seed = n_seeds_used(&b);
    }
out:
    ap_free(b.rows);
    ap_free(b.sum);
    ap_free(b.metrics);
    ap_free(b.samples);
    return status;
}
