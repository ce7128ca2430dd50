/* Serving a run (alignpro/serve.h): its engine, the server before it, and the wait for a signal. */
#include "alignpro/serve.h"

#include "base/clock.h"
#include "pipeline/serve_engine.h"
#include "serve/keys.h"
#include "serve/server.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { LOOK_MS = 100 };

_Static_assert(AP_SERVE_KEY_MAX == AP_KEY_TEXT_MAX, "AP_SERVE_KEY_MAX");

void ap_serve_defaults(struct ap_serve_options *o)
{
    const struct ap_server_options *d = &ap_server_defaults;
    *o = (struct ap_serve_options){
        .score = true,
        .cache_bytes = (size_t)64 << 20,
        .queue = 256,
        .batch = 16,
        .rewrite = "last",
        .budget_s = d->budget,
        .seed = d->seed,
        .listen = d->listen,
        .upstream_connections = d->upstream_connections,
        .connect_timeout_s = d->connect_timeout,
        .body_bytes = d->body_bytes,
        .header_bytes = d->header_bytes,
        .json_depth = d->json.depth,
        .json_fields = d->json.fields,
        .connections = d->connections,
        .connections_per_address = d->connections_per_address,
        .receive_timeout_s = d->receive_timeout,
        .idle_timeout_s = d->idle_timeout,
        .request_timeout_s = d->request_timeout,
        .close_timeout_s = 30,
    };
}

/* ---- checking ---- */

