/* How long the client of model servers goes on while nobody answers, and what it says in the end.
 * Single faults: test_client.c; what happens to several endpoints: test_client_flow.c. */
#include "watch.h"

#include "local_server.h"
#include "net/endpoint.h"

/* The defaults wait two minutes. */
static void test_waits(void **state)
{
    (void)state;
    check_near(ap_backoff(0.5, 1), 0.5, 0, 0);
    check_near(ap_backoff(0.5, 7), 32, 0, 0);
    check_near(ap_backoff(0.5, 8), 60, 0, 0);
    check_near(ap_backoff(0.5, 1000), 60, 0, 0);
    check_near(ap_backoff_sum(0.5, 8), 123.5, 0, 0);
    check_near(ap_backoff_sum(0.5, 0), 0, 0, 0);
}

/* ---- outages ---- */

enum { N_CALL = 12, N_LOST_TRIES = 60 };

static void revive(struct watch *w)
{
    struct fault_server *s = w->context;
    struct fault_config well = {0};
    if (w->n_event == N_LOST_TRIES)
        fault_server_set(s, &well);
}

static int most_misses(const struct watch *w, ap_client_miss kind)
{
    int most = 0;
    for (int i = 0; i < w->n; i++)
        most = w->calls[i].n_miss[kind] > most ? w->calls[i].n_miss[kind] : most;
    return most;
}

/* Connections that are refused, or a 503 or 429, five times as often as there are attempts: then
 * the server is there, and all is answered. */
static void test_outage_is_outlasted(void **state)
{
    static const fault_kind kinds[] = {FAULT_NONE, FAULT_E503, FAULT_WAIT_NOW};
    struct ap_error err;
    (void)state;
    for (size_t i = 0; i < AP_LEN(kinds); i++) {
        struct fault_config config = {.dead = kinds[i] == FAULT_NONE};
        watch_only(&config, kinds[i]);
        struct fault_server *s = fault_server_start(&config);
        struct ap_client *c = watch_open(
            &s, 1, (struct ap_client_options){.concurrency = 4, .retries = 1, .patience = 600});
        struct watch w;
        fault_server_set(s, &config);
        watch_init(&w, N_CALL, 0);
        w.then = revive;
        w.context = s;
        check_ok(watch_send(c, &w, &err), err);
        watch_check(&w, s);
        assert_true(w.n_event >= N_LOST_TRIES + N_CALL);
        assert_true(most_misses(&w, AP_MISS_REFUSED) + most_misses(&w, AP_MISS_UNSENT) > 2);
        watch_free(&w);
        ap_client_close(c);
        fault_server_stop(s);
    }
}

/* However long it may wait: what may have been bought is bought so often and no more. */
static void test_lost_attempts_end(void **state)
{
    struct ap_error err;
    struct fault_config config = {0};
    watch_only(&config, FAULT_RESET_READ);
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c = watch_open(
        &s, 1, (struct ap_client_options){.concurrency = 4, .retries = 2, .patience = 600});
    struct watch w;
    (void)state;
    watch_init(&w, N_CALL, 0);
    assert_int_equal(watch_send(c, &w, &err), AP_IO);
    assert_int_equal(most_misses(&w, AP_MISS_LOST), 3);
    check_holds(err.text, "3 attempts");
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
}

/* 500 to the first question, an answer to every other. */
static int refuse_first(void *context, const struct local_request *r, struct ap_buffer *reply)
{
    const json_t *messages = json_object_get(r->body, "messages");
    bool first = json_integer_value(json_object_get(r->body, "seed")) == 0;
    char text[FAULT_TEXT];
    (void)context;
    fault_text(messages, json_integer_value(json_object_get(r->body, "seed")), 0, text);
    ap_buffer_printf(reply, NULL,
                     first ? "{\"error\":{\"message\":\"bad luck\"}}"
                           : "{\"choices\":[{\"message\":{\"content\":\"%s\"},"
                             "\"finish_reason\":\"stop\"}]}",
                     text);
    return first ? 500 : 200;
}

