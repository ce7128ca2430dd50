/* What is made of run.db's rows: the summary, eval.json, eval.csv, eval.tex, report.html, and
 * TensorBoard's copy of an evaluation. Runs no model. Entry points: ap_run_report, ap_run_summary,
 * ap_run_eval_events. */
#include "pipeline/run_inner.h"

#include "base/memory.h"
#include "eval/bound_told.h"
#include "eval/compare.h"

#include <stdio.h>
#include <string.h>

static ap_status evaluate(struct ap_run *run, int n_bootstrap, struct ap_evaluation *out,
                          struct ap_error *err)
{
    const struct ap_eval_settings *s = &run->s->eval;
    uint64_t seed = (uint64_t)run->s->run.seed;
    ap_status status = ap_evaluate(out, run->db, s->arms, s->n_arms, s->judges,
                                   ap_settings_n_scoring(run->s), n_bootstrap, seed, err);
    for (int i = s->n_arms; i < s->n_all_arms && status == AP_OK; i++)
        out->absent[out->n_absent++] = s->arms[i];
    if (status == AP_OK)
        status = ap_evaluate_noise(out, run->db, s->noise, s->n_noise, seed, err);
    for (int i = ap_settings_n_scoring(run->s); status == AP_OK && i < s->n_judges; i++) {
        const struct ap_judge_settings *j = ap_settings_pairwise(run->s, s->judges[i]);
        status = ap_evaluate_verdicts(out, run->db, j->name, j->max_bad, seed, err);
    }
    return status == AP_OK ? ap_evaluate_texts(out, run->db, err) : status;
}

/* The judges of the evaluation that training never asks: the world, rewards of the weight 0. */
struct unasked {
    const char *names[AP_JUDGES_MAX];
    int n;
};

static struct unasked find_unasked(const struct ap_settings *s)
{
    struct unasked out = {.n = 0};
    for (int i = 0; i < ap_settings_n_scoring(s) && out.n < AP_JUDGES_MAX; i++) {
        bool unasked = strcmp(s->eval.judges[i], "world") == 0;
        for (int k = 0; k < s->n_rewards; k++)
            unasked = unasked || (s->rewards[k].weight == 0 &&
                                  strcmp(s->rewards[k].name, s->eval.judges[i]) == 0);
        if (unasked)
            out.names[out.n++] = s->eval.judges[i];
    }
    return out;
}

ap_status ap_run_evaluation(struct ap_run *run, struct ap_evaluation *out, struct ap_error *err)
{
    return evaluate(run, run->s->eval.bootstrap, out, err);
}

/* Everything that a report beside it would stumble over: the rows are read as they are for one. */
ap_status ap_run_check_evaluation(struct ap_run *run, struct ap_error *err)
{
    if (!ap_stage_done(&run->dir, "eval"))
        return AP_OK;
    struct ap_evaluation *e = ap_calloc(1, sizeof(*e));
    if (!e)
        return ap_fail(err, AP_MEMORY, "eval: out of memory");
    ap_status status = evaluate(run, 1, e, err);
    ap_free(e);
    return status == AP_OK
               ? AP_OK
               : ap_fail_prefix(err, status,
                                "%s: its evaluation is not whole, and the report would need it; "
                                "run eval again, then bound",
                                run->dir.path);
}

static ap_status write_page(struct ap_run *run, const char *name, struct ap_buffer *text,
                            struct ap_error *err)
{
    ap_status status = ap_file_write_in(run->dir.path, name, text->data, text->len, err);
    ap_buffer_clear(text);
    return status;
}

/* The run as the one cell of a comparison, whose layout its page and table have. */
static struct ap_comparison one_cell(const struct ap_run *run, struct ap_evaluation *evaluation)
{
    const struct ap_label_settings *label = &run->s->label;
    return (struct ap_comparison){.cells = {{.data = label->data,
                                             .prompter = label->prompter,
                                             .target = label->target,
                                             .n_run = 1,
                                             .evaluation = evaluation}},
                                  .n_cell = evaluation ? 1 : 0};
}

static ap_status write_tables(struct ap_run *run, const struct ap_evaluation *evaluation,
                              const struct ap_comparison *alone, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer text = {0};
    AP_TRY(ap_evaluation_json(evaluation, &text, err));
    AP_TRY(write_page(run, "eval.json", &text, err));
    AP_TRY(ap_evaluation_csv(evaluation, &text, err));
    AP_TRY(write_page(run, "eval.csv", &text, err));
    AP_TRY(ap_comparison_tex(alone, &text, err));
    AP_TRY(write_page(run, "eval.tex", &text, err));
out:
    ap_buffer_free(&text);
    return status;
}

/* The last two parts of a path: what a reader tells runs apart by. */
static const char *short_name(const char *path)
{
    const char *at = path + strlen(path);
    for (int n_parts = 0; at > path; at--)
        if (at[-1] == '/' && ++n_parts == 2)
            break;
    return at;
}

