/* Statistics of arms over a table of scores, and their bootstrap. Not here: run.db (report_read.c).
 *
 * Every metric is a function of sums over prompts, one sum a seed. So each (prompt, seed) becomes a
 * row of numbers; drawn prompts add their rows into one sum a seed, drawn seeds pick among those
 * sums, and one function turns what was picked into metrics: the estimate from all of it, the
 * intervals from resamples.
 *
 *     row = n | arm 0: 8 sums, x, x² | arm 1 …
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

const struct ap_statistic ap_statistics[] = {
#define X(field) {#field, offsetof(struct ap_arm_statistics, field)},
    AP_STATISTIC_LIST(X)
#undef X
};
const int ap_n_statistics = AP_N_STATISTICS;

struct ap_interval *ap_statistic_at(struct ap_arm_statistics *arm, int which)
{
    assert(which >= 0 && which < AP_N_STATISTICS);
    return (struct ap_interval *)((char *)arm + ap_statistics[which].offset);
}

/* The numbers of an arm in a row. X: the score about the arm's mean, for the variance. */
enum {
    SUM_SCORE,
    SUM_WIN_BARE,
    SUM_WIN_INSTRUCT,
    SUM_KL,
    SUM_REWRITE_TOKENS,
    SUM_ANSWER_TOKENS,
    SUM_REWRITE_ENDED,
    SUM_ANSWER_ENDED,
    SUM_X,
    SUM_X2,
    N_SUM
};

struct layout {
    int n_seed, n_arm, width; /* width: numbers in a row */
    int bare, instruct, rlhf;
    const int *before; /* as in the table */
};

