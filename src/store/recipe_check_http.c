/* What the keys of servers say together: addresses, keys, budgets, what goes into a request. Not
 * here: whether an address is one (net/client.h). Entry points: ap_recipe_check_http,
 * ap_settings_remote, ap_settings_target, ap_settings_server, ap_judge_model, ap_target_refusal. */
#include "store/recipe_inner.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ap_settings_remote(const struct ap_settings *s)
{
    return ap_is(s->target.kind, "http");
}

const char *ap_settings_target(const struct ap_settings *s)
{
    return ap_settings_remote(s) ? "" : s->target.model;
}

const char *ap_judge_model(const struct ap_judge_settings *j)
{
    return j->http.n_url > 0 ? "" : j->model;
}

double ap_target_refusal(const struct ap_target_settings *t)
{
    return ap_is(t->refusal, "scored") ? NAN : strtod(t->refusal, NULL);
}

static ap_status refuse_leaf(const struct ap_recipe *recipe, const char *section, const char *leaf,
                             struct ap_error *err)
{
    char key[AP_KEY_MAX];
    snprintf(key, sizeof(key), "%s.%s", section, leaf);
    return ap_recipe_refuse(recipe, key, err);
}

/* Keys that a request has from elsewhere, or whose answers could not be read or counted. */
static ap_status check_body_keys(const char *section, json_t *extra, struct ap_error *err)
{
    static const char *const ours[] = {"messages", "prompt", "response", "context", "n",
                                       "best_of",  "stream", "echo",     "seed"};
    for (size_t i = 0; i < AP_LEN(ours); i++) {
        const json_t *value = json_object_get(extra, ours[i]);
        if (value && !(json_is_null(value) && ap_is(ours[i], "seed")))
            return ap_fail(err, AP_INVALID,
                           "%s.body has \"%s\", which the run fills or reads itself; take it "
                           "out",
                           section, ours[i]);
    }
    return AP_OK;
}

/* Without a limit nothing can be held back for an answer. */
static ap_status check_body_limit(const char *section, const struct ap_budget_settings *b,
                                  const json_t *extra, struct ap_error *err)
{
    if (!json_is_null(json_object_get(extra, "max_tokens")) ||
        json_is_integer(json_object_get(extra, "max_completion_tokens")) ||
        (b->tokens == 0 && b->usd == 0))
        return AP_OK;
    return ap_fail(err, AP_INVALID,
                   "%s.body takes max_tokens out, and %s.budget counts on a limit; add "
                   "max_completion_tokens",
                   section, section);
}

static ap_status check_body(const struct ap_recipe *recipe, const char *section,
                            const struct ap_http_settings *h, struct ap_error *err)
{
    char key[AP_KEY_MAX];
    json_t *extra = NULL;
    ap_status status = AP_OK;
    if (!h->body[0])
        return AP_OK;
    snprintf(key, sizeof(key), "%s.body", section);
    if (h->n_url == 0)
        AP_TRY(
            ap_fail(err, AP_INVALID, "%s is given, and no url that it is sent to; add url", key));
    AP_TRY(ap_json_parse(h->body, strlen(h->body), key, &extra, err));
    if (!json_is_object(extra))
        AP_TRY(ap_fail(err, AP_INVALID, "%s is a list, expected " AP_JSON_OBJECT, key));
    AP_TRY(check_body_keys(section, extra, err));
    AP_TRY(check_body_limit(section, &h->budget, extra, err));
out:
    json_decref(extra);
    return status == AP_OK ? AP_OK : ap_recipe_refuse(recipe, key, err);
}

/* section: "target", "rewards.NAME" … */
static ap_status check_server(const struct ap_recipe *recipe, const char *section,
                              const struct ap_http_settings *h, struct ap_error *err)
{
    const struct ap_budget_settings *b = &h->budget;
    if (h->key_env[0] && h->key_file[0]) {
        ap_fail(err, AP_INVALID,
                "%s.key_env and key_file are given, expected one; remove the other", section);
        return refuse_leaf(recipe, section, "key_file", err);
    }
    if (h->n_url == 0 && (h->key_env[0] || h->key_file[0])) {
        ap_fail(err, AP_INVALID, "%s has a key and no url that it is sent to; add url", section);
        return refuse_leaf(recipe, section, h->key_env[0] ? "key_env" : "key_file", err);
    }
    if (b->usd > 0 && b->price_in == 0 && b->price_out == 0) {
        ap_fail(err, AP_INVALID,
                "%s.budget.usd is %g, but nothing has a price; add budget.price_in and price_out, "
                "of a million tokens",
                section, b->usd);
        return refuse_leaf(recipe, section, "budget.usd", err);
    }
    for (int i = 0; i < h->n_url; i++)
        for (int k = 0; k < i; k++)
            if (ap_is(h->url[i], h->url[k])) {
                ap_fail(err, AP_INVALID, "%s.url has %.100s twice; keep one", section, h->url[i]);
                return refuse_leaf(recipe, section, "url", err);
            }
    return check_body(recipe, section, h, err);
}

static ap_status check_target(const struct ap_recipe *recipe, struct ap_error *err)
{
    const struct ap_target_settings *t = &recipe->settings.target;
    bool remote = ap_is(t->kind, "http");
    char *end;
    if (remote != (t->http.n_url > 0)) {
        ap_fail(err, AP_INVALID, "target.kind is %s %s target.url; %s", t->kind,
                remote ? "without" : "with", remote ? "add it" : "remove one of the two");
        return ap_recipe_refuse(recipe, "target.kind", err);
    }
    double value = strtod(t->refusal, &end);
    if (!ap_is(t->refusal, "scored") && (end == t->refusal || *end || !isfinite(value))) {
        ap_fail(err, AP_INVALID, "target.refusal is '%.40s', expected scored or a number",
                t->refusal);
        return ap_recipe_refuse(recipe, "target.refusal", err);
    }
    return AP_OK;
}

struct ap_section ap_reward_section(const struct ap_reward_settings *r)
{
    struct ap_section out;
    snprintf(out.name, sizeof(out.name), "%s%s", r->name ? "rewards." : "reward",
             r->name ? r->name : "");
    return out;
}

bool ap_settings_server(const struct ap_settings *s, int i, struct ap_server *out)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(s, &n);
    const int judge = i - 1 - n;
    if (i == 0)
        *out = (struct ap_server){{"target"}, &s->target.http, -1};
    else if (judge < 0)
        *out = (struct ap_server){ap_reward_section(&r[i - 1]), &r[i - 1].http, -1};
    else if (judge < s->n_judges) {
        *out = (struct ap_server){.http = &s->judges[judge].http, .judge = judge};
        snprintf(out->section.name, sizeof(out->section.name), "judges.%s", s->judges[judge].name);
    }
    return judge < s->n_judges;
}

ap_status ap_recipe_check_http(const struct ap_recipe *recipe, struct ap_error *err)
{
    struct ap_server server;
    ap_status status = check_target(recipe, err);
    for (int i = 0; status == AP_OK && ap_settings_server(&recipe->settings, i, &server); i++)
        status = check_server(recipe, server.section.name, server.http, err);
    return status;
}
