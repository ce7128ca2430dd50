/* What every training stage shares: metrics, progress, checkpoints and resume, the guard against
 * bad steps, Ctrl-C. The loops stay in their own files and call these verbs. */
#ifndef AP_ALIGN_STAGE_H
#define AP_ALIGN_STAGE_H

#include "base/progress.h"
#include "store/database.h"
#include "store/run_dir.h"

/* What validations found so far (validate.h), and how the stage ends. */
struct ap_stage_watch {
    double best;        /* of the judge that picks; kept in checkpoints, as is what follows */
    int64_t best_step;  /* updates made by then, in steps; −1: nothing was validated yet */
    int n_worse;        /* validations in a row that were no better */
    int64_t best_saved; /* best_step of the newest checkpoint, whose folder must stay */
    double first_gap;   /* reward minus that judge at the first validation */
    unsigned warned;    /* monitors that warned, a bit each; kept in checkpoints */
    const char *ended;  /* why before its last step, one word; NULL: it did not */
    int64_t kept_step;  /* the stage's result: filled at its end */
};

struct ap_stage {
    const char *name; /* "align" */
    uint64_t seed;
    struct ap_run_dir *dir;       /* NULL: nothing is kept (tests) */
    struct ap_database *db;       /* NULL: nothing is kept */
    struct ap_event_file *events; /* TensorBoard's copy, opened by begin; NULL: none is kept */
    const struct ap_sink *sink;
    const struct ap_monitor_settings *monitor; /* NULL: monitors are recorded only */
    int checkpoint_every, max_bad_steps;
    /* kept by these verbs, zero before begin */
    double began;      /* clock */
    int64_t n_tokens;  /* processed since begin */
    int n_bad;         /* bad steps in a row; kept in checkpoints */
    int64_t n_skipped; /* in all; kept in checkpoints */
    int64_t n_steps;
    double kl; /* λ of the next step, math.md (14): the loops that have one set it before begin;
                  kept in checkpoints */
    struct ap_stage_watch watch;
};

typedef ap_status (*ap_state_fn)(void *self, const char *folder, struct ap_error *err);

/* Announce, and load the newest checkpoint when there is one: *step is where to go on (0 afresh).
 * Rows of run.db past it are dropped. Needs dir where there are events. */
ap_status ap_stage_begin(struct ap_stage *s, int64_t n_steps, ap_state_fn load, void *self,
                         int64_t *step, struct ap_error *err);
/* After step `step` (from 0) ended: progress event, checkpoint when due or asked to stop.
 * AP_INTERRUPTED, after saving, when asked to stop. */
ap_status ap_stage_step(struct ap_stage *s, int64_t step, double loss, double reward, double kl,
                        int64_t n_tokens, ap_state_fn save, void *self, struct ap_error *err);
/* Step `step` ended with `why` before it changed anything: what was done before it is saved, unless
 * it is. Returns why; err as it was, or what ap_stage_step says of AP_INTERRUPTED. */
ap_status ap_stage_cut(struct ap_stage *s, ap_status why, int64_t step, ap_state_fn save,
                       void *self, struct ap_error *err);
/* Into run.db, and into the events, where it waits for the step's end; a value that is not finite
 * is left out. What fails of the events is a warning and the end of the stage's copy: a run of days
 * does not stop for what run.db has anyway, and a full disk stops it at run.db or a checkpoint. */
ap_status ap_stage_metric(struct ap_stage *s, int64_t step, const char *name, double value,
                          struct ap_error *err);
/* Note a step whose loss or gradient was not finite; AP_NUMERIC with the tensor's name after
 * max_bad_steps in a row. */
ap_status ap_stage_bad(struct ap_stage *s, int64_t step, const char *tensor, struct ap_error *err);
void ap_stage_good(struct ap_stage *s);
/* Announce the end (AP_EVENT_END); the loops call it, their callers need not. */
void ap_stage_end(struct ap_stage *s);

#endif
