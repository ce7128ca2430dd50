/* A request passed on to the upstream, and its reply passed back as it arrives. What is sent is the
 * client's body with its texts exchanged, its query, and its headers less those that are for this
 * server. */
#include "serve/server_inner.h"

#include "base/memory.h"
#include "serve/header.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

enum { PIECE = 16384 };

/* How far the reply's first brace is, where something is put behind it. */
enum { PASSING, AT_START, BEHIND_BRACE, INSERTING, HELD };

/* ---- which headers pass ---- */

static bool is_one_of(const char *name, size_t n, const char *const *list)
{
    for (; *list; list++)
        if (strlen(*list) == n && strncasecmp(*list, name, n) == 0)
            return true;
    return false;
}

/* RFC 9110, 7.6.1, and what each side says of its own connection or keeps for itself. */
static const char *const hop_by_hop[] = {"Connection", "Keep-Alive", "Proxy-Connection",  "TE",
                                         "Trailer",    "Upgrade",    "Transfer-Encoding", NULL};
static const char *const never_sent[] = {"Host",
                                         "Content-Length",
                                         "Content-Type",
                                         "Expect",
                                         "Authorization",
                                         "Cookie",
                                         "Accept-Encoding",
                                         "Proxy-Authorization",
                                         "X-Api-Key",
                                         "Api-Key",
                                         "x-alignpro",
                                         "x-alignpro-stream",
                                         "Origin",
                                         "Referer",
                                         NULL};
static const char *const never_returned[] = {"Content-Length",
                                             "Date",
                                             "Server",
                                             "Set-Cookie",
                                             "Alt-Svc",
                                             "Location",
                                             "Proxy-Authenticate",
                                             "WWW-Authenticate",
                                             "x-alignpro",
                                             "x-alignpro-rewrite",
                                             "Strict-Transport-Security",
                                             NULL};

/* Whether `name` is one of the words of a Connection header. */
static bool is_word_of(const char *words, const char *name, size_t n)
{
    while (words && *words) {
        words += strspn(words, " \t,");
        size_t length = strcspn(words, " \t,");
        if (length == n && n > 0 && strncasecmp(words, name, n) == 0)
            return true;
        words += length;
    }
    return false;
}

struct naming { /* whether a Connection header names it */
    const char *name;
    size_t n;
    bool named;
};

static enum MHD_Result look_at_connection(void *context, enum MHD_ValueKind kind, const char *name,
                                          const char *value)
{
    struct naming *look = context;
    (void)kind;
    if (strcasecmp(name, "Connection") == 0 && is_word_of(value, look->name, look->n))
        look->named = true;
    return MHD_YES;
}

/* There may be several such headers, in a request as in a reply. */
static bool is_named_by_client(struct ap_exchange *e, const char *name, size_t n)
{
    struct naming look = {name, n, false};
    MHD_get_connection_values(e->connection, MHD_HEADER_KIND, look_at_connection, &look);
    return look.named;
}

static bool is_named_by_upstream(const struct ap_transfer *t, const char *name, size_t n)
{
    static const char connection[] = "Connection:";
    for (size_t i = 0; i < t->n_header; i++)
        if (strncasecmp(t->headers[i], connection, sizeof(connection) - 1) == 0 &&
            is_word_of(t->headers[i] + sizeof(connection) - 1, name, n))
            return true;
    return false;
}

struct sending {
    struct ap_exchange *e;
    struct curl_slist *list;
    bool failed;
};

static void add_line(struct sending *s, const char *name, const char *value)
{
    struct ap_buffer line = {0};
    struct curl_slist *grown = NULL;
    /* libcurl takes "Name;" for a header that is there and empty */
    ap_status status = ap_buffer_printf(&line, NULL, value[0] ? "%s: %s" : "%s;%s", name, value);
    if (status == AP_OK)
        grown = curl_slist_append(s->list, line.data);
    if (grown)
        s->list = grown;
    else
        s->failed = true;
    ap_buffer_free(&line);
}

static enum MHD_Result add_sent(void *context, enum MHD_ValueKind kind, const char *name,
                                const char *value)
{
    struct sending *s = context;
    size_t n = strlen(name);
    (void)kind;
    if (!is_one_of(name, n, hop_by_hop) && !is_one_of(name, n, never_sent) &&
        !is_named_by_client(s->e, name, n) && ap_header_is_name(name, n) && value &&
        ap_header_is_value(value))
        add_line(s, name, value);
    return MHD_YES;
}

