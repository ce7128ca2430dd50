/* A server with a fake engine before an upstream that the test plays. */
#ifndef AP_TESTS_PROXY_H
#define AP_TESTS_PROXY_H

#include "serve/server.h"

#include "fake_engine.h"
#include "wire.h"

struct world {
    struct fake_engine engine;
    struct wire_stub stub;
    struct ap_server *server;
    struct ap_server_options options;
    const char *url_end; /* of the upstream's address; NULL: "/v1" */
    int port;
};

static inline void start(struct world *w, wire_serve serve)
{
    struct ap_error err;
    fake_open(&w->engine, false, true);
    wire_stub_open(&w->stub, serve);
    w->options.listen = "127.0.0.1:0";
    if (w->url_end)
        strcpy(strstr(w->stub.url, "/v1"), w->url_end);
    w->options.upstream = w->stub.url;
    check_ok(ap_server_open(&w->server, &w->options, &w->engine.engine, &err), err);
    w->port = wire_port(ap_server_url(w->server));
}

static inline struct world *begin(wire_serve serve)
{
    struct world *w = calloc(1, sizeof(*w));
    w->options = ap_server_defaults;
    start(w, serve);
    return w;
}

static inline void end(struct world *w)
{
    ap_server_close(w->server, 5, NULL);
    assert_int_equal(w->engine.n_closed, 1);
    wire_stub_close(&w->stub);
    free(w);
}

static inline bool serve_ok(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: abc\r\n"
                        "Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nSet-Cookie: "
                        "a=b\r\nAccess-Control-Allow-Origin: *\r\n"
                        "Connection: x-second\r\nX-Second: 2\r\n"
                        "X-Bell: a\x01z\r\nX-Long: a\r\n Folded: b\r\nX Spaced: c\r\n"
                        "Content-Length: 12\r\n\r\n{ \"ok\": 1 }\n");
}

#define CHAT "/v1/chat/completions"
#define COMPLETION "/v1/completions"

/* ---- replies of an upstream ---- */

static inline bool serve_redirect(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
                        "Content-Length: 0\r\n\r\n");
}

static inline bool serve_unauthorized(struct wire_stub *s, int fd)
{
    (void)s;
    return wire_say(fd, "HTTP/1.1 401 No\r\nContent-Length: 6\r\n\r\nsk-abc");
}

static inline bool serve_cut(struct wire_stub *s, int fd)
{
    (void)s;
    wire_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    return false;
}

#endif
