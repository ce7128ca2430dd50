/* What the client of model servers does with several requests and endpoints: which is asked, how
 * fast, and how it ends early. One request and its faults: test_client.c. */
#include "watch.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

enum { N_CALL = 200 };

/* ---- endpoints ---- */

struct killing {
    struct fault_server *victim;
    int after;
};

static void kill_when_busy(struct watch *w)
{
    struct killing *k = w->context;
    struct fault_config dead = {.dead = true};
    if (w->n_event == k->after)
        fault_server_set(k->victim, &dead);
}

static int64_t n_request(struct fault_server *s)
{
    struct fault_counts counts;
    fault_server_counts(s, &counts);
    return counts.n_request;
}

/* Each call has its answer; which server's, either. */
static void check_answered(const struct watch *w)
{
    for (int i = 0; i < w->n; i++)
        assert_int_equal(w->calls[i].n_answer, 1);
}

static void test_endpoint_dies_and_comes_back(void **state)
{
    struct ap_error err;
    struct fault_config config = {.latency = 0.002};
    struct fault_server *s[2] = {fault_server_start(&config), fault_server_start(&config)};
    struct ap_client *c =
        watch_open(s, 2, (struct ap_client_options){.concurrency = 4, .retries = 8});
    struct killing killing = {s[0], 40};
    struct ap_client_counts n;
    struct watch w;
    (void)state;
    watch_init(&w, N_CALL, 0);
    w.then = kill_when_busy;
    w.context = &killing;
    check_ok(watch_send(c, &w, &err), err);
    check_answered(&w);
    watch_free(&w);
    int64_t seen = n_request(s[0]);
    assert_true(seen > 0 && seen < N_CALL / 2);
    assert_true(watch_most(s[0]) <= 4 && watch_most(s[1]) <= 4);
    ap_client_counts(c, &n);
    assert_int_equal(n.n_dropped, 1);
    assert_int_equal(n.n_readmitted, 0);
    fault_server_set(s[0], &config);
    double until = ap_clock_seconds() + 60;
    for (int k = 1; n.n_readmitted == 0 && ap_clock_seconds() < until; k++) {
        watch_init(&w, 8, k * N_CALL);
        check_ok(watch_send(c, &w, &err), err);
        check_answered(&w);
        watch_free(&w);
        ap_client_counts(c, &n);
    }
    assert_int_equal(n.n_readmitted, 1);
    seen = n_request(s[0]);
    watch_init(&w, N_CALL, N_CALL * 100000);
    check_ok(watch_send(c, &w, &err), err);
    watch_free(&w);
    ap_client_counts(c, &n);
    assert_int_equal(n.n_readmitted, 1); /* for good */
    assert_true(n_request(s[0]) > seen);
    assert_int_equal(n.n_sent, n.n_arrived + n.n_refused + n.n_lost + n.n_unsent);
    ap_client_close(c);
    fault_server_stop(s[0]);
    fault_server_stop(s[1]);
}

/* One that is well and has no answer: the next attempt is another's. */
static void test_asked_elsewhere(void **state)
{
    struct ap_error err;
    struct fault_config busy = {.rate = {[FAULT_WAIT_NOW] = 1}}, config = {0};
    struct fault_server *s[2] = {fault_server_start(&busy), fault_server_start(&config)};
    struct ap_client *c =
        watch_open(s, 2, (struct ap_client_options){.concurrency = 1, .retries = 1});
    struct watch w;
    (void)state;
    watch_init(&w, 20, 0);
    check_ok(watch_send(c, &w, &err), err);
    check_answered(&w);
    assert_true(n_request(s[0]) > 0);
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s[0]);
    fault_server_stop(s[1]);
}

/* ---- stopping ---- */

struct stopping {
    volatile sig_atomic_t flag;
    int after;
};

static void stop_then(struct watch *w)
{
    struct stopping *s = w->context;
    if (w->n_event >= s->after)
        s->flag = 1;
}

