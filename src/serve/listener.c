/* Listening (listener.h). */
#include "serve/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 1024, PORT_MAX = 65535 };

/* ---- opening ---- */

static ap_status split_address(const char *text, char host[256], char port[16],
                               struct ap_error *err)
{
    const char *colon = strrchr(text, ':');
    const char *from = text, *to = colon;
    if (colon && *from == '[' && colon > from && colon[-1] == ']') {
        from++;
        to--;
    }
    if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strlen(colon + 1) > 5 || atoi(colon + 1) > PORT_MAX || to - from > 255)
        return ap_fail(err, AP_INVALID,
                       "serve: '%s' is no address to listen on, expected HOST:PORT with a port of "
                       "0 to %d",
                       text, (int)PORT_MAX);
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    strcpy(port, colon + 1);
    return AP_OK;
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static ap_status bind_socket(struct ap_listener *l, const char *address, const struct addrinfo *a,
                             struct ap_error *err)
{
    int one = 1;
    l->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return ap_fail_errno(err, errno, "serve: no socket");
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(l->fd, a->ai_addr, a->ai_addrlen) == 0 && listen(l->fd, BACKLOG) == 0)
        return AP_OK;
    if (errno == EADDRINUSE)
        return ap_fail(err, AP_BUSY,
                       "serve: another program listens on %s; choose another port with --listen",
                       address);
    return ap_fail_errno(err, errno, "serve: cannot listen on %s", address);
}

static void write_address(struct ap_listener *l)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof(address);
    char host[64] = "", port[16] = "";
    getsockname(l->fd, (struct sockaddr *)&address, &n);
    getnameinfo((struct sockaddr *)&address, n, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    bool six = address.ss_family == AF_INET6;
    snprintf(l->address, sizeof(l->address), "%s%s%s:%s", six ? "[" : "", host, six ? "]" : "",
             port);
}

ap_status ap_listener_open(struct ap_listener *l, const char *address, bool anyone,
                           struct ap_error *err)
{
    char host[256], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    *l = (struct ap_listener){.fd = -1};
    ap_status status = split_address(address, host, port, err);
    if (status != AP_OK)
        return status;
    int code = getaddrinfo(host[0] ? host : "127.0.0.1", port, &hints, &found);
    if (code != 0)
        return ap_fail(err, AP_INVALID, "serve: %s: %s", address, gai_strerror(code));
    l->loopback = is_loopback(found->ai_addr);
    if (l->loopback || anyone)
        status = bind_socket(l, address, found, err);
    else
        status = ap_fail(err, AP_INVALID,
                         "serve: %s is an address that others reach, and there are no keys; give "
                         "--keys, listen on 127.0.0.1, or say --open",
                         address);
    freeaddrinfo(found);
    if (status == AP_OK)
        write_address(l);
    return status;
}

void ap_listener_close(struct ap_listener *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}
