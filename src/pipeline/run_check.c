/* What a recipe and its data can be refused for before anything is trained or a run directory is
 * bound to them. A section is checked when the recipe has it. Entry point: ap_run_check. */
#include "pipeline/run_inner.h"

#include "base/child.h"
#include "base/memory.h"
#include "store/settings_table.h"

#include <stdio.h>
#include <string.h>

/* ---- models ---- */

/* A plan can be made without the tokenizer, a run can not. */
static ap_status check_text(struct ap_run *run, const struct ap_model_settings *m,
                            struct ap_error *err)
{
    static const struct ap_message empty = {"user", ""};
    struct ap_ids ids = {0};
    const struct ap_run_text *text;
    ap_status status = ap_run_text(run, m, &text, err);
    if (status == AP_NOT_FOUND && run->plan_only) {
        ap_sink_note(run->sink, "memory",
                     "model %s has no tokenizer here: texts are counted as long as the context",
                     m->name);
        return AP_OK;
    }
    if (status == AP_OK)
        status = ap_template_render(text->chat, &empty, 1, true, NULL, NULL, &ids, err);
    if (ids.n > run->n_markup)
        run->n_markup = ids.n;
    ap_ids_free(&ids);
    return status;
}

static ap_status check_targets(const struct ap_settings *s, const struct ap_config *config,
                               const char *key, const struct ap_adapter_settings *a,
                               struct ap_error *err)
{
    bool unused[AP_LORA_N];
    if (a->dropout > 0 && !strcmp(key, "target") && !s->has_dpo && !s->has_ift)
        return ap_fail(err, AP_INVALID,
                       "target.adapter.dropout is %g, expected 0: it trains in rlhf alone, where "
                       "dropout is off (math.md (10)); leave it out",
                       a->dropout);
    ap_status status = a->rank > 0 ? ap_lora_targets_parse(unused, config, a->targets, err) : AP_OK;
    return status == AP_OK ? status : ap_fail_prefix(err, status, "%s.adapter.targets", key);
}

static ap_status refuse_config(const struct ap_run *run, const struct ap_model_settings *m,
                               ap_status status, struct ap_error *err)
{
    char key[AP_KEY_MAX];
    snprintf(key, sizeof(key), "models.%s.%s", m->name, m->path[0] ? "path" : "config");
    ap_fail_prefix(err, status, "models.%s", m->name);
    return status == AP_NOT_FOUND ? ap_recipe_tell_variable(run->recipe, key, status, err) : status;
}

/* key: whose max_new_tokens it is, 0 for a model that writes nothing; and whose adapter, or NULL.
 */
static ap_status check_model(struct ap_run *run, const char *name, const char *key,
                             int max_new_tokens, const struct ap_adapter_settings *adapter,
                             struct ap_error *err)
{
    const struct ap_model_settings *m;
    struct ap_config config;
    int context = run->s->run.context;
    ap_status status = ap_settings_model(run->s, name, &m, err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "%s.model", key);
    status = m->path[0] ? ap_config_read(&config, m->path, err)
                        : ap_config_read_file(&config, m->config, err);
    if (status != AP_OK)
        return refuse_config(run, m, status, err);
    if (run->context_most == 0 || config.max_position < run->context_most)
        run->context_most = config.max_position;
    if (context > config.max_position)
        return ap_fail(err, AP_LIMIT,
                       "run.context is %d, expected at most %d (max_position_embeddings of model "
                       "%s); lower it or leave it out",
                       context, config.max_position, name);
    context = context ? context : ap_config_context(&config);
    if (max_new_tokens > 0 && max_new_tokens + 8 > context)
        return ap_fail(err, AP_LIMIT,
                       "%s.max_new_tokens: got %d, which leaves no room for a prompt in a context "
                       "of %d tokens; lower it or raise run.context",
                       key, max_new_tokens, context);
    if (adapter)
        status = check_targets(run->s, &config, key, adapter, err);
    return status == AP_OK ? check_text(run, m, err) : status;
}

