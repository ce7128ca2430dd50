/* libmicrohttpd on a thread of ours, which also takes the connections: one loop over the listening
 * socket, what the daemon watches, and the orders to stop.
 *
 * The daemon is not given the listening socket: at its limit of connections, or without
 * descriptors, version 0.9.75 takes that out of its epoll set, and aborts the process where
 * somebody stopped listening at the same moment. Nor does it get a thread of its own: it would look
 * for 128 events at a time, and after a full lot wait for another one before it does anything about
 * those that it has. */
#ifndef AP_SERVE_DAEMON_H
#define AP_SERVE_DAEMON_H

#include "serve/listener.h"

#include <microhttpd.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct ap_server;

struct ap_daemon {
    struct MHD_Daemon *mhd; /* NULL: not started */
    struct ap_listener listener;
    int wake;         /* readable when the thread is to look around */
    atomic_int order; /* an enum of daemon.c */
    sem_t deaf;       /* posted when nobody comes in any more */
    bool started;
    pthread_t thread;
};

/* Before all others; does not fail. */
void ap_daemon_init(struct ap_daemon *d);
/* Listens on the server's address; connections that come now wait. AP_BUSY for a port that is
 * taken, AP_INVALID for one that others reach where there are no keys. */
ap_status ap_daemon_listen(struct ap_server *s, struct ap_error *err);
/* Takes them, and what they ask, from now on. */
ap_status ap_daemon_start(struct ap_server *s, struct ap_error *err);
/* Something is to be done though nothing came: a connection was resumed, which libmicrohttpd tells
 * threads of its own alone. From any thread. */
void ap_daemon_wake(struct ap_daemon *d);
/* Nobody comes in any more when it returns, and the port is free. */
void ap_daemon_stop_listening(struct ap_daemon *d);
/* Closes the connections; none may be suspended. */
void ap_daemon_close(struct ap_daemon *d);

#endif
