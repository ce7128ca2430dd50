/* Open connections (peers.h). */
#include "serve/peers.h"

#include "base/clock.h"
#include "base/memory.h"
#include "serve/exchange.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { LOOK_MS = 100, ASLEEP_MS = 200, HURRIED_MS = 1000, POLLED = 256 };

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

static bool is_receiving(const struct ap_peer *peer)
{
    return atomic_load(&peer->receive_by) > 0;
}

static bool keeps_waiting(const struct ap_peers *p, const struct ap_peer *peer, long long now)
{
    return p->hurried && peer->exchange && is_receiving(peer) &&
           now - atomic_load(&peer->heard_at) > HURRIED_MS;
}

static bool sleeps_long(const struct ap_peer *peer, long long now)
{
    long long since = peer->exchange ? atomic_load(&peer->exchange->asleep_since) : 0;
    return since > 0 && now - since > ASLEEP_MS;
}

/* Peers that are polled together. */
struct polled {
    struct ap_peer *peers[POLLED];
    struct pollfd fds[POLLED];
    int n;
};

static bool has_closed(const struct pollfd *fd)
{
    return fd->revents & (POLLRDHUP | POLLHUP | POLLERR);
}

static bool has_bytes(const struct ap_peer *peer)
{
    char byte;
    return recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* A client that closed while its connection sleeps is gone. One that closed together with its last
 * bytes libmicrohttpd 0.9.75 may not have seen: its epoll is edge-triggered, and it reads once.
 * That socket is closed for reading, as it is already, which is one more edge; where all that is
 * awaited is there, nothing else comes of it. */
static void look_at_closed(struct ap_peer *peer, long long now)
{
    if (sleeps_long(peer, now))
        ap_exchange_abandon(peer->exchange);
    else if (!has_bytes(peer))
        shutdown(peer->fd, SHUT_RD);
}

static void poll_all(struct polled *p, long long now)
{
    int n_ready = p->n > 0 ? poll(p->fds, (nfds_t)p->n, 0) : 0;
    for (int i = 0; n_ready > 0 && i < p->n; i++)
        if (has_closed(&p->fds[i]))
            look_at_closed(p->peers[i], now);
    p->n = 0;
}

static void poll_later(struct polled *p, struct ap_peer *peer, long long now)
{
    p->peers[p->n] = peer;
    p->fds[p->n++] = (struct pollfd){.fd = peer->fd, .events = POLLRDHUP};
    if (p->n == POLLED)
        poll_all(p, now);
}

static void look(struct ap_peers *p)
{
    struct polled polled = {.n = 0};
    double seconds = ap_clock_seconds();
    long long now = now_ms();
    for (struct ap_peer *peer = p->first; peer; peer = peer->after) {
        bool over = peer->exchange && seconds - peer->exchange->began > p->answer_timeout;
        if (is_late(peer, now) || over || keeps_waiting(p, peer, now))
            shutdown(peer->fd, SHUT_RDWR);
        if (over)
            ap_exchange_abandon(peer->exchange);
        else if (sleeps_long(peer, now) || is_receiving(peer))
            poll_later(&polled, peer, now);
    }
    poll_all(&polled, now);
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

void ap_peer_heard(struct ap_peer *peer)
{
    atomic_store(&peer->heard_at, now_ms());
}

void ap_peers_hurry(struct ap_peers *p)
{
    pthread_mutex_lock(&p->lock);
    p->hurried = true;
    pthread_mutex_unlock(&p->lock);
}

void ap_peers_abandon_all(struct ap_peers *p)
{
    pthread_mutex_lock(&p->lock);
    for (struct ap_peer *peer = p->first; peer; peer = peer->after)
        if (peer->exchange)
            ap_exchange_abandon(peer->exchange);
    pthread_mutex_unlock(&p->lock);
}

int ap_peers_n(struct ap_peers *p)
{
    pthread_mutex_lock(&p->lock);
    int n = p->n;
    pthread_mutex_unlock(&p->lock);
    return n;
}
