/* Scores, on a thread of their own (serve_inner.h): what the reward takes holds no rewrite up. A
 * reward that is a program of the user's may hang: what waits for it is late or cancelled in time
 * all the same, by ap_serve_score_goes_on from the wait for its answer. */
#include "pipeline/serve_inner.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

static const double sweep_every = 0.04; /* seconds */

void ap_serve_push_score(struct ap_serve *s, struct ap_serve_job *job)
{
    pthread_mutex_lock(&s->lock);
    ap_serve_push(&s->scores, job);
    pthread_cond_signal(&s->wake_scorer);
    pthread_mutex_unlock(&s->lock);
}

/* Waits for some; 0: there will be none any more. */
static int take(struct ap_serve *s, struct ap_serve_job *jobs[AP_SERVE_SCORES], bool *closing)
{
    int n = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->scores.first && !s->ended)
        pthread_cond_wait(&s->wake_scorer, &s->lock);
    while (n < AP_SERVE_SCORES && s->scores.first)
        jobs[n++] = ap_serve_pop(&s->scores);
    *closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- while the reward is asked ---- */

static bool is_closing(struct ap_serve *s)
{
    pthread_mutex_lock(&s->lock);
    bool closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return closing;
}

static void sweep_asked(struct ap_serve *s)
{
    for (int i = 0; i < s->n_asked; i++)
        if (s->asked[i] && ap_serve_unwanted(s, s->asked[i]))
            s->asked[i] = NULL;
}

static void sweep_waiting(struct ap_serve *s)
{
    struct ap_serve_list waiting, kept = {0};
    struct ap_serve_job *job;
    pthread_mutex_lock(&s->lock);
    waiting = s->scores;
    s->scores = (struct ap_serve_list){0};
    pthread_mutex_unlock(&s->lock);
    while ((job = ap_serve_pop(&waiting)))
        if (!ap_serve_unwanted(s, job))
            ap_serve_push(&kept, job);
    pthread_mutex_lock(&s->lock);
    while ((job = ap_serve_pop(&s->scores))) /* came meanwhile */
        ap_serve_push(&kept, job);
    s->scores = kept;
    pthread_mutex_unlock(&s->lock);
}

bool ap_serve_score_goes_on(void *self)
{
    struct ap_serve *s = self;
    double now = ap_clock_seconds();
    if (now - s->swept_at < sweep_every)
        return true;
    s->swept_at = now;
    sweep_asked(s);
    sweep_waiting(s);
    return !is_closing(s);
}

/* ---- asking ---- */

static char *put_text(char **at, const char *text)
{
    size_t n = strlen(text) + 1;
    char *put = memcpy(*at, text, n);
    *at += n;
    return put;
}

/* In a copy, one block that the caller frees: the work may be over before the answer comes. NULL:
 * no memory. */
static void *copy_question(const struct ap_work *w, struct ap_scored *out)
{
    const size_t n = w->n_message;
    size_t bytes = n * sizeof(struct ap_message) + strlen(w->answer) + 1;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(w->messages[i].role) + strlen(w->messages[i].content) + 2;
    struct ap_message *messages = ap_calloc(1, bytes);
    if (!messages)
        return NULL;
    char *at = (char *)(messages + n);
    for (size_t i = 0; i < n; i++) {
        messages[i].role = put_text(&at, w->messages[i].role);
        messages[i].content = put_text(&at, w->messages[i].content);
    }
    *out = (struct ap_scored){.context = messages,
                              .n_context = n - 1,
                              .x = messages[n - 1].content,
                              .y = put_text(&at, w->answer),
                              .ended = w->ended};
    return messages;
}

/* About n of s->asked, none of which is over. */
static ap_status ask(struct ap_serve *s, int first, int n, double *scores, struct ap_error *err)
{
    struct ap_scored items[AP_SERVE_SCORES] = {0};
    void *texts[AP_SERVE_SCORES] = {0};
    ap_status status = AP_OK;
    for (int i = 0; i < n && status == AP_OK; i++)
        if (!(texts[i] = copy_question(s->asked[first + i]->work, &items[i])))
            status = ap_fail(err, AP_MEMORY, "a score: out of memory");
    s->patience.silent = false;
    if (status == AP_OK)
        status = ap_reward_score(&s->reward.reward, items, n, scores, err);
    for (int i = 0; i < n; i++)
        ap_free(texts[i]);
    return status;
}

static void end_asked(struct ap_serve *s, int i, ap_status status, double score,
                      const struct ap_error *err)
{
    struct ap_serve_job *job = s->asked[i];
    s->asked[i] = NULL;
    if (status != AP_OK && is_closing(s)) {
        ap_serve_finish(s, job, AP_WORK_DROPPED);
    } else if (status != AP_OK) {
        ap_serve_fail(s, job, err);
    } else {
        job->work->score = score;
        ap_serve_finish(s, job, AP_WORK_DONE);
    }
}

/* One by one where a score of all failed: whose fault it is. Not where the program says nothing: it
 * would be waited for as long again, for each. */
static void score_asked(struct ap_serve *s)
{
    double scores[AP_SERVE_SCORES] = {0};
    struct ap_error err;
    ap_status all = ask(s, 0, s->n_asked, scores, &err);
    bool alone = all != AP_OK && s->n_asked > 1;
    for (int i = 0; i < s->n_asked; i++) {
        ap_status one = all;
        if (alone)
            sweep_asked(s);
        alone = alone && !s->patience.silent && !is_closing(s);
        if (alone && s->asked[i])
            one = ask(s, i, 1, &scores[i], &err);
        if (s->asked[i])
            end_asked(s, i, one, scores[i], &err);
    }
    s->n_asked = 0;
}

void *ap_serve_scorer(void *self)
{
    struct ap_serve *s = self;
    struct ap_serve_job *jobs[AP_SERVE_SCORES];
    bool closing;
    ap_threads_set(s->threads); /* a thread's own matter */
    for (int n; (n = take(s, jobs, &closing)) > 0;) {
        for (int i = 0; i < n; i++)
            if (closing)
                ap_serve_finish(s, jobs[i], AP_WORK_DROPPED);
            else if (!ap_serve_unwanted(s, jobs[i]))
                s->asked[s->n_asked++] = jobs[i];
        if (s->n_asked > 0)
            score_asked(s);
    }
    return NULL;
}
