/* Budgets of a paid server, with the server's own counts as the truth: never passed, what is in
 * flight or lost held back, the same after a reopen, going on when raised. */
#include "align/chat_api.h"
#include "base/memory.h"

#include "far_remote.h"

enum { N_CALL = 40, PROMPT_MOST = 100, ANSWER_MOST = 50, MOST = PROMPT_MOST + ANSWER_MOST };

/* What the server does with a request. */
typedef enum deed { DO_ANSWER, DO_ANSWER_MUTE, DO_NONSENSE, DO_BUSY } deed;

struct shop {
    struct local_server server;
    int n_prompt, n_token;    /* of each answer */
    deed deeds[N_CALL * 4];   /* by turn; the rest are answered */
    int64_t n_bought, tokens; /* answers made, and what they come to */
    int n_warning;
    struct ap_http_settings http;
    struct far_remote far;
    struct call *calls;
};

struct call {
    char body[64], keys[2][AP_LEDGER_KEY];
    struct ap_ledger_answer out[2];
};

static int serve(void *context, const struct local_request *r, struct ap_buffer *reply)
{
    struct shop *s = context;
    int n = (int)json_integer_value(json_object_get(r->body, "n"));
    deed what = r->turn < (int)AP_LEN(s->deeds) ? s->deeds[r->turn] : DO_ANSWER;
    if (what == DO_BUSY)
        return 429;
    s->n_bought += n;
    s->tokens += s->n_prompt + n * s->n_token;
    if (what == DO_NONSENSE) {
        ap_buffer_puts(reply, "{\"choices\":", NULL);
        return 200;
    }
    ap_buffer_puts(reply, "{\"choices\":[", NULL);
    for (int k = 0; k < n; k++)
        ap_buffer_printf(reply, NULL, "%s{\"text\":\"t%d\"}", k ? "," : "", k);
    ap_buffer_puts(reply, "]", NULL);
    if (what == DO_ANSWER)
        ap_buffer_printf(reply, NULL, ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d}",
                         s->n_prompt, n * s->n_token);
    ap_buffer_puts(reply, "}", NULL);
    return 200;
}

static void count_warnings(void *context, const struct ap_event *event)
{
    struct shop *s = context;
    s->n_warning += event->kind == AP_EVENT_WARN && strstr(event->text, "how many tokens") != NULL;
}

static void shop_start(struct shop *s)
{
    *s = (struct shop){.n_prompt = 20, .n_token = 10};
    local_start(&s->server, serve, s);
    far_remote_init(&s->far, &s->http, s->server.url);
    s->far.sink = (struct ap_sink){.fn = count_warnings, .context = s};
}

static void shop_stop(struct shop *s)
{
    local_stop(&s->server);
}

static struct ap_budget_settings *budget(struct shop *s)
{
    return &s->far.http.budget;
}

static const char *read_answers(void *context, const struct ap_remote_request *q,
                                const struct ap_client_reply *reply)
{
    (void)context;
    return ap_api_read(reply->body, reply->n_body, true, q->n, q->out);
}

/* Opens, fetches calls first … first + n_call − 1 of `together` answers each, closes. */
static ap_status buy(struct shop *s, void **state, const char *run, int first, int n_call,
                     int together, struct ap_ledger_sums *sums, struct ap_error *err)
{
    struct ap_remote_request requests[N_CALL] = {0};
    const struct ap_remote_reader reader = {.read = read_answers};
    s->calls = ap_calloc(N_CALL, sizeof(*s->calls));
    assert_non_null(s->calls);
    for (int i = 0; i < n_call; i++) {
        struct call *c = &s->calls[i];
        for (int k = 0; k < together; k++) {
            char name[32];
            snprintf(name, sizeof(name), "%d.%d", first + i, k);
            ap_remote_key((const char *const[]){name}, 1, c->keys[k]);
        }
        snprintf(c->body, sizeof(c->body), "{\"n\":%d,\"prompt\":\"%d\"}", together, first + i);
        requests[i] = (struct ap_remote_request){.path = "/completions",
                                                 .body = c->body,
                                                 .n_body = strlen(c->body),
                                                 .keys = c->keys,
                                                 .out = c->out,
                                                 .n = together,
                                                 .n_prompt_most = PROMPT_MOST,
                                                 .n_answer_most = ANSWER_MOST};
    }
    far_remote_open(&s->far, state, "target", run);
    ap_status status = together == 1
                           ? ap_remote_fetch(s->far.remote, requests, n_call, &reader, err)
                           : ap_remote_ask(s->far.remote, requests, n_call, &reader, err);
    *sums = far_remote_sums(&s->far, "target");
    far_remote_close(&s->far);
    for (int i = 0; i < n_call; i++)
        for (int k = 0; k < together; k++)
            ap_ledger_answer_free(&s->calls[i].out[k]);
    ap_free(s->calls);
    return status;
}

