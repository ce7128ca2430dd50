/* A server in the test's own process whose replies a function of the test makes, for what the fault
 * server does not say: bodies as they were sent, usage as the test wants it. It never fails. */
#ifndef AP_TESTS_NET_LOCAL_SERVER_H
#define AP_TESTS_NET_LOCAL_SERVER_H

#include "base/buffer.h"
#include "check.h"

#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

enum { LOCAL_CONNECTIONS = 64 };

struct local_request {
    const char *path;
    const char *head; /* all header lines */
    json_t *body;     /* NULL: no JSON */
    int turn;         /* how many came before it */
};

/* One at a time, on a thread of the server's: it must assert nothing. Returns the status. */
typedef int (*local_fn)(void *context, const struct local_request *request,
                        struct ap_buffer *reply);

struct local_server {
    char url[64]; /* "http://127.0.0.1:PORT/v1" */
    local_fn fn;
    void *context;
    int n_request; /* read it with local_count */
    int listener, connections[LOCAL_CONNECTIONS], n_connection;
    pthread_t accepts, threads[LOCAL_CONNECTIONS];
    pthread_mutex_t lock;
};

struct local_thread {
    struct local_server *server;
    int fd;
};

static inline void local_reply(struct local_server *s, int fd, struct ap_buffer *in, size_t n_head)
{
    char path[128] = "";
    struct ap_buffer body = {0}, out = {0};
    sscanf(in->data, "POST %127s", path);
    in->data[n_head - 1] = '\0';
    struct local_request request = {path, in->data,
                                    json_loadb(in->data + n_head, in->len - n_head, 0, NULL), 0};
    pthread_mutex_lock(&s->lock);
    request.turn = s->n_request++;
    int status = s->fn(s->context, &request, &body);
    pthread_mutex_unlock(&s->lock);
    if (ap_buffer_printf(&out, NULL,
                         "HTTP/1.1 %d Status\r\nContent-Type: application/json\r\n"
                         "Content-Length: %zu\r\n\r\n%s",
                         status, body.len, body.data ? body.data : "") != AP_OK ||
        send(fd, out.data, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
        perror("local server");
    json_decref(request.body);
    ap_buffer_free(&body);
    ap_buffer_free(&out);
}

/* Reads requests and answers them until the other end closes. */
static inline void *local_connection(void *context)
{
    struct local_thread t = *(struct local_thread *)context;
    struct ap_buffer in = {0};
    char piece[65536];
    ssize_t n;
    free(context);
    while ((n = recv(t.fd, piece, sizeof(piece), 0)) > 0) {
        if (ap_buffer_append(&in, piece, (size_t)n, NULL) != AP_OK)
            break;
        const char *end = strstr(in.data, "\r\n\r\n"),
                   *length = strcasestr(in.data, "\nContent-Length:");
        size_t n_head = end ? (size_t)(end - in.data) + 4 : 0;
        if (!end || !length || in.len < n_head + strtoul(length + 16, NULL, 10))
            continue;
        local_reply(t.server, t.fd, &in, n_head);
        ap_buffer_free(&in);
    }
    ap_buffer_free(&in);
    return NULL;
}

static inline void *local_accept(void *context)
{
    struct local_server *s = context;
    int fd;
    while (s->n_connection < LOCAL_CONNECTIONS && (fd = accept(s->listener, NULL, NULL)) >= 0) {
        struct local_thread *t = malloc(sizeof(*t));
        if (!t)
            abort();
        *t = (struct local_thread){s, fd};
        s->connections[s->n_connection] = fd;
        if (pthread_create(&s->threads[s->n_connection++], NULL, local_connection, t) != 0)
            abort();
    }
    return NULL;
}

static inline void local_start(struct local_server *s, local_fn fn, void *context)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(a);
    setenv("no_proxy", "127.0.0.1", 1); /* nothing of a test leaves the machine */
    *s = (struct local_server){.fn = fn, .context = context};
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listener >= 0 && bind(s->listener, (struct sockaddr *)&a, n) == 0);
    assert_int_equal(listen(s->listener, LOCAL_CONNECTIONS), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &n), 0);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/v1", ntohs(a.sin_port));
    pthread_mutex_init(&s->lock, NULL);
    assert_int_equal(pthread_create(&s->accepts, NULL, local_accept, s), 0);
}

static inline void local_stop(struct local_server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->accepts, NULL);
    close(s->listener);
    for (int i = 0; i < s->n_connection; i++) {
        shutdown(s->connections[i], SHUT_RDWR);
        pthread_join(s->threads[i], NULL);
        close(s->connections[i]);
    }
    pthread_mutex_destroy(&s->lock);
}

/* Requests so far. */
static inline int local_count(struct local_server *s)
{
    pthread_mutex_lock(&s->lock);
    int n = s->n_request;
    pthread_mutex_unlock(&s->lock);
    return n;
}

#endif
