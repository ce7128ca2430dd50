/* The server alone: its routes, who may take them, and what it refuses. */
#include "world.h"

#include <sys/resource.h>
#include <sys/stat.h>

static void test_routes(void **state)
{
    struct world *w = world_begin(false, true);
    (void)state;
    struct wire_reply r = wire_get(w->port, "/");
    assert_string_equal(wire_header(&r, "Content-Type"), "text/html; charset=utf-8");
    check_holds(wire_header(&r, "Content-Security-Policy"), "default-src 'none'");
    check_reply(r, 200, "<!doctype html>");
    check_reply(wire_get(w->port, "/healthz"), 200, "\"status\":\"ok\"");
    check_reply(wire_get(w->port, "/healthz"), 200, "\"upstream\":false,\"rewrite\":\"last\"");
    check_reply(wire_get(w->port, "/v1/models"), 200, "\"id\":\"run\"");
    r = wire_get(w->port, "/metrics");
    check_holds(wire_header(&r, "Content-Type"), "text/plain; version=0.0.4");
    check_holds(r.body, "alignpro_requests_total{route=\"/healthz\",status=\"2xx\"} 2\n");
    check_reply(r, 200, "# TYPE alignpro_request_seconds histogram\n");
    check_reply(wire_get(w->port, "/nothing"), 404, "\"code\": \"unknown_url\"");
    check_reply(wire_post(w->port, "/v1/chat/completions", "",
                          "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"),
                501, "no_target");
    r = wire_get(w->port, "/v1/rewrite");
    assert_string_equal(wire_header(&r, "Allow"), "POST");
    check_reply(r, 405, "method_not_allowed");
    r = wire_post(w->port, "/metrics", "", "");
    assert_string_equal(wire_header(&r, "Allow"), "GET, HEAD");
    check_reply(r, 405, "method_not_allowed");
    r = wire_read(wire_begin(w->port, "HEAD", "/healthz", "", ""));
    assert_int_equal(r.status, 200);
    assert_int_equal(r.n_body, 0);
    wire_free(&r);
    world_end(w);
}

static void test_rewrite(void **state)
{
    struct world *w = world_begin(false, true);
    (void)state;
    check_reply(wire_post(w->port, "/v1/rewrite", "", "{\"prompt\":\"abc\"}"), 200,
                "{\"rewrite\":\"cba\",\"ended\":true,\"guard\":\"\",\"why\":\"\",\"cached\":false,"
                "\"n_prompt\":1,\"n_token\":3,\"model\":\"run\"}");
    check_reply(wire_post(w->port, "/v1/rewrite", "",
                          "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":"
                          "\"user\",\"content\":\"xy\"}],\"temperature\":0.5,\"seed\":7}"),
                200, "\"rewrite\":\"yx\"");
    assert_string_equal(w->engine.last, "system:s|user:xy");
    check_near(w->engine.last_of.temperature, 0.5, 0, 0);
    assert_int_equal(w->engine.last_of.stream.seed, 7);
    fake_set(&w->engine, &w->engine.guarding, true);
    check_reply(wire_post(w->port, "/v1/rewrite", "", "{\"prompt\":\"abc\"}"), 200,
                "{\"rewrite\":\"abc\",\"ended\":true,\"guard\":\"length\",\"why\":\"too long\"");
    fake_set(&w->engine, &w->engine.failing, true);
    check_reply(wire_post(w->port, "/v1/rewrite", "", "{\"prompt\":\"abc\"}"), 400,
                "it does not fit");
    fake_set(&w->engine, &w->engine.refusing, true);
    struct wire_reply r = wire_post(w->port, "/v1/rewrite", "", "{\"prompt\":\"abc\"}");
    assert_string_equal(wire_header(&r, "Retry-After"), "1");
    check_reply(r, 503, "queue_full");
    world_end(w);
}

