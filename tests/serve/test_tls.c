/* TLS on both sides: a server with a certificate is the upstream of another, which trusts it by
 * --upstream-ca, or does not. The certificate is made by the openssl program; without it the test
 * is skipped, visibly. */
#include "world.h"

#include "base/file.h"
#include "net/client.h"

#include <curl/curl.h>
#include <stdatomic.h>

#define CHAT "/v1/chat/completions"
#define ASK "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"}],\"seed\":1}"

static char folder[] = "/tmp/alignpro-tls-XXXXXX";
static char cert[64], cert_key[64], next[64], next_key[64], upstream[64];

static bool make_pair(const char *kind, const char *to, const char *to_key)
{
    char command[512];
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey %s -nodes -days 2 "
             "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s "
             "2>/dev/null",
             kind, to_key, to);
    return system(command) == 0;
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
    snprintf(cert_key, sizeof(cert_key), "%s/key.pem", folder);
    snprintf(next, sizeof(next), "%s/next.pem", folder);
    snprintf(next_key, sizeof(next_key), "%s/next_key.pem", folder);
    if (!make_pair("ec -pkeyopt ec_paramgen_curve:prime256v1", cert, cert_key) ||
        !make_pair("rsa:2048", next, next_key))
        cert[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(cert);
    unlink(cert_key);
    unlink(next);
    unlink(next_key);
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

static ap_status arrived(void *context, int call, const struct ap_client_reply *reply,
                         const char **why, struct ap_error *err)
{
    (void)call, (void)why, (void)err;
    *(int *)context = reply->http_status;
    return AP_OK;
}

/* One question by the client of a run that trusts that; *http_status is 0 without an answer. It is
 * sent once, whatever comes of it. */
static ap_status ask_trusting(char *ca, int *http_status, struct ap_error *err)
{
    char *urls[] = {upstream};
    struct ap_client *c;
    const struct ap_client_options options = {.who = "target",
                                              .urls = urls,
                                              .n_url = 1,
                                              .ca_file = ca,
                                              .concurrency = 1,
                                              .timeout = 20,
                                              .retries = 3};
    struct ap_client_counts counts;
    const struct ap_client_call call = {
        .path = "/chat/completions", .body = ASK, .n_body = strlen(ASK)};
    const struct ap_client_events events = {.context = http_status, .arrived = arrived};
    *http_status = 0;
    ap_status status = ap_client_open(&c, &options, err);
    if (status != AP_OK)
        return status;
    status = ap_client_send(c, &call, 1, &events, err);
    ap_client_counts(c, &counts);
    assert_int_equal(counts.n_sent, 1);
    assert_int_equal(counts.n_unsent, status != AP_OK);
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
    check_holds(err.text,
                "signed by one in the system's store: correct target.ca_file or the server");
    assert_int_equal(ap_client_probe(upstream, NULL, &err), AP_IO);
    assert_int_equal(ask_trusting((char[]){"no.pem"}, &http_status, &err), AP_NOT_FOUND);
    check_holds(err.text, "target: certificates to trust: no.pem");
    world_end(target);
}

/* The file of another authority, of none, and of one that is cut: none is asked for again. */
static void test_client_that_trusts_others(void **state)
{
    static const char cut[] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    struct ap_error err;
    char file[96];
    int http_status;
    (void)state;
    if (!has_certificate())
        skip();
    struct world *target = begin_target();
    snprintf(file, sizeof(file), "%s/others.pem", folder);
    assert_int_equal(ask_trusting(next, &http_status, &err), AP_IO);
    check_holds(err.text, "next.pem: correct target.ca_file or the server");
    check_ok(ap_file_write(file, cut, strlen(cut), &err), err);
    assert_int_equal(ask_trusting(file, &http_status, &err), AP_IO);
    check_holds(err.text, "others.pem: correct target.ca_file or the server");
    check_ok(ap_file_write(file, "hello\n", 6, &err), err);
    assert_int_equal(ask_trusting(file, &http_status, &err), AP_FORMAT);
    check_holds(err.text, "target: certificates to trust: ");
    check_holds(err.text, "others.pem: holds no certificate");
    check_ok(ap_file_write(file, "", 0, &err), err);
    assert_int_equal(ask_trusting(file, &http_status, &err), AP_FORMAT);
    assert_int_equal(http_status, 0);
    assert_int_equal(target->engine.n_submitted, 0);
    unlink(file);
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
    assert_int_equal(ap_server_open(&w->server, &w->options, &w->engine.engine, &err), AP_FORMAT);
    check_holds(err.text, "certificate");
    free(w);
}

/* ---- new files ---- */

static char served[64], served_key[64]; /* what the server reads */

static void place(const char *from, const char *to)
{
    struct ap_error err;
    check_ok(ap_file_copy(from, to, &err), err);
}

static struct world *begin_served(void)
{
    struct world *w = world_new(true, false);
    snprintf(served, sizeof(served), "%s/served.pem", folder);
    snprintf(served_key, sizeof(served_key), "%s/served_key.pem", folder);
    place(cert, served);
    place(cert_key, served_key);
    w->options.rewrite = AP_REWRITE_NONE;
    w->options.tls_cert = served;
    w->options.tls_key = served_key;
    world_start(w);
    return w;
}

static void end_served(struct world *w)
{
    world_end(w);
    unlink(served);
    unlink(served_key);
}

/* A client of its own: it trusts one certificate, and keeps its connection. */
static CURL *client_of(const struct world *w, const char *trusted)
{
    CURL *client = curl_easy_init();
    char url[128];
    snprintf(url, sizeof(url), "%s/healthz", ap_server_url(w->server));
    curl_easy_setopt(client, CURLOPT_URL, url);
    curl_easy_setopt(client, CURLOPT_CAINFO, trusted);
    curl_easy_setopt(client, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(client, CURLOPT_TIMEOUT, (long)WIRE_SECONDS);
    return client;
}

static bool answers(CURL *client)
{
    long status = 0;
    CURLcode code = curl_easy_perform(client);
    curl_easy_getinfo(client, CURLINFO_RESPONSE_CODE, &status);
    return code == CURLE_OK && status == 200;
}

/* What a new handshake is shown. */
static bool shows(const struct world *w, const char *trusted)
{
    CURL *client = client_of(w, trusted);
    bool shown = answers(client);
    curl_easy_cleanup(client);
    return shown;
}

static void test_reload(void **state)
{
    struct ap_error err;
    long n_connect;
    (void)state;
    if (!has_certificate())
        skip();
    struct world *w = begin_served();
    CURL *kept = client_of(w, cert);
    assert_true(answers(kept));
    place(next, served);
    place(next_key, served_key);
    assert_true(shows(w, cert)); /* on a reload and not before */
    check_ok(ap_server_reload_certificate(w->server, &err), err);
    assert_true(shows(w, next));
    assert_false(shows(w, cert));
    assert_true(answers(kept)); /* a connection that is open goes on */
    curl_easy_getinfo(kept, CURLINFO_NUM_CONNECTS, &n_connect);
    assert_int_equal(n_connect, 0);
    curl_easy_cleanup(kept);
    end_served(w);
}

/* Half a renewal, a file that is none, and one that is not there. */
static void test_reload_keeps_the_old(void **state)
{
    struct ap_error err;
    (void)state;
    if (!has_certificate())
        skip();
    struct world *w = begin_served();
    place(next, served);
    assert_int_equal(ap_server_reload_certificate(w->server, &err), AP_FORMAT);
    check_holds(err.text, "do not match");
    assert_true(shows(w, cert));
    place(cert_key, served);
    assert_int_equal(ap_server_reload_certificate(w->server, &err), AP_FORMAT);
    check_holds(err.text, served);
    unlink(served);
    assert_int_equal(ap_server_reload_certificate(w->server, &err), AP_NOT_FOUND);
    check_holds(err.text, served);
    assert_true(shows(w, cert));
    place(cert, served);
    check_ok(ap_server_reload_certificate(w->server, &err), err);
    assert_true(shows(w, cert));
    end_served(w);
}

struct reloading {
    struct ap_server *server;
    atomic_bool over;
};

static void *reload_always(void *context)
{
    struct reloading *r = context;
    struct ap_error err;
    while (!atomic_load(&r->over))
        check_ok(ap_server_reload_certificate(r->server, &err), err);
    return NULL;
}

static void test_reload_among_handshakes(void **state)
{
    pthread_t thread;
    (void)state;
    if (!has_certificate())
        skip();
    struct world *w = begin_served();
    struct reloading r = {.server = w->server};
    pthread_create(&thread, NULL, reload_always, &r);
    for (int i = 0; i < 50; i++)
        assert_true(shows(w, cert));
    atomic_store(&r.over, true);
    pthread_join(thread, NULL);
    end_served(w);
}

/* A client that stops in its handshake costs nothing, and holds nobody up. */
static void test_handshake_that_stops(void **state)
{
    (void)state;
    if (!has_certificate())
        skip();
    struct world *w = begin_served();
    int fd = wire_connect(w->port);
    assert_true(wire_send(fd, "\x16\x03\x01", 3));
    wire_pause(200);
    check_rests();
    assert_true(shows(w, cert));
    close(fd);
    end_served(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sides),
        cmocka_unit_test(test_who_is_not_trusted),
        cmocka_unit_test(test_client_of_a_run),
        cmocka_unit_test(test_client_that_trusts_others),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_reload_keeps_the_old),
        cmocka_unit_test(test_reload_among_handshakes),
        cmocka_unit_test(test_handshake_that_stops),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
