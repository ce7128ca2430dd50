/* The process and the sockets of the fault server (fault_server.h): one loop over poll. The test
 * speaks to it over a pair of sockets, a byte each way: what it shares with the server is at rest
 * between the two. */
#include "fault_server.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { N_SLOT = 1 << 16, N_CONNECTION = 1000, REQUEST_MAX = 8 << 20, READ_BYTES = 1 << 16 };

struct fault_shared {
    struct fault_config config; /* the test writes it, and says so */
    struct fault_counts counts;
    int32_t order[N_SLOT]; /* of the keys, as they came */
    struct fault_seen seen[N_SLOT];
};

struct fault_server {
    pid_t pid;
    int control, port;
    char url[64];
    struct fault_shared *shared;
};

const char *fault_name(fault_kind kind)
{
    static const char *const names[] = {
#define X(name, end) #name,
        FAULT_LIST(X)
#undef X
    };
    return names[kind];
}

static fault_end end_of(fault_kind kind)
{
    static const fault_end ends[] = {
#define X(name, end) FAULT_END_##end,
        FAULT_LIST(X)
#undef X
    };
    return ends[kind];
}

/* ---- in the server's process ---- */

struct connection {
    int fd;
    bool busy;    /* the first byte of a request came, the last of its reply did not go */
    bool replies; /* the request was read */
    fault_kind kind;
    uint64_t turn;
    struct ap_buffer in;
    struct fault_reply reply;
    size_t sent;
    double due; /* when to send on */
    struct fault_seen *seen;
};

struct loop {
    struct fault_shared *shared;
    int control, listener, port;
    struct connection *connections;
    int n;
    uint64_t n_turn;
};

static struct fault_seen *slot_of(struct fault_shared *s, const char *key)
{
    uint64_t at = ap_hash(key, strlen(key)) % N_SLOT;
    while (s->seen[at].key[0] && strcmp(s->seen[at].key, key) != 0)
        at = (at + 1) % N_SLOT;
    return &s->seen[at];
}

static struct fault_seen *see(struct fault_shared *s, const char *key)
{
    struct fault_seen *seen = slot_of(s, key);
    if (!seen->key[0]) {
        if (s->counts.n_key >= N_SLOT / 2)
            abort();
        snprintf(seen->key, sizeof(seen->key), "%s", key);
        s->order[s->counts.n_key++] = (int32_t)(seen - s->seen);
    }
    return seen;
}

static fault_kind draw(const struct fault_config *c, uint64_t turn)
{
    struct ap_random random;
    struct ap_stream stream = {.seed = c->seed, .record = turn};
    if (c->n_faulty > 0 && turn >= (uint64_t)c->n_faulty)
        return FAULT_NONE;
    ap_random_init(&random, &stream);
    double u = ap_random_uniform(&random);
    for (int k = 0; k < FAULT_COUNT; k++)
        if (k != FAULT_NONE && (u -= c->rate[k]) < 0)
            return (fault_kind)k;
    return FAULT_NONE;
}

static void idle(struct loop *l, struct connection *c)
{
    if (c->busy)
        l->shared->counts.n_now--;
    ap_buffer_free(&c->reply.bytes);
    c->reply = (struct fault_reply){0};
    c->busy = c->replies = false;
    c->sent = 0;
    c->seen = NULL;
}

static void drop(struct loop *l, struct connection *c, bool reset)
{
    struct linger linger = {1, 0};
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    idle(l, c);
    ap_buffer_free(&c->in);
    close(c->fd);
    c->fd = -1;
}

static void begin(struct loop *l, struct connection *c)
{
    struct fault_counts *counts = &l->shared->counts;
    c->busy = true;
    c->turn = l->n_turn++;
    c->kind = draw(&l->shared->config, c->turn);
    counts->n_kind[c->kind]++;
    if (++counts->n_now > counts->n_most)
        counts->n_most = counts->n_now;
}

