/* A sweep as text for terminals and programs (sweep_report.h). Entry points: ap_sweep_table,
 * ap_sweep_sentences, ap_sweep_json, ap_sweep_csv. */
#include "eval/report_json.h"
#include "eval/report_page.h"
#include "eval/sweep_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LABEL_MAX 44 /* of a terminal's 100 columns */

ap_status ap_sweep_label(const struct ap_sweep_results *r, int point, struct ap_buffer *out,
                         struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int k = 0; k < r->n_keys && status == AP_OK; k++)
        status = ap_buffer_printf(out, err, "%s%s=%s", k ? ", " : "", r->keys[k],
                                  r->points[point].values[k]);
    return status;
}

int ap_sweep_knee(const struct ap_sweep_results *r, int judge, int *n_corner)
{
    double kl[AP_SWEEP_MAX], reward[AP_SWEEP_MAX];
    bool corner[AP_SWEEP_MAX];
    for (int i = 0; i < r->n; i++) {
        const struct ap_arm_statistics *arm = &r->points[i].judged[judge];
        kl[i] = r->points[i].done ? arm->kl.value : NAN;
        reward[i] = r->points[i].done ? arm->mean.value : NAN;
    }
    int knee = ap_frontier_knee(kl, reward, r->n, corner);
    *n_corner = 0;
    for (int i = 0; i < r->n; i++)
        *n_corner += corner[i];
    return knee;
}

static int decimals_of(const struct ap_sweep_results *r, int judge)
{
    double scale = 0;
    for (int i = 0; i < r->n; i++)
        if (r->points[i].done)
            scale = fmax(scale, fabs(r->points[i].judged[judge].mean.value));
    return ap_scale_decimals(scale);
}

static void put_label(struct ap_page *page, const struct ap_sweep_results *r, int point)
{
    if (page->status == AP_OK)
        page->status = ap_sweep_label(r, point, page->out, page->err);
}

/* ---- sentences ---- */

ap_status ap_sweep_sentences(const struct ap_sweep_results *r, struct ap_buffer *out,
                             struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    for (int j = 0; j < r->n_judge; j++) {
        int n_corner, knee = ap_sweep_knee(r, j, &n_corner), d = decimals_of(r, j);
        if (knee < 0) {
            ap_page_printf(&page,
                           "No knee under judge %s: %d point%s on the upper concave frontier of "
                           "these values, and a knee needs three.\n",
                           r->judges[j], n_corner, n_corner == 1 ? " is" : "s are");
            continue;
        }
        const struct ap_arm_statistics *arm = &r->points[knee].judged[j];
        ap_page_printf(&page, "The knee under judge %s is ", r->judges[j]);
        put_label(&page, r, knee);
        ap_page_printf(&page, ": reward %s at KL %s nats.\n",
                       ap_with_range(arm->mean, d, false).text,
                       ap_with_range(arm->kl, 2, false).text);
    }
    return page.status;
}

/* ---- the table ---- */

static int label_width(const struct ap_sweep_results *r, struct ap_error *err)
{
    size_t width = strlen("value");
    struct ap_buffer label = {0};
    for (int i = 0; i < r->n; i++) {
        ap_buffer_clear(&label);
        if (ap_sweep_label(r, i, &label, err) == AP_OK && label.len > width)
            width = label.len;
    }
    ap_buffer_free(&label);
    return width < LABEL_MAX ? (int)width : LABEL_MAX;
}

static void put_row(struct ap_page *page, const struct ap_sweep_results *r, int point, int judge,
                    int width, bool knee)
{
    const struct ap_arm_statistics *arm = &r->points[point].judged[judge];
    int d = decimals_of(r, judge);
    struct ap_buffer label = {0};
    if (page->status == AP_OK)
        page->status = ap_sweep_label(r, point, &label, page->err);
    if (page->status == AP_OK && r->points[point].done)
        ap_page_printf(page, "%-*.*s  %-20s  %-20s  %s%s\n", width, LABEL_MAX, label.data,
                       ap_with_range(arm->mean, d, false).text,
                       ap_with_range(arm->delta_bare, d, true).text,
                       ap_with_range(arm->kl, 2, false).text, knee ? "  knee" : "");
    else if (page->status == AP_OK)
        ap_page_printf(page, "%-*.*s  not done\n", width, LABEL_MAX, label.data);
    ap_buffer_free(&label);
}

ap_status ap_sweep_table(const struct ap_sweep_results *r, struct ap_buffer *out,
                         struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    int width = label_width(r, err);
    for (int j = 0; j < r->n_judge; j++) {
        int n_corner, knee = ap_sweep_knee(r, j, &n_corner);
        ap_page_printf(&page, "%s, judge: %s\n%-*s  %-20s  %-20s  %s\n", ap_arm_shown(r->arm),
                       r->judges[j], width, "value", "reward", "over bare", "KL, nats");
        for (int i = 0; i < r->n; i++)
            put_row(&page, r, i, j, width, i == knee);
        ap_page_put(&page, "\n");
    }
    return page.status;
}

