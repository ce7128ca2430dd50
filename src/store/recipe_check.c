/* What only several keys together can say: names that must exist, values that exclude each other,
 * values that a section needs. One key's own type and range are settings_value.c's. Entry points:
 * ap_recipe_check, ap_settings_model. */
#include "store/recipe_inner.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool present(const struct ap_recipe *recipe, const char *section)
{
    return ap_recipe_section(recipe, section)->kind != AP_ORIGIN_DEFAULT;
}

/* Where to point: the key if it was given, else its section, else the file's beginning. */
static struct ap_origin place_of(const struct ap_recipe *recipe, const char *key)
{
    char section[AP_KEY_MAX];
    struct ap_setting_ref ref;
    struct ap_origin at = {.kind = AP_ORIGIN_DEFAULT};
    if (ap_setting_find(key, &ref))
        at = *ap_recipe_origin(recipe, key);
    if (at.kind == AP_ORIGIN_INHERITED)
        at.kind = at.override ? AP_ORIGIN_SET : AP_ORIGIN_RECIPE;
    size_t n = strcspn(key, "."), n_name = 0;
    const char *name;
    if (ap_setting_name(key, &name, &n_name)) /* "rewards.NAME" */
        n = (size_t)(name - key) + n_name;
    snprintf(section, sizeof(section), "%.*s", (int)n, key);
    return at.kind == AP_ORIGIN_DEFAULT ? *ap_recipe_section(recipe, section) : at;
}

ap_status ap_recipe_refuse(const struct ap_recipe *recipe, const char *key, struct ap_error *err)
{
    struct ap_origin at = place_of(recipe, key);
    return ap_recipe_fail_at(recipe, &at, AP_INVALID, err);
}

ap_status ap_recipe_need(const struct ap_recipe *recipe, const char *key, const char *why,
                         struct ap_error *err)
{
    ap_fail(err, AP_INVALID, "%s is missing, %s; add it", key, why);
    return ap_recipe_refuse(recipe, key, err);
}

/* ---- models ---- */

ap_status ap_settings_model(const struct ap_settings *s, const char *name,
                            const struct ap_model_settings **out, struct ap_error *err)
{
    char known[512] = "";
    size_t n = 0;
    *out = NULL;
    for (int i = 0; i < s->n_models; i++) {
        if (ap_is(s->models[i].name, name)) {
            *out = &s->models[i];
            return AP_OK;
        }
        if (n < sizeof(known))
            n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? ", " : "",
                                  s->models[i].name);
    }
    if (!name[0])
        return ap_fail(err, AP_INVALID, "no model is named; name one of models: %s",
                       s->n_models ? known : "(empty)");
    return ap_fail(err, AP_INVALID, "'%.80s' names no model under models:, expected one of: %s",
                   name, s->n_models ? known : "(there are none; add one)");
}

static ap_status check_one_model(const struct ap_recipe *recipe, int i, struct ap_error *err)
{
    const struct ap_model_settings *m = &recipe->settings.models[i];
    const char *wrong = NULL;
    char key[AP_KEY_MAX];
    if (m->path[0] && m->config[0])
        wrong = "has both path and config, expected one of them; remove the other";
    else if (!m->path[0] && !m->config[0])
        wrong = "has neither path nor config; add path: FOLDER, or config: FILE with init: random";
    else if (m->init[0] && !m->config[0])
        wrong = "has init without config, expected config: FILE; a path brings its own weights";
    if (!wrong)
        return AP_OK;
    snprintf(key, sizeof(key), "models.%s", m->name);
    ap_fail(err, AP_INVALID, "%s %s", key, wrong);
    return ap_recipe_fail_at(recipe, ap_recipe_section(recipe, key), AP_INVALID, err);
}

ap_status ap_recipe_check_model(const struct ap_recipe *recipe, const char *key, const char *name,
                                struct ap_error *err)
{
    const struct ap_model_settings *model;
    if (!name[0] || ap_settings_model(&recipe->settings, name, &model, err) == AP_OK)
        return AP_OK;
    ap_fail_prefix(err, AP_INVALID, "%s", key);
    return ap_recipe_refuse(recipe, key, err);
}

