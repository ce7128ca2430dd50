/* Raw HTTP for the tests: a client that sends exactly what it is given, and an upstream that a test
 * writes the replies of. Everything on loopback, at ports that are free. */
#ifndef AP_TESTS_WIRE_H
#define AP_TESTS_WIRE_H

#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

enum { WIRE_MAX = 1 << 20, WIRE_SECONDS = 20 };

/* ---- both sides ---- */

static inline void wire_patience(int fd)
{
    struct timeval limit = {WIRE_SECONDS, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

/* A signal may come in between, such as a fuzzer's alarm. */
static inline ssize_t wire_receive(int fd, char *out, size_t n)
{
    ssize_t got;
    do
        got = recv(fd, out, n, 0);
    while (got < 0 && errno == EINTR);
    return got;
}

static inline bool wire_send(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        data += sent;
        n -= (size_t)sent;
    }
    return true;
}

static inline bool wire_say(int fd, const char *text)
{
    return wire_send(fd, text, strlen(text));
}

static inline void wire_pause(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* ---- the client ---- */

static inline int wire_port(const char *url)
{
    return atoi(strrchr(url, ':') + 1);
}

static inline int wire_connect(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    wire_patience(fd);
    while (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EISCONN)
        if (errno != EINTR)
            fail_msg("no connection to port %d: %s", port, strerror(errno));
    return fd;
}

struct wire_reply {
    int status; /* 0: the connection ended before a head */
    bool whole; /* its end was seen: the last chunk, or all of its length */
    char *text; /* all that came */
    char *head; /* into text */
    char *body; /* without the chunks' frames */
    size_t n_body;
};

static inline void wire_free(struct wire_reply *r)
{
    free(r->text);
    *r = (struct wire_reply){0};
}

/* A header of the reply, in a static buffer; NULL: it has none. */
static inline const char *wire_header(const struct wire_reply *r, const char *name)
{
    static _Thread_local char value[8192];
    size_t n = strlen(name);
    for (const char *line = r->head; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            const char *from = line + n + 1 + strspn(line + n + 1, " ");
            size_t length = strcspn(from, "\r\n");
            snprintf(value, sizeof(value), "%.*s", (int)length, from);
            return value;
        }
    }
    return NULL;
}

static inline void wire_unchunk(struct wire_reply *r)
{
    char *from = r->body, *to = r->body, *end = r->body + r->n_body;
    while (from < end) {
        char *line;
        size_t n = strtoull(from, &line, 16);
        if (line == from || line + 2 > end)
            break;
        from = line + 2;
        r->whole = n == 0;
        if (n == 0 || from + n > end)
            break;
        memmove(to, from, n);
        to += n;
        from += n + 2;
    }
    r->n_body = (size_t)(to - r->body);
    *to = '\0';
}

/* What came, taken apart. */
static inline void wire_parse(struct wire_reply *r, size_t n)
{
    char *end = strstr(r->text, "\r\n\r\n");
    r->head = r->text;
    r->body = r->text + n;
    if (!end || sscanf(r->text, "HTTP/1.%*d %d", &r->status) != 1) {
        r->status = 0;
        return;
    }
    *end = '\0';
    r->body = end + 4;
    r->n_body = n - (size_t)(r->body - r->text);
    const char *length = wire_header(r, "Content-Length"), *te;
    r->whole = !length || strtoull(length, NULL, 10) == r->n_body;
    if ((te = wire_header(r, "Transfer-Encoding")) != NULL && strcasecmp(te, "chunked") == 0)
        wire_unchunk(r);
}

/* All bytes until the other side closes; the caller frees them. */
static inline char *wire_read_bytes(int fd, size_t *n)
{
    char *text = calloc(WIRE_MAX + 1, 1);
    ssize_t got;
    for (*n = 0; *n < WIRE_MAX && (got = wire_receive(fd, text + *n, WIRE_MAX - *n)) > 0;)
        *n += (size_t)got;
    close(fd);
    return text;
}

static inline struct wire_reply wire_read(int fd)
{
    size_t n;
    struct wire_reply r = {.text = wire_read_bytes(fd, &n)};
    wire_parse(&r, n);
    return r;
}

/* Bytes behind those of text, until the part is among them. */
static inline void wire_read_until(int fd, char *text, size_t room, const char *part)
{
    size_t n = strlen(text);
    while (!strstr(text, part)) {
        ssize_t got = recv(fd, text + n, room - n - 1, 0);
        if (got <= 0)
            fail_msg("'%s' did not come, only: %s", part, text);
        n += (size_t)got;
        text[n] = '\0';
    }
}

static inline struct wire_reply wire_raw(int port, const char *text)
{
    int fd = wire_connect(port);
    wire_say(fd, text);
    return wire_read(fd);
}

/* headers: lines that end in \r\n, or "". */
static inline int wire_begin(int port, const char *method, const char *path, const char *headers,
                             const char *body)
{
    char head[4096];
    int fd = wire_connect(port);
    snprintf(head, sizeof(head),
             "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: "
             "%zu\r\n%s\r\n",
             method, path, strlen(body), headers);
    wire_say(fd, head);
    wire_say(fd, body);
    return fd;
}

static inline struct wire_reply wire_post(int port, const char *path, const char *headers,
                                          const char *body)
{
    return wire_read(wire_begin(port, "POST", path, headers, body));
}

static inline struct wire_reply wire_get(int port, const char *path)
{
    return wire_read(wire_begin(port, "GET", path, "", ""));
}

/* Of /healthz; 0: nobody listens, or nothing came. Fails nobody, so that any thread may ask. */
static inline int wire_status(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    char text[64] = "";
    int status = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    wire_patience(fd);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
        wire_say(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") &&
        wire_receive(fd, text, sizeof(text) - 1) > 0)
        sscanf(text, "HTTP/1.1 %d", &status);
    close(fd);
    return status;
}

/* ---- the upstream ---- */

struct wire_stub;
typedef bool (*wire_serve)(struct wire_stub *s, int fd); /* false: close the connection */

struct wire_stub {
    int fd, port;
    char url[64]; /* "http://127.0.0.1:PORT/v1" */
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    wire_serve serve;
    char *request; /* the last one, head and body */
    int n_request, n_connection, n_thread;
    bool closing;
    sem_t go, reached; /* for a serve that waits, and says how far it is */
};

struct wire_line {
    struct wire_stub *stub;
    int fd;
};

/* One request into text; false: the connection ended. */
static inline bool wire_take_request(int fd, char *text)
{
    size_t n = 0, wanted = 0;
    while (n < WIRE_MAX) {
        ssize_t got = wire_receive(fd, text + n, WIRE_MAX - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        text[n] = '\0';
        char *end = strstr(text, "\r\n\r\n");
        if (end && wanted == 0) {
            char *length = strcasestr(text, "\r\nContent-Length:");
            wanted = (size_t)(end + 4 - text) +
                     (length && length < end ? strtoull(length + 17, NULL, 10) : 0);
        }
        if (wanted > 0 && n >= wanted)
            return true;
    }
    return false;
}

static inline void *wire_stub_line(void *context)
{
    struct wire_line *line = context;
    struct wire_stub *s = line->stub;
    char *text = calloc(WIRE_MAX + 1, 1);
    bool more = true;
    while (more && wire_take_request(line->fd, text)) {
        pthread_mutex_lock(&s->lock);
        free(s->request);
        s->request = strdup(text);
        s->n_request++;
        wire_serve serve = s->serve;
        pthread_mutex_unlock(&s->lock);
        more = serve(s, line->fd);
    }
    close(line->fd);
    free(text);
    free(line);
    pthread_mutex_lock(&s->lock);
    s->n_thread--;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static inline void *wire_stub_loop(void *context)
{
    struct wire_stub *s = context;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        struct wire_line *line = malloc(sizeof(*line));
        pthread_t thread;
        wire_patience(fd);
        *line = (struct wire_line){s, fd};
        pthread_mutex_lock(&s->lock);
        s->n_connection++;
        s->n_thread++;
        pthread_mutex_unlock(&s->lock);
        pthread_create(&thread, NULL, wire_stub_line, line);
        pthread_detach(thread);
    }
    return NULL;
}

static inline int wire_listen(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 64), 0);
    getsockname(fd, (struct sockaddr *)&at, &n);
    *port = ntohs(at.sin_port);
    return fd;
}

