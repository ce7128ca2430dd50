/* The client: one loop over libcurl's multi interface (client.h). Not here: one request (wire.c),
 * which endpoint is next and how fast (endpoint.c), what can be checked before (client_check.c).
 * Entry points: ap_client_open, ap_client_send. */
#include "net/client.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "net/endpoint.h"
#include "net/wire.h"

#include <math.h>
#include <string.h>
#include <sys/random.h>

enum {
    STOP_GRACE_S = 10,
    PAUSE_TOLD_S = 10,
    BEGIN_AT_ONCE = 256,
    LATER_AT_ONCE = 64 /* so many are put off at a time */
};
#define POLL_MAX_S 0.2    /* a stop flag is looked at so often */
#define LATER_S 0.1       /* until one that is put off is asked about again, about */
#define LATER_NEXT_S 0.02 /* until others are, after so many */

struct ap_client {
    struct ap_client_options o;
    struct ap_endpoints endpoints;
    struct ap_pace requests, tokens;
    struct ap_random random; /* of the jitter; nothing that is computed depends on it */
    CURLM *multi;
    struct ap_wire *wires;
    int n_wire;
    struct ap_client_counts counts;
    bool told_pace;
};

typedef enum task_state { WAITS, FLIES, OVER } task_state;

struct task {
    task_state state;
    int n_attempt;
    int n_spent;       /* of those that failed; in one outage all that bought nothing are one */
    double begun;      /* the first attempt */
    double outage;     /* down_since of the last that failed; 0: none did */
    int avoid;         /* the endpoint that failed last; −1 */
    double not_before; /* of the next attempt */
    bool sick;         /* its endpoint failed it: one that is well again is worth an attempt */
};

struct sending { /* one call of ap_client_send */
    struct ap_client *c;
    const struct ap_client_call *calls;
    const struct ap_client_events *events;
    struct task *tasks;
    int n, n_open, n_fly;
    int first;          /* no task before it waits */
    int resume;         /* where to look on for tasks that may begin; 0: at the first */
    bool held;          /* `sending` took fewer: wait until something is over */
    bool ending;        /* nothing is begun any more */
    bool unsettled;     /* something came in that is not written down */
    double rests_until; /* nothing is begun as many were put off */
    double give_up_at;  /* after a stop */
    double wake;        /* the earliest moment at which something may begin */
    double quiet_since; /* nothing arrived since, and nobody was told */
    double down_since;  /* the first failure since something arrived; 0: none */
    ap_status status;   /* why it ends */
    struct ap_error *err;
    struct ap_error later; /* what goes wrong when it ends already */
};

/* ---- opening ---- */

static ap_status open_wires(struct ap_client *c, struct ap_error *err)
{
    c->n_wire = c->o.concurrency * c->o.n_url;
    c->wires = ap_calloc((size_t)c->n_wire, sizeof(*c->wires));
    c->multi = curl_multi_init();
    if (!c->wires || !c->multi)
        return ap_fail(err, AP_MEMORY, "%s: no memory for %d connections", c->o.who, c->n_wire);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)c->n_wire);
    for (int i = 0; i < c->n_wire; i++)
        ap_wire_open(&c->wires[i]);
    return AP_OK;
}

static void seed_jitter(struct ap_client *c)
{
    struct ap_stream stream = {.stage = ap_stream_stage("net.jitter")};
    if (getrandom(&stream.seed, sizeof(stream.seed), 0) != sizeof(stream.seed))
        stream.seed = (uint64_t)(ap_clock_date() * 1e6);
    ap_random_init(&c->random, &stream);
}

