/* Opening and closing the server (server.h). What happens to a request: exchange.c. */
#include "serve/server_inner.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { FILES_SPARE = 64, REPLY_HEAD_BYTES = 32768 };

const struct ap_server_options ap_server_defaults = {
    .listen = "127.0.0.1:8080",
    .upstream_connections = 256,
    .connect_timeout = 10,
    .budget = 2,
    .seed = 1,
    .body_bytes = (size_t)4 << 20,
    .header_bytes = 16384,
    .json = {.depth = 64, .fields = 65536, .string = (size_t)1 << 20},
    .connections = 2048,
    .connections_per_address = 512,
    .receive_timeout = 30,
    .idle_timeout = 75,
    .request_timeout = 600,
};

/* ---- what it says ---- */

void ap_server_note(struct ap_server *s, const char *fmt, ...)
{
    char text[AP_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    pthread_mutex_lock(&s->sink_lock);
    ap_sink_note(s->options.sink, "serve", "%s", text);
    pthread_mutex_unlock(&s->sink_lock);
}

/* ---- the daemon ---- */

static void on_connection(void *context, struct MHD_Connection *connection, void **peer,
                          enum MHD_ConnectionNotificationCode code)
{
    struct ap_server *s = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        *peer =
            ap_peers_add(&s->peers, s, fd, s->options.idle_timeout + s->options.receive_timeout);
    } else if (*peer) {
        ap_peers_remove(&s->peers, *peer);
        *peer = NULL;
    }
}

static ap_status open_certificate(struct ap_server *s, struct ap_error *err)
{
    const struct ap_server_options *o = &s->options;
    if (!o->tls_cert && !o->tls_key)
        return AP_OK;
    if (!o->tls_cert || !o->tls_key)
        return ap_fail(err, AP_INVALID, "serve: TLS takes both --tls-cert and --tls-key");
    if (MHD_is_feature_supported(MHD_FEATURE_HTTPS_CERT_CALLBACK2) != MHD_YES)
        return ap_fail(err, AP_UNSUPPORTED,
                       "serve: this libmicrohttpd was built without TLS, or with an old GnuTLS");
    return ap_certificate_open(&s->certificate, o->tls_cert, o->tls_key, err);
}

/* A session of libmicrohttpd's points to its connection. */
static int on_handshake(gnutls_session_t session, const struct gnutls_cert_retr_st *offer,
                        gnutls_pcert_st **certs, unsigned *n_cert, gnutls_ocsp_data_st **ocsp,
                        unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags)
{
    const struct ap_peer *peer = ap_exchange_peer(gnutls_session_get_ptr(session));
    (void)offer;
    *ocsp = NULL;
    *n_ocsp = 0;
    *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    return peer ? ap_certificate_copy(peer->server->certificate, certs, n_cert, key)
                : GNUTLS_E_MEMORY_ERROR;
}

/* A socket for each client, one for each request at the upstream. */
static void raise_file_limit(const struct ap_server_options *o)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)o->connections + (rlim_t)o->upstream_connections + FILES_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* A path that holds a NUL is not the one before it: it stays as it was written. */
static size_t unescape(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context, (void)connection;
    return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

/* Those that libmicrohttpd's thread has, and those on their way to it; one that got lost there, for
 * want of memory, counts until no client was let in for a second. */
static bool is_full(struct ap_server *s)
{
    unsigned n_ever;
    int n = ap_peers_n(&s->peers, &n_ever);
    int n_coming = (int)(s->n_let_in - n_ever);
    if (n_coming < 0 || ap_clock_seconds() - s->let_in_at > 1) {
        s->n_let_in = n_ever;
        n_coming = 0;
    }
    return n + n_coming >= s->options.connections;
}

/* On the listener's thread. libmicrohttpd 0.9.75 at a limit of its own of all connections would
 * stop for ever (it does not unlock what it locked), at that of an address it closes the
 * connection. */
static void take_connection(void *server, int fd, const struct sockaddr *from, socklen_t n)
{
    struct ap_server *s = server;
    if (is_full(s)) {
        close(fd);
        return;
    }
    s->let_in_at = ap_clock_seconds();
    s->n_let_in += MHD_add_connection(s->daemon, fd, from, n) == MHD_YES;
}

static ap_status start_daemon(struct ap_server *s, struct ap_error *err)
{
    const struct ap_server_options *o = &s->options;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_NO_LISTEN_SOCKET; /* listener.h */
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)on_handshake},
                                   {MHD_OPTION_END, 0, NULL}};
    s->daemon = MHD_start_daemon(
        flags | (s->certificate ? MHD_USE_TLS : 0), 0, NULL, NULL, ap_exchange_handle, s,
        MHD_OPTION_URI_LOG_CALLBACK, ap_exchange_uri, s, MHD_OPTION_NOTIFY_COMPLETED,
        ap_exchange_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)INT_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)o->connections_per_address, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(o->idle_timeout + 0.5), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        o->header_bytes + REPLY_HEAD_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_ARRAY,
        s->certificate ? tls : &tls[1], MHD_OPTION_END);
    if (!s->daemon)
        return ap_fail(err, AP_IO, "serve: the server does not start");
    return ap_listener_start(&s->listener, take_connection, s, err);
}

