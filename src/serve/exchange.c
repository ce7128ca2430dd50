/* One request on its way (exchange.h): what libmicrohttpd calls, sleep and wake, the work that
 * other threads do for it. */
#include "serve/server_inner.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

/* ---- sleep and wake ---- */

void ap_exchange_hold(struct ap_exchange *e)
{
    atomic_fetch_add(&e->n_holding, 1);
}

void ap_exchange_sleep(struct ap_exchange *e)
{
    atomic_fetch_add(&e->server->n_asleep, 1);
    atomic_store(&e->asleep_since, (long long)(1e3 * ap_clock_seconds()) + 1);
    MHD_suspend_connection(e->connection);
}

void ap_exchange_wake(struct ap_exchange *e)
{
    struct ap_server *s = e->server;
    atomic_store(&e->asleep_since, 0);
    MHD_resume_connection(e->connection); /* e may be gone from here on */
    ap_daemon_wake(&s->daemon);
    atomic_fetch_sub(&s->n_asleep, 1);
}

void ap_exchange_let_go(struct ap_exchange *e)
{
    if (atomic_fetch_sub(&e->n_holding, 1) == 1)
        ap_exchange_wake(e);
}

/* ---- work ---- */

static void on_done(struct ap_work *w)
{
    struct ap_task *task = w->context;
    atomic_store(&task->over, true);
    ap_exchange_let_go(task->exchange);
}

/* Whether the engine takes them. */
static bool give(struct ap_exchange *e, struct ap_task *tasks, size_t n)
{
    struct ap_server *s = e->server;
    for (size_t i = 0; i < n; i++) {
        tasks[i].exchange = e;
        tasks[i].taken = true;
        tasks[i].work.context = &tasks[i];
        tasks[i].work.next = i + 1 < n ? &tasks[i + 1].work : NULL;
    }
    pthread_mutex_lock(&s->engine_lock);
    bool taken = n > 0 && s->engine && s->engine->submit(s->engine->self, &tasks[0].work);
    pthread_mutex_unlock(&s->engine_lock);
    for (size_t i = 0; i < n && !taken; i++) {
        tasks[i].taken = false;
        atomic_store(&tasks[i].over, true);
    }
    return taken;
}

/* Under e's lock. */
static void cancel_works(struct ap_exchange *e)
{
    struct ap_server *s = e->server;
    pthread_mutex_lock(&s->engine_lock);
    for (size_t i = 0; i < e->n_task && s->engine; i++)
        if (!atomic_load(&e->tasks[i].over))
            s->engine->cancel(s->engine->self, &e->tasks[i].work);
    pthread_mutex_unlock(&s->engine_lock);
}

/* Who was gone before they were known here has not cancelled them. */
static void set_tasks(struct ap_exchange *e, struct ap_task *tasks, size_t n)
{
    pthread_mutex_lock(&e->lock);
    e->tasks = tasks;
    e->n_task = n;
    if (atomic_load(&e->gone))
        cancel_works(e);
    pthread_mutex_unlock(&e->lock);
}

void ap_exchange_submit(struct ap_exchange *e, struct ap_task *tasks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tasks[i].work.done = on_done;
    atomic_fetch_add(&e->n_holding, (int)n);
    if (!give(e, tasks, n))
        atomic_fetch_sub(&e->n_holding, (int)n); /* not to 0: the step holds e, too */
    set_tasks(e, tasks, n);
}

bool ap_exchange_submit_growing(struct ap_exchange *e, struct ap_task *tasks, size_t n)
{
    atomic_fetch_add(&e->n_ref, (int)n);
    bool taken = give(e, tasks, n);
    if (!taken)
        atomic_fetch_sub(&e->n_ref, (int)n); /* not to 0: libmicrohttpd has one, too */
    set_tasks(e, tasks, n);
    return taken;
}

void ap_exchange_set_transfer(struct ap_exchange *e, struct ap_transfer *t)
{
    pthread_mutex_lock(&e->lock);
    e->transfer = t;
    pthread_mutex_unlock(&e->lock);
}

void ap_exchange_abandon(struct ap_exchange *e)
{
    atomic_store(&e->gone, true);
    pthread_mutex_lock(&e->lock);
    cancel_works(e);
    if (e->transfer)
        ap_transfer_drop(e->transfer);
    pthread_mutex_unlock(&e->lock);
}

/* What the last step left with others, as far as it is over: all of it but growing answers. */
static void forget_work(struct ap_exchange *e)
{
    pthread_mutex_lock(&e->lock);
    while (e->n_task > 0 && atomic_load(&e->tasks[e->n_task - 1].over))
        e->n_task--;
    pthread_mutex_unlock(&e->lock);
}

/* ---- what libmicrohttpd calls ---- */

const char *ap_exchange_header(const struct ap_exchange *e, const char *name)
{
    return MHD_lookup_connection_value(e->connection, MHD_HEADER_KIND, name);
}

