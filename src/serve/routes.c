/* The routes, and who may take them: method, host, key, rate, size, before a byte of the body is
 * looked at. Here too: the answers that need no body. */
#include "serve/server_inner.h"

#include "base/clock.h"
#include "serve/header.h"
#include "serve/page.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- answers without a body ---- */

static void step_page(struct ap_exchange *e)
{
    const char *type, *text = ap_page(e->route->path, &type);
    ap_reply_static(e, 200, type, text);
    ap_reply_header(e, "Content-Security-Policy", ap_page_policy);
    ap_reply_header(e, "Referrer-Policy", "no-referrer");
    ap_reply_header(e, "X-Frame-Options", "DENY");
}

static void step_health(struct ap_exchange *e)
{
    static const char *const policies[] = {
        [AP_REWRITE_LAST] = "last", [AP_REWRITE_ALL] = "all", [AP_REWRITE_NONE] = "none"};
    struct ap_server *s = e->server;
    bool closing = atomic_load(&s->closing);
    ap_reply_json(e, closing ? 503 : 200,
                  json_pack("{s:s, s:s?, s:s?, s:s?, s:b, s:s, s:f}", "status",
                            closing ? "closing" : "ok", "model", s->engine_model, "target",
                            s->engine_target, "reward", s->engine_reward, "upstream",
                            s->upstream != NULL, "rewrite", policies[s->options.rewrite], "seconds",
                            ap_clock_seconds() - s->began));
}