const struct ap_prompter_settings *ap_settings_prompters(const struct ap_settings *s, int *n)
{
    *n = s->n_prompters > 0 ? s->n_prompters : 1;
    return s->n_prompters > 0 ? s->prompters : &s->prompter;
}

bool ap_settings_joint(const struct ap_settings *s)
{
    return s->n_prompters > 1 && ap_is(s->align.prompters, "joint");
}

/* A list and the keys of one prompter beside it, which --set may bring. */
static ap_status check_list(const struct ap_recipe *recipe, struct ap_error *err)
{
    struct ap_setting_ref ref;
    for (size_t i = 0; recipe->settings.n_prompters > 0 && ap_setting_at(i, &ref); i++) {
        char key[AP_KEY_MAX];
        if (ref.group->named || strncmp(ref.group->prefix, "prompter", strlen("prompter")) != 0 ||
            recipe->origin[ref.index].kind == AP_ORIGIN_DEFAULT)
            continue;
        snprintf(key, sizeof(key), "%s.%s", ref.group->prefix, ref.row->key);
        ap_fail(err, AP_INVALID,
                "%s is given, but prompter is a list; say of which, as in prompter.1%s", key,
                key + strlen("prompter"));
        return ap_recipe_fail_at(recipe, &recipe->origin[ref.index], AP_INVALID, err);
    }
    return AP_OK;
}

static ap_status check_prompters(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    ap_status status = AP_OK;
    char key[AP_KEY_MAX];
    AP_TRY(check_list(recipe, err));
    if (s->n_prompters == 0)
        AP_TRY(ap_recipe_check_model(recipe, "prompter.model", s->prompter.model, err));
    for (int i = 0; i < s->n_prompters; i++) {
        snprintf(key, sizeof(key), "prompter.%s.model", s->prompters[i].name);
        if (!s->prompters[i].model[0])
            AP_TRY(ap_recipe_need(recipe, key, "every prompter of the list has one", err));
        AP_TRY(ap_recipe_check_model(recipe, key, s->prompters[i].model, err));
    }
    if (s->n_prompters < 2 && ap_is(s->align.prompters, "joint")) {
        ap_fail(err, AP_INVALID,
                "align.prompters is joint, but there is one prompter; write prompter as a list");
        status = ap_recipe_refuse(recipe, "align.prompters", err);
    } else if (s->n_prompters > 1 && s->align.valid_every > 0) {
        ap_fail(
            err, AP_UNSUPPORTED,
            "align.valid_every is %d, expected 0 with a list of prompters: only a single one is "
            "validated; leave it out",
            s->align.valid_every);
        status = ap_recipe_refuse(recipe, "align.valid_every", err);
    }
out:
    return status;
}

static ap_status check_models(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    ap_status status = AP_OK;
    for (int i = 0; i < s->n_models; i++)
        AP_TRY(check_one_model(recipe, i, err));
    AP_TRY(check_prompters(recipe, err));
    AP_TRY(ap_recipe_check_model(recipe, "target.model", ap_settings_target(s), err));
    AP_TRY(ap_recipe_check_model(recipe, "pretrain.model", s->pretrain.model, err));
out:
    return status;
}

/* ---- sections ---- */

const struct ap_reward_settings *ap_settings_rewards(const struct ap_settings *s, int *n)
{
    *n = s->n_rewards > 0 ? s->n_rewards : 1;
    return s->n_rewards > 0 ? s->rewards : &s->reward;
}

bool ap_recipe_has_reward(const struct ap_recipe *recipe)
{
    return present(recipe, "reward") || recipe->settings.n_rewards > 0;
}

bool ap_reward_is_model(const struct ap_reward_settings *r)
{
    return ap_is(r->kind, "classifier") || ap_is(r->kind, "implicit");
}

bool ap_reward_is_trained(const struct ap_reward_settings *r)
{
    return ap_reward_is_model(r) && !r->trained[0];
}

/* A reward and the section that it stands in: "reward" or "rewards.NAME". */
struct reward_view {
    const struct ap_recipe *recipe;
    const struct ap_reward_settings *r;
    char section[64];
};

