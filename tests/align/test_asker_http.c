/* A judge behind a server: both orders of each pair, what is asked once, refusals, failures. */
#include "align/asker_http.h"

#include "far_remote.h"

struct judge { /* the server */
    struct local_server server;
    const char *always; /* what it says; NULL: the answer that holds "good" is better */
    int n_left;         /* replies until it fails; −1: never */
    const char *extra;  /* judges.j.body; NULL: "" */
    json_t *body;       /* owned: the last */
};

/* The question is "{a}|{b}". */
static const char *verdict(const struct judge *j, const char *question)
{
    const char *bar = strchr(question, '|'), *good = strstr(question, "good");
    return j->always    ? j->always
           : !good      ? "Verdict: tie"
           : good < bar ? "Verdict: A"
                        : "Verdict: B";
}

static int reply_to(void *context, const struct local_request *r, struct ap_buffer *reply)
{
    struct judge *j = context;
    const json_t *message = json_array_get(json_object_get(r->body, "messages"), 0);
    const char *question = json_string_value(json_object_get(message, "content"));
    json_decref(j->body);
    j->body = json_incref(r->body);
    if (j->n_left == 0) {
        ap_buffer_puts(reply, "{\"error\":{\"message\":\"no such model\"}}", NULL);
        return 404;
    }
    j->n_left -= j->n_left > 0;
    if (strcmp(verdict(j, question), "refused") == 0) {
        ap_buffer_puts(
            reply, "{\"error\":{\"code\":\"content_filter\",\"message\":\"Verdict: A\"}}", NULL);
        return 403;
    }
    ap_buffer_printf(reply, NULL,
                     "{\"choices\":[{\"message\":{\"content\":\"Because.\\n%s\"},\"finish_reason\":"
                     "\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}",
                     verdict(j, question));
    return 200;
}

static const struct ap_pair pairs[] = {
    {.x = "q", .arm = "good", .baseline = "poor"},
    {.x = "q", .arm = "poor", .baseline = "good"},
    {.x = "q", .arm = "same", .baseline = "same"},
    {.x = "r", .arm = "good", .baseline = "poor"}, /* the first's */
    {.x = "q", .arm = "poor", .baseline = "bad"}};
enum { N_PAIR = AP_LEN(pairs), N_QUESTION = 4 };

static void judge_start(struct judge *j, const char *always)
{
    *j = (struct judge){.always = always, .n_left = -1};
    local_start(&j->server, reply_to, j);
}

static void judge_stop(struct judge *j)
{
    local_stop(&j->server);
    json_decref(j->body);
}

static ap_status judge_all(struct judge *j, void **state, ap_outcome outcomes[N_PAIR],
                           struct ap_ledger_sums *sums, struct ap_error *err)
{
    struct ap_judged judged[N_PAIR] = {0};
    struct ap_judge_settings s = {.model = (char *)"j", .max_new_tokens = 30};
    struct ap_asker asker;
    struct far_remote f;
    far_remote_init(&f, &s.http, j->server.url);
    s.http.body = (char *)(uintptr_t)j->extra;
    f.http.retries = 0;
    f.http.concurrency = 1;
    far_remote_open(&f, state, "judges.j", "/a");
    check_ok(ap_asker_http(&asker, f.remote, &s, err), *err);
    ap_status status = ap_judge_pairs(&asker, "{a}|{b}", pairs, N_PAIR, judged, err);
    for (int i = 0; i < N_PAIR; i++)
        outcomes[i] = judged[i].outcome;
    *sums = far_remote_sums(&f, "judges.j");
    ap_judged_free(judged, N_PAIR);
    ap_asker_free(&asker);
    far_remote_close(&f);
    return status;
}

/* Equal questions are asked once, equal answers never, and what was answered never again. */
static void test_outcomes(void **state)
{
    static const struct {
        const char *always;
        ap_outcome expected[N_PAIR];
    } rows[] = {
        {NULL, {AP_OUTCOME_WIN, AP_OUTCOME_LOSS, AP_OUTCOME_SAME, AP_OUTCOME_WIN, AP_OUTCOME_TIE}},
        {"Verdict: A",
         {AP_OUTCOME_CONTRADICTION, AP_OUTCOME_CONTRADICTION, AP_OUTCOME_SAME,
          AP_OUTCOME_CONTRADICTION, AP_OUTCOME_CONTRADICTION}},
        {"both are fine",
         {AP_OUTCOME_NONE, AP_OUTCOME_NONE, AP_OUTCOME_SAME, AP_OUTCOME_NONE, AP_OUTCOME_NONE}},
        {"refused",
         {AP_OUTCOME_NONE, AP_OUTCOME_NONE, AP_OUTCOME_SAME, AP_OUTCOME_NONE, AP_OUTCOME_NONE}}};
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct judge j;
        judge_start(&j, rows[i].always); /* another port: nothing of it is in the ledger */
        for (int again = 0; again < 2; again++) {
            struct ap_error err;
            struct ap_ledger_sums sums;
            ap_outcome got[N_PAIR];
            check_ok(judge_all(&j, state, got, &sums, &err), err);
            assert_memory_equal(got, rows[i].expected, sizeof(got));
            assert_int_equal(local_count(&j.server), N_QUESTION);
        }
        judge_stop(&j);
    }
}

/* Of the last question, but for its words. */
static void check_body(struct judge *j, const char *expected)
{
    json_object_del(j->body, "messages");
    char *text = json_dumps(j->body, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, expected);
    free(text);
}

static void test_body(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    ap_outcome got[N_PAIR];
    struct judge j;
    judge_start(&j, "tie");
    check_ok(judge_all(&j, state, got, &sums, &err), err);
    assert_true(sums.n_answer == N_QUESTION && sums.n_prompt == 3 * N_QUESTION);
    check_body(&j, "{\"max_tokens\":30,\"model\":\"j\",\"temperature\":0.0,\"top_p\":1.0}");
    judge_stop(&j);
}

/* As a server wants it that knows OpenAI's newer name and one temperature. */
static void test_extra(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    ap_outcome got[N_PAIR];
    struct judge j;
    judge_start(&j, "tie");
    j.extra = "{\"max_tokens\": null, \"max_completion_tokens\": 99, \"temperature\": null, "
              "\"top_p\": null}";
    check_ok(judge_all(&j, state, got, &sums, &err), err);
    check_body(&j, "{\"max_completion_tokens\":99,\"model\":\"j\"}");
    judge_stop(&j);
}

/* A server that will not is an error; what it said before stays bought, and is not asked again. */
static void test_failure(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    ap_outcome got[N_PAIR];
    struct judge j;
    judge_start(&j, NULL);
    j.n_left = 2;
    assert_int_equal(judge_all(&j, state, got, &sums, &err), AP_INVALID);
    check_holds(err.text, "judges.j");
    check_holds(err.text, "no such model");
    assert_true(sums.n_answer == 2 && sums.n_refused == 1 && sums.n_unknown == 0);
    j.n_left = -1;
    check_ok(judge_all(&j, state, got, &sums, &err), err);
    assert_int_equal(got[0], AP_OUTCOME_WIN);
    assert_int_equal(local_count(&j.server), 3 + N_QUESTION - 2);
    judge_stop(&j);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {WITH_FOLDER(test_outcomes), WITH_FOLDER(test_body),
                                       WITH_FOLDER(test_extra), WITH_FOLDER(test_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
