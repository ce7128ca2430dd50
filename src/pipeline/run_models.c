/* Models, roles and results of a run (run_inner.h). */
#include "pipeline/stage_share.h"

#include "align/learner.h"
#include "align/target_http.h"
#include "base/memory.h"
#include "text/sequence.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum { MARKUP_MAX = 64 }; /* tokens that a template puts around one turn */

/* ---- models ---- */

char *ap_run_tokenizer_folder(const struct ap_model_settings *m)
{
    if (m->tokenizer[0])
        return ap_strdup(m->tokenizer);
    return m->path[0] ? ap_strdup(m->path) : ap_path_dir(m->config);
}

struct ap_template_options ap_run_chat(const struct ap_run *run)
{
    return (struct ap_template_options){
        .name = run->s->template_name,
        .date = run->s->date,
        .content_is_text = run->content_is_text || !strcmp(run->s->special_in_content, "text"),
    };
}

ap_status ap_run_text(struct ap_run *run, const struct ap_model_settings *m,
                      const struct ap_run_text **out, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_template_options options = ap_run_chat(run);
    struct ap_run_text made = {.folder = ap_run_tokenizer_folder(m)};

    if (!made.folder)
        return ap_fail(err, AP_MEMORY, "model %s: out of memory", m->name);
    for (int i = 0; i < run->n_text; i++)
        if (strcmp(run->texts[i].folder, made.folder) == 0) {
            *out = &run->texts[i];
            ap_free(made.folder);
            return AP_OK;
        }
    AP_TRY(ap_tokenizer_open(&made.tokenizer, made.folder, err));
    AP_TRY(ap_template_open(&made.chat, made.tokenizer, &options, err));
    run->texts[run->n_text] = made;
    *out = &run->texts[run->n_text++];
    return AP_OK;
out:
    ap_tokenizer_close(made.tokenizer);
    ap_free(made.folder);
    return status;
}

void ap_run_models_free(struct ap_run *run)
{
    for (int i = 0; i < AP_MODELS_MAX; i++)
        ap_lm_free(run->lms[i]);
    for (int i = 0; i < run->n_text; i++) {
        ap_template_close(run->texts[i].chat);
        ap_tokenizer_close(run->texts[i].tokenizer);
        ap_free(run->texts[i].folder);
    }
}

static bool is_reward_model(const struct ap_run *run, const char *model)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    for (int i = 0; i < n; i++)
        if (ap_reward_is_model(&r[i]) && strcmp(r[i].model, model) == 0)
            return true;
    return false;
}

/* One of the prompters of passes first … last. */
static bool is_prompter(const struct ap_run *run, const char *model, int first, int last)
{
    for (int i = first; i <= last; i++)
        if (strcmp(model, ap_run_prompter(run, i)->model) == 0)
            return true;
    return false;
}

bool ap_run_stage_uses(const struct ap_run *run, const char *stage, const char *model)
{
    const struct ap_settings *s = run->s;
    int pass = ap_run_pass_of(stage), last = ap_run_n_passes(run) - 1;
    bool target = strcmp(model, ap_settings_target(s)) == 0, reward = is_reward_model(run, model);
    if (strcmp(stage, "pretrain") == 0)
        return strcmp(model, s->pretrain.model) == 0;
    if (strcmp(stage, "reward") == 0)
        return reward;
    if (pass >= 0 && !ap_run_is_align(stage))
        return is_prompter(run, model, pass, pass);
    if (strcmp(stage, "dpo") == 0 || strcmp(stage, "ift") == 0)
        return target;
    if (strcmp(stage, "rlhf") == 0)
        return target || reward;
    if (pass >= 0 && !ap_settings_joint(s))
        last = pass;
    return is_prompter(run, model, 0, last) || target || reward;
}

static void release_model(struct ap_run *run, int i)
{
    ap_lm_free(run->lms[i]);
    run->lms[i] = NULL;
}