/* ---- JSON ---- */

static json_t *judges_json(const struct ap_sweep_results *r, const struct ap_sweep_point *p)
{
    json_t *o = json_object();
    for (int j = 0; o && p->done && j < r->n_judge; j++) {
        const struct ap_arm_statistics *arm = &p->judged[j];
        json_t *one =
            json_pack("{s:I, s:i, s:o, s:o, s:o}", "prompts", (json_int_t)arm->n_prompt, "seeds",
                      arm->n_seed, "mean", ap_interval_json(&arm->mean), "delta_bare",
                      ap_interval_json(&arm->delta_bare), "kl", ap_interval_json(&arm->kl));
        if (json_object_set_new(o, r->judges[j], one) != 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static json_t *point_json(const struct ap_sweep_results *r, const struct ap_sweep_point *p)
{
    json_t *values = json_object();
    for (int k = 0; k < r->n_keys; k++)
        json_object_set_new(values, r->keys[k], json_string(p->values[k]));
    return json_pack("{s:o, s:s, s:b, s:o}", "values", values, "folder", p->folder, "done", p->done,
                     "judges", judges_json(r, p));
}

static json_t *frontier_json(const struct ap_sweep_results *r)
{
    json_t *points = json_array();
    if (!r->n_frontier) {
        json_decref(points);
        return json_null();
    }
    for (int i = 0; i < r->n_frontier; i++)
        json_array_append_new(points,
                              json_pack("{s:f, s:o, s:o}", "lambda", r->frontier[i].lambda, "kl",
                                        ap_interval_json(&r->frontier[i].kl), "reward",
                                        ap_interval_json(&r->frontier[i].reward)));
    return json_pack("{s:b, s:i, s:i, s:o}", "exact", r->frontier_rewrites == 0, "rewrites",
                     r->frontier_rewrites, "answers", r->frontier_answers, "points", points);
}

static json_t *sweep_json(const struct ap_sweep_results *r)
{
    json_t *keys = json_array(), *points = json_array(), *knees = json_object();
    bool ok = keys && points && knees;
    for (int k = 0; ok && k < r->n_keys; k++)
        ok = json_array_append_new(keys, json_string(r->keys[k])) == 0;
    for (int i = 0; ok && i < r->n; i++)
        ok = json_array_append_new(points, point_json(r, &r->points[i])) == 0;
    for (int j = 0; ok && j < r->n_judge; j++) {
        int n_corner, knee = ap_sweep_knee(r, j, &n_corner);
        ok = json_object_set_new(knees, r->judges[j],
                                 knee < 0 ? json_null() : json_integer(knee)) == 0;
    }
    if (ok)
        return json_pack("{s:s, s:o, s:o, s:o, s:o}", "arm", r->arm, "keys", keys, "points", points,
                         "knees", knees, "frontier", frontier_json(r));
    json_decref(keys);
    json_decref(points);
    json_decref(knees);
    return NULL;
}

ap_status ap_sweep_json(const struct ap_sweep_results *r, struct ap_buffer *out,
                        struct ap_error *err)
{
    return ap_json_put(sweep_json(r), "sweep", out, err);
}

/* ---- CSV ---- */

ap_status ap_sweep_csv(const struct ap_sweep_results *r, struct ap_buffer *out,
                       struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    for (int k = 0; k < r->n_keys; k++) {
        ap_csv_text(&page, r->keys[k]);
        ap_page_put(&page, ",");
    }
    ap_page_put(&page, "folder,judge,arm,prompts,seeds,mean,mean_low,mean_high,delta_bare,"
                       "delta_bare_low,delta_bare_high,kl,kl_low,kl_high,knee\n");
    for (int i = 0; i < r->n; i++)
        for (int j = 0; r->points[i].done && j < r->n_judge; j++) {
            const struct ap_sweep_point *p = &r->points[i];
            const struct ap_arm_statistics *arm = &p->judged[j];
            const struct ap_interval *cells[] = {&arm->mean, &arm->delta_bare, &arm->kl};
            int n_corner, knee = ap_sweep_knee(r, j, &n_corner);
            for (int k = 0; k < r->n_keys; k++) {
                ap_csv_text(&page, p->values[k]);
                ap_page_put(&page, ",");
            }
            ap_csv_text(&page, p->folder);
            ap_page_put(&page, ",");
            ap_csv_text(&page, r->judges[j]);
            ap_page_printf(&page, ",%s,%lld,%d", r->arm, (long long)arm->n_prompt, arm->n_seed);
            for (size_t c = 0; c < sizeof(cells) / sizeof(*cells); c++) {
                ap_csv_real(&page, cells[c]->value);
                ap_csv_real(&page, cells[c]->low);
                ap_csv_real(&page, cells[c]->high);
            }
            ap_page_printf(&page, ",%d\n", i == knee);
        }
    return page.status;
}
