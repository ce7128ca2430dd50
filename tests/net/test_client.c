/* The client of model servers against the fault server: what is answered, asked again, rejected and
 * told. Endpoints, stops, pace and budgets: test_client_flow.c; thousands of faults with the ledger
 * behind them: tests/align/test_client_faults.c. */
#include "watch.h"

enum { N_CALL = 200 };

/* In any order, once each, no more at once than was said, over connections that are kept. */
static void test_all_answered(void **state)
{
    struct ap_error err;
    struct fault_config config = {.latency = 0.01, .key = "sk-0123456789abcdef"};
    struct fault_server *s = fault_server_start(&config);
    struct ap_secret key = {.text = config.key};
    struct ap_client *c =
        watch_open(&s, 1, (struct ap_client_options){.concurrency = 16, .key = &key});
    struct fault_counts counts;
    struct ap_client_counts n;
    struct watch w;
    (void)state;
    for (int k = 0; k < 2; k++) {
        watch_init(&w, N_CALL, k * N_CALL);
        w.server = s;
        check_ok(watch_send(c, &w, &err), err);
        watch_check(&w, s);
        watch_free(&w);
    }
    fault_server_counts(s, &counts);
    assert_true(counts.n_most <= 16 && counts.n_most >= 8);
    assert_true(counts.n_connection <= 16);
    assert_int_equal(counts.n_request, 2 * N_CALL);
    assert_int_equal(counts.n_unauthorised, 0);
    assert_int_equal(counts.n_unnamed, 0);
    ap_client_counts(c, &n);
    assert_true(n.n_sent == 2 * N_CALL && n.n_arrived == 2 * N_CALL);
    ap_client_close(c);
    fault_server_stop(s);
}

/* Without a key no header of that name is sent; a slash behind the address is none too many. */
static void test_no_key_and_slash(void **state)
{
    struct ap_error err;
    struct fault_config config = {0};
    struct fault_server *s = fault_server_start(&config);
    struct fault_counts counts;
    struct ap_client *c;
    struct watch w;
    char url[80], *urls[] = {url};
    (void)state;
    snprintf(url, sizeof(url), "%s/", fault_server_url(s));
    struct ap_client_options options = {
        .who = "target", .urls = urls, .n_url = 1, .concurrency = 1, .timeout = 20};
    check_ok(ap_client_open(&c, &options, &err), err);
    watch_init(&w, 2, 0);
    w.wire[0].header = "X-Alignpro-Stream: 1-2-3";
    w.wire[1].idempotency_key = NULL;
    check_ok(watch_send(c, &w, &err), err);
    fault_server_counts(s, &counts);
    assert_true(counts.n_request == 2 && counts.n_whole == 2 && counts.n_unauthorised == 0);
    assert_true(counts.n_told == 1 && counts.n_unnamed == 1);
    w.n = 0;
    check_ok(watch_send(c, &w, &err), err); /* nothing is nothing */
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
}

/* A request of megabytes. */
static void test_large_body(void **state)
{
    enum { BYTES = 3 << 20 };
    struct ap_error err;
    struct fault_config config = {0};
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c = watch_open(&s, 1, (struct ap_client_options){.concurrency = 2});
    struct fault_counts counts;
    struct watch w;
    char expected[FAULT_TEXT], *body = ap_calloc(1, BYTES + 100);
    (void)state;
    watch_init(&w, 1, 0);
    size_t n = (size_t)sprintf(body, "%.*s", (int)strlen(w.calls[0].body) - 1, w.calls[0].body);
    n += (size_t)sprintf(body + n, ",\"user\":\"");
    memset(body + n, 'y', BYTES);
    strcpy(body + n + BYTES, "\"}");
    assert_true(fault_text_of(body, strlen(body), 0, expected));
    w.wire[0].body = body;
    w.wire[0].n_body = strlen(body);
    check_ok(watch_send(c, &w, &err), err);
    watch_check(&w, s);
    fault_server_counts(s, &counts);
    assert_int_equal(counts.n_expect, 0); /* no round trip for it */
    watch_free(&w);
    ap_free(body);
    ap_client_close(c);
    fault_server_stop(s);
}

