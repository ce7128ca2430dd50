/* The end of a server: what is in flight is finished, or, when its time is over, ended; and many
 * clients at once, some of which go away. */
#include "world.h"

#include <stdatomic.h>

#define ASK "{\"prompt\":\"abc\"}"
#define STREAM "{\"prompt\":\"abc\",\"n\":2,\"stream\":true}"

struct closing {
    struct world *w;
    double seconds;
    int n_cut;
};

static void *close_server(void *context)
{
    struct closing *c = context;
    ap_server_close(c->w->server, c->seconds, &c->n_cut);
    return NULL;
}

/* The listening socket is closed first: from then on nobody comes in. */
static bool is_closed(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool closed = connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0;
    close(fd);
    return closed;
}

static void test_finishes(void **state)
{
    struct world *w = world_begin(false, false);
    struct closing c = {w, WIRE_SECONDS, -1};
    pthread_t thread;
    (void)state;
    fake_set(&w->engine, &w->engine.holding, true);
    int fd = wire_connect(w->port);
    wire_say(fd, "POST /v1/rewrite HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n" ASK);
    int idle = wire_connect(w->port);
    wire_until(fake_get(&w->engine, &w->engine.n_submitted) == 1);
    pthread_create(&thread, NULL, close_server, &c);
    wire_until(is_closed(w->port));
    fake_set(&w->engine, &w->engine.holding, false);
    struct wire_reply r = wire_read(fd); /* the connection ends though the client keeps it */
    assert_string_equal(wire_header(&r, "Connection"), "close");
    check_reply(r, 200, "\"cba\"");
    pthread_join(thread, NULL);
    assert_int_equal(c.n_cut, 0);
    assert_int_equal(w->engine.n_closed, 1);
    close(idle);
    free(w);
}

static void test_ends(void **state)
{
    struct world *w = world_begin(false, false);
    struct closing c = {w, 0.05, -1};
    (void)state;
    fake_set(&w->engine, &w->engine.holding, true);
    int fd = wire_begin(w->port, "POST", "/v1/rewrite", "", ASK);
    wire_until(fake_get(&w->engine, &w->engine.n_submitted) == 1);
    close_server(&c);
    assert_int_equal(c.n_cut, 1);
    struct wire_reply r = wire_read(fd);
    assert_int_equal(r.status, 0);
    wire_free(&r);
    free(w);
}

static bool grow_two(struct fake_engine *f, struct ap_work *w)
{
    w->grew(w, "to ", 3);
    wire_await(f->context);
    fake_end(f, w, 3);
    return true;
}

/* An answer that is read while it grows is in flight, too. */
static void test_finishes_events(void **state)
{
    struct world *w = world_new(true, false);
    struct closing c = {w, WIRE_SECONDS, -1};
    char text[4096] = "";
    sem_t go;
    pthread_t thread;
    (void)state;
    sem_init(&go, 0, 0);
    w->options.rewrite = AP_REWRITE_NONE;
    w->engine.grow = grow_two;
    w->engine.context = &go;
    world_start(w);
    int fd =
        wire_begin(w->port, "POST", "/v1/completions", "", "{\"prompt\":\"abc\",\"stream\":true}");
    wire_read_until(fd, text, sizeof(text), "\"text\":\"to \"");
    pthread_create(&thread, NULL, close_server, &c);
    wire_until(is_closed(w->port));
    sem_post(&go);
    wire_read_until(fd, text, sizeof(text), "\"text\":\"abc: ");
    wire_read_until(fd, text, sizeof(text), "data: [DONE]\n\n\r\n0\r\n\r\n");
    pthread_join(thread, NULL);
    assert_int_equal(c.n_cut, 0);
    close(fd);
    free(w);
    sem_destroy(&go);
}

static bool serve_half(struct wire_stub *s, int fd)
{
    char byte;
    wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                 "Transfer-Encoding: chunked\r\n\r\nf\r\ndata: {\"a\":1}\n\n\r\n");
    sem_post(&s->reached);
    return recv(fd, &byte, 1, 0) > 0;
}

/* A stream that would go on for ever is cut, and its client sees that it is. */
static void test_ends_stream(void **state)
{
    struct world *w = world_new(false, false);
    struct wire_stub stub;
    struct closing c = {w, 0.05, -1};
    (void)state;
    wire_stub_open(&stub, serve_half);
    w->options.upstream = stub.url;
    world_start(w);
    int fd = wire_begin(w->port, "POST", "/v1/completions", "", ASK);
    wire_await(&stub.reached);
    close_server(&c);
    assert_int_equal(c.n_cut, 1);
    struct wire_reply r = wire_read(fd);
    assert_false(r.status == 200 && r.whole);
    wire_free(&r);
    wire_stub_close(&stub);
    free(w);
}

