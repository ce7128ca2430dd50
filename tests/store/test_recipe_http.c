/* Recipes with servers: what is derived from an address, arms that nobody can train, the ledger's
 * three spellings, the resolved text; and each check, with place, words and remedy. */
#include "store_recipes.h"

#define MODELS                                                                                     \
    "run: {dir: o}\ndata: {path: d.jsonl}\nmodels: {m: {path: x}}\nprompter: {model: m}\n"
#define URL "url: 'http://h/v1'"
#define TARGET MODELS "target: {" URL "}\n"
#define REWARD "reward: {rule: length, length: 9}\n"

static struct ap_recipe *must_parse(const char *text, const char *override)
{
    struct ap_error err;
    struct ap_recipe *recipe;
    check_ok(parse(&recipe, text, &override, override ? 1 : 0, &err), err);
    return recipe;
}

/* ---- what is right ---- */

static void kinds(void **state)
{
    (void)state;
    struct ap_recipe *r = must_parse(
        MODELS "target: {url: ['http://h/v1', 'https://i:8443/v1'], model: big, key_env: K}\n"
               "rewards:\n"
               "  a: {" URL ", shape: pooling, model: rm, key_file: key, weight: 2}\n"
               "  b: {rule: length, length: 9}\n"
               "judges: {j: {" URL ", model: judge}}\neval: {judges: [reward, j]}\n",
        NULL);
    const struct ap_settings *s = ap_recipe_settings(r);
    assert_true(ap_settings_remote(s));
    assert_string_equal(s->target.kind, "http");
    assert_string_equal(s->target.name, "http://h/v1");
    assert_string_equal(s->target.model, "big");
    assert_string_equal(ap_settings_target(s), ""); /* none of models */
    assert_int_equal(s->target.http.n_url, 2);
    assert_string_equal(s->target.http.url[1], "https://i:8443/v1");
    assert_string_equal(s->target.http.key_env, "K");
    assert_int_equal(s->target.http.concurrency, 8);
    assert_int_equal(s->target.http.retries, 8);
    assert_int_equal(s->target.together, 1);
    assert_true(isnan(ap_target_refusal(&s->target)));
    assert_string_equal(s->rewards[0].kind, "http");
    assert_string_equal(s->rewards[0].http.key_file, "/base/key");
    assert_string_equal(s->rewards[1].kind, "rule");
    assert_string_equal(ap_judge_model(&s->judges[0]), "");
    assert_string_equal(s->judges[0].model, "judge");
    assert_string_equal(s->ledger, "");
    ap_recipe_close(r);
    r = must_parse(TARGET REWARD, "target.refusal=-1.5");
    check_near(ap_target_refusal(&ap_recipe_settings(r)->target), -1.5, 0, 0);
    assert_string_equal(ap_recipe_settings(r)->target.model, "");
    ap_recipe_close(r);
    r = must_parse(TARGET REWARD, "target.name=mine");
    assert_string_equal(ap_recipe_settings(r)->target.name, "mine");
    ap_recipe_close(r);
    r = must_parse(MODELS "target: {model: m}\n" REWARD, NULL);
    s = ap_recipe_settings(r);
    assert_true(!ap_settings_remote(s));
    assert_string_equal(s->target.kind, "local");
    assert_string_equal(ap_settings_target(s), "m");
    ap_recipe_close(r);
}