/* ---- faults, one kind after the other ---- */

/* The first n_bad requests on connections that were used before end so; what that is to the caller.
 */
static void heal(fault_kind kind, int n_bad)
{
    enum { WARM = 4, N = 12 };
    struct ap_error err;
    bool stalls = kind == FAULT_STALL || kind == FAULT_STALL_BODY;
    bool refused = kind >= FAULT_WAIT_NOW && kind <= FAULT_E503;
    bool whole = kind == FAULT_NONE || kind == FAULT_SPLICED || kind == FAULT_CHUNKED ||
                 kind == FAULT_DRIP || kind == FAULT_HTTP10 || kind == FAULT_CLOSED_AFTER ||
                 kind == FAULT_CONTINUED;
    struct fault_config config = {.retry_after = 1, .drip = 0.001, .n_faulty = WARM + n_bad};
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c =
        watch_open(&s, 1,
                   (struct ap_client_options){
                       .concurrency = WARM, .retries = 8, .timeout = stalls ? 0.25 : 20});
    struct ap_client_counts n;
    struct fault_counts counts;
    struct watch warm, w;
    watch_init(&warm, WARM, 100);
    check_ok(watch_send(c, &warm, &err), err);
    watch_only(&config, kind);
    fault_server_set(s, &config);
    watch_init(&w, N, 0);
    w.server = s;
    check_ok(watch_send(c, &w, &err), err);
    watch_check(&w, s);
    ap_client_counts(c, &n);
    fault_server_counts(s, &counts);
    assert_int_equal(counts.n_kind[kind], n_bad);
    assert_int_equal(counts.n_early, 0);
    assert_int_equal(n.n_arrived, WARM + N);
    assert_int_equal(n.n_sent, n.n_arrived + n.n_refused + n.n_lost + n.n_unsent);
    assert_int_equal(n.n_refused, refused ? n_bad : 0);
    if (stalls) /* a machine that is busy may be as slow as a server that stalls */
        assert_true(n.n_lost >= n_bad);
    else
        assert_int_equal(n.n_lost, refused || whole ? 0 : n_bad);
    assert_int_equal(n.n_unsent, 0);
    watch_free(&warm);
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
}

static void test_each_fault_heals(void **state)
{
    (void)state;
    for (int k = FAULT_NONE + 1; k < FAULT_HEALS; k++) {
        bool dear = k == FAULT_HUGE_BODY || k == FAULT_ENDLESS_BODY;
        print_message("  %s\n", fault_name((fault_kind)k));
        heal((fault_kind)k, dear ? 1 : 4);
    }
}

static void test_retries_used_up(void **state)
{
    struct ap_error err;
    struct fault_config config = {0};
    watch_only(&config, FAULT_E503);
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c = watch_open(
        &s, 1, (struct ap_client_options){.concurrency = 1, .retries = 2, .patience = 1e-9});
    struct fault_counts counts;
    struct ap_client_counts n;
    struct watch w;
    (void)state;
    watch_init(&w, 5, 0);
    assert_int_equal(watch_send(c, &w, &err), AP_IO);
    check_holds(err.text, "target: ");
    check_holds(err.text, fault_server_url(s));
    check_holds(err.text, "3 attempts over ");
    check_holds(err.text, "raise target.retries");
    check_holds(err.text, "503");
    check_holds(err.text, "overloaded");
    fault_server_counts(s, &counts);
    assert_true(counts.n_request >= 3 && counts.n_request <= 15);
    config.dead = true;
    fault_server_set(s, &config);
    assert_int_equal(watch_send(c, &w, &err), AP_IO);
    check_holds(err.text, "3 attempts");
    ap_client_counts(c, &n);
    assert_int_equal(n.n_sent, n.n_arrived + n.n_refused + n.n_lost + n.n_unsent);
    assert_true(n.n_unsent >= 2); /* the first may have met a connection that is no more */
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
}

/* ---- what does not heal ---- */

#define SECRET "sk-very-secret-0123456789"

