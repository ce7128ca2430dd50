/* What the server asks of models: rewrites of the run's prompter, answers of a local target,
 * scores. The server (http.h and what stands behind it) knows only this; pipeline/serve_engine.c
 * is the engine of a run, tests bring their own. */
#ifndef AP_SERVE_ENGINE_H
#define AP_SERVE_ENGINE_H

#include "alignpro/text.h"

#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ap_work_kind {
    AP_WORK_REWRITE, /* the last message, by the prompter */
    AP_WORK_ANSWER,  /* to the messages, by the local target */
    AP_WORK_SCORE,   /* of `answer` to the messages, by the run's reward */
    AP_WORK_KINDS
} ap_work_kind;

#define AP_WORKS_MAX 1024 /* of one request */

typedef enum ap_work_end {
    AP_WORK_DONE,
    AP_WORK_LATE,    /* its deadline passed, begun or not */
    AP_WORK_FAILED,  /* `why` says how; also a prompt that does not fit the context */
    AP_WORK_DROPPED, /* cancelled, or the engine closes */
} ap_work_end;

#define AP_WORK_WHY_MAX 256

struct ap_work {
    /* the caller's, unchanged and alive until `done` is called */
    ap_work_kind kind;
    const struct ap_message *messages; /* the conversation; the last is what is asked for */
    size_t n_message;
    const char *answer;      /* SCORE */
    bool ended;              /* SCORE: the answer had its end token */
    double deadline;         /* seconds of ap_clock_seconds (base/clock.h); 0: none */
    struct ap_stream stream; /* ANSWER; REWRITE where temperature > 0 */
    double temperature;      /* as struct ap_sampling; REWRITE: 0 for the likeliest */
    double top_p, min_p, repetition_penalty; /* ANSWER */
    int top_k, max_new_tokens;               /* ANSWER; max_new_tokens 0: the target's own */
    char *const *stop;                       /* ANSWER: n_stop, none empty */
    bool cuts; /* ANSWER: a prompt that does not fit is cut at its front, as the target of a run
                  does; else it FAILED */
    int n_stop;
    void (*done)(struct ap_work *w); /* once, on a thread of the engine's; takes what it owns */
    /* ANSWER: n > 0 bytes of the text as it is decoded, whole characters, on the engine's thread
     * and before `done`; borrowed during the call. If the work is DONE they are, one after another,
     * `text`. NULL: not wanted */
    void (*grew)(struct ap_work *w, const char *text, size_t n);
    void *context; /* the caller's */

    /* the engine's, filled when `done` is called */
    ap_work_end end;
    char *text;                /* owned by the caller from then on (ap_free); NULL unless DONE.
                                  REWRITE: x itself where a guard fired */
    const char *guard;         /* REWRITE: its name, "" for none; static */
    char why[AP_WORK_WHY_MAX]; /* FAILED, or what the guard saw; one line */
    bool too_long;             /* FAILED: the prompt does not fit the context */
    bool text_ended;           /* ANSWER, REWRITE: came to its end within its limit */
    int n_prompt, n_token;     /* tokens read and written */
    float *logp;               /* ANSWER: of its n_token tokens; owned by the caller; may be NULL */
    double score;
    bool cached; /* REWRITE: it was in the cache */

    struct ap_work *next; /* what is submitted with it; the engine's from then on */
};

struct ap_serve_counts { /* since it was opened; of rewrites */
    int64_t n_done, n_late, n_failed, n_guarded, n_cached;
    int64_t n_token; /* written, by prompter and target */
    int n_waiting;   /* now */
    int64_t n_cache, cache_bytes;
};

struct ap_serve_engine {
    void *self;
    const char *model;  /* what the prompter is called: the run directory's last part */
    const char *target; /* the local target's name; NULL: there is none */
    const char *reward; /* the reward's name; NULL: there is none */
    /* Takes the works from w on, at most AP_WORKS_MAX of one kind, linked by `next`: all or none.
     * false: as many of that kind as may wait do already (or it closes), and they are the caller's
     * again. What is taken may pass that limit: nobody who has begun is turned away. Any thread. */
    bool (*submit)(void *self, struct ap_work *w);
    /* w, if it is not over, ends soon as AP_WORK_DROPPED. Any thread. */
    void (*cancel)(void *self, struct ap_work *w);
    void (*counts)(void *self, struct ap_serve_counts *out);
    /* Ends what waits as AP_WORK_DROPPED and returns when no `done` will be called any more. */
    void (*close)(void *self);
};

#endif
