/* Heads of replies. One that ends in its middle is not an answer without a body, nor the refusal
 * that its status would be, but lost; one that begins with a folded line does no harm. */
#include "serve/wire.h"

#include "net/client.h"

#include "base/error.h"

struct heard {
    int n_arrived, n_rejected, n_lost;
};

static ap_status on_arrived(void *context, int call, const struct ap_client_reply *reply,
                            const char **why, struct ap_error *err)
{
    struct heard *h = context;
    (void)call, (void)why, (void)err;
    h->n_arrived++;
    assert_string_equal(reply->body, "{}");
    return AP_OK;
}

static ap_status on_rejected(void *context, int call, const struct ap_client_reply *reply,
                             bool *taken, struct ap_error *err)
{
    struct heard *h = context;
    (void)call, (void)reply, (void)taken, (void)err;
    h->n_rejected++;
    return AP_OK;
}

static ap_status on_missed(void *context, int call, ap_client_miss miss, struct ap_error *err)
{
    struct heard *h = context;
    (void)call, (void)err;
    h->n_lost += miss == AP_MISS_LOST;
    return AP_OK;
}

/* Each request's reply is the next one; then the connection is closed. */
static bool serve_cut(struct wire_stub *s, int fd)
{
    static const char *const replies[] = {
        "HTTP/1.1 200 OK\r\nContent-Ty",
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 Unauthorized\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    };
    pthread_mutex_lock(&s->lock);
    const char *reply = replies[s->n_request - 1];
    pthread_mutex_unlock(&s->lock);
    wire_say(fd, reply);
    return false;
}

/* Every other reply has a folded line where no line is before it: some versions of libcurl refuse
 * that, and some that keep a handle write to where its last header was. */
static bool serve_folded(struct wire_stub *s, int fd)
{
    pthread_mutex_lock(&s->lock);
    bool folded = s->n_request % 2 == 0;
    pthread_mutex_unlock(&s->lock);
    wire_say(fd, "HTTP/1.1 200 OK\r\n");
    wire_say(fd, folded ? "\tX-Folded: yes\r\n no\r\n" : "X-Folded: no\r\n");
    return wire_say(fd, "Content-Length: 2\r\n\r\n{}");
}

static struct heard ask(wire_serve serve, int n)
{
    struct wire_stub stub;
    struct heard h = {0};
    struct ap_error err;
    struct ap_client *c;
    wire_stub_open(&stub, serve);
    char *urls[] = {stub.url};
    struct ap_client_options options = {.who = "target",
                                        .urls = urls,
                                        .n_url = 1,
                                        .concurrency = 1,
                                        .timeout = WIRE_SECONDS,
                                        .retries = 3,
                                        .backoff = 0.001};
    struct ap_client_call call = {.path = "/chat/completions", .body = "{}", .n_body = 2};
    struct ap_client_events events = {
        .context = &h, .arrived = on_arrived, .missed = on_missed, .rejected = on_rejected};
    check_ok(ap_client_open(&c, &options, &err), err);
    for (int i = 0; i < n; i++)
        check_ok(ap_client_send(c, &call, 1, &events, &err), err);
    ap_client_close(c);
    wire_stub_close(&stub);
    return h;
}

static void test_cut_heads(void **state)
{
    struct heard h = ask(serve_cut, 1);
    (void)state;
    assert_int_equal(h.n_arrived, 1);
    assert_int_equal(h.n_lost, 3);
    assert_int_equal(h.n_rejected, 0);
}

static void test_folded_heads(void **state)
{
    struct heard h = ask(serve_folded, 4);
    (void)state;
    assert_int_equal(h.n_arrived, 4);
    assert_int_equal(h.n_rejected, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cut_heads),
                                       cmocka_unit_test(test_folded_heads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
