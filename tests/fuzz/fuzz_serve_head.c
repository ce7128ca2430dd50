/* libFuzzer entry for what clients send to `alignpro serve`: the first byte chooses one of four
 * servers (and whether their engine has room), the rest are the bytes of one connection, which is
 * then closed for writing. The servers are the real ones, with a fake engine and an upstream that
 * is held to the strict reading of strict_http.h; so are the replies. What that reading says must
 * be taken by nobody, or is not all there, goes nowhere. At most 20000 executions.
 *
 * fuzz: serve net */
#include "serve/world.h"

#include "serve/server_inner.h"
#include "strict_http.h"

#include <assert.h>
#include <sys/stat.h>

enum { FORWARDED_MAX = 1024, INPUT_MAX = 32768, QUIET_MS = 15, SLOW_MS = 150 };
enum { PLAIN, KEYS, FORWARDING, TARGET, N_SERVER };

#define UPSTREAM_KEY "sk-levelevel-ks" /* backwards it is the same: so does the engine write */
#define CLIENT_HASH "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the upstream ---- */

struct forwarded {
    struct strict_message message;
    char *text; /* owned */
    int number;
};

static struct {
    struct wire_stub stub; /* its lock guards the rest */
    struct forwarded asked[FORWARDED_MAX];
    int n_asked, n_ever, kind; /* kind: of the server that asks now */
} upstream;

/* A query goes on as it came, in characters that cannot be read as anything else. */
static bool start_is_known(struct strict_text start)
{
    const char *mark = memchr(start.at, '?', start.n);
    for (const char *c = mark; c && c < start.at + start.n; c++)
        if (*c <= ' ' || *c > '~' || *c == '#')
            return false;
    if (mark)
        start.n = (size_t)(mark - start.at);
    return strict_is(start, "POST /v1/chat/completions") ||
           strict_is(start, "POST /v1/completions") || strict_is(start, "GET /v1/models");
}

static void check_authorization(const struct strict_message *m)
{
    struct strict_text value = {0};
    int count = strict_count(m, "Authorization", &value);
    bool own = strict_is(value, "Bearer " UPSTREAM_KEY);
    assert(upstream.kind == FORWARDING ? count <= 1 && !own : count == 1 && own);
}

static void check_forwarded(const struct strict_message *m)
{
    static const char *const never[] = {
        "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "TE",
        "Trailer",           "Upgrade",    "Expect",     "Cookie",           "Proxy-Authorization",
        "X-Api-Key",         "Api-Key",    "Origin",     "Referer",          "x-alignpro",
        "x-alignpro-stream",
    };
    struct strict_text value = {0};
    char host[32];
    snprintf(host, sizeof(host), "127.0.0.1:%d", upstream.stub.port);
    assert(start_is_known(m->start) && m->version == 11);
    assert(strict_count(m, "Host", &value) == 1 && strict_is(value, host));
    assert(strict_count(m, "Content-Length", &value) == strict_method_is(m, "POST"));
    assert(strict_count(m, "Content-Type", &value) == strict_method_is(m, "POST"));
    for (size_t i = 0; i < AP_LEN(never); i++)
        assert(strict_count(m, never[i], &value) == 0);
    check_authorization(m);
}

/* One request, and nothing behind it. */
static int record(const char *text)
{
    assert(upstream.n_asked < FORWARDED_MAX);
    struct forwarded *f = &upstream.asked[upstream.n_asked];
    f->text = strdup(text);
    assert(f->text != NULL);
    struct strict_text rest = {f->text, strlen(f->text)};
    assert(strict_request(&rest, &f->message) == STRICT_WHOLE && rest.n == 0);
    check_forwarded(&f->message);
    upstream.n_asked++;
    return f->number = ++upstream.n_ever;
}

static bool answer(struct wire_stub *s, int fd)
{
    char reply[256];
    pthread_mutex_lock(&s->lock);
    int number = record(s->request);
    pthread_mutex_unlock(&s->lock);
    snprintf(reply, sizeof(reply),
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Number: %d\r\n"
             "Set-Cookie: a=b\r\nContent-Length: 12\r\n\r\n{ \"ok\": 1 }\n",
             number);
    return wire_say(fd, reply);
}

