/* Where the server listens, and a thread that takes connections there. libmicrohttpd is given those
 * that were taken and never the listening socket: at its limit of connections, or without
 * descriptors, version 0.9.75 takes that out of its epoll set, and aborts the process where
 * somebody stopped listening at the same moment. */
#ifndef AP_SERVE_LISTENER_H
#define AP_SERVE_LISTENER_H

#include "base/error.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

struct ap_listener {
    int fd, wake;     /* −1: closed; wake is readable when the thread is to end */
    bool loopback;    /* its address is this machine's own */
    char address[96]; /* HOST:PORT as it is reached, a port of 0 replaced */
    bool started;
    pthread_t thread;
    /* Takes fd, non-blocking; on the thread. */
    void (*take)(void *context, int fd, const struct sockaddr *from, socklen_t n);
    void *context;
};

/* HOST:PORT, [HOST]:PORT or :PORT. anyone: other addresses than this machine's own, too. AP_BUSY
 * for a port that is taken. l must be closed, also after an error. */
ap_status ap_listener_open(struct ap_listener *l, const char *address, bool anyone,
                           struct ap_error *err);
/* Connections are taken from now on; those that came since the opening have waited. */
ap_status ap_listener_start(struct ap_listener *l,
                            void (*take)(void *, int, const struct sockaddr *, socklen_t),
                            void *context, struct ap_error *err);
/* Nobody comes in any more when it returns, and the port is free. May be called twice. */
void ap_listener_close(struct ap_listener *l);

#endif
