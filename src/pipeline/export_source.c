/* Finding what is to be exported (export_source.h). */
#include "pipeline/export_source.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- of a run ---- */

struct role { /* what a stage trains */
    const char *model;
    const struct ap_adapter_settings *adapter; /* NULL: the whole model always */
    const char *key;                           /* of the recipe, for messages */
    int pass;                                  /* of a prompter; −1: another model */
};

static ap_status role_of(const struct ap_run *run, const char *stage, struct role *out,
                         struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    int n;
    const struct ap_reward_settings *rewards = ap_settings_rewards(s, &n);
    int pass = ap_run_pass_of(stage);
    if (pass >= 0 && pass < ap_run_n_passes(run)) {
        const struct ap_prompter_settings *p = ap_run_prompter(run, pass);
        *out = (struct role){p->model, &p->adapter, "prompter.adapter", pass};
        return AP_OK;
    }
    *out = (struct role){s->target.model, &s->target.adapter, "target.adapter", -1};
    if (strcmp(stage, "rlhf") == 0)
        return AP_OK;
    *out = (struct role){s->pretrain.model, NULL, "pretrain", -1};
    if (strcmp(stage, "pretrain") == 0)
        return AP_OK;
    for (int i = 0; i < n; i++)
        if (strcmp(ap_run_reward_stage(&rewards[i]).name, stage) == 0) {
            *out = (struct role){rewards[i].model, &rewards[i].adapter, "reward.adapter", -1};
            return AP_OK;
        }
    return ap_fail(err, AP_INVALID,
                   "%s: has no stage %.60s, expected pretrain, sft, align, rlhf, or its reward's",
                   run->dir.path, stage);
}

static ap_status choose_stage(struct ap_export_source *s, const char *stage, struct ap_error *err)
{
    const char *run_dir = s->past.run.dir.path;
    s->stage = stage ? stage : ap_past_run_stage(&s->past);
    if (!s->stage)
        return ap_fail(err, AP_NOT_FOUND,
                       "%s: has no prompter yet (neither align nor sft is finished); finish it "
                       "with `alignpro run`, or name another stage with --stage",
                       run_dir);
    return AP_OK;
}

/* Where the run's models have their weights: pretrain's result, a folder, or nowhere. */
static ap_status base_folder(struct ap_export_source *s, const struct ap_model_settings *m,
                             struct ap_error *err)
{
    const struct ap_run *run = &s->past.run;
    if (strcmp(run->s->pretrain.model, m->name) == 0)
        s->weights = ap_run_dir_path(&run->dir, "pretrain", "final");
    else if (m->path[0])
        s->weights = ap_strdup(m->path);
    else
        return AP_OK;
    return s->weights ? AP_OK : ap_fail(err, AP_MEMORY, "export: out of memory");
}

static ap_status name_of(struct ap_export_source *s, const char *first, const char *second,
                         struct ap_error *err)
{
    char name[256];
    snprintf(name, sizeof(name), "%.160s%s%.60s", first, second[0] ? "-" : "", second);
    for (size_t i = 0, n = strlen(name), used; i < n; i += used) { /* GGUF's texts are UTF-8 */
        uint32_t cp;
        used = ap_utf8_decode(name + i, n - i, &cp);
        if (!ap_utf8_valid(name + i, used))
            memset(name + i, '_', used);
    }
    s->name = ap_strdup(name);
    return s->name ? AP_OK : ap_fail(err, AP_MEMORY, "export: out of memory");
}