static ap_status open_upstream(struct ap_server *s, struct ap_error *err)
{
    const struct ap_server_options *o = &s->options;
    struct ap_upstream_options options = {.url = o->upstream,
                                          .ca_file = o->upstream_ca,
                                          .connect_timeout = o->connect_timeout,
                                          .timeout = o->request_timeout,
                                          .connections = o->upstream_connections,
                                          .buffer_bytes = (size_t)256 << 10};
    return o->upstream ? ap_upstream_open(&s->upstream, &options, err) : AP_OK;
}

static ap_status check_options(const struct ap_server *s, struct ap_error *err)
{
    const struct ap_server_options *o = &s->options;
    if (o->upstream && s->engine_target)
        return ap_fail(err, AP_INVALID,
                       "serve: both an upstream and a local target, expected one of them");
    if (o->forward_authorization && o->upstream_key && o->upstream_key->text)
        return ap_fail(err, AP_INVALID,
                       "serve: both a key for the upstream and the client's own, expected one of "
                       "them");
    if (o->forward_authorization && o->keys_file)
        return ap_fail(err, AP_INVALID,
                       "serve: the client's own key for the upstream would be this server's; "
                       "expected --keys or --forward-authorization");
    return AP_OK;
}

static ap_status copy_name(char **to, const char *from, struct ap_error *err)
{
    *to = from ? ap_strdup(from) : NULL;
    return from && !*to ? ap_fail(err, AP_MEMORY, "serve: no memory") : AP_OK;
}

static ap_status copy_names(struct ap_server *s, struct ap_error *err)
{
    ap_status status = AP_OK;
    if (!s->engine)
        return AP_OK;
    AP_TRY(copy_name(&s->engine_model, s->engine->model, err));
    AP_TRY(copy_name(&s->engine_target, s->engine->target, err));
    AP_TRY(copy_name(&s->engine_reward, s->engine->reward, err));
out:
    return status;
}

ap_status ap_server_open(struct ap_server **out, const struct ap_server_options *options,
                         struct ap_serve_engine *engine, struct ap_error *err)
{
    struct ap_server *s = ap_calloc(1, sizeof(*s));
    ap_status status;
    *out = NULL;
    if (!s) {
        if (engine)
            engine->close(engine->self);
        return ap_fail(err, AP_MEMORY, "serve: no memory");
    }
    s->options = *options;
    s->listener.fd = s->listener.wake = -1;
    s->began = ap_clock_seconds();
    pthread_mutex_init(&s->engine_lock, NULL);
    pthread_mutex_init(&s->sink_lock, NULL);
    s->engine = engine;
    AP_TRY(copy_names(s, err));
    AP_TRY(check_options(s, err));
    raise_file_limit(options);
    if (options->keys_file)
        AP_TRY(ap_keys_open(&s->keys, options->keys_file, err));
    AP_TRY(open_certificate(s, err));
    AP_TRY(open_upstream(s, err));
    AP_TRY(ap_peers_open(
        &s->peers, options->receive_timeout + options->budget + options->request_timeout + 1, err));
    AP_TRY(
        ap_listener_open(&s->listener, options->listen, options->keys_file || options->open, err));
    snprintf(s->url, sizeof(s->url), "http%s://%s", s->certificate ? "s" : "", s->listener.address);
    AP_TRY(start_daemon(s, err));
    *out = s;
out:
    if (status != AP_OK)
        ap_server_close(s, 0, NULL);
    return status;
}

const char *ap_server_url(const struct ap_server *s)
{
    return s->url;
}

ap_status ap_server_reload_keys(struct ap_server *s, struct ap_error *err)
{
    return s->keys ? ap_keys_reload(s->keys, err) : AP_OK;
}

ap_status ap_server_reload_certificate(struct ap_server *s, struct ap_error *err)
{
    return s->certificate ? ap_certificate_reload(s->certificate, err) : AP_OK;
}

/* ---- the end ---- */

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static void close_engine(struct ap_server *s)
{
    pthread_mutex_lock(&s->engine_lock);
    struct ap_serve_engine *engine = s->engine;
    s->engine = NULL;
    pthread_mutex_unlock(&s->engine_lock);
    if (engine)
        engine->close(engine->self);
}

/* What is left is ended from behind, so that nothing sleeps when the daemon stops. */
static void end_all(struct ap_server *s)
{
    ap_peers_abandon_all(&s->peers);
    ap_peers_stop(&s->peers);
    ap_upstream_stop(s->upstream);
    close_engine(s);
    while (atomic_load(&s->n_asleep) > 0)
        pause_ms(1);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
}

void ap_server_close(struct ap_server *s, double seconds, int *n_cut)
{
    if (!s)
        return;
    double until = ap_clock_seconds() + seconds;
    atomic_store(&s->closing, true);
    ap_listener_close(&s->listener);
    if (s->peers.started)
        ap_peers_hurry(&s->peers);
    while (atomic_load(&s->n_exchange) > 0 && ap_clock_seconds() < until)
        pause_ms(5);
    if (n_cut)
        *n_cut = atomic_load(&s->n_exchange);
    end_all(s);
    ap_upstream_close(s->upstream);
    ap_peers_free(&s->peers);
    ap_keys_close(s->keys);
    ap_certificate_close(s->certificate);
    ap_free(s->engine_model);
    ap_free(s->engine_target);
    ap_free(s->engine_reward);
    pthread_mutex_destroy(&s->engine_lock);
    pthread_mutex_destroy(&s->sink_lock);
    ap_free(s);
}
