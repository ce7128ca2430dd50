/* The proxy before an upstream that the test plays: what goes out, what comes back, and what
 * becomes of both when something goes wrong. */
#include "proxy.h"

static char *sent_body(struct world *w)
{
    char *request = wire_stub_request(&w->stub);
    char *body = strdup(strstr(request, "\r\n\r\n") + 4);
    free(request);
    return body;
}

/* What goes out for what came in. */
static void check_sent(struct world *w, const char *path, const char *headers, const char *in,
                       const char *out, const char *mark)
{
    struct wire_reply r = wire_post(w->port, path, headers, in);
    assert_int_equal(r.status, 200);
    assert_string_equal(wire_header(&r, "x-alignpro"), mark);
    char *body = sent_body(w);
    assert_string_equal(body, out);
    free(body);
    wire_free(&r);
}

static void test_rewrites(void **state)
{
    struct world *w = begin(serve_ok);
    (void)state;
    check_sent(
        w, CHAT, "",
        "{\"model\": \"m\",\n \"messages\":[{\"role\":\"system\",\"content\":\"be kind\"}, "
        "{\"role\":\"user\",\"content\":\"abc\"},{\"role\":\"assistant\",\"content\":\"yes\"},"
        "{\"role\":\"user\",\"content\":\"one\\ntwo\"}], \"new_field\": [1, 2.50e1, {\"a\":null}]}",
        "{\"model\": \"m\",\n \"messages\":[{\"role\":\"system\",\"content\":\"be kind\"}, "
        "{\"role\":\"user\",\"content\":\"abc\"},{\"role\":\"assistant\",\"content\":\"yes\"},"
        "{\"role\":\"user\",\"content\":\"owt\\neno\"}], \"new_field\": [1, 2.50e1, {\"a\":null}]}",
        "rewritten");
    assert_string_equal(w->engine.last, "system:be kind|user:abc|assistant:yes|user:one\ntwo");
    check_sent(w, COMPLETION, "", "{\"prompt\":\"abc\",\"n\":1}", "{\"prompt\":\"cba\",\"n\":1}",
               "rewritten");
    check_sent(w, COMPLETION, "", "{\"prompt\":[\"abc\" , \"xyz\"]}",
               "{\"prompt\":[\"cba\" , \"zyx\"]}", "rewritten");
    check_sent(w, COMPLETION, "", "{\"prompt\":[15, 27]}", "{\"prompt\":[15, 27]}", "unchanged");
    end(w);
}

static void test_untouched(void **state)
{
    static const char *const bodies[] = {
        "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}],\"tools\":[{}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}],\"response_format\":{\"type\":"
        "\"json_object\"}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"
        "\"type\":\"text\",\"text\":\"b\"}]}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"  \"}]}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"abc\"}]}",
    };
    struct world *w = begin(serve_ok);
    (void)state;
    for (size_t i = 0; i < AP_LEN(bodies); i++)
        check_sent(w, CHAT, "", bodies[i], bodies[i], "unchanged");
    assert_int_equal(w->engine.n_submitted, 0);
    struct wire_reply r = wire_get(w->port, "/metrics");
    check_holds(r.body, "alignpro_passed_total{reason=\"tools\"} 1\n");
    check_holds(r.body, "alignpro_passed_total{reason=\"json\"} 1\n");
    check_holds(r.body, "alignpro_passed_total{reason=\"no_text\"} 3\n");
    wire_free(&r);
    end(w);
}

static void test_bypass(void **state)
{
    static const char plain[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}";
    struct world *w = begin(serve_ok);
    (void)state;
    check_sent(w, CHAT, "X-AlignPro: off\r\n", plain, plain, "bypassed");
    check_sent(w, CHAT, "x-alignpro: OFF\r\n", plain, plain, "bypassed");
    check_sent(w, CHAT, "",
               "{\"x-alignpro\": \"Off\", \"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}",
               plain, "bypassed");
    check_sent(w, CHAT, "",
               "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}], \"x-alignpro\" : \"off\"}",
               plain, "bypassed");
    assert_int_equal(w->engine.n_submitted, 0);
    char *request = wire_stub_request(&w->stub);
    assert_null(strcasestr(request, "x-alignpro"));
    free(request);
    struct wire_reply r = wire_post(w->port, CHAT, "x-alignpro: maybe\r\n", plain);
    assert_int_equal(r.status, 400);
    check_holds(r.body, "x-alignpro is 'maybe', expected off or show");
    wire_free(&r);
    end(w);
}