static void test_rewrite_refuses(void **state)
{
    static const char *const bodies[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"prompt\":3}",
        "{\"prompt\":\"a\\u0000\"}",
        "{\"prompt\":\"a\",\"prompt\":\"b\"}",
        "{\"messages\":[]}",
        "{\"messages\":[{\"role\":\"user\"}]}",
        "{\"prompt\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
        "{\"prompt\":\"a\",\"temperature\":-1}",
        "{\"prompt\":\"\xff\"}",
    };
    struct world *w = world_begin(false, false);
    (void)state;
    for (size_t i = 0; i < AP_LEN(bodies); i++)
        check_reply(wire_post(w->port, "/v1/rewrite", "", bodies[i]), 400, "invalid_request_error");
    assert_int_equal(w->engine.n_submitted, 0);
    check_reply(wire_post(w->port, "/v1/score", "", "{\"prompt\":\"a\",\"answer\":\"b\"}"), 501,
                "no_reward");
    world_end(w);
}

static void test_score(void **state)
{
    struct world *w = world_begin(false, true);
    (void)state;
    check_reply(wire_post(w->port, "/v1/score", "", "{\"prompt\":\"a\",\"answer\":\"four\"}"), 200,
                "{\"score\":4.0,\"reward\":\"length\"}");
    assert_true(w->engine.last_of.ended);
    check_reply(
        wire_post(w->port, "/v1/score", "", "{\"prompt\":\"a\",\"answer\":\"\",\"ended\":false}"),
        200, "{\"score\":0.0,\"reward\":\"length\"}");
    assert_false(w->engine.last_of.ended);
    check_reply(wire_post(w->port, "/v1/score", "", "{\"prompt\":\"a\"}"), 400, "answer");
    world_end(w);
}

/* ---- who may ---- */

/* The hashes of "secret" and "other". */
#define SECRET "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
#define OTHER "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"

static void write_keys(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    chmod(path, 0600);
}

static void test_keys(void **state)
{
    char path[] = "/tmp/alignpro-keys-XXXXXX";
    struct ap_error err;
    (void)state;
    close(mkstemp(path));
    write_keys(path, "ada " SECRET "\nbob " OTHER " 6\n");
    struct world *w = world_new(false, true);
    w->options.keys_file = path;
    world_start(w);
    struct wire_reply r = wire_post(w->port, "/v1/rewrite", "", "{\"prompt\":\"a\"}");
    assert_string_equal(wire_header(&r, "WWW-Authenticate"), "Bearer");
    check_reply(r, 401, "authentication_error");
    check_reply(
        wire_post(w->port, "/v1/rewrite", "Authorization: Bearer wrong\r\n", "{\"prompt\":\"a\"}"),
        401, "invalid_api_key");
    check_reply(
        wire_post(w->port, "/v1/rewrite", "Authorization: Basic secret\r\n", "{\"prompt\":\"a\"}"),
        401, "invalid_api_key");
    check_reply(wire_get(w->port, "/metrics"), 401, "invalid_api_key");
    check_reply(wire_get(w->port, "/healthz"), 200, "ok");
    check_reply(wire_get(w->port, "/"), 200, "html");
    check_reply(
        wire_post(w->port, "/v1/rewrite", "Authorization: Bearer secret\r\n", "{\"prompt\":\"a\"}"),
        200, "rewrite");
    check_reply(
        wire_read(wire_begin(w->port, "GET", "/v1/models", "Authorization: Bearer other\r\n", "")),
        200, "run"); /* not counted: there is no upstream */
    check_reply(
        wire_post(w->port, "/v1/rewrite", "authorization: bearer other\r\n", "{\"prompt\":\"a\"}"),
        200, "rewrite");
    r = wire_post(w->port, "/v1/rewrite", "Authorization: Bearer other\r\n", "{\"prompt\":\"a\"}");
    assert_string_equal(wire_header(&r, "Retry-After"), "10");
    check_reply(r, 429, "rate_limit_error");
    write_keys(path, "bob " OTHER " 6\n"); /* ada is out, on a reload and not before */
    check_reply(
        wire_post(w->port, "/v1/rewrite", "Authorization: Bearer secret\r\n", "{\"prompt\":\"a\"}"),
        200, "rewrite");
    check_ok(ap_server_reload_keys(w->server, &err), err);
    check_reply(
        wire_post(w->port, "/v1/rewrite", "Authorization: Bearer secret\r\n", "{\"prompt\":\"a\"}"),
        401, "invalid_api_key");
    world_end(w);
    unlink(path);
}