static void add_authorization(struct sending *s)
{
    const struct ap_server_options *o = &s->e->server->options;
    const char *own = ap_exchange_header(s->e, "Authorization");
    struct ap_buffer value = {0};
    if (o->forward_authorization && own && ap_header_is_value(own)) {
        add_line(s, "Authorization", own);
    } else if (!o->forward_authorization && o->upstream_key && o->upstream_key->text) {
        if (ap_buffer_printf(&value, NULL, "Bearer %s", o->upstream_key->text) == AP_OK)
            add_line(s, "Authorization", value.data);
        else
            s->failed = true;
        if (value.data)
            explicit_bzero(value.data, value.len);
    }
    ap_buffer_free(&value);
}

static struct curl_slist *sent_headers(struct ap_exchange *e, bool post, bool *failed)
{
    struct sending s = {e, NULL, false};
    const char *encodings = ap_exchange_header(e, "Accept-Encoding");
    MHD_get_connection_values(e->connection, MHD_HEADER_KIND, add_sent, &s);
    if (encodings && !e->rewriting.show && ap_header_is_value(encodings))
        add_line(&s, "Accept-Encoding", encodings);
    if (post)
        add_line(&s, "Content-Type", AP_TYPE_JSON);
    add_authorization(&s);
    struct curl_slist *grown = curl_slist_append(s.list, "Expect:");
    *failed = s.failed || !grown;
    return grown ? grown : s.list;
}

/* ---- the reply ---- */

static ssize_t insert_some(struct ap_forwarding *f, char *out, size_t n)
{
    size_t left = f->insert.len - f->n_inserted, taken = left < n ? left : n;
    memcpy(out, f->insert.data + f->n_inserted, taken);
    f->n_inserted += taken;
    if (f->n_inserted == f->insert.len)
        f->stage = HELD;
    return (ssize_t)taken;
}

/* The brace and what comes behind it are read byte by byte; white space stays where it is. */
static void look(struct ap_forwarding *f, char c)
{
    if (strchr(" \t\r\n", c) && c)
        return;
    if (f->stage == AT_START)
        f->stage = c == '{' ? BEHIND_BRACE : PASSING;
    else if (f->stage == BEHIND_BRACE)
        f->stage = INSERTING;
}

static ssize_t read_piece(void *context, uint64_t position, char *out, size_t n)
{
    struct ap_exchange *e = context;
    struct ap_forwarding *f = &e->forwarding;
    ap_transfer_end end = AP_TRANSFER_WHOLE;
    (void)position;
    if (f->stage == INSERTING)
        return insert_some(f, out, n);
    if (f->stage == HELD) {
        out[0] = f->held;
        f->stage = PASSING;
        return 1;
    }
    bool looking = f->stage != PASSING;
    ssize_t got = ap_transfer_read(e->transfer, out, looking ? 1 : n, &end);
    if (got < 0) {
        f->cut = end != AP_TRANSFER_WHOLE;
        return f->cut ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (got == 0 || !looking)
        return got;
    look(f, out[0]);
    if (f->stage != INSERTING)
        return got;
    f->held = out[0];
    if (f->held == '}') /* the object was empty: no comma behind what is put in */
        f->insert.len -= 2;
    return insert_some(f, out, n);
}

static const char *returned_header(const struct ap_transfer *t, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < t->n_header; i++)
        if (strncasecmp(t->headers[i], name, n) == 0 && t->headers[i][n] == ':')
            return t->headers[i] + n + 1 + strspn(t->headers[i] + n + 1, " \t");
    return NULL;
}

/* CORS is each server's own to say. */
static bool is_cors(const char *name)
{
    static const char prefix[] = "Access-Control-";
    return strncasecmp(name, prefix, sizeof(prefix) - 1) == 0;
}

