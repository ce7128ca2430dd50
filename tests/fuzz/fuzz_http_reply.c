/* libFuzzer entry for what a server replies, byte by byte: the first byte says what is asked, the
 * rest is sent for an answer, and then the connection is closed. The proxy of `alignpro serve` asks
 * with it, and so does the client of model servers (net/client.h). What arrives is what the strict
 * reading of strict_http.h takes: the same, and never less that looks whole. At most 20000
 * executions.
 *
 * fuzz: serve net */
#include "serve/world.h"

#include "net/client.h"
#include "strict_http.h"

#include <assert.h>

enum { ASK_CHAT, ASK_SHOWN, ASK_MODELS, ASK_HEAD, N_ASK };

#define KEY "sk-0123456789abcdef"
#define CHAT "/v1/chat/completions"
#define ASKED "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char key_text[] = KEY;
static const struct ap_secret key = {.text = key_text};
static struct world *world;
static struct wire_stub stub;
static struct strict_text says; /* by the stub; changed while none of its threads is there */

static bool say(struct wire_stub *s, int fd)
{
    (void)s;
    wire_send(fd, says.at, says.n);
    return false;
}

static void close_all(void)
{
    world_end(world);
    wire_stub_close(&stub);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    wire_stub_open(&stub, say);
    world = world_new(false, false);
    world->options.upstream = stub.url;
    world->options.upstream_key = &key;
    world_start(world);
    atexit(close_all);
    return 0;
}

static void await_quiet(void)
{
    for (int left = 1; left > 0; wire_pause(0)) {
        pthread_mutex_lock(&stub.lock);
        left = stub.n_thread;
        pthread_mutex_unlock(&stub.lock);
    }
}

static bool same_body(const struct strict_message *m, const char *body, size_t n)
{
    return m->n_body == n && (n == 0 || memcmp(m->body, body, n) == 0);
}

/* ---- the client of model servers ---- */

struct outcome {
    const struct strict_message *said;
    strict_end end; /* of reading it */
    int n_arrived, n_missed, n_rejected;
};

static void check_body(const struct outcome *o, const struct ap_client_reply *reply)
{
    assert(reply->body[reply->n_body] == '\0' && !strstr(reply->body, KEY));
    assert(o->end == STRICT_WHOLE || o->end == STRICT_ODD);
    if (o->end == STRICT_WHOLE && !memmem(o->said->body, o->said->n_body, KEY, strlen(KEY)))
        assert(same_body(o->said, reply->body, reply->n_body));
    if (o->end == STRICT_WHOLE)
        assert(o->said->status == reply->http_status);
}

static ap_status on_arrived(void *context, int call, const struct ap_client_reply *reply,
                            const char **why, struct ap_error *err)
{
    struct outcome *o = context;
    (void)call, (void)why, (void)err;
    o->n_arrived++;
    assert(reply->http_status / 100 == 2);
    check_body(o, reply);
    return AP_OK;
}

static ap_status on_missed(void *context, int call, ap_client_miss miss, struct ap_error *err)
{
    struct outcome *o = context;
    (void)call, (void)err;
    assert(miss != AP_MISS_UNSENT);
    o->n_missed++;
    return AP_OK;
}

static ap_status on_rejected(void *context, int call, const struct ap_client_reply *reply,
                             bool *taken, struct ap_error *err)
{
    struct outcome *o = context;
    (void)call, (void)err;
    o->n_rejected++;
    assert(reply->http_status / 100 != 2);
    check_body(o, reply);
    *taken = true;
    return AP_OK;
}

static void ask_as_client(const struct strict_message *said, strict_end end)
{
    char *urls[] = {stub.url};
    struct outcome o = {said, end, 0, 0, 0};
    struct ap_client_options options = {
        .who = "target", .urls = urls, .n_url = 1, .key = &key, .concurrency = 1, .timeout = 60};
    struct ap_client_call call = {
        .path = "/chat/completions", .body = ASKED, .n_body = strlen(ASKED)};
    struct ap_client_events events = {
        .context = &o, .arrived = on_arrived, .missed = on_missed, .rejected = on_rejected};
    struct ap_error err = {0};
    struct ap_client *c;
    check_ok(ap_client_open(&c, &options, &err), err);
    ap_status status = ap_client_send(c, &call, 1, &events, &err);
    ap_client_close(c);
    assert(o.n_arrived + o.n_missed + o.n_rejected == 1);
    assert((status == AP_OK) == (o.n_missed == 0));
    assert(status == AP_OK || (err.text[0] && !strchr(err.text, '\n') && !strstr(err.text, KEY)));
    if (end == STRICT_WHOLE && said->status / 100 == 2)
        assert(o.n_arrived == 1);
}

