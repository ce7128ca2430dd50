/* Ten thousand faults of a server with the ledger behind the client, as the target over HTTP has
 * it: whatever goes wrong on the way, every answer that came whole is written down and used once,
 * and the server made no more answers than the ledger says that it may have. */
#include "net/watch.h"

#include "base/scratch.h"
#include "store/ledger.h"

enum { N_FAULT = 10000, N_BATCH = 1000, CONCURRENCY = 48, RETRIES = 100, TOKENS = 9 };

struct outcome { /* of an attempt, until it is written */
    int call;
    bool answered, refused;
    char text[FAULT_TEXT];
};

struct bookkeeper {
    struct watch watch;
    struct ap_ledger *ledger;
    struct outcome outcomes[4096];
    int n_outcome;
};

static ap_status sending(void *context, const int *calls, int *n, struct ap_error *err)
{
    struct bookkeeper *b = context;
    ap_status status = watch_sending(&b->watch, calls, n, err);
    AP_TRY(ap_ledger_begin(b->ledger, err));
    for (int i = 0; i < *n; i++)
        AP_TRY(ap_ledger_intend(b->ledger, b->watch.calls[calls[i]].key, "target",
                                b->watch.calls[calls[i]].body, TOKENS, 0.5, err));
    AP_TRY(ap_ledger_commit(b->ledger, err));
out:
    return status;
}

static struct outcome *remember(struct bookkeeper *b, int call)
{
    assert_true(b->n_outcome < (int)AP_LEN(b->outcomes));
    b->outcomes[b->n_outcome] = (struct outcome){.call = call};
    return &b->outcomes[b->n_outcome++];
}

static ap_status arrived(void *context, int call, const struct ap_client_reply *reply,
                         const char **why, struct ap_error *err)
{
    struct bookkeeper *b = context;
    ap_status status = watch_arrived(&b->watch, call, reply, why, err);
    if (status != AP_OK || *why)
        return status;
    struct outcome *o = remember(b, call);
    o->answered = fault_text_in(reply->body, reply->n_body, o->text);
    return AP_OK;
}

static ap_status missed(void *context, int call, ap_client_miss miss, struct ap_error *err)
{
    struct bookkeeper *b = context;
    remember(b, call)->refused = miss != AP_MISS_LOST;
    return watch_missed(&b->watch, call, miss, err);
}

static ap_status settle(void *context, struct ap_error *err)
{
    struct bookkeeper *b = context;
    ap_status status;
    AP_TRY(ap_ledger_begin(b->ledger, err));
    for (int i = 0; i < b->n_outcome; i++) {
        struct outcome *o = &b->outcomes[i];
        const char *key = b->watch.calls[o->call].key;
        struct ap_ledger_answer a = {.text = o->text, .finish = (char *)"stop", .n_token = 3};
        AP_TRY(o->answered ? ap_ledger_answer(b->ledger, key, &a, err)
                           : ap_ledger_miss(b->ledger, key, o->refused, err));
    }
    AP_TRY(ap_ledger_commit(b->ledger, err));
    b->n_outcome = 0;
    status = watch_settle(&b->watch, err);
out:
    return status;
}

static int64_t n_injected(struct fault_server *s)
{
    static const fault_kind harmless[] = {FAULT_NONE,  FAULT_SPLICED,      FAULT_CHUNKED,
                                          FAULT_DRIP,  FAULT_CLOSED_AFTER, FAULT_CONTINUED,
                                          FAULT_HTTP10};
    struct fault_counts counts;
    int64_t n = 0;
    fault_server_counts(s, &counts);
    for (int k = 0; k < FAULT_COUNT; k++)
        n += counts.n_kind[k];
    for (size_t i = 0; i < AP_LEN(harmless); i++)
        n -= counts.n_kind[harmless[i]];
    return n;
}

