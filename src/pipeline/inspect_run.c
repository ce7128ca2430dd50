/* A run directory: what it was asked for, how far each stage is, what was measured. Reads only, and
 * takes no lock: the run may be at work, or have been killed. Entry point: ap_inspect_run. */
#include "pipeline/inspect_rows.h"
#include "pipeline/inspect_stage.h"
#include "pipeline/run_inner.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STAGE_COLUMNS 20
#define STATE_COLUMNS 26
#define RESULT_COLUMNS 32

/* ---- who uses it ---- */

static void tell_process(struct ap_tell *t, const struct ap_inspected *p)
{
    long holder = 0;
    char *path = ap_path_join(p->path, "lock");
    bool held = path && ap_lock_holder(path, &holder);
    if (held && holder > 0)
        ap_tell_line(t, "in use", "by process %ld", holder);
    else
        ap_tell_line(t, "in use", held ? "by a process that cannot be seen from here" : "no");
    ap_tell_set(t, "in_use", json_boolean(held));
    ap_tell_set(t, "process", held && holder > 0 ? json_integer(holder) : json_null());
    ap_free(path);
}

/* ---- settings ---- */

static void tell_models(struct ap_tell *t, const struct ap_settings *s)
{
    json_t *models = json_object();
    for (int i = 0; i < s->n_models; i++) {
        const struct ap_model_settings *m = &s->models[i];
        const char *from = m->path[0] ? m->path : m->config;
        ap_tell_line(t, i ? "" : "models", "%.60s: %.800s%s", m->name, from,
                     m->path[0] ? "" : ", random weights");
        json_object_set_new(models, m->name, ap_inspect_string(from, strlen(from), SIZE_MAX));
    }
    ap_tell_set(t, "models", models);
    char prompters[AP_PROMPTERS_MAX * 64] = "";
    int n_prompter;
    const struct ap_prompter_settings *p = ap_settings_prompters(s, &n_prompter);
    for (int i = 0; i < n_prompter; i++)
        snprintf(prompters + strlen(prompters), 64, "%s%.60s", i ? ", " : "", p[i].model);
    ap_tell_line(t, "roles", "prompter%s %s, target %.60s", n_prompter > 1 ? "s" : "", prompters,
                 s->target.model);
    ap_tell_text(t, "prompter", prompters);
    if (n_prompter > 1)
        ap_tell_line(t, "", "the prompters rewrite one after another and learn %s",
                     ap_settings_joint(s) ? "jointly, in align" : "in turn");
    ap_tell_text(t, "target", s->target.model);
}

static void tell_rewards(struct ap_tell *t, const struct ap_settings *s)
{
    int n;
    const struct ap_reward_settings *rewards = ap_settings_rewards(s, &n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        const struct ap_reward_settings *r = &rewards[i];
        char weight[48] = "";
        if (r->name)
            snprintf(weight, sizeof(weight), ", weight %g", r->weight);
        ap_tell_line(t, i ? "" : "reward", "%.60s%s%s%s%.60s%s%s", r->name ? r->name : "",
                     r->name ? ": " : "", r->kind, r->model[0] ? " of " : "", r->model,
                     ap_reward_is_trained(r) ? ", trained by the run" : "", weight);
        json_array_append_new(list, json_pack("{s:s?, s:s, s:s, s:f}", "name", r->name, "kind",
                                              r->kind, "model", r->model, "weight", r->weight));
    }
    ap_tell_set(t, "rewards", list);
}

static void tell_rl(struct ap_tell *t, const char *name, const struct ap_rl_settings *r)
{
    char target[64] = "";
    if (r->kl_target > 0)
        snprintf(target, sizeof(target), " (adapts to %g nats)", r->kl_target);
    ap_tell_line(t, name, "%s, kl %g%s, %d steps of %d prompts by %d samples, lr %g", r->algorithm,
                 r->kl, target, r->steps, r->prompts, r->rewrites, r->optimiser.lr);
    ap_tell_set(t, name,
                json_pack("{s:s, s:f, s:f, s:i, s:i, s:i, s:f}", "algorithm", r->algorithm, "kl",
                          r->kl, "kl_target", r->kl_target, "steps", r->steps, "prompts",
                          r->prompts, "rewrites", r->rewrites, "lr", r->optimiser.lr));
}

static void tell_settings(struct ap_tell *t, const struct ap_run *run)
{
    const struct ap_settings *s = run->s;
    tell_models(t, s);
    tell_rewards(t, s);
    tell_rl(t, "align", &s->align);
    if (s->has_rlhf || ap_run_has_arm(run, "rlhf"))
        tell_rl(t, "rlhf", &s->rlhf);
    ap_tell_line(t, "data", "%.800s, format %.60s", s->data.path, s->data.format);
    ap_tell_line(t, "seed", "%" PRId64 ", products in %s", s->run.seed, s->run.dtype);
    ap_tell_text(t, "data", s->data.path);
    ap_tell_set(t, "seed", json_integer(s->run.seed));
    ap_tell_text(t, "dtype", s->run.dtype);
}