void ap_run_release_models(struct ap_run *run, const char *stage)
{
    for (int i = 0; i < run->s->n_models; i++)
        if (!ap_run_stage_uses(run, stage, run->s->models[i].name))
            release_model(run, i);
}

void ap_run_keep_model(struct ap_run *run, const char *model)
{
    for (int i = 0; i < run->s->n_models; i++)
        if (strcmp(run->s->models[i].name, model) != 0)
            release_model(run, i);
}

int ap_run_context(const struct ap_run *run, int most)
{
    if (run->s->run.context > 0)
        return run->s->run.context;
    return run->n_position > 0 && run->n_position < most ? run->n_position : most;
}

/* An upper bound of what a sequence of this run takes: a token is at least a byte, so caches never
 * cover more positions than the longest text has bytes. */
int ap_run_positions(const struct ap_run *run)
{
    size_t longest = 0, meta = 0;
    for (int i = 0; i < run->n_data; i++)
        for (size_t k = 0; k < run->data[i].set.n; k++) {
            const struct ap_example *e = &run->data[i].set.examples[k];
            const char *answers[] = {e->answer, e->chosen, e->rejected};
            size_t answer = 0, n = e->prompt ? strlen(e->prompt) : 0;
            for (size_t a = 0; a < AP_LEN(answers); a++)
                if (answers[a] && strlen(answers[a]) > answer)
                    answer = strlen(answers[a]);
            for (size_t c = 0; c < e->n_context; c++)
                n += strlen(e->context[c].content) + MARKUP_MAX;
            longest = n + answer > longest ? n + answer : longest;
        }
    for (int i = 0; i < ap_run_n_passes(run); i++) {
        meta = strlen(ap_run_pass_meta(run, i)) > meta ? strlen(ap_run_pass_meta(run, i)) : meta;
        longest += (size_t)ap_run_prompter(run, i)->max_new_tokens;
    }
    longest += meta + 4 * MARKUP_MAX + run->n_markup;
    longest += (size_t)run->s->target.max_new_tokens;
    return longest < 1 << 20 ? (int)longest : 1 << 20;
}

static ap_status load_weights(const struct ap_run *run, const struct ap_model_settings *m,
                              const char *pretrained, struct ap_weights **out, struct ap_error *err)
{
    struct ap_config config;
    ap_dtype dtype;
    ap_status status = ap_weights_dtype(&dtype, run->s->run.dtype, err);
    if (status != AP_OK)
        return status;
    if (pretrained || m->path[0])
        return ap_weights_load(out, pretrained ? pretrained : m->path, run->s->run.context, dtype,
                               err);
    status = ap_config_read_file(&config, m->config, err);
    if (status != AP_OK)
        return status;
    return ap_weights_random(out, &config, run->s->run.context, dtype,
                             (uint64_t)run->s->run.seed ^ ap_hash(m->name, strlen(m->name)), err);
}

static ap_status open_lm(struct ap_run *run, const char *name, const char *pretrained,
                         struct ap_lm **out, struct ap_error *err)
{
    const struct ap_model_settings *m;
    const struct ap_run_text *text;
    struct ap_weights *weights = NULL;

    *out = NULL;
    ap_status status = ap_settings_model(run->s, name, &m, err);
    if (status == AP_OK)
        status = ap_run_text(run, m, &text, err);
    if (status == AP_OK)
        status = load_weights(run, m, pretrained, &weights, err);
    if (status != AP_OK)
        return status;
    int context = ap_run_context(run, weights->context);
    return ap_lm_new(out, name, weights, text->tokenizer, text->chat, text->folder, context, err);
}

ap_status ap_run_lm_start(struct ap_run *run, const char *name, struct ap_lm **out,
                          struct ap_error *err)
{
    return open_lm(run, name, NULL, out, err);
}