static inline void wire_stub_open(struct wire_stub *s, wire_serve serve)
{
    *s = (struct wire_stub){.serve = serve};
    s->fd = wire_listen(&s->port);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/v1", s->port);
    pthread_mutex_init(&s->lock, NULL);
    sem_init(&s->go, 0, 0);
    sem_init(&s->reached, 0, 0);
    pthread_create(&s->thread, NULL, wire_stub_loop, s);
}

/* The server before it has closed its connections by then. */
static inline void wire_stub_close(struct wire_stub *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    for (int left = 1, i = 0; left > 0 && i < 4000; i++) {
        pthread_mutex_lock(&s->lock);
        left = s->n_thread;
        pthread_mutex_unlock(&s->lock);
        wire_pause(left > 0 ? 5 : 0);
    }
    free(s->request);
}

static inline void wire_stub_set(struct wire_stub *s, wire_serve serve)
{
    pthread_mutex_lock(&s->lock);
    s->serve = serve;
    pthread_mutex_unlock(&s->lock);
}

/* The last request, in memory that is the caller's. */
static inline char *wire_stub_request(struct wire_stub *s)
{
    pthread_mutex_lock(&s->lock);
    char *copy = strdup(s->request ? s->request : "");
    pthread_mutex_unlock(&s->lock);
    return copy;
}

static inline void wire_await(sem_t *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WIRE_SECONDS;
    if (sem_timedwait(what, &until) != 0)
        fail_msg("nothing came for %d seconds", WIRE_SECONDS);
}

/* Until the condition holds, or too long. */
#define wire_until(condition)                                                                      \
    do {                                                                                           \
        int waits_ = 0;                                                                            \
        while (!(condition) && waits_++ < WIRE_SECONDS * 200)                                      \
            wire_pause(5);                                                                         \
        assert_true(condition);                                                                    \
    } while (0)

#endif