/* The value of a header in a terminated head, "" without one. */
static void header_of(const char *head, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    out[0] = '\0';
    for (const char *line = head; (line = strstr(line, "\r\n")) != NULL;) {
        line += 2;
        if (strncasecmp(line, name, n) != 0 || line[n] != ':')
            continue;
        const char *value = line + n + 1 + strspn(line + n + 1, " ");
        snprintf(out, size, "%.*s", (int)strcspn(value, "\r\n"), value);
        return;
    }
}

static void count_request(struct loop *l, struct connection *c, const char *head, const char *path,
                          const char *bearer)
{
    struct fault_counts *counts = &l->shared->counts;
    const char *key = l->shared->config.key;
    char text[FAULT_KEY], stream[200];
    header_of(head, "Idempotency-Key", text, sizeof(text));
    header_of(head, "X-Alignpro-Stream", stream, sizeof(stream));
    counts->n_request++;
    counts->n_told += stream[0] != '\0';
    counts->n_unnamed += text[0] == '\0';
    counts->n_elsewhere += strcmp(path, "/elsewhere") == 0;
    counts->n_unauthorised += strcmp(bearer, key) != 0;
    c->seen = text[0] ? see(l->shared, text) : NULL;
    if (c->seen) {
        counts->n_early += ap_clock_seconds() < c->seen->wait_until;
        c->seen->n_request++;
    }
}

static void answer(struct loop *l, struct connection *c, const char *head, const char *body,
                   size_t n_body)
{
    const struct fault_config *config = &l->shared->config;
    char path[200] = "", bearer[300];
    const char *from = strchr(head, ' ');
    if (from)
        snprintf(path, sizeof(path), "%.*s", (int)strcspn(from + 1, " \r"), from + 1);
    header_of(head, "Authorization", bearer, sizeof(bearer));
    const char *token = strncmp(bearer, "Bearer ", 7) == 0 ? bearer + 7 : bearer;
    count_request(l, c, head, path, token);
    fault_reply_make(&c->reply, c->kind, path, body, n_body, token, c->turn, config);
    c->replies = true;
    c->due = config->latency > 0 ? ap_clock_seconds() + config->latency : 0;
    if (end_of(c->kind) >= FAULT_END_BOUGHT) {
        l->shared->counts.n_bought++;
        if (c->seen)
            c->seen->n_bought++;
    }
}

/* A request that is all there becomes a reply; the bytes behind it stay. */
static void parse(struct loop *l, struct connection *c)
{
    char length[32];
    char *end = c->in.len ? strstr(c->in.data, "\r\n\r\n") : NULL;
    if (!end || c->replies)
        return;
    size_t n_head = (size_t)(end - c->in.data) + 4;
    end[2] = '\0';
    header_of(c->in.data, "Content-Length", length, sizeof(length));
    size_t n_body = (size_t)strtoull(length, NULL, 10);
    if (c->in.len - n_head >= n_body) {
        answer(l, c, c->in.data, c->in.data + n_head, n_body);
        size_t left = c->in.len - n_head - n_body;
        memmove(c->in.data, c->in.data + n_head + n_body, left);
        c->in.len = left;
        c->in.data[left] = '\0';
        return;
    }
    header_of(c->in.data, "Expect", length, sizeof(length));
    l->shared->counts.n_expect += length[0] != '\0';
    if (length[0] && c->in.len == n_head)
        (void)!send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    end[2] = '\r';
}

static void receive(struct loop *l, struct connection *c)
{
    char data[READ_BYTES];
    if (!c->busy)
        begin(l, c);
    if (c->kind == FAULT_RESET_UNREAD) {
        drop(l, c, true);
        return;
    }
    ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || c->in.len > REQUEST_MAX ||
        ap_buffer_append(&c->in, data, (size_t)n, NULL) != AP_OK) {
        drop(l, c, false);
        return;
    }
    parse(l, c);
}

