/* Where the server listens. */
#ifndef AP_SERVE_LISTENER_H
#define AP_SERVE_LISTENER_H

#include "base/error.h"

#include <stdbool.h>

struct ap_listener {
    int fd;           /* non-blocking; −1: closed */
    bool loopback;    /* its address is this machine's own */
    char address[96]; /* HOST:PORT as it is reached, a port of 0 replaced */
};

/* HOST:PORT, [HOST]:PORT or :PORT. anyone: other addresses than this machine's own, too. AP_BUSY
 * for a port that is taken. l must be closed, also after an error. */
ap_status ap_listener_open(struct ap_listener *l, const char *address, bool anyone,
                           struct ap_error *err);
/* The port is free. May be called twice. */
void ap_listener_close(struct ap_listener *l);

#endif