/* What a shell makes of a line is not known before it runs. */
static ap_status check_command(int n, char *const *words, const char *folder, const char *key,
                               struct ap_error *err)
{
    if (n == 0)
        return AP_OK;
    ap_status status = ap_child_check(n > 1 ? words[0] : "/bin/sh", folder, err);
    return status == AP_OK ? AP_OK : ap_fail_prefix(err, status, "%s.command", key);
}

static ap_status check_models(struct ap_run *run, struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    ap_status status = AP_OK;
    int n_rewards;
    const struct ap_reward_settings *r = ap_settings_rewards(s, &n_rewards);
    if (s->pretrain.model[0])
        AP_TRY(check_model(run, s->pretrain.model, "pretrain", 0, NULL, err));
    for (int i = 0; ap_recipe_has(run->recipe, "prompter") && i < ap_run_n_passes(run); i++) {
        const struct ap_prompter_settings *p = ap_run_prompter(run, i);
        char key[64];
        snprintf(key, sizeof(key), "prompter%s%s", p->name ? "." : "", p->name ? p->name : "");
        AP_TRY(check_model(run, p->model, key, p->max_new_tokens, &p->adapter, err));
    }
    if (ap_recipe_has(run->recipe, "target") && !ap_settings_remote(s))
        AP_TRY(check_model(run, s->target.model, "target", s->target.max_new_tokens,
                           &s->target.adapter, err));
    for (int i = 0; i < n_rewards; i++) {
        const struct ap_section section = ap_reward_section(&r[i]);
        if (ap_recipe_has_reward(run->recipe) && ap_reward_is_model(&r[i]))
            AP_TRY(check_model(run, r[i].model, section.name, 0, &r[i].adapter, err));
        AP_TRY(check_command(r[i].n_command, r[i].command, r[i].folder, section.name, err));
    }
    for (int i = 0; i < s->n_judges; i++) {
        char key[64];
        if (!ap_run_asks_judge(s, i))
            continue;
        snprintf(key, sizeof(key), "judges.%s", s->judges[i].name);
        if (ap_judge_model(&s->judges[i])[0])
            AP_TRY(
                check_model(run, s->judges[i].model, key, s->judges[i].max_new_tokens, NULL, err));
        AP_TRY(check_command(s->judges[i].n_command, s->judges[i].command, s->judges[i].folder, key,
                             err));
    }
out:
    return status;
}

/* ---- temperatures ---- */

/* Below a thousandth a softmax in f32 is a greedy choice with rounding noise. */
static ap_status check_temperature(const char *key, double value, bool may_be_zero,
                                   struct ap_error *err)
{
    if (value >= 1e-3 || (may_be_zero && value == 0))
        return AP_OK;
    return ap_fail(err, AP_INVALID, "%s: got %g, expected %s0.001 or more", key, value,
                   may_be_zero ? "0 (the likeliest token) or " : "");
}

static ap_status check_values(const struct ap_run *run, struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    ap_status status = AP_OK;
    AP_TRY(check_temperature("target.temperature", s->target.temperature, !s->has_rlhf, err));
    AP_TRY(check_temperature("eval.temperature", s->eval.temperature, true, err));
    if (ap_run_has_arm(run, "best-of-n-answers") && s->target.temperature == 0)
        ap_sink_warn(
            run->sink, "recipe",
            "target.temperature is 0: the answers of best-of-n-answers are all bare's own");
    for (int i = 0; i < ap_run_n_passes(run); i++) {
        const struct ap_prompter_settings *p = ap_run_prompter(run, i);
        if (strcmp(p->meta_prompt, "default") != 0 && p->meta_prompt[0] &&
            !strstr(p->meta_prompt, "{prompt}"))
            ap_sink_warn(run->sink, "recipe",
                         "prompter%s%s.meta_prompt has no {prompt}: the prompt is put on a line "
                         "after it",
                         p->name ? "." : "", p->name ? p->name : "");
    }
out:
    return status;
}

/* ---- data ---- */