static ap_status stop_after(const struct fault_config *config, int after, struct fault_counts *out,
                            double *seconds, struct ap_error *err)
{
    struct stopping stopping = {after == 0, after};
    struct ap_sink sink = {.stop = &stopping.flag};
    struct fault_server *s = fault_server_start(config);
    struct ap_client *c = watch_open(
        &s, 1, (struct ap_client_options){.concurrency = 4, .retries = 8, .sink = &sink});
    struct watch w;
    watch_init(&w, N_CALL, 0);
    w.then = stop_then;
    w.context = &stopping;
    double begun = ap_clock_seconds();
    ap_status status = watch_send(c, &w, err);
    *seconds = ap_clock_seconds() - begun;
    fault_server_counts(s, out);
    assert_int_equal(w.n_event, out->n_request); /* what was bought is taken */
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
    return status;
}

static void test_stop(void **state)
{
    struct ap_error err;
    struct fault_config config = {.latency = 0.01, .retry_after = 500};
    struct fault_counts counts;
    double seconds;
    (void)state;
    assert_int_equal(stop_after(&config, 0, &counts, &seconds, &err), AP_INTERRUPTED);
    assert_int_equal(counts.n_request, 0);
    assert_int_equal(stop_after(&config, 6, &counts, &seconds, &err), AP_INTERRUPTED);
    check_holds(err.text, "target: interrupted");
    assert_true(counts.n_request >= 6 && counts.n_request <= 6 + 4 + 4);
    watch_only(&config, FAULT_WAIT_SECONDS);
    assert_int_equal(stop_after(&config, 1, &counts, &seconds, &err), AP_INTERRUPTED);
    assert_true(seconds < 60); /* and not 500 */
}

/* A server that holds its answers back is waited for, but not for long. */
static void test_stop_of_stalled(void **state)
{
    struct ap_error err;
    struct fault_config config = {.n_faulty = 1 << 20};
    struct stopping stopping = {0, 1};
    struct ap_sink sink = {.stop = &stopping.flag};
    struct watch w;
    (void)state;
    if (!check_full()) {
        print_message("SKIP: stopping a stalled request takes ten seconds (make test-full)\n");
        return;
    }
    config.rate[FAULT_STALL] = 0.5;
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c = watch_open(
        &s, 1, (struct ap_client_options){.concurrency = 8, .timeout = 500, .sink = &sink});
    watch_init(&w, 64, 0);
    w.then = stop_then;
    w.context = &stopping;
    double begun = ap_clock_seconds();
    assert_int_equal(watch_send(c, &w, &err), AP_INTERRUPTED);
    assert_true(ap_clock_seconds() - begun < 100);
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
}

/* ---- what was sent, and what was not ---- */

struct leaving { /* a server that answers once, reads a second request, and is gone */
    int listener;
    char url[64];
};

static int listen_somewhere(struct leaving *l, int backlog)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(a);
    l->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(l->listener, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(l->listener, backlog), 0);
    assert_int_equal(getsockname(l->listener, (struct sockaddr *)&a, &n), 0);
    snprintf(l->url, sizeof(l->url), "http://127.0.0.1:%d/v1", ntohs(a.sin_port));
    return ntohs(a.sin_port);
}

/* Up to the body's last brace: the calls of a watch have no other. */
static void read_request(int fd)
{
    char text[4096] = "";
    size_t n = 0;
    for (ssize_t got; !(n > 0 && strstr(text, "\r\n\r\n") && text[n - 1] == '}') &&
                      (got = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0;)
        n += (size_t)got;
}

static void *answer_and_leave(void *context)
{
    static const char answer[] = "{\"choices\":[{\"message\":{\"content\":\"\"},"
                                 "\"finish_reason\":\"length\"}]}";
    struct leaving *l = context;
    char reply[512];
    int fd = accept(l->listener, NULL, NULL);
    read_request(fd);
    snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(answer), answer);
    if (send(fd, reply, strlen(reply), MSG_NOSIGNAL) < 0)
        perror("leaving");
    read_request(fd);
    close(l->listener);
    close(fd);
    return NULL;
}

