/* Values that follow from others: what rlhf takes from align, and what the word auto stands for.
 * Entry point: ap_recipe_derive. */
#include "store/recipe_inner.h"

#include <stdio.h>
#include <string.h>

/* The same row of the group whose values stand in. */
static bool find_source(const struct ap_setting_ref *ref, struct ap_setting_ref *source)
{
    for (size_t i = 0; ap_setting_at(i, source); i++)
        if (source->group->rows == ref->group->rows && source->row == ref->row &&
            !strcmp(source->group->prefix, ref->group->inherits))
            return true;
    return false;
}

static ap_status inherit(struct ap_recipe *recipe, const struct ap_setting_ref *ref,
                         struct ap_error *err)
{
    struct ap_setting_ref source;
    struct ap_origin *origin = &recipe->origin[ref->index];
    if (origin->kind != AP_ORIGIN_DEFAULT || !find_source(ref, &source) ||
        recipe->origin[source.index].kind == AP_ORIGIN_DEFAULT)
        return AP_OK;
    *origin = recipe->origin[source.index];
    origin->kind = AP_ORIGIN_INHERITED;
    return ap_setting_copy(ref->row, ap_recipe_owner(&recipe->settings, ref, 0),
                           ap_recipe_owner(&recipe->settings, &source, 0), err);
}

/* rlhf without validations takes nothing from align that only they give a meaning: recipe.yaml
 * would hold it as if it had been asked for. */
static ap_status disinherit_valid(struct ap_recipe *recipe, struct ap_error *err)
{
    static const char *const keys[] = {"rlhf.keep", "rlhf.patience", "rlhf.valid_path",
                                       "rlhf.valid_judge"};
    ap_status status = AP_OK;
    for (size_t i = 0; i < AP_LEN(keys) && status == AP_OK; i++) {
        struct ap_setting_ref ref;
        if (recipe->settings.rlhf.valid_every > 0 || !ap_setting_find(keys[i], &ref) ||
            recipe->origin[ref.index].kind != AP_ORIGIN_INHERITED)
            continue;
        recipe->origin[ref.index] = (struct ap_origin){.kind = AP_ORIGIN_DEFAULT};
        status = ap_setting_default(ref.row, &recipe->settings.rlhf, err);
    }
    return status;
}

static void derive_adapter(struct ap_adapter_settings *adapter)
{
    if (adapter->alpha == 0)
        adapter->alpha = 2.0 * adapter->rank; /* still 0, which is auto, without an adapter */
}

static ap_status derive_reward(const struct ap_recipe *recipe, struct ap_reward_settings *reward,
                               struct ap_error *err)
{
    ap_status status = AP_OK;
    const char *kind = reward->rule[0]          ? "rule"
                       : reward->n_command > 0  ? "command"
                       : reward->http.n_url > 0 ? "http"
                                                : "classifier";
    if (!reward->kind[0])
        status = ap_setting_set_text(&reward->kind, kind, err);
    if (status == AP_OK && reward->n_command > 0 && !reward->folder[0])
        status = ap_setting_set_text(&reward->folder, recipe->folder, err);
    derive_adapter(&reward->adapter);
    return status;
}

/* normalise: auto is a matter of the origin, because no value of a bool can stand for it. */
static ap_status derive_rewards(struct ap_recipe *recipe, struct ap_error *err)
{
    struct ap_settings *s = &recipe->settings;
    ap_status status = derive_reward(recipe, &s->reward, err);
    if (status == AP_OK && ap_recipe_origin(recipe, "reward.normalise")->kind == AP_ORIGIN_DEFAULT)
        s->reward.normalise = ap_reward_is_model(&s->reward);
    for (int i = 0; i < s->n_rewards && status == AP_OK; i++) {
        char key[AP_KEY_MAX];
        struct ap_reward_settings *r = &s->rewards[i];
        status = derive_reward(recipe, r, err);
        snprintf(key, sizeof(key), "rewards.%s.normalise", r->name);
        if (status == AP_OK && ap_recipe_origin(recipe, key)->kind == AP_ORIGIN_DEFAULT)
            r->normalise = ap_reward_is_model(r);
    }
    return status;
}

/* The first of a list is the one that code for one prompter goes by. */
static ap_status derive_prompters(struct ap_recipe *recipe, struct ap_error *err)
{
    struct ap_settings *s = &recipe->settings;
    struct ap_setting_ref one, of_list;
    ap_status status = AP_OK;
    derive_adapter(&s->prompter.adapter);
    for (int i = 0; i < s->n_prompters; i++)
        derive_adapter(&s->prompters[i].adapter);
    for (size_t i = 0; s->n_prompters > 0 && ap_setting_at(i, &of_list); i++) {
        if (!of_list.group->named || !of_list.group->named->numbered)
            continue;
        for (size_t k = i; status == AP_OK && ap_setting_at(k, &one); k++)
            if (!one.group->named && one.row == of_list.row &&
                !strncmp(one.group->prefix, "prompter", strlen("prompter")))
                status = ap_setting_copy(one.row, ap_recipe_owner(s, &one, 0),
                                         ap_recipe_owner(s, &of_list, 0), err);
    }
    return status;
}

/* Over HTTP nobody trains the target: the arms that would stand last, and are none of those run. */
static void part_arms(struct ap_settings *s)
{
    static const char *const trained[] = {"rlhf", "dpo", "ift"};
    struct ap_eval_settings *e = &s->eval;
    char *absent[AP_LIST_MAX];
    int n = 0, n_absent = 0;
    for (int i = 0; i < e->n_all_arms; i++) {
        bool trains = false;
        for (size_t k = 0; k < AP_LEN(trained); k++)
            trains = trains || ap_is(e->arms[i], trained[k]);
        if (trains && ap_settings_remote(s))
            absent[n_absent++] = e->arms[i];
        else
            e->arms[n++] = e->arms[i];
    }
    e->n_arms = n;
    for (int i = 0; i < n_absent; i++)
        e->arms[n++] = absent[i];
}