/* Without keys: a page of another origin, and a name that somebody gave to this machine. */
static void test_origin(void **state)
{
    static const struct {
        const char *headers;
        int status;
        const char *said;
    } rows[] = {
        {"Host: 127.0.0.1:80\r\n", 200, "ok"},
        {"Host: localhost:80\r\n", 200, "ok"},
        {"Host: localhost\r\nOrigin: http://localhost\r\n", 200, "ok"},
        {"Host: [::1]:80\r\n", 200, "ok"},
        {"Host: alignpro:8080\r\n", 403, "for the host 'alignpro:8080'"},
        {"Host: a\"b\xff\r\n", 403, "for the host 'a\\\"b"},
        {"Host: localhost.evil.example\r\n", 403, "\"code\": \"wrong_host\""},
        {"Host: 127.0.0.1.evil.example\r\n", 403, "an address or localhost"},
        {"Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n", 403, "of 'http://evil.example'"},
        {"Host: 127.0.0.1\r\nOrigin: null\r\n", 403, "\"code\": \"wrong_origin\""},
    };
    struct world *w = world_begin(false, true);
    char text[512];
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        snprintf(text, sizeof(text), "GET /healthz HTTP/1.1\r\n%sConnection: close\r\n\r\n",
                 rows[i].headers);
        check_reply(wire_raw(w->port, text), rows[i].status, rows[i].said);
    }
    world_end(w);
}

static void test_refuses_to_open(void **state)
{
    static const struct {
        const char *listen;
        ap_status status;
        const char *said;
    } rows[] = {{"0.0.0.0:0", AP_INVALID, "there are no keys"},
                {"127.0.0.1", AP_INVALID, "expected HOST:PORT"},
                {"127.0.0.1:x", AP_INVALID, "expected HOST:PORT"},
                {"127.0.0.1:123456", AP_INVALID, "a port of 0 to 65535"},
                {"127.0.0.1:99999", AP_INVALID, "a port of 0 to 65535"},
                {"[::1:0", AP_INVALID, "[::1:0"}};
    struct ap_error err;
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct world *w = world_new(false, false);
        w->options.listen = rows[i].listen;
        assert_int_equal(ap_server_open(&w->server, &w->options, &w->engine.engine, &err),
                         rows[i].status);
        check_holds(err.text, rows[i].said);
        assert_null(w->server);
        assert_int_equal(w->engine.n_closed, 1);
        free(w);
    }
    struct world *w = world_new(false, false), *second;
    w->options.listen = "0.0.0.0:0";
    w->options.open = true;
    world_start(w);
    second = world_new(false, false);
    char listen_on[32];
    snprintf(listen_on, sizeof(listen_on), "0.0.0.0:%d", w->port);
    second->options.listen = listen_on;
    second->options.open = true;
    assert_int_equal(
        ap_server_open(&second->server, &second->options, &second->engine.engine, &err), AP_BUSY);
    check_holds(err.text, "choose another port");
    free(second);
    world_end(w);
}

/* ---- limits ---- */

#define HEAD "POST /v1/rewrite HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"

static void test_sizes(void **state)
{
    struct world *w = world_new(false, false);
    char body[8192] = "{\"prompt\":\"", deep[256] = "{\"prompt\":\"a\",\"b\":";
    (void)state;
    w->options.body_bytes = 1000;
    w->options.json.depth = 10;
    world_start(w);
    memset(body + strlen(body), 'x', 2000);
    strcat(body, "\"}");
    check_reply(wire_post(w->port, "/v1/rewrite", "", body), 413, "body_too_large");
    check_reply(wire_raw(w->port, HEAD "Content-Length: 99999999999\r\n\r\n"), 413,
                "body_too_large");
    check_reply(wire_raw(w->port, HEAD "Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n"), 413,
                "body_too_large");
    int fd = wire_connect(w->port); /* chunks that say nothing of the whole */
    wire_say(fd, HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        wire_say(fd, "200\r\n");
        wire_send(fd, body, 512);
        wire_say(fd, "\r\n");
    }
    wire_say(fd, "0\r\n\r\n");
    check_reply(wire_read(fd), 413, "body_too_large");
    memset(deep + strlen(deep), '[', 20);
    check_reply(wire_post(w->port, "/v1/rewrite", "", deep), 413, "nested deeper");
    assert_int_equal(w->engine.n_submitted, 0);
    check_reply(wire_raw(w->port, HEAD "Transfer-Encoding: chunked\r\n\r\n"
                                       "d\r\n{\"prompt\":\"ab\r\n3\r\nc\"}\r\n0\r\n\r\n"),
                200, "\"cba\"");
    world_end(w);
}

