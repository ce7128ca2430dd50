/* Opening and closing the server (server.h). What happens to a request: exchange.c. */
#include "serve/server_inner.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { FILES_SPARE = 64 };

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

/* ---- opening ---- */

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
    ap_daemon_init(&s->daemon);
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
    AP_TRY(ap_daemon_listen(s, err));
    snprintf(s->url, sizeof(s->url), "http%s://%s", s->certificate ? "s" : "",
             s->daemon.listener.address);
    AP_TRY(ap_daemon_start(s, err));
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
    ap_daemon_close(&s->daemon);
}

void ap_server_close(struct ap_server *s, double seconds, int *n_cut)
{
    if (!s)
        return;
    double until = ap_clock_seconds() + seconds;
    atomic_store(&s->closing, true);
    ap_daemon_stop_listening(&s->daemon);
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
