/* What several keys together say of the evaluation: arms, judges and their names, noise, labels,
 * the bound. Entry points: ap_recipe_check_eval, ap_recipe_check_judge, ap_settings_pairwise,
 * ap_settings_n_scoring. */
#include "store/recipe_inner.h"

#include <stdio.h>
#include <string.h>

ap_status ap_recipe_check_judge(const struct ap_recipe *recipe, const char *key, const char *name,
                                struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    char known[(AP_REWARDS_MAX + AP_PAIRWISE_MAX) * 32] = "";
    size_t n = 0;
    if (ap_is(name, "reward") || ap_is(name, "world"))
        return AP_OK;
    for (int i = 0; i < s->n_rewards; i++) {
        if (ap_is(name, s->rewards[i].name))
            return AP_OK;
        n += (size_t)snprintf(known + n, sizeof(known) - n, ", %s", s->rewards[i].name);
    }
    for (int i = 0; ap_is(key, "eval.judges") && i < s->n_judges; i++)
        n += (size_t)snprintf(known + n, sizeof(known) - n, ", %s", s->judges[i].name);
    ap_fail(err, AP_INVALID, "%s is '%.80s', expected one of: reward, world%s", key, name, known);
    return ap_recipe_refuse(recipe, key, err);
}

/* align-1, align-2 … are what is had after a pass that is not the last. */
static ap_status check_pass(const struct ap_recipe *recipe, const char *arm, struct ap_error *err)
{
    int n, pass = !strncmp(arm, "align-", 6) ? arm[6] - '0' : 0;
    ap_settings_prompters(&recipe->settings, &n);
    if (pass == 0 || pass < n)
        return AP_OK;
    ap_fail(err, AP_INVALID, "eval.arms names %s, but there %s %d prompter%s: %s", arm,
            n > 1 ? "are" : "is", n, n > 1 ? "s" : "",
            n > 1 ? "what the last one makes is align" : "write align, or prompter as a list");
    return ap_recipe_refuse(recipe, "eval.arms", err);
}

static ap_status check_arms(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    const struct ap_eval_settings *e = &s->eval;
    ap_status status = AP_OK;
    for (int i = 0; i < e->n_all_arms; i++) {
        for (int j = 0; j < i; j++) {
            if (!ap_is(e->arms[i], e->arms[j]))
                continue;
            ap_fail(err, AP_INVALID, "eval.arms names %s twice; keep one", e->arms[i]);
            return ap_recipe_refuse(recipe, "eval.arms", err);
        }
        AP_TRY(check_pass(recipe, e->arms[i], err));
        if (i < e->n_arms && ((ap_is(e->arms[i], "rlhf") && !s->has_rlhf) ||
                              (ap_is(e->arms[i], "dpo") && !s->has_dpo) ||
                              (ap_is(e->arms[i], "ift") && !s->has_ift))) {
            ap_fail(err, AP_INVALID,
                    "eval.arms names %s, but the recipe has no %s section; add %s: {}, which "
                    "`alignpro %s` then trains, or remove the arm",
                    e->arms[i], e->arms[i], e->arms[i], e->arms[i]);
            return ap_recipe_refuse(recipe, "eval.arms", err);
        }
    }
out:
    return status;
}

static ap_status check_noise(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_eval_settings *e = &recipe->settings.eval;
    for (int i = 1; i < e->n_noise; i++)
        if (e->noise[i] <= e->noise[i - 1]) {
            ap_fail(err, AP_INVALID, "eval.noise has %g behind %g, expected rising strengths",
                    e->noise[i], e->noise[i - 1]);
            return ap_recipe_refuse(recipe, "eval.noise", err);
        }
    return AP_OK;
}

const struct ap_judge_settings *ap_settings_pairwise(const struct ap_settings *s, const char *name)
{
    for (int i = 0; i < s->n_judges; i++)
        if (ap_is(s->judges[i].name, name))
            return &s->judges[i];
    return NULL;
}

int ap_settings_n_scoring(const struct ap_settings *s)
{
    int n = 0;
    while (n < s->eval.n_judges && !ap_settings_pairwise(s, s->eval.judges[n]))
        n++;
    return n;
}

/* A model of the recipe, a server, or a command. */
static ap_status check_replier(const struct ap_recipe *recipe, const struct ap_judge_settings *j,
                               struct ap_error *err)
{
    char key[AP_KEY_MAX];
    snprintf(key, sizeof(key), "judges.%s.model", j->name);
    if (j->http.n_url > 0 && j->n_command > 0) {
        snprintf(key, sizeof(key), "judges.%s.url", j->name);
        ap_fail(err, AP_INVALID, "%s is given, and a command, too; keep one of them", key);
        return ap_recipe_refuse(recipe, key, err);
    }
    if (j->http.n_url > 0)
        return AP_OK;
    if (j->model[0] && j->n_command > 0) {
        ap_fail(err, AP_INVALID, "%s is given, and a command, too; keep one of them", key);
        return ap_recipe_refuse(recipe, key, err);
    }
    if (j->model[0])
        return ap_recipe_check_model(recipe, key, j->model, err);
    if (j->n_command > 0 && j->command[0][strspn(j->command[0], " \t\n")])
        return AP_OK;
    snprintf(key, sizeof(key), "judges.%s.command", j->name);
    return ap_recipe_need(recipe, key, "as are judges.NAME.model and .url: nobody would reply",
                          err);
}