ap_status ap_run_report(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_evaluation *evaluation = NULL;
    struct ap_comparison alone;
    struct ap_buffer recipe = {0}, page = {0}, seeds = {0}, bought = {0};
    struct ap_report_hash *hashes = NULL;
    int n_hash = 0;
    struct ap_bound_told bound;
    bool has_bound = ap_run_bound_done(run);

    if (ap_stage_done(&run->dir, "eval")) {
        if (!(evaluation = ap_calloc(1, sizeof(*evaluation)))) {
            status = ap_fail(err, AP_MEMORY, "report.html: out of memory");
            goto out;
        }
        AP_TRY(ap_run_evaluation(run, evaluation, err));
    }
    if (has_bound)
        AP_TRY(ap_run_bound_tell(run, &bound, err));
    AP_TRY(ap_recipe_resolved(run->recipe, &recipe, err));
    const struct unasked unasked = find_unasked(run->s);
    const struct ap_versions versions = ap_run_versions();
    AP_TRY(ap_recipe_seeds(run->recipe, &seeds, err));
    AP_TRY(ap_run_bought(run, &bought, err));
    AP_TRY(ap_run_hashes(run, &hashes, &n_hash, err));
    alone = one_cell(run, evaluation);
    struct ap_report_source source = {.db = run->db,
                                      .evaluation = evaluation,
                                      .alone = &alone,
                                      .bound = has_bound ? &bound : NULL,
                                      .title = short_name(run->dir.path),
                                      .recipe = recipe.data,
                                      .version = versions.text,
                                      .monitor = &run->s->monitor,
                                      .unasked = unasked.names,
                                      .n_unasked = unasked.n,
                                      .bought = bought.data,
                                      .seeds = seeds.data,
                                      .fingerprint = ap_recipe_fingerprint(run->recipe),
                                      .hashes = hashes,
                                      .n_hash = n_hash};
    AP_TRY(ap_report_html(&source, &page, err));
    AP_TRY(write_page(run, "report.html", &page, err));
    if (evaluation)
        AP_TRY(write_tables(run, evaluation, &alone, err));
out:
    ap_buffer_free(&recipe);
    ap_buffer_free(&page);
    ap_buffer_free(&seeds);
    ap_buffer_free(&bought);
    ap_run_hashes_free(hashes, n_hash);
    ap_free(evaluation);
    return status;
}

/* ---- TensorBoard ---- */

static ap_status write_means(struct ap_run *run, const struct ap_evaluation *e,
                             struct ap_error *err)
{
    ap_status status;
    char tag[80];
    AP_TRY(ap_run_dir_events(&run->dir, "eval", 0, &run->events, err));
    for (int j = 0; j < e->n_judge; j++)
        for (int a = 0; a < e->n_arm; a++) {
            const struct ap_arm_statistics *arm = &e->arms[j][a];
            snprintf(tag, sizeof(tag), "eval/%s/%s", e->judges[j], arm->name);
            AP_TRY(ap_event_file_scalar(&run->events, 0, tag, arm->mean.value, err));
        }
    AP_TRY(ap_event_file_flush(&run->events, err));
out:
    ap_event_file_close(&run->events);
    return status;
}

ap_status ap_run_eval_events(struct ap_run *run, struct ap_error *err)
{
    struct ap_error lost;
    if (!run->s->run.tensorboard)
        return AP_OK;
    struct ap_evaluation *e = ap_calloc(1, sizeof(*e));
    if (!e)
        return ap_fail(err, AP_MEMORY, "eval: out of memory");
    ap_status status = evaluate(run, 1, e, err); /* the means are of all prompts in any case */
    if (status == AP_OK && write_means(run, e, &lost) != AP_OK)
        ap_sink_warn(run->sink, "eval",
                     "%s; TensorBoard has no copy of the evaluation, run.db has all of it",
                     lost.text);
    ap_free(e);
    return status;
}

ap_status ap_run_summary(struct ap_run *run, char **text, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer out = {0};
    struct ap_evaluation *evaluation = ap_calloc(1, sizeof(*evaluation));

    *text = NULL;
    if (!evaluation) {
        status = ap_fail(err, AP_MEMORY, "summary: out of memory");
        goto out;
    }
    if (!ap_stage_done(&run->dir, "eval")) {
        status = ap_fail(err, AP_NOT_FOUND, "%s: there is no evaluation yet; run eval first",
                         run->dir.path);
        goto out;
    }
    AP_TRY(ap_run_evaluation(run, evaluation, err));
    AP_TRY(ap_evaluation_table(evaluation, &out, err));
    AP_TRY(ap_buffer_puts(&out, "\n", err));
    AP_TRY(ap_evaluation_sentences(evaluation, &out, err));
    const struct unasked unasked = find_unasked(run->s);
    AP_TRY(
        ap_evaluation_cautions(evaluation, &run->s->monitor, unasked.names, unasked.n, &out, err));
    *text = out.data;
    out = (struct ap_buffer){0};
out:
    ap_buffer_free(&out);
    ap_free(evaluation);
    return status;
}