static struct ap_client *open_url(char *url, double timeout)
{
    struct ap_error err;
    struct ap_client *c;
    struct ap_client_options options = {
        .who = "target", .urls = &url, .n_url = 1, .concurrency = 1, .timeout = timeout};
    setenv("no_proxy", "127.0.0.1", 1);
    check_ok(ap_client_open(&c, &options, &err), err);
    return c;
}

/* A server that read a request and is no more when libcurl would send it again: the answer may have
 * been bought, though what libcurl says in the end is that it found nobody. */
static void test_sent_and_then_nobody(void **state)
{
    struct ap_error err;
    struct leaving l;
    struct watch w;
    struct ap_client_counts n;
    pthread_t thread;
    (void)state;
    listen_somewhere(&l, 4);
    assert_int_equal(pthread_create(&thread, NULL, answer_and_leave, &l), 0);
    struct ap_client *c = open_url(l.url, 20);
    watch_init(&w, 1, 0);
    check_ok(watch_send(c, &w, &err), err);
    watch_free(&w);
    watch_init(&w, 1, 1);
    assert_int_equal(watch_send(c, &w, &err), AP_IO);
    pthread_join(thread, NULL);
    ap_client_counts(c, &n);
    assert_int_equal(n.n_lost, 1);
    assert_int_equal(n.n_unsent, 0);
    watch_free(&w);
    ap_client_close(c);
}

/* Nobody takes the connection until the time is over: nothing was bought. */
static void test_late_and_not_sent(void **state)
{
    enum { FILL = 8 };
    struct ap_error err;
    struct leaving l;
    struct watch w;
    struct ap_client_counts n;
    int fds[FILL];
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    a.sin_port = htons((uint16_t)listen_somewhere(&l, 0));
    for (int i = 0; i < FILL; i++) { /* the queue of connections is full */
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&a, sizeof(a));
    }
    struct ap_client *c = open_url(l.url, 0.3);
    watch_init(&w, 1, 0);
    assert_int_equal(watch_send(c, &w, &err), AP_IO);
    ap_client_counts(c, &n);
    assert_int_equal(n.n_lost, 0);
    assert_int_equal(n.n_unsent, 1);
    watch_free(&w);
    ap_client_close(c);
    for (int i = 0; i < FILL; i++)
        close(fds[i]);
    close(l.listener);
}

/* A Retry-After that asks for nothing leaves the backoff: a server that is down for a moment must
 * not use up all attempts in that moment. The last of the waits is up to 0.64 s. */
static void test_waits_for_nothing(void **state)
{
    static const fault_kind kinds[] = {FAULT_WAIT_NOW, FAULT_WAIT_DATE, FAULT_WAIT_BAD};
    struct ap_error err;
    (void)state;
    for (size_t i = 0; i < AP_LEN(kinds); i++) {
        struct fault_config config = {0};
        struct watch w;
        watch_only(&config, kinds[i]);
        struct fault_server *s = fault_server_start(&config);
        struct ap_client *c = watch_open(
            &s, 1, (struct ap_client_options){.concurrency = 1, .retries = 6, .backoff = 0.02});
        watch_init(&w, 1, 0);
        double begun = ap_clock_seconds();
        assert_int_equal(watch_send(c, &w, &err), AP_IO);
        assert_true(ap_clock_seconds() - begun > 0.03);
        watch_free(&w);
        ap_client_close(c);
        fault_server_stop(s);
    }
}

static void keep_warning(void *context, const struct ap_event *event)
{
    if (event->kind == AP_EVENT_WARN)
        snprintf(context, 256, "%s", event->text);
}

