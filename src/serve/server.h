/* The HTTP server of `alignpro serve`: rewrites, and the proxy that puts them before an upstream or
 * a local target. It knows models as an engine (engine.h) only. Not here: options as words, models.
 *
 *     client ─► routes.c ─► rewrites.c ─┬► forward.c ─► upstream.c ─► upstream
 *                              │         └► answering.c ─┐
 *                              └───────► engine ◄────────┘
 */
#ifndef AP_SERVE_SERVER_H
#define AP_SERVE_SERVER_H

#include "base/progress.h"
#include "net/secret.h"
#include "serve/chat_body.h"
#include "serve/engine.h"

struct ap_server_options {          /* all borrowed until close */
    const char *listen;             /* HOST:PORT; port 0: one that is free */
    bool open;                      /* without keys, other addresses than this machine's own too */
    const char *keys_file;          /* NULL: nobody is asked for a key */
    const char *tls_cert, *tls_key; /* files; NULL: no TLS */

    const char *upstream; /* base address; NULL: none */
    const char *upstream_ca;
    const struct ap_secret *upstream_key; /* NULL or empty: none */
    bool forward_authorization;           /* the client's own header goes to the upstream */
    int upstream_connections;
    double connect_timeout; /* seconds */

    ap_rewrite_policy rewrite;
    double budget;      /* seconds that a rewrite may take */
    double temperature; /* of rewrites */
    uint64_t seed;      /* of rewrites where temperature > 0 */

    size_t body_bytes, header_bytes; /* of a request */
    struct ap_tape_limits json;
    int connections, connections_per_address; /* 0: no limit an address */
    double receive_timeout;                   /* seconds for a request to arrive */
    double idle_timeout;                      /* of a connection on which nothing moves */
    double request_timeout;                   /* of an answer, from upstream or target */

    bool log, log_prompts;      /* one note for each request; with its prompts */
    const struct ap_sink *sink; /* notes and warnings, one at a time, from several threads */
};

/* What a server is without options; listen is 127.0.0.1:8080. */
extern const struct ap_server_options ap_server_defaults;

struct ap_server;
/* engine (NULL: nothing is rewritten) is closed by ap_server_close, or here after an error.
 * AP_INVALID for options that do not go together, AP_BUSY for a port that is taken. Takes
 * requests when it returns. */
ap_status ap_server_open(struct ap_server **out, const struct ap_server_options *options,
                         struct ap_serve_engine *engine, struct ap_error *err);
/* "http://127.0.0.1:8080", borrowed. */
const char *ap_server_url(const struct ap_server *s);
/* Read the files of the keys, or of the certificate and its key, again; after an error what was
 * there still is. Connections are undisturbed, a new handshake takes the new certificate. */
ap_status ap_server_reload_keys(struct ap_server *s, struct ap_error *err);
ap_status ap_server_reload_certificate(struct ap_server *s, struct ap_error *err);
/* Takes no more connections, gives what is in flight that many seconds, ends the rest, frees s and
 * the engine. NULL is fine. *n_cut (may be NULL): requests that were ended. */
void ap_server_close(struct ap_server *s, double seconds, int *n_cut);

#endif
