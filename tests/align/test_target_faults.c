/* The target, a reward and a judge over HTTP before a server that fails: every answer is right and
 * there once, what the ledger has is not asked for again, budgets hold. */
#include "far_target.h"

#include "align/asker_http.h"
#include "align/reward_http.h"

static struct fault_server *start(double share)
{
    struct fault_config config = {.seed = 5, .drip = 0.0005};
    fault_config_mix(&config, share, 0);
    config.rate[FAULT_STALL] = config.rate[FAULT_STALL_BODY] = share > 0 ? 0.002 : 0;
    struct fault_server *s = fault_server_start(&config);
    return s;
}

static int64_t n_request(struct fault_server *s)
{
    struct fault_counts counts;
    fault_server_counts(s, &counts);
    return counts.n_request;
}

/* Once through faults; then again, and in another run that shares the ledger, from the ledger. */
static void through_faults(void **state, const char *api, int n_samples, int together)
{
    enum { N = 150 };
    struct ap_error err;
    struct far_target f;
    struct fault_server *s = start(0.5);
    char *path = scratch_path(state, "ledger.db");
    far_init(&f);
    f.settings.api = (char *)api;
    f.settings.together = together;
    f.settings.timeout = 0.25;
    far_open(&f, s, path, "/run/a");
    check_ok(far_ask(&f, 0, N, n_samples, &err), err);
    far_check_bought(&f, s, N * n_samples / together, together);
    assert_int_equal(far_sums(&f).n_unknown, 0);
    assert_int_equal(far_sums(&f).n_token, N * n_samples * FAULT_COMPLETION_TOKENS);
    int64_t before = n_request(s);
    check_ok(far_ask(&f, 0, N, n_samples, &err), err);
    far_close(&f);
    far_init(&f);
    f.settings.api = (char *)api;
    f.settings.together = together;
    far_open(&f, s, path, "/run/b");
    check_ok(far_ask(&f, 0, N, n_samples, &err), err);
    assert_int_equal(n_request(s), before);
    assert_int_equal(far_sums(&f).n_send, 0);
    far_close(&f);
    fault_server_stop(s);
    ap_free(path);
}

static void test_chats(void **state)
{
    through_faults(state, "chat", 2, 1);
}

static void test_completions(void **state)
{
    through_faults(state, "completions", 1, 1);
}

static void test_several_together(void **state)
{
    through_faults(state, "chat", 4, 2);
}

/* What makes an answer another is asked for again. */
static void test_keys(void **state)
{
    struct ap_error err;
    struct fault_server *s = start(0);
    char *path = scratch_path(state, "ledger.db");
    struct far_target f;
    for (int k = 0; k < 5; k++) {
        far_init(&f);
        if (k == 1)
            f.settings.name = (char *)"target-2";
        if (k == 2)
            f.settings.model = (char *)"m2";
        if (k == 3)
            f.settings.temperature = 0.5;
        if (k == 4)
            f.settings.max_new_tokens = 17;
        far_open(&f, s, path, "/run/a");
        check_ok(far_ask(&f, 0, 10, 1, &err), err);
        assert_int_equal(n_request(s), 10 * (k + 1));
        far_close(&f);
    }
    fault_server_stop(s);
    ap_free(path);
}

/* ---- refusals ---- */

static void refused_by(void **state, fault_kind kind, const char *words, const char *worth)
{
    struct ap_error err;
    struct fault_config config = {0};
    config.rate[kind] = 1;
    struct fault_server *s = fault_server_start(&config);
    char prompt[FAR_PROMPT], *path = scratch_path(state, fault_name(kind));
    struct ap_target_request request = far_request(1, prompt);
    struct far_target f;
    far_init(&f);
    f.settings.refusal = (char *)worth;
    far_open(&f, s, path, "/run/a");
    for (int k = 0; k < 2; k++) { /* from the server, from the ledger */
        struct ap_answer out[1];
        check_ok(f.target.answer(f.target.self, &request, 1, 1, out, &err), err);
        assert_string_equal(out[0].text, words);
        assert_int_equal(out[0].scored, strcmp(worth, "scored") != 0);
        if (out[0].scored)
            check_near(out[0].score, atof(worth), 0, 0);
        ap_answers_free(out, 1);
    }
    assert_int_equal(n_request(s), 1);
    far_close(&f);
    fault_server_stop(s);
    ap_free(path);
}

static void test_refusals(void **state)
{
    refused_by(state, FAULT_FILTERED, "", "-2.5");
    refused_by(state, FAULT_E400_FILTER, "The prompt triggered the content filter", "scored");
}

static void test_rejection(void **state)
{
    struct ap_error err;
    struct fault_config config = {.rate = {[FAULT_E400] = 1}};
    struct fault_server *s = fault_server_start(&config);
    char *path = scratch_path(state, "ledger.db");
    struct far_target f;
    far_init(&f);
    far_open(&f, s, path, "/run/a");
    assert_int_equal(far_ask(&f, 0, 40, 1, &err), AP_INVALID);
    check_holds(err.text, "max_tokens is too large: 99999");
    struct ap_ledger_sums sums = far_sums(&f);
    assert_true(sums.n_answer == 0 && sums.n_refused == sums.n_send && sums.n_unknown == 0);
    far_close(&f);
    fault_server_stop(s);
    ap_free(path);
}

