/* Running a sweep: one run after the other, each taking over what the others have, and what they
 * found told together. Entry points: ap_sweep_run, ap_sweep_plan, ap_sweep_summary. */
#include "pipeline/stage_share.h"
#include "pipeline/sweep_inner.h"

#include "base/memory.h"
#include "eval/bound_told.h"
#include "store/settings_value.h"

#include <stdio.h>
#include <string.h>

/* ---- the overrides of one run ---- */

/* KEY=VALUE of a row of run:, as the recipe's own text would have it. */
static ap_status write_set(const char *key, const struct ap_run_settings *run,
                           struct ap_buffer *out, struct ap_error *err)
{
    struct ap_setting_ref ref;
    ap_status status = AP_OK;
    if (!ap_setting_find(key, &ref))
        return ap_fail(err, AP_INVALID, "sweep: %s is no key", key);
    AP_TRY(ap_buffer_printf(out, err, "%s=", key));
    AP_TRY(ap_setting_write(ref.row, run, out, err));
out:
    return status;
}

/* The recipe's own folders, its own run, and the other points that are there. */
static ap_status list_folders(const struct ap_sweep *s, int point, struct ap_run_settings *run,
                              struct ap_error *err)
{
    for (int i = -1 - s->n_from; i < s->n; i++) {
        char *path = i < -1    ? ap_strdup(s->from[i + 1 + s->n_from])
                     : i == -1 ? ap_strdup(s->base)
                               : ap_path_join(s->directory, s->points[i].folder);
        if (!path)
            return ap_fail(err, AP_MEMORY, "sweep: out of memory");
        if (i == point || (i >= -1 && ap_share_missing(path)))
            ap_free(path);
        else
            run->from[run->n_from++] = path;
    }
    return AP_OK;
}

static ap_status open_recipe(const struct ap_sweep *s, int point, struct ap_recipe **out,
                             struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_run_settings run = {.dir = ap_path_join(s->directory, s->points[point].folder)};
    struct ap_buffer dir = {0}, from = {0};
    *out = NULL;
    if (!run.dir)
        AP_TRY(ap_fail(err, AP_MEMORY, "sweep: out of memory"));
    AP_TRY(list_folders(s, point, &run, err));
    AP_TRY(write_set("run.dir", &run, &dir, err));
    AP_TRY(write_set("run.from", &run, &from, err));
    AP_TRY(ap_sweep_recipe(s, point, (const char *[]){dir.data, from.data}, 2, out, err));
out:
    for (int i = 0; i < run.n_from; i++)
        ap_free(run.from[i]);
    ap_free(run.dir);
    ap_buffer_free(&dir);
    ap_buffer_free(&from);
    return status;
}

/* ---- one run ---- */

static ap_status take_evaluation(struct ap_sweep *s, int point, struct ap_run *run,
                                 struct ap_error *err)
{
    struct ap_sweep_point *p = &s->points[point];
    struct ap_evaluation *e = ap_calloc(1, sizeof(*e));
    if (!e)
        return ap_fail(err, AP_MEMORY, "sweep: out of memory");
    ap_status status = ap_run_evaluation(run, e, err);
    int arm = -1;
    for (int a = 0; status == AP_OK && a < e->n_arm; a++)
        if (strcmp(e->arms[0][a].name, s->arm) == 0)
            arm = a;
    if (arm >= 0) { /* the sweep was not opened without it */
        for (int j = 0; j < e->n_judge; j++)
            p->judged[j] = e->arms[j][arm];
        memcpy(s->judges, e->judges, sizeof(s->judges));
        s->n_judge = e->n_judge;
        s->n_bootstrap = e->n_bootstrap;
        p->done = true;
    }
    ap_free(e);
    return status;
}

/* Whether ρ_sft, target and reward are the same in every run, so that one frontier is all of
 * theirs; and the arm is a prompter, of which it speaks. */
static bool keeps_start(const struct ap_sweep *s)
{
    for (int i = 0; i < s->n_axis; i++)
        if (strncmp(s->axes[i].key, "align.", strlen("align.")) != 0 ||
            strcmp(s->axes[i].key, "align.path") == 0)
            return false;
    return strcmp(s->arm, "align") == 0;
}

/* From the samples of the first run that has some: a recipe with a bound section. */
static ap_status take_frontier(struct ap_sweep *s, struct ap_run *run, struct ap_error *err)
{
    struct ap_bound_read read = {0};
    ap_status status;
    if (s->n_frontier > 0 || !ap_run_bound_done(run) || !keeps_start(s) ||
        strcmp(s->judges[0], "reward") != 0)
        return AP_OK;
    AP_TRY(ap_bound_read(&read, run->db, err));
    struct ap_frontier_samples samples = {read.n_prompt, read.n_rewrite, read.n_answer,
                                          read.reward};
    AP_TRY(ap_sweep_frontier(s, &samples, err));
out:
    ap_bound_read_free(&read);
    return status;
}

