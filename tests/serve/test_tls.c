/* TLS on both sides: a server with a certificate is the upstream of another, which trusts it by
 * --upstream-ca, or does not. The certificate is made by the openssl program; without it the test
 * is skipped, visibly. */
#include "world.h"

#include "net/client.h"

#define CHAT "/v1/chat/completions"
#define ASK "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"}],\"seed\":1}"

static char folder[] = "/tmp/alignpro-tls-XXXXXX";
static char cert[64], cert_key[64], upstream[64];

static int set_up(void **state)
{
    char command[512];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
    snprintf(cert_key, sizeof(cert_key), "%s/key.pem", folder);
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
             "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s "
             "2>/dev/null",
             cert_key, cert);
    if (system(command) != 0)
        cert[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(cert);
    unlink(cert_key);
    return rmdir(folder);
}

static bool has_certificate(void)
{
    if (!cert[0])
        printf("SKIP: no openssl program, or one that makes no certificate\n");
    return cert[0] != '\0';
}

static struct world *begin_target(void)
{
    struct world *w = world_new(true, false);
    w->options.rewrite = AP_REWRITE_NONE;
    w->options.tls_cert = cert;
    w->options.tls_key = cert_key;
    world_start(w);
    snprintf(upstream, sizeof(upstream), "%s/v1", ap_server_url(w->server));
    check_holds(upstream, "https://127.0.0.1:");
    return w;
}

static struct world *begin_proxy(const char *ca)
{
    struct world *w = world_new(false, false);
    w->options.upstream = upstream;
    w->options.upstream_ca = ca;
    world_start(w);
    return w;
}

static void test_both_sides(void **state)
{
    (void)state;
    if (!has_certificate())
        skip();
    struct world *target = begin_target(), *proxy = begin_proxy(cert);
    for (int i = 0; i < 3; i++)
        check_reply(wire_post(proxy->port, CHAT, "", ASK), 200, "to ba: 1-");
    check_reply(wire_post(proxy->port, CHAT, "",
                          "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"),
                200, "data: [DONE]");
    struct wire_reply r = wire_get(target->port, "/healthz"); /* no TLS: no answer */
    assert_int_equal(r.status, 0);
    wire_free(&r);
    world_end(proxy);
    world_end(target);
}

static void test_who_is_not_trusted(void **state)
{
    (void)state;
    if (!has_certificate())
        skip();
    struct world *target = begin_target(), *proxy = begin_proxy(NULL);
    check_reply(wire_post(proxy->port, CHAT, "", ASK), 502, "upstream_failed");
    assert_int_equal(target->engine.n_submitted, 0);
    world_end(proxy);
    world_end(target);
}

/* ---- a run's client before it ---- */

static ap_status arrived(void *context, int call, const struct ap_client_reply *reply, bool *again,
                         struct ap_error *err)
{
    (void)call, (void)again, (void)err;
    *(int *)context = reply->http_status;
    return AP_OK;
}

/* One question by the client of a run that trusts that; *http_status is 0 without an answer. */
static ap_status ask_trusting(char *ca, int *http_status, struct ap_error *err)
{
    char *urls[] = {upstream};
    struct ap_client *c;
    const struct ap_client_options options = {
        .who = "target", .urls = urls, .n_url = 1, .ca_file = ca, .concurrency = 1, .timeout = 20};
    const struct ap_client_call call = {
        .path = "/chat/completions", .body = ASK, .n_body = strlen(ASK)};
    const struct ap_client_events events = {.context = http_status, .arrived = arrived};
    *http_status = 0;
    ap_status status = ap_client_open(&c, &options, err);
    if (status == AP_OK)
        status = ap_client_send(c, &call, 1, &events, err);
    ap_client_close(c);
    return status;
}

static void test_client_of_a_run(void **state)
{
    struct ap_error err;
    int http_status;
    (void)state;
    if (!has_certificate())
        skip();
    struct world *target = begin_target();
    check_ok(ask_trusting(cert, &http_status, &err), err);
    assert_int_equal(http_status, 200);
    check_ok(ap_client_probe(upstream, cert, &err), err);
    assert_int_equal(ask_trusting((char[]){""}, &http_status, &err), AP_IO);
    assert_int_equal(ap_client_probe(upstream, NULL, &err), AP_IO);
    assert_int_equal(ask_trusting((char[]){"no.pem"}, &http_status, &err), AP_NOT_FOUND);
    check_holds(err.text, "target: certificates to trust: no.pem");
    world_end(target);
}

static void test_refuses(void **state)
{
    struct ap_error err;
    (void)state;
    if (!has_certificate())
        skip();
    struct world *w = world_new(false, false);
    w->options.tls_cert = cert;
    assert_int_equal(ap_server_open(&w->server, &w->options, &w->engine.engine, &err), AP_INVALID);
    check_holds(err.text, "--tls-key");
    free(w);
    w = world_new(false, false);
    w->options.tls_cert = cert_key; /* a key is no certificate */
    w->options.tls_key = cert_key;
    assert_int_equal(ap_server_open(&w->server, &w->options, &w->engine.engine, &err), AP_IO);
    check_holds(err.text, "certificate");
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sides),
        cmocka_unit_test(test_who_is_not_trusted),
        cmocka_unit_test(test_client_of_a_run),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