static ap_status read_policy(const char *word, ap_rewrite_policy *policy, struct ap_error *err)
{
    static const char *const words[] = {
        [AP_REWRITE_LAST] = "last", [AP_REWRITE_ALL] = "all", [AP_REWRITE_NONE] = "none"};
    for (size_t i = 0; i < AP_LEN(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *policy = (ap_rewrite_policy)i;
            return AP_OK;
        }
    return ap_fail(err, AP_INVALID, "serve: what is rewritten is '%s', expected last, all or none",
                   word);
}

static ap_status check_range(const char *what, double value, double min, double max,
                             struct ap_error *err)
{
    if (isfinite(value) && value >= min && value <= max)
        return AP_OK;
    return ap_fail(err, AP_INVALID, "serve: %s is %g, expected %g to %g", what, value, min, max);
}

static ap_status check_numbers(const struct ap_serve_options *o, struct ap_error *err)
{
    const struct {
        const char *what;
        double value, min, max;
    } rows[] = {
        {"the budget of a rewrite", o->budget_s, 0, 3600},
        {"the temperature", o->temperature, 0, 1000},
        {"the time to connect", o->connect_timeout_s, 0.01, 3600},
        {"the time to receive", o->receive_timeout_s, 0.01, 86400},
        {"the time that a connection may idle", o->idle_timeout_s, 1, 86400},
        {"the time of an answer", o->request_timeout_s, 0.01, 86400},
        {"the time to close", o->close_timeout_s, 0, 86400},
        {"the number of connections", o->connections, 1, 1 << 20},
        {"the number of connections of an address", o->connections_per_address, 0, 1 << 20},
        {"the number of connections to the upstream", o->upstream_connections, 1, 1 << 20},
        {"the size of a body", (double)o->body_bytes, 64, 1 << 30},
        {"the size of a head", (double)o->header_bytes, 1024, 1 << 20},
        {"the depth of a body", o->json_depth, 4, 1000},
        {"the number of a body's fields", (double)o->json_fields, 8, 1 << 24},
    };
    ap_status status = AP_OK;
    for (size_t i = 0; i < AP_LEN(rows) && status == AP_OK; i++)
        status = check_range(rows[i].what, rows[i].value, rows[i].min, rows[i].max, err);
    return status;
}

static struct ap_server_options server_options(const struct ap_serve_options *o,
                                               const struct ap_secret *key,
                                               const struct ap_sink *sink)
{
    return (struct ap_server_options){
        .listen = o->listen,
        .open = o->open,
        .keys_file = o->keys_file,
        .tls_cert = o->tls_cert,
        .tls_key = o->tls_key,
        .upstream = o->upstream,
        .upstream_ca = o->upstream_ca,
        .upstream_key = key,
        .forward_authorization = o->forward_authorization,
        .upstream_connections = o->upstream_connections,
        .connect_timeout = o->connect_timeout_s,
        .budget = o->budget_s,
        .temperature = o->temperature,
        .seed = o->seed,
        .body_bytes = o->body_bytes,
        .header_bytes = o->header_bytes,
        .json = {o->json_depth, o->json_fields, o->body_bytes},
        .connections = o->connections,
        .connections_per_address = o->connections_per_address,
        .receive_timeout = o->receive_timeout_s,
        .idle_timeout = o->idle_timeout_s,
        .request_timeout = o->request_timeout_s,
        .log = o->log,
        .log_prompts = o->log_prompts,
        .sink = sink,
    };
}

/* ---- opening ---- */

/* A run that has no reward, or none yet, is served without it. */
static ap_status open_engine(struct ap_serve_engine **engine, const struct ap_serve_options *o,
                             const struct ap_sink *sink, struct ap_error *err)
{
    struct ap_serve_engine_options options = {.run_dir = o->run_dir,
                                              .sets = o->sets,
                                              .n_sets = o->n_sets,
                                              .threads = o->threads,
                                              .local_target = o->local_target,
                                              .with_reward = o->score,
                                              .cache_bytes = o->cache_bytes,
                                              .queue = o->queue,
                                              .batch = o->batch};
    struct ap_error why;
    ap_status status = ap_serve_engine_open(engine, &options, err);
    if (status != AP_NOT_FOUND || !o->score)
        return status;
    why = *err;
    options.with_reward = false;
    status = ap_serve_engine_open(engine, &options, err);
    if (status == AP_OK)
        ap_sink_warn(sink, "serve", "/v1/score is not served: %s", why.text);
    return status;
}

static void tell_stage(const struct ap_serve_options *o, const struct ap_serve_engine *engine,
                       const struct ap_sink *sink)
{
    const char *stage = ap_serve_engine_stage(engine);
    if (strcmp(stage, "align") != 0 && strcmp(o->rewrite, "none") != 0)
        ap_sink_warn(sink, "serve", "%s: align is not done; this is the prompter %s", o->run_dir,
                     strcmp(stage, "sft") == 0 ? "after sft" : "before any training");
}

/* ---- serving ---- */

typedef ap_status (*reading)(struct ap_server *, struct ap_error *);

static void reload_one(struct ap_server *server, const char *what, reading read_again,
                       const struct ap_sink *sink)
{
    struct ap_error err;
    if (read_again(server, &err) == AP_OK)
        ap_sink_note(sink, "serve", "%s were read again", what);
    else
        ap_sink_warn(sink, "serve", "%s are as they were: %s", what, err.text);
}

static void reload(struct ap_server *server, const struct ap_serve_options *o,
                   const struct ap_sink *sink)
{
    if (!o->keys_file && !o->tls_cert)
        ap_sink_note(sink, "serve", "there are no keys and no certificate to be read again");
    if (o->keys_file)
        reload_one(server, "the keys", ap_server_reload_keys, sink);
    if (o->tls_cert)
        reload_one(server, "the certificate and its key", ap_server_reload_certificate, sink);
}

static void wait_for_stop(struct ap_server *server, const struct ap_serve_options *o,
                          const struct ap_sink *sink)
{
    while (!ap_sink_stopped(sink)) {
        nanosleep(&(struct timespec){0, LOOK_MS * 1000000L}, NULL); /* a signal ends it early */
        if (o->reload && *o->reload) {
            *o->reload = 0;
            reload(server, o, sink);
        }
    }
}

ap_status ap_serve(const struct ap_serve_options *o, const struct ap_sink *sink,
                   struct ap_error *err)
{
    struct ap_secret key = {0};
    struct ap_server_options options = server_options(o, &key, sink);
    struct ap_serve_engine *engine = NULL;
    struct ap_server *server = NULL;
    int n_cut = 0;
    ap_status status;
    AP_TRY(check_numbers(o, err));
    AP_TRY(read_policy(o->rewrite, &options.rewrite, err));
    if (o->upstream && o->local_target)
        AP_TRY(ap_fail(err, AP_INVALID,
                       "serve: both an upstream and the local target, expected one of them"));
    AP_TRY(ap_secret_open(&key, o->upstream_key_env ? o->upstream_key_env : "",
                          o->upstream_key_file ? o->upstream_key_file : "", "upstream", err));
    AP_TRY(open_engine(&engine, o, sink, err));
    tell_stage(o, engine, sink);
    AP_TRY(ap_server_open(&server, &options, engine, err));
    if (o->listening)
        o->listening(o->context, ap_server_url(server));
    wait_for_stop(server, o, sink);
    ap_server_close(server, o->close_timeout_s, &n_cut);
    if (n_cut > 0)
        ap_sink_warn(sink, "serve", "%d requests were ended before they were answered", n_cut);
out:
    ap_secret_free(&key);
    return status;
}

ap_status ap_serve_new_key(const char *keys_file, const char *name, char key[AP_SERVE_KEY_MAX],
                           struct ap_error *err)
{
    return ap_keys_make(keys_file, name, key, err);
}
