/* An HTTP client for model servers: many requests at once over several endpoints, paced, asked
 * again where that can help. It knows HTTP and nothing of bodies: what a reply is worth, and what
 * must be written down before a request is sent, its caller says through struct ap_client_events.
 *
 *     call ─► waits for a slot, the pace ─► ready ─► the budget ─► sending ─► the wire ─┬► arrived
 *               ▲                            │                                         ├► rejected
 *               ├── a while ◄── later ◄──────┴► over                                   │
 *               └── backoff, Retry-After ◄── missed (refused | lost) ◄─────────────────┘
 */
#ifndef AP_NET_CLIENT_H
#define AP_NET_CLIENT_H

#include "base/progress.h"
#include "net/secret.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AP_CLIENT_BACKOFF 0.5
#define AP_CLIENT_REPLY_MAX ((size_t)64 << 20) /* bytes of a reply; more of it is lost */

struct ap_client_options {
    const char *who;   /* "target", "rewards.help": for messages */
    char *const *urls; /* n_url ≥ 1 base addresses, "https://host/v1"; borrowed */
    int n_url;
    const char *ca_file;         /* certificates to trust; borrowed; NULL or "": the system's */
    const struct ap_secret *key; /* sent as a bearer token; borrowed; NULL or empty: none */
    int concurrency;             /* requests in flight at each endpoint; ≥ 1 */
    double rpm, tpm;            /* requests and reserved tokens a minute; 0: as many as there are */
    double timeout;             /* seconds of one attempt */
    int retries;                /* attempts after the first */
    double backoff;             /* seconds that the first one waits at most; 0: AP_CLIENT_BACKOFF */
    double patience;            /* seconds of an outage (ap_client_send); 0: as all waits take */
    const struct ap_sink *sink; /* warnings; its stop flag ends a call; borrowed */
};

/* One request, a POST of JSON. Borrowed until ap_client_send returns. */
struct ap_client_call {
    const char *path; /* behind the address: "/chat/completions" */
    const char *body;
    size_t n_body;
    const char *idempotency_key; /* a header of that name; NULL: none */
    const char *header;          /* one further header line; NULL: none */
    int64_t tokens;              /* at most so many are bought by it; for tpm */
};

struct ap_client_reply {
    int http_status;
    const char
        *body; /* NUL-terminated; the key is hidden in it, but where JSON spells it with escapes */
    size_t n_body;
    double seconds; /* of the attempt */
};

typedef enum ap_client_miss {
    AP_MISS_REFUSED, /* the server said that it did not answer: nothing was bought */
    AP_MISS_LOST,    /* sent, and what came back is no answer: it may have been bought */
    AP_MISS_UNSENT,  /* no connection: nothing was sent */
} ap_client_miss;

typedef enum ap_client_ready {
    AP_READY_NOW,
    AP_READY_LATER, /* not yet, for a reason of the caller's: it is asked about again in a while */
    AP_READY_OVER,  /* nothing is left to send: it is over, as after a reply */
} ap_client_ready;

/* Called from ap_client_send only; indices are those of its calls. A status that is not AP_OK ends
 * the sending with it, once what is in flight has arrived. */
struct ap_client_events {
    void *context;
    /* A slot and the pace are there for the call: may it be sent? Before each attempt; one that is
     * ready is among the next `sending`'s, unless the sending ends. NULL: always. */
    ap_status (*ready)(void *context, int call, ap_client_ready *out, struct ap_error *err);
    /* These n calls are about to be sent, each once; what came in before may not be settled yet,
     * and may be written down together with them. May lower *n: the rest then wait until one that
     * is in flight is over (a budget that what is in flight might use up); 0 with nothing in flight
     * must be an error. NULL: go on. */
    ap_status (*sending)(void *context, const int *calls, int *n, struct ap_error *err);
    /* A 2xx reply that arrived whole. *why: what it holds is no answer, so that it is lost, and
     * `missed` is called then too; a clause for the message, "it is no JSON", borrowed until the
     * next event. NULL when it is called. */
    ap_status (*arrived)(void *context, int call, const struct ap_client_reply *reply,
                         const char **why, struct ap_error *err);
    /* An attempt ended without an answer. NULL: nobody counts. */
    ap_status (*missed)(void *context, int call, ap_client_miss miss, struct ap_error *err);
    /* A 4xx that asking again will not heal: *taken, or the sending ends with the server's words.
     * NULL: never taken. */
    ap_status (*rejected)(void *context, int call, const struct ap_client_reply *reply, bool *taken,
                          struct ap_error *err);
    /* What came in together was handed over, and what could begin then has begun: write it down.
     * NULL: nothing. */
    ap_status (*settle)(void *context, struct ap_error *err);
};

struct ap_client_counts { /* since open */
    int64_t n_sent, n_arrived, n_refused, n_lost, n_unsent;
    int64_t n_dropped, n_readmitted; /* endpoints */
};

struct ap_client;
ap_status ap_client_open(struct ap_client **out, const struct ap_client_options *options,
                         struct ap_error *err);
void ap_client_close(struct ap_client *c); /* NULL is fine */

/* Sends n calls and returns when all are over. 408, 409, 425, 429 and 5xx, connections that fail or
 * are reset, attempts over the timeout, replies that are cut, too long or no answer are asked
 * again, elsewhere where another endpoint is up: full jitter on backoff · 2^k, at most 60 s, or as
 * Retry-After says. AP_IO when one call has used up its attempts; where nobody answers anything
 * since it failed first, what was not bought by an attempt is asked for on, with the last of the
 * waits, until that takes `patience`: an outage must not end a run by the unluckiest of those in
 * flight. An outage that is over counts as one attempt. AP_IO at once when the certificate of an
 * endpoint is not trusted, AP_INVALID when the server rejects it, AP_INTERRUPTED when the sink asks
 * to stop; nothing is begun any more then, and what is in flight is waited for, after a stop for
 * ten seconds. Redirects are not followed. Connections are kept. Not thread-safe. */
ap_status ap_client_send(struct ap_client *c, const struct ap_client_call *calls, int n,
                         const struct ap_client_events *events, struct ap_error *err);
void ap_client_counts(const struct ap_client *c, struct ap_client_counts *out);

/* Whether text is an http:// or https:// address that can be a base; says why not. */
ap_status ap_client_check_url(const char *url, struct ap_error *err);
/* Whether such an address is this machine's own: no proxy of the environment stands between. */
bool ap_client_is_loopback(const char *url);
/* Whether a file of certificates to trust is there and has some in PEM form; what they hold is
 * found out at the first connection. NULL or "" is fine. */
ap_status ap_client_check_ca(const char *ca_file, struct ap_error *err);
/* Whether somebody takes connections there, TLS included; nothing is sent. AP_IO with the reason.
 */
ap_status ap_client_probe(const char *url, const char *ca_file, struct ap_error *err);

#endif