/* How many examples of a split have what `want` asks for; *n_split: examples of the split. */
static ap_status count(struct ap_run *run, const char *path, ap_split split,
                       bool (*want)(const struct ap_example *e), size_t *n_split, size_t *n_wanted,
                       struct ap_error *err)
{
    const struct ap_dataset *d;
    int32_t *index = NULL;
    ap_status status = ap_run_dataset(run, path, &d, err);
    *n_split = *n_wanted = 0;
    if (status == AP_OK)
        status = ap_run_select(run, d, split, false, &index, n_split, err);
    for (size_t i = 0; status == AP_OK && i < *n_split; i++)
        *n_wanted += want(&d->examples[index[i]]);
    ap_free(index);
    return status;
}

static bool any(const struct ap_example *e)
{
    (void)e;
    return true;
}

static bool is_pair(const struct ap_example *e)
{
    return e->chosen && e->rejected;
}

static bool has_answer(const struct ap_example *e)
{
    return e->answer != NULL;
}

static bool has_any_answer(const struct ap_example *e)
{
    return e->answer || e->chosen;
}

static bool has_meta(const struct ap_example *e)
{
    return e->meta != NULL;
}

static ap_status need(struct ap_run *run, const char *path, ap_split split,
                      bool (*want)(const struct ap_example *e), const char *what,
                      struct ap_error *err)
{
    size_t n_split, n_wanted;
    ap_status status = count(run, path, split, want, &n_split, &n_wanted, err);
    if (status != AP_OK || n_wanted > 0)
        return status;
    return ap_fail(err, AP_INVALID, "%s: %zu examples are in the split, none of them %s",
                   path[0] ? path : run->s->data.path, n_split, what);
}

static bool judged_by_world(const struct ap_run *run)
{
    for (int i = 0; i < run->s->eval.n_judges; i++)
        if (strcmp(run->s->eval.judges[i], "world") == 0)
            return true;
    return false;
}

static ap_status check_eval_data(struct ap_run *run, struct ap_error *err)
{
    const char *path = run->s->eval.path;
    ap_split split = path[0] ? AP_SPLIT_ALL : AP_SPLIT_TEST;
    size_t n, n_meta;
    ap_status status =
        need(run, path, split, any, "a test prompt; set data.split.test or eval.path", err);
    if (status != AP_OK || !judged_by_world(run))
        return status;
    status = count(run, path, split, has_meta, &n, &n_meta, err);
    if (status == AP_OK && n_meta < n)
        status = ap_fail(err, AP_INVALID,
                         "eval.judges: world scores the bundled world's prompts only; %zu of %zu "
                         "test prompts have no meta",
                         n - n_meta, n);
    return status;
}

/* Whether the stage's validations have prompts at all; ap_run_valid_prompts looks closer. */
static ap_status check_valid(struct ap_run *run, const char *stage, const struct ap_rl_settings *s,
                             struct ap_error *err)
{
    const struct ap_valid_source from = ap_run_valid_source(s);
    char what[96];
    snprintf(what, sizeof(what), "a valid prompt; set data.split.valid or %s.valid_path", stage);
    size_t n, n_meta;
    ap_status status =
        s->valid_every > 0 ? need(run, from.path, from.split, any, what, err) : AP_OK;
    if (status != AP_OK || s->valid_every == 0 || strcmp(s->valid_judge, "world") != 0)
        return status;
    status = count(run, from.path, from.split, has_meta, &n, &n_meta, err);
    if (status == AP_OK && n_meta < n)
        status =
            ap_fail(err, AP_INVALID,
                    "%s.valid_judge: world scores the bundled world's prompts only; %zu of %zu "
                    "valid prompts have no meta; name another judge",
                    stage, n - n_meta, n);
    return status;
}

