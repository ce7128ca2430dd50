/* Summing up run.db (inspect_rows.h). */
#include "pipeline/inspect_rows.h"

#include "store/database.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_COLUMNS 20
#define JUDGES_SHOWN 6

/* ---- reading ---- */

/* The name's value is set, where there is room for it. */
static void put_value(struct ap_last_metrics *m, const char *name, double value)
{
    int k = 0;
    while (k < m->n && strncmp(m->values[k].name, name, sizeof(m->values[0].name) - 1) != 0)
        k++;
    if (k == AP_ROWS_METRICS)
        return;
    snprintf(m->values[k].name, sizeof(m->values[0].name), "%s", name);
    m->values[k].value = value;
    m->n = k == m->n ? k + 1 : m->n;
}

/* Rows come by stage, then step: of every name the last stays, as validations and training measure
 * other things, and a stage ends with a validation. */
static ap_status on_metric(void *context, const char *stage, int64_t step, const char *name,
                           double value)
{
    struct ap_run_rows *r = context;
    struct ap_last_metrics *m = r->n_stage ? &r->stages[r->n_stage - 1] : NULL;
    if (!m || strncmp(m->stage, stage, sizeof(m->stage) - 1) != 0) {
        if (r->n_stage == AP_ROWS_STAGES)
            return AP_OK;
        m = &r->stages[r->n_stage++];
        snprintf(m->stage, sizeof(m->stage), "%s", stage);
    }
    m->step = step;
    put_value(m, name, value);
    return AP_OK;
}

/* The name's place, a new one where there is room; −1: none. */
static int place(char (*names)[32], int *n, int most, const char *name)
{
    for (int i = 0; i < *n; i++)
        if (!strncmp(names[i], name, sizeof(names[0]) - 1))
            return i;
    if (*n == most)
        return -1;
    snprintf(names[*n], sizeof(names[0]), "%s", name);
    return (*n)++;
}

static ap_status on_score(void *context, const char *arm, int64_t seed, uint64_t record, int sample,
                          const char *judge, double value)
{
    struct ap_run_rows *r = context;
    (void)seed;
    (void)record;
    if (sample != -1 || !isfinite(value))
        return AP_OK;
    int a = place(r->arms, &r->n_arm, AP_ROWS_ARMS, arm);
    int j = place(r->judges, &r->n_judge, AP_ROWS_JUDGES, judge);
    if (a >= 0 && j >= 0) {
        r->scores[a][j].sum += value;
        r->scores[a][j].n++;
    }
    return AP_OK;
}

ap_status ap_run_rows_read(struct ap_run_rows *r, const char *path, struct ap_error *err)
{
    struct ap_database *db = NULL;
    ap_status status;
    *r = (struct ap_run_rows){0};
    AP_TRY(ap_database_open_read(&db, path, err));
    AP_TRY(ap_database_each_metric(db, on_metric, r, err));
    AP_TRY(ap_database_each_score(db, on_score, r, err));
out:
    ap_database_close(db);
    return status;
}

/* ---- telling ---- */

/* What is shown in the text, as far as a stage has it; JSON has all. */
static const char *const shown[] = {"reward", "kl", "loss", "accuracy", "length", "grad_norm"};

static void tell_value(struct ap_tell *t, double value)
{
    if (isfinite(value))
        ap_tell_raw(t, " %10.4g", value);
    else
        ap_tell_raw(t, " %10s", "-");
}

/* A row's name in the first column. */
static void tell_name(struct ap_tell *t, const char *name)
{
    int n = (int)strlen(name);
    ap_tell_raw(t, "  ");
    ap_tell_cell(t, name, (size_t)n, NAME_COLUMNS);
    ap_tell_raw(t, "%*s", n < NAME_COLUMNS ? NAME_COLUMNS - n : 0, "");
}

static double value_of(const struct ap_last_metrics *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->values[i].name, name))
            return m->values[i].value;
    return NAN;
}

static void tell_metrics(struct ap_tell *t, const struct ap_run_rows *r)
{
    json_t *all = json_object();
    if (r->n_stage) {
        ap_tell_raw(t, "\n  %-*s %8s", NAME_COLUMNS, "last metrics", "step");
        for (size_t k = 0; k < AP_LEN(shown); k++)
            ap_tell_raw(t, " %10s", shown[k]);
        ap_tell_raw(t, "\n");
    }
    for (int i = 0; i < r->n_stage; i++) {
        const struct ap_last_metrics *m = &r->stages[i];
        json_t *values = json_object();
        for (int k = 0; k < m->n; k++)
            json_object_set_new(values, m->values[k].name, json_real(m->values[k].value));
        json_object_set_new(all, m->stage,
                            json_pack("{s:I, s:o}", "step", (json_int_t)m->step, "values", values));
        tell_name(t, m->stage);
        ap_tell_raw(t, " %8" PRId64, m->step);
        for (size_t k = 0; k < AP_LEN(shown); k++)
            tell_value(t, value_of(m, shown[k]));
        ap_tell_raw(t, "\n");
    }
    ap_tell_set(t, "metrics", all);
}

static void tell_arm(struct ap_tell *t, const struct ap_run_rows *r, int a, json_t *all)
{
    json_t *by_judge = json_object();
    tell_name(t, r->arms[a]);
    ap_tell_raw(t, " %8" PRIu64, r->scores[a][0].n);
    for (int j = 0; j < r->n_judge; j++) {
        const struct ap_mean_score *s = &r->scores[a][j];
        double mean = s->n ? s->sum / (double)s->n : NAN;
        if (j < JUDGES_SHOWN)
            tell_value(t, mean);
        json_object_set_new(by_judge, r->judges[j],
                            json_pack("{s:o, s:I}", "mean", s->n ? json_real(mean) : json_null(),
                                      "answers", (json_int_t)s->n));
    }
    ap_tell_raw(t, "\n");
    json_object_set_new(all, r->arms[a], by_judge);
}

void ap_tell_run_rows(struct ap_tell *t, const struct ap_run_rows *r)
{
    json_t *all = json_object();
    tell_metrics(t, r);
    if (r->n_arm) {
        ap_tell_raw(t, "\n  %-*s %8s", NAME_COLUMNS, "mean score by judge", "answers");
        for (int j = 0; j < r->n_judge && j < JUDGES_SHOWN; j++) {
            int columns = (int)strlen(r->judges[j]) < 10 ? (int)strlen(r->judges[j]) : 10;
            ap_tell_raw(t, " %*s", 10 - columns, "");
            ap_tell_cell(t, r->judges[j], strlen(r->judges[j]), 10);
        }
        ap_tell_raw(t, "\n");
    }
    for (int a = 0; a < r->n_arm; a++)
        tell_arm(t, r, a, all);
    ap_tell_set(t, "scores", all);
}
