/* Scores, on a thread of their own (serve_inner.h): what the reward takes holds no rewrite up. */
#include "pipeline/serve_inner.h"

enum { SCORES_AT_ONCE = 16 };

void ap_serve_push_score(struct ap_serve *s, struct ap_serve_job *job)
{
    pthread_mutex_lock(&s->lock);
    ap_serve_push(&s->scores, job);
    pthread_cond_signal(&s->wake_scorer);
    pthread_mutex_unlock(&s->lock);
}

/* Waits for some; 0: there will be none any more. */
static int take(struct ap_serve *s, struct ap_serve_job *jobs[SCORES_AT_ONCE], bool *closing)
{
    int n = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->scores.first && !s->ended)
        pthread_cond_wait(&s->wake_scorer, &s->lock);
    while (n < SCORES_AT_ONCE && s->scores.first)
        jobs[n++] = ap_serve_pop(&s->scores);
    *closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* One by one where a score of all failed: whose fault it is. */
static void score_jobs(struct ap_serve *s, struct ap_serve_job **jobs, int n)
{
    struct ap_scored items[SCORES_AT_ONCE] = {0};
    double scores[SCORES_AT_ONCE];
    struct ap_error err;
    for (int i = 0; i < n; i++) {
        const struct ap_work *w = jobs[i]->work;
        items[i] = (struct ap_scored){.context = w->messages,
                                      .n_context = w->n_message - 1,
                                      .x = w->messages[w->n_message - 1].content,
                                      .y = w->answer,
                                      .ended = w->ended};
    }
    ap_status status = ap_reward_score(&s->reward.reward, items, n, scores, &err);
    for (int i = 0; i < n; i++) {
        if (status != AP_OK && n > 1) {
            score_jobs(s, &jobs[i], 1);
        } else if (status != AP_OK) {
            ap_serve_fail(s, jobs[i], &err);
        } else {
            jobs[i]->work->score = scores[i];
            ap_serve_finish(s, jobs[i], AP_WORK_DONE);
        }
    }
}

void *ap_serve_scorer(void *self)
{
    struct ap_serve *s = self;
    struct ap_serve_job *jobs[SCORES_AT_ONCE];
    bool closing;
    ap_threads_set(s->threads); /* a thread's own matter */
    for (int n; (n = take(s, jobs, &closing)) > 0;) {
        int n_wanted = 0;
        for (int i = 0; i < n; i++)
            if (closing)
                ap_serve_finish(s, jobs[i], AP_WORK_DROPPED);
            else if (!ap_serve_unwanted(s, jobs[i]))
                jobs[n_wanted++] = jobs[i];
        if (n_wanted > 0)
            score_jobs(s, jobs, n_wanted);
    }
    return NULL;
}