static void test_lengths(void **state)
{
    struct world *w = world_begin(false, false);
    (void)state;
    check_reply(wire_raw(w->port, HEAD "Content-Length: 14\r\nContent-Length: 14\r\n\r\n"
                                       "{\"prompt\":\"a\"}"),
                400, "2 times");
    check_reply(wire_raw(w->port, HEAD "Content-Length: 14\r\nTransfer-Encoding: chunked\r\n\r\n"
                                       "0\r\n\r\n"),
                400, "2 times");
    struct wire_reply r = wire_raw(w->port, HEAD "Content-Length: nine\r\n\r\n{}");
    assert_int_equal(r.status, 400);
    wire_free(&r);
    r = wire_raw(w->port, "GET /healthz HTTP/1.1\r\n\r\n"); /* no Host */
    assert_int_equal(r.status, 400);
    wire_free(&r);
    r = wire_raw(w->port, "\x16\x03\x01 nonsense\r\n\r\n");
    assert_true(r.status == 0 || r.status >= 400);
    wire_free(&r);
    assert_int_equal(w->engine.n_submitted, 0);
    check_reply(wire_get(w->port, "/healthz"), 200, "ok");
    world_end(w);
}

/* Less than it said, and gone. libmicrohttpd may not see an end that comes with the bytes before
 * it: then the request is over its time. */
static void test_cut_body(void **state)
{
    struct world *w = world_new(false, false);
    (void)state;
    w->options.receive_timeout = 0.3;
    world_start(w);
    int fd = wire_connect(w->port);
    wire_say(fd, HEAD "Content-Length: 50\r\n\r\n{\"prompt\":");
    shutdown(fd, SHUT_WR);
    struct wire_reply r = wire_read(fd);
    assert_true(r.status == 0 || r.status == 400);
    wire_free(&r);
    assert_int_equal(w->engine.n_submitted, 0);
    world_end(w);
}

/* What other servers refuse, or read as another request. */
static void test_heads(void **state)
{
    static const struct {
        const char *head;
        int status;
        const char *said;
    } heads[] = {
        {HEAD "Content-Le: 14\r\n ngth: 3\r\nContent-Length: 14\r\n\r\n", 400, "head"},
        {HEAD "Content Length: 14\r\nContent-Length: 14\r\n\r\n", 400, "a name that is none"},
        {HEAD "X-A: a\x01z\r\nContent-Length: 14\r\n\r\n", 400, "a control character"},
        {HEAD "Host: other\r\nContent-Length: 14\r\n\r\n", 400, "2 lines Host"},
        {HEAD "Transfer-Encoding: gzip\r\n\r\n", 501, "expected chunked"},
        {"POST /v1/rewrite HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0"},
        {"GET /healthz%00x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404, "path"},
        {HEAD "Content-Encoding: gzip\r\nContent-Length: 14\r\n\r\n", 415, "compressed"},
    };
    struct world *w = world_begin(false, false);
    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), "%s{\"prompt\":\"a\"}", heads[i].head);
        check_reply(wire_raw(w->port, text), heads[i].status, heads[i].said);
    }
    assert_int_equal(w->engine.n_submitted, 0);
    check_reply(wire_raw(w->port, HEAD "X-A: a\tz\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"a\"}"),
                200, "rewrite");
    world_end(w);
}