static bool grow_for_ever(struct fake_engine *f, struct ap_work *w)
{
    while (fake_get(f, &f->n_cancelled) == 0) {
        w->grew(w, "to ", 3);
        wire_pause(1);
    }
    w->end = AP_WORK_DROPPED;
    fake_end(f, w, 0);
    return true;
}

static void test_ends_events(void **state)
{
    struct world *w = world_new(true, false);
    struct closing c = {w, 0.05, -1};
    char text[4096] = "";
    (void)state;
    w->options.rewrite = AP_REWRITE_NONE;
    w->engine.grow = grow_for_ever;
    world_start(w);
    int fd = wire_begin(w->port, "POST", "/v1/completions", "", STREAM);
    wire_read_until(fd, text, sizeof(text), "\"text\":\"to ");
    close_server(&c);
    assert_int_equal(c.n_cut, 1);
    struct wire_reply r = wire_read(fd);
    assert_null(strstr(r.text, "[DONE]"));
    assert_null(strstr(r.text, "\r\n0\r\n\r\n"));
    wire_free(&r);
    free(w);
}

/* ---- clients that leave in the middle of what they say ---- */

static void leave(int port, const char *text, size_t n, bool half)
{
    int fd = wire_connect(port);
    struct wire_reply r;
    wire_send(fd, text, n);
    if (!half) {
        close(fd);
        return;
    }
    shutdown(fd, SHUT_WR);
    r = wire_read(fd); /* it ends */
    assert_true(r.status == 0 || r.status == 400);
    wire_free(&r);
}

static int in_flight(int port)
{
    struct wire_reply r = wire_get(port, "/metrics");
    const char *line = strstr(r.body, "\nalignpro_requests_in_flight ");
    int n = -1;
    if (line)
        sscanf(line, " alignpro_requests_in_flight %d", &n);
    wire_free(&r);
    return n;
}

static bool is_alone(int port)
{
    struct wire_reply r = wire_get(port, "/metrics");
    bool alone = strstr(r.body, "\nalignpro_connections 1\n") &&
                 strstr(r.body, "\nalignpro_requests_in_flight 1\n");
    wire_free(&r);
    return alone;
}

/* In a head, in a body: nothing of them is left soon, long before they would be late. */
static void test_leave_half_way(void **state)
{
    static const char request[] =
        "POST /v1/rewrite HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n" ASK;
    struct world *w = world_begin(false, false);
    struct closing c = {w, WIRE_SECONDS, -1};
    (void)state;
    double until = ap_clock_seconds() + WIRE_SECONDS;
    for (size_t n = 1; n < sizeof(request) - 1; n += 2)
        leave(w->port, request, n, false);
    for (size_t n = 1; n < sizeof(request) - 1; n += 16)
        leave(w->port, request, n, true);
    wire_until(is_alone(w->port));
    for (size_t n = 1; n < sizeof(request) - 1; n += 2)
        leave(w->port, request, n, false);
    close_server(&c);
    assert_true(ap_clock_seconds() < until);
    assert_int_equal(c.n_cut, 0);
    free(w);
}

/* One that stays, and says no more, does not hold the end up. */
static void test_stops_half_way(void **state)
{
    struct world *w = world_begin(false, false);
    struct closing c = {w, 1000, -1};
    (void)state;
    double began = ap_clock_seconds();
    int fd = wire_connect(w->port);
    wire_say(fd, "POST /v1/rewrite HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{");
    wire_until(in_flight(w->port) == 2);
    close_server(&c);
    assert_true(ap_clock_seconds() - began < WIRE_SECONDS);
    struct wire_reply r = wire_read(fd);
    assert_int_equal(r.status, 0);
    wire_free(&r);
    free(w);
}

/* Who has said everything and closes for writing only is answered: it is all there. */
static void test_says_all_and_listens(void **state)
{
    struct world *w = world_begin(false, false);
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
                                  "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    (void)state;
    for (int i = 0; i < 20; i++) {
        int fd = wire_connect(w->port);
        size_t n;
        wire_say(fd, request);
        shutdown(fd, SHUT_WR);
        char *text = wire_read_bytes(fd, &n);
        const char *first = strstr(text, "HTTP/1.1 200");
        assert_non_null(first);
        assert_non_null(strstr(first + 1, "HTTP/1.1 200"));
        free(text);
    }
    world_end(w);
}

/* ---- many at once ---- */

enum { CLIENTS = 8, ROUNDS = 40, CLOSINGS = 40 };

static bool serve_text(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n3\r\n 1}\r\n0\r\n\r\n");
}

