/* Inside of the engine behind `alignpro serve` (serve_engine.h).
 *
 *   serve_engine.c  opening, closing, the threads   serve_lane.c    what is decoded, role by role
 *   serve_jobs.c    what is asked for, from any     serve_cache.c   rewrites made before
 *                   thread                          serve_score.c   the scorer's thread
 *
 * Two threads: the engine's decodes and has all jobs but those that are scored; the scorer's asks
 * the reward, which may be a program of the user's and take its time.
 */
#ifndef AP_PIPELINE_SERVE_INNER_H
#define AP_PIPELINE_SERVE_INNER_H

#include "pipeline/rewriting.h"
#include "pipeline/serve_cache.h"
#include "pipeline/serve_engine.h"

#include <pthread.h>
#include <stdatomic.h>

struct ap_serve_lane;

enum { AP_SERVE_SCORES = 16 }; /* most that the reward is asked for at once */

/* A work that the engine took. All but `cancelled`, and `work` and `next` while nobody has it, is
 * its thread's: the engine's, or the scorer's once it was pushed there. */
struct ap_serve_job {
    struct ap_work *work; /* NULL: the job is free */
    atomic_bool cancelled;
    struct ap_serve_job *next;     /* in the list it stands in */
    struct ap_serve_lane *running; /* where it is decoded; NULL: it waits */
    bool begun;
    struct ap_draft draft;       /* REWRITE */
    struct ap_answer_told told;  /* ANSWER: where its text is wanted as it grows */
    struct ap_sequence sequence; /* what is decoded after, borrowed by the generator */
    unsigned char key[AP_CACHE_KEY];
};

struct ap_serve_list {
    struct ap_serve_job *first, *last;
};
void ap_serve_push(struct ap_serve_list *list, struct ap_serve_job *job);
struct ap_serve_job *ap_serve_pop(struct ap_serve_list *list); /* NULL when it is empty */

/* One role with its batch: a pass of the prompters, or the target. */
struct ap_serve_lane {
    struct ap_serve *serve;
    int pass; /* −1: the target */
    const struct ap_lm *lm;
    struct ap_role role;
    struct ap_generator *generator;
    struct ap_serve_list waiting;
    int n_running;
};

struct ap_serve {
    struct ap_serve_engine face;
    struct ap_prompters prompters;
    struct ap_run_reward reward;
    bool has_reward;
    char *model; /* face.model */
    int threads, batch, queue;
    struct ap_serve_lane lanes[AP_PROMPTERS_MAX + 1]; /* the passes', then the target's */
    int n_lane;
    struct ap_serve_lane *target; /* NULL: there is none */
    struct ap_serve_cache *cache;
    struct ap_serve_job *asked[AP_SERVE_SCORES]; /* n_asked that the reward is asked about; NULL: it
                                                    was over before the answer. The scorer's */
    int n_asked;
    struct ap_program_watch patience; /* of the scorer, with programs of the user's */
    double swept_at;                  /* seconds of ap_clock_seconds; the scorer's */
    pthread_t thread, scorer;
    bool started, scorer_started;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake, wake_scorer;
    struct ap_serve_job *jobs; /* n_job: as many as can wait, of each kind, and be decoded */
    int n_job;
    struct ap_serve_list unused, arrived, scores;
    int n_alive[AP_WORK_KINDS], n_running[AP_WORK_KINDS]; /* the others wait */
    bool closing, ended; /* the engine's thread has: no score follows */
    struct ap_serve_counts counts;
};

/* ---- serve_jobs.c ---- */

ap_status ap_serve_jobs_open(struct ap_serve *s, struct ap_error *err);
bool ap_serve_submit(void *self, struct ap_work *w);
void ap_serve_cancel(void *self, struct ap_work *w);
void ap_serve_counts(void *self, struct ap_serve_counts *out);
/* What arrived since the last call; waits for something while idle. Whether it closes. */
bool ap_serve_arrived(struct ap_serve *s, bool idle, struct ap_serve_list *out);
/* A slot of lane is the job's, or it waits again (lane NULL). */
void ap_serve_runs(struct ap_serve *s, struct ap_serve_job *job, struct ap_serve_lane *lane);
/* Whether nobody wants it any more; it is over then. */
bool ap_serve_unwanted(struct ap_serve *s, struct ap_serve_job *job);
/* The job is over: its work is told and is the caller's again. */
void ap_serve_finish(struct ap_serve *s, struct ap_serve_job *job, ap_work_end end);
void ap_serve_fail(struct ap_serve *s, struct ap_serve_job *job, const struct ap_error *why);

/* ---- serve_lane.c ---- */

/* A job that arrived goes where it is decoded, or is over already. */
void ap_serve_sort(struct ap_serve *s, struct ap_serve_job *job);
/* One step of a lane. *busy: it had something to do. */
void ap_serve_lane_step(struct ap_serve_lane *lane, bool *busy);

/* ---- serve_score.c ---- */

void ap_serve_push_score(struct ap_serve *s, struct ap_serve_job *job);
/* Ends the scores that nobody wants any more. Whether the reward may take its time: not while the
 * engine closes. */
bool ap_serve_score_goes_on(void *self);
/* The scorer's thread: scores until `ended`. */
void *ap_serve_scorer(void *self);

#endif