static ap_status refuse_reward(const struct reward_view *v, const char *leaf, struct ap_error *err)
{
    char key[AP_KEY_MAX];
    snprintf(key, sizeof(key), "%s.%s", v->section, leaf);
    return ap_recipe_refuse(v->recipe, key, err);
}

static ap_status need_of_reward(const struct reward_view *v, const char *leaf, const char *why,
                                struct ap_error *err)
{
    ap_fail(err, AP_INVALID, "%s.%s is missing, %s; add it", v->section, leaf, why);
    return refuse_reward(v, leaf, err);
}

/* kind, model, rule and command must tell of one reward. */
static ap_status check_reward_kind(const struct reward_view *v, struct ap_error *err)
{
    const struct ap_reward_settings *r = v->r;
    const struct {
        const char *kind;
        bool given;
        const char *key;
        bool has_model;
    } own[] = {{"rule", r->rule[0] != '\0', "rule", false},
               {"command", r->n_command > 0, "command", false},
               {"http", r->http.n_url > 0, "url", true}};
    for (size_t i = 0; i < AP_LEN(own); i++)
        for (size_t k = 0; k < i; k++)
            if (own[i].given && own[k].given) {
                ap_fail(err, AP_INVALID,
                        "%s has both a %s and a %s, expected one; remove the other", v->section,
                        own[k].key, own[i].key);
                return refuse_reward(v, own[i].key, err);
            }
    for (size_t i = 0; i < AP_LEN(own); i++) {
        if (ap_is(r->kind, own[i].kind) != own[i].given) {
            ap_fail(err, AP_INVALID, "%s.kind is %s %s %s.%s; %s", v->section, r->kind,
                    own[i].given ? "with" : "without", v->section, own[i].key,
                    own[i].given ? "remove one of the two" : "add it");
            return refuse_reward(v, "kind", err);
        }
        if (own[i].given && !own[i].has_model && r->model[0]) {
            ap_fail(err, AP_INVALID, "%s has both a model and a %s, expected one; remove the other",
                    v->section, own[i].key);
            return refuse_reward(v, own[i].key, err);
        }
    }
    return AP_OK;
}

static ap_status check_reward(const struct reward_view *v, struct ap_error *err)
{
    const struct ap_reward_settings *r = v->r;
    char key[AP_KEY_MAX];
    ap_status status = check_reward_kind(v, err);
    if (status != AP_OK)
        return status;
    if (r->n_command > 0 && !r->command[0][strspn(r->command[0], " \t\n")]) {
        ap_fail(err, AP_INVALID, "%s.command is empty, expected a program that scores", v->section);
        return refuse_reward(v, "command", err);
    }
    if ((ap_is(r->rule, "regex") || ap_is(r->rule, "match")) && !r->pattern[0])
        return need_of_reward(v, "pattern", "the rule compares answers with it", err);
    if (ap_is(r->rule, "length") && r->length <= 0)
        return need_of_reward(v, "length", "the rule compares answers with it", err);
    if (ap_reward_is_model(r) && !r->model[0] && ap_recipe_has_reward(v->recipe))
        return need_of_reward(v, "model", "the reward has no rule or command either", err);
    if (!ap_reward_is_trained(r) && !ap_is(r->pairs, "all")) {
        ap_fail(err, AP_INVALID, "%s.pairs is %s, but %s learns from no pairs here; leave it out",
                v->section, r->pairs, v->section);
        return refuse_reward(v, "pairs", err);
    }
    snprintf(key, sizeof(key), "%s.model", v->section);
    return ap_reward_is_model(r) ? ap_recipe_check_model(v->recipe, key, r->model, err) : AP_OK;
}

/* A judge is called by the name. */
static ap_status check_reward_name(const struct reward_view *v, struct ap_error *err)
{
    static const char *const taken[] = {"reward", "world"};
    for (size_t i = 0; i < AP_LEN(taken); i++)
        if (ap_is(v->r->name, taken[i])) {
            ap_fail(err, AP_INVALID, "%s: %s is the name of another judge; choose one of your own",
                    v->section, v->r->name);
            return ap_recipe_fail_at(v->recipe, ap_recipe_section(v->recipe, v->section),
                                     AP_INVALID, err);
        }
    return AP_OK;
}