/* Three attempts after the first, and twenty seconds of an outage. */
static struct ap_client *open_patient(struct local_server *s, const char *who)
{
    struct ap_error err;
    struct ap_client *c;
    struct ap_client_options options = {.who = who,
                                        .urls = (char *[]){s->url},
                                        .n_url = 1,
                                        .concurrency = 2,
                                        .timeout = 20,
                                        .retries = 3,
                                        .backoff = 1e-3,
                                        .patience = 20};
    check_ok(ap_client_open(&c, &options, &err), err);
    return c;
}

/* One request that fails while others are answered is no outage. */
static void test_one_that_fails(void **state)
{
    struct ap_error err;
    struct local_server s;
    struct ap_client *c;
    struct watch w;
    (void)state;
    local_start(&s, refuse_first, NULL);
    c = open_patient(&s, "rewards.help");
    watch_init(&w, 400, 0);
    assert_int_equal(watch_send(c, &w, &err), AP_IO);
    assert_true(w.calls[0].n_miss[AP_MISS_REFUSED] >= 4);
    assert_true(w.calls[0].n_miss[AP_MISS_REFUSED] < 400);
    check_holds(err.text, "rewards.help: ");
    check_holds(err.text, " attempts over ");
    check_holds(err.text, "500: bad luck");
    check_holds(err.text, "raise rewards.help.retries");
    watch_free(&w);
    ap_client_close(c);
    local_stop(&s);
}

struct hiccup {
    int n_first; /* how often the first question was asked */
    bool answered, once_more;
};

/* 503 to the first question until another was answered, and once more then; the others wait until
 * it has failed so often. */
static int hiccup(void *context, const struct local_request *r, struct ap_buffer *reply)
{
    struct hiccup *h = context;
    int64_t seed = json_integer_value(json_object_get(r->body, "seed"));
    char text[FAULT_TEXT];
    bool fails = seed == 0 ? !h->answered || !h->once_more : h->n_first < 3;
    h->n_first += seed == 0;
    h->once_more = h->once_more || (seed == 0 && h->answered);
    h->answered = h->answered || (seed != 0 && !fails);
    if (fails)
        return 503;
    fault_text(json_object_get(r->body, "messages"), seed, 0, text);
    ap_buffer_printf(
        reply, NULL,
        "{\"choices\":[{\"message\":{\"content\":\"%s\"},\"finish_reason\":\"stop\"}]}", text);
    return 200;
}

/* An outage counts as one failed attempt, not as all that were made in it. */
static void test_a_failure_after_an_outage(void **state)
{
    struct ap_error err;
    struct local_server s;
    struct ap_client *c;
    struct watch w;
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct hiccup h = {0};
        local_start(&s, hiccup, &h);
        c = open_patient(&s, "target");
        watch_init(&w, 2, 0);
        check_ok(watch_send(c, &w, &err), err);
        watch_free(&w);
        ap_client_close(c);
        local_stop(&s);
    }
}

/* ---- what it says in the end ---- */

struct saying {
    int status;
    const char *reply;
    ap_status ends;
    const char *words;
};

static int say(void *context, const struct local_request *r, struct ap_buffer *reply)
{
    const struct saying *s = context;
    (void)r;
    ap_buffer_puts(reply, s->reply, NULL);
    return s->status;
}

#define KEY "sk-very-secret-0123456789"