static void forget_asked(int kind)
{
    pthread_mutex_lock(&upstream.stub.lock);
    for (; upstream.n_asked > 0; upstream.n_asked--) {
        strict_free(&upstream.asked[upstream.n_asked - 1].message);
        free(upstream.asked[upstream.n_asked - 1].text);
    }
    upstream.kind = kind;
    pthread_mutex_unlock(&upstream.stub.lock);
}

/* ---- the servers ---- */

static struct world *worlds[N_SERVER];

static struct world *open_world(int kind, const char *keys_file)
{
    static char text[] = UPSTREAM_KEY;
    static const struct ap_secret key = {.text = text};
    struct world *w = world_new(kind == TARGET, true);
    if (kind != TARGET) {
        w->options.upstream = upstream.stub.url;
        w->options.upstream_key = kind == FORWARDING ? NULL : &key;
        w->options.forward_authorization = kind == FORWARDING;
    }
    w->options.keys_file = kind == KEYS ? keys_file : NULL;
    world_start(w);
    return w;
}

static void close_all(void)
{
    for (int i = 0; i < N_SERVER; i++)
        world_end(worlds[i]);
    forget_asked(PLAIN);
    wire_stub_close(&upstream.stub);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[] = "/tmp/alignpro-keys-XXXXXX";
    static const char line[] = "ada " CLIENT_HASH "\n"; /* of the key "secret" */
    (void)argc, (void)argv;
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
        abort();
    wire_stub_open(&upstream.stub, answer);
    for (int i = 0; i < N_SERVER; i++)
        worlds[i] = open_world(i, path);
    close(fd);
    unlink(path);
    atexit(close_all);
    return 0;
}

/* ---- the client ---- */

struct talk {
    struct strict_text reply; /* as much as has room */
    bool ended;               /* the server closed, and not we */
    bool slow;
};

static double now_ms(void)
{
    return 1e3 * ap_clock_seconds();
}

/* Bytes, 0 for the end, −1 where nothing comes. libmicrohttpd 0.9.75 may miss that a client closed
 * for writing, which peers.c sees only later. */
static ssize_t listen_on(int fd, char *out, size_t n)
{
    struct pollfd at = {.fd = fd, .events = POLLIN};
    if (poll(&at, 1, QUIET_MS) <= 0)
        return -1;
    ssize_t got = wire_receive(fd, out, n);
    return got > 0 ? got : 0;
}

/* Of a client that is gone nothing is left. */
static void check_gone(struct world *w)
{
    double until = now_ms() + 1e3 * WIRE_SECONDS / 2;
    const struct ap_server *s = w->server;
    while (ap_peers_n(&w->server->peers) > 0 || atomic_load(&s->n_exchange) > 0 ||
           (s->upstream && ap_upstream_n_active(s->upstream) > 0)) {
        assert(now_ms() < until);
        wire_pause(0);
    }
}

/* A client that closes for writing and gets no answer within a fifth of a second counts as gone:
 * where this machine was too slow, what became of its requests is nobody's promise. */
static struct talk talk(struct world *w, struct strict_text asked)
{
    static char text[WIRE_MAX];
    struct talk t = {.reply = {text, 0}};
    double began = now_ms();
    ssize_t got = 1;
    int fd = wire_connect(w->port);
    wire_send(fd, asked.at, asked.n);
    shutdown(fd, SHUT_WR);
    while (got > 0 && t.reply.n < sizeof(text)) {
        got = listen_on(fd, text + t.reply.n, sizeof(text) - t.reply.n);
        t.reply.n += got > 0 ? (size_t)got : 0;
    }
    t.ended = got == 0;
    t.slow = now_ms() - began > SLOW_MS;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd); /* with a reset, which nobody misses */
    check_gone(w);
    return t;
}

static bool holds(struct strict_text text, const char *part)
{
    return text.n > 0 && memmem(text.at, text.n, part, strlen(part)) != NULL;
}

static void check_reply_text(struct strict_text asked, struct strict_text reply)
{
    assert(reply.n == 0 || (reply.n > 13 && memcmp(reply.at, "HTTP/1.", 7) == 0));
    assert(!holds(reply, UPSTREAM_KEY) || holds(asked, UPSTREAM_KEY));
    assert(!holds(reply, CLIENT_HASH) || holds(asked, CLIENT_HASH));
}

/* ---- the header x-alignpro-stream ---- */