static void check_line(const struct ap_error *err, const char *begins)
{
    assert_memory_equal(err->text, begins, strlen(begins));
    check_holds(err->text, "raise it and run again: what was bought is kept");
    assert_null(strchr(err->text, '\n'));
}

static void test_requests(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct shop s;
    shop_start(&s);
    budget(&s)->requests = 7;
    s.far.http.concurrency = 32;
    for (int k = 0; k < 3; k++) { /* again, and after a reopen, not one more */
        assert_int_equal(buy(&s, state, "/a", 0, 10, 1, &sums, &err), AP_LIMIT);
        check_line(&err,
                   "target.budget.requests is 7 and would be passed: 7 requests, 210 tokens,");
        assert_true(s.n_bought == 7 && sums.n_answer == 7 && sums.n_send == 7);
    }
    budget(&s)->requests = 10;
    check_ok(buy(&s, state, "/a", 0, 10, 1, &sums, &err), err);
    assert_int_equal(s.n_bought, 10);
    check_ok(buy(&s, state, "/a", 0, 10, 1, &sums, &err), err); /* what is there costs nothing */
    assert_int_equal(buy(&s, state, "/a", 5, 10, 1, &sums, &err), AP_LIMIT);
    assert_int_equal(s.n_bought, 10);
    check_ok(buy(&s, state, "/b", 5, 10, 1, &sums, &err), err); /* another run's is its own */
    assert_int_equal(s.n_bought, 15);
    assert_int_equal(sums.n_send, 5);
    shop_stop(&s);
}

/* Several answers of one request count as as many. */
static void test_requests_together(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct shop s;
    shop_start(&s);
    budget(&s)->requests = 7;
    assert_int_equal(buy(&s, state, "/a", 0, N_CALL, 2, &sums, &err), AP_LIMIT);
    assert_true(s.n_bought == 6 && sums.n_answer == 6);
    assert_int_equal(sums.n_prompt + sums.n_token, s.tokens);
    shop_stop(&s);
}

/* One at a time where two in flight might pass it, and as many as their real size leaves room for.
 */
static void test_tokens(void **state)
{
    enum { BUDGET = MOST + 100, REAL = 30, N = 100 / REAL + 1 };
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct shop s;
    shop_start(&s);
    budget(&s)->tokens = BUDGET;
    s.far.http.concurrency = 32;
    for (int k = 0; k < 2; k++) {
        assert_int_equal(buy(&s, state, "/a", 0, N_CALL, 1, &sums, &err), AP_LIMIT);
        check_line(&err,
                   "target.budget.tokens is 250 and would be passed: 4 requests, 120 tokens,");
        check_holds(err.text, "the next may take 150 tokens");
        assert_int_equal(s.n_bought, N);
        assert_true(s.tokens <= BUDGET && sums.n_prompt + sums.n_token == s.tokens);
    }
    budget(&s)->tokens = BUDGET + REAL;
    assert_int_equal(buy(&s, state, "/a", 0, N_CALL, 1, &sums, &err), AP_LIMIT);
    assert_int_equal(s.n_bought, N + 1);
    budget(&s)->tokens = MOST - 1; /* less than one can be: nothing, in a run that has nothing */
    assert_int_equal(buy(&s, state, "/b", 30, 1, 1, &sums, &err), AP_LIMIT);
    assert_int_equal(s.n_bought, N + 1);
    shop_stop(&s);
}

static void test_usd(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct shop s;
    shop_start(&s);
    *budget(&s) = (struct ap_budget_settings){.usd = 0.01, .price_in = 10, .price_out = 100};
    assert_int_equal(buy(&s, state, "/a", 0, N_CALL, 1, &sums, &err), AP_LIMIT);
    check_line(&err, "target.budget.usd is 0.01 and would be passed: ");
    double spent = (double)s.n_bought * (20 * 10 + 10 * 100) / 1e6;
    check_near(sums.usd, spent, 1e-12, 0);
    /* the last that fitted: another would have left no room for the most */
    double most = (PROMPT_MOST * 10 + ANSWER_MOST * 100) / 1e6, one = (20 * 10 + 10 * 100) / 1e6;
    assert_true(spent <= 0.01 && spent + most > 0.01 && spent - one + most <= 0.01);
    shop_stop(&s);
}

/* A server that says nothing: each answer is the most that it can be, now and after a reopen. */
static void test_no_usage(void **state)
{
    enum { N = 6 };
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct shop s;
    shop_start(&s);
    for (size_t i = 0; i < AP_LEN(s.deeds); i++)
        s.deeds[i] = DO_ANSWER_MUTE;
    budget(&s)->tokens = N * MOST + MOST / 2;
    for (int k = 0; k < 2; k++) {
        assert_int_equal(buy(&s, state, "/a", 0, N_CALL, 1, &sums, &err), AP_LIMIT);
        assert_int_equal(s.n_bought, N);
        assert_true(sums.n_answer == N && sums.reserved_tokens == N * MOST && sums.n_unknown == 0);
        assert_int_equal(sums.n_uncounted, N);
        assert_int_equal(s.n_warning, 1);
    }
    budget(&s)->tokens = 0; /* no such budget: it is not told of */
    s.n_warning = 0;
    check_ok(buy(&s, state, "/a", 0, N_CALL, 1, &sums, &err), err);
    assert_int_equal(s.n_warning, 0);
    shop_stop(&s);
}