static ap_status run_point(struct ap_sweep *s, int point, struct ap_error *err)
{
    ap_status status;
    struct ap_recipe *recipe = NULL;
    struct ap_run *run = NULL;
    AP_TRY(open_recipe(s, point, &recipe, err));
    AP_TRY(ap_run_open(&run, recipe, NULL, s->sink, err));
    AP_TRY(ap_run_stage(run, NULL, err));
    AP_TRY(take_evaluation(s, point, run, err));
    AP_TRY(take_frontier(s, run, err));
out:
    ap_run_close(run);
    ap_recipe_close(recipe);
    return status;
}

/* ---- what is told ---- */

typedef ap_status (*tell_fn)(const struct ap_sweep_results *r, struct ap_buffer *out,
                             struct ap_error *err);

static ap_status write_file(const struct ap_sweep *s, const char *name, tell_fn tell,
                            struct ap_error *err)
{
    ap_status status;
    char *keys[AP_SWEEP_KEYS_MAX];
    struct ap_sweep_results r = ap_sweep_results(s, keys);
    struct ap_buffer text = {0};
    AP_TRY(tell(&r, &text, err));
    AP_TRY(ap_file_write_in(s->directory, name, text.data, text.len, err));
out:
    ap_buffer_free(&text);
    return status;
}

static ap_status write_files(const struct ap_sweep *s, struct ap_error *err)
{
    ap_status status = write_file(s, "sweep.json", ap_sweep_json, err);
    if (status == AP_OK)
        status = write_file(s, "sweep.csv", ap_sweep_csv, err);
    return status == AP_OK ? write_file(s, "report.html", ap_sweep_html, err) : status;
}

ap_status ap_sweep_run(struct ap_sweep *sweep, struct ap_error *err)
{
    char *keys[AP_SWEEP_KEYS_MAX];
    struct ap_sweep_results r = ap_sweep_results(sweep, keys);
    ap_status status = AP_OK;
    for (int i = 0; i < sweep->n && status == AP_OK; i++) {
        struct ap_buffer label = {0};
        status = ap_sweep_label(&r, i, &label, err);
        if (status == AP_OK) {
            ap_sink_note(sweep->sink, "sweep", "run %d of %d: %s", i + 1, sweep->n, label.data);
            status = run_point(sweep, i, err);
            if (status != AP_OK)
                ap_fail_prefix(err, status, "%s", label.data);
        }
        if (status == AP_OK)
            status = write_files(sweep, err);
        ap_buffer_free(&label);
    }
    return status;
}

/* ---- the plan ---- */

static ap_status plan_point(struct ap_sweep *s, const struct ap_sweep_results *r, int point,
                            struct ap_buffer *out, struct ap_error *err)
{
    struct ap_buffer label = {0};
    struct ap_recipe *recipe = NULL;
    char *plan = NULL;
    ap_status status;
    AP_TRY(ap_sweep_label(r, point, &label, err));
    AP_TRY(ap_buffer_printf(out, err, "%srun %d of %d: %s\n", point ? "\n" : "", point + 1, s->n,
                            label.data));
    AP_TRY(open_recipe(s, point, &recipe, err));
    status = ap_run_plan(recipe, NULL, s->sink, &plan, err);
    if (status != AP_OK)
        ap_fail_prefix(err, status, "%s", label.data);
    if (plan && ap_buffer_puts(out, plan, NULL) != AP_OK)
        status = ap_fail(err, AP_MEMORY, "sweep: out of memory");
out:
    ap_text_free(plan);
    ap_recipe_close(recipe);
    ap_buffer_free(&label);
    return status;
}

/* Where one does not fit, the others are told all the same. */
ap_status ap_sweep_plan(struct ap_sweep *sweep, char **text, struct ap_error *err)
{
    char *keys[AP_SWEEP_KEYS_MAX];
    struct ap_sweep_results r = ap_sweep_results(sweep, keys);
    struct ap_buffer out = {0};
    struct ap_error first = {0};
    for (int i = 0; i < sweep->n && (first.status == AP_OK || first.status == AP_LIMIT); i++) {
        struct ap_error e = {0};
        ap_status status = plan_point(sweep, &r, i, &out, &e);
        if (status != AP_OK && (status != AP_LIMIT || first.status == AP_OK))
            first = e;
    }
    if (first.status != AP_OK && first.status != AP_LIMIT)
        ap_buffer_free(&out);
    if (first.status != AP_OK && err)
        *err = first;
    *text = out.data;
    return first.status;
}

/* ---- what was found ---- */

ap_status ap_sweep_summary(const struct ap_sweep *sweep, char **text, struct ap_error *err)
{
    char *keys[AP_SWEEP_KEYS_MAX];
    struct ap_sweep_results r = ap_sweep_results(sweep, keys);
    struct ap_buffer out = {0};
    ap_status status = ap_sweep_table(&r, &out, err);
    if (status == AP_OK)
        status = ap_sweep_sentences(&r, &out, err);
    if (status != AP_OK)
        ap_buffer_free(&out);
    *text = out.data;
    return status;
}