/* What would train the target is not done, and its arms stand behind those that are. */
static void arms(void **state)
{
    static const char *const expected[] = {"align", "bare", "rlhf", "ift", "dpo"};
    (void)state;
    struct ap_recipe *r = must_parse(TARGET REWARD ""
                                                   "rlhf: {}\ndpo: {}\nift: {}\nalign: {}\n"
                                                   "eval: {arms: [rlhf, align, ift, bare, dpo]}\n",
                                     NULL);
    const struct ap_settings *s = ap_recipe_settings(r);
    assert_true(!s->has_rlhf && !s->has_dpo && !s->has_ift);
    assert_int_equal(s->eval.n_arms, 2);
    assert_int_equal(s->eval.n_all_arms, AP_LEN(expected));
    for (size_t i = 0; i < AP_LEN(expected); i++)
        assert_string_equal(s->eval.arms[i], expected[i]);
    ap_recipe_close(r);
    r = must_parse(MODELS "target: {model: m}\n" REWARD "rlhf: {}\n"
                          "dpo: {path: p.jsonl}\nift: {}\neval: {arms: [rlhf, bare, dpo, ift]}\n",
                   NULL);
    s = ap_recipe_settings(r);
    assert_true(s->has_rlhf && s->has_dpo && s->has_ift);
    assert_int_equal(s->eval.n_arms, 4);
    assert_string_equal(s->eval.arms[0], "rlhf");
    ap_recipe_close(r);
}

static void ledger(void **state)
{
    static const struct {
        const char *text, *override, *path;
    } rows[] = {{"ledger: l.db\n", NULL, "/base/l.db"},
                {"ledger: /abs/l.db\n", NULL, "/abs/l.db"},
                {"ledger: {path: l.db}\n", NULL, "/base/l.db"},
                {"ledger: {}\n", NULL, ""},
                {"ledger: ~\n", NULL, ""},
                {"", NULL, ""},
                {"", "ledger=l.db", "/base/l.db"},
                {"", "ledger.path=l.db", "/base/l.db"},
                {"ledger: l.db\n", "ledger=/other.db", "/other.db"},
                {"ledger: {path: l.db}\n", "ledger=/other.db", "/other.db"},
                {"ledger: l.db\n", "ledger.path=", ""}};
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        char text[512];
        snprintf(text, sizeof(text), "%s%s", TARGET REWARD, rows[i].text);
        struct ap_recipe *r = must_parse(text, rows[i].override);
        assert_string_equal(ap_recipe_settings(r)->ledger, rows[i].path);
        ap_recipe_close(r);
    }
}

/* ---- the resolved text ---- */

static void resolved(void **state)
{
    static const char *const texts[] = {
        TARGET REWARD, TARGET REWARD "ledger: l.db\n",
        TARGET REWARD "rlhf: {}\ndpo: {}\nift: {}\n"
                      "eval: {arms: [rlhf, bare, dpo, ift]}\n",
        MODELS
        "target: {url: ['http://h/v1', 'http://i/v1'], model: big, key_env: K, api: completions, "
        "together: 4, logprobs: true, body: '{\"user\": \"a: b\"}', refusal: -1, name: n, "
        "concurrency: 3, rpm: 60, tpm: 1000, retries: 0, timeout: 5, stop: ['#', \"\\n\"], "
        "budget: {requests: 10, tokens: 20, usd: 0.5, price_in: 1, price_out: 2}}\n"
        "rewards:\n  a: {" URL ", shape: classify, model: rm, budget: {requests: 3}}\n"
        "  b: {rule: length, length: 9}\n"
        "judges: {j: {" URL ", model: judge, key_file: k, budget: {tokens: 9}}}\n"
        "eval: {judges: [reward, j]}\nledger: {path: /l.db}\n"};
    (void)state;
    for (size_t i = 0; i < AP_LEN(texts); i++) {
        struct ap_error err;
        struct ap_buffer first = {0}, second = {0};
        struct ap_recipe *again, *r = must_parse(texts[i], NULL);
        check_ok(ap_recipe_resolved(r, &first, &err), err);
        check_ok(ap_recipe_parse(&again, first.data, first.len, "recipe.yaml", "/elsewhere", NULL,
                                 0, &err),
                 err);
        check_ok(ap_recipe_resolved(again, &second, &err), err);
        assert_true(ap_recipe_fingerprint(r) == ap_recipe_fingerprint(again));
        const struct ap_settings *a = ap_recipe_settings(r), *b = ap_recipe_settings(again);
        assert_string_equal(a->ledger, b->ledger);
        assert_string_equal(a->target.kind, b->target.kind);
        assert_string_equal(a->target.http.body, b->target.http.body);
        assert_true(a->target.http.budget.usd == b->target.http.budget.usd &&
                    a->target.http.budget.tokens == b->target.http.budget.tokens);
        assert_int_equal(a->target.http.n_url, b->target.http.n_url);
        assert_int_equal(a->eval.n_arms, b->eval.n_arms);
        assert_int_equal(a->eval.n_all_arms, b->eval.n_all_arms);
        for (int k = 0; k < a->eval.n_all_arms; k++)
            assert_string_equal(a->eval.arms[k], b->eval.arms[k]);
        ap_buffer_free(&first);
        ap_buffer_free(&second);
        ap_recipe_close(again);
        ap_recipe_close(r);
    }
}

