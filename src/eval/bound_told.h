/* The bound of a run (bound.h) from its samples in run.db: arrays, numbers, sentences, JSON. Runs
 * no model. */
#ifndef AP_EVAL_BOUND_TOLD_H
#define AP_EVAL_BOUND_TOLD_H

#include "base/buffer.h"
#include "eval/bound.h"
#include "store/database.h"

/* The rows of table bounds as arrays; owned, ap_bound_read_free. Prompts are those that every
 * policy in the table has, by record. */
struct ap_bound_read {
    int64_t n_prompt;
    int n_rewrite, n_answer, n_scored;   /* n_scored: answers to a rewrite with log-probabilities */
    uint64_t *record;                    /* X */
    double *reward;                      /* [X, n, K], of ρ_sft: ap_bound_samples.reward */
    double *trained_reward, *trained_kl; /* X; NULL without align */
    double *star_reward;                 /* X; NULL without rlhf */
    double *logp, *logq;                 /* [X, n·n_scored] of ρ_sft; NULL: none */
    double *star_logp, *star_logq;       /* [X, n_star]; NULL: none */
    int n_star;
    double r_max;     /* observed range of all rewards, or what the caller knows to bound it */
    bool r_max_known; /* the latter */
    double ended;     /* share of the answers that ended by themselves */
};
/* AP_NOT_FOUND without samples of ρ_sft; AP_FORMAT for a table with gaps. */
ap_status ap_bound_read(struct ap_bound_read *out, struct ap_database *db, struct ap_error *err);
void ap_bound_read_free(struct ap_bound_read *r);

struct ap_bound_told {
    struct ap_bound bound;
    int64_t n_prompt;
    int n_rewrite, n_answer, n_scored, n_bootstrap;
    double kl, r_max, ended;
    bool r_max_known;
    /* Why there is none, one clause; NULL: there is. Borrowed. */
    const char *no_trained, *no_lacks, *no_disturbs;
};
/* Numbers of what was read, at λ > 0. The reasons stay the caller's to fill in. */
ap_status ap_bound_tell(struct ap_bound_told *out, const struct ap_bound_read *read, double kl,
                        int n_bootstrap, uint64_t seed, struct ap_error *err);

/* One sentence a line, appended. */
ap_status ap_bound_sentences(const struct ap_bound_told *t, struct ap_buffer *out,
                             struct ap_error *err);
/* {"prompts", "rewrites", "answers", "scored", "bootstrap", "kl", "r_max", "r_max_known", "ended",
 * "pi_star", "check",
 * "missing": {TERM: why}, NAME: {"value", "low", "high"} …}, NAME as in AP_BOUND_LIST. */
ap_status ap_bound_json(const struct ap_bound_told *t, struct ap_buffer *out, struct ap_error *err);

#endif