struct ap_peer *ap_exchange_peer(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* Called first of all, while the query is still there as it came. */
void *ap_exchange_uri(void *server, const char *uri, struct MHD_Connection *connection)
{
    struct ap_peer *peer = ap_exchange_peer(connection);
    const char *mark = strchr(uri, '?');
    if (!peer)
        return NULL;
    ap_peer_await(peer, ((const struct ap_server *)server)->options.receive_timeout);
    ap_free(peer->query);
    peer->query = mark ? ap_strdup(mark + 1) : NULL;
    peer->query_lost = mark && !peer->query;
    return NULL;
}

static struct ap_exchange *open_exchange(struct ap_server *s, struct MHD_Connection *connection,
                                         const char *method)
{
    struct ap_peer *peer = ap_exchange_peer(connection);
    struct ap_exchange *e = peer && !peer->query_lost ? ap_calloc(1, sizeof(*e)) : NULL;
    if (!e)
        return NULL;
    atomic_init(&e->n_ref, 1);
    e->server = s;
    e->connection = connection;
    e->peer = peer;
    e->query = peer->query;
    peer->query = NULL;
    e->began = ap_clock_seconds();
    e->body.max = s->options.body_bytes;
    strncpy(e->method, method, sizeof(e->method) - 1);
    pthread_mutex_init(&e->lock, NULL);
    atomic_fetch_add(&s->n_exchange, 1);
    ap_peer_await(e->peer, s->options.receive_timeout);
    ap_peer_heard(e->peer);
    ap_peers_set_exchange(&s->peers, e->peer, e);
    return e;
}

static enum MHD_Result send_response(struct ap_exchange *e)
{
    struct MHD_Response *response = e->response;
    if (atomic_load(&e->server->closing))
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result = MHD_queue_response(e->connection, (unsigned)e->status, response);
    MHD_destroy_response(response);
    e->response = NULL;
    e->sent = true;
    return result;
}

/* The next step, and sleep if it left work. */
static enum MHD_Result move_on(struct ap_exchange *e)
{
    forget_work(e);
    if (atomic_load(&e->gone) || e->speechless)
        return MHD_NO;
    if (!e->response) {
        atomic_store(&e->n_holding, 1);
        e->step(e);
    }
    if (e->speechless)
        return MHD_NO;
    if (e->response)
        return send_response(e);
    ap_exchange_sleep(e);
    ap_exchange_let_go(e);
    return MHD_YES;
}

static void take_body(struct ap_exchange *e, const char *data, size_t n)
{
    if (e->response || e->body_cut)
        return;
    if (ap_buffer_append(&e->body, data, n, NULL) == AP_OK)
        return;
    e->body_cut = true;
    ap_buffer_free(&e->body);
    ap_reply_error(e, 413, "body_too_large", "the body has more than %zu bytes",
                   e->server->options.body_bytes);
}

/* A refusal that can be said before the body comes, if the client waits to be told or will send
 * more than anybody would read; else it is said when the body is there, which loses no answer. */
static bool says_at_once(const struct ap_exchange *e)
{
    const char *length = ap_exchange_header(e, "Content-Length");
    return e->response &&
           (ap_exchange_header(e, "Expect") || ap_exchange_header(e, "Transfer-Encoding") ||
            (length && strtoull(length, NULL, 10) > e->server->options.body_bytes));
}

enum MHD_Result ap_exchange_handle(void *server, struct MHD_Connection *connection, const char *url,
                                   const char *method, const char *version, const char *data,
                                   size_t *n_data, void **exchange)
{
    struct ap_exchange *e = *exchange;
    if (!e) {
        *exchange = e = open_exchange(server, connection, method);
        if (!e)
            return MHD_NO;
        ap_route_admit(e, url, version);
        return says_at_once(e) ? send_response(e) : MHD_YES;
    }
    if (*n_data > 0) {
        ap_peer_heard(e->peer);
        take_body(e, data, *n_data);
        *n_data = 0;
        return MHD_YES;
    }
    if (!e->body_whole)
        ap_peer_await(e->peer, 0);
    e->body_whole = true;
    return move_on(e);
}

void ap_exchange_unref(struct ap_exchange *e)
{
    struct ap_server *s = e->server;
    if (atomic_fetch_sub(&e->n_ref, 1) != 1)
        return;
    ap_answering_free(e);
    ap_rewriting_free(e);
    ap_asking_free(e);
    ap_buffer_free(&e->body);
    ap_free(e->query);
    pthread_mutex_destroy(&e->lock);
    ap_free(e);
    atomic_fetch_sub(&s->n_exchange, 1);
}

static void write_log(struct ap_exchange *e, double seconds)
{
    struct ap_server *s = e->server;
    ap_transfer_end end = e->forwarding.ended;
    if (s->options.log)
        ap_server_note(s, "%s %s %d %.1f ms %s%s%s", e->method, e->route ? e->route->path : "-",
                       e->sent ? e->status : 0, 1e3 * seconds, e->key_name[0] ? e->key_name : "-",
                       end == AP_TRANSFER_WHOLE ? "" : " ",
                       end == AP_TRANSFER_WHOLE ? "" : ap_metrics_ends[end]);
}

void ap_exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                           enum MHD_RequestTerminationCode why)
{
    struct ap_server *s = server;
    struct ap_exchange *e = *exchange;
    (void)connection;
    if (!e)
        return;
    double seconds = ap_clock_seconds() - e->began;
    ap_peers_set_exchange(&s->peers, e->peer, NULL);
    ap_peer_await(e->peer, s->options.idle_timeout + s->options.receive_timeout);
    if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK && why != MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN)
        atomic_fetch_add(&s->metrics.client_gone, 1);
    ap_metrics_request(&s->metrics, ap_route_index(e->route), e->sent ? e->status : 0, seconds);
    ap_forward_end(e, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    write_log(e, seconds);
    if (e->response)
        MHD_destroy_response(e->response);
    pthread_mutex_lock(&e->lock);
    cancel_works(e); /* nobody reads any more what they would still give */
    pthread_mutex_unlock(&e->lock);
    ap_exchange_unref(e);
    *exchange = NULL;
}
