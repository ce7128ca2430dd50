/* A server that has answered thousands of requests holds no more memory than one that has answered
 * some hundred: whatever a request takes is given back, whichever way it ends. */
#include "world.h"

#include <malloc.h>
#include <unistd.h>

#define CHAT "/v1/chat/completions"
#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]"

/* ---- the upstream ---- */

static bool request_has(struct wire_stub *s, const char *part)
{
    pthread_mutex_lock(&s->lock);
    bool has = strstr(s->request, part) != NULL;
    pthread_mutex_unlock(&s->lock);
    return has;
}

static bool serve_any(struct wire_stub *s, int fd)
{
    if (request_has(s, "\"stream\":true"))
        return wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                            "Transfer-Encoding: chunked\r\n\r\nf\r\ndata: {\"a\":1}\n\n\r\n"
                            "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    if (request_has(s, "busy"))
        return wire_say(fd, "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}");
    if (request_has(s, "redirect"))
        return wire_say(fd, "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
    if (request_has(s, "cut")) {
        wire_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        return false;
    }
    return wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: 12\r\n\r\n{ \"ok\": 1 }\n");
}

/* ---- the requests ---- */

struct kind {
    const char *method, *path, *headers, *body;
    int status;
};

static const struct kind forwarded[] = {
    {"POST", CHAT, "", "{" MESSAGES "}", 200},
    {"POST", CHAT, "", "{\"stream\":true," MESSAGES "}", 200},
    {"POST", CHAT, "x-alignpro: off\r\n", "{" MESSAGES "}", 200},
    {"POST", CHAT, "x-alignpro: off\r\n", "{\"stream\":true," MESSAGES "}", 200},
    {"POST", CHAT, "x-alignpro: show\r\n", "{" MESSAGES "}", 200},
    {"POST", "/v1/completions?a=b", "", "{\"prompt\":[\"abc\",\"xyz\"]}", 200},
    {"POST", "/v1/rewrite", "", "{\"prompt\":\"abc\"}", 200},
    {"POST", "/v1/score", "", "{\"prompt\":\"abc\",\"answer\":\"d\"}", 200},
    {"GET", "/v1/models?a=b", "", "", 200},
    {"POST", CHAT, "", "{\"busy\":1," MESSAGES "}", 429},
    {"POST", CHAT, "", "{\"redirect\":1," MESSAGES "}", 502},
    {"POST", CHAT, "", "{\"cut\":1," MESSAGES "}", 200},
    {"POST", CHAT, "", "{" MESSAGES ",", 400},
    {"POST", CHAT, "x-alignpro: maybe\r\n", "{" MESSAGES "}", 400},
    {"POST", CHAT "?a#b", "", "{" MESSAGES "}", 400},
    {"POST", "/v1/rewrite", "", "{\"prompt\":3}", 400},
    {"GET", "/nothing?a", "", "", 404},
    {"PUT", CHAT, "", "{" MESSAGES "}", 405},
};

static const struct kind answered[] = {
    {"POST", CHAT, "", "{" MESSAGES "}", 200},
    {"POST", CHAT, "x-alignpro: show\r\n", "{\"n\":3,\"stop\":[\"x\"]," MESSAGES "}", 200},
    {"POST", CHAT, "", "{\"stream\":true,\"model\":\"m\"," MESSAGES "}", 200},
    {"POST", "/v1/completions", "x-alignpro: off\r\n", "{\"prompt\":[\"a\",\"b\"],\"n\":2}", 200},
    {"GET", "/v1/models", "", "", 200},
    {"POST", CHAT, "", "{\"stop\":[\"x\",3]," MESSAGES "}", 400},
    {"POST", CHAT, "", "{\"logprobs\":true," MESSAGES "}", 400},
};

static void ask(const struct world *w, const struct kind *kinds, size_t n_kind, size_t n)
{
    for (size_t i = 0; i < n * n_kind; i++) {
        const struct kind *k = &kinds[i % n_kind];
        struct wire_reply r =
            wire_read(wire_begin(w->port, k->method, k->path, k->headers, k->body));
        if (r.status != k->status)
            fail_msg("%s %s: %d, expected %d: %s", k->path, k->body, r.status, k->status, r.body);
        wire_free(&r);
    }
}

/* ---- what is held ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc comes without its header */

static size_t allocated(void)
{
    return __sanitizer_get_current_allocated_bytes();
}
#else
static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
#endif

/* A connection's memory goes a little after its reply has come: the least of some looks. */
static size_t settled(void)
{
    size_t least = SIZE_MAX;
    for (int i = 0; i < 40; i++) {
        size_t now = allocated();
        least = now < least ? now : least;
        wire_pause(5);
    }
    return least;
}

/* What there may be more of afterwards: half of malloc's smallest piece (32 bytes) for each request
 * of a kind, so that even the smallest piece that one kind leaves behind is seen. */
enum { WARM = 20, EACH = 120, MOST = EACH * 16 };

static void check_flat(const struct world *w, const struct kind *kinds, size_t n_kind)
{
    ask(w, kinds, n_kind, WARM);
    size_t before = settled();
    ask(w, kinds, n_kind, EACH);
    wire_until(allocated() <= before + MOST);
}

static void test_proxy_is_flat(void **state)
{
    struct world *w = world_new(false, true);
    struct wire_stub stub;
    (void)state;
    wire_stub_open(&stub, serve_any);
    w->options.upstream = stub.url;
    world_start(w);
    check_flat(w, forwarded, AP_LEN(forwarded));
    world_end(w);
    wire_stub_close(&stub);
}

static void test_target_is_flat(void **state)
{
    struct world *w = world_begin(true, false);
    (void)state;
    check_flat(w, answered, AP_LEN(answered));
    world_end(w);
}

/* What each thread keeps of freed pieces counts as allocated, and grows for long: once more,
 * without that. */
static void without_thread_caches(char **argv)
{
    static const char tunable[] = "glibc.malloc.tcache_count=0";
    const char *set = getenv("GLIBC_TUNABLES");
    if (set && strstr(set, tunable))
        return;
    setenv("GLIBC_TUNABLES", tunable, 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy_is_flat),
        cmocka_unit_test(test_target_is_flat),
    };
    (void)argc;
    without_thread_caches(argv);
    setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