static ap_status check_rewards(const struct ap_recipe *recipe, struct ap_error *err)
{
    int n;
    double most = 0;
    ap_status status = AP_OK;
    const struct ap_reward_settings *rewards = ap_settings_rewards(&recipe->settings, &n);
    bool named = recipe->settings.n_rewards > 0;
    if (named && present(recipe, "reward")) {
        ap_fail(err, AP_INVALID,
                "the recipe has both reward and rewards; put the one under a name "
                "of its own among the others");
        return ap_recipe_fail_at(recipe, ap_recipe_section(recipe, "reward"), AP_INVALID, err);
    }
    for (int i = 0; i < n; i++) {
        struct reward_view v = {.recipe = recipe, .r = &rewards[i], .section = "reward"};
        if (named)
            snprintf(v.section, sizeof(v.section), "rewards.%s", rewards[i].name);
        if (named)
            AP_TRY(check_reward_name(&v, err));
        AP_TRY(check_reward(&v, err));
        most = fmax(most, fabs(rewards[i].weight));
    }
    if (most == 0) {
        ap_fail(err, AP_INVALID, "%s: every weight is 0, expected one that is not",
                named ? "rewards" : "reward");
        status = ap_recipe_refuse(recipe, named ? "rewards" : "reward.weight", err);
    }
out:
    return status;
}

static ap_status check_split(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_data_settings *d = &recipe->settings.data;
    double sum = d->train + d->valid + d->test;
    if (fabs(sum - 1) <= 1e-6)
        return AP_OK;
    ap_fail(err, AP_INVALID, "data.split is %g + %g + %g = %g, expected a sum of 1", d->train,
            d->valid, d->test, sum);
    const struct ap_origin *split = ap_recipe_section(recipe, "data.split");
    return split->kind == AP_ORIGIN_DEFAULT ? ap_recipe_refuse(recipe, "data.split.train", err)
                                            : ap_recipe_fail_at(recipe, split, AP_INVALID, err);
}

static ap_status check_sft(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_sft_settings *sft = &recipe->settings.sft;
    bool file = ap_is(sft->source, "file");
    if (file && !sft->path[0])
        return ap_recipe_need(recipe, "sft.path", "sft.source is file", err);
    if (!file && sft->path[0]) {
        ap_fail(err, AP_INVALID, "sft.path is given, but sft.source is %s; write source: file",
                sft->source);
        return ap_recipe_refuse(recipe, "sft.path", err);
    }
    return AP_OK;
}

static ap_status check_pretrain(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_pretrain_settings *p = &recipe->settings.pretrain;
    if (present(recipe, "pretrain") && !p->model[0] && p->path[0])
        return ap_recipe_need(recipe, "pretrain.model", "pretrain has data", err);
    if (p->model[0] && !p->path[0])
        return ap_recipe_need(recipe, "pretrain.path", "pretrain has a model", err);
    return AP_OK;
}

/* math.md (14): λ is multiplied, so it cannot leave 0; and over one horizon in a step it could turn
 * negative. */
static ap_status check_adaptive(const struct ap_recipe *recipe, const char *section,
                                const struct ap_rl_settings *rl, struct ap_error *err)
{
    char key[AP_KEY_MAX];
    double n = (double)rl->prompts * rl->rewrites;
    if (rl->kl_target > 0 && rl->kl == 0) {
        snprintf(key, sizeof(key), "%s.kl", section);
        ap_fail(err, AP_INVALID, "%s is 0, expected more: %s.kl_target multiplies it", key,
                section);
        return ap_recipe_refuse(recipe, key, err);
    }
    if (rl->kl_target > 0 && rl->kl_horizon < n) {
        snprintf(key, sizeof(key), "%s.kl_horizon", section);
        ap_fail(err, AP_INVALID, "%s is %g, expected at least prompts x rewrites = %g", key,
                rl->kl_horizon, n);
        return ap_recipe_refuse(recipe, key, err);
    }
    return AP_OK;
}