ap_status ap_client_open(struct ap_client **out, const struct ap_client_options *options,
                         struct ap_error *err)
{
    struct ap_client *c = *out = NULL;
    ap_status status = AP_OK;
    if (options->n_url < 1 || options->n_url > AP_ENDPOINTS_MAX)
        return ap_fail(err, AP_INVALID, "%s: %d addresses, expected 1 to %d", options->who,
                       options->n_url, AP_ENDPOINTS_MAX);
    for (int i = 0; i < options->n_url; i++)
        if (ap_client_check_url(options->urls[i], err) != AP_OK)
            return ap_fail_prefix(err, AP_INVALID, "%s", options->who);
    status = ap_client_check_ca(options->ca_file, err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "%s: certificates to trust", options->who);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (!(c = ap_calloc(1, sizeof(*c)))) {
        curl_global_cleanup();
        return ap_fail(err, AP_MEMORY, "%s: no memory", options->who);
    }
    c->o = *options;
    c->o.backoff = options->backoff > 0 ? options->backoff : AP_CLIENT_BACKOFF;
    if (!(options->patience > 0))
        c->o.patience = ap_backoff_sum(c->o.backoff, options->retries);
    c->endpoints = (struct ap_endpoints){
        .n = options->n_url, .n_slot = options->concurrency, .backoff = c->o.backoff};
    for (int i = 0; i < options->n_url; i++)
        c->endpoints.items[i].url = options->urls[i];
    ap_pace_init(&c->requests, options->rpm, ap_clock_seconds());
    ap_pace_init(&c->tokens, options->tpm, ap_clock_seconds());
    seed_jitter(c);
    AP_TRY(open_wires(c, err));
    *out = c;
    c = NULL;
out:
    ap_client_close(c);
    return status;
}

void ap_client_close(struct ap_client *c)
{
    if (!c)
        return;
    for (int i = 0; c->wires && i < c->n_wire; i++)
        ap_wire_close(&c->wires[i]);
    curl_multi_cleanup(c->multi);
    ap_free(c->wires);
    ap_free(c);
    curl_global_cleanup();
}

void ap_client_counts(const struct ap_client *c, struct ap_client_counts *out)
{
    *out = c->counts;
    out->n_dropped = c->endpoints.n_dropped;
    out->n_readmitted = c->endpoints.n_readmitted;
}

/* ---- beginning ---- */

/* Where a message goes: the first reason is the one that is told. */
static struct ap_error *words(struct sending *s)
{
    return s->status == AP_OK && s->err ? s->err : &s->later;
}

static void end_with(struct sending *s, ap_status status)
{
    if (s->status == AP_OK)
        s->status = status;
    s->ending = true;
}

static void close_task(struct sending *s, int call)
{
    s->tasks[call].state = OVER;
    s->n_open--;
}

static void look_at_stop(struct sending *s)
{
    struct ap_client *c = s->c;
    if (!ap_sink_stopped(c->o.sink) || s->give_up_at > 0)
        return;
    s->give_up_at = ap_clock_seconds() + STOP_GRACE_S;
    end_with(s, ap_fail(words(s), AP_INTERRUPTED,
                        "%s: interrupted; run the same again to go on: what was answered is "
                        "kept",
                        c->o.who));
}

/* The wait that pace asks for, 0: none. */
static double pace_wait(struct ap_client *c, double now)
{
    return fmax(ap_pace_wait(&c->requests, now), ap_pace_wait(&c->tokens, now));
}

/* An endpoint for a task; −1: none now. *full: nor for others. */
static int place(struct sending *s, const struct task *t, double now, bool *full)
{
    double wait = pace_wait(s->c, now);
    if (wait > 0) {
        s->wake = fmin(s->wake, now + wait);
        *full = true;
        return -1;
    }
    int endpoint = ap_endpoint_pick(&s->c->endpoints, t->avoid, now, &s->wake);
    *full = endpoint < 0 && t->avoid < 0; /* else others avoid another one, or none */
    return endpoint;
}

/* Whether the caller lets it begin. */
static bool is_ready(struct sending *s, int call, double now, int *n_later)
{
    struct task *t = &s->tasks[call];
    ap_client_ready ready = AP_READY_NOW;
    ap_status status =
        s->events->ready ? s->events->ready(s->events->context, call, &ready, words(s)) : AP_OK;
    if (status != AP_OK) {
        end_with(s, status);
        return false;
    }
    if (ready == AP_READY_OVER) {
        close_task(s, call);
        look_at_stop(s); /* there may be thousands */
    }
    if (ready == AP_READY_LATER) {
        t->not_before = now + LATER_S * (0.5 + ap_random_uniform(&s->c->random));
        s->wake = fmin(s->wake, t->not_before);
        ++*n_later;
    }
    return ready == AP_READY_NOW;
}

