/* Inside of the server: server.c, exchange.c, peers.c and the steps. */
#ifndef AP_SERVE_SERVER_INNER_H
#define AP_SERVE_SERVER_INNER_H

#include "serve/certificate.h"
#include "serve/daemon.h"
#include "serve/exchange.h"
#include "serve/peers.h"
#include "serve/upstream.h"

struct ap_server {
    struct ap_server_options options;
    char url[128];
    struct ap_daemon daemon;
    struct ap_certificate *certificate; /* NULL: no TLS */
    struct ap_keys *keys;
    struct ap_upstream *upstream;
    struct ap_peers peers;
    struct ap_metrics metrics;
    double began;
    atomic_int n_exchange, n_asleep;
    atomic_bool closing;
    atomic_bool told_path;   /* that the upstream's address may lack its /v1 */
    atomic_ullong n_rewrite; /* record of the next one's random stream */

    pthread_mutex_t engine_lock;                        /* keeps the engine open */
    struct ap_serve_engine *engine;                     /* NULL: none, or closed */
    char *engine_model, *engine_target, *engine_reward; /* its names, which outlive it; owned */

    pthread_mutex_t sink_lock;
};

/* A note to the sink, one at a time. */
void ap_server_note(struct ap_server *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