ap_status ap_run_lm(struct ap_run *run, const char *name, struct ap_lm **out, struct ap_error *err)
{
    const struct ap_model_settings *m;
    char *pretrained = NULL;
    ap_status status = ap_settings_model(run->s, name, &m, err);
    if (status != AP_OK)
        return status;
    struct ap_lm **lm = &run->lms[m - run->s->models];
    if (!*lm) {
        if (strcmp(run->s->pretrain.model, name) == 0)
            pretrained = ap_run_dir_path(&run->dir, "pretrain", "final");
        status = open_lm(run, name, pretrained, lm, err);
        ap_free(pretrained);
    }
    *out = *lm;
    return status;
}

/* ---- roles ---- */

void ap_owned_role_free(struct ap_owned_role *r)
{
    ap_adapter_free(r->adapter);
    ap_weights_free(r->weights);
    *r = (struct ap_owned_role){0};
}

ap_status ap_run_role(struct ap_run *run, struct ap_lm *lm,
                      const struct ap_adapter_settings *adapter, const char *stage,
                      struct ap_owned_role *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    *out = (struct ap_owned_role){.role.weights = lm ? lm->weights : NULL};
    if (!stage)
        return AP_OK;
    char *folder = ap_run_dir_path(&run->dir, stage, "final");
    if (!folder)
        return ap_fail(err, AP_MEMORY, "stage %s: out of memory", stage);
    if (adapter->rank > 0) {
        status = ap_adapter_load(&out->adapter, lm->weights, folder, err);
        out->role.adapter = out->adapter;
    } else {
        status = ap_weights_load(&out->weights, folder, lm->weights->context,
                                 lm->weights->table.dtype, err);
        out->role.weights = out->weights;
    }
    ap_free(folder);
    return status;
}

ap_status ap_run_trained_role(struct ap_run *run, struct ap_lm *lm,
                              const struct ap_adapter_settings *adapter, const char *who,
                              const char *stage, struct ap_owned_role *out, struct ap_error *err)
{
    const char *command = ap_run_is_align(stage) ? "align" : stage;
    const char *maker = ap_run_is_align(stage) && ap_settings_joint(run->s) ? "align" : stage;
    char *final = ap_run_dir_path(&run->dir, stage, "final");
    ap_status status = final ? AP_OK : ap_fail(err, AP_MEMORY, "%s: %s: out of memory", who, stage);
    if (status == AP_OK && !ap_file_exists(final))
        status = ap_fail(err, AP_NOT_FOUND,
                         "%s: %s has no checkpoint: %s is missing; `alignpro %s RECIPE` makes it, "
                         "once %s/%s is removed",
                         who, stage, final, command, run->dir.path, maker);
    ap_free(final);
    return status == AP_OK ? ap_run_role(run, lm, adapter, stage, out, err) : status;
}

ap_status ap_run_policy(struct ap_run *run, struct ap_lm *lm,
                        const struct ap_adapter_settings *adapter, const char *stage,
                        struct ap_owned_role *out, struct ap_error *err)
{
    ap_status status;
    if (stage)
        return ap_run_role(run, lm, adapter, stage, out, err);
    *out = (struct ap_owned_role){.role.weights = lm->weights};
    if (adapter->rank > 0) {
        status = ap_adapter_new(&out->adapter, lm->weights, adapter, false,
                                (uint64_t)run->s->run.seed, err);
        out->role.adapter = out->adapter;
    } else {
        status = ap_weights_copy(&out->weights, lm->weights, err);
        out->role.weights = out->weights;
    }
    return status;
}

const char *ap_run_sft_stage(const struct ap_run *run)
{
    return ap_run_pass_sft(run, 0);
}

const char *ap_run_meta_prompt(const struct ap_run *run)
{
    return ap_run_pass_meta(run, 0);
}

