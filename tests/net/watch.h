/* Calls to the fault server and a watch over the client's events, for its tests: what a caller may
 * rely on is asserted at each event. */
#ifndef AP_TESTS_NET_WATCH_H
#define AP_TESTS_NET_WATCH_H

#include "base/clock.h"
#include "base/memory.h"
#include "check.h"
#include "fault_server.h"
#include "net/client.h"

#define WATCH_BODY 256

struct watched { /* one call */
    char body[WATCH_BODY], key[FAULT_KEY];
    int n_sending, n_answer, n_miss[3], n_rejected;
};

struct watch {
    struct watched *calls; /* owned; as many as `wire` */
    struct ap_client_call *wire;
    int n;
    struct fault_server *server; /* asked whether a call was sent too early; NULL: it is not */
    int n_open, most_open;       /* sent and not over; most_open 0: any number */
    int n_unsettled;
    bool sent_unsettled; /* something was sent since, and what came in before is not settled yet */
    int n_event_lowered; /* n_event when `sending` last took fewer; −1: it took all */
    int n_event;         /* arrived, missed or rejected */
    bool take_rejected;  /* a rejection is an answer */
    void (*then)(struct watch *w); /* after each event; NULL: nothing */
    void *context;                 /* of `then` */
    char rejected[512];            /* the last reply of that kind */
};

/* first: the number of the first call; no two calls with the same number are alike. */
static inline void watch_init(struct watch *w, int n, int first)
{
    *w = (struct watch){.n = n, .n_event_lowered = -1};
    w->calls = ap_calloc((size_t)n, sizeof(*w->calls));
    w->wire = ap_calloc((size_t)n, sizeof(*w->wire));
    assert_true(w->calls && w->wire);
    for (int i = 0; i < n; i++) {
        struct watched *c = &w->calls[i];
        snprintf(c->key, sizeof(c->key), "key-%d", first + i);
        snprintf(c->body, sizeof(c->body),
                 "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"question %d\"}],"
                 "\"seed\":%d}",
                 first + i, first + i);
        w->wire[i] = (struct ap_client_call){.path = "/chat/completions",
                                             .body = c->body,
                                             .n_body = strlen(c->body),
                                             .idempotency_key = c->key};
    }
}

static inline void watch_free(struct watch *w)
{
    ap_free(w->calls);
    ap_free(w->wire);
}

static inline void watch_event(struct watch *w)
{
    w->n_event++;
    w->n_unsettled++;
    w->n_open--;
    if (w->then)
        w->then(w);
}

/* Nothing of these calls has reached the server, and what came in before is settled by the next
 * time. */
static inline ap_status watch_sending(void *context, const int *calls, int *n, struct ap_error *err)
{
    struct watch *w = context;
    struct fault_counts counts;
    (void)err;
    assert_false(w->sent_unsettled);
    w->sent_unsettled = w->n_unsettled > 0;
    assert_true(*n > 0);
    if (w->server)
        fault_server_counts(w->server, &counts);
    assert_true(w->n_event > w->n_event_lowered);
    w->n_event_lowered = -1;
    if (w->most_open > 0 && *n > w->most_open - w->n_open) {
        *n = w->most_open - w->n_open;
        w->n_event_lowered = w->n_event;
    }
    for (int i = 0; i < *n; i++) {
        struct watched *c = &w->calls[calls[i]];
        if (w->server)
            assert_true(fault_server_seen(w->server, c->key).n_request <= c->n_sending);
        assert_int_equal(c->n_answer, 0);
        c->n_sending++;
        w->n_open++;
    }
    return AP_OK;
}

