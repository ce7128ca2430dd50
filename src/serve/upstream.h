/* The way to the one upstream: a thread of its own with libcurl's multi interface, connections that
 * are kept, HTTP/2 where https offers it. Never follows a redirect, never posts twice. Not here:
 * what is sent and what becomes of the reply (forward.c); a client for rollouts (net/client.h). */
#ifndef AP_SERVE_UPSTREAM_H
#define AP_SERVE_UPSTREAM_H

#include "base/error.h"
#include "serve/transfer.h"

struct ap_upstream_options {
    const char *url;                 /* base address, "https://host/v1"; borrowed */
    const char *ca_file;             /* certificates to trust; NULL: the system's */
    double connect_timeout, timeout; /* seconds; the second of a whole transfer */
    int connections;                 /* at once; further requests wait for one */
    size_t buffer_bytes;             /* of a reply that wait for their reader */
};

ap_status ap_upstream_open(struct ap_upstream **out, const struct ap_upstream_options *options,
                           struct ap_error *err);
/* Ends what is under way, and what is sent from now on, as AP_TRANSFER_DROPPED. NULL is fine. */
void ap_upstream_stop(struct ap_upstream *u);
/* The same, and frees it: its transfers are released by then. */
void ap_upstream_close(struct ap_upstream *u);

/* Starts t (its url, body, post and sent are filled), whose reference it takes. Any thread. */
void ap_upstream_send(struct ap_upstream *u, struct ap_transfer *t);
/* Something about t changed: it was dropped, or there is room again. Any thread. */
void ap_upstream_post(struct ap_upstream *u, struct ap_transfer *t);
/* The base address with `path` behind it, and '?' and `query` where that is not NULL; allocated. */
char *ap_upstream_url(const struct ap_upstream *u, const char *path, const char *query);

/* Whether the base address has a path: not only a host. */
bool ap_upstream_has_path(const struct ap_upstream *u);

/* Transfers under way now. */
int ap_upstream_n_active(const struct ap_upstream *u);

#endif