static void step_metrics(struct ap_exchange *e)
{
    struct ap_server *s = e->server;
    struct ap_buffer body = {0};
    struct ap_error err;
    struct ap_metrics_now now = {.n_connection = ap_peers_n(&s->peers),
                                 .n_exchange = atomic_load(&s->n_exchange),
                                 .n_upstream = s->upstream ? ap_upstream_n_active(s->upstream) : 0,
                                 .seconds = ap_clock_seconds() - s->began,
                                 .route_name = ap_route_name};
    pthread_mutex_lock(&s->engine_lock);
    now.has_engine = s->engine != NULL;
    if (now.has_engine)
        s->engine->counts(s->engine->self, &now.engine);
    pthread_mutex_unlock(&s->engine_lock);
    if (ap_metrics_write(&s->metrics, &now, &body, &err) == AP_OK)
        ap_reply(e, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
    else
        ap_reply_failed(e, &err);
    ap_buffer_free(&body);
}

static void step_models(struct ap_exchange *e)
{
    const struct ap_server *s = e->server;
    const char *name = s->engine_target ? s->engine_target : s->engine_model;
    if (s->upstream) {
        ap_forward_models(e);
        return;
    }
    ap_reply_json(e, 200,
                  json_pack("{s:s, s:[{s:s, s:s, s:i, s:s}]}", "object", "list", "data", "id",
                            name ? name : "none", "object", "model", "created", 0, "owned_by",
                            "alignpro"));
}

/* ---- the table ---- */

static const struct ap_route routes[] = {
    {"/", "GET", false, false, step_page},
    {"/page.css", "GET", false, false, step_page},
    {"/page.js", "GET", false, false, step_page},
    {"/healthz", "GET", false, false, step_health},
    {"/metrics", "GET", true, false, step_metrics},
    {"/v1/models", "GET", true, true, step_models},
    {"/v1/chat/completions", "POST", true, true, ap_rewriting_chat},
    {"/v1/completions", "POST", true, true, ap_rewriting_completion},
    {"/v1/rewrite", "POST", true, false, ap_asking_rewrite},
    {"/v1/score", "POST", true, false, ap_asking_score},
};

int ap_route_index(const struct ap_route *route)
{
    return route ? (int)(route - routes) : (int)AP_LEN(routes);
}

const char *ap_route_name(int index)
{
    _Static_assert(AP_LEN(routes) < AP_METRIC_ROUTES, "counters for each route");
    const int n = (int)AP_LEN(routes);
    return index < n ? routes[index].path : index == n ? "none" : NULL;
}

static const struct ap_route *find_route(const char *path)
{
    for (size_t i = 0; i < AP_LEN(routes); i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return NULL;
}

/* ---- who may ---- */

static bool is_known_host(const char *host)
{
    size_t n = strcspn(host, ":");
    return host[0] == '[' || (n == 9 && strncasecmp(host, "localhost", 9) == 0) ||
           strspn(host, "0123456789.") == n;
}

/* Without keys, what keeps a web page elsewhere from asking through its visitor's browser: it
 * cannot hide where it comes from, nor call this machine by a name of its own. */
static void check_origin(struct ap_exchange *e)
{
    const char *host = ap_exchange_header(e, "Host"), *origin = ap_exchange_header(e, "Origin");
    const char *behind = origin ? strstr(origin, "://") : NULL;
    if (origin && (!behind || !host || strcasecmp(behind + 3, host) != 0))
        ap_reply_error(e, 403, "wrong_origin",
                       "a page of '%.80s' asks, and this server, which has no keys, answers none "
                       "but its own ('%.80s'); start it with --keys",
                       origin, host ? host : "");
    else if (e->server->daemon.listener.loopback && host && !is_known_host(host))
        ap_reply_error(e, 403, "wrong_host",
                       "the request is for the host '%.80s', and this server, which has no keys "
                       "and listens on this machine alone, takes an address or localhost only; "
                       "send such a Host, or start it with --keys",
                       host);
}

static void refuse_key(struct ap_exchange *e)
{
    atomic_fetch_add(&e->server->metrics.refused_key, 1);
    ap_reply_error(e, 401, "invalid_api_key",
                   "no key of this server; send Authorization: Bearer and a key");
    ap_reply_header(e, "WWW-Authenticate", "Bearer");
}

static void refuse_rate(struct ap_exchange *e, double retry_after)
{
    char seconds[32];
    atomic_fetch_add(&e->server->metrics.refused_rate, 1);
    snprintf(seconds, sizeof(seconds), "%.0f", ceil(retry_after > 1 ? retry_after : 1));
    ap_reply_error(e, 429, "rate_limit_exceeded",
                   "the key %s is over its rate; ask again in %s seconds", e->key_name, seconds);
    ap_reply_header(e, "Retry-After", seconds);
}

static bool goes_on(const struct ap_exchange *e)
{
    return e->route && e->route->forwards && e->server->upstream;
}

/* What somebody works for, or pays: not a look at what is there. */
static bool is_counted(const struct ap_exchange *e)
{
    return strcmp(e->route->method, "POST") == 0 || goes_on(e);
}

static void check_key(struct ap_exchange *e)
{
    const char *given = ap_exchange_header(e, "Authorization");
    double retry_after = 0;
    if (!given || strncasecmp(given, "Bearer ", 7) != 0) {
        refuse_key(e);
        return;
    }
    given += 7 + strspn(given + 7, " ");
    switch (ap_keys_check(e->server->keys, given, is_counted(e), ap_clock_seconds(), e->key_name,
                          &retry_after)) {
    case AP_KEY_UNKNOWN:
        refuse_key(e);
        break;
    case AP_KEY_LIMITED:
        refuse_rate(e, retry_after);
        break;
    case AP_KEY_KNOWN:
        break;
    }
}

/* ---- where the request ends ---- */

struct head {
    int n_length, n_host;
    const char *wrong; /* a line that other servers may read as another one, or not at all */
};

/* Lines that libmicrohttpd takes and that others refuse, or read as two. */
static enum MHD_Result look_at_line(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct head *head = context;
    (void)kind;
    head->n_length +=
        strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0;
    head->n_host += strcasecmp(name, "Host") == 0;
    /* libmicrohttpd 0.9.75 puts a folded line behind the name, not the value, and both elsewhere:
     * "Content-Le: 9" with " ngth" below it would be a length that nobody else has seen */
    if (value && (uintptr_t)name > (uintptr_t)value)
        head->wrong = "a second line";
    if (!ap_header_is_name(name, strlen(name)))
        head->wrong = "a name that is none";
    if (value && !ap_header_is_value(value))
        head->wrong = "a control character";
    return MHD_YES;
}

/* A length said twice, or in a way that not all read alike, is how two servers come to see
 * different requests in the same bytes. Nothing behind it is read. */
static void check_head(struct ap_exchange *e, const char *version)
{
    const char *length = ap_exchange_header(e, "Content-Length");
    const char *encoding = ap_exchange_header(e, "Transfer-Encoding");
    const char *content = ap_exchange_header(e, "Content-Encoding");
    struct head head = {0};
    MHD_get_connection_values(e->connection, MHD_HEADER_KIND, look_at_line, &head);
    if (head.n_length > 1)
        ap_reply_error(e, 400, NULL, "the length of the body is given %d times, expected once",
                       head.n_length);
    else if (head.wrong)
        ap_reply_error(e, 400, NULL, "a line of the head has %s", head.wrong);
    else if (head.n_host > 1)
        ap_reply_error(e, 400, NULL, "the head has %d lines Host, expected one", head.n_host);
    else if (length && (!length[0] || length[strspn(length, "0123456789")]))
        ap_reply_error(e, 400, NULL, "the length of the body is no number");
    else if (encoding && strcmp(version, MHD_HTTP_VERSION_1_1) != 0) /* RFC 9112, 6.1 */
        ap_reply_error(e, 400, NULL, "the body comes in chunks, which %s has not", version);
    else if (encoding && strcasecmp(encoding, "chunked") != 0)
        ap_reply_error(e, 501, NULL, "the body comes in a way that is not known, expected chunked");
    else if (length && strtoull(length, NULL, 10) > e->server->options.body_bytes)
        ap_reply_error(e, 413, "body_too_large", "the body has %s bytes, at most %zu are taken",
                       length, e->server->options.body_bytes);
    else if (content && strcasecmp(content, "identity") != 0)
        ap_reply_error(e, 415, NULL, "the body is compressed, expected it as it is");
    ap_reply_header(e, "Connection", "close");
}

/* What would end the query, or the request line, for another server. */
static void check_query(struct ap_exchange *e)
{
    for (const char *c = e->query; c && *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '#') {
            ap_reply_error(e, 400, NULL,
                           "the query has a character that is to be percent-encoded, expected "
                           "printable ASCII without # and space");
            return;
        }
}

static bool method_is(const struct ap_exchange *e, const char *method)
{
    return strcmp(e->method, method) == 0 ||
           (strcmp(method, "GET") == 0 && strcmp(e->method, "HEAD") == 0);
}

void ap_route_admit(struct ap_exchange *e, const char *path, const char *version)
{
    const struct ap_server *s = e->server;
    e->route = find_route(path);
    check_head(e, version);
    if (e->response)
        return;
    if (!e->route) {
        ap_reply_error(e, 404, "unknown_url", "there is nothing at this path");
    } else if (!method_is(e, e->route->method)) {
        ap_reply_error(e, 405, "method_not_allowed", "%s takes %s only", e->route->path,
                       e->route->method);
        ap_reply_header(e, "Allow", strcmp(e->route->method, "GET") == 0 ? "GET, HEAD" : "POST");
    } else if (!s->keys && !s->options.open) {
        check_origin(e);
    } else if (s->keys && e->route->needs_key) {
        check_key(e);
    }
    if (!e->response && goes_on(e))
        check_query(e);
    e->step = e->route ? e->route->begin : NULL;
}
