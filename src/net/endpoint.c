/* Endpoints, the pace of requests, waits (endpoint.h). */
#include "net/endpoint.h"

#include <math.h>

enum { FAULTS_MAX = 3, CLOSED_MAX_S = 60, BACKOFF_MAX_S = 60, DOUBLINGS_MAX = 16 };

static bool has_room(const struct ap_endpoints *e, const struct ap_endpoint *p)
{
    return p->n_busy < (p->down ? 1 : e->n_slot);
}

static int pick(const struct ap_endpoints *e, int avoid, double now)
{
    int best = -1;
    for (int i = 0; i < e->n; i++) {
        const struct ap_endpoint *p = &e->items[i];
        if (i == avoid || now < p->closed_until || !has_room(e, p))
            continue;
        if (best < 0 || p->n_busy < e->items[best].n_busy)
            best = i;
    }
    return best;
}

/* One that is up and full will have room when something is over. */
static bool other_is_up(const struct ap_endpoints *e, int avoid, double now)
{
    for (int i = 0; i < e->n; i++)
        if (i != avoid && !e->items[i].down && now >= e->items[i].closed_until)
            return true;
    return false;
}

int ap_endpoint_pick(const struct ap_endpoints *e, int avoid, double now, double *when)
{
    bool waits = avoid >= 0 && other_is_up(e, avoid, now);
    int best = pick(e, avoid, now);
    if (best < 0 && !waits)
        best = pick(e, -1, now);
    for (int i = 0; best < 0 && i < e->n; i++)
        if (has_room(e, &e->items[i]) && !(waits && i == avoid))
            *when = fmin(*when, e->items[i].closed_until);
    return best;
}

bool ap_endpoint_good(struct ap_endpoints *e, int i)
{
    struct ap_endpoint *p = &e->items[i];
    bool was_down = p->down;
    p->n_fault = 0;
    p->down = false;
    e->n_readmitted += was_down;
    return was_down;
}

bool ap_endpoint_fault(struct ap_endpoints *e, int i, double now)
{
    struct ap_endpoint *p = &e->items[i];
    bool was_down = p->down;
    p->n_fault++;
    if (e->n == 1 || p->n_fault < FAULTS_MAX)
        return false;
    p->down = true;
    p->closed_until =
        now + fmin(CLOSED_MAX_S, ldexp(e->backoff, p->n_fault - FAULTS_MAX < DOUBLINGS_MAX
                                                       ? p->n_fault - FAULTS_MAX + 1
                                                       : DOUBLINGS_MAX));
    e->n_dropped += !was_down;
    return !was_down;
}

void ap_endpoint_pause(struct ap_endpoints *e, int i, double until)
{
    e->items[i].closed_until = fmax(e->items[i].closed_until, until);
}

void ap_pace_init(struct ap_pace *p, double per_minute, double now)
{
    *p = (struct ap_pace){per_minute / 60, fmax(1, per_minute / 60), now};
}

double ap_pace_wait(struct ap_pace *p, double now)
{
    if (p->per_second <= 0)
        return 0;
    p->level = fmin(fmax(1, p->per_second), p->level + (now - p->at) * p->per_second);
    p->at = now;
    return p->level >= 1 ? 0 : (1 - p->level) / p->per_second;
}

void ap_pace_take(struct ap_pace *p, double amount)
{
    p->level -= amount;
}

double ap_backoff(double first, int n)
{
    return fmin(BACKOFF_MAX_S, ldexp(first, n - 1 < DOUBLINGS_MAX ? n - 1 : DOUBLINGS_MAX));
}

double ap_backoff_sum(double first, int n)
{
    double sum = 0;
    for (int i = 1; i <= n; i++)
        sum += ap_backoff(first, i);
    return sum;
}