/* A run that stands still says so, and for what it waits; one that goes on says nothing. */
static void test_tells_of_waiting(void **state)
{
    char said[256] = "";
    const struct ap_sink sink = {.fn = keep_warning, .context = said};
    struct ap_error err;
    struct fault_config config = {.latency = 0.05};
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct watch w;
        if (fails)
            watch_only(&config, FAULT_E503);
        struct fault_server *s = fault_server_start(&config);
        struct ap_client *c = watch_open(
            &s, 1, (struct ap_client_options){.concurrency = 2, .retries = 9, .sink = &sink});
        watch_init(&w, 4, 0);
        assert_int_equal(watch_send(c, &w, &err), fails ? AP_IO : AP_OK);
        watch_free(&w);
        ap_client_close(c);
        fault_server_stop(s);
        if (!fails)
            assert_string_equal(said, "");
    }
    check_holds(said, "4 requests wait for http://127.0.0.1:");
    check_holds(said, "503");
}

/* A server on this machine is asked without the proxy, and no password of one is repeated. */
static void test_proxies(void **state)
{
    static const char *const proxies[] = {"bogus://joe:PASSWORD@127.0.0.1:1",
                                          "http://joe:PASSWORD@@x:bad"};
    struct ap_error err;
    struct fault_config config = {0};
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c = watch_open(&s, 1, (struct ap_client_options){.concurrency = 1});
    struct watch w;
    (void)state;
    unsetenv("no_proxy");
    for (size_t i = 0; i < AP_LEN(proxies); i++) {
        setenv("http_proxy", proxies[i], 1);
        watch_init(&w, 1, (int)i);
        check_ok(watch_send(c, &w, &err), err);
        watch_free(&w);
        struct ap_client *far = open_url((char[]){"http://a.invalid/v1"}, 20);
        unsetenv("no_proxy");
        watch_init(&w, 1, (int)i);
        assert_int_equal(watch_send(far, &w, &err), AP_IO);
        assert_null(strstr(err.text, "PASSWORD"));
        assert_int_equal(ap_client_probe("http://a.invalid/v1", NULL, &err), AP_IO);
        assert_null(strstr(err.text, "PASSWORD"));
        watch_free(&w);
        ap_client_close(far);
    }
    unsetenv("http_proxy");
    check_ok(ap_client_probe(fault_server_url(s), NULL, &err), err);
    ap_client_close(c);
    fault_server_stop(s);
}

/* ---- pace and budget ---- */

static double paced(double rpm, double tpm, int n_call, int64_t tokens)
{
    struct ap_error err;
    struct fault_config config = {0};
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c =
        watch_open(&s, 1, (struct ap_client_options){.concurrency = 32, .rpm = rpm, .tpm = tpm});
    struct watch w;
    watch_init(&w, n_call, 0);
    for (int i = 0; i < n_call; i++)
        w.wire[i].tokens = tokens;
    double begun = ap_clock_seconds();
    check_ok(watch_send(c, &w, &err), err);
    double seconds = ap_clock_seconds() - begun;
    watch_check(&w, s);
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
    return seconds;
}

/* A second's worth may go at once. */
static void test_pace(void **state)
{
    (void)state;
    assert_true(paced(3000, 0, 50 + 30, 0) >= 0.55);             /* 50 a second */
    assert_true(paced(0, 60000, 10 + 6, 100) >= 0.45);           /* 1,000 tokens a second */
    assert_true(paced(6000, 6000 * 1000., 100 + 40, 1) >= 0.35); /* the slower of two */
}

/* What a request may take passes a minute's worth: said once. */
static void test_tells_of_pace(void **state)
{
    char said[256] = "";
    const struct ap_sink sink = {.fn = keep_warning, .context = said};
    struct ap_error err;
    struct fault_server *s = fault_server_start(&(struct fault_config){0});
    struct ap_client *c =
        watch_open(&s, 1, (struct ap_client_options){.concurrency = 2, .tpm = 6000, .sink = &sink});
    (void)state;
    for (int64_t tokens = 6000; tokens <= 6001; tokens++) {
        struct watch w;
        watch_init(&w, 1, tokens == 6000 ? 0 : 1);
        w.wire[0].tokens = tokens;
        assert_string_equal(said, "");
        check_ok(watch_send(c, &w, &err), err);
        watch_free(&w);
    }
    check_holds(said, "may take 6001 tokens and tpm is 6000: after each the next waits for up to "
                      "60 s; raise target.tpm");
    ap_client_close(c);
    fault_server_stop(s);
}