static void test_last_words(void **state)
{
    static const struct saying rows[] = {
        {200, "hello", AP_IO,
         "the last: its reply holds no answer: it has no text; it begins \"hello\"; look at what "
         "the server sends, and at target.url, then run again"},
        {200, "{\"error\":{\"message\":\"backend\\nover\\u006coaded\"}}", AP_IO,
         "holds no answer: it has no text; it says \"backend?overloaded\"; look at"},
        {200, "{\"a\":\"" KEY "\"}", AP_IO, "it begins \"{\"a\":\"*************************\"}\""},
        {200, "{\"a\":\"sk\\u002dvery-secret-0123456789\"}", AP_IO,
         "it begins \"{\"a\":\"*************************\"}\""},
        {200, "", AP_IO, "its reply holds no answer: it is empty; look at"},
        {503, "", AP_IO, "see whether the server is up, or raise target.retries to wait longer"},
        {429, "{}", AP_IO, "429: {}; ask it for less at once, by target.concurrency or .rpm, then"},
        {401, "{\"error\":\"who?\"}", AP_INVALID,
         "says 401: who?; see to the key, target.key_env or .key_file, then run again"},
        {403, "{}", AP_INVALID, "see to the key, target.key_env or .key_file"},
        {402, "{\"error\":{\"message\":\"Insufficient Balance\"}}", AP_INVALID,
         "402: Insufficient Balance; see to the account's money, then run again"},
        {429, "{\"error\":{\"message\":\"No quota\",\"code\":\"insufficient_quota\"}}", AP_INVALID,
         "429: No quota; see to the account's money"},
        {429,
         "{\"error\":{\"message\":\"No quota\",\"code\":null,\"type\":\"insufficient_quota\"}}",
         AP_INVALID, "see to the account's money"},
        {404, "<html>", AP_INVALID,
         "404: <html>; see to target.url (OpenAI's mostly end in /v1) and .model, then run"},
        {400, "{}", AP_INVALID, "400: {}; correct the recipe or the server, then run again"},
    };
    struct ap_secret key = {.text = (char[]){KEY}};
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct ap_error err;
        struct local_server s;
        struct ap_client *c;
        struct watch w;
        local_start(&s, say, (void *)(uintptr_t)&rows[i]);
        struct ap_client_options options = {.who = "target",
                                            .urls = (char *[]){s.url},
                                            .n_url = 1,
                                            .key = &key,
                                            .concurrency = 1,
                                            .timeout = 20};
        check_ok(ap_client_open(&c, &options, &err), err);
        watch_init(&w, 1, 0);
        assert_int_equal(watch_send(c, &w, &err), rows[i].ends);
        check_holds(err.text, rows[i].words);
        assert_null(strchr(err.text, '\n'));
        assert_null(strstr(err.text, "secret"));
        watch_free(&w);
        ap_client_close(c);
        local_stop(&s);
    }
}

static void test_late_answers(void **state)
{
    struct ap_error err;
    struct fault_config config = {0};
    watch_only(&config, FAULT_STALL);
    struct fault_server *s = fault_server_start(&config);
    struct ap_client *c =
        watch_open(&s, 1, (struct ap_client_options){.concurrency = 1, .timeout = 0.3});
    struct watch w;
    (void)state;
    watch_init(&w, 1, 0);
    assert_int_equal(watch_send(c, &w, &err), AP_IO);
    check_holds(err.text, "if its answers take longer, raise target.timeout, then run again");
    watch_free(&w);
    ap_client_close(c);
    fault_server_stop(s);
}

/* What servers of http say to a handshake. */
static void *answer_plainly(void *listener)
{
    static const char reply[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    char hello[4096];
    int fd = accept(*(int *)listener, NULL, NULL);
    if (recv(fd, hello, sizeof(hello), 0) > 0)
        send(fd, reply, sizeof(reply) - 1, MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void test_no_tls(void **state)
{
    char url[64];
    struct ap_error err;
    struct ap_client *c;
    struct watch w;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    pthread_t thread;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    assert_int_equal(pthread_create(&thread, NULL, answer_plainly, &listener), 0);
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/v1", ntohs(at.sin_port));
    struct ap_client_options options = {
        .who = "target", .urls = (char *[]){url}, .n_url = 1, .concurrency = 1, .timeout = 20};
    check_ok(ap_client_open(&c, &options, &err), err);
    watch_init(&w, 1, 0);
    assert_int_equal(watch_send(c, &w, &err), AP_IO);
    check_holds(err.text, "it speaks no TLS: http:// in place of https://?; see to target.url");
    pthread_join(thread, NULL);
    close(listener);
    watch_free(&w);
    ap_client_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_outage_is_outlasted),
        cmocka_unit_test(test_lost_attempts_end),
        cmocka_unit_test(test_one_that_fails),
        cmocka_unit_test(test_a_failure_after_an_outage),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_late_answers),
        cmocka_unit_test(test_no_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
