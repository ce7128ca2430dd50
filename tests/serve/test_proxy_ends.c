/* How replies of the upstream end, as the counts and the log have it. */
#include "proxy.h"

/* And then nothing, for as long as the server waits. */
static bool serve_half(struct wire_stub *s, int fd)
{
    char byte;
    (void)s;
    wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    return recv(fd, &byte, 1, 0) > 0;
}

static void ask(struct world *w, wire_serve serve, int status, bool whole)
{
    wire_stub_set(&w->stub, serve);
    struct wire_reply r = wire_post(w->port, COMPLETION, "", "{\"prompt\":\"abc\"}");
    assert_int_equal(r.status, status);
    assert_int_equal(r.whole, whole);
    wire_free(&r);
}

static void check_ends(struct world *w, const char *end_of, int n)
{
    char line[128];
    struct wire_reply r = wire_get(w->port, "/metrics");
    snprintf(line, sizeof(line), "alignpro_upstream_total{end=\"%s\"} %d\n", end_of, n);
    check_holds(r.body, line);
    wire_free(&r);
}

/* The client has the whole answer before libcurl says that it was one. */
static void test_whole_is_whole(void **state)
{
    static const char *const methods[] = {"GET", "HEAD"};
    struct world *w = begin(serve_ok);
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct wire_reply r =
            i % 4 < 2 ? wire_read(wire_begin(w->port, methods[i % 4], "/v1/models", "", ""))
                      : wire_post(w->port, COMPLETION, "", "{\"prompt\":\"abc\"}");
        assert_int_equal(r.status, 200);
        wire_free(&r);
    }
    check_ends(w, "whole", 200);
    check_ends(w, "dropped", 0);
    end(w);
}

/* What is answered with a reply of the server's own is given up, however much of it came. */
static void test_refused_is_dropped(void **state)
{
    struct world *w = begin(serve_redirect);
    (void)state;
    for (int i = 0; i < 20; i++)
        ask(w, i % 2 ? serve_redirect : serve_unauthorized, 502, true);
    check_ends(w, "dropped", 20);
    ask(w, serve_cut, 200, false);
    check_ends(w, "broken", 1);
    end(w);
}

static void keep_line(void *context, const struct ap_event *event)
{
    strcat(strcat(context, event->text), "\n");
}

static void test_log_says_what_was_cut(void **state)
{
    char log[1024] = "", *line = log;
    static const char *const ends[] = {" ms -\n", " ms - broken\n", " ms -\n", " ms - late\n"};
    struct ap_sink sink = {.fn = keep_line, .context = log};
    struct world *w = calloc(1, sizeof(*w));
    (void)state;
    w->options = ap_server_defaults;
    w->options.log = true;
    w->options.request_timeout = 0.3;
    w->options.sink = &sink;
    start(w, serve_ok);
    ask(w, serve_ok, 200, true);
    ask(w, serve_cut, 200, false);
    ask(w, serve_unauthorized, 502, true);
    ask(w, serve_half, 200, false);
    end(w);
    for (size_t i = 0; i < AP_LEN(ends); i++, line = strchr(line, '\n') + 1) {
        size_t n = strcspn(line, "\n") + 1, n_end = strlen(ends[i]);
        assert_true(n > n_end);
        assert_memory_equal(line + n - n_end, ends[i], n_end);
    }
}

static bool serve_missing(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

static void post_twice(const char *url_end, char log[1024])
{
    struct ap_sink sink = {.fn = keep_line, .context = log};
    struct world *w = calloc(1, sizeof(*w));
    log[0] = '\0';
    w->options = ap_server_defaults;
    w->options.sink = &sink;
    w->url_end = url_end;
    start(w, serve_missing);
    struct wire_reply r = wire_get(w->port, "/v1/models");
    wire_free(&r);
    assert_string_equal(log, "");
    ask(w, serve_missing, 404, true);
    ask(w, serve_missing, 404, true);
    end(w);
}

/* An address without the /v1 is told of once; where it has a path, 404 is the upstream's to say. */
static void test_missing_path_is_told(void **state)
{
    char log[1024];
    (void)state;
    post_twice("/v1", log);
    assert_string_equal(log, "");
    for (int slash = 0; slash < 2; slash++) {
        post_twice(slash ? "/" : "", log);
        check_holds(log, "/completions: an OpenAI base address mostly ends in /v1");
        assert_ptr_equal(strchr(log, '\n'), log + strlen(log) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_is_whole),
        cmocka_unit_test(test_refused_is_dropped),
        cmocka_unit_test(test_log_says_what_was_cut),
        cmocka_unit_test(test_missing_path_is_told),
    };
    setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