/* What only validations give a meaning. */
static ap_status check_valid(const struct ap_recipe *recipe, const char *section,
                             const struct ap_rl_settings *rl, struct ap_error *err)
{
    char key[AP_KEY_MAX];
    const struct {
        const char *leaf;
        bool given;
    } keys[] = {{"keep", ap_is(rl->keep, "best")},
                {"patience", rl->patience > 0},
                {"valid_path", rl->valid_path[0] != '\0'},
                {"valid_judge", rl->valid_judge[0] != '\0'}};
    for (size_t i = 0; i < AP_LEN(keys) && rl->valid_every == 0; i++) {
        snprintf(key, sizeof(key), "%s.%s", section, keys[i].leaf);
        if (!keys[i].given)
            continue;
        ap_fail(err, AP_INVALID,
                "%s is given, but %s.valid_every is 0: nothing is ever validated; set "
                "valid_every, or leave the key out",
                key, section);
        return ap_recipe_refuse(recipe, key, err);
    }
    if (!rl->valid_judge[0])
        return AP_OK;
    snprintf(key, sizeof(key), "%s.valid_judge", section);
    return ap_recipe_check_judge(recipe, key, rl->valid_judge, err);
}

static ap_status check_rl(const struct ap_recipe *recipe, const char *section,
                          const struct ap_rl_settings *rl, struct ap_error *err)
{
    char key[AP_KEY_MAX];
    int64_t rewrites = (int64_t)rl->prompts * rl->rewrites;
    if (!ap_is(rl->algorithm, "ppo") && rl->rewrites < 2) {
        snprintf(key, sizeof(key), "%s.rewrites", section);
        ap_fail(err, AP_INVALID, "%s is %d, expected at least 2 with %s, which compares them", key,
                rl->rewrites, rl->algorithm);
        return ap_recipe_refuse(recipe, key, err);
    }
    if (rl->minibatches > rewrites) {
        snprintf(key, sizeof(key), "%s.minibatches", section);
        ap_fail(err, AP_INVALID, "%s is %d, expected at most prompts x rewrites = %lld", key,
                rl->minibatches, (long long)rewrites);
        return ap_recipe_refuse(recipe, key, err);
    }
    ap_status status = check_adaptive(recipe, section, rl, err);
    return status == AP_OK ? check_valid(recipe, section, rl, err) : status;
}

/* [warn, stop] */
static ap_status check_monitor(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    for (int k = 0; k < AP_MONITOR_COUNT; k++) {
        const struct ap_monitor_limits *l = &s->monitor.limits[k];
        char key[AP_KEY_MAX];
        snprintf(key, sizeof(key), "monitor.%s", ap_monitor_name((ap_monitor)k));
        if (l->n > 2) {
            ap_fail(err, AP_INVALID, "%s has %d numbers, expected at most two: [warn, stop]", key,
                    l->n);
            return ap_recipe_refuse(recipe, key, err);
        }
        if (l->n == 2 && l->value[1] <= l->value[0]) {
            ap_fail(err, AP_INVALID,
                    "%s stops at %g and warns at %g, expected a stop above the warning: [warn, "
                    "stop]",
                    key, l->value[1], l->value[0]);
            return ap_recipe_refuse(recipe, key, err);
        }
    }
    if (s->monitor.limits[AP_MONITOR_GAP].n > 0 && s->align.valid_every == 0 &&
        (!s->has_rlhf || s->rlhf.valid_every == 0)) {
        ap_fail(err, AP_INVALID,
                "monitor.gap is given, but nothing is validated, and only validations measure it; "
                "set align.valid_every, or leave it out");
        return ap_recipe_refuse(recipe, "monitor.gap", err);
    }
    return AP_OK;
}

static ap_status check_context(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    int n, most = 0;
    const struct ap_prompter_settings *p = ap_settings_prompters(s, &n);
    const char *which = "prompter";
    for (int i = 0; i < n; i++)
        most = p[i].max_new_tokens > most ? p[i].max_new_tokens : most;
    if (!ap_settings_remote(s) && s->target.max_new_tokens > most) {
        most = s->target.max_new_tokens;
        which = "target";
    }
    if (s->run.context == 0 || s->run.context > most)
        return AP_OK;
    ap_fail(err, AP_INVALID, "run.context is %d, expected more than %s.max_new_tokens (%d)",
            s->run.context, which, most);
    return ap_recipe_refuse(recipe, "run.context", err);
}