static void *ask_often(void *context)
{
    int port = *(int *)context;
    intptr_t n_bad = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int fd =
            wire_begin(port, "POST", "/v1/completions", i % 3 ? "" : "x-alignpro: show\r\n", ASK);
        if (i % 5 == 4) { /* gone, at some moment or other */
            close(fd);
            continue;
        }
        struct wire_reply r = wire_read(fd);
        n_bad += r.status != 200 || !r.whole || !strstr(r.body, "\"a\": 1}");
        wire_free(&r);
    }
    return (void *)n_bad;
}

/* ask gives back how much of it was wrong. */
static void from_many(void *(*ask)(void *port), int port)
{
    pthread_t threads[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        pthread_create(&threads[i], NULL, ask, &port);
    for (int i = 0; i < CLIENTS; i++) {
        void *n_bad;
        pthread_join(threads[i], &n_bad);
        assert_null(n_bad);
    }
}

static void test_many(void **state)
{
    struct world *w = world_new(false, false);
    struct wire_stub stub;
    (void)state;
    wire_stub_open(&stub, serve_text);
    w->options.upstream = stub.url;
    world_start(w);
    from_many(ask_often, w->port);
    struct closing c = {w, WIRE_SECONDS, -1};
    close_server(&c);
    assert_int_equal(c.n_cut, 0);
    wire_stub_close(&stub);
    free(w);
}

/* One request behind the other on one connection, until it ends. */
static void *ask_always(void *context)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char text[4096];
    int fd = *(int *)context;
    while (wire_say(fd, request) && recv(fd, text, sizeof(text), 0) > 0)
        ;
    close(fd);
    return NULL;
}

/* Its thread is awake when it is closed. */
static void test_closes_while_busy(void **state)
{
    (void)state;
    for (int i = 0; i < CLOSINGS; i++) {
        struct world *w = world_begin(false, false);
        pthread_t threads[2];
        int fds[2];
        for (int k = 0; k < 2; k++) {
            fds[k] = wire_connect(w->port);
            pthread_create(&threads[k], NULL, ask_always, &fds[k]);
        }
        wire_pause(i % 3);
        world_end(w);
        for (int k = 0; k < 2; k++)
            pthread_join(threads[k], NULL);
    }
}

struct knocking {
    int port;
    atomic_bool over;
};

static void *knock(void *context)
{
    struct knocking *k = context;
    while (!atomic_load(&k->over))
        wire_status(k->port);
    return NULL;
}

/* More clients than it takes come while it is closed. */
static void test_closes_at_its_limit(void **state)
{
    (void)state;
    for (int i = 0; i < CLOSINGS; i++) {
        struct world *w = world_new(false, false);
        struct knocking k = {.over = false};
        pthread_t threads[CLIENTS];
        w->options.connections = 3;
        world_start(w);
        k.port = w->port;
        for (int c = 0; c < CLIENTS; c++)
            pthread_create(&threads[c], NULL, knock, &k);
        wire_pause(5 + i % 5);
        world_end(w);
        atomic_store(&k.over, true);
        for (int c = 0; c < CLIENTS; c++)
            pthread_join(threads[c], NULL);
    }
}

static bool grow_some(struct fake_engine *f, struct ap_work *w)
{
    for (size_t i = 0; i < strlen("to abc: "); i++)
        w->grew(w, &"to abc: "[i], 1);
    fake_end(f, w, strlen("to abc: "));
    return true;
}

static void *ask_for_events(void *context)
{
    int port = *(int *)context;
    intptr_t n_bad = 0;
    char byte;
    for (int i = 0; i < ROUNDS; i++) {
        int fd = wire_begin(port, "POST", "/v1/completions", "", STREAM);
        if (i % 5 == 3 && recv(fd, &byte, 1, 0) != 1) /* gone when the stream has begun */
            n_bad++;
        if (i % 5 >= 3) { /* or at some moment or other */
            close(fd);
            continue;
        }
        struct wire_reply r = wire_read(fd);
        n_bad += r.status != 200 || !r.whole || !strstr(r.body, "data: [DONE]\n\n");
        wire_free(&r);
    }
    return (void *)n_bad;
}

static void test_many_events(void **state)
{
    struct world *w = world_new(true, false);
    struct closing c = {w, WIRE_SECONDS, -1};
    (void)state;
    w->options.rewrite = AP_REWRITE_NONE;
    w->engine.grow = grow_some;
    world_start(w);
    from_many(ask_for_events, w->port);
    close_server(&c);
    assert_int_equal(c.n_cut, 0);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finishes),
        cmocka_unit_test(test_finishes_events),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_ends_stream),
        cmocka_unit_test(test_ends_events),
        cmocka_unit_test(test_leave_half_way),
        cmocka_unit_test(test_stops_half_way),
        cmocka_unit_test(test_says_all_and_listens),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_closes_while_busy),
        cmocka_unit_test(test_closes_at_its_limit),
        cmocka_unit_test(test_many_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
