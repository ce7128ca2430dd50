/* Cells of a comparison and the means over them. Not here: the arithmetic of a cell (statistics.c),
 * text (compare_text.c, compare_tex.c, html_compare.c).
 * Entry points: ap_comparison_add, ap_comparison_finish. */
#include "eval/compare.h"

#include "base/memory.h"
#include "eval/report_page.h"

#include <math.h>
#include <string.h>

const struct ap_arm_statistics *ap_cell_arm(const struct ap_cell *cell, const char *judge,
                                            const char *arm)
{
    int j = ap_judge_find(cell->evaluation, judge), a = ap_arm_find(cell->evaluation, arm);
    return j >= 0 && a >= 0 ? &cell->evaluation->arms[j][a] : NULL;
}

/* Whether a cell before the n-th, or a judge of it before the j-th, has the name. */
static bool is_met(const struct ap_comparison *c, int n, const char *judge)
{
    for (int i = 0; i < n; i++)
        if (ap_judge_find(c->cells[i].evaluation, judge) >= 0)
            return true;
    return false;
}

const char *ap_comparison_judge(const struct ap_comparison *c, int i)
{
    for (int k = 0; k < c->n_cell; k++)
        for (int j = 0; j < c->cells[k].evaluation->n_judge; j++)
            if (!is_met(c, k, c->cells[k].evaluation->judges[j]) && i-- == 0)
                return c->cells[k].evaluation->judges[j];
    return NULL;
}

/* ---- averages ---- */

static bool is_of(const struct ap_average *a, const char *data, const char *judge)
{
    bool same = data && a->data ? strcmp(a->data, data) == 0 : data == a->data;
    return same && strcmp(a->judge, judge) == 0;
}

static ap_status find_average(struct ap_comparison *c, const char *data, const char *judge,
                              struct ap_average **out, struct ap_error *err)
{
    for (int i = 0; i < c->n_average; i++)
        if (is_of(&c->averages[i], data, judge)) {
            *out = &c->averages[i];
            return AP_OK;
        }
    if (c->n_average == AP_AVERAGES_MAX)
        return ap_fail(err, AP_LIMIT,
                       "report: more than %d pairs of data set and judge; compare fewer runs",
                       AP_AVERAGES_MAX);
    struct ap_average *more =
        ap_realloc(c->averages, (size_t)c->n_average, (size_t)c->n_average + 1, sizeof(*more));
    if (!more)
        return ap_fail(err, AP_MEMORY, "report: out of memory for the means over cells");
    c->averages = more;
    *out = &more[c->n_average];
    memset(*out, 0, sizeof(**out));
    (*out)->samples =
        ap_calloc((size_t)AP_ARMS_MAX * AP_N_STATISTICS * (size_t)c->n_bootstrap, sizeof(double));
    if (!(*out)->samples)
        return ap_fail(err, AP_MEMORY, "report: out of memory for the means over cells");
    (*out)->data = data;
    strcpy((*out)->judge, judge);
    c->n_average++;
    return AP_OK;
}

static ap_status find_arm(struct ap_average *a, const char *name, int *out, struct ap_error *err)
{
    for (*out = 0; *out < a->n_arm; ++*out)
        if (strcmp(a->arms[*out].name, name) == 0)
            return AP_OK;
    if (a->n_arm == AP_ARMS_MAX)
        return ap_fail(err, AP_LIMIT, "report: more than %d arms in all; compare fewer runs",
                       AP_ARMS_MAX);
    strcpy(a->arms[a->n_arm++].name, name);
    return AP_OK;
}