static ap_status find_in_run(struct ap_export_source *s, const struct ap_export_options *o,
                             struct ap_error *err)
{
    const struct ap_run *run = &s->past.run;
    const struct ap_model_settings *m;
    struct role role;
    char *folder = NULL;
    ap_status status;
    AP_TRY(ap_past_run_open(&s->past, o->run, NULL, 0, err));
    AP_TRY(choose_stage(s, o->stage, err));
    AP_TRY(role_of(run, s->stage, &role, err));
    if (!ap_stage_done(&run->dir, s->stage))
        AP_TRY(ap_fail(err, AP_NOT_FOUND,
                       "%s: the stage %s is not finished; finish it with `alignpro run`", o->run,
                       s->stage));
    AP_TRY(ap_settings_model(run->s, role.model, &m, err));
    AP_TRY(name_of(s, m->name, s->stage, err));
    s->meta_prompt = role.pass >= 0 ? ap_run_pass_meta(run, role.pass) : NULL;
    if (role.pass >= 0 && ap_run_n_passes(run) > 1)
        s->pass = role.pass + 1;
    s->n_pass = ap_run_n_passes(run);
    s->tokenizer = ap_run_tokenizer_folder(m);
    folder = ap_run_dir_path(&run->dir, s->stage, "final");
    if (!s->tokenizer || !folder)
        AP_TRY(ap_fail(err, AP_MEMORY, "export: out of memory"));
    if (role.adapter && role.adapter->rank > 0) {
        s->adapter = folder;
        folder = NULL;
        AP_TRY(base_folder(s, m, err));
    } else {
        s->weights = folder;
        folder = NULL;
        if (strcmp(o->format, "peft") == 0 || o->adapter_only)
            status = ap_fail(err, AP_INVALID,
                             "%s: the stage %s trained the whole model (%s), so there is no "
                             "adapter to export; use --format hf, or gguf without --adapter-only",
                             o->run, s->stage, role.key);
    }
out:
    ap_free(folder);
    return status;
}

/* ---- as named ---- */

static const char *last_part(const char *path, size_t *n)
{
    const char *at;
    *n = strlen(path);
    while (*n > 1 && path[*n - 1] == '/')
        --*n;
    for (at = path + *n; at > path && at[-1] != '/';)
        at--;
    *n -= (size_t)(at - path);
    return at;
}

static ap_status find_named(struct ap_export_source *s, const struct ap_export_options *o,
                            struct ap_error *err)
{
    size_t n;
    const char *name = last_part(o->model, &n);
    if ((strcmp(o->format, "peft") == 0 || o->adapter_only) && !o->adapter)
        return ap_fail(err, AP_INVALID,
                       "export: there is no adapter, expected --adapter beside --model");
    s->name = ap_strndup(name, n);
    s->weights = ap_strdup(o->model);
    s->tokenizer = ap_strdup(o->model);
    s->adapter = o->adapter ? ap_strdup(o->adapter) : NULL;
    return s->name && s->weights && s->tokenizer && (s->adapter || !o->adapter)
               ? AP_OK
               : ap_fail(err, AP_MEMORY, "export: out of memory");
}

ap_status ap_export_source_find(struct ap_export_source *s, const struct ap_export_options *o,
                                struct ap_error *err)
{
    *s = (struct ap_export_source){.past.run.dir.lock.fd = -1};
    return o->run ? find_in_run(s, o, err) : find_named(s, o, err);
}

/* ---- opened ---- */

ap_status ap_export_source_load(struct ap_export_source *s, struct ap_error *err)
{
    struct ap_run *run = &s->past.run;
    const struct ap_model_settings *m;
    struct role role;
    struct ap_lm *lm;
    ap_status status;
    if (s->weights) {
        AP_TRY(ap_weights_open(&s->own, s->weights, err));
        s->base = s->own;
    } else { /* made again from the run's seed */
        AP_TRY(role_of(run, s->stage, &role, err));
        AP_TRY(ap_settings_model(run->s, role.model, &m, err));
        AP_TRY(ap_run_lm(run, m->name, &lm, err));
        s->base = lm->weights;
    }
    if (s->adapter)
        status = ap_adapter_load(&s->lora, s->base, s->adapter, err);
out:
    return status;
}

void ap_export_source_close(struct ap_export_source *s)
{
    ap_adapter_free(s->lora);
    ap_weights_free(s->own);
    ap_free(s->name);
    ap_free(s->weights);
    ap_free(s->adapter);
    ap_free(s->tokenizer);
    ap_past_run_close(&s->past);
}