static inline ap_status watch_arrived(void *context, int call, const struct ap_client_reply *reply,
                                      const char **why, struct ap_error *err)
{
    struct watch *w = context;
    char text[FAULT_TEXT], expected[FAULT_TEXT];
    struct watched *c = &w->calls[call];
    (void)err;
    assert_int_equal(reply->http_status / 100, 2);
    assert_true(reply->seconds >= 0);
    assert_int_equal(reply->body[reply->n_body], '\0');
    *why = fault_text_in(reply->body, reply->n_body, text) ? NULL : "it has no text";
    if (*why)
        return AP_OK;
    assert_true(fault_text_of(c->body, strlen(c->body), 0, expected));
    if (text[0])
        assert_string_equal(text, expected);
    c->n_answer++;
    watch_event(w);
    return AP_OK;
}

static inline ap_status watch_missed(void *context, int call, ap_client_miss miss,
                                     struct ap_error *err)
{
    struct watch *w = context;
    (void)err;
    w->calls[call].n_miss[miss]++;
    watch_event(w);
    return AP_OK;
}

static inline ap_status watch_rejected(void *context, int call, const struct ap_client_reply *reply,
                                       bool *taken, struct ap_error *err)
{
    struct watch *w = context;
    (void)err;
    w->calls[call].n_rejected++;
    snprintf(w->rejected, sizeof(w->rejected), "%d %s", reply->http_status, reply->body);
    *taken = w->take_rejected;
    if (*taken)
        watch_event(w); /* else it is missed too */
    return AP_OK;
}

static inline ap_status watch_settle(void *context, struct ap_error *err)
{
    struct watch *w = context;
    (void)err;
    w->n_unsettled = 0;
    w->sent_unsettled = false;
    return AP_OK;
}

static inline ap_status watch_send(struct ap_client *c, struct watch *w, struct ap_error *err)
{
    struct ap_client_events events = {.context = w,
                                      .sending = watch_sending,
                                      .arrived = watch_arrived,
                                      .missed = watch_missed,
                                      .rejected = watch_rejected,
                                      .settle = watch_settle};
    ap_status status = ap_client_send(c, w->wire, w->n, &events, err);
    assert_int_equal(w->n_unsettled, 0);
    assert_int_equal(w->n_open, 0);
    return status;
}

/* Every call got its answer once, each sending ended in one way, and what the server says that it
 * made beyond one answer each was lost on the wire. */
static inline void watch_check(struct watch *w, struct fault_server *server)
{
    struct fault_counts counts;
    fault_server_counts(server, &counts);
    for (int i = 0; i < w->n; i++) {
        const struct watched *c = &w->calls[i];
        struct fault_seen seen = fault_server_seen(server, c->key);
        assert_int_equal(c->n_answer, 1);
        assert_int_equal(c->n_sending, 1 + c->n_miss[AP_MISS_REFUSED] + c->n_miss[AP_MISS_LOST] +
                                           c->n_miss[AP_MISS_UNSENT]);
        assert_true(seen.n_request <= c->n_sending);
        assert_true(seen.n_whole >= 1 && seen.n_bought >= seen.n_whole);
        assert_true(seen.n_bought - 1 <= c->n_miss[AP_MISS_LOST]);
    }
}

static inline struct ap_client *watch_open(struct fault_server *const *servers, int n,
                                           struct ap_client_options options)
{
    struct ap_error err;
    struct ap_client *c;
    char *urls[4];
    for (int i = 0; i < n; i++)
        urls[i] = (char *)fault_server_url(servers[i]);
    options.who = "target";
    options.urls = urls;
    options.n_url = n;
    options.backoff = options.backoff > 0 ? options.backoff : 0.001;
    options.timeout = options.timeout > 0 ? options.timeout : 20;
    check_ok(ap_client_open(&c, &options, &err), err);
    return c;
}

/* Requests that it had at once. */
static inline int64_t watch_most(struct fault_server *s)
{
    struct fault_counts counts;
    fault_server_counts(s, &counts);
    return counts.n_most;
}

/* That, of every request. */
static inline void watch_only(struct fault_config *config, fault_kind kind)
{
    memset(config->rate, 0, sizeof(config->rate));
    config->rate[kind] = 1;
}

#endif
