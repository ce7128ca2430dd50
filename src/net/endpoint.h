/* The endpoints of a client: which one the next request goes to, and which are dropped for a while;
 * the pace of requests, and the waits between attempts.
 * One that fails three times in a row is dropped, and taken back when a single request that it is
 * then given comes through. A lone endpoint is never dropped: there is nowhere else to go. */
#ifndef AP_NET_ENDPOINT_H
#define AP_NET_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#define AP_ENDPOINTS_MAX 32 /* AP_LIST_MAX of a recipe */

struct ap_endpoint {
    const char *url; /* borrowed */
    int n_busy;
    int n_fault; /* in a row */
    bool down;
    double closed_until; /* dropped, or the server asked for a pause; 0: open */
};

struct ap_endpoints {
    struct ap_endpoint items[AP_ENDPOINTS_MAX];
    int n, n_slot; /* n_slot: requests at once to each */
    double backoff;
    int64_t n_dropped, n_readmitted;
};

/* The one with the most free slots that is open at `now`, not `avoid` (−1: none) where another is
 * up, be it full; −1: none. *when: the earliest moment at which one may open, left alone otherwise.
 */
int ap_endpoint_pick(const struct ap_endpoints *e, int avoid, double now, double *when);
/* An attempt at it is over. Returns whether that dropped it, or took it back. */
bool ap_endpoint_good(struct ap_endpoints *e, int i);
bool ap_endpoint_fault(struct ap_endpoints *e, int i, double now);
/* The server asks for a pause. */
void ap_endpoint_pause(struct ap_endpoints *e, int i, double until);

/* A bucket that fills at so much a second, holds one second's worth, and may be overdrawn by one
 * request. */
struct ap_pace {
    double per_second; /* 0: no limit */
    double level, at;
};
void ap_pace_init(struct ap_pace *p, double per_minute, double now);
/* Seconds until something may be taken; 0: now. */
double ap_pace_wait(struct ap_pace *p, double now);
void ap_pace_take(struct ap_pace *p, double amount);

/* Seconds that the wait behind the n-th attempt (n ≥ 1) takes at most: first · 2^(n − 1), but no
 * more than a minute. */
double ap_backoff(double first, int n);
double ap_backoff_sum(double first, int n); /* of the first n */

#endif