/* ---- budgets ---- */

/* As many answers as the budget buys, not one request more, also in the next run of the same. */
static void test_budget_of_requests(void **state)
{
    enum { BUDGET = 30 };
    struct ap_error err;
    struct fault_server *s = start(0);
    struct fault_counts counts;
    char *path = scratch_path(state, "ledger.db");
    struct far_target f;
    for (int k = 0; k < 2; k++) {
        far_init(&f);
        f.settings.http.budget.requests = BUDGET;
        far_open(&f, s, path, "/run/a");
        assert_int_equal(far_ask(&f, 0, 100, 1, &err), AP_LIMIT);
        check_holds(err.text, "target.budget.requests is 30");
        fault_server_counts(s, &counts);
        assert_int_equal(counts.n_bought, BUDGET);
        assert_int_equal(far_sums(&f).n_answer, BUDGET);
        far_close(&f);
    }
    far_init(&f); /* raised: the rest, and only that */
    f.settings.http.budget.requests = 100;
    far_open(&f, s, path, "/run/a");
    check_ok(far_ask(&f, 0, 100, 1, &err), err);
    assert_int_equal(n_request(s), 100);
    far_close(&f);
    fault_server_stop(s);
    ap_free(path);
}

/* Faults eat of the budget what they may have bought; what the server counts is never over it. */
static void test_budgets_through_faults(void **state)
{
    enum { TOKENS = 4000 };
    struct ap_error err;
    struct fault_server *s = start(0.5);
    struct fault_counts counts;
    char *path = scratch_path(state, "ledger.db");
    struct far_target f;
    far_init(&f);
    f.settings.timeout = 1;
    f.settings.http.budget = (struct ap_budget_settings){.tokens = TOKENS};
    far_open(&f, s, path, "/run/a");
    assert_int_equal(far_ask(&f, 0, 400, 1, &err), AP_LIMIT);
    check_holds(err.text, "target.budget.tokens is 4000");
    struct ap_ledger_sums sums = far_sums(&f);
    assert_true(sums.n_prompt + sums.n_token + sums.reserved_tokens <= TOKENS);
    assert_true(sums.n_answer > 5 && sums.n_unknown == 0);
    fault_server_counts(s, &counts);
    assert_true(counts.n_bought <= sums.n_answer + sums.n_lost);
    far_close(&f);
    far_init(&f); /* another run's budget is its own */
    f.settings.http.budget =
        (struct ap_budget_settings){.usd = 1, .price_in = 1000, .price_out = 1};
    far_open(&f, s, path, "/run/b");
    assert_int_equal(far_ask(&f, 1000, 400, 1, &err), AP_LIMIT);
    check_holds(err.text, "target.budget.usd is 1");
    sums = far_sums(&f);
    assert_true(sums.usd + sums.reserved_usd <= 1 && sums.usd > 0);
    far_close(&f);
    fault_server_stop(s);
    ap_free(path);
}

/* ---- log-probabilities ---- */

/* Of the characters of text behind the first n_skip. */
static double logp_from(const char *text, size_t n_skip)
{
    double sum = 0;
    size_t k = 0;
    for (size_t at = 0; text[at]; at++) {
        if (((unsigned char)text[at] & 0xC0) == 0x80)
            continue;
        if (k >= n_skip)
            sum += fault_logp(text, k);
        k++;
    }
    return sum;
}

static void weigh_through_faults(void **state, const char *api)
{
    enum { N = 60 };
    struct ap_error err;
    struct fault_server *s = start(0.5);
    char prompts[N][FAR_PROMPT], texts[N][40], *path = scratch_path(state, api);
    bool echo = strcmp(api, "completions") == 0;
    struct ap_target_request requests[N];
    struct ap_answer answers[N];
    struct far_target f;
    double out[N];
    far_init(&f);
    f.settings.api = (char *)api;
    f.settings.timeout = 0.25;
    far_open(&f, s, path, "/run/a");
    assert_non_null(f.target.logp);
    for (int i = 0; i < N; i++) {
        requests[i] = far_request(i, prompts[i]);
        snprintf(texts[i], sizeof(texts[i]), "an ä answer %d", i);
        answers[i] = (struct ap_answer){.text = texts[i], .ended = true};
    }
    for (int k = 0; k < 2; k++) {
        int64_t before = n_request(s);
        check_ok(f.target.logp(f.target.self, requests, answers, N, out, &err), err);
        assert_true(k == 0 ? n_request(s) > before : n_request(s) == before);
        for (int i = 0; i < N; i++) {
            char *whole = NULL;
            assert_true(asprintf(&whole, "%s%s%s", prompts[i], echo ? "" : "\n", texts[i]) > 0);
            size_t n_skip = strlen(prompts[i]) - 1 + !echo; /* ä has two bytes */
            check_near(out[i], logp_from(whole, n_skip), 1e-9, 0);
            free(whole);
        }
    }
    far_close(&f);
    fault_server_stop(s);
    ap_free(path);
}