/* What is lost may have been bought, and stays held back; what is refused was not. */
static void test_lost(void **state)
{
    enum { N_LOST = 3, N_BUSY = 2, N = 6 };
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct shop s;
    shop_start(&s);
    s.far.http.concurrency = 1;
    s.far.http.retries = N_CALL;
    for (int i = 0; i < N_LOST + N_BUSY; i++)
        s.deeds[i] = i % 2 && i < 2 * N_BUSY ? DO_BUSY : DO_NONSENSE;
    budget(&s)->requests = N;
    for (int k = 0; k < 2; k++) {
        assert_int_equal(buy(&s, state, "/a", 0, N_CALL, 1, &sums, &err), AP_LIMIT);
        check_line(&err,
                   "target.budget.requests is 6 and would be passed: 6 requests, 540 tokens,");
        assert_int_equal(s.n_bought, N);
        assert_true(sums.n_lost == N_LOST && sums.n_refused == N_BUSY &&
                    sums.n_answer == N - N_LOST && sums.n_unknown == 0);
        assert_int_equal(sums.reserved_tokens, N_LOST * MOST);
    }
    shop_stop(&s);
}

/* Nothing but losses uses a budget up, too, and it is still used up after a reopen. */
static void test_only_losses(void **state)
{
    static const struct ap_budget_settings budgets[] = {
        {.tokens = 10 * MOST},
        {.usd = 10 * (PROMPT_MOST + ANSWER_MOST * 4) / 1e6 + 1e-9, .price_in = 1, .price_out = 4}};
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct shop s;
    for (size_t k = 0; k < AP_LEN(budgets); k++) {
        shop_start(&s);
        s.far.http.retries = 1000;
        for (size_t i = 0; i < AP_LEN(s.deeds); i++)
            s.deeds[i] = DO_NONSENSE;
        *budget(&s) = budgets[k];
        for (int again = 0; again < 2; again++) {
            assert_int_equal(buy(&s, state, k ? "/b" : "/a", 0, N_CALL, 1, &sums, &err), AP_LIMIT);
            assert_true(s.n_bought == 10 && s.tokens <= 10 * MOST && sums.n_lost == 10);
        }
        shop_stop(&s);
    }
}

/* More than could be held back is counted as it is, and nothing is sent any more. */
static void test_server_counts_more(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct shop s;
    shop_start(&s);
    s.n_prompt = 10 * MOST;
    s.far.http.concurrency = 1;
    budget(&s)->tokens = 10 * MOST;
    for (int k = 0; k < 2; k++) {
        assert_int_equal(buy(&s, state, "/a", 0, N_CALL, 1, &sums, &err), AP_LIMIT);
        assert_int_equal(s.n_bought, 1);
        assert_int_equal(sums.n_prompt, 10 * MOST);
    }
    shop_stop(&s);
}

/* A kill while one is asked for: its intent alone is in the ledger, and is held back. */
static void test_unknown(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct ap_buffer text = {0};
    struct shop s;
    shop_start(&s);
    far_remote_open(&s.far, state, "target", "/a");
    check_ok(ap_ledger_intend(s.far.ledger, "k", "target", "{}", MOST, 0.5, &err), err);
    far_remote_close(&s.far);
    budget(&s)->requests = 2;
    assert_int_equal(buy(&s, state, "/a", 0, N_CALL, 1, &sums, &err), AP_LIMIT);
    assert_true(s.n_bought == 1 && sums.n_unknown == 1 && sums.reserved_tokens == MOST);
    far_remote_open(&s.far, state, "target", "/a");
    check_ok(ap_remote_tell(s.far.ledger, "target", &text, &err), err);
    assert_string_equal(text.data,
                        "1 answers bought so far, 20 tokens read, 10 written, 0 usd; 0 lost on "
                        "the wire and 1 unknown at a stop may have been bought, too, of "
                        "at most 150 tokens");
    ap_buffer_free(&text);
    far_remote_close(&s.far);
    shop_stop(&s);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_requests),    WITH_FOLDER(test_requests_together),
        WITH_FOLDER(test_tokens),      WITH_FOLDER(test_usd),
        WITH_FOLDER(test_no_usage),    WITH_FOLDER(test_lost),
        WITH_FOLDER(test_only_losses), WITH_FOLDER(test_server_counts_more),
        WITH_FOLDER(test_unknown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