static void copy_headers(struct ap_exchange *e)
{
    const struct ap_transfer *t = e->transfer;
    for (size_t i = 0; i < t->n_header; i++) {
        char name[128];
        size_t n = strcspn(t->headers[i], ":");
        const char *value = t->headers[i] + n;
        if (n >= sizeof(name) || *value != ':' || !ap_header_is_name(t->headers[i], n) ||
            !ap_header_is_value(value) || is_one_of(t->headers[i], n, hop_by_hop) ||
            is_one_of(t->headers[i], n, never_returned) || is_cors(t->headers[i]) ||
            is_named_by_upstream(t, t->headers[i], n))
            continue;
        memcpy(name, t->headers[i], n);
        name[n] = '\0';
        value += 1 + strspn(value + 1, " \t");
        MHD_add_response_header(e->response, name, value);
    }
}

/* What "show" puts into a reply that is a JSON object of its own. */
static void prepare_insert(struct ap_exchange *e)
{
    struct ap_forwarding *f = &e->forwarding;
    const char *type = returned_header(e->transfer, "Content-Type");
    if (!e->rewriting.show || e->rewriting.body.stream || !type ||
        strncasecmp(type, AP_TYPE_JSON, strlen(AP_TYPE_JSON)) != 0 ||
        returned_header(e->transfer, "Content-Encoding"))
        return;
    json_t *shown = ap_rewriting_json(e);
    char *text = shown ? json_dumps(shown, JSON_COMPACT) : NULL;
    if (text && ap_buffer_printf(&f->insert, NULL, "\"x_alignpro\": %s, ", text) == AP_OK)
        f->stage = AT_START;
    free(text);
    json_decref(shown);
}

static void reply_failed(struct ap_exchange *e)
{
    const struct ap_transfer *t = e->transfer;
    switch (t->end) {
    case AP_TRANSFER_LATE:
        ap_reply_error(e, 504, "upstream_timeout", "the upstream did not answer in time");
        break;
    case AP_TRANSFER_DROPPED:
        ap_reply_error(e, 503, "closing", "the server is closing; ask again");
        break;
    default:
        ap_reply_error(e, 502, "upstream_failed", "the upstream did not answer: %s",
                       t->why ? t->why : "no HTTP came back");
    }
}

/* 304 answers a condition that the client set. */
static bool is_redirect(int status)
{
    return status >= 300 && status < 400 && status != 304;
}

/* libmicrohttpd 0.9.75 ends the chunks of a reply to HEAD, which has none (RFC 9112, 6.3): the
 * client would read that as what comes next. */
static void omit_chunks(struct ap_exchange *e)
{
    if (strcmp(e->method, "HEAD") == 0)
        MHD_set_response_options(e->response, MHD_RF_HTTP_VERSION_1_0_ONLY, MHD_RO_END);
}

/* Where there is no key: the client may well have sent one, which is not for the upstream. */
static void reply_refused_key(struct ap_exchange *e)
{
    const struct ap_secret *key = e->server->options.upstream_key;
    ap_reply_error(e, 502, "upstream_refuses_key",
                   key && key->text
                       ? "the upstream does not take this server's key (%d)"
                       : "the upstream wants a key (%d), and this server has none: start it with "
                         "--upstream-key-env or --upstream-key-file, or with "
                         "--forward-authorization to pass the client's on",
                   e->transfer->status);
}

/* Nobody looks into what is passed on: whoever started this server would not learn of it. */
static void tell_of_path(struct ap_exchange *e)
{
    struct ap_server *s = e->server;
    const struct ap_transfer *t = e->transfer;
    if (t->status == 404 && t->post && !ap_upstream_has_path(s->upstream) &&
        !atomic_exchange(&s->told_path, true))
        ap_server_note(s,
                       "the upstream answers 404 at %.*s: an OpenAI base address mostly ends in "
                       "/v1; see whether --upstream should, too",
                       (int)strcspn(t->url, "?"), t->url);
}

static void step_head(struct ap_exchange *e)
{
    const struct ap_transfer *t = e->transfer;
    bool own_key = !e->server->options.forward_authorization;
    if (t->status == 0) {
        reply_failed(e);
    } else if (is_redirect(t->status)) {
        ap_reply_error(e, 502, "upstream_redirects",
                       "the upstream answers with a redirect, which is not followed; correct its "
                       "address");
    } else if (own_key && (t->status == 401 || t->status == 407)) {
        reply_refused_key(e);
    } else {
        tell_of_path(e);
        prepare_insert(e);
        uint64_t size = t->content_length >= 0 && e->forwarding.stage == PASSING
                            ? (uint64_t)t->content_length
                            : MHD_SIZE_UNKNOWN;
        e->response = MHD_create_response_from_callback(size, PIECE, read_piece, e, NULL);
        e->status = t->status;
        if (e->response && size == MHD_SIZE_UNKNOWN)
            omit_chunks(e);
        e->forwarding.passed = e->response != NULL;
        if (e->response)
            copy_headers(e);
        else
            ap_reply_error(e, 500, NULL, "no memory");
    }
    ap_reply_mark(e);
}

