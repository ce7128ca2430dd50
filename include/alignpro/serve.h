/* A run's prompter behind HTTP: a proxy in OpenAI's format that rewrites what people ask before an
 * upstream, or the run's own target, answers it.
 *
 *   POST /v1/chat/completions, /v1/completions, /v1/rewrite, /v1/score
 *   GET  /, /v1/models, /healthz, /metrics
 *
 * Whatever goes wrong with a rewrite, the prompt itself goes on. docs/threat-model.md says who is
 * kept from what. */
#ifndef ALIGNPRO_SERVE_H
#define ALIGNPRO_SERVE_H

#include "alignpro/api.h"
#include "alignpro/error.h"
#include "alignpro/progress.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

AP_API_BEGIN

struct ap_serve_options { /* all borrowed; begin with ap_serve_defaults */
    /* the models */
    const char *run_dir;     /* a run directory */
    const char *const *sets; /* n_sets of "guard.KEY=VALUE", set over what the run's recipe says */
    size_t n_sets;
    bool local_target;  /* the run's own target answers */
    bool score;         /* /v1/score, by the run's reward; a run without one goes without */
    int threads;        /* of the models; 0: as many as there are processors */
    size_t cache_bytes; /* most that rewrites are remembered in; 0: none are */
    int queue; /* works of a kind that wait for the models, from which on no more are taken */
    int batch; /* sequences that are decoded at once */

    /* what is rewritten */
    const char *rewrite; /* "last" user message, "all" of them, "none" */
    double budget_s;     /* seconds that a rewrite may take; then the prompt goes on unchanged */
    double temperature;  /* 0: the likeliest rewrite */
    uint64_t seed;       /* where temperature > 0 */

    /* where it listens */
    const char *listen;    /* HOST:PORT; port 0: one that is free */
    const char *keys_file; /* who may ask; NULL: everybody, on this machine's own addresses */
    bool open;             /* without keys on other addresses, too */
    const char *tls_cert, *tls_key; /* PEM files; NULL: no TLS */

    /* the upstream */
    const char *upstream;    /* base address, "https://host/v1"; NULL: none */
    const char *upstream_ca; /* PEM file of certificates to trust; NULL: the system's */
    const char *upstream_key_env, *upstream_key_file; /* one of them at most; NULL: no key */
    bool forward_authorization;                       /* the client's own key goes on instead */
    int upstream_connections;                         /* at once */
    double connect_timeout_s;

    /* limits */
    size_t body_bytes, header_bytes; /* of a request */
    int json_depth;
    size_t json_fields;
    int connections, connections_per_address; /* at once; 0 for an address: no limit */
    double receive_timeout_s;                 /* for a request to arrive */
    double idle_timeout_s;                    /* of a connection on which nothing moves */
    double request_timeout_s;                 /* for an answer */
    double close_timeout_s;                   /* for what is in flight when it is asked to stop */

    bool log; /* a note for each request: method, path, status, time, the key's name, and how
                 the upstream's answer was cut, if it was */
    bool log_prompts; /* a note for each text, with its rewrite */

    void (*listening)(void *context,
                      const char *url); /* once it takes requests; NULL: nobody asks */
    void *context;
    volatile sig_atomic_t *reload; /* set to 1 to read keys and certificate again; NULL: never */
};

void ap_serve_defaults(struct ap_serve_options *o);

/* Serves until the sink's stop flag is set, then finishes what is in flight. Notes come to the sink
 * one at a time, but from several threads. AP_INVALID for options that do not go together, AP_BUSY
 * for a port that is taken, AP_NOT_FOUND for a run that has no prompter yet. */
ap_status ap_serve(const struct ap_serve_options *o, const struct ap_sink *sink,
                   struct ap_error *err);

#define AP_SERVE_KEY_MAX 80
/* A new key for keys_file, made if it is not there: only its hash is written. The key is for its
 * owner; it is nowhere else. AP_INVALID for a name that has one. */
ap_status ap_serve_new_key(const char *keys_file, const char *name, char key[AP_SERVE_KEY_MAX],
                           struct ap_error *err);

AP_API_END

#endif
