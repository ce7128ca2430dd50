/* Rewrites a second of the engine behind `alignpro serve` for as many clients as are named, each of
 * which asks again as soon as it has its answer.
 *
 *     bench_engine RUN [--clients 1,8,32] [--batch N] [--seconds S] [--threads N]
 *
 * Every prompt is another one, the cache is off. A line a number of clients: rewrites/s, and of a
 * rewrite the time at the median and at p99. */
#include "base/clock.h"
#include "base/memory.h"
#include "pipeline/serve_engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS_MOST = 1024, TIMES_MOST = 1 << 20 };

struct bench {
    struct ap_serve_engine *e;
    double until;
    atomic_int n_asked; /* also numbers the prompts */
    atomic_int n_time, n_failed;
    float *times; /* TIMES_MOST, seconds */
};

struct client {
    pthread_t thread;
    struct bench *bench;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool over;
};

static void on_done(struct ap_work *w)
{
    struct client *c = w->context;
    pthread_mutex_lock(&c->lock);
    c->over = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

static void ask(struct client *c, const char *x)
{
    struct bench *b = c->bench;
    struct ap_message message = {"user", x};
    struct ap_work w = {.kind = AP_WORK_REWRITE,
                        .messages = &message,
                        .n_message = 1,
                        .done = on_done,
                        .context = c};
    const double begun = ap_clock_seconds();
    c->over = false;
    bool taken = b->e->submit(b->e->self, &w);
    pthread_mutex_lock(&c->lock);
    while (taken && !c->over)
        pthread_cond_wait(&c->wake, &c->lock);
    pthread_mutex_unlock(&c->lock);
    if (!taken || w.end != AP_WORK_DONE)
        atomic_fetch_add(&b->n_failed, 1);
    ap_free(w.text);
    int i = atomic_fetch_add(&b->n_time, 1);
    if (i < TIMES_MOST)
        b->times[i] = (float)(ap_clock_seconds() - begun);
}

static void *client_main(void *self)
{
    static const char *const animals[] = {"otter", "fox", "bear", "wolf", "deer", "goat", "duck"};
    static const char *const topics[] = {"food", "home", "what it eats", "where it lives"};
    struct client *c = self;
    while (ap_clock_seconds() < c->bench->until) {
        char x[128];
        int n = atomic_fetch_add(&c->bench->n_asked, 1);
        snprintf(x, sizeof(x), "tell me about the %s %d, %s", animals[n % 7], n, topics[n / 7 % 4]);
        ask(c, x);
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void measure(struct bench *b, struct client *clients, int n_client, double seconds)
{
    const double begun = ap_clock_seconds();
    atomic_store(&b->n_time, 0);
    atomic_store(&b->n_failed, 0);
    b->until = begun + seconds;
    for (int i = 0; i < n_client; i++)
        if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
            exit(1);
    for (int i = 0; i < n_client; i++)
        pthread_join(clients[i].thread, NULL);
    const double took = ap_clock_seconds() - begun;
    int n = atomic_load(&b->n_time);
    n = n < TIMES_MOST ? n : TIMES_MOST;
    qsort(b->times, (size_t)n, sizeof(*b->times), by_size);
    printf("clients %4d  %8.1f rewrites/s  median %7.2f ms  p99 %7.2f ms  failed %d\n", n_client,
           n / took, n ? 1e3 * (double)b->times[n / 2] : 0,
           n ? 1e3 * (double)b->times[(int)(0.99 * (n - 1))] : 0, atomic_load(&b->n_failed));
}

struct settings {
    struct ap_serve_engine_options engine;
    const char *clients;
    double seconds;
};

static struct settings parse(int argc, char **argv)
{
    struct settings s = {
        .engine = {.queue = CLIENTS_MOST, .batch = 32}, .clients = "1,8,32", .seconds = 3};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--clients") == 0)
            s.clients = value, i++;
        else if (strcmp(argv[i], "--batch") == 0)
            s.engine.batch = atoi(value), i++;
        else if (strcmp(argv[i], "--threads") == 0)
            s.engine.threads = atoi(value), i++;
        else if (strcmp(argv[i], "--seconds") == 0)
            s.seconds = atof(value), i++;
        else
            s.engine.run_dir = argv[i];
    }
    return s;
}

int main(int argc, char **argv)
{
    struct settings s = parse(argc, argv);
    struct bench b = {.times = ap_calloc(TIMES_MOST, sizeof(*b.times))};
    struct client *clients = ap_calloc(CLIENTS_MOST, sizeof(*clients));
    struct ap_error err;
    if (!s.engine.run_dir || !b.times || !clients) {
        fprintf(stderr, "usage: bench_engine RUN [--clients 1,8,32] [--batch N] [--seconds S] "
                        "[--threads N]\n");
        return 2;
    }
    if (ap_serve_engine_open(&b.e, &s.engine, &err) != AP_OK) {
        fprintf(stderr, "bench_engine: %s\n", err.text);
        return 1;
    }
    for (int i = 0; i < CLIENTS_MOST; i++) {
        clients[i].bench = &b;
        pthread_mutex_init(&clients[i].lock, NULL);
        pthread_cond_init(&clients[i].wake, NULL);
    }
    for (const char *at = s.clients; at && *at; at = strchr(at, ','), at = at ? at + 1 : NULL) {
        int n = atoi(at);
        if (n >= 1 && n <= CLIENTS_MOST)
            measure(&b, clients, n, s.seconds);
    }
    b.e->close(b.e->self);
    ap_free(clients);
    ap_free(b.times);
    return 0;
}