static ap_status derive_target(struct ap_settings *s, struct ap_error *err)
{
    struct ap_target_settings *t = &s->target;
    ap_status status = AP_OK;
    derive_adapter(&t->adapter);
    if (!t->kind[0])
        status = ap_setting_set_text(&t->kind, t->http.n_url > 0 ? "http" : "local", err);
    if (status == AP_OK && ap_settings_remote(s) && !t->name[0] && t->http.n_url > 0)
        status = ap_setting_set_text(&t->name, t->http.url[0], err);
    return status;
}

/* So that every pass is evaluated where nobody said what is. */
static ap_status derive_arms(struct ap_recipe *recipe, struct ap_error *err)
{
    struct ap_eval_settings *e = &recipe->settings.eval;
    ap_status status = AP_OK;
    if (ap_recipe_origin(recipe, "eval.arms")->kind != AP_ORIGIN_DEFAULT)
        return AP_OK;
    for (int i = 1; i < recipe->settings.n_prompters && status == AP_OK; i++) {
        char arm[24];
        snprintf(arm, sizeof(arm), "align-%d", i);
        e->arms[e->n_all_arms] = e->arms[e->n_all_arms - 1]; /* align stays the last */
        e->arms[e->n_all_arms++ - 1] = NULL;
        status = ap_setting_set_text(&e->arms[e->n_all_arms - 2], arm, err);
    }
    return status;
}

static ap_status derive_judges(struct ap_recipe *recipe, struct ap_error *err)
{
    struct ap_settings *s = &recipe->settings;
    ap_status status = AP_OK;
    for (int i = 0; i < s->n_judges && status == AP_OK; i++)
        if (!s->judges[i].folder[0])
            status = ap_setting_set_text(&s->judges[i].folder, recipe->folder, err);
    return status;
}

static ap_status derive_rl(struct ap_rl_settings *rl, struct ap_error *err)
{
    if (rl->epochs == 0)
        rl->epochs = strcmp(rl->algorithm, "ppo") == 0 ? 4 : 1;
    if (rl->value_lr == 0)
        rl->value_lr = rl->optimiser.lr;
    if (rl->keep[0])
        return AP_OK;
    return ap_setting_set_text(&rl->keep, rl->valid_every > 0 ? "best" : "last", err);
}

/* n bytes of a text as a label that check_labels lets pass: cut between characters, on one line. */
static ap_status set_label(char **label, const char *text, size_t n, struct ap_error *err)
{
    char out[AP_LABEL_MAX + 1];
    n = strnlen(text, n);
    if (n > AP_LABEL_MAX)
        for (n = AP_LABEL_MAX; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80;)
            n--;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7F ? '_' : text[i];
    out[n] = '\0';
    return ap_setting_set_text(label, out, err);
}

/* A file's name without what stands behind its first dot. */
static ap_status set_stem(char **label, const char *path, struct ap_error *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return name[0] ? set_label(label, name, 1 + strcspn(name + 1, "."), err)
                   : set_label(label, "data", 4, err);
}

static ap_status derive_labels(struct ap_settings *s, struct ap_error *err)
{
    ap_status status = s->label.data[0] ? AP_OK : set_stem(&s->label.data, s->data.path, err);
    if (status == AP_OK && !s->label.prompter[0])
        status = set_label(&s->label.prompter, s->prompter.model, strlen(s->prompter.model), err);
    if (status == AP_OK && !s->label.target[0])
        status = set_label(&s->label.target, s->target.model, strlen(s->target.model), err);
    return status;
}

ap_status ap_recipe_derive(struct ap_recipe *recipe, struct ap_error *err)
{
    struct ap_settings *s = &recipe->settings;
    struct ap_setting_ref ref;
    ap_status status = derive_rewards(recipe, err);
    if (status == AP_OK)
        status = derive_judges(recipe, err);
    if (status == AP_OK)
        status = derive_target(s, err);
    bool ours = !ap_settings_remote(s); /* else nobody trains it */
    s->has_rlhf = ours && ap_recipe_section(recipe, "rlhf")->kind != AP_ORIGIN_DEFAULT;
    s->has_dpo = ours && ap_recipe_section(recipe, "dpo")->kind != AP_ORIGIN_DEFAULT;
    s->has_bound = ap_recipe_section(recipe, "bound")->kind != AP_ORIGIN_DEFAULT;
    s->has_ift = ours && ap_recipe_section(recipe, "ift")->kind != AP_ORIGIN_DEFAULT;
    for (size_t i = 0; ap_setting_at(i, &ref) && status == AP_OK; i++)
        if (ref.group->inherits)
            status = inherit(recipe, &ref, err);
    if (status == AP_OK)
        status = disinherit_valid(recipe, err);
    for (int i = 0; i < s->n_models && status == AP_OK; i++)
        if (s->models[i].config[0] && !s->models[i].init[0])
            status = ap_setting_set_text(&s->models[i].init, "random", err);
    if (status == AP_OK)
        status = derive_prompters(recipe, err);
    if (status == AP_OK)
        status = derive_labels(s, err);
    if (status != AP_OK)
        return status;
    if (s->bound.kl == 0)
        s->bound.kl = s->align.kl;
    status = derive_rl(&s->align, err);
    if (status == AP_OK)
        status = derive_rl(&s->rlhf, err);
    if (status == AP_OK)
        status = derive_arms(recipe, err);
    part_arms(s);
    return status;
}
