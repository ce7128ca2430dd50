/* What the server counts, and its text for Prometheus. Counters are added to from any thread. */
#ifndef AP_SERVE_METRICS_H
#define AP_SERVE_METRICS_H

#include "base/buffer.h"
#include "serve/engine.h"

#include <stdatomic.h>

enum { AP_METRIC_ROUTES = 12, AP_METRIC_CLASSES = 6, AP_METRIC_BUCKETS = 16 };

/* What became of a text that was to be rewritten, or why a request has none. */
typedef enum ap_text_fate {
    AP_TEXT_REWRITTEN,
    AP_TEXT_GUARDED, /* a guard gave x back */
    AP_TEXT_LATE,    /* from here on: fell back */
    AP_TEXT_FAILED,
    AP_TEXT_QUEUE_FULL,
    AP_TEXT_OVER_LIMIT, /* its request has more texts than are rewritten */
    AP_TEXT_DROPPED,
    AP_TEXT_N,
} ap_text_fate;

enum { AP_METRIC_PASSES = 5, AP_METRIC_ENDS = 5 };

struct ap_metrics {
    atomic_llong requests[AP_METRIC_ROUTES]
                         [AP_METRIC_CLASSES]; /* by route and status / 100; 0: cut */
    atomic_llong texts[AP_TEXT_N];
    atomic_llong passes[AP_METRIC_PASSES]; /* ap_body_pass; those that asked by header are OFF */
    atomic_llong ends[AP_METRIC_ENDS];     /* ap_transfer_end, of the upstream's replies */
    atomic_llong seconds[AP_METRIC_BUCKETS], microseconds; /* of whole requests */
    atomic_llong refused_connection, refused_key, refused_rate, client_gone;
};

/* What is not counted but known. */
struct ap_metrics_now {
    int n_connection, n_exchange, n_upstream;
    double seconds;                       /* since the server was opened */
    const char *(*route_name)(int index); /* NULL behind the last */
    bool has_engine;
    struct ap_serve_counts engine;
};

/* "whole", "broken" …: what an ap_transfer_end is called. */
extern const char *const ap_metrics_ends[AP_METRIC_ENDS];

void ap_metrics_request(struct ap_metrics *m, int route, int status, double seconds);
ap_status ap_metrics_write(struct ap_metrics *m, const struct ap_metrics_now *now,
                           struct ap_buffer *out, struct ap_error *err);

#endif