static void test_logps(void **state)
{
    weigh_through_faults(state, "chat");
    weigh_through_faults(state, "completions");
}

/* ---- rewards and judges ---- */

static void score_through_faults(void **state, const char *shape)
{
    enum { N = 150 };
    struct ap_error err;
    struct fault_server *s = start(0.5);
    struct ap_ledger *ledger;
    struct ap_remote *remote;
    struct ap_reward reward;
    struct ap_reward_settings settings = {
        .shape = (char *)shape, .model = (char *)"", .timeout = 0.25};
    struct ap_scored items[N];
    char texts[N][2][40], *path = scratch_path(state, shape);
    double out[N];
    settings.http.url[0] = (char *)fault_server_url(s);
    settings.http.n_url = 1;
    settings.http.key_env = settings.http.key_file = (char *)"";
    settings.http.concurrency = 8;
    settings.http.retries = 100;
    check_ok(ap_ledger_open(&ledger, path, "/run/a", &err), err);
    const struct ap_remote_options options = {.who = "reward",
                                              .http = &settings.http,
                                              .timeout = 0.25,
                                              .ledger = ledger,
                                              .backoff = 1e-5};
    check_ok(ap_remote_open(&remote, &options, &err), err);
    check_ok(ap_reward_http(&reward, remote, &settings, &err), err);
    for (int i = 0; i < N; i++) {
        snprintf(texts[i][0], sizeof(texts[i][0]), "prompt %d", i / 2);
        snprintf(texts[i][1], sizeof(texts[i][1]), "response %d", i % 100); /* some twice */
        items[i] = (struct ap_scored){.x = texts[i][0], .y = texts[i][1], .ended = true};
    }
    for (int k = 0; k < 2; k++) {
        int64_t before = n_request(s);
        memset(out, 0, sizeof(out));
        check_ok(reward.score(reward.self, items, N, out, &err), err);
        for (int i = 0; i < N; i++)
            check_near(out[i], fault_reward(texts[i][0], texts[i][1]), 1e-12, 0);
        assert_true(k == 0 ? n_request(s) > before : n_request(s) == before);
    }
    ap_reward_free(&reward);
    ap_remote_close(remote);
    ap_ledger_close(ledger);
    fault_server_stop(s);
    ap_free(path);
}

static void test_rewards(void **state)
{
    score_through_faults(state, "scalar");
    score_through_faults(state, "classify");
    score_through_faults(state, "pooling");
}

static void test_judge(void **state)
{
    enum { N = 150 };
    struct ap_error err;
    struct fault_server *s = start(0.5);
    struct ap_ledger *ledger;
    struct ap_remote *remote;
    struct ap_asker asker;
    struct ap_judge_settings settings = {.model = (char *)"", .max_new_tokens = 8};
    char *questions[N], *replies[N], *path = scratch_path(state, "ledger.db");
    settings.http.url[0] = (char *)fault_server_url(s);
    settings.http.n_url = 1;
    settings.http.key_env = settings.http.key_file = (char *)"";
    settings.http.concurrency = 8;
    settings.http.retries = 100;
    check_ok(ap_ledger_open(&ledger, path, "/run/a", &err), err);
    const struct ap_remote_options options = {
        .who = "judge", .http = &settings.http, .timeout = 0.25, .ledger = ledger, .backoff = 1e-5};
    check_ok(ap_remote_open(&remote, &options, &err), err);
    check_ok(ap_asker_http(&asker, remote, &settings, &err), err);
    for (int i = 0; i < N; i++) {
        assert_true(asprintf(&questions[i], "which is better, A or B? %d", i) > 0);
        replies[i] = NULL;
    }
    check_ok(asker.ask(asker.self, questions, N, replies, &err), err);
    for (int i = 0; i < N; i++) {
        char expected[FAULT_TEXT];
        json_t *asked =
            json_pack("[{s:s, s:s}]", "role", "user", "content", (const char *)questions[i]);
        fault_text(asked, -1, 0, expected);
        assert_string_equal(replies[i], expected);
        json_decref(asked);
        free(questions[i]);
        ap_free(replies[i]);
    }
    ap_asker_free(&asker);
    ap_remote_close(remote);
    ap_ledger_close(ledger);
    fault_server_stop(s);
    ap_free(path);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_chats),
        WITH_FOLDER(test_completions),
        WITH_FOLDER(test_several_together),
        WITH_FOLDER(test_keys),
        WITH_FOLDER(test_refusals),
        WITH_FOLDER(test_rejection),
        WITH_FOLDER(test_budget_of_requests),
        WITH_FOLDER(test_budgets_through_faults),
        WITH_FOLDER(test_logps),
        WITH_FOLDER(test_rewards),
        WITH_FOLDER(test_judge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