static void test_long_head(void **state)
{
    struct world *w = world_begin(false, false);
    size_t n = 200000;
    char *text = malloc(n + 64);
    (void)state;
    strcpy(text, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
    memset(text + strlen(text), 'a', 100);
    size_t at = strlen("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
    memset(text + at, 'a', n - at);
    strcpy(text + n, "\r\nConnection: close\r\n\r\n");
    struct wire_reply r = wire_raw(w->port, text);
    assert_true(r.status == 0 || r.status == 431 || r.status == 400 || r.status == 413);
    wire_free(&r);
    free(text);
    check_reply(wire_get(w->port, "/healthz"), 200, "ok");
    world_end(w);
}

/* A byte now and then keeps no connection: the whole request has its time. */
static void test_slow(void **state)
{
    static const char *const begins[] = {"GET /hea", "GET /healthz HTTP/1.1\r\nHost: local",
                                         HEAD "Content-Length: 500\r\n\r\n{\"prompt\":\""};
    struct world *w = world_new(false, false);
    (void)state;
    w->options.receive_timeout = 0.3;
    w->options.idle_timeout = 1;
    world_start(w);
    for (size_t i = 0; i < AP_LEN(begins); i++) {
        int fd = wire_connect(w->port);
        bool open = wire_say(fd, begins[i]);
        for (int waits = 0; open && waits < 200; waits++) {
            char byte;
            wire_pause(50);
            open = wire_say(fd, "x") && (recv(fd, &byte, 1, MSG_DONTWAIT) > 0 || errno == EAGAIN);
        }
        assert_false(open);
        close(fd);
    }
    assert_int_equal(w->engine.n_submitted, 0);
    world_end(w);
}

/* A line before a chunk that has no end fills what memory the connection has: nothing more is read,
 * and the client is cut when its time is over. */
static void test_endless_line_of_chunk(void **state)
{
    enum { LONG = 70000 };
    struct world *w = world_new(false, false);
    char *line = malloc(LONG + 1), byte;
    (void)state;
    w->options.receive_timeout = 3;
    world_start(w);
    memset(line, 'a', LONG);
    line[LONG] = '\0';
    int fd = wire_connect(w->port);
    wire_say(fd, HEAD "Transfer-Encoding: chunked\r\n\r\n5;");
    wire_say(fd, line);
    wire_pause(200);
    check_rests();
    check_reply(wire_get(w->port, "/healthz"), 200, "ok");
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    close(fd);
    free(line);
    assert_int_equal(w->engine.n_submitted, 0);
    world_end(w);
}

/* Two are taken, the third is closed without a word; and there is room again when they are gone. */
static void check_room_for_two(struct world *w)
{
    char byte;
    world_start(w);
    int first = wire_connect(w->port), second = wire_connect(w->port);
    int third = wire_connect(w->port);
    ssize_t got = recv(third, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    close(third);
    wire_say(first, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    check_reply(wire_read(first), 200, "\nalignpro_refused_connections_total 1\n");
    close(second);
    wire_until(wire_status(w->port) == 200);
    world_end(w);
}

static void test_connections(void **state)
{
    (void)state;
    for (int of_all = 0; of_all < 2; of_all++) {
        struct world *w = world_new(false, false);
        *(of_all ? &w->options.connections : &w->options.connections_per_address) = 2;
        check_room_for_two(w);
    }
}

/* Who comes then waits, and is served when there are some again. */
static void test_without_descriptors(void **state)
{
    enum { CLIENTS = 4 };
    struct world *w = world_begin(false, false);
    struct rlimit had, few;
    int fds[CLIENTS];
    (void)state;
    for (int i = 0; i < CLIENTS; i++) /* before the limit, which is the clients', too */
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &had), 0);
    few = had;
    few.rlim_cur = (rlim_t)fds[CLIENTS - 1] + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < CLIENTS; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&to, sizeof(to)), 0);
        wire_patience(fds[i]);
        wire_say(fds[i], "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    }
    wire_pause(100);
    char byte;
    assert_int_equal(recv(fds[0], &byte, 1, MSG_DONTWAIT), -1); /* nobody was let in */
    assert_true(errno == EAGAIN);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
    for (int i = 0; i < CLIENTS; i++) {
        struct wire_reply r = wire_read(fds[i]);
        assert_int_equal(r.status, 200);
        wire_free(&r);
    }
    world_end(w);
}

static void test_keeps_connections(void **state)
{
    struct world *w = world_begin(false, false);
    char text[8192] = "";
    (void)state;
    int fd = wire_connect(w->port);
    for (int i = 0; i < 3; i++) {
        size_t n = 0;
        wire_say(fd, "POST /v1/rewrite HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n"
                     "{\"prompt\":\"abc\"}");
        text[0] = '\0';
        while (!strstr(text, "\"model\":\"run\"}\n")) {
            ssize_t got = recv(fd, text + n, sizeof(text) - 1 - n, 0);
            assert_true(got > 0);
            n += (size_t)got;
            text[n] = '\0';
        }
    }
    close(fd);
    assert_int_equal(w->engine.n_submitted, 3);
    world_end(w);
}

static struct {
    sem_t reached, go;
} held_up;

static bool submit_held_up(void *self, struct ap_work *w)
{
    sem_post(&held_up.reached);
    wire_await(&held_up.go);
    return fake_submit(self, w);
}

/* A server whose thread stands at the next work until held_up.go. */
static struct world *held_up_new(void)
{
    struct world *w = world_new(false, false);
    sem_init(&held_up.reached, 0, 0);
    sem_init(&held_up.go, 0, 0);
    w->engine.engine.submit = submit_held_up;
    return w;
}

/* holder: what it stood at. */
static void held_up_end(struct world *w, int holder)
{
    check_reply(wire_read(holder), 200, "\"cba\"");
    world_end(w);
    sem_destroy(&held_up.reached);
    sem_destroy(&held_up.go);
}

static int hold_up(const struct world *w)
{
    int holder = wire_begin(w->port, "POST", "/v1/rewrite", "", "{\"prompt\":\"abc\"}");
    wire_await(&held_up.reached);
    return holder;
}

/* A connection that stays, on which one request was answered. */
static void ask_healthz(int fd)
{
    char text[4096] = "";
    wire_say(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wire_read_until(fd, text, sizeof(text), "\r\n\r\n");
}

/* Who left makes room for who came behind him, though the server finds out about both at once. */
static void check_leaves_room(bool of_all)
{
    struct world *w = held_up_new();
    *(of_all ? &w->options.connections : &w->options.connections_per_address) = 2;
    world_start(w);
    int leaves = wire_connect(w->port);
    ask_healthz(leaves);
    int holder = hold_up(w);
    close(leaves);
    int comes = wire_begin(w->port, "GET", "/healthz", "", "");
    sem_post(&held_up.go);
    check_reply(wire_read(comes), 200, "ok");
    held_up_end(w, holder);
}

static void test_leaves_room(void **state)
{
    (void)state;
    check_leaves_room(false);
    check_leaves_room(true);
}

/* n requests that the server finds at once, having been held up, and nothing behind them. With a
 * thread of its own libmicrohttpd would stand still after exactly 128 (daemon.h). */
static void ask_at_once(int n)
{
    enum { MOST = 300 };
    struct world *w = held_up_new();
    int fds[MOST];
    char text[4096];
    w->options.budget = 2 * WIRE_SECONDS;
    w->engine.holding = true;
    world_start(w);
    for (int i = 0; i < n; i++)
        ask_healthz(fds[i] = wire_connect(w->port));
    int holder = hold_up(w);
    for (int i = 0; i < n; i++)
        wire_say(fds[i], "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    sem_post(&held_up.go);
    for (int i = 0; i < n; i++) {
        text[0] = '\0';
        wire_read_until(fds[i], text, sizeof(text), "\r\n\r\n");
        close(fds[i]);
    }
    fake_set(&w->engine, &w->engine.holding, false);
    held_up_end(w, holder);
}

static void test_at_once(void **state)
{
    (void)state;
    for (int n = 124; n <= 130; n++)
        ask_at_once(n);
    ask_at_once(256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_rewrite_refuses),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_refuses_to_open),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_cut_body),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_long_head),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_endless_line_of_chunk),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_without_descriptors),
        cmocka_unit_test(test_keeps_connections),
        cmocka_unit_test(test_leaves_room),
        cmocka_unit_test(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