/* What changes neither an answer nor what is done with it changes no run. */
static void harmless(void **state)
{
    static const struct {
        const char *override;
        bool same;
    } rows[] = {{"target.concurrency=2", true},
                {"target.rpm=60", true},
                {"target.key_env=K", true},
                {"target.key_file=k", true},
                {"target.ca_file=k", true},
                {"target.retries=1", true},
                {"target.timeout=3", true},
                {"target.budget.requests=5", true},
                {"target.budget.tokens=5", true},
                {"target.name=n", true},
                {"ledger=l.db", true},
                {"target.url=http://moved/v1", true},
                {"target.model=other", false},
                {"target.together=2", false},
                {"target.body={}", false},
                {"target.refusal=0", false},
                {"target.api=completions", false},
                {"target.temperature=0.5", false}};
    (void)state;
    struct ap_recipe *r = must_parse(TARGET REWARD, NULL);
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct ap_recipe *other = must_parse(TARGET REWARD, rows[i].override);
        if ((ap_recipe_fingerprint(r) == ap_recipe_fingerprint(other)) != rows[i].same)
            fail_msg("%s: the fingerprint is %s", rows[i].override,
                     rows[i].same ? "another" : "the same");
        ap_recipe_close(other);
    }
    ap_recipe_close(r);
}

/* ---- what is wrong ---- */

struct bad_case {
    const char *text, *override;
    const char *holds[3]; /* parts of the message */
};