static void reserve(struct sending *s, int call, int endpoint)
{
    s->c->endpoints.items[endpoint].n_busy++;
    ap_pace_take(&s->c->requests, 1);
    ap_pace_take(&s->c->tokens, (double)s->calls[call].tokens);
}

/* Tasks that may begin now, with an endpoint reserved for each: into calls, at. In order from the
 * first, and around from where it stopped when many are put off. */
static int gather(struct sending *s, int calls[BEGIN_AT_ONCE], int at[BEGIN_AT_ONCE], double now)
{
    int n = 0, n_later = 0;
    bool full = false;
    while (s->first < s->n && s->tasks[s->first].state == OVER)
        s->first++;
    const int first = s->first, from = s->resume > first ? s->resume : first;
    if (now < s->rests_until) {
        s->wake = fmin(s->wake, s->rests_until);
        return 0;
    }
    s->resume = 0;
    for (int k = 0; k < s->n - first && n < BEGIN_AT_ONCE && !full && !s->ending; k++) {
        int i = from + k < s->n ? from + k : from + k - s->n + first;
        struct task *t = &s->tasks[i];
        if (t->state != WAITS)
            continue;
        if (t->not_before > now) {
            s->wake = fmin(s->wake, t->not_before);
            continue;
        }
        int endpoint = place(s, t, now, &full);
        if (endpoint >= 0 && is_ready(s, i, now, &n_later)) {
            reserve(s, i, endpoint);
            calls[n] = i;
            at[n++] = endpoint;
        }
        if (n_later == LATER_AT_ONCE) {
            s->resume = i + 1;
            s->rests_until = now + LATER_NEXT_S;
            s->wake = fmin(s->wake, s->rests_until);
            break;
        }
    }
    if (n == BEGIN_AT_ONCE)
        s->wake = now; /* there may be more */
    return n;
}

static void give_back(struct sending *s, int call, int endpoint)
{
    s->c->endpoints.items[endpoint].n_busy--;
    ap_pace_take(&s->c->requests, -1);
    ap_pace_take(&s->c->tokens, -(double)s->calls[call].tokens);
}

static ap_status fly(struct sending *s, int call, int endpoint)
{
    struct ap_client *c = s->c;
    struct ap_wire *w = c->wires;
    while (w->call >= 0) /* as many as there are slots */
        w++;
    ap_status status =
        ap_wire_begin(w, &c->o, c->endpoints.items[endpoint].url, &s->calls[call], words(s));
    if (status == AP_OK && curl_multi_add_handle(c->multi, w->easy) != CURLM_OK)
        status = ap_fail(words(s), AP_MEMORY, "%s: no memory for a request", c->o.who);
    if (status != AP_OK)
        return status;
    w->call = call;
    w->endpoint = endpoint;
    s->tasks[call].state = FLIES;
    if (s->tasks[call].n_attempt++ == 0)
        s->tasks[call].begun = w->begun;
    s->n_fly++;
    c->counts.n_sent++;
    return AP_OK;
}

static void miss(struct sending *s, int call, ap_client_miss kind)
{
    struct ap_client_counts *n = &s->c->counts;
    n->n_refused += kind == AP_MISS_REFUSED;
    n->n_lost += kind == AP_MISS_LOST;
    n->n_unsent += kind == AP_MISS_UNSENT;
    ap_status status =
        s->events->missed ? s->events->missed(s->events->context, call, kind, words(s)) : AP_OK;
    if (status != AP_OK)
        end_with(s, status);
}

/* It was announced, and never got to the wire. */
static void never_sent(struct sending *s, int call, ap_status status)
{
    end_with(s, status);
    s->c->counts.n_sent++;
    miss(s, call, AP_MISS_UNSENT);
    s->unsettled = true;
}