/* Sums until ap_comparison_finish. samples: [n_arm][AP_N_STATISTICS][n_bootstrap] of the cell. */
static ap_status add_to_average(struct ap_comparison *c, const char *data,
                                const struct ap_evaluation *e, int judge, const double *samples,
                                struct ap_error *err)
{
    struct ap_average *average = NULL;
    ap_status status = find_average(c, data, e->judges[judge], &average, err);
    for (int a = 0, to; status == AP_OK && a < e->n_arm; a++) {
        struct ap_arm_statistics arm = e->arms[judge][a];
        if ((status = find_arm(average, arm.name, &to, err)) != AP_OK)
            break;
        average->arms[to].n_prompt += arm.n_prompt;
        for (int k = 0; k < AP_N_STATISTICS; k++) {
            double value = ap_statistic_at(&arm, k)->value;
            const double *from =
                samples + ((size_t)a * AP_N_STATISTICS + (size_t)k) * (size_t)c->n_bootstrap;
            double *sum = average->samples +
                          ((size_t)to * AP_N_STATISTICS + (size_t)k) * (size_t)c->n_bootstrap;
            if (isnan(value))
                continue;
            average->n_of[to][k]++;
            ap_statistic_at(&average->arms[to], k)->value += value;
            for (int i = 0; i < c->n_bootstrap; i++)
                sum[i] += from[i];
        }
    }
    if (status == AP_OK) {
        int decimals = ap_score_decimals(e, judge);
        average->n_cell++;
        average->decimals = decimals > average->decimals ? decimals : average->decimals;
    }
    return status;
}

static void finish_average(struct ap_average *average, int n_bootstrap)
{
    for (int a = 0; a < average->n_arm; a++)
        for (int k = 0; k < AP_N_STATISTICS; k++) {
            struct ap_interval *x = ap_statistic_at(&average->arms[a], k);
            int n = average->n_of[a][k];
            double *samples =
                average->samples + ((size_t)a * AP_N_STATISTICS + (size_t)k) * (size_t)n_bootstrap;
            for (int i = 0; i < n_bootstrap; i++)
                samples[i] /= n;
            *x = ap_interval_of(n > 0 ? x->value / n : NAN, samples, n_bootstrap);
        }
}

ap_status ap_comparison_finish(struct ap_comparison *c, struct ap_error *err)
{
    int n = 0;
    if (c->n_cell == 0)
        return ap_fail(err, AP_INVALID, "report: no run to compare");
    for (int i = 0; i < c->n_average; i++) {
        struct ap_average *average = &c->averages[i];
        finish_average(average, c->n_bootstrap);
        ap_free(average->samples);
        average->samples = NULL;
        if (average->n_cell > 1)
            c->averages[n++] = *average;
    }
    c->n_average = n;
    return AP_OK;
}

/* ---- cells ---- */

ap_status ap_comparison_add(struct ap_comparison *c, const struct ap_cell *cell,
                            const struct ap_cell_source *source, uint64_t seed,
                            struct ap_error *err)
{
    ap_status status = AP_OK;
    double *samples[AP_JUDGES_MAX] = {0};
    struct ap_evaluation *e = NULL;
    size_t n = (size_t)source->n_arm * AP_N_STATISTICS * (size_t)c->n_bootstrap;
    if (c->n_cell == AP_CELLS_MAX)
        return ap_fail(err, AP_LIMIT, "report: more than %d cells; compare fewer runs",
                       AP_CELLS_MAX);
    e = ap_calloc(1, sizeof(*e));
    for (int j = 0; j < source->n_judge && j < AP_JUDGES_MAX; j++)
        if (!(samples[j] = ap_calloc(n, sizeof(double))))
            status = AP_MEMORY;
    if (!e || status != AP_OK) {
        status = ap_fail(err, AP_MEMORY, "report: out of memory for %zu resamples", n);
        goto out;
    }
    AP_TRY(ap_evaluate_runs(e, source->runs, cell->n_run, source->arms, source->n_arm,
                            source->judges, source->n_judge, c->n_bootstrap, seed, samples, err));
    for (int j = 0; j < e->n_judge; j++) {
        AP_TRY(add_to_average(c, NULL, e, j, samples[j], err));
        AP_TRY(add_to_average(c, cell->data, e, j, samples[j], err));
    }
    c->cells[c->n_cell] = *cell;
    c->cells[c->n_cell++].evaluation = e;
    e = NULL;
out:
    for (int j = 0; j < AP_JUDGES_MAX; j++)
        ap_free(samples[j]);
    ap_free(e);
    return status;
}

void ap_comparison_free(struct ap_comparison *c)
{
    for (int i = 0; i < c->n_cell; i++)
        ap_free(c->cells[i].evaluation);
    for (int i = 0; i < c->n_average; i++)
        ap_free(c->averages[i].samples);
    ap_free(c->averages);
    *c = (struct ap_comparison){0};
}
