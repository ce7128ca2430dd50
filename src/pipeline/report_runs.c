/* Reports of runs that are there: one run's pages made anew, and several side by side. Runs no
 * model. Not here: the statistics and texts (eval/compare.h). Entry points: ap_report_run,
 * ap_report_compare. */
#include "alignpro/report.h"

#include "base/memory.h"
#include "eval/compare.h"
#include "pipeline/run_past.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct opened {
    struct ap_past_run past;
    const char *path;        /* borrows from past */
    char *real;              /* owned: where path leads */
    struct ap_buffer seeds;  /* "run.seed 1" */
    struct ap_cell_run cell; /* what the comparison borrows */
    int group;               /* the first run with its labels */
};

static ap_status no_evaluation(const char *path, struct ap_error *err)
{
    return ap_fail(err, AP_NOT_FOUND,
                   "%s: has no evaluation yet; `alignpro eval %s/recipe.yaml` makes it", path,
                   path);
}

static ap_status open_database(struct ap_run *run, struct ap_error *err)
{
    char *path = ap_path_join(run->dir.path, "run.db");
    ap_status status = path ? ap_database_open_read(&run->db, path, err)
                            : ap_fail(err, AP_MEMORY, "%s: out of memory", run->dir.path);
    ap_free(path);
    return status;
}

/* ---- one run ---- */

static ap_status take_lock(struct ap_run *run, struct ap_error *err)
{
    char *path = ap_path_join(run->dir.path, "lock");
    ap_status status = path ? ap_lock_take(&run->dir.lock, path, err)
                            : ap_fail(err, AP_MEMORY, "%s: out of memory", run->dir.path);
    ap_free(path);
    return status;
}

ap_status ap_report_run(const char *run_dir, char **text, struct ap_error *err)
{
    struct ap_past_run past;
    ap_status status = ap_past_run_open(&past, run_dir, NULL, 0, err);
    *text = NULL;
    if (status == AP_OK && !ap_stage_done(&past.run.dir, "eval"))
        status = no_evaluation(run_dir, err);
    if (status == AP_OK)
        status = take_lock(&past.run, err);
    if (status == AP_OK)
        status = open_database(&past.run, err);
    if (status == AP_OK)
        status = ap_run_report(&past.run, err);
    if (status == AP_OK)
        status = ap_run_summary(&past.run, text, err);
    ap_database_close(past.run.db);
    ap_lock_release(&past.run.dir.lock);
    ap_past_run_close(&past);
    return status;
}

/* ---- several: opening ---- */

static ap_status describe(struct opened *o, struct ap_error *err)
{
    ap_status status = ap_recipe_seeds(o->past.recipe, &o->seeds, err);
    o->cell = (struct ap_cell_run){o->path, o->seeds.data, ap_recipe_fingerprint(o->past.recipe)};
    return status;
}

static ap_status open_one(struct opened *o, const char *path, struct ap_error *err)
{
    ap_status status = ap_past_run_open(&o->past, path, NULL, 0, err);
    o->path = o->past.run.dir.path;
    if (status == AP_OK && !ap_stage_done(&o->past.run.dir, "eval"))
        status = no_evaluation(path, err);
    if (status == AP_OK && !(o->real = realpath(path, NULL)))
        status = ap_fail(err, AP_NOT_FOUND, "%s: cannot be found any more", path);
    if (status == AP_OK)
        status = open_database(&o->past.run, err);
    return status == AP_OK ? describe(o, err) : status;
}

static void close_all(struct opened *runs, size_t n)
{
    for (size_t i = 0; runs && i < n; i++) {
        ap_database_close(runs[i].past.run.db);
        ap_past_run_close(&runs[i].past);
        free(runs[i].real); /* the C library's */
        ap_buffer_free(&runs[i].seeds);
    }
    ap_free(runs);
}

/* ---- several: which are one cell, and whether they may be ---- */

static const struct ap_settings *settings_of(const struct opened *o)
{
    return o->past.run.s;
}

static bool same_labels(const struct opened *a, const struct opened *b)
{
    const struct ap_label_settings *x = &settings_of(a)->label, *y = &settings_of(b)->label;
    return strcmp(x->data, y->data) == 0 && strcmp(x->prompter, y->prompter) == 0 &&
           strcmp(x->target, y->target) == 0;
}

