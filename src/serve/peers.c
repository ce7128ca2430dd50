/* Open connections (peers.h). */
#include "serve/peers.h"

#include "base/clock.h"
#include "base/memory.h"
#include "serve/exchange.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { LOOK_MS = 100, ASLEEP_MS = 200, POLLED = 256 };

static long long now_ms(void)
{
    return (long long)(1e3 * ap_clock_seconds()) + 1;
}

/* ---- what is looked at; under the lock ---- */

static bool is_late(const struct ap_peer *peer, long long now)
{
    long long by = atomic_load(&peer->receive_by);
    return by > 0 && now > by;
}

static bool sleeps_long(const struct ap_peer *peer, long long now)
{
    long long since = peer->exchange ? atomic_load(&peer->exchange->asleep_since) : 0;
    return since > 0 && now - since > ASLEEP_MS;
}

static void poll_some(struct ap_peer **asleep, int n)
{
    struct pollfd fds[POLLED];
    for (int i = 0; i < n; i++)
        fds[i] = (struct pollfd){.fd = asleep[i]->fd, .events = POLLRDHUP};
    if (poll(fds, (nfds_t)n, 0) <= 0)
        return;
    for (int i = 0; i < n; i++)
        if (fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR))
            ap_exchange_abandon(asleep[i]->exchange);
}

static void look(struct ap_peers *p)
{
    struct ap_peer *asleep[POLLED];
    int n = 0;
    double seconds = ap_clock_seconds();
    long long now = now_ms();
    for (struct ap_peer *peer = p->first; peer; peer = peer->after) {
        bool over = peer->exchange && seconds - peer->exchange->began > p->answer_timeout;
        if (is_late(peer, now) || over)
            shutdown(peer->fd, SHUT_RDWR);
        if (over)
            ap_exchange_abandon(peer->exchange);
        else if (sleeps_long(peer, now))
            asleep[n++] = peer;
        if (n == POLLED) {
            poll_some(asleep, n);
            n = 0;
        }
    }
    poll_some(asleep, n);
}

static void *watch(void *context)
{
    struct ap_peers *p = context;
    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&p->stir, &p->lock, &until);
        if (!p->stopping)
            look(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- the list ---- */

/* Of a clock that nobody sets. */
static void init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

ap_status ap_peers_open(struct ap_peers *p, double answer_timeout, struct ap_error *err)
{
    pthread_mutex_init(&p->lock, NULL);
    init_cond(&p->stir);
    p->answer_timeout = answer_timeout;
    p->started = pthread_create(&p->thread, NULL, watch, p) == 0;
    return p->started ? AP_OK : ap_fail(err, AP_MEMORY, "serve: no thread for its connections");
}

void ap_peers_stop(struct ap_peers *p)
{
    if (!p->started)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_signal(&p->stir);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    p->started = false;
}

void ap_peers_free(struct ap_peers *p)
{
    ap_peers_stop(p);
    while (p->first)
        ap_peers_remove(p, p->first);
}

static void put_first(struct ap_peers *p, struct ap_peer *peer)
{
    peer->after = p->first;
    if (p->first)
        p->first->before = peer;
    p->first = peer;
    p->n++;
}

struct ap_peer *ap_peers_add(struct ap_peers *p, struct ap_server *server, int fd,
                             double receive_seconds)
{
    struct ap_peer *peer = ap_calloc(1, sizeof(*peer));
    if (peer) {
        peer->server = server;
        peer->fd = fd;
        ap_peer_await(peer, receive_seconds);
    }
    pthread_mutex_lock(&p->lock);
    p->n_ever++;
    if (peer)
        put_first(p, peer);
    pthread_mutex_unlock(&p->lock);
    return peer;
}

void ap_peers_remove(struct ap_peers *p, struct ap_peer *peer)
{
    pthread_mutex_lock(&p->lock);
    if (peer->before)
        peer->before->after = peer->after;
    else
        p->first = peer->after;
    if (peer->after)
        peer->after->before = peer->before;
    p->n--;
    pthread_mutex_unlock(&p->lock);
    ap_free(peer->query);
    ap_free(peer);
}

void ap_peers_set_exchange(struct ap_peers *p, struct ap_peer *peer, struct ap_exchange *e)
{
    pthread_mutex_lock(&p->lock);
    peer->exchange = e;
    pthread_mutex_unlock(&p->lock);
}

void ap_peer_await(struct ap_peer *peer, double seconds)
{
    atomic_store(&peer->receive_by, seconds > 0 ? now_ms() + (long long)(1e3 * seconds) : 0);
}

void ap_peers_abandon_all(struct ap_peers *p)
{
    pthread_mutex_lock(&p->lock);
    for (struct ap_peer *peer = p->first; peer; peer = peer->after)
        if (peer->exchange)
            ap_exchange_abandon(peer->exchange);
    pthread_mutex_unlock(&p->lock);
}

int ap_peers_n(struct ap_peers *p, unsigned *n_ever)
{
    pthread_mutex_lock(&p->lock);
    int n = p->n;
    if (n_ever)
        *n_ever = p->n_ever;
    pthread_mutex_unlock(&p->lock);
    return n;
}