/* A server that closes each connection, and whose first answer nobody waits for. */
static void test_connections_at_once(void **state)
{
    struct ap_error err;
    struct fault_config config = {.latency = 0.2};
    watch_only(&config, FAULT_HTTP10);
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c = watch_open(&s, 1, (struct ap_client_options){.concurrency = 8});
    struct watch w;
    (void)state;
    watch_init(&w, 16, 0);
    check_ok(watch_send(c, &w, &err), err);
    watch_check(&w, s);
    assert_true(watch_most(s) > 1);
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
}

/* A caller that takes fewer is asked again when something is over. */
static void test_fewer_are_taken(void **state)
{
    struct ap_error err;
    struct fault_config config = {.latency = 0.001};
    config.rate[FAULT_E500] = 0.2;
    config.rate[FAULT_CUT] = 0.2;
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c =
        watch_open(&s, 1, (struct ap_client_options){.concurrency = 16, .retries = 30});
    struct watch w;
    (void)state;
    watch_init(&w, 60, 0);
    w.most_open = 3;
    check_ok(watch_send(c, &w, &err), err);
    watch_check(&w, s);
    assert_true(watch_most(s) <= 3);
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
}

/* ---- events that fail ---- */

struct failing {
    struct watch watch;
    const char *where;
    int after, n_sending, n_arrived, n_settle;
};

static ap_status fails(struct failing *f, const char *where, int n, struct ap_error *err)
{
    return n > f->after && strcmp(f->where, where) == 0
               ? ap_fail(err, AP_LIMIT, "the end of %s", where)
               : AP_OK;
}

static ap_status failing_sending(void *context, const int *calls, int *n, struct ap_error *err)
{
    struct failing *f = context;
    ap_status status = fails(f, "sending", f->n_sending += *n, err);
    return status == AP_OK ? watch_sending(&f->watch, calls, n, err) : status;
}

static ap_status failing_arrived(void *context, int call, const struct ap_client_reply *reply,
                                 const char **why, struct ap_error *err)
{
    struct failing *f = context;
    ap_status status = watch_arrived(&f->watch, call, reply, why, err);
    return status == AP_OK ? fails(f, "arrived", ++f->n_arrived, err) : status;
}

static ap_status failing_settle(void *context, struct ap_error *err)
{
    struct failing *f = context;
    watch_settle(&f->watch, err);
    return fails(f, "settle", ++f->n_settle, err);
}

/* The status and the words are the caller's, what is in flight is taken, nothing more is sent. */
static void test_events_that_fail(void **state)
{
    static const char *const where[] = {"sending", "arrived", "settle"};
    struct fault_config config = {.latency = 0.002};
    (void)state;
    for (size_t k = 0; k < AP_LEN(where); k++) {
        struct ap_error err;
        struct fault_counts counts;
        struct failing f = {.where = where[k], .after = 8};
        struct fault_server *s = fault_server_start(&config);
        struct ap_client *c = watch_open(&s, 1, (struct ap_client_options){.concurrency = 4});
        watch_init(&f.watch, N_CALL, 0);
        struct ap_client_events events = {.context = &f,
                                          .sending = failing_sending,
                                          .arrived = failing_arrived,
                                          .settle = failing_settle};
        assert_int_equal(ap_client_send(c, f.watch.wire, N_CALL, &events, &err), AP_LIMIT);
        check_holds(err.text, where[k]);
        fault_server_counts(s, &counts);
        assert_int_equal(f.watch.n_open, 0);
        assert_true(counts.n_request < N_CALL / 2);
        assert_int_equal(counts.n_request, counts.n_whole);
        assert_int_equal(f.watch.n_event, counts.n_whole);
        watch_free(&f.watch);
        ap_client_close(c);
        fault_server_stop(s);
    }
}