static ap_status ask_once(fault_kind kind, bool take, int n_call, char rejected[512],
                          struct fault_counts *counts, struct ap_error *err)
{
    struct fault_config config = {.key = SECRET, .latency = 0.002};
    watch_only(&config, kind);
    struct fault_server *s = fault_server_start(&config);
    struct ap_secret key = {.text = config.key};
    struct ap_client *c =
        watch_open(&s, 1, (struct ap_client_options){.concurrency = 2, .retries = 5, .key = &key});
    struct watch w;
    struct ap_client_counts n;
    watch_init(&w, n_call, 0);
    w.take_rejected = take;
    ap_status status = watch_send(c, &w, err);
    strcpy(rejected, w.rejected);
    fault_server_counts(s, counts);
    ap_client_counts(c, &n);
    assert_int_equal(n.n_sent, n.n_arrived + n.n_refused + n.n_lost + n.n_unsent);
    assert_int_equal(n.n_lost, 0);
    for (int i = 0; take && i < n_call; i++)
        assert_int_equal(w.calls[i].n_rejected, 1);
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
    return status;
}

/* The server's own words, at once, and never the key. */
static void test_rejections(void **state)
{
    static const struct {
        fault_kind kind;
        const char *words;
    } rows[] = {{FAULT_E400, "400: max_tokens is too large: 99999"},
                {FAULT_E400_FILTER, "400: The prompt triggered the content filter"},
                {FAULT_E401_ECHO, "401: Incorrect API key provided: ***"},
                {FAULT_E401_ECHO, "see to the key, target.key_env or .key_file, then run again"},
                {FAULT_E302, "302: a redirect"}};
    struct ap_error err;
    struct fault_counts counts;
    char rejected[512];
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        assert_int_equal(ask_once(rows[i].kind, false, 50, rejected, &counts, &err), AP_INVALID);
        check_holds(err.text, rows[i].words);
        check_holds(err.text, "/v1/chat/completions");
        assert_null(strstr(err.text, SECRET));
        assert_null(strstr(rejected, SECRET));
        assert_int_equal(counts.n_elsewhere, 0);
        assert_true(counts.n_request <= 2); /* what was in flight */
    }
}

static void test_refusals_are_taken(void **state)
{
    struct ap_error err;
    struct fault_counts counts;
    char rejected[512];
    (void)state;
    check_ok(ask_once(FAULT_E400_FILTER, true, 20, rejected, &counts, &err), err);
    check_holds(rejected, "400 {");
    check_holds(rejected, "content_filter");
    check_ok(ask_once(FAULT_FILTERED, false, 20, rejected, &counts, &err), err);
    assert_int_equal(counts.n_request, 20);
}

/* ---- addresses ---- */

static void test_addresses(void **state)
{
    static const char *const good[] = {"http://127.0.0.1:8000/v1", "https://api.example.com/v1",
                                       "https://[::1]:8443", "http://localhost/"};
    static const char *const bad[] = {"",
                                      "127.0.0.1:8000",
                                      "ftp://host/v1",
                                      "file:///etc/passwd",
                                      "http://",
                                      "http://user:pass@host/v1",
                                      "http://sk-pass@host/v1",
                                      "http://host:99999/v1",
                                      "http://a b/v1",
                                      "http://h?q",
                                      "https://host/v1#x"};
    struct ap_error err;
    struct ap_client *c;
    (void)state;
    for (size_t i = 0; i < AP_LEN(good); i++)
        check_ok(ap_client_check_url(good[i], &err), err);
    for (size_t i = 0; i < AP_LEN(bad); i++) {
        print_message("  '%s'\n", bad[i]);
        assert_int_equal(ap_client_check_url(bad[i], &err), AP_INVALID);
        assert_null(strstr(err.text, "pass@"));
        struct ap_client_options options = {
            .who = "target", .urls = (char *[]){(char *)bad[i]}, .n_url = 1, .concurrency = 1};
        assert_int_equal(ap_client_open(&c, &options, &err), AP_INVALID);
        check_holds(err.text, "target");
        assert_null(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_answered),       cmocka_unit_test(test_no_key_and_slash),
        cmocka_unit_test(test_large_body),         cmocka_unit_test(test_each_fault_heals),
        cmocka_unit_test(test_retries_used_up),    cmocka_unit_test(test_rejections),
        cmocka_unit_test(test_refusals_are_taken), cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