static int arm_at(int arm)
{
    return 1 + arm * N_SUM;
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

static void fill_row(double *row, const struct layout *l, const struct ap_score_cell *cells,
                     const double *centre)
{
    row[0] = 1;
    for (int a = 0; a < l->n_arm; a++) {
        const struct ap_score_cell *c = &cells[a];
        double *sum = row + arm_at(a), x = c->score - centre[a];
        sum[SUM_SCORE] = c->score;
        sum[SUM_WIN_BARE] = win(cells, a, l->bare);
        sum[SUM_WIN_INSTRUCT] = win(cells, a, l->instruct);
        sum[SUM_KL] = c->kl;
        sum[SUM_REWRITE_TOKENS] = c->rewrite_tokens;
        sum[SUM_ANSWER_TOKENS] = c->answer_tokens;
        sum[SUM_REWRITE_ENDED] = c->rewrite_ended;
        sum[SUM_ANSWER_ENDED] = c->answer_ended;
        sum[SUM_X] = x;
        sum[SUM_X2] = x * x;
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

/* n_seed rows a prompt that has any shared answer, zero where it has none; returns how many
 * prompts. */
static int64_t fill_rows(double *rows, const struct layout *l, const struct ap_score_table *t,
                         const double *centre)
{
    int64_t n = 0;
    bool in_some;
    for (int64_t p = 0; p < t->n_prompt; p++) {
        bool any = false;
        for (int s = 0; s < t->n_seed; s++) {
            const struct ap_score_cell *cells = cells_at(t, p, s);
            if (!in_all_arms(cells, t->n_arm, &in_some))
                continue;
            fill_row(rows + (n * l->n_seed + s) * l->width, l, cells, centre);
            any = true;
        }
        n += any;
    }
    return n;
}

/* ---- metrics from the sums of the seeds that were drawn ---- */

/* n−1 over the prompts of one seed; the mean over seeds. */
static double variance_of(const double *by_seed, const int *drawn, const struct layout *l, int arm)
{
    double total = 0;
    int n_seed = 0;
    for (int s = 0; s < l->n_seed; s++) {
        const double *sum = by_seed + (size_t)drawn[s] * (size_t)l->width, *x = sum + arm_at(arm);
        double n = sum[0];
        if (n < 2)
            continue;
        total += fmax(0, x[SUM_X2] - x[SUM_X] * x[SUM_X] / n) / (n - 1);
        n_seed++;
    }
    return n_seed > 0 ? total / n_seed : NAN;
}

static double delta_of(const double *sum, int arm, int other)
{
    if (other < 0)
        return NAN;
    return (sum[arm_at(arm) + SUM_SCORE] - sum[arm_at(other) + SUM_SCORE]) / sum[0];
}

/* A resample without a gap stands above every share; where that may matter the share is NaN. */
static double share_of(const double *sum, const struct layout *l, int arm, int from)
{
    if (l->rlhf < 0 || from < 0)
        return NAN;
    double gap = delta_of(sum, l->rlhf, from);
    if (isnan(gap))
        return NAN;
    return gap > 0 ? delta_of(sum, arm, from) / gap : INFINITY;
}

static void add_row(double *restrict sum, const double *restrict row, int width)
{
    for (int i = 0; i < width; i++)
        sum[i] += row[i];
}

/* by_seed: [n_seed][width]; drawn[n_seed]: which of them count, perhaps twice; sum: [width]. */
static void metrics_of(const double *by_seed, const int *drawn, const struct layout *l, double *sum,
                       double *out)
{
    memset(sum, 0, (size_t)l->width * sizeof(*sum));
    for (int s = 0; s < l->n_seed; s++)
        add_row(sum, by_seed + (size_t)drawn[s] * (size_t)l->width, l->width);
    for (int a = 0; a < l->n_arm; a++, out += AP_N_STATISTICS) {
        const double *s = sum + arm_at(a);
        double n = sum[0];
        out[AP_AT_mean] = s[SUM_SCORE] / n;
        out[AP_AT_variance] = variance_of(by_seed, drawn, l, a);
        out[AP_AT_delta_bare] = delta_of(sum, a, l->bare);
        out[AP_AT_delta_instruct] = delta_of(sum, a, l->instruct);
        out[AP_AT_delta_rlhf] = delta_of(sum, a, l->rlhf);
        out[AP_AT_delta_pass] = delta_of(sum, a, l->before[a] - 1);
        out[AP_AT_win_bare] = s[SUM_WIN_BARE] / n;
        out[AP_AT_win_instruct] = s[SUM_WIN_INSTRUCT] / n;
        out[AP_AT_share_bare] = share_of(sum, l, a, l->bare);
        out[AP_AT_share_instruct] = share_of(sum, l, a, l->instruct);
        out[AP_AT_kl] = s[SUM_KL] / n;
        out[AP_AT_rewrite_tokens] = s[SUM_REWRITE_TOKENS] / n;
        out[AP_AT_answer_tokens] = s[SUM_ANSWER_TOKENS] / n;
        out[AP_AT_rewrite_ended] = s[SUM_REWRITE_ENDED] / n;
        out[AP_AT_answer_ended] = s[SUM_ANSWER_ENDED] / n;
    }
}

/* ---- the bootstrap ---- */

struct bootstrap {
    struct layout l;
    int per_draw;    /* seeds that are drawn together */
    double *rows;    /* [n_row][n_seed][l.width] */
    int64_t n_row;   /* prompts */
    double *by_seed; /* [n_seed][l.width] */
    double *sum;     /* [l.width] */
    double *metrics; /* [n_arm][AP_N_STATISTICS] of one sum */
    double *samples; /* [n_arm][AP_N_STATISTICS][n_sample] */
    int n_sample;
};

static struct ap_random stream_of(uint64_t seed, const char *stage, int step)
{
    struct ap_random random;
    ap_random_init(
        &random,
        &(struct ap_stream){.seed = seed, .stage = ap_stream_stage(stage), .step = (uint32_t)step});
    return random;
}

static void draw_seeds(const struct bootstrap *b, uint64_t seed, int step, int *drawn)
{
    struct ap_random random = stream_of(seed, "eval.bootstrap.seeds", step);
    int n_draw = b->l.n_seed / b->per_draw;
    for (int k = 0; k < n_draw; k++) {
        int from = n_draw > 1 ? (int)ap_random_below(&random, (uint32_t)n_draw) : k;
        for (int i = 0; i < b->per_draw; i++)
            drawn[k * b->per_draw + i] = from * b->per_draw + i;
    }
}

static void resample(struct bootstrap *b, uint64_t seed)
{
    int n_metric = b->l.n_arm * AP_N_STATISTICS, width = b->l.n_seed * b->l.width;
    int drawn[AP_SEEDS_MAX];
    for (int i = 0; i < b->n_sample; i++) {
        struct ap_random random = stream_of(seed, "eval.bootstrap", i);
        memset(b->by_seed, 0, (size_t)width * sizeof(*b->by_seed));
        for (int64_t k = 0; k < b->n_row; k++)
            add_row(b->by_seed, b->rows + ap_random_below(&random, (uint32_t)b->n_row) * width,
                    width);
        draw_seeds(b, seed, i, drawn);
        metrics_of(b->by_seed, drawn, &b->l, b->sum, b->metrics);
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

/* The estimates, from every row, into b->metrics; b->by_seed stays. */
static void estimate(struct bootstrap *b)
{
    int width = b->l.n_seed * b->l.width, all[AP_SEEDS_MAX];
    for (int s = 0; s < b->l.n_seed; s++)
        all[s] = s;
    memset(b->by_seed, 0, (size_t)width * sizeof(*b->by_seed));
    for (int64_t k = 0; k < b->n_row; k++)
        add_row(b->by_seed, b->rows + k * width, width);
    metrics_of(b->by_seed, all, &b->l, b->sum, b->metrics);
}

static void intervals(struct ap_arm_statistics *out, struct bootstrap *b)
{
    const struct layout *l = &b->l;
    estimate(b);
    for (int m = 0; m < l->n_arm * AP_N_STATISTICS; m++)
        *ap_statistic_at(&out[m / AP_N_STATISTICS], m % AP_N_STATISTICS) = ap_interval_of(
            b->metrics[m], b->samples + (size_t)m * (size_t)b->n_sample, b->n_sample);
    if (l->rlhf >= 0) {
        drop_share(out, l->n_arm, AP_AT_share_bare, out[l->rlhf].delta_bare);
        drop_share(out, l->n_arm, AP_AT_share_instruct, out[l->rlhf].delta_instruct);
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
    size_t n_metric = (size_t)b->l.n_arm * AP_N_STATISTICS,
           row = (size_t)b->l.n_seed * (size_t)b->l.width * sizeof(double);
    b->rows = ap_calloc((size_t)n_prompt, row);
    b->by_seed = ap_calloc(1, row);
    b->sum = ap_calloc((size_t)b->l.width, sizeof(double));
    b->metrics = ap_calloc(n_metric, sizeof(double));
    b->samples = ap_calloc(n_metric * (size_t)b->n_sample, sizeof(double));
    if (!b->rows || !b->by_seed || !b->sum || !b->metrics || !b->samples)
        return ap_fail(err, AP_MEMORY,
                       "eval: out of memory for %lld prompts and %d resamples; ask for fewer",
                       (long long)n_prompt, b->n_sample);
    return AP_OK;
}

/* Draws of which some seed has a row; b->by_seed holds the sums of all. */
static int n_draws_used(const struct bootstrap *b)
{
    int n = 0;
    for (int s = 0, k; s < b->l.n_seed; s += b->per_draw) {
        for (k = 0; k < b->per_draw && b->by_seed[(s + k) * b->l.width] <= 0; k++)
            continue;
        n += k < b->per_draw;
    }
    return n;
}

static struct bootstrap plan(const struct ap_score_table *table, int n_bootstrap)
{
    struct bootstrap b = {.l = {.n_seed = table->n_seed,
                                .n_arm = table->n_arm,
                                .width = arm_at(table->n_arm),
                                .bare = table->bare,
                                .instruct = table->instruct,
                                .rlhf = table->rlhf,
                                .before = table->before},
                          .per_draw = table->seeds_a_run ? table->seeds_a_run : 1,
                          .n_sample = n_bootstrap};
    assert(b.l.n_seed % b.per_draw == 0);
    return b;
}

/* Where there is no interval, every sample is none. */
static void give_samples(const struct bootstrap *b, double *samples, int n_bootstrap)
{
    size_t n = (size_t)b->l.n_arm * AP_N_STATISTICS * (size_t)n_bootstrap;
    for (size_t i = 0; samples && i < n; i++)
        samples[i] = b->n_sample > 0 ? b->samples[i] : NAN;
}

ap_status ap_arm_statistics_of(struct ap_arm_statistics *out, const struct ap_score_table *table,
                               int n_bootstrap, uint64_t seed, int64_t *n_dropped, double *samples,
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

    struct bootstrap b = plan(table, n_bootstrap);
    AP_TRY(allocate(&b, table->n_prompt, err));
    b.n_row = fill_rows(b.rows, &b.l, table, centre);
    if (b.n_row < AP_PROMPTS_LEAST)
        b.n_sample = 0;
    resample(&b, seed);
    give_samples(&b, samples, n_bootstrap);
    intervals(out, &b);
    for (int a = 0; a < table->n_arm; a++) {
        out[a].n_prompt = b.n_row;
        out[a].n_seed = n_draws_used(&b);
    }
out:
    ap_free(b.rows);
    ap_free(b.by_seed);
    ap_free(b.sum);
    ap_free(b.metrics);
    ap_free(b.samples);
    return status;
}