struct ap_stage ap_run_begin(struct ap_run *run, const char *stage)
{
    return (struct ap_stage){.name = stage,
                             .seed = (uint64_t)run->s->run.seed,
                             .dir = &run->dir,
                             .db = run->db,
                             .events = run->s->run.tensorboard ? &run->events : NULL,
                             .sink = run->sink,
                             .monitor = &run->s->monitor,
                             .checkpoint_every = run->s->run.checkpoint_every,
                             .max_bad_steps = run->s->run.max_bad_steps};
}

/* ---- results ---- */

/* A whole model is useful to other commands only with its tokenizer beside it. */
static ap_status copy_tokenizer(const struct ap_run *run, const struct ap_lm *lm,
                                const char *folder, struct ap_error *err)
{
    const struct ap_model_settings *m;
    ap_status status = ap_settings_model(run->s, lm->name, &m, err);
    char *from = status == AP_OK ? ap_run_tokenizer_folder(m) : NULL;
    if (status == AP_OK)
        status = from ? ap_tokenizer_copy(from, folder, err)
                      : ap_fail(err, AP_MEMORY, "%s: out of memory", folder);
    ap_free(from);
    return status;
}

ap_status ap_run_finish(struct ap_run *run, const char *stage, const struct ap_lm *lm,
                        const struct ap_role *role, const char *json, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_learner result = {.role = *role, .base_name = lm->name};
    char *folder = NULL;

    AP_TRY(ap_final_begin(&run->dir, stage, &folder, err));
    AP_TRY(ap_learner_save_result(&result, folder, err));
    if (!role->adapter)
        AP_TRY(copy_tokenizer(run, lm, folder, err));
    AP_TRY(ap_final_commit(&run->dir, stage, folder, err));
    AP_TRY(ap_share_seal(run, stage, err));
    AP_TRY(ap_stage_finish(&run->dir, stage, json, err));
out:
    ap_free(folder);
    return status;
}

/* ---- targets ---- */

static struct ap_sampling target_sampling(const struct ap_target_settings *t)
{
    return (struct ap_sampling){t->temperature, t->top_k, t->top_p, t->min_p,
                                t->repetition_penalty};
}

const char *ap_run_no_logp(const struct ap_run *run)
{
    if (ap_settings_remote(run->s))
        return ap_target_http_no_logp(&run->s->target);
    struct ap_sampling sampling = target_sampling(&run->s->target);
    return ap_sampling_shapes(&sampling);
}

ap_status ap_run_target_lm(struct ap_run *run, struct ap_lm **out, struct ap_error *err)
{
    *out = NULL;
    return ap_settings_remote(run->s) ? AP_OK : ap_run_lm(run, run->s->target.model, out, err);
}

static ap_status open_remote_target(struct ap_run *run, struct ap_target *out, struct ap_error *err)
{
    const struct ap_target_settings *t = &run->s->target;
    struct ap_remote *remote;
    ap_status status = ap_run_remote(run, "target", &t->http, t->timeout, &remote, err);
    return status == AP_OK ? ap_target_http(out, remote, t, err) : status;
}

ap_status ap_run_target(struct ap_run *run, const struct ap_lm *lm, const struct ap_role *role,
                        struct ap_target *out, struct ap_error *err)
{
    const struct ap_target_settings *t = &run->s->target;
    if (!lm)
        return open_remote_target(run, out, err);
    struct ap_target_options options = {.max_new_tokens = t->max_new_tokens,
                                        .sampling = target_sampling(t),
                                        .stop = t->stop,
                                        .n_stop = t->n_stop,
                                        .n_slot = run->s->run.batch,
                                        .batch_tokens = run->s->align.optimiser.batch_tokens};
    return ap_target_local(out, lm, role, &options, err);
}

ap_status ap_run_rewriter(struct ap_run *run, const struct ap_lm *lm, const struct ap_role *role,
                          double temperature, int n_slot, struct ap_target *out,
                          struct ap_error *err)
{
    return ap_run_pass_rewriter(run, 0, lm, role, temperature, n_slot, out, err);
}
