/* Counters as Prometheus reads them (metrics.h): text format 0.0.4. */
#include "serve/metrics.h"

#include <stdarg.h>
#include <stdio.h>

static const double bounds[AP_METRIC_BUCKETS - 1] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120};

const char *const ap_metrics_ends[AP_METRIC_ENDS] = {"whole", "unreached", "late", "broken",
                                                     "dropped"};

struct writer {
    struct ap_buffer *out;
    struct ap_error *err;
    ap_status status;
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *w, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (w->status == AP_OK)
        w->status = ap_buffer_puts(w->out, line, w->err);
}

void ap_metrics_request(struct ap_metrics *m, int route, int status, double seconds)
{
    int class = status >= 100 && status < 600 ? status / 100 : 0;
    size_t bucket = 0;
    while (bucket < AP_LEN(bounds) && seconds > bounds[bucket])
        bucket++;
    atomic_fetch_add(&m->requests[route][class], 1);
    atomic_fetch_add(&m->seconds[bucket], 1);
    atomic_fetch_add(&m->microseconds, (long long)(1e6 * seconds));
}

static void head(struct writer *w, const char *name, const char *type, const char *help)
{
    put(w, "# HELP alignpro_%s %s\n# TYPE alignpro_%s %s\n", name, help, name, type);
}

static void put_one(struct writer *w, const char *name, const char *type, const char *help,
                    double value)
{
    head(w, name, type, help);
    put(w, "alignpro_%s %.17g\n", name, value);
}

/* One counter with one label; names[i] NULL: left out. */
static void put_labelled(struct writer *w, const char *name, const char *help, const char *label,
                         const char *const *names, atomic_llong *counts, size_t n)
{
    head(w, name, "counter", help);
    for (size_t i = 0; i < n; i++)
        if (names[i])
            put(w, "alignpro_%s{%s=\"%s\"} %lld\n", name, label, names[i], atomic_load(&counts[i]));
}

static void put_requests(struct writer *w, struct ap_metrics *m,
                         const char *(*route_name)(int index))
{
    static const char *const classes[AP_METRIC_CLASSES] = {"cut", "1xx", "2xx",
                                                           "3xx", "4xx", "5xx"};
    head(w, "requests_total", "counter", "Requests by route and status.");
    for (int r = 0; route_name(r); r++)
        for (int c = 0; c < AP_METRIC_CLASSES; c++) {
            long long n = atomic_load(&m->requests[r][c]);
            if (n > 0 || c == 2)
                put(w, "alignpro_requests_total{route=\"%s\",status=\"%s\"} %lld\n", route_name(r),
                    classes[c], n);
        }
}

static void put_seconds(struct writer *w, struct ap_metrics *m)
{
    long long n = 0;
    head(w, "request_seconds", "histogram", "Time of whole requests.");
    for (size_t i = 0; i < AP_METRIC_BUCKETS; i++) {
        n += atomic_load(&m->seconds[i]);
        if (i < AP_LEN(bounds))
            put(w, "alignpro_request_seconds_bucket{le=\"%g\"} %lld\n", bounds[i], n);
    }
    put(w, "alignpro_request_seconds_bucket{le=\"+Inf\"} %lld\n", n);
    put(w, "alignpro_request_seconds_sum %.6f\n", 1e-6 * (double)atomic_load(&m->microseconds));
    put(w, "alignpro_request_seconds_count %lld\n", n);
}

static void put_texts(struct writer *w, struct ap_metrics *m)
{
    static const char *const fates[AP_TEXT_LATE] = {"rewritten", "guarded"};
    static const char *const reasons[AP_TEXT_N - AP_TEXT_LATE] = {"late", "failed", "queue_full",
                                                                  "over_limit", "dropped"};
    static const char *const passes[AP_METRIC_PASSES] = {NULL, "off", "tools", "json", "no_text"};
    put_labelled(w, "texts_total", "Texts that the prompter answered for.", "fate", fates, m->texts,
                 AP_TEXT_LATE);
    put_labelled(w, "fell_back_total", "Texts that went on unchanged, by reason.", "reason",
                 reasons, m->texts + AP_TEXT_LATE, AP_TEXT_N - AP_TEXT_LATE);
    put_labelled(w, "passed_total", "Requests of which nothing was to be rewritten, by reason.",
                 "reason", passes, m->passes, AP_METRIC_PASSES);
}

static void put_engine(struct writer *w, const struct ap_serve_counts *c)
{
    put_one(w, "engine_rewrites_total", "counter", "Rewrites that ended.", (double)c->n_done);
    put_one(w, "engine_cached_total", "counter", "Rewrites from the cache.", (double)c->n_cached);
    put_one(w, "engine_guarded_total", "counter", "Rewrites that a guard stopped.",
            (double)c->n_guarded);
    put_one(w, "engine_late_total", "counter", "Rewrites over their time.", (double)c->n_late);
    put_one(w, "engine_failed_total", "counter", "Rewrites that failed.", (double)c->n_failed);
    put_one(w, "engine_tokens_total", "counter", "Tokens written.", (double)c->n_token);
    put_one(w, "engine_waiting", "gauge", "Works that wait.", c->n_waiting);
    put_one(w, "engine_cache_entries", "gauge", "Rewrites in the cache.", (double)c->n_cache);
    put_one(w, "engine_cache_bytes", "gauge", "Size of the cache.", (double)c->cache_bytes);
}

ap_status ap_metrics_write(struct ap_metrics *m, const struct ap_metrics_now *now,
                           struct ap_buffer *out, struct ap_error *err)
{
    struct writer w = {out, err, AP_OK};
    put_requests(&w, m, now->route_name);
    put_seconds(&w, m);
    put_texts(&w, m);
    put_labelled(&w, "upstream_total",
                 "Replies of the upstream, by how they ended; dropped: given up here.", "end",
                 ap_metrics_ends, m->ends, AP_METRIC_ENDS);
    put_one(&w, "refused_connections_total", "counter", "Connections closed at once, over a limit.",
            (double)atomic_load(&m->refused_connection));
    put_one(&w, "refused_key_total", "counter", "Requests without a key that is known.",
            (double)atomic_load(&m->refused_key));
    put_one(&w, "refused_rate_total", "counter", "Requests over their key's rate.",
            (double)atomic_load(&m->refused_rate));
    put_one(&w, "client_gone_total", "counter", "Requests whose client went away.",
            (double)atomic_load(&m->client_gone));
    put_one(&w, "connections", "gauge", "Open connections.", now->n_connection);
    put_one(&w, "requests_in_flight", "gauge", "Requests now.", now->n_exchange);
    put_one(&w, "upstream_in_flight", "gauge", "Requests at the upstream now.", now->n_upstream);
    put_one(&w, "uptime_seconds", "gauge", "Since the server was opened.", now->seconds);
    if (now->has_engine)
        put_engine(&w, &now->engine);
    return w.status;
}