static ap_status check_bound(struct ap_run *run, struct ap_error *err)
{
    const char *path = run->s->eval.path;
    ap_split split = path[0] ? AP_SPLIT_ALL : AP_SPLIT_TEST;
    ap_status status =
        need(run, path, split, any, "a test prompt; set data.split.test or eval.path", err);
    const char *no_logp = ap_run_no_logp(run);
    if (status == AP_OK && no_logp && run->s->target.logprobs && !run->plan_only)
        ap_sink_warn(
            run->sink, "bound",
            "target.logprobs is true, and yet there will be none: %s; what needs them will "
            "not be available",
            no_logp);
    if (status == AP_OK && run->s->n_prompters > 1)
        status =
            ap_fail(err, AP_UNSUPPORTED,
                    "the ceiling is known of one prompter, the recipe has a list of %d; give it "
                    "one",
                    run->s->n_prompters);
    if (status == AP_OK && !(run->s->bound.kl > 0))
        status = ap_fail(err, AP_INVALID,
                         "bound.kl: auto is align.kl, which is 0, and without a leash there is no "
                         "ceiling; set bound.kl above 0");
    return status == AP_OK ? status : ap_fail_prefix(err, status, "bound");
}

static ap_status check_data(struct ap_run *run, const char *wanted, struct ap_error *err)
{
    const struct ap_settings *s = run->s;
    ap_status status = AP_OK;
    if (s->pretrain.model[0])
        AP_TRY(need(run, s->pretrain.path, AP_SPLIT_TRAIN, has_answer,
                    "has an answer to imitate: {\"prompt\", \"response\"}", err));
    if (ap_recipe_has(run->recipe, "sft") && strcmp(s->sft.source, "file") == 0)
        AP_TRY(need(run, s->sft.path, AP_SPLIT_TRAIN, has_answer,
                    "has an answer to imitate: {\"prompt\", \"rewrite\"}", err));
    if (ap_recipe_has_reward(run->recipe) && ap_run_learns_reward(run))
        AP_TRY(need(
            run, s->reward_train.path, AP_SPLIT_TRAIN, is_pair,
            "is a preference pair: {\"prompt\", \"chosen\", \"rejected\"} or scored answers", err));
    if (ap_recipe_has(run->recipe, "align"))
        AP_TRY(need(run, s->align.path, AP_SPLIT_TRAIN, any,
                    "a training prompt; raise data.split.train", err));
    if (ap_recipe_has(run->recipe, "align"))
        AP_TRY(check_valid(run, "align", &s->align, err));
    if (s->has_rlhf)
        AP_TRY(check_valid(run, "rlhf", &s->rlhf, err));
    if (s->has_dpo)
        AP_TRY(need(
            run, s->dpo.path, AP_SPLIT_TRAIN, is_pair,
            "is a preference pair: {\"prompt\", \"chosen\", \"rejected\"} or scored answers", err));
    if (s->has_ift)
        AP_TRY(need(run, s->ift.path, AP_SPLIT_TRAIN, has_any_answer,
                    "has an answer to learn: {\"prompt\", \"response\"}, {\"messages\"} or pairs",
                    err));
    if (ap_recipe_has(run->recipe, "eval"))
        AP_TRY(check_eval_data(run, err));
    if (ap_run_asks_bound(run, wanted))
        AP_TRY(check_bound(run, err));
out:
    return status;
}

/* Before hours of training and all that is bought, not in the report alone. */
static void tell_absent_arms(const struct ap_run *run, const char *wanted)
{
    const struct ap_eval_settings *e = &run->s->eval;
    if (!ap_recipe_has(run->recipe, "eval") || (wanted && strcmp(wanted, "eval") != 0))
        return;
    for (int i = e->n_arms; i < e->n_all_arms; i++)
        ap_sink_warn(run->sink, "recipe",
                     "eval.arms: %s: n/a, as it trains the target, which over HTTP is not ours to "
                     "train",
                     e->arms[i]);
}

ap_status ap_run_check(struct ap_run *run, const char *wanted, struct ap_error *err)
{
    ap_status status = check_values(run, err);
    if (status == AP_OK)
        status = ap_run_check_http(run, err);
    if (status == AP_OK)
        status = check_models(run, err);
    if (status == AP_OK && !run->data_missing)
        status = check_data(run, wanted, err);
    if (status == AP_OK)
        tell_absent_arms(run, wanted);
    return status;
}