static void check_written(const struct watch *w, struct ap_ledger *ledger)
{
    for (int i = 0; i < w->n; i++) {
        struct ap_error err;
        struct ap_ledger_answer a;
        char expected[FAULT_TEXT];
        bool found;
        check_ok(ap_ledger_find(ledger, w->calls[i].key, &a, &found, &err), err);
        assert_true(found);
        assert_true(fault_text_of(w->calls[i].body, strlen(w->calls[i].body), 0, expected));
        assert_string_equal(a.text, expected);
        ap_ledger_answer_free(&a);
    }
}

/* Batches of calls until the server has failed often enough; returns how many calls those were. */
static int64_t ask(struct ap_client *c, struct fault_server *s, struct ap_ledger *ledger,
                   int64_t n_fault)
{
    static const struct ap_client_events events = {
        .sending = sending, .arrived = arrived, .missed = missed, .settle = settle};
    int64_t n_call = 0;
    for (; n_injected(s) < n_fault; n_call += N_BATCH) {
        struct ap_error err;
        struct ap_client_events mine = events;
        struct bookkeeper *b = ap_calloc(1, sizeof(*b));
        assert_non_null(b);
        watch_init(&b->watch, N_BATCH, (int)n_call);
        b->ledger = ledger;
        mine.context = b;
        check_ok(ap_client_send(c, b->watch.wire, N_BATCH, &mine, &err), err);
        watch_check(&b->watch, s);
        check_written(&b->watch, ledger);
        watch_free(&b->watch);
        ap_free(b);
    }
    return n_call;
}

static void check_counts(struct ap_client *c, struct fault_server *s, struct ap_ledger *ledger,
                         int64_t n_call)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct ap_client_counts n;
    struct fault_counts counts;
    check_ok(ap_ledger_sum(ledger, "target", &sums, &err), err);
    ap_client_counts(c, &n);
    fault_server_counts(s, &counts);
    print_message("  %lld requests for %lld answers: %lld refused, %lld lost, %lld unsent; "
                  "%lld bought twice\n",
                  (long long)n.n_sent, (long long)n_call, (long long)n.n_refused,
                  (long long)n.n_lost, (long long)n.n_unsent,
                  (long long)(counts.n_bought - counts.n_key));
    for (int k = FAULT_NONE + 1; k < FAULT_HEALS; k++)
        assert_true(counts.n_kind[k] > 0);
    assert_int_equal(counts.n_key, n_call);
    assert_int_equal(n.n_arrived, n_call);
    assert_int_equal(n.n_sent, n.n_arrived + n.n_refused + n.n_lost + n.n_unsent);
    assert_int_equal(sums.n_key, n_call);
    assert_int_equal(sums.n_send, n.n_sent);
    assert_int_equal(sums.n_answer, n_call);
    assert_int_equal(sums.n_refused, n.n_refused + n.n_unsent);
    assert_int_equal(sums.n_lost, n.n_lost);
    assert_int_equal(sums.n_unknown, 0);
    assert_int_equal(sums.n_token, 3 * n_call);
    assert_int_equal(sums.reserved_tokens, TOKENS * n.n_lost);
    assert_true(counts.n_bought - n_call <= sums.n_lost);
    assert_int_equal(counts.n_early, 0);
    assert_true(counts.n_most <= CONCURRENCY + n.n_lost); /* it may not know yet who has gone */
}

static void test_ten_thousand_faults(void **state)
{
    struct ap_error err;
    struct fault_config config = {.seed = 20, .retry_after = 1, .drip = 0.0005};
    struct ap_ledger *ledger;
    char *path = scratch_path(state, "ledger.db");
    fault_config_mix(&config, 0.65, 0.0001);
    struct fault_server *s = fault_server_start(&config);
    check_ok(ap_ledger_open(&ledger, path, "/run", &err), err);
    struct ap_client *c = watch_open(
        &s, 1,
        (struct ap_client_options){
            .concurrency = CONCURRENCY, .retries = RETRIES, .timeout = 0.15, .backoff = 2e-6});
    int64_t n_call = ask(c, s, ledger, check_full() ? 5 * N_FAULT : N_FAULT);
    check_counts(c, s, ledger, n_call);
    ap_client_close(c);
    ap_ledger_close(ledger);
    fault_server_stop(s);
    ap_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ten_thousand_faults, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