static const struct bad_case cases[] = {
    /* one key, and somewhere to send it to */
    {MODELS "target: {" URL ", key_env: K, key_file: k}\n" REWARD,
     NULL,
     {"r.yaml:5:52: ", "target.key_env and key_file are given, expected one", "remove the other"}},
    {MODELS "target: {model: m, key_env: K}\n" REWARD,
     NULL,
     {"r.yaml:5:29: ", "target has a key and no url that it is sent to", "add url"}},
    {MODELS "target: {model: m, key_file: k}\n" REWARD, NULL, {"r.yaml:5:30: ", "add url"}},
    {TARGET "reward: {rule: length, length: 9, key_env: K}\n",
     NULL,
     {"r.yaml:6:44: ", "reward has a key and no url", "add url"}},
    {TARGET "rewards:\n  a: {" URL ", key_env: K, key_file: k}\n  b: {rule: length, length: 9}\n",
     NULL,
     {"r.yaml:7:", "rewards.a.key_env and key_file are given", "remove the other"}},
    {TARGET REWARD "judges: {j: {command: cat, key_env: K}}\neval: {judges: [reward, j]}\n",
     NULL,
     {"r.yaml:7:37: ", "judges.j has a key and no url", "add url"}},
    /* budgets */
    {MODELS "target: {" URL ", budget: {usd: 3}}\n" REWARD,
     NULL,
     {"r.yaml:5:44: ", "target.budget.usd is 3, but nothing has a price",
      "add budget.price_in and price_out"}},
    {TARGET REWARD,
     "target.budget.usd=0.5",
     {"--set target.budget.usd=0.5: ", "is 0.5, but nothing has a price", "add budget"}},
    {TARGET REWARD, "target.budget.requests=-1", {"'-1'", "a whole number from 0"}},
    {TARGET REWARD, "target.budget.tokens=1.5", {"'1.5'", "a whole number"}},
    {TARGET REWARD,
     "target.budget.request=1",
     {"unknown key target.budget.request", "nearest is target.budget.requests"}},
    {TARGET REWARD "judges: {j: {" URL ", budget: {usd: 1}}}\neval: {judges: [reward, j]}\n",
     NULL,
     {"r.yaml:7:", "judges.j.budget.usd is 1", "add budget.price_in"}},
    {TARGET "reward: {" URL ", budget: {usd: 1}}\n",
     NULL,
     {"reward.budget.usd is 1", "add budget"}},
    /* addresses */
    {MODELS "target: {url: ['http://h/v1', 'http://i/v1', 'http://h/v1']}\n" REWARD,
     NULL,
     {"r.yaml:5:", "target.url has http://h/v1 twice", "keep one"}},
    {MODELS "target: {url: []}\n" REWARD, NULL, {"r.yaml:5:", "target"}},
    /* kinds */
    {MODELS "target: {kind: http, model: m}\n" REWARD,
     NULL,
     {"r.yaml:5:16: ", "target.kind is http without target.url", "add it"}},
    {TARGET REWARD,
     "target.kind=local",
     {"--set target.kind=local: ", "target.kind is local with target.url",
      "remove one of the two"}},
    {TARGET REWARD, "target.kind=remote", {"'remote', expected one of local, http"}},
    {TARGET "reward: {" URL ", rule: length, length: 9}\n",
     NULL,
     {"r.yaml:6:", "reward has both a rule and a url", "remove the other"}},
    {TARGET "reward: {" URL ", command: cat}\n",
     NULL,
     {"reward has both a command and a url", "remove the other"}},
    {TARGET "reward: {kind: http}\n", NULL, {"reward.kind is http without reward.url", "add it"}},
    {TARGET "reward: {kind: classifier, " URL "}\n",
     NULL,
     {"reward.kind is classifier with reward.url", "remove one of the two"}},
    {TARGET "reward: {" URL ", shape: score}\n",
     NULL,
     {"'score', expected one of scalar, classify, pooling"}},
    {TARGET REWARD "judges: {j: {" URL ", command: cat}}\neval: {judges: [reward, j]}\n",
     NULL,
     {"r.yaml:7:", "judges.j.url is given, and a command, too", "keep one"}},
    /* what goes into a request, and what comes of a refusal */
    {TARGET REWARD,
     "target.refusal=bad",
     {"--set target.refusal=bad: ", "target.refusal is 'bad', expected scored or a number"}},
    {TARGET REWARD, "target.refusal=inf", {"target.refusal is 'inf'", "a number"}},
    {TARGET REWARD, "target.refusal=1x", {"target.refusal is '1x'"}},
    {TARGET REWARD, "target.refusal=''", {"target.refusal"}},
    {MODELS "target: {" URL ", body: '{\"a\": }'}\n" REWARD,
     NULL,
     {"r.yaml:5:36: ", "target.body", "is not JSON"}},
    {MODELS "target: {" URL ", body: '[1]'}\n" REWARD,
     NULL,
     {"r.yaml:5:36: ", "target.body is a list, expected the text of a JSON object"}},
    {MODELS "target: {" URL ", body: [1]}\n" REWARD,
     NULL,
     {"r.yaml:5:36: ", "target.body is a list, expected the text of a JSON object"}},
    {MODELS "target: {" URL ", body: {user: me}}\n" REWARD,
     NULL,
     {"r.yaml:5:36: ", "target.body holds keys, expected the text of a JSON object", "in quotes"}},
    {TARGET REWARD,
     "target.body=[1]",
     {"--set target.body=[1]: ", "expected the text of a JSON object such as {\"user\": \"me\"}"}},
    {MODELS "target: {" URL ", body: '{\"n\": 4}'}\n" REWARD,
     NULL,
     {"r.yaml:5:36: ", "target.body has \"n\"", "take it out"}},
    {MODELS "target: {" URL ", body: '{\"stream\": true}'}\n" REWARD,
     NULL,
     {"has \"stream\"", "take it out"}},
    {MODELS "target: {" URL ", body: '{\"messages\": null}'}\n" REWARD,
     NULL,
     {"has \"messages\"", "take it out"}},
    {MODELS "target: {" URL ", body: '{\"seed\": 3}'}\n" REWARD,
     NULL,
     {"has \"seed\"", "take it out"}},
    {MODELS "target: {" URL ", budget: {tokens: 9}, body: '{\"max_tokens\": null}'}\n" REWARD,
     NULL,
     {"target.body takes max_tokens out", "add max_completion_tokens"}},
    {TARGET "reward: {" URL ", body: '{\"response\": \"x\"}'}\n",
     NULL,
     {"r.yaml:6:36: ", "reward.body has \"response\"", "take it out"}},
    {TARGET REWARD "judges: {j: {" URL ", body: '[1]'}}\neval: {judges: [reward, j]}\n",
     NULL,
     {"r.yaml:7:", "judges.j.body is a list, expected the text of a JSON object"}},
    {TARGET REWARD "judges: {j: {" URL ", body: '{\"max_tokens\": null}', budget: {usd: 1, "
                   "price_in: 1}}}\neval: {judges: [reward, j]}\n",
     NULL,
     {"judges.j.body takes max_tokens out, and judges.j.budget counts on a limit"}},
    {TARGET "reward: {rule: length, length: 9, body: '{}'}\n",
     NULL,
     {"r.yaml:6:41: ", "reward.body is given, and no url that it is sent to; add url"}},
    {TARGET REWARD, "target.together=0", {"'0'", "from 1 to 128"}},
    {TARGET REWARD, "target.concurrency=0", {"'0'", "from 1 to 1024"}},
    /* the ledger */
    {TARGET REWARD "ledger: [a]\n", NULL, {"r.yaml:7:", "ledger is a list"}},
    {TARGET REWARD "ledger: {pth: a}\n", NULL, {"unknown key ledger.pth", "ledger.path"}},
    {TARGET REWARD "ledger: a\nledger: b\n", NULL, {"ledger is given twice"}},
};