static void test_show(void **state)
{
    struct world *w = begin(serve_ok);
    (void)state;
    struct wire_reply r = wire_post(w->port, CHAT, "x-alignpro: show\r\n",
                                    "{\"messages\":[{\"role\":\"user\",\"content\":\"b a\"}]}");
    assert_int_equal(r.status, 200);
    assert_true(r.whole);
    assert_string_equal(wire_header(&r, "x-alignpro-rewrite"), "a%20b");
    check_holds(r.body, "{ \"x_alignpro\": {\"rewrites\":[{\"index\":0,\"fate\":\"rewritten\","
                        "\"rewrite\":\"a b\"");
    check_holds(r.body, "}, \"ok\": 1 }\n");
    wire_free(&r);
    fake_set(&w->engine, &w->engine.refusing, true);
    r = wire_post(w->port, CHAT, "x-alignpro: show\r\n",
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"b a\"}]}");
    check_holds(r.body, "\"fate\":\"queue_full\",\"rewrite\":null,\"guard\":\"\"");
    wire_free(&r);
    end(w);
}

/* What the upstream sees of the client, and the client of the upstream. */
static void test_headers(void **state)
{
    struct world *w = begin(serve_ok);
    (void)state;
    struct wire_reply r = wire_post(
        w->port, CHAT,
        "Authorization: Bearer mine\r\nCookie: c=d\r\nOpenAI-Beta: yes\r\nUser-Agent: tester\r\n"
        "Idempotency-Key: k1\r\nTE: trailers\r\nX-Empty:\r\n"
        "Connection: x-third\r\nX-Third: 3\r\n",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    assert_string_equal(wire_header(&r, "X-Request-Id"), "abc");
    assert_null(wire_header(&r, "X-Hop"));
    assert_null(wire_header(&r, "X-Second"));
    assert_null(wire_header(&r, "X-Bell"));
    assert_null(wire_header(&r, " Folded"));
    assert_null(wire_header(&r, "X Spaced"));
    assert_null(wire_header(&r, "Set-Cookie"));
    assert_null(wire_header(&r, "Access-Control-Allow-Origin"));
    assert_string_equal(wire_header(&r, "Content-Type"), "application/json");
    assert_string_equal(r.body, "{ \"ok\": 1 }\n");
    char *sent = wire_stub_request(&w->stub);
    check_holds(sent, "POST /v1/chat/completions HTTP/1.1\r\n");
    check_holds(sent, "OpenAI-Beta: yes\r\n");
    check_holds(sent, "User-Agent: tester\r\n");
    check_holds(sent, "Idempotency-Key: k1\r\n");
    check_holds(sent, "Content-Type: application/json\r\n");
    assert_null(strcasestr(sent, "mine"));
    assert_null(strcasestr(sent, "cookie"));
    assert_null(strcasestr(sent, "\r\nTE:"));
    assert_null(strcasestr(sent, "X-Third"));
    free(sent);
    wire_free(&r);
    r = wire_get(w->port, "/v1/models");
    assert_int_equal(r.status, 200);
    sent = wire_stub_request(&w->stub);
    check_holds(sent, "GET /v1/models HTTP/1.1\r\n");
    free(sent);
    wire_free(&r);
    end(w);
}

/* A request of that line, and what stands in the first line of what goes out. */
static void check_query(struct world *w, const char *method, const char *path, const char *query)
{
    static const char body[] =
        "{\"prompt\":\"abc\",\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}";
    char in[256], out[256];
    snprintf(in, sizeof(in), "/v1%s%s", path, query);
    snprintf(out, sizeof(out), "%s /v1%s%s HTTP/1.1\r\n", method, path, query);
    struct wire_reply r = wire_read(wire_begin(w->port, method, in, "", body));
    assert_int_equal(r.status, 200);
    char *sent = wire_stub_request(&w->stub);
    assert_memory_equal(sent, out, strlen(out));
    free(sent);
    wire_free(&r);
}

static void test_query(void **state)
{
    static const char *const queries[] = {
        "?api-version=2024-10-21",         "?a=%2f%2F%00+b&a&&=;",  "?/../..//x/./y", "?x=?y=?",
        "?@evil.example:1/\\[{|}]^`\"<>'", "?http://evil.example/",
    };
    static const char *const wrong[] = {"?a#b", "?a\x7f", "?\xc3\xa4", "?a\tb", "?a\x01"};
    struct world *w = begin(serve_ok);
    char path[64];
    (void)state;
    for (size_t i = 0; i < AP_LEN(queries); i++) {
        check_query(w, "GET", "/models", queries[i]);
        check_query(w, "POST", "/completions", queries[i]);
    }
    check_query(w, "POST", "/chat/completions", queries[0]);
    int n_request = w->stub.n_request, n_submitted = w->engine.n_submitted;
    for (size_t i = 0; i < AP_LEN(wrong); i++) {
        snprintf(path, sizeof(path), COMPLETION "%s", wrong[i]);
        struct wire_reply r = wire_post(w->port, path, "", "{\"prompt\":\"abc\"}");
        assert_int_equal(r.status, 400);
        check_holds(r.body, "the query");
        wire_free(&r);
        snprintf(path, sizeof(path), "/healthz%s", wrong[i]); /* where it goes nowhere */
        r = wire_get(w->port, path);
        assert_int_equal(r.status, 200);
        wire_free(&r);
    }
    struct wire_reply r = wire_get(w->port, "/v1/models?a b"); /* no request line at all */
    assert_true(r.status == 0 || r.status == 400);
    wire_free(&r);
    assert_int_equal(w->stub.n_request, n_request);
    assert_int_equal(w->engine.n_submitted, n_submitted);
    end(w);
}

/* On a connection that is kept, a query is its own request's. */
static void test_query_of_each(void **state)
{
    static const char *const queries[] = {"?first=1", "", "?third"};
    struct world *w = begin(serve_ok);
    (void)state;
    int fd = wire_connect(w->port);
    for (size_t i = 0; i < AP_LEN(queries); i++) {
        char text[4096] = "", line[128];
        snprintf(line, sizeof(line), "GET /v1/models%s HTTP/1.1\r\n", queries[i]);
        wire_say(fd, line);
        wire_say(fd, "Host: localhost\r\n\r\n");
        wire_read_until(fd, text, sizeof(text), "{ \"ok\": 1 }\n");
        char *sent = wire_stub_request(&w->stub);
        assert_memory_equal(sent, line, strlen(line));
        free(sent);
    }
    close(fd);
    end(w);
}

static void test_authorization(void **state)
{
    struct ap_secret key = {.text = strdup("sk-the-servers")};
    (void)state;
    for (int forward = 0; forward < 2; forward++) {
        struct world *w = calloc(1, sizeof(*w));
        w->options = ap_server_defaults;
        w->options.forward_authorization = forward;
        w->options.upstream_key = forward ? NULL : &key;
        start(w, serve_ok);
        struct wire_reply r = wire_post(w->port, CHAT, "Authorization: Bearer mine\r\n",
                                        "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
        char *sent = wire_stub_request(&w->stub);
        check_holds(sent, forward ? "Authorization: Bearer mine\r\n"
                                  : "Authorization: Bearer sk-the-servers\r\n");
        assert_true((strstr(sent, "mine") != NULL) == forward);
        free(sent);
        wire_free(&r);
        end(w);
    }
    free(key.text);
}

/* ---- rates ---- */

/* The hash of "other", and two requests at once. */
#define KEYS "bob d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa 12\n"

static int status_of(struct world *w, const char *method, const char *path)
{
    struct wire_reply r = wire_read(wire_begin(
        w->port, method, path, "Authorization: Bearer other\r\n", "{\"prompt\":\"abc\"}"));
    int status = r.status;
    wire_free(&r);
    return status;
}

/* A GET that the upstream answers counts as a POST does; a look at the counts does not. */
static void test_rate(void **state)
{
    char path[] = "/tmp/alignpro-keys-XXXXXX";
    struct world *w = calloc(1, sizeof(*w));
    int fd = mkstemp(path);
    (void)state;
    assert_int_equal(write(fd, KEYS, strlen(KEYS)), (ssize_t)strlen(KEYS));
    close(fd);
    w->options = ap_server_defaults;
    w->options.keys_file = path;
    start(w, serve_ok);
    assert_int_equal(status_of(w, "GET", "/v1/models"), 200);
    assert_int_equal(status_of(w, "GET", "/metrics"), 200);
    assert_int_equal(status_of(w, "POST", COMPLETION), 200);
    assert_int_equal(status_of(w, "GET", "/v1/models"), 429);
    assert_int_equal(status_of(w, "HEAD", "/v1/models"), 429);
    assert_int_equal(status_of(w, "POST", COMPLETION), 429);
    assert_int_equal(status_of(w, "GET", "/metrics"), 200);
    assert_int_equal(w->stub.n_request, 2);
    end(w);
    unlink(path);
}

/* A reply to HEAD ends with its head, whatever frames the upstream gives it. */
static bool serve_chunks(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd,
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
}

static void test_head(void **state)
{
    struct world *w = begin(serve_chunks);
    (void)state;
    struct wire_reply r = wire_get(w->port, "/v1/models");
    assert_string_equal(r.body, "{}");
    wire_free(&r);
    r = wire_read(wire_begin(w->port, "HEAD", "/v1/models", "", ""));
    assert_int_equal(r.status, 200);
    assert_null(wire_header(&r, "Transfer-Encoding"));
    assert_int_equal(r.n_body, 0);
    wire_free(&r);
    end(w);
}

/* ---- streams ---- */

static bool serve_events(struct wire_stub *s, int fd)
{
    wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n");
    wire_say(fd, "f\r\ndata: {\"a\":1}\n\n\r\n");
    wire_await(&s->go);
    wire_say(fd, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    return true;
}

static void test_events_as_they_arrive(void **state)
{
    char text[4096] = "";
    struct world *w = begin(serve_events);
    (void)state;
    int fd = wire_begin(w->port, "POST", CHAT, "",
                        "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    wire_read_until(fd, text, sizeof(text), "data: {\"a\":1}\n\n");
    assert_null(strstr(text, "[DONE]"));
    check_holds(text, "text/event-stream");
    sem_post(&w->stub.go); /* the second event is sent when the first was seen */
    wire_read_until(fd, text, sizeof(text), "data: [DONE]\n\n");
    close(fd);
    end(w);
}

enum { BIG = 24 << 20 };

static bool serve_big(struct wire_stub *s, int fd)
{
    char head[128];
    char *body = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        body[i] = (char)('a' + i % 23);
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
    wire_say(fd, head);
    bool sent = wire_send(fd, body, BIG);
    free(body);
    sem_post(&s->reached);
    return sent;
}

/* A client that does not read holds the upstream up; when it reads, everything is there. */
static void test_back_pressure(void **state)
{
    struct world *w = begin(serve_big);
    size_t n = 0;
    char text[65536];
    int reached;
    (void)state;
    int fd = wire_begin(w->port, "POST", CHAT, "",
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    assert_int_equal(recv(fd, text, 1, MSG_PEEK), 1);
    wire_pause(300); /* were it not held up, the whole of it would be gone by now */
    sem_getvalue(&w->stub.reached, &reached);
    assert_int_equal(reached, 0);
    for (ssize_t got; (got = recv(fd, text, sizeof(text), 0)) > 0;)
        n += (size_t)got;
    assert_true(n > BIG);
    wire_await(&w->stub.reached);
    close(fd);
    end(w);
}

/* ---- what goes wrong with a rewrite ---- */

static void check_falls_back(struct world *w, const char *reason)
{
    static const char plain[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}";
    char line[128];
    check_sent(w, CHAT, "", plain, plain, "fell-back");
    struct wire_reply r = wire_get(w->port, "/metrics");
    snprintf(line, sizeof(line), "alignpro_fell_back_total{reason=\"%s\"} 1\n", reason);
    check_holds(r.body, line);
    wire_free(&r);
}

static void test_falls_back(void **state)
{
    struct world *w = begin(serve_ok);
    (void)state;
    fake_set(&w->engine, &w->engine.failing, true);
    check_falls_back(w, "failed");
    fake_set(&w->engine, &w->engine.refusing, true);
    check_falls_back(w, "queue_full");
    fake_set(&w->engine, &w->engine.refusing, false);
    fake_set(&w->engine, &w->engine.failing, false);
    fake_set(&w->engine, &w->engine.guarding, true);
    check_sent(w, CHAT, "", "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}",
               "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}", "unchanged");
    end(w);
}

/* Of more texts than are rewritten the last ones are, and every word about them says so. */
static void test_too_many_texts(void **state)
{
    struct world *w = begin(serve_ok);
    struct ap_buffer plain = {0}, sent = {0};
    (void)state;
    for (int i = 0; i < 70; i++) {
        ap_buffer_printf(&plain, NULL, "%s\"ab%d\"", i ? "," : "{\"prompt\":[", i);
        ap_buffer_printf(&sent, NULL,
                         i < 6    ? "%s\"ab%d\""
                         : i < 10 ? "%s\"%dba\""
                                  : "%s\"%d%dba\"",
                         i ? "," : "{\"prompt\":[", i < 10 ? i : i % 10, i / 10);
    }
    ap_buffer_puts(&plain, "]}", NULL);
    ap_buffer_puts(&sent, "]}", NULL);
    check_sent(w, COMPLETION, "", plain.data, sent.data, "partly-rewritten");
    struct wire_reply r = wire_get(w->port, "/metrics");
    check_holds(r.body, "alignpro_fell_back_total{reason=\"over_limit\"} 6\n");
    check_holds(r.body, "alignpro_texts_total{fate=\"rewritten\"} 64\n");
    wire_free(&r);
    ap_buffer_free(&plain);
    ap_buffer_free(&sent);
    end(w);
}

static void keep_note(void *context, const struct ap_event *event)
{
    if (strncmp(event->text, "x: ", 3) == 0)
        snprintf(context, 256, "%s", event->text);
}

/* One line a text, whatever stands in it. */
static void test_logs_prompts(void **state)
{
    char note[256] = "";
    struct ap_sink sink = {.fn = keep_note, .context = note};
    struct world *w = calloc(1, sizeof(*w));
    (void)state;
    w->options = ap_server_defaults;
    w->options.log_prompts = true;
    w->options.sink = &sink;
    start(w, serve_ok);
    check_sent(w, COMPLETION, "", "{\"prompt\":\"a\\nbc\"}", "{\"prompt\":\"cb\\na\"}",
               "rewritten");
    assert_string_equal(note, "x: a?bc | y: cb?a | rewritten");
    fake_set(&w->engine, &w->engine.guarding, true);
    check_sent(w, COMPLETION, "", "{\"prompt\":\"abc\"}", "{\"prompt\":\"abc\"}", "unchanged");
    assert_string_equal(note, "x: abc | y: abc | as it is: too long");
    end(w);
}

static void test_over_its_budget(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    (void)state;
    w->options = ap_server_defaults;
    w->options.budget = 0.05;
    start(w, serve_ok);
    fake_set(&w->engine, &w->engine.holding, true);
    check_falls_back(w, "late");
    end(w);
}

/* ---- what goes wrong with the upstream ---- */

static bool serve_nothing(struct wire_stub *s, int fd)
{
    (void)s;
    (void)fd;
    return false;
}

static bool serve_silence(struct wire_stub *s, int fd)
{
    char byte;
    (void)s;
    return recv(fd, &byte, 1, 0) > 0;
}

static bool serve_not_modified(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n");
}

/* Twice on one connection: what follows is no body of the first. */
static void test_not_modified(void **state)
{
    struct world *w = begin(serve_not_modified);
    (void)state;
    int fd = wire_connect(w->port);
    for (int i = 0; i < 2; i++) {
        char text[4096] = "";
        wire_say(fd, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"e\"\r\n\r\n");
        wire_read_until(fd, text, sizeof(text), "\r\n\r\n");
        assert_memory_equal(text, "HTTP/1.1 304 ", 13);
        check_holds(text, "ETag: \"e\"\r\n");
        char *sent = wire_stub_request(&w->stub);
        check_holds(sent, "If-None-Match: \"e\"\r\n");
        free(sent);
    }
    close(fd);
    end(w);
}

static bool serve_busy(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}");
}

static bool serve_garbage(struct wire_stub *s, int fd)
{
    (void)s;
    wire_say(fd, "this is no HTTP at all\r\n\r\n");
    return false;
}

static bool serve_lengths(struct wire_stub *s, int fd)
{
    (void)s;
    wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 2\r\n\r\n{}   ");
    return false;
}

static bool serve_long_status(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/2 20000 OK\r\nContent-Length: 2\r\n\r\n{}");
}

static bool serve_folded(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/1.1 200 OK\r\n\tX-Folded: yes\r\n no\r\nContent-Length: 2\r\n\r\n{}");
}

static void check_status(struct world *w, wire_serve serve, int status, const char *part)
{
    wire_stub_set(&w->stub, serve);
    struct wire_reply r =
        wire_post(w->port, CHAT, "", "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    assert_int_equal(r.status, status);
    check_holds(r.body, part);
    assert_true(r.whole);
    wire_free(&r);
}

/* A folded line where no line is before it: some versions of libcurl refuse that, and some that
 * keep a handle write to where its last header was. */
static void check_folded(struct world *w)
{
    wire_stub_set(&w->stub, serve_folded);
    for (int i = 0; i < 3; i++) {
        struct wire_reply r = wire_get(w->port, "/v1/models");
        assert_true(r.status == 200 || r.status == 502);
        wire_free(&r);
    }
}

static void test_upstream_fails(void **state)
{
    struct world *w = begin(serve_ok);
    (void)state;
    check_status(w, serve_ok, 200, "ok");
    check_folded(w);
    check_status(w, serve_nothing, 502, "\"code\": \"upstream_failed\"");
    check_status(w, serve_garbage, 502, "upstream_failed");
    check_status(w, serve_lengths, 502, "upstream_failed");
    check_status(w, serve_long_status, 502, "upstream_failed");
    check_status(w, serve_redirect, 502, "upstream_redirects");
    check_status(w, serve_unauthorized, 502, "upstream_refuses_key");
    wire_stub_set(&w->stub, serve_busy);
    struct wire_reply r =
        wire_post(w->port, CHAT, "", "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    assert_int_equal(r.status, 429);
    assert_string_equal(wire_header(&r, "Retry-After"), "7");
    wire_free(&r);
    wire_stub_set(&w->stub, serve_cut); /* the client sees that it is not whole */
    r = wire_post(w->port, CHAT, "", "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    assert_int_equal(r.status, 200);
    assert_false(r.whole);
    wire_free(&r);
    end(w);
}

/* Which key was refused: this server's, or none, as the client's is kept from the upstream. */
static void test_refused_key(void **state)
{
    struct ap_secret key = {.text = strdup("sk-the-servers")};
    (void)state;
    for (int has_key = 0; has_key < 2; has_key++) {
        struct world *w = calloc(1, sizeof(*w));
        w->options = ap_server_defaults;
        w->options.upstream_key = has_key ? &key : NULL;
        start(w, serve_unauthorized);
        check_status(w, serve_unauthorized, 502,
                     has_key ? "the upstream does not take this server's key (401)"
                             : "this server has none: start it with --upstream-key-env");
        if (!has_key)
            check_status(w, serve_unauthorized, 502, "--forward-authorization");
        end(w);
    }
    free(key.text);
}

static bool serve_once(struct wire_stub *s, int fd)
{
    wire_stub_set(s, serve_nothing);
    return serve_ok(s, fd);
}

/* A kept connection that ends without a reply: perhaps the answer was made, and is paid for. */
static void test_posts_once(void **state)
{
    struct world *w = begin(serve_once);
    (void)state;
    struct wire_reply r =
        wire_post(w->port, CHAT, "", "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    assert_int_equal(r.status, 200);
    wire_free(&r);
    check_status(w, serve_nothing, 502, "closed before a reply came");
    pthread_mutex_lock(&w->stub.lock);
    assert_int_equal(w->stub.n_request, 2);
    pthread_mutex_unlock(&w->stub.lock);
    end(w);
}

static void test_upstream_is_silent(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    (void)state;
    w->options = ap_server_defaults;
    w->options.request_timeout = 0.3;
    start(w, serve_silence);
    check_status(w, serve_silence, 504, "\"type\": \"server_error\"");
    end(w);
}

static void test_upstream_down(void **state)
{
    struct world *w = begin(serve_ok);
    (void)state;
    wire_stub_close(&w->stub);
    struct wire_reply r =
        wire_post(w->port, CHAT, "", "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    assert_int_equal(r.status, 502);
    wire_free(&r);
    ap_server_close(w->server, 5, NULL);
    free(w);
}

/* ---- a client that goes away ---- */

static bool serve_watch(struct wire_stub *s, int fd)
{
    char byte;
    sem_post(&s->reached);
    ssize_t got = recv(fd, &byte, 1, 0);
    if (got <= 0)
        sem_post(&s->go); /* the proxy has closed */
    return false;
}

static bool serve_watch_stream(struct wire_stub *s, int fd)
{
    wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                 "Transfer-Encoding: chunked\r\n\r\nf\r\ndata: {\"a\":1}\n\n\r\n");
    return serve_watch(s, fd);
}

static void test_client_goes_away(void **state)
{
    static const wire_serve serves[] = {serve_watch, serve_watch_stream};
    (void)state;
    for (size_t i = 0; i < AP_LEN(serves); i++) {
        struct world *w = begin(serves[i]);
        int fd = wire_begin(w->port, "POST", CHAT, "",
                            "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
        wire_await(&w->stub.reached);
        close(fd);
        wire_await(&w->stub.go); /* the transfer was given up, long before its time */
        end(w);
    }
    struct world *w = begin(serve_ok);
    fake_set(&w->engine, &w->engine.holding, true);
    int fd = wire_begin(w->port, "POST", CHAT, "",
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}");
    wire_until(fake_get(&w->engine, &w->engine.n_submitted) == 1);
    close(fd);
    wire_until(fake_get(&w->engine, &w->engine.n_cancelled) == 1);
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewrites),
        cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_bypass),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_of_each),
        cmocka_unit_test(test_authorization),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_events_as_they_arrive),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_falls_back),
        cmocka_unit_test(test_too_many_texts),
        cmocka_unit_test(test_logs_prompts),
        cmocka_unit_test(test_over_its_budget),
        cmocka_unit_test(test_upstream_fails),
        cmocka_unit_test(test_refused_key),
        cmocka_unit_test(test_not_modified),
        cmocka_unit_test(test_posts_once),
        cmocka_unit_test(test_upstream_is_silent),
        cmocka_unit_test(test_upstream_down),
        cmocka_unit_test(test_client_goes_away),
    };
    setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