/* ---- calls that are put off ---- */

enum { N_PUT_OFF = 1100 }; /* of which the last is no multiple of 3 */

struct put_off {
    struct watch watch;
    int n_asked[N_PUT_OFF];
    int wanted; /* all others are put off until it is sent; −1: none */
};

static ap_status when_wanted(void *context, int call, ap_client_ready *out, struct ap_error *err)
{
    struct put_off *p = context;
    (void)err;
    p->n_asked[call]++;
    if (p->wanted >= 0 && call != p->wanted && p->watch.calls[p->wanted].n_sending == 0)
        *out = AP_READY_LATER;
    else
        *out = call % 3 == 0 ? AP_READY_OVER : AP_READY_NOW;
    return AP_OK;
}

static ap_status never_wanted(void *context, int call, ap_client_ready *out, struct ap_error *err)
{
    (void)context, (void)out;
    return call == 0 ? AP_OK : ap_fail(err, AP_LIMIT, "the end of ready");
}

static ap_status send_put_off(struct ap_client *c, struct put_off *p,
                              ap_status (*ready)(void *, int, ap_client_ready *, struct ap_error *),
                              struct ap_error *err)
{
    struct ap_client_events events = {.context = p,
                                      .ready = ready,
                                      .sending = watch_sending,
                                      .arrived = watch_arrived,
                                      .settle = watch_settle};
    watch_init(&p->watch, N_PUT_OFF, 0);
    ap_status status = ap_client_send(c, p->watch.wire, N_PUT_OFF, &events, err);
    assert_int_equal(p->watch.n_open, 0);
    return status;
}

/* However many are put off before it, the last one is found; what is over is not sent. */
static void test_ready(void **state)
{
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 1});
    struct ap_client *c = watch_open(&s, 1, (struct ap_client_options){.concurrency = 4});
    (void)state;
    for (int wanted = -1; wanted < N_PUT_OFF; wanted += N_PUT_OFF) {
        struct put_off p = {.wanted = wanted};
        struct ap_error err;
        check_ok(send_put_off(c, &p, when_wanted, &err), err);
        for (int i = 0; i < N_PUT_OFF; i++) {
            assert_int_equal(p.watch.calls[i].n_sending, i % 3 != 0);
            assert_int_equal(p.watch.calls[i].n_answer, i % 3 != 0);
            assert_true(wanted >= 0 || p.n_asked[i] == 1);
        }
        watch_free(&p.watch);
    }
    ap_client_close(c);
    fault_server_stop(s);
}

static void test_ready_that_fails(void **state)
{
    struct fault_server *s = fault_server_start(&(struct fault_config){.seed = 1});
    struct ap_client *c = watch_open(&s, 1, (struct ap_client_options){.concurrency = 4});
    struct put_off p = {.wanted = -1};
    struct ap_error err;
    (void)state;
    assert_int_equal(send_put_off(c, &p, never_wanted, &err), AP_LIMIT);
    check_holds(err.text, "the end of ready");
    assert_int_equal(p.watch.n_event, 0);
    watch_free(&p.watch);
    ap_client_close(c);
    fault_server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoint_dies_and_comes_back),
        cmocka_unit_test(test_asked_elsewhere),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_of_stalled),
        cmocka_unit_test(test_sent_and_then_nobody),
        cmocka_unit_test(test_late_and_not_sent),
        cmocka_unit_test(test_waits_for_nothing),
        cmocka_unit_test(test_tells_of_waiting),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_tells_of_pace),
        cmocka_unit_test(test_connections_at_once),
        cmocka_unit_test(test_fewer_are_taken),
        cmocka_unit_test(test_events_that_fail),
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_ready_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