/* The section of each judge that compares, its name among the names of all judges. */
static ap_status check_pairwise(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    ap_status status = AP_OK;
    for (int i = 0; i < s->n_judges; i++) {
        const struct ap_judge_settings *j = &s->judges[i];
        char key[AP_KEY_MAX];
        bool taken = ap_is(j->name, "reward") || ap_is(j->name, "world");
        for (int k = 0; k < s->n_rewards; k++)
            taken = taken || ap_is(j->name, s->rewards[k].name);
        snprintf(key, sizeof(key), "judges.%s", j->name);
        if (taken) {
            ap_fail(err, AP_INVALID, "%s: %s is the name of another judge; choose one of your own",
                    key, j->name);
            return ap_recipe_fail_at(recipe, ap_recipe_section(recipe, key), AP_INVALID, err);
        }
        AP_TRY(check_replier(recipe, j, err));
        snprintf(key, sizeof(key), "judges.%s.question", j->name);
        if (j->question[0] && (!strstr(j->question, "{a}") || !strstr(j->question, "{b}"))) {
            ap_fail(err, AP_INVALID, "%s lacks {a} or {b}, expected both answers in it", key);
            return ap_recipe_refuse(recipe, key, err);
        }
    }
out:
    return status;
}

/* The first picks best-of-n, so that it must score; those that compare come last. */
static ap_status check_judge_order(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    int n = ap_settings_n_scoring(s), i = n;
    while (i < s->eval.n_judges && ap_settings_pairwise(s, s->eval.judges[i]))
        i++;
    if (i == s->eval.n_judges && (n > 0 || i == 0))
        return AP_OK;
    if (i == s->eval.n_judges)
        ap_fail(err, AP_INVALID,
                "eval.judges has none that scores; put one before %s, which compares: reward, say",
                s->eval.judges[n]);
    else
        ap_fail(err, AP_INVALID,
                "eval.judges has %s, which scores, behind %s, which compares; put it before",
                s->eval.judges[i], s->eval.judges[n]);
    return ap_recipe_refuse(recipe, "eval.judges", err);
}

static ap_status check_seeds_and_judges(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_eval_settings *e = &recipe->settings.eval;
    ap_status status = AP_OK;
    for (int i = 0; i < e->n_seeds; i++)
        for (int j = 0; j < i; j++)
            if (e->seeds[i] == e->seeds[j]) {
                ap_fail(err, AP_INVALID, "eval.seeds has %lld twice; keep one",
                        (long long)e->seeds[i]);
                return ap_recipe_refuse(recipe, "eval.seeds", err);
            }
    for (int i = 0; i < e->n_judges; i++) {
        if (!ap_settings_pairwise(&recipe->settings, e->judges[i]))
            AP_TRY(ap_recipe_check_judge(recipe, "eval.judges", e->judges[i], err));
        for (int j = 0; j < i; j++)
            if (ap_is(e->judges[i], e->judges[j])) {
                ap_fail(err, AP_INVALID, "eval.judges names %s twice; keep one", e->judges[i]);
                return ap_recipe_refuse(recipe, "eval.judges", err);
            }
    }
    AP_TRY(check_judge_order(recipe, err));
out:
    return status;
}

/* They stand in tables, on terminals and in sentences. */
static ap_status check_labels(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_label_settings *label = &recipe->settings.label;
    const struct {
        const char *key, *text;
    } rows[] = {{"label.data", label->data},
                {"label.prompter", label->prompter},
                {"label.target", label->target}};
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        const char *c = rows[i].text;
        while (*c && (unsigned char)*c >= 0x20 && *c != 0x7F)
            c++;
        if (!*c && strlen(rows[i].text) <= AP_LABEL_MAX)
            continue;
        ap_fail(err, AP_INVALID,
                "%s has a control character or over %d bytes, expected a short name on one line; "
                "set it",
                rows[i].key, AP_LABEL_MAX);
        return ap_recipe_refuse(recipe, rows[i].key, err);
    }
    return AP_OK;
}

static ap_status check_bound(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_bound_settings *b = &recipe->settings.bound;
    if (b->scored <= b->answers)
        return AP_OK;
    ap_fail(err, AP_INVALID,
            "bound.scored is %d, but a rewrite has bound.answers %d; expected as many at most",
            b->scored, b->answers);
    return ap_recipe_refuse(recipe, "bound.scored", err);
}

ap_status ap_recipe_check_eval(const struct ap_recipe *recipe, struct ap_error *err)
{
    ap_status status;
    AP_TRY(check_pairwise(recipe, err));
    AP_TRY(check_arms(recipe, err));
    AP_TRY(check_seeds_and_judges(recipe, err));
    AP_TRY(check_noise(recipe, err));
    AP_TRY(check_labels(recipe, err));
    AP_TRY(check_bound(recipe, err));
out:
    return status;
}
