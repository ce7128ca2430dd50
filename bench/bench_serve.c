/* What the proxy costs: an upstream that answers after a fixed time, the proxy with rewriting off,
 * and clients, each a process of its own on loopback.
 *
 *     bench_serve [--rate N] [--seconds N] [--latency MS] [--requests N]
 *
 * Open loop: N requests a second, each timed from the moment at which it was to be sent, at the
 * upstream alone and through the proxy, in turn; the difference between the best round of each is
 * the overhead. Idle and active: 1,000 connections that do nothing beside 256 that ask without a
 * pause. Memory: so many requests, 64 at a time, and what the proxy's process has after each
 * quarter. */
#include "base/clock.h"
#include "base/process.h"
#include "serve/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LINES_MAX = 4096,
    MESSAGE_MAX = 4096,
    EVENTS = 256,
    IDLE = 1000,
    ACTIVE = 256,
    STEADY = 64,
    ROUNDS = 3
};

struct settings {
    double rate, seconds, latency_s;
    long requests;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_serve: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- what both ends of a connection share ---- */

struct line {
    int fd;
    bool busy;
    double due; /* when its request was to be sent */
    size_t n;
    char text[MESSAGE_MAX];
};

/* Bytes of the message whose beginning is there; 0: its head is not whole yet. */
static size_t message_size(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\ncontent-length:");
    if (!end)
        return 0;
    return (size_t)(end - text) + 4 + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

/* Reads what is there. 1: a whole message, which is then forgotten; 0: not yet; −1: the end. */
static int line_read(struct line *l)
{
    ssize_t got = recv(l->fd, l->text + l->n, MESSAGE_MAX - 1 - l->n, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        return -1;
    if (got > 0)
        l->n += (size_t)got;
    l->text[l->n] = '\0';
    size_t size = message_size(l->text);
    if (size == 0 || l->n < size)
        return 0;
    l->n = 0;
    return 1;
}

static void watch(int epoll, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll");
}

/* A timer that rings at `at`, a time of ap_clock_seconds. */
static void set_timer(int timer, double at)
{
    double whole = floor(at);
    struct itimerspec spec = {.it_value = {(time_t)whole, (long)(1e9 * (at - whole)) + 1}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void forget_ring(int timer)
{
    uint64_t rings;
    ssize_t got = read(timer, &rings, sizeof(rings));
    (void)got;
}

/* ---- the upstream ---- */

static const char reply[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 219\r\n\r\n"
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"stub\","
    "\"choices\":["
    "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"A fox is a small animal that "
    "lives "
    "in the wood.\"},\"finish_reason\":\"stop\"}],\"n\":1}  ";

struct stub {
    int listener, epoll, timer;
    double latency_s;
    struct line *lines; /* by fd */
    struct {
        int fd;
        double due;
    } waiting[LINES_MAX]; /* a ring: the latency is the same for all */
    size_t first, n;
};

static void stub_accept(struct stub *s)
{
    for (int fd; (fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        if (fd >= LINES_MAX) {
            close(fd);
            continue;
        }
        s->lines[fd] = (struct line){.fd = fd};
        watch(s->epoll, fd, &s->lines[fd]);
    }
}

static void stub_read(struct stub *s, struct line *l)
{
    int got = line_read(l);
    if (got < 0)
        close(l->fd);
    if (got <= 0 || s->n == LINES_MAX)
        return;
    size_t at = (s->first + s->n++) % LINES_MAX;
    s->waiting[at].fd = l->fd;
    s->waiting[at].due = ap_clock_seconds() + s->latency_s;
    if (s->n == 1)
        set_timer(s->timer, s->waiting[at].due);
}

static void stub_answer(struct stub *s)
{
    forget_ring(s->timer);
    while (s->n > 0 && s->waiting[s->first].due <= ap_clock_seconds()) {
        ssize_t ignored = send(s->waiting[s->first].fd, reply, sizeof(reply) - 1, MSG_NOSIGNAL);
        (void)ignored;
        s->first = (s->first + 1) % LINES_MAX;
        s->n--;
    }
    if (s->n > 0)
        set_timer(s->timer, s->waiting[s->first].due);
}

static void stub_run(int listener, double latency_s)
{
    struct stub *s = calloc(1, sizeof(*s));
    struct epoll_event events[EVENTS];
    *s = (struct stub){.listener = listener, .latency_s = latency_s};
    s->lines = calloc(LINES_MAX, sizeof(*s->lines));
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    watch(s->epoll, listener, &s->listener);
    watch(s->epoll, s->timer, &s->timer);
    for (;;) {
        int n = epoll_wait(s->epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr == &s->listener)
                stub_accept(s);
            else if (events[i].data.ptr == &s->timer)
                stub_answer(s);
            else
                stub_read(s, events[i].data.ptr);
    }
}

static int stub_listen(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 1024) != 0)
        die("listen");
    getsockname(fd, (struct sockaddr *)&at, &n);
    *port = ntohs(at.sin_port);
    return fd;
}

/* ---- the proxy ---- */

/* Says its port on `out` and serves until it is killed. */
static void proxy_run(int upstream_port, int out)
{
    struct ap_server_options options = ap_server_defaults;
    struct ap_server *server;
    struct ap_error err;
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/v1", upstream_port);
    options.listen = "127.0.0.1:0";
    options.upstream = url;
    options.upstream_connections = 512;
    options.rewrite = AP_REWRITE_NONE;
    options.connections_per_address = 0;
    if (ap_server_open(&server, &options, NULL, &err) != AP_OK) {
        fprintf(stderr, "bench_serve: %s\n", err.text);
        exit(1);
    }
    int port = atoi(strrchr(ap_server_url(server), ':') + 1);
    if (write(out, &port, sizeof(port)) != (ssize_t)sizeof(port))
        die("write");
    for (;;)
        pause();
}

static pid_t start_stub(double latency_s, int *port)
{
    int listener = stub_listen(port);
    pid_t pid = fork();
    if (pid == 0)
        stub_run(listener, latency_s);
    close(listener);
    return pid;
}

static pid_t start_proxy(int upstream_port, int *port)
{
    int ends[2];
    if (pipe(ends) != 0)
        die("pipe");
    pid_t pid = fork();
    if (pid == 0)
        proxy_run(upstream_port, ends[1]);
    close(ends[1]);
    if (read(ends[0], port, sizeof(*port)) != (ssize_t)sizeof(*port))
        die("the proxy");
    close(ends[0]);
    return pid;
}

/* ---- the clients ---- */

struct load {
    int port, epoll, timer;
    struct line *lines; /* n_line of them are connected */
    int n_line, n_busy;
    double *times; /* of the answers so far, seconds */
    long n_time, n_lost;
    double rate, begun; /* open loop */
    long n_sent, n_wanted;
    int concurrency; /* closed loop; 0: open */
};

static int connect_to(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("connect");
    return fd;
}

static struct line *free_line(struct load *l)
{
    for (int i = 0; i < l->n_line; i++)
        if (!l->lines[i].busy && l->lines[i].fd >= 0)
            return &l->lines[i];
    if (l->n_line == LINES_MAX)
        return NULL;
    struct line *line = &l->lines[l->n_line++];
    *line = (struct line){.fd = connect_to(l->port)};
    watch(l->epoll, line->fd, line);
    return line;
}

static void ask(struct load *l, struct line *line, double due)
{
    static const char request[] =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
        "application/json\r\nContent-Length: 138\r\n\r\n"
        "{\"model\":\"stub\",\"messages\":[{\"role\":\"system\",\"content\":\"Be "
        "kind.\"},{\"role\":"
        "\"user\",\"content\":\"Tell me what a fox is, please.\"}],\"seed\":1}  ";
    line->busy = true;
    line->due = due;
    l->n_busy++;
    l->n_sent++;
    if (send(line->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != sizeof(request) - 1)
        l->n_lost++;
}

static void take_answer(struct load *l, struct line *line)
{
    int got = line_read(line);
    if (got == 0)
        return;
    if (got < 0 || memcmp(line->text, "HTTP/1.1 200", 12) != 0)
        l->n_lost++;
    if (got < 0) {
        close(line->fd);
        line->fd = -1;
    }
    l->times[l->n_time++] = ap_clock_seconds() - line->due;
    line->busy = false;
    l->n_busy--;
}

/* What is due by now, or what the concurrency leaves room for. */
static void ask_due(struct load *l)
{
    double now = ap_clock_seconds();
    while (l->n_sent < l->n_wanted) {
        double due = l->concurrency ? now : l->begun + (double)l->n_sent / l->rate;
        if (l->concurrency ? l->n_busy >= l->concurrency : due > now)
            break;
        struct line *line = free_line(l);
        if (!line)
            break;
        ask(l, line, due);
    }
    if (!l->concurrency && l->n_sent < l->n_wanted)
        set_timer(l->timer, l->begun + (double)l->n_sent / l->rate);
}

static void load_run(struct load *l)
{
    struct epoll_event events[EVENTS];
    l->begun = ap_clock_seconds();
    l->n_sent = l->n_time = l->n_lost = 0;
    ask_due(l);
    while (l->n_time < l->n_wanted) {
        int n = epoll_wait(l->epoll, events, EVENTS, 10000);
        if (n == 0) {
            fputs("bench_serve: nothing came for 10 seconds\n", stderr);
            exit(1);
        }
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr == &l->timer)
                forget_ring(l->timer);
            else
                take_answer(l, events[i].data.ptr);
        ask_due(l);
    }
}

static struct load *load_open(int port, long n_most)
{
    struct load *l = calloc(1, sizeof(*l));
    l->port = port;
    l->lines = calloc(LINES_MAX, sizeof(*l->lines));
    l->times = calloc((size_t)n_most, sizeof(*l->times));
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    watch(l->epoll, l->timer, &l->timer);
    return l;
}

static void load_close(struct load *l)
{
    for (int i = 0; i < l->n_line; i++)
        if (l->lines[i].fd >= 0)
            close(l->lines[i].fd);
    close(l->epoll);
    close(l->timer);
    free(l->lines);
    free(l->times);
    free(l);
}

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct figures {
    double median, p99, most; /* milliseconds */
};

static struct figures sorted_figures(struct load *l)
{
    qsort(l->times, (size_t)l->n_time, sizeof(*l->times), compare);
    return (struct figures){1e3 * l->times[l->n_time / 2], 1e3 * l->times[l->n_time * 99 / 100],
                            1e3 * l->times[l->n_time - 1]};
}

/* Resident bytes and seconds of processor time of a process. */
static void process_figures(pid_t pid, double *mib, double *cpu)
{
    char path[64], text[1024] = "";
    long unsigned user = 0, system = 0;
    long resident = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f || !fgets(text, sizeof(text), f))
        die(path);
    fclose(f);
    const char *behind = strrchr(text, ')');
    if (sscanf(behind + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d "
               "%*d %*d %*u %*u %ld",
               &user, &system, &resident) != 3)
        die(path);
    *mib = (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576;
    *cpu = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static struct figures open_loop(const char *what, int port, const struct settings *s)
{
    long n = (long)(s->rate * s->seconds);
    struct load *l = load_open(port, n);
    l->rate = s->rate;
    l->n_wanted = (long)s->rate / 2; /* connections are made, pages are touched */
    load_run(l);
    l->n_wanted = n;
    load_run(l);
    struct figures f = sorted_figures(l);
    printf("%-12s %8.0f requests/s  median %7.3f ms  p99 %7.3f ms  most %8.3f ms  lost %ld\n", what,
           s->rate, f.median, f.p99, f.most, l->n_lost);
    load_close(l);
    return f;
}

static void closed_loop(const char *what, int port, int concurrency, long n, int n_idle)
{
    int idle[IDLE];
    for (int i = 0; i < n_idle; i++)
        idle[i] = connect_to(port);
    struct load *l = load_open(port, n);
    l->concurrency = concurrency;
    l->n_wanted = n;
    double begun = ap_clock_seconds();
    load_run(l);
    double seconds = ap_clock_seconds() - begun;
    struct figures f = sorted_figures(l);
    int alive = 0;
    for (int i = 0; i < n_idle; i++) {
        char byte;
        alive += recv(idle[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
        close(idle[i]);
    }
    printf("%-12s %8.0f requests/s  median %7.3f ms  p99 %7.3f ms  most %8.3f ms  lost %ld  "
           "%d active, %d of %d idle ones open\n",
           what, (double)n / seconds, f.median, f.p99, f.most, l->n_lost, concurrency, alive,
           n_idle);
    load_close(l);
}

static void memory(pid_t proxy, int port, long n)
{
    double mib, cpu_before, cpu_after;
    closed_loop("warm", port, STEADY, n / 10, 0);
    process_figures(proxy, &mib, &cpu_before);
    printf("memory       %.1f MiB\n", mib);
    for (int quarter = 1; quarter <= 4; quarter++) {
        closed_loop("steady", port, STEADY, n / 4, 0);
        process_figures(proxy, &mib, &cpu_after);
        printf("memory       %.1f MiB after %ld requests\n", mib, n / 4 * quarter);
    }
    printf("processor    %.0f us a request\n", 1e6 * (cpu_after - cpu_before) / (double)n);
}

/* The round whose tail is shortest: what else the machine does only makes it longer. */
static void keep_best(struct figures *best, struct figures f)
{
    if (best->most == 0 || f.p99 < best->p99)
        *best = f;
}

static void overhead(int stub_port, int proxy_port, const struct settings *s)
{
    struct figures direct = {0}, through = {0};
    for (int round = 0; round < ROUNDS; round++) {
        keep_best(&direct, open_loop("upstream", stub_port, s));
        keep_best(&through, open_loop("proxy", proxy_port, s));
    }
    printf("overhead     median %.3f ms  p99 %.3f ms\n", through.median - direct.median,
           through.p99 - direct.p99);
}

static bool parse(int argc, char **argv, struct settings *s)
{
    static const struct option options[] = {{"rate", required_argument, NULL, 'r'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"latency", required_argument, NULL, 'l'},
                                            {"requests", required_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        double value = optarg ? atof(optarg) : 0;
        if (option == 'r')
            s->rate = value;
        else if (option == 's')
            s->seconds = value;
        else if (option == 'l')
            s->latency_s = 1e-3 * value;
        else if (option == 'n')
            s->requests = (long)value;
    }
    return optind == argc && s->rate >= 1 && s->seconds > 0 && s->latency_s >= 0 &&
           s->requests >= 1000;
}

int main(int argc, char **argv)
{
    struct settings s = {.rate = 1000, .seconds = 10, .latency_s = 0.02, .requests = 100000};
    struct rlimit files;
    int stub_port, proxy_port;
    if (!parse(argc, argv, &s)) {
        fputs("usage: bench_serve [--rate N] [--seconds N] [--latency MS] [--requests N]\n",
              stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    pid_t stub = start_stub(s.latency_s, &stub_port);
    pid_t proxy = start_proxy(stub_port, &proxy_port);
    overhead(stub_port, proxy_port, &s);
    closed_loop("idle", proxy_port, ACTIVE, (long)(ACTIVE * s.seconds * 4), IDLE);
    memory(proxy, proxy_port, s.requests);
    kill(proxy, SIGKILL);
    kill(stub, SIGKILL);
    while (wait(NULL) > 0)
        ;
    return 0;
}