/* ---- stages ---- */

static int64_t steps_of(const struct ap_settings *s, const char *stage)
{
    if (ap_run_is_align(stage))
        return s->align.steps;
    return strcmp(stage, "rlhf") == 0 ? s->rlhf.steps : 0;
}

static void tell_stage(struct ap_tell *t, const struct ap_run *run, const char *stage, json_t *list)
{
    struct ap_stage_view v;
    struct ap_error e = {0};
    char state[96], size[32];
    if (!ap_tell_fine(t, ap_stage_look(&v, run->dir.path, stage, &e), &e))
        return;
    v.n_steps = steps_of(run->s, stage);
    ap_tell_raw(t, "  %-*.*s %-*.*s %-*.*s %12s\n", STAGE_COLUMNS, STAGE_COLUMNS, stage,
                STATE_COLUMNS, STATE_COLUMNS, ap_stage_state(&v, state), RESULT_COLUMNS,
                RESULT_COLUMNS, v.result[0] ? v.result : "-", ap_inspect_size(v.bytes, size));
    json_array_append_new(list, ap_stage_json(&v));
}

/* Of several rewards each that is trained has its own stage. */
static void tell_reward_stages(struct ap_tell *t, const struct ap_run *run, json_t *list)
{
    int n;
    const struct ap_reward_settings *rewards = ap_settings_rewards(run->s, &n);
    for (int i = 0; i < n; i++)
        if (ap_reward_is_trained(&rewards[i]))
            tell_stage(t, run, ap_run_reward_stage(&rewards[i]).name, list);
}

static void tell_stages(struct ap_tell *t, const struct ap_run *run)
{
    json_t *list = json_array();
    const char *name;
    ap_tell_raw(t, "\n  %-*s %-*s %-*s %12s\n", STAGE_COLUMNS, "stage", STATE_COLUMNS, "state",
                RESULT_COLUMNS, "result", "on disk");
    for (size_t i = 0; (name = ap_run_stage_at(run, i)) != NULL; i++)
        if (!strcmp(name, "reward"))
            tell_reward_stages(t, run, list);
        else
            tell_stage(t, run, name, list);
    for (int pass = 1; ap_settings_joint(run->s) && pass < ap_run_n_passes(run); pass++)
        tell_stage(t, run, ap_run_pass_stage(pass), list); /* the results of align */
    ap_tell_set(t, "stages", list);
}

/* ---- the directory ---- */

static void tell_database(struct ap_tell *t, const struct ap_inspected *p)
{
    struct ap_run_rows *rows = ap_calloc(1, sizeof(*rows));
    char *path = ap_path_join(p->path, "run.db");
    struct ap_error e = {0};
    ap_status status = rows && path ? AP_OK : ap_fail(&e, AP_MEMORY, "%s: out of memory", p->path);
    if (status == AP_OK && !ap_file_exists(path))
        ap_tell_line(t, "run.db", "not there yet");
    else {
        if (status == AP_OK)
            status = ap_run_rows_read(rows, path, &e);
        if (status == AP_UNSUPPORTED) /* another schema: of a run this is no feature but a fault */
            e.status = AP_FORMAT;
        if (ap_tell_fine(t, status, &e))
            ap_tell_run_rows(t, rows);
    }
    ap_free(path);
    ap_free(rows);
}

ap_status ap_inspect_run(const struct ap_inspected *p, const struct ap_inspect_options *options,
                         struct ap_buffer *out, struct ap_error *err)
{
    struct ap_tell t;
    struct ap_run *run = ap_calloc(1, sizeof(*run)); /* its directory's path and settings only */
    struct ap_recipe *recipe = NULL;
    struct ap_error e = {0};
    char *path = ap_path_join(p->path, "recipe.yaml");
    if (!run || !path) {
        ap_free(path);
        ap_free(run);
        return ap_fail(err, AP_MEMORY, "%s: out of memory", p->path);
    }
    ap_tell_begin(&t, p->path, "run", "run directory", err);
    tell_process(&t, p);
    run->dir.path = (char *)(uintptr_t)p->path;
    if (ap_tell_fine(&t, ap_recipe_open(&recipe, path, NULL, 0, &e), &e)) {
        run->recipe = recipe;
        run->s = ap_recipe_settings(recipe);
        tell_settings(&t, run);
    }
    ap_tell_size(&t, p->path);
    if (recipe)
        tell_stages(&t, run);
    tell_database(&t, p);
    if (recipe)
        ap_tell_spent(&t, run->s, p->path);
    ap_recipe_close(recipe);
    ap_free(run);
    ap_free(path);
    return ap_tell_end(&t, options->json, out);
}
