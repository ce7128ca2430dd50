/* Works on their way from any thread to the engine's and back (serve_inner.h). A job's place is
 * taken at the start, so that a queue that is full costs nothing and nothing grows. */
#include "pipeline/serve_inner.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

void ap_serve_push(struct ap_serve_list *list, struct ap_serve_job *job)
{
    job->next = NULL;
    *(list->last ? &list->last->next : &list->first) = job;
    list->last = job;
}

struct ap_serve_job *ap_serve_pop(struct ap_serve_list *list)
{
    struct ap_serve_job *job = list->first;
    if (!job)
        return NULL;
    list->first = job->next;
    if (!list->first)
        list->last = NULL;
    return job;
}

ap_status ap_serve_jobs_open(struct ap_serve *s, struct ap_error *err)
{
    s->n_job = AP_WORK_KINDS * (s->queue - 1 + AP_WORKS_MAX) + s->n_lane * s->batch;
    s->jobs = ap_calloc((size_t)s->n_job, sizeof(*s->jobs));
    if (!s->jobs)
        return ap_fail(err, AP_MEMORY, "serve: a queue of %d: out of memory", s->queue);
    for (int i = 0; i < s->n_job; i++)
        ap_serve_push(&s->unused, &s->jobs[i]);
    return AP_OK;
}

/* ---- any thread ---- */

/* Under the lock. */
static int n_waiting(const struct ap_serve *s, ap_work_kind kind)
{
    return s->n_alive[kind] - s->n_running[kind];
}

/* Each kind has a queue of its own: who waits for answers or scores takes no place of a rewrite. */
bool ap_serve_submit(void *self, struct ap_work *w)
{
    struct ap_serve *s = self;
    pthread_mutex_lock(&s->lock);
    bool taken = !s->closing && n_waiting(s, w->kind) < s->queue;
    for (struct ap_work *next; taken && w; w = next) {
        struct ap_serve_job *job = ap_serve_pop(&s->unused); /* there are as many as can be taken */
        next = w->next;
        job->work = w;
        atomic_store(&job->cancelled, false);
        ap_serve_push(&s->arrived, job);
        s->n_alive[w->kind]++;
    }
    if (taken)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

void ap_serve_cancel(void *self, struct ap_work *w)
{
    struct ap_serve *s = self;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->n_job; i++)
        if (s->jobs[i].work == w)
            atomic_store(&s->jobs[i].cancelled, true);
    pthread_mutex_unlock(&s->lock);
}

void ap_serve_counts(void *self, struct ap_serve_counts *out)
{
    struct ap_serve *s = self;
    pthread_mutex_lock(&s->lock);
    *out = s->counts;
    for (int kind = 0; kind < AP_WORK_KINDS; kind++)
        out->n_waiting += n_waiting(s, kind);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the engine's thread ---- */

bool ap_serve_arrived(struct ap_serve *s, bool idle, struct ap_serve_list *out)
{
    pthread_mutex_lock(&s->lock);
    while (idle && !s->arrived.first && !s->closing)
        pthread_cond_wait(&s->wake, &s->lock);
    *out = s->arrived;
    s->arrived = (struct ap_serve_list){0};
    bool closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return closing;
}

void ap_serve_runs(struct ap_serve *s, struct ap_serve_job *job, struct ap_serve_lane *lane)
{
    pthread_mutex_lock(&s->lock);
    s->n_running[job->work->kind] += (lane != NULL) - (job->running != NULL);
    pthread_mutex_unlock(&s->lock);
    if (job->running)
        job->running->n_running--;
    if (lane)
        lane->n_running++;
    job->running = lane;
    job->begun = true;
    if (!lane)
        ap_sequence_free(&job->sequence);
}

bool ap_serve_unwanted(struct ap_serve *s, struct ap_serve_job *job)
{
    const double deadline = job->work->deadline;
    const bool cancelled = atomic_load(&job->cancelled);
    if (!cancelled && (deadline <= 0 || ap_clock_seconds() < deadline))
        return false;
    ap_serve_finish(s, job, cancelled ? AP_WORK_DROPPED : AP_WORK_LATE);
    return true;
}

static void count(struct ap_serve_counts *c, const struct ap_work *w)
{
    c->n_token += w->n_token;
    if (w->kind != AP_WORK_REWRITE)
        return;
    c->n_done += w->end == AP_WORK_DONE;
    c->n_late += w->end == AP_WORK_LATE;
    c->n_failed += w->end == AP_WORK_FAILED;
    c->n_guarded += w->end == AP_WORK_DONE && w->guard[0];
    c->n_cached += w->end == AP_WORK_DONE && w->cached;
}

void ap_serve_finish(struct ap_serve *s, struct ap_serve_job *job, ap_work_end end)
{
    struct ap_work *w = job->work;
    if (job->running)
        ap_serve_runs(s, job, NULL);
    w->end = end;
    ap_draft_free(&job->draft);
    ap_sequence_free(&job->sequence);
    job->begun = false;
    pthread_mutex_lock(&s->lock);
    count(&s->counts, w);
    if (w->kind == AP_WORK_REWRITE) /* the cache is the engine's thread's */
        ap_serve_cache_counts(s->cache, &s->counts.n_cache, &s->counts.cache_bytes);
    job->work = NULL;
    ap_serve_push(&s->unused, job);
    s->n_alive[w->kind]--;
    pthread_mutex_unlock(&s->lock);
    w->done(w);
}

void ap_serve_fail(struct ap_serve *s, struct ap_serve_job *job, const struct ap_error *why)
{
    char *out = job->work->why;
    size_t n = strlen(why->text), most = sizeof(job->work->why) - 1;
    for (n = n < most ? n : most; n > 0 && (why->text[n] & 0xC0) == 0x80; n--)
        ; /* not in the middle of a character */
    memcpy(out, why->text, n);
    out[n] = '\0';
    ap_serve_finish(s, job, AP_WORK_FAILED);
}