static void begin_some(struct sending *s)
{
    int calls[BEGIN_AT_ONCE], at[BEGIN_AT_ONCE];
    if (s->ending || s->held)
        return;
    int n = gather(s, calls, at, ap_clock_seconds()), n_go = n;
    ap_status status = n > 0 && s->events->sending && !s->ending
                           ? s->events->sending(s->events->context, calls, &n_go, words(s))
                           : AP_OK;
    if (status != AP_OK || s->ending)
        n_go = 0;
    s->held = n_go < n;
    for (int i = 0; i < n; i++) {
        if (i < n_go && status == AP_OK && (status = fly(s, calls[i], at[i])) == AP_OK)
            continue;
        give_back(s, calls[i], at[i]);
        if (i < n_go)
            never_sent(s, calls[i], status);
    }
    if (status != AP_OK)
        end_with(s, status);
}

/* ---- the end of an attempt ---- */

/* In an outage no longer than before the last of the retries. */
static double jitter(struct ap_client *c, int n_attempt)
{
    int n = n_attempt > 1 && n_attempt > c->o.retries ? c->o.retries : n_attempt;
    return ap_random_uniform(&c->random) * ap_backoff(c->o.backoff, n > 1 ? n : 1);
}

/* Somebody answers: what fails from now on is another outage. */
static void heard(struct sending *s)
{
    s->quiet_since = ap_clock_seconds();
    s->down_since = 0;
}

/* Whether it has an attempt left. */
static bool goes_on(const struct sending *s, const struct task *t, double now)
{
    const struct ap_client_options *o = &s->c->o;
    return t->n_attempt <= o->retries ||
           (t->n_spent <= o->retries && now - s->down_since < o->patience);
}

/* Those that wait for an endpoint that is well again wait no longer than after a first failure. */
static void rush(struct sending *s)
{
    double now = ap_clock_seconds();
    for (int i = s->first; i < s->n; i++)
        if (s->tasks[i].state == WAITS && s->tasks[i].sick)
            s->tasks[i].not_before = fmin(s->tasks[i].not_before, now + jitter(s->c, 1));
}

/* A run that stands still says why. */
static void tell(struct sending *s, const struct task *t, const char *url, const char *why)
{
    enum { QUIET_BACKOFFS = 20 };
    double now = ap_clock_seconds();
    if (now - s->quiet_since < QUIET_BACKOFFS * s->c->o.backoff)
        return;
    double next = fmax(0, t->not_before - now), left = s->c->o.patience - (now - s->down_since);
    s->quiet_since = now;
    ap_sink_warn(
        s->c->o.sink, s->c->o.who,
        "%d requests wait for %s: %s; attempt %d follows in %.0f s, and without any answer the run "
        "ends in some %.0f s",
        s->n_open, url, why, t->n_attempt + 1, next, fmax(next, left));
}

static void count_failure(struct sending *s, struct task *t, const struct ap_wire_result *r,
                          double now)
{
    s->down_since = s->down_since > 0 ? s->down_since : now;
    t->n_spent += r->end == AP_WIRE_LOST || t->outage < s->down_since;
    t->outage = s->down_since;
}

static void try_again(struct sending *s, const struct ap_wire *w, const struct ap_wire_result *r)
{
    struct ap_client *c = s->c;
    struct task *t = &s->tasks[w->call];
    const char *url = c->endpoints.items[w->endpoint].url;
    double now = ap_clock_seconds();
    count_failure(s, t, r, now);
    t->state = WAITS;
    t->avoid = w->endpoint;
    t->sick = r->sick;
    t->not_before = now + (r->retry_after > 0 ? r->retry_after : jitter(c, t->n_attempt));
    if (r->retry_after > 0)
        ap_endpoint_pause(&c->endpoints, w->endpoint, now + r->retry_after);
    if (r->retry_after >= PAUSE_TOLD_S)
        ap_sink_note(c->o.sink, c->o.who, "%s asks to wait for %.0f s", url, r->retry_after);
    if (r->sick && ap_endpoint_fault(&c->endpoints, w->endpoint, now))
        ap_sink_warn(c->o.sink, c->o.who, "%s is dropped for a while: %s", url, r->why);
    if (s->ending)
        return;
    if (goes_on(s, t, now)) {
        tell(s, t, url, r->why);
        return;
    }
    char advice[AP_WIRE_ADVICE];
    ap_wire_advise(r, c->o.who, advice);
    end_with(s, ap_fail(words(s), AP_IO,
                        "%s: %s: no answer in %d attempt%s over %.1f s, the last: %s; %s, then run "
                        "again: what was answered is kept",
                        c->o.who, url, t->n_attempt, t->n_attempt == 1 ? "" : "s", now - t->begun,
                        r->why, advice));
}