static bool has_name(char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static ap_status check_names(const struct opened *a, const struct opened *b, const char *key,
                             char *const *x, int n_x, char *const *y, int n_y, struct ap_error *err)
{
    for (int i = 0; i < n_x; i++)
        if (!has_name(y, n_y, x[i]))
            return ap_fail(err, AP_INVALID,
                           "%s: %s has '%s' and that of %s has not, expected the same in runs of "
                           "one cell (%s, %s, %s); evaluate both alike, or label one apart",
                           a->path, key, x[i], b->path, settings_of(a)->label.data,
                           settings_of(a)->label.prompter, settings_of(a)->label.target);
    return AP_OK;
}

static ap_status check_arms(const struct opened *a, const struct opened *b, struct ap_error *err)
{
    const struct ap_eval_settings *x = &settings_of(a)->eval, *y = &settings_of(b)->eval;
    ap_status status;
    AP_TRY(check_names(a, b, "eval.arms", x->arms, x->n_arms, y->arms, y->n_arms, err));
    AP_TRY(check_names(b, a, "eval.arms", y->arms, y->n_arms, x->arms, x->n_arms, err));
    int n_x = ap_settings_n_scoring(settings_of(a)), n_y = ap_settings_n_scoring(settings_of(b));
    AP_TRY(check_names(a, b, "eval.judges", x->judges, n_x, y->judges, n_y, err));
    AP_TRY(check_names(b, a, "eval.judges", y->judges, n_y, x->judges, n_x, err));
out:
    return status;
}

/* a stands before b. */
static ap_status check_pair(const struct opened *a, const struct opened *b, struct ap_error *err)
{
    ap_status status;
    struct ap_buffer seeds = {0}, others = {0};
    AP_TRY(ap_recipe_differences(a->past.recipe, b->past.recipe, AP_DIFFER_OTHERS, &others, err));
    AP_TRY(ap_recipe_differences(a->past.recipe, b->past.recipe, AP_DIFFER_SEEDS, &seeds, err));
    if (others.len > 0)
        status = ap_fail(err, AP_INVALID,
                         "%s: its labels are those of %s, but they differ in more than seeds (%s), "
                         "and a mean over both would be one of nothing; label one apart "
                         "(label.data, label.prompter, label.target)",
                         b->path, a->path, others.data);
    else if (seeds.len == 0)
        status = ap_fail(err, AP_INVALID,
                         "%s: is the recipe of %s with the same seed, expected another seed of the "
                         "same cell; leave one out",
                         b->path, a->path);
    else
        status = check_arms(a, b, err);
out:
    ap_buffer_free(&seeds);
    ap_buffer_free(&others);
    return status;
}

static ap_status group(struct opened *runs, int n, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < n; i++) {
        runs[i].group = i;
        for (int k = i - 1; k >= 0 && status == AP_OK; k--) {
            if (strcmp(runs[i].real, runs[k].real) == 0)
                return ap_fail(err, AP_INVALID, "%s: is named twice (as %s), expected once",
                               runs[i].path, runs[k].path);
            if (!same_labels(&runs[i], &runs[k]))
                continue;
            runs[i].group = runs[k].group;
            status = check_pair(&runs[k], &runs[i], err);
        }
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

/* ---- several: cells ---- */

/* The cell that begins with run `first`; members: room for n. Its runs stand by their seeds,
 * whatever the order of their naming, because those of one place are drawn together in all cells.
 */
static ap_status add_cell(struct ap_comparison *c, const struct opened *runs, int n, int first,
                          struct ap_cell_run *members, struct ap_error *err)
{
    const struct ap_settings *s = settings_of(&runs[first]);
    struct ap_evaluated_run evaluated[AP_REPORT_RUNS_MAX];
    struct ap_cell cell = {.data = s->label.data,
                           .prompter = s->label.prompter,
                           .target = s->label.target,
                           .runs = members};
    for (int i = first; i < n; i++) {
        int at = cell.n_run;
        if (runs[i].group != first)
            continue;
        for (; at > 0 && strverscmp(members[at - 1].seeds, runs[i].cell.seeds) > 0; at--) {
            members[at] = members[at - 1];
            evaluated[at] = evaluated[at - 1];
        }
        members[at] = runs[i].cell;
        evaluated[at] = (struct ap_evaluated_run){runs[i].path, runs[i].past.run.db};
        cell.n_run++;
    }
    const struct ap_cell_source source = {evaluated, s->eval.arms, s->eval.judges, s->eval.n_arms,
                                          ap_settings_n_scoring(s)};
    return ap_comparison_add(c, &cell, &source, (uint64_t)settings_of(&runs[0])->run.seed, err);
}

static ap_status compare(struct ap_comparison *c, struct opened *runs, int n,
                         struct ap_cell_run *members, struct ap_error *err)
{
    ap_status status;
    AP_TRY(group(runs, n, err));
    for (int i = 0; i < n; i++)
        if (settings_of(&runs[i])->eval.bootstrap > c->n_bootstrap)
            c->n_bootstrap = settings_of(&runs[i])->eval.bootstrap;
    for (int i = 0, n_member = 0; i < n; i++)
        if (runs[i].group == i) {
            AP_TRY(add_cell(c, runs, n, i, members + n_member, err));
            n_member += c->cells[c->n_cell - 1].n_run;
        }
    AP_TRY(ap_comparison_finish(c, err));
out:
    return status;
}

/* ---- several: files ---- */

/* A run's own page would be written over. */
static ap_status check_out(const char *dir, struct ap_error *err)
{
    char *recipe = ap_path_join(dir, "recipe.yaml");
    bool is_run = recipe && ap_file_exists(recipe);
    ap_free(recipe);
    return is_run ? ap_fail(err, AP_INVALID,
                            "%s: is a run directory, expected a folder of its own for the "
                            "comparison; name another one",
                            dir)
                  : AP_OK;
}

/* All texts are made before the first is written. */
static ap_status write_files(const struct ap_comparison *c, const char *dir, struct ap_error *err)
{
    ap_status status;
    struct ap_buffer json = {0}, csv = {0}, tex = {0}, page = {0};
    const struct ap_versions versions = ap_run_versions();
    AP_TRY(ap_comparison_json(c, &json, err));
    AP_TRY(ap_comparison_csv(c, &csv, err));
    AP_TRY(ap_comparison_tex(c, &tex, err));
    AP_TRY(ap_comparison_html(c, versions.text, &page, err));
    AP_TRY(ap_dir_make(dir, err));
    AP_TRY(ap_file_write_in(dir, "compare.json", json.data, json.len, err));
    AP_TRY(ap_file_write_in(dir, "compare.csv", csv.data, csv.len, err));
    AP_TRY(ap_file_write_in(dir, "compare.tex", tex.data, tex.len, err));
    AP_TRY(ap_file_write_in(dir, "report.html", page.data, page.len, err));
out:
    ap_buffer_free(&json);
    ap_buffer_free(&csv);
    ap_buffer_free(&tex);
    ap_buffer_free(&page);
    return status;
}

ap_status ap_report_compare(const char *const *run_dirs, size_t n, const char *out_dir, char **text,
                            struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_comparison *c = NULL;
    struct opened *runs = NULL;
    struct ap_cell_run *members = NULL;
    struct ap_buffer sentences = {0};
    *text = NULL;
    if (n < 1 || n > AP_REPORT_RUNS_MAX)
        return ap_fail(err, AP_INVALID, "report: %zu runs, expected 1 to %d", n,
                       AP_REPORT_RUNS_MAX);
    if ((status = check_out(out_dir, err)) != AP_OK)
        return status;
    c = ap_calloc(1, sizeof(*c));
    runs = ap_calloc(n, sizeof(*runs));
    members = ap_calloc(n, sizeof(*members));
    if (!c || !runs || !members) {
        status = ap_fail(err, AP_MEMORY, "report: out of memory for %zu runs", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        AP_TRY(open_one(&runs[i], run_dirs[i], err));
    AP_TRY(compare(c, runs, (int)n, members, err));
    AP_TRY(ap_comparison_sentences(c, &sentences, err));
    AP_TRY(write_files(c, out_dir, err));
    *text = sentences.data;
    sentences = (struct ap_buffer){0};
out:
    ap_buffer_free(&sentences);
    if (c)
        ap_comparison_free(c);
    ap_free(c);
    ap_free(members);
    close_all(runs, n);
    return status;
}