/* ---- what a section that is there needs of others ---- */

/* Whether an arm rewrites. */
static bool arms_need_prompter(const struct ap_recipe *recipe)
{
    static const char *const others[] = {"bare", "rlhf", "dpo", "ift", "best-of-n-answers"};

    const struct ap_eval_settings *e = &recipe->settings.eval;
    for (int i = 0; present(recipe, "eval") && i < e->n_arms; i++) {
        bool rewrites = true;
        for (size_t k = 0; k < AP_LEN(others); k++)
            rewrites = rewrites && !ap_is(e->arms[i], others[k]);
        if (rewrites)
            return true;
    }
    return false;
}

static ap_status check_roles(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    bool align = present(recipe, "align"), rlhf = s->has_rlhf, eval = present(recipe, "eval");
    bool sft = !ap_is(s->sft.source, "none");
    bool best = ap_is(s->sft.source, "best-of-n");
    if (!s->prompter.model[0] &&
        (present(recipe, "prompter") || align || sft || arms_need_prompter(recipe)))
        return ap_recipe_need(recipe, "prompter.model",
                              align ? "align trains it" : "a section of the recipe uses it", err);
    if (!s->target.model[0] && !ap_settings_remote(s) &&
        (present(recipe, "target") || align || rlhf || s->has_dpo || s->has_ift || eval || best))
        return ap_recipe_need(
            recipe, "target.model",
            align ? "align asks it for answers" : "a section of the recipe uses it", err);
    if (!ap_recipe_has_reward(recipe) && (align || rlhf || best))
        return ap_recipe_need(recipe, "reward.model", "a section of the recipe needs a reward",
                              err);
    return AP_OK;
}

static bool learns_reward(const struct ap_recipe *recipe)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(&recipe->settings, &n);
    while (n > 0 && !ap_reward_is_trained(&r[n - 1]))
        n--;
    return n > 0 && ap_recipe_has_reward(recipe);
}

static ap_status check_data(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    if (s->data.path[0])
        return AP_OK;
    if (present(recipe, "align") && !s->align.path[0])
        return ap_recipe_need(recipe, "data.path", "align has no path of its own", err);
    if (s->has_rlhf && !s->rlhf.path[0])
        return ap_recipe_need(recipe, "data.path", "rlhf has no path of its own", err);
    if (s->has_dpo && !s->dpo.path[0])
        return ap_recipe_need(recipe, "data.path", "dpo has no path of its own", err);
    if (s->has_ift && !s->ift.path[0])
        return ap_recipe_need(recipe, "data.path", "ift has no path of its own", err);
    if (present(recipe, "eval") && !s->eval.path[0])
        return ap_recipe_need(recipe, "data.path", "eval has no path of its own", err);
    if (learns_reward(recipe) && !s->reward_train.path[0])
        return ap_recipe_need(recipe, "data.path",
                              "the reward has neither pairs to learn from nor trained", err);
    if (ap_is(s->sft.source, "best-of-n"))
        return ap_recipe_need(recipe, "data.path", "sft takes prompts from it", err);
    return AP_OK;
}

ap_status ap_recipe_check(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    ap_status status;
    AP_TRY(check_models(recipe, err));
    AP_TRY(check_rewards(recipe, err));
    AP_TRY(check_split(recipe, err));
    AP_TRY(check_sft(recipe, err));
    AP_TRY(check_pretrain(recipe, err));
    AP_TRY(check_rl(recipe, "align", &s->align, err));
    AP_TRY(check_rl(recipe, "rlhf", &s->rlhf, err));
    AP_TRY(check_monitor(recipe, err));
    AP_TRY(ap_recipe_check_http(recipe, err));
    AP_TRY(ap_recipe_check_eval(recipe, err));
    AP_TRY(check_context(recipe, err));
    AP_TRY(check_roles(recipe, err));
    AP_TRY(check_data(recipe, err));
    if (!s->run.dir[0])
        AP_TRY(ap_recipe_need(recipe, "run.dir", "results need a folder", err));
out:
    return status;
}