static void reject(struct sending *s, const struct ap_wire *w, const struct ap_wire_result *r,
                   const struct ap_client_reply *reply)
{
    struct ap_client *c = s->c;
    bool taken = false;
    ap_status status = AP_OK;
    if (s->events->rejected)
        status = s->events->rejected(s->events->context, w->call, reply, &taken, words(s));
    if (taken) {
        c->counts.n_arrived++;
        heard(s);
        close_task(s, w->call);
        if (status != AP_OK)
            end_with(s, status);
        return;
    }
    miss(s, w->call, AP_MISS_REFUSED);
    s->tasks[w->call].state = WAITS;
    char advice[AP_WIRE_ADVICE];
    ap_wire_advise(r, c->o.who, advice);
    if (status == AP_OK && s->status == AP_OK)
        status =
            ap_fail(words(s), AP_INVALID, "%s: %s%s says %s; %s, then run again", c->o.who,
                    c->endpoints.items[w->endpoint].url, s->calls[w->call].path, r->why, advice);
    end_with(s, status);
}

/* Neither its certificate nor ours will be another in a while. */
static void distrust(struct sending *s, const struct ap_wire *w, const struct ap_wire_result *r)
{
    const struct ap_client_options *o = &s->c->o;
    const char *ca = o->ca_file && o->ca_file[0] ? o->ca_file : "the system's store";
    miss(s, w->call, AP_MISS_UNSENT);
    s->tasks[w->call].state = WAITS;
    end_with(s, ap_fail(words(s), AP_IO,
                        "%s: %s: %s; its certificate must be valid for that address and signed by "
                        "one in %s: correct %s.ca_file or the server, then run again: what "
                        "was answered is kept",
                        o->who, s->c->endpoints.items[w->endpoint].url, r->why, ca, o->who));
}

static void arrive(struct sending *s, const struct ap_wire *w, struct ap_wire_result *r,
                   const struct ap_client_reply *reply)
{
    const char *why = NULL;
    struct ap_client *c = s->c;
    ap_status status = s->events->arrived(s->events->context, w->call, reply, &why, words(s));
    if (status == AP_OK && why) {
        ap_wire_no_answer(w, &c->o, why, r);
        miss(s, w->call, AP_MISS_LOST);
        try_again(s, w, r);
        return;
    }
    c->counts.n_arrived++;
    heard(s);
    if (c->endpoints.items[w->endpoint].n_fault > 0)
        rush(s);
    if (ap_endpoint_good(&c->endpoints, w->endpoint))
        ap_sink_note(c->o.sink, c->o.who, "%s answers again", c->endpoints.items[w->endpoint].url);
    close_task(s, w->call);
    if (status != AP_OK)
        end_with(s, status);
}

static void end_attempt(struct sending *s, struct ap_wire *w, CURLcode code)
{
    struct ap_wire_result r;
    struct ap_client *c = s->c;
    ap_wire_end_of(w, &c->o, code, &r);
    struct ap_client_reply reply = {(int)r.http_status, w->body.data ? w->body.data : "",
                                    w->body.len, ap_clock_seconds() - w->begun};
    curl_multi_remove_handle(c->multi, w->easy);
    c->endpoints.items[w->endpoint].n_busy--;
    s->n_fly--;
    s->held = false;
    switch (r.end) {
    case AP_WIRE_REPLY:
        arrive(s, w, &r, &reply);
        break;
    case AP_WIRE_REJECTED:
        reject(s, w, &r, &reply);
        break;
    case AP_WIRE_UNTRUSTED:
        distrust(s, w, &r);
        break;
    default:
        miss(s, w->call,
             r.end == AP_WIRE_REFUSED  ? AP_MISS_REFUSED
             : r.end == AP_WIRE_UNSENT ? AP_MISS_UNSENT
                                       : AP_MISS_LOST);
        try_again(s, w, &r);
    }
    w->call = -1;
}

