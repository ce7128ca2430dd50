/* The thread that takes connections and runs libmicrohttpd (daemon.h). */
#include "serve/daemon.h"

#include "serve/server_inner.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { REPLY_HEAD_BYTES = 32768, TAKE_AT_ONCE = 64, SHORT_MS = 20, HASTY = 1000, REST_MS = 1 };

enum { RUN, STOP_LISTENING, END }; /* orders */

/* ---- what libmicrohttpd calls ---- */

static void on_connection(void *context, struct MHD_Connection *connection, void **peer,
                          enum MHD_ConnectionNotificationCode code)
{
    struct ap_server *s = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        *peer =
            ap_peers_add(&s->peers, s, fd, s->options.idle_timeout + s->options.receive_timeout);
    } else if (*peer) {
        ap_peers_remove(&s->peers, *peer);
        *peer = NULL;
    }
}

/* A session of libmicrohttpd's points to its connection. */
static int on_handshake(gnutls_session_t session, const struct gnutls_cert_retr_st *offer,
                        gnutls_pcert_st **certs, unsigned *n_cert, gnutls_ocsp_data_st **ocsp,
                        unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags)
{
    const struct ap_peer *peer = ap_exchange_peer(gnutls_session_get_ptr(session));
    (void)offer;
    *ocsp = NULL;
    *n_ocsp = 0;
    *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    return peer ? ap_certificate_copy(peer->server->certificate, certs, n_cert, key)
                : GNUTLS_E_MEMORY_ERROR;
}

/* A path that holds a NUL is not the one before it: it stays as it was written. */
static size_t unescape(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context, (void)connection;
    return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

/* ---- the thread ---- */

/* Takes those who wait. false: for want of descriptors or memory they have to wait until some are
 * free. libmicrohttpd 0.9.75 at a limit of its own of all connections would stop for ever (it does
 * not unlock what it locked), at that of an address it closes the connection. */
static bool take_connections(struct ap_server *s)
{
    for (int i = 0; i < TAKE_AT_ONCE; i++) {
        struct sockaddr_storage from;
        socklen_t n = sizeof(from);
        int fd = accept4(s->daemon.listener.fd, (struct sockaddr *)&from, &n,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
        bool full = ap_peers_n(&s->peers) >= s->options.connections;
        if (full)
            close(fd);
        if (full || MHD_add_connection(s->daemon.mhd, fd, (struct sockaddr *)&from, n) != MHD_YES)
            atomic_fetch_add(&s->metrics.refused_connection, 1);
    }
    return true;
}

/* Milliseconds until there is something to do though nothing comes; −1: never. */
static int patience(struct MHD_Daemon *mhd, int most)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(mhd, &ms) != MHD_YES)
        return most;
    if (most >= 0 && ms > (unsigned)most)
        return most;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* Until something comes, or it is time. As long as libmicrohttpd has something to read or to write
 * it goes on at once; but 0.9.75 says so, too, of a client that stops in its TLS handshake, or
 * whose chunk begins with a line longer than its memory. After so many rounds in a row there is a
 * rest between them, which ends when something comes. */
static void await(struct pollfd fds[3], int ms, int *n_hasty)
{
    *n_hasty = ms != 0 ? 0 : *n_hasty < HASTY ? *n_hasty + 1 : HASTY;
    poll(fds, 3, *n_hasty == HASTY ? REST_MS : ms);
}

/* Whether it goes on. */
static bool obey(struct ap_daemon *d)
{
    eventfd_t ignored;
    eventfd_read(d->wake, &ignored);
    int order = atomic_load(&d->order);
    if (order >= STOP_LISTENING && d->listener.fd >= 0) {
        ap_listener_close(&d->listener);
        sem_post(&d->deaf);
    }
    return order < END;
}

static void *run(void *server)
{
    struct ap_server *s = server;
    struct ap_daemon *d = &s->daemon;
    int epoll = MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    bool can_take = true;
    int n_hasty = 0;
    for (;;) {
        struct pollfd fds[] = {
            {d->wake, POLLIN, 0}, {epoll, POLLIN, 0}, {can_take ? d->listener.fd : -1, POLLIN, 0}};
        await(fds, patience(d->mhd, can_take ? -1 : SHORT_MS), &n_hasty);
        if (fds[0].revents && !obey(d))
            return NULL;
        MHD_run(d->mhd); /* first, as who has left makes room for who comes */
        if (d->listener.fd >= 0 && (fds[2].revents || !can_take))
            can_take = take_connections(s);
    }
}

/* ---- opening ---- */

void ap_daemon_init(struct ap_daemon *d)
{
    d->listener.fd = d->wake = -1;
    sem_init(&d->deaf, 0, 0);
}

ap_status ap_daemon_listen(struct ap_server *s, struct ap_error *err)
{
    const struct ap_server_options *o = &s->options;
    return ap_listener_open(&s->daemon.listener, o->listen, o->keys_file || o->open, err);
}

static ap_status start_mhd(struct ap_server *s, struct ap_error *err)
{
    const struct ap_server_options *o = &s->options;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)on_handshake},
                                   {MHD_OPTION_END, 0, NULL}};
    s->daemon.mhd = MHD_start_daemon(
        flags | (s->certificate ? MHD_USE_TLS : 0), 0, NULL, NULL, ap_exchange_handle, s,
        MHD_OPTION_URI_LOG_CALLBACK, ap_exchange_uri, s, MHD_OPTION_NOTIFY_COMPLETED,
        ap_exchange_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)INT_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)o->connections_per_address, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(o->idle_timeout + 0.5), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        o->header_bytes + REPLY_HEAD_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_ARRAY,
        s->certificate ? tls : &tls[1], MHD_OPTION_END);
    return s->daemon.mhd ? AP_OK : ap_fail(err, AP_IO, "serve: the server does not start");
}

ap_status ap_daemon_start(struct ap_server *s, struct ap_error *err)
{
    struct ap_daemon *d = &s->daemon;
    ap_status status;
    d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->wake < 0)
        AP_TRY(ap_fail_errno(err, errno, "serve: no descriptor to stop listening with"));
    AP_TRY(start_mhd(s, err));
    d->started = pthread_create(&d->thread, NULL, run, s) == 0;
    if (!d->started)
        AP_TRY(ap_fail(err, AP_MEMORY, "serve: no thread for its connections"));
out:
    return status;
}

void ap_daemon_wake(struct ap_daemon *d)
{
    eventfd_write(d->wake, 1);
}

/* ---- the end ---- */

static void give_order(struct ap_daemon *d, int order)
{
    atomic_store(&d->order, order);
    ap_daemon_wake(d);
}

void ap_daemon_stop_listening(struct ap_daemon *d)
{
    if (d->started && atomic_load(&d->order) == RUN) {
        give_order(d, STOP_LISTENING);
        while (sem_wait(&d->deaf) != 0) /* a signal came in between */
            ;
    }
}

void ap_daemon_close(struct ap_daemon *d)
{
    if (d->started) {
        give_order(d, END);
        pthread_join(d->thread, NULL);
    }
    if (d->mhd)
        MHD_stop_daemon(d->mhd);
    if (d->wake >= 0)
        close(d->wake);
    ap_listener_close(&d->listener);
    sem_destroy(&d->deaf);
}
