/* The open connections, and a thread that looks at them a few times a second: a request that takes
 * too long to arrive is cut off, and so is the work for a client that went away while its
 * connection slept, or in the middle of its request, which libmicrohttpd does not see. */
#ifndef AP_SERVE_PEERS_H
#define AP_SERVE_PEERS_H

#include "base/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct ap_exchange;
struct ap_server;

struct ap_peer {
    struct ap_server *server; /* borrowed */
    int fd;
    char *query;             /* of the request whose head arrives, as it came; owned; NULL: none */
    bool query_lost;         /* there was no memory for it */
    atomic_llong receive_by; /* milliseconds of ap_clock_seconds; 0: nothing is awaited */
    atomic_llong heard_at;   /* when its last bytes of a request came */
    struct ap_exchange *exchange; /* alive while it stands here; under the list's lock */
    struct ap_peer *before, *after;
};

struct ap_peers {
    pthread_mutex_t lock;
    pthread_cond_t stir; /* the thread is to end */
    struct ap_peer *first;
    int n;
    bool stopping, started, hurried;
    pthread_t thread;
    double answer_timeout; /* seconds after which an exchange is over, whatever it does */
};

ap_status ap_peers_open(struct ap_peers *p, double answer_timeout, struct ap_error *err);
void ap_peers_stop(struct ap_peers *p); /* ends the thread; the list stays */
void ap_peers_free(struct ap_peers *p);

struct ap_peer *ap_peers_add(struct ap_peers *p, struct ap_server *server, int fd,
                             double receive_seconds);
void ap_peers_remove(struct ap_peers *p, struct ap_peer *peer);
void ap_peers_set_exchange(struct ap_peers *p, struct ap_peer *peer, struct ap_exchange *e);
/* Everything that must have arrived has to be there in so many seconds; 0: nothing is awaited. */
void ap_peer_await(struct ap_peer *peer, double seconds);
/* Bytes of a request came. */
void ap_peer_heard(struct ap_peer *peer);
/* From now on a request that is not all there, and stays so for a second without a byte, is cut
 * off. */
void ap_peers_hurry(struct ap_peers *p);
/* Abandons every exchange. */
void ap_peers_abandon_all(struct ap_peers *p);
int ap_peers_n(struct ap_peers *p);

#endif
