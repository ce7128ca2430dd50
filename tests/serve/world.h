/* A server with a fake engine and no upstream, for the tests. */
#ifndef AP_TESTS_WORLD_H
#define AP_TESTS_WORLD_H

#include "serve/server.h"

#include "fake_engine.h"
#include "wire.h"

struct world {
    struct fake_engine engine;
    struct ap_server *server;
    struct ap_server_options options;
    int port;
};

static inline struct world *world_new(bool target, bool reward)
{
    struct world *w = calloc(1, sizeof(*w));
    w->options = ap_server_defaults;
    w->options.listen = "127.0.0.1:0";
    fake_open(&w->engine, target, reward);
    return w;
}

static inline void world_start(struct world *w)
{
    struct ap_error err;
    check_ok(ap_server_open(&w->server, &w->options, &w->engine.engine, &err), err);
    w->port = wire_port(ap_server_url(w->server));
}

static inline struct world *world_begin(bool target, bool reward)
{
    struct world *w = world_new(target, reward);
    world_start(w);
    return w;
}

static inline void world_end(struct world *w)
{
    ap_server_close(w->server, 5, NULL);
    assert_int_equal(w->engine.n_closed, 1);
    free(w);
}

static inline double world_cpu_seconds(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

/* Nothing comes: less than half of a processor's time is spent on it, where a loop without a rest
 * takes all that there is. */
static inline void check_rests(void)
{
    double before = world_cpu_seconds();
    wire_pause(1000);
    assert_true(world_cpu_seconds() - before < 0.5);
}

/* A reply with that status whose body holds the part, every one of these errors in OpenAI's shape.
 */
static inline void check_reply(struct wire_reply r, int status, const char *part)
{
    if (r.status != status)
        fprintf(stderr, "got: %s | %s\n", r.text, r.body);
    assert_int_equal(r.status, status);
    assert_true(r.whole);
    check_holds(r.body, part);
    if (status >= 400) {
        check_holds(r.body, "{\"error\": {\"message\": ");
        check_holds(r.body, "\"type\": ");
    }
    wire_free(&r);
}

#endif