static void finish(struct loop *l, struct connection *c)
{
    if (end_of(c->kind) == FAULT_END_WHOLE) {
        l->shared->counts.n_whole++;
        if (c->seen)
            c->seen->n_whole++;
    }
    if (c->kind == FAULT_WAIT_SECONDS && c->seen)
        c->seen->wait_until = ap_clock_seconds() + l->shared->config.retry_after;
    if (c->reply.after == FAULT_KEEP) {
        idle(l, c);
        if (c->in.len)
            begin(l, c);
        parse(l, c);
        return;
    }
    if (c->reply.after == FAULT_CLOSE)
        shutdown(c->fd, SHUT_WR);
    drop(l, c, c->reply.after == FAULT_RESET);
}

/* Sends what it can; what is sent whole is counted before the client can know of it. */
static void send_on(struct loop *l, struct connection *c)
{
    struct fault_reply *r = &c->reply;
    const int together = r->after == FAULT_CLOSE; /* its end comes with the last bytes, not later */
    setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &together, sizeof(together));
    while (c->sent < r->n_send) {
        size_t n = r->n_send - c->sent;
        if (r->piece && n > r->piece)
            n = r->piece;
        ssize_t sent = send(c->fd, r->bytes.data + c->sent, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (sent < 0) {
            drop(l, c, false);
            return;
        }
        c->sent += (size_t)sent;
        if (c->sent == r->n_send && r->after == FAULT_REPEAT) {
            if (r->n_again-- > 0)
                c->sent = r->again;
            else
                r->after = FAULT_CLOSE;
            return; /* others have their turn */
        }
        if (r->piece && c->sent < r->n_send) {
            c->due = ap_clock_seconds() + l->shared->config.drip;
            return;
        }
    }
    if (r->after != FAULT_HANG)
        finish(l, c);
}

static void open_listener(struct loop *l)
{
    int yes = 1;
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)l->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    l->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(l->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(l->listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(l->listener, 1000))
        abort();
}

/* What the test asks for: a byte, answered by the same when it is done. */
static bool obey(struct loop *l)
{
    char what;
    if (recv(l->control, &what, 1, 0) != 1)
        return false;
    bool dead = l->shared->config.dead;
    if (dead && l->listener >= 0) {
        close(l->listener);
        l->listener = -1;
        for (int i = 0; i < l->n; i++)
            if (l->connections[i].fd >= 0)
                drop(l, &l->connections[i], true);
    }
    if (!dead && l->listener < 0)
        open_listener(l);
    return send(l->control, &what, 1, MSG_NOSIGNAL) == 1;
}