/* A client that has all of Content-Length is done before libcurl says that the transfer is; so is
 * one that asked for the head alone. Whoever comes first, such a reply was whole. */
static ap_transfer_end end_of(const struct ap_exchange *e, bool delivered)
{
    const struct ap_forwarding *f = &e->forwarding;
    struct ap_transfer *t = e->transfer;
    if (t->status != 0 && !f->passed)
        return AP_TRANSFER_DROPPED;
    if (delivered && f->passed && !f->cut)
        return AP_TRANSFER_WHOLE;
    pthread_mutex_lock(&t->lock);
    ap_transfer_end end = t->ended ? t->end : AP_TRANSFER_DROPPED;
    pthread_mutex_unlock(&t->lock);
    return end;
}

void ap_forward_end(struct ap_exchange *e, bool delivered)
{
    struct ap_forwarding *f = &e->forwarding;
    struct ap_transfer *t = e->transfer;
    if (t) {
        ap_transfer_end end = end_of(e, delivered);
        atomic_fetch_add(&e->server->metrics.ends[end], 1);
        f->ended = f->passed ? end : AP_TRANSFER_WHOLE;
        ap_exchange_set_transfer(e, NULL);
        /* of a whole one nothing is left to come, and its connection may be kept */
        if (end != AP_TRANSFER_WHOLE || strcmp(e->method, "HEAD") == 0)
            ap_transfer_drop(t);
        ap_transfer_unref(t);
    }
    ap_buffer_free(&f->insert);
}

/* ---- the request ---- */

static void on_head(void *context)
{
    ap_exchange_let_go(context);
}

static void on_sleep(void *context)
{
    ap_exchange_sleep(context);
}

static void on_wake(void *context)
{
    ap_exchange_wake(context);
}

/* Takes the body's memory. */
static void send_on(struct ap_exchange *e, const char *path, struct ap_buffer *body)
{
    struct ap_forwarding *f = &e->forwarding;
    bool failed = true;
    f->reader = (struct ap_transfer_reader){e, on_head, on_sleep, on_wake};
    struct ap_transfer *t = ap_transfer_open(e->server->upstream, &f->reader);
    if (t) {
        t->post = body != NULL;
        if (body) {
            t->body = *body;
            *body = (struct ap_buffer){0};
        }
        t->sent = sent_headers(e, t->post, &failed);
        t->url = ap_upstream_url(e->server->upstream, path, e->query);
        failed = failed || !t->url;
    }
    if (failed) {
        if (body)
            ap_buffer_free(body);
        ap_transfer_unref(t); /* both references: nobody else has seen it */
        ap_transfer_unref(t);
        ap_reply_error(e, 500, NULL, "no memory");
        return;
    }
    e->step = step_head;
    ap_exchange_hold(e);
    ap_exchange_set_transfer(e, t);
    ap_upstream_send(e->server->upstream, t);
}

void ap_forward_models(struct ap_exchange *e)
{
    send_on(e, "/models", NULL);
}

/* Where nothing is exchanged, the bytes that came are those that go. */
void ap_forward_body(struct ap_exchange *e)
{
    const struct ap_rewriting *r = &e->rewriting;
    struct ap_buffer spliced = {0};
    struct ap_error err;
    const char *path = r->kind == AP_BODY_CHAT ? "/chat/completions" : "/completions";
    bool exchanged = r->mark == AP_MARK_REWRITTEN || r->mark == AP_MARK_PARTLY;
    if (!exchanged && r->body.mark_end == 0) {
        send_on(e, path, &e->body);
        return;
    }
    if (ap_chat_body_splice(&r->body, e->body.data, e->body.len, r->rewrites, &spliced, &err) ==
        AP_OK) {
        send_on(e, path, &spliced);
    } else {
        ap_buffer_free(&spliced);
        ap_reply_failed(e, &err);
    }
}