/* One of its numbers without zeros in front. */
static bool copy_number(const char **at, size_t most, char *out)
{
    size_t n = strspn(*at, "0123456789abcdef"), zeros = strspn(*at, "0");
    zeros = zeros == n && n > 0 ? n - 1 : zeros;
    strncat(out, *at + zeros, n - zeros <= most ? n - zeros : 0);
    *at += n;
    return n > 0 && n - zeros <= most;
}

/* As an engine that was told it says it again; false: it is none. */
static bool copy_stream(struct strict_text value, char out[80])
{
    static const size_t most[] = {16, 8, 8, 16, 8};
    char text[256] = "";
    const char *at = text;
    memcpy(text, value.at, value.n < sizeof(text) ? value.n : 0);
    out[0] = '\0';
    for (size_t i = 0; i < AP_LEN(most); i++) {
        if (!copy_number(&at, most[i], out) || *at != (i < 4 ? '-' : '\0'))
            return false;
        at += i < 4;
        strcat(out, i < 4 ? "-" : "");
    }
    return true;
}

static void check_stream(const struct strict_message *asked, const struct strict_message *got)
{
    struct strict_text value = {0}, body = {asked->body, asked->n_body};
    char said[80];
    if (upstream.kind != TARGET || got->status != 200 ||
        strict_count(asked, "x-alignpro-stream", &value) != 1 || !strict_method_is(asked, "POST") ||
        !holds(asked->start, "completions"))
        return;
    assert(copy_stream(value, said));
    if (body.n < 256 && !holds(body, "stream") && !holds(body, "\\"))
        assert(holds((struct strict_text){got->body, got->n_body}, said));
}

/* ---- what became of it ---- */

/* Whether the text is one that goes on byte for byte where nothing is rewritten. */
static bool goes_as_it_is(const struct strict_message *asked)
{
    struct strict_text body = {asked->body, asked->n_body};
    return !holds(body, "x-alignpro") && !holds(body, "\\");
}

static void check_same(const struct strict_message *asked, const struct strict_message *sent,
                       bool refusing)
{
    bool post = strict_method_is(asked, "POST");
    assert(post == strict_method_is(sent, "POST"));
    if (post && refusing && goes_as_it_is(asked))
        assert(asked->n_body == sent->n_body && memcmp(asked->body, sent->body, sent->n_body) == 0);
}

/* The reply to a request that is whole is whole, and says which of the upstream's it is, if any. */
static void check_one(const struct strict_message *asked, const struct strict_message *got,
                      int *next, bool refusing)
{
    struct strict_text value = {0};
    check_stream(asked, got);
    assert(strict_count(got, "Set-Cookie", &value) == 0);
    if (strict_count(got, "X-Number", &value) == 0)
        return;
    assert(*next < upstream.n_asked && upstream.asked[*next].number == atoi(value.at));
    check_same(asked, &upstream.asked[*next].message, refusing);
    ++*next;
}

/* One that closes for writing before it is told to go on gets no answer from libmicrohttpd. */
static bool is_answered(const struct strict_message *asked)
{
    struct strict_text value;
    return strict_count(asked, "Expect", &value) == 0;
}

/* False: nothing more is to come, or nothing more is known. */
static bool check_next(struct strict_text *input, struct talk *t, int *next, bool refusing)
{
    struct strict_message asked, got;
    strict_end end = strict_request(input, &asked);
    strict_end came = strict_final_reply(&t->reply, strict_method_is(&asked, "HEAD"), &got);
    bool more = false, known = (t->ended && is_answered(&asked)) || came == STRICT_WHOLE;
    if (end == STRICT_WHOLE && known) {
        assert(came == STRICT_WHOLE);
        check_one(&asked, &got, next, refusing);
        more = !got.closes && !asked.closes;
    }
    if (end == STRICT_WRONG && came == STRICT_WHOLE)
        assert(got.status >= 400);
    if (end != STRICT_ODD && !more && known)
        assert(*next == upstream.n_asked);
    strict_free(&asked);
    strict_free(&got);
    return more;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MAX)
        return 0;
    int kind = data[0] % N_SERVER, next = 0;
    bool refusing = data[0] / N_SERVER % 2;
    struct world *w = worlds[kind];
    struct strict_text input = {(const char *)data + 1, size - 1};
    fake_set(&w->engine, &w->engine.refusing, refusing);
    forget_asked(kind);
    struct talk t = talk(w, input);
    check_reply_text(input, t.reply);
    while (!t.slow && t.reply.n < WIRE_MAX && check_next(&input, &t, &next, refusing))
        ;
    return 0;
}