static void collect(struct sending *s)
{
    int n_left;
    for (CURLMsg *m; (m = curl_multi_info_read(s->c->multi, &n_left)) != NULL;) {
        struct ap_wire *w = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&w);
        end_attempt(s, w, m->data.result);
        s->unsettled = true;
    }
}

/* After what comes next is begun: both are written down at once. */
static void settle(struct sending *s)
{
    ap_status status =
        s->unsettled && s->events->settle ? s->events->settle(s->events->context, words(s)) : AP_OK;
    s->unsettled = false;
    if (status != AP_OK)
        end_with(s, status);
}

/* ---- the loop ---- */

/* What is in flight will not be waited for. */
static void give_up(struct sending *s)
{
    struct ap_client *c = s->c;
    for (int i = 0; i < c->n_wire; i++) {
        struct ap_wire *w = &c->wires[i];
        if (w->call < 0)
            continue;
        curl_multi_remove_handle(c->multi, w->easy);
        c->endpoints.items[w->endpoint].n_busy--;
        s->n_fly--;
        miss(s, w->call, w->sent ? AP_MISS_LOST : AP_MISS_UNSENT);
        w->call = -1;
    }
    s->unsettled = true;
}

static void wait_for_something(struct sending *s)
{
    double wait = fmin(POLL_MAX_S, fmax(0, s->wake - ap_clock_seconds()));
    int running;
    curl_multi_poll(s->c->multi, NULL, 0, (int)ceil(wait * 1e3), NULL);
    if (curl_multi_perform(s->c->multi, &running) != CURLM_OK)
        end_with(s, ap_fail(words(s), AP_MEMORY, "%s: no memory for what arrives", s->c->o.who));
}

/* Who waits for minutes between two requests should know that it is by his own word. */
static void tell_pace(struct ap_client *c, const struct ap_client_call *calls, int n)
{
    int64_t most = 0;
    for (int i = 0; i < n; i++)
        most = calls[i].tokens > most ? calls[i].tokens : most;
    if (c->told_pace || c->o.tpm <= 0 || (double)most <= c->o.tpm)
        return;
    c->told_pace = true;
    ap_sink_warn(
        c->o.sink, c->o.who,
        "a request may take %lld tokens and tpm is %g: after each the next waits for up to "
        "%.0f s; raise %s.tpm",
        (long long)most, c->o.tpm, 60 * (double)most / c->o.tpm, c->o.who);
}

ap_status ap_client_send(struct ap_client *c, const struct ap_client_call *calls, int n,
                         const struct ap_client_events *events, struct ap_error *err)
{
    struct sending s = {.c = c,
                        .calls = calls,
                        .events = events,
                        .n = n,
                        .n_open = n,
                        .err = err,
                        .quiet_since = ap_clock_seconds()};
    if (!(s.tasks = ap_calloc((size_t)n, sizeof(*s.tasks))))
        return ap_fail(err, AP_MEMORY, "%s: no memory for %d requests", c->o.who, n);
    tell_pace(c, calls, n);
    for (int i = 0; i < n; i++)
        s.tasks[i].avoid = -1;
    while (s.ending ? s.n_fly > 0 : s.n_open > 0) {
        s.wake = INFINITY;
        look_at_stop(&s);
        begin_some(&s);
        settle(&s);
        if (s.n_fly == 0 && (s.ending || s.n_open == 0))
            break;
        wait_for_something(&s);
        collect(&s);
        if (s.give_up_at > 0 && ap_clock_seconds() > s.give_up_at)
            give_up(&s);
    }
    settle(&s);
    ap_free(s.tasks);
    return s.status;
}