/* ---- the proxy ---- */

static int begin_asking(int what)
{
    switch (what) {
    case ASK_CHAT:
        return wire_begin(world->port, "POST", CHAT, "x-alignpro: off\r\n", ASKED);
    case ASK_SHOWN:
        return wire_begin(world->port, "POST", CHAT, "x-alignpro: show\r\n", ASKED);
    case ASK_MODELS:
        return wire_begin(world->port, "GET", "/v1/models", "", "");
    default:
        return wire_begin(world->port, "HEAD", "/v1/models", "", "");
    }
}

static void check_fields(const struct strict_message *m)
{
    static const char *const never[] = {
        "Set-Cookie", "Location", "WWW-Authenticate", "Proxy-Authenticate",
        "Keep-Alive", "Upgrade",  "Trailer",          "Strict-Transport-Security",
        "TE",         "Alt-Svc",  "Proxy-Connection", "Access-Control-Allow-Origin",
    };
    struct strict_text value = {0};
    for (size_t i = 0; i < AP_LEN(never); i++)
        assert(strict_count(m, never[i], &value) == 0);
    assert(strict_count(m, "x-alignpro", &value) <= 1);
    assert(strict_count(m, "Connection", &value) == 1 && strict_is(value, "close"));
}

/* Whether the reply is one of the proxy's own words, and not of the upstream's. */
static bool is_own(const struct strict_message *got)
{
    struct strict_text value = {0};
    return got->status == 502 && strict_count(got, "X-Content-Type-Options", &value) == 1 &&
           (got->n_body == 0 || memmem(got->body, got->n_body, "upstream_", 9));
}

static bool passes(const struct strict_message *said)
{
    return said->status / 100 != 3 && said->status != 401 && said->status != 407;
}

static void check_passed(int what, const struct strict_message *said, strict_end end,
                         const struct strict_message *got, strict_end came)
{
    if (end == STRICT_WHOLE && !passes(said))
        assert(came == STRICT_WHOLE && is_own(got));
    else if (end == STRICT_WHOLE)
        assert(came == STRICT_WHOLE && got->status == said->status &&
               (what == ASK_SHOWN || what == ASK_HEAD || same_body(got, said->body, said->n_body)));
    else if (end != STRICT_ODD && what != ASK_HEAD)
        assert(came == STRICT_SHORT || is_own(got));
}

static void ask_as_proxy(int what, const struct strict_message *said, strict_end end)
{
    struct strict_message got;
    struct strict_text all = {0}, value;
    char *text = wire_read_bytes(begin_asking(what), &all.n);
    all.at = text;
    assert(!memmem(text, all.n, KEY, strlen(KEY)) || memmem(says.at, says.n, KEY, strlen(KEY)));
    strict_end came = strict_final_reply(&all, what == ASK_HEAD, &got);
    assert((came == STRICT_WHOLE || came == STRICT_SHORT) && got.status > 0 && all.n == 0);
    int n_framing = strict_count(&got, "Content-Length", &value) +
                    strict_count(&got, "Transfer-Encoding", &value);
    assert(n_framing == 1 || got.status == 204 || what == ASK_HEAD);
    check_fields(&got);
    check_passed(what, said, end, &got, came);
    strict_free(&got);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strict_message said;
    if (size < 1)
        return 0;
    says = (struct strict_text){(const char *)data + 1, size - 1};
    struct strict_text rest = says;
    strict_end end = strict_final_reply(&rest, false, &said);
    ask_as_client(&said, end);
    ask_as_proxy(data[0] % N_ASK, &said, end);
    await_quiet();
    strict_free(&said);
    return 0;
}