static void take_connections(struct loop *l)
{
    int fd, yes = 1;
    while (l->n < N_CONNECTION && l->listener >= 0 &&
           (fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        l->connections[l->n++] = (struct connection){.fd = fd};
        l->shared->counts.n_connection++;
    }
}

static void forget_closed(struct loop *l)
{
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (l->connections[i].fd >= 0)
            l->connections[n++] = l->connections[i];
    l->n = n;
}

static short wanted(const struct connection *c, double now, double *next)
{
    if (!c->replies)
        return POLLIN;
    if (c->reply.after == FAULT_HANG && c->sent == c->reply.n_send)
        return POLLRDHUP;
    if (c->due > now) {
        *next = fmin(*next, c->due - now);
        return POLLRDHUP;
    }
    return POLLOUT | POLLRDHUP;
}

static void serve_one(struct loop *l, struct connection *c, short events)
{
    if (c->replies && (events & (POLLERR | POLLHUP | POLLRDHUP)))
        drop(l, c, false);
    else if (!c->replies && (events & (POLLIN | POLLERR | POLLHUP))) {
        char byte;
        if (!c->busy && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
            drop(l, c, false);
        else
            receive(l, c);
    }
    if (c->fd >= 0 && c->replies && c->due <= ap_clock_seconds())
        send_on(l, c);
}

static void serve(struct loop *l)
{
    static struct pollfd fds[N_CONNECTION + 2];
    for (;;) {
        double now = ap_clock_seconds(), next = 1;
        for (int i = 0; i < l->n; i++)
            fds[i + 2] =
                (struct pollfd){l->connections[i].fd, wanted(&l->connections[i], now, &next), 0};
        fds[0] = (struct pollfd){l->control, POLLIN, 0};
        fds[1] = (struct pollfd){l->n < N_CONNECTION ? l->listener : -1, POLLIN, 0};
        if (poll(fds, (nfds_t)l->n + 2, (int)ceil(next * 1000)) < 0 && errno != EINTR)
            return;
        for (int i = 0; i < l->n; i++)
            serve_one(l, &l->connections[i], fds[i + 2].revents);
        if ((fds[0].revents & (POLLIN | POLLHUP)) && !obey(l))
            return;
        forget_closed(l);
        take_connections(l);
    }
}

/* ---- in the test's process ---- */

static void run(struct fault_server *s, int control, pid_t parent)
{
    struct loop loop = {.shared = s->shared, .control = control, .listener = -1, .port = s->port};
    prctl(PR_SET_PDEATHSIG, SIGKILL);

    loop.connections = ap_calloc(N_CONNECTION, sizeof(*loop.connections));
    if (getppid() == parent && loop.connections) {
        open_listener(&loop);
        serve(&loop);
    }
    _exit(0);
}

/* A socket that is bound and does not listen keeps the port from others while the server is dead.
 */
static int hold_port(int *port)
{
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(at.sin_port);
    return fd;
}

static void sync_with(struct fault_server *s)
{
    char byte = 's';
    if (send(s->control, &byte, 1, MSG_NOSIGNAL) != 1 || recv(s->control, &byte, 1, 0) != 1) {
        fprintf(stderr, "the fault server is gone\n");
        abort();
    }
}

struct fault_server *fault_server_start(const struct fault_config *config)
{
    int pair[2] = {-1, -1};
    struct fault_server *s = calloc(1, sizeof(*s));
    pid_t parent = getpid();
    if (!s)
        abort();
    setenv("no_proxy", "127.0.0.1", 1); /* nothing of a test leaves the machine */
    s->shared =
        mmap(NULL, sizeof(*s->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int holder = hold_port(&s->port);
    if (s->shared == MAP_FAILED || holder < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    s->shared->config = *config;
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/v1", s->port);
    fflush(NULL);
    s->pid = fork();
    if (s->pid == 0) {
        close(pair[0]);
        run(s, pair[1], parent); /* which keeps the holder open */
    }
    close(pair[1]);
    close(holder);
    s->control = pair[0];
    if (s->pid < 0)
        abort();
    sync_with(s);
    return s;
}

void fault_server_stop(struct fault_server *s)
{
    if (!s)
        return;
    close(s->control);
    kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    munmap(s->shared, sizeof(*s->shared));
    free(s);
}

const char *fault_server_url(const struct fault_server *s)
{
    return s->url;
}

void fault_server_set(struct fault_server *s, const struct fault_config *config)
{
    sync_with(s);
    s->shared->config = *config;
    sync_with(s);
}

void fault_server_counts(struct fault_server *s, struct fault_counts *out)
{
    sync_with(s);
    *out = s->shared->counts;
}

struct fault_seen fault_server_seen(struct fault_server *s, const char *key)
{
    return *slot_of(s->shared, key);
}

const struct fault_seen *fault_server_each(struct fault_server *s, int64_t i)
{
    return i < s->shared->counts.n_key ? &s->shared->seen[s->shared->order[i]] : NULL;
}

void fault_config_mix(struct fault_config *config, double share, double dear)
{
    static const fault_kind dears[] = {FAULT_WAIT_SECONDS, FAULT_HUGE_BODY, FAULT_ENDLESS_BODY,
                                       FAULT_ENDLESS_HEADERS};
    int n_cheap = FAULT_HEALS - 1 - (int)AP_LEN(dears);
    for (int k = FAULT_NONE + 1; k < FAULT_HEALS; k++)
        config->rate[k] = (share - dear * (double)AP_LEN(dears)) / n_cheap;
    for (size_t i = 0; i < AP_LEN(dears); i++)
        config->rate[dears[i]] = dear;
}
