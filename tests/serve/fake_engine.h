/* An engine without models, on a thread of its own: a rewrite is the text backwards, an answer says
 * what it was asked, a score is the answer's length. A test sets how long it takes and how it ends.
 */
#ifndef AP_TESTS_FAKE_ENGINE_H
#define AP_TESTS_FAKE_ENGINE_H

#include "base/clock.h"
#include "base/memory.h"
#include "serve/engine.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct fake_engine {
    struct ap_serve_engine engine;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t stir;
    struct ap_work *first;
    bool closing, refusing, holding; /* holding: works wait until it is false, or their deadline */
    bool failing, guarding;
    int room; /* works that it holds, from which on it takes no more; 0: none is too many */
    /* An answer whose text is wanted as it grows, on the engine's thread, without the lock, before
     * its text is given in one; true: the work was ended there. NULL: nothing */
    bool (*grow)(struct fake_engine *f, struct ap_work *w);
    void *context;           /* grow's */
    struct ap_work *growing; /* what grow has; NULL: nothing */
    int n_submitted, n_cancelled, n_closed;
    char last[4096];        /* the messages of the last work, "role:content|…" */
    struct ap_work last_of; /* its numbers */
};

static inline void fake_say(struct fake_engine *f, struct ap_work *w)
{
    char *at = f->last, *end = f->last + sizeof(f->last);
    *at = '\0';
    for (size_t i = 0; i < w->n_message && at < end; i++)
        at += snprintf(at, (size_t)(end - at), "%s%s:%s", i ? "|" : "", w->messages[i].role,
                       w->messages[i].content);
    f->last_of = *w;
}

static inline char *fake_backwards(const char *text)
{
    size_t n = strlen(text);
    char *out = ap_calloc(n + 1, 1);
    for (size_t i = 0; i < n; i++)
        out[i] = text[n - 1 - i];
    return out;
}

static inline void fake_do(struct fake_engine *f, struct ap_work *w)
{
    const char *x = w->messages[w->n_message - 1].content;
    char text[512];
    w->end = AP_WORK_DONE;
    w->guard = "";
    w->text_ended = true;
    w->n_prompt = (int)w->n_message;
    w->n_token = 3;
    if (f->failing) {
        w->end = AP_WORK_FAILED;
        snprintf(w->why, sizeof(w->why), "it does not fit");
    } else if (w->kind == AP_WORK_REWRITE && f->guarding) {
        w->guard = "length";
        snprintf(w->why, sizeof(w->why), "too long");
        w->text = ap_strdup(x);
    } else if (w->kind == AP_WORK_REWRITE) {
        w->text = fake_backwards(x);
    } else if (w->kind == AP_WORK_ANSWER) {
        snprintf(text, sizeof(text), "to %s: %llx-%x-%x-%llx-%x", x,
                 (unsigned long long)w->stream.seed, w->stream.stage, w->stream.step,
                 (unsigned long long)w->stream.record, w->stream.sample);
        w->text = ap_strdup(text);
        w->text_ended = w->max_new_tokens != 1;
    } else {
        w->score = (double)strlen(w->answer);
    }
}

/* Ends a work as fake_do does, with its text told as far as it was not. */
static inline void fake_end(struct fake_engine *f, struct ap_work *w, size_t n_told)
{
    pthread_mutex_lock(&f->lock);
    if (w->end == AP_WORK_DONE)
        fake_do(f, w);
    pthread_mutex_unlock(&f->lock);
    if (w->end == AP_WORK_DONE && w->grew && w->text[n_told])
        w->grew(w, w->text + n_told, strlen(w->text + n_told));
    w->done(w);
}

/* The first that may go now, out of the list; *end says how, DONE where it is to be done. */
static inline struct ap_work *fake_take(struct fake_engine *f, ap_work_end *end)
{
    for (struct ap_work **at = &f->first; *at; at = &(*at)->next) {
        struct ap_work *w = *at;
        bool late = w->deadline > 0 && ap_clock_seconds() > w->deadline;
        if (f->holding && !late && !f->closing && w->end != AP_WORK_DROPPED)
            continue;
        *at = w->next;
        *end = w->end == AP_WORK_DROPPED || f->closing ? AP_WORK_DROPPED
               : late                                  ? AP_WORK_LATE
                                                       : AP_WORK_DONE;
        return w;
    }
    return NULL;
}

static inline void *fake_loop(void *context)
{
    struct fake_engine *f = context;
    pthread_mutex_lock(&f->lock);
    while (!f->closing || f->first) {
        ap_work_end end;
        struct ap_work *w = fake_take(f, &end);
        if (w) {
            bool grows = end == AP_WORK_DONE && w->grew && f->grow;
            w->end = end;
            f->growing = grows ? w : NULL;
            pthread_mutex_unlock(&f->lock);
            if (!grows || !f->grow(f, w))
                fake_end(f, w, 0);
            pthread_mutex_lock(&f->lock);
            f->growing = NULL;
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 5000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&f->stir, &f->lock, &until);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static inline bool fake_submit(void *self, struct ap_work *w)
{
    struct fake_engine *f = self;
    int n = 0;
    pthread_mutex_lock(&f->lock);
    struct ap_work **at = &f->first;
    for (; *at; at = &(*at)->next)
        n++;
    bool taken = !f->refusing && !f->closing && (f->room == 0 || n < f->room);
    if (taken)
        *at = w;
    for (; taken && w; w = w->next) {
        w->end = AP_WORK_DONE;
        f->n_submitted++;
        fake_say(f, w);
    }
    pthread_cond_signal(&f->stir);
    pthread_mutex_unlock(&f->lock);
    return taken;
}

static inline void fake_cancel(void *self, struct ap_work *w)
{
    struct fake_engine *f = self;
    pthread_mutex_lock(&f->lock);
    for (struct ap_work *at = f->first; at; at = at->next)
        if (at == w) {
            w->end = AP_WORK_DROPPED;
            f->n_cancelled++;
        }
    f->n_cancelled += w == f->growing;
    pthread_cond_signal(&f->stir);
    pthread_mutex_unlock(&f->lock);
}

static inline void fake_counts(void *self, struct ap_serve_counts *out)
{
    struct fake_engine *f = self;
    pthread_mutex_lock(&f->lock);
    *out = (struct ap_serve_counts){.n_done = f->n_submitted};
    pthread_mutex_unlock(&f->lock);
}

static inline void fake_close(void *self)
{
    struct fake_engine *f = self;
    pthread_mutex_lock(&f->lock);
    f->closing = true;
    f->n_closed++;
    pthread_cond_signal(&f->stir);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
}

static inline void fake_set(struct fake_engine *f, bool *flag, bool value)
{
    pthread_mutex_lock(&f->lock);
    *flag = value;
    pthread_cond_signal(&f->stir);
    pthread_mutex_unlock(&f->lock);
}

static inline int fake_get(struct fake_engine *f, const int *number)
{
    pthread_mutex_lock(&f->lock);
    int value = *number;
    pthread_mutex_unlock(&f->lock);
    return value;
}

static inline void fake_open(struct fake_engine *f, bool target, bool reward)
{
    *f = (struct fake_engine){.engine = {.self = f,
                                         .model = "run",
                                         .target = target ? "little" : NULL,
                                         .reward = reward ? "length" : NULL,
                                         .submit = fake_submit,
                                         .cancel = fake_cancel,
                                         .counts = fake_counts,
                                         .close = fake_close}};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->stir, NULL);
    pthread_create(&f->thread, NULL, fake_loop, f);
}

#endif