static void wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < AP_LEN(cases); i++) {
        const struct bad_case *c = &cases[i];
        struct ap_error err = {0};
        struct ap_recipe *recipe = (struct ap_recipe *)1;
        ap_status status = parse(&recipe, c->text, &c->override, c->override ? 1 : 0, &err);
        if (status == AP_OK)
            fail_msg("taken: %s %s", c->text, c->override ? c->override : "");
        assert_int_equal(status, err.status);
        assert_null(recipe);
        for (size_t k = 0; k < AP_LEN(c->holds) && c->holds[k]; k++)
            check_holds(err.text, c->holds[k]);
        assert_null(strchr(err.text, '\n'));
    }
}

/* Bodies that are fine. */
static void bodies(void **state)
{
    static const char *const fine[] = {
        "{}", "{\"seed\": null}", "{\"max_tokens\": null}",
        "{\"max_tokens\": null, \"max_completion_tokens\": 9}",
        "{\"chat_template_kwargs\": {\"enable_thinking\": false}, \"n_probs\": 1}"};
    (void)state;
    for (size_t i = 0; i < AP_LEN(fine); i++) {
        char text[512];
        snprintf(text, sizeof(text), "%starget: {" URL ", body: '%s'}\n%s", MODELS, fine[i],
                 REWARD);
        struct ap_recipe *r = must_parse(text, NULL);
        assert_string_equal(ap_recipe_settings(r)->target.http.body, fine[i]);
        ap_recipe_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(kinds),    cmocka_unit_test(arms),
                                       cmocka_unit_test(ledger),   cmocka_unit_test(resolved),
                                       cmocka_unit_test(harmless), cmocka_unit_test(wrong),
                                       cmocka_unit_test(bodies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
