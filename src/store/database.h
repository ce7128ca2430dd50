/* run.db: metrics, rollouts, answers and evaluations of a run, in SQLite (WAL) for a user to query.
 */
#ifndef AP_STORE_DATABASE_H
#define AP_STORE_DATABASE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ap_database;

/* Bytes of memory that SQLite's page cache grows to, its default. */
#define AP_DATABASE_CACHE ((size_t)2000 << 10)

ap_status ap_database_open(struct ap_database **out, const char *path, struct ap_error *err);
/* For the functions that give rows back: nothing is made, written or locked against others, also
 * while a run writes and after one was killed. Another schema is AP_UNSUPPORTED. */
ap_status ap_database_open_read(struct ap_database **out, const char *path, struct ap_error *err);
void ap_database_close(struct ap_database *db);
ap_status ap_database_begin(struct ap_database *db, struct ap_error *err);
ap_status ap_database_commit(struct ap_database *db, struct ap_error *err);

/* Drop rows of a stage at or after a step: what an interrupted run wrote past its checkpoint. */
ap_status ap_database_rewind(struct ap_database *db, const char *stage, int64_t step,
                             struct ap_error *err);

/* metrics(stage, step, name, value): replaced when it is there. */
ap_status ap_database_metric(struct ap_database *db, const char *stage, int64_t step,
                             const char *name, double value, struct ap_error *err);

/* rollouts: one rewrite (or, in rlhf, one answer) of a training step. */
struct ap_rollout_record {
    const char *stage;
    int64_t step;
    uint64_t record; /* of the prompt */
    int sample;
    const char *prompt, *rewrite; /* x, x' (NULL in rlhf) */
    const char *answer;           /* the first of the K */
    double reward, kl;            /* R̂ before penalties; Σ k3 */
    bool ended;
};
ap_status ap_database_rollout(struct ap_database *db, const struct ap_rollout_record *r,
                              struct ap_error *err);

/* evaluations: one answer of one arm. */
struct ap_evaluation_record {
    const char *arm;
    int64_t seed;
    uint64_t record;
    int sample; /* best-of-n: which of the n; −1 for the answer that counts */
    const char *prompt, *rewrite, *answer;
    int n_rewrite_tokens, n_answer_tokens; /* -1: not known */
    bool rewrite_ended, answer_ended;
    double kl;        /* Σ k3 of the rewrite (rlhf: of the answer); NaN where there is none */
    const char *meta; /* the example's meta; NULL for none */
};
ap_status ap_database_evaluation(struct ap_database *db, const struct ap_evaluation_record *r,
                                 struct ap_error *err);
/* scores(arm, seed, record, sample, judge, value) */
ap_status ap_database_score(struct ap_database *db, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *judge, double value, struct ap_error *err);

/* guards(arm, seed, record, sample, guard, why): the target got x in place of that rewrite. */
ap_status ap_database_guard(struct ap_database *db, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *guard, const char *why, struct ap_error *err);

/* bounds: one answer of a policy (sft and align: the target's to a rewrite of theirs; rlhf: its own
 * to the prompt). NaN where there is none. */
struct ap_bound_record {
    const char *policy;
    uint64_t record;
    int rewrite, answer;
    double reward, kl; /* kl: Σ k3 of the rewrite */
    double logp, logq; /* of the answer as it was drawn, and from the bare prompt by the target */
    bool ended;
};
ap_status ap_database_bound(struct ap_database *db, const struct ap_bound_record *r,
                            struct ap_error *err);
ap_status ap_database_forget_bounds(struct ap_database *db, struct ap_error *err); /* all */

/* verdicts: what a judge that compares said of one pair of answers of one seed. Replies NULL where
 * none came, or where the answers were equal and it was not asked. */
struct ap_verdict_record {
    const char *judge, *arm, *against;
    int64_t seed;
    uint64_t record;
    const char *reply_ab, *reply_ba; /* to the question where A is the arm's; is against's */
    const char *outcome;             /* align/judge.h, ap_outcome_name */
};
ap_status ap_database_verdict(struct ap_database *db, const struct ap_verdict_record *r,
                              struct ap_error *err);
ap_status ap_database_forget_verdicts(struct ap_database *db, const char *judge,
                                      struct ap_error *err);

/* Rows back, in primary-key order; text pointers are valid during the call. Return AP_OK to go on.
 */
typedef ap_status (*ap_metric_fn)(void *context, const char *stage, int64_t step, const char *name,
                                  double value);
ap_status ap_database_each_metric(struct ap_database *db, ap_metric_fn fn, void *context,
                                  struct ap_error *err);
typedef ap_status (*ap_evaluation_fn)(void *context, const struct ap_evaluation_record *r);
ap_status ap_database_each_evaluation(struct ap_database *db, ap_evaluation_fn fn, void *context,
                                      struct ap_error *err);
typedef ap_status (*ap_score_fn)(void *context, const char *arm, int64_t seed, uint64_t record,
                                 int sample, const char *judge, double value);
ap_status ap_database_each_score(struct ap_database *db, ap_score_fn fn, void *context,
                                 struct ap_error *err);
typedef ap_status (*ap_guard_fn)(void *context, const char *arm, int64_t seed, uint64_t record,
                                 int sample, const char *guard);
ap_status ap_database_each_guard(struct ap_database *db, ap_guard_fn fn, void *context,
                                 struct ap_error *err);
typedef ap_status (*ap_bound_fn)(void *context, const struct ap_bound_record *r);
ap_status ap_database_each_bound(struct ap_database *db, ap_bound_fn fn, void *context,
                                 struct ap_error *err);
typedef ap_status (*ap_verdict_fn)(void *context, const struct ap_verdict_record *r);
ap_status ap_database_each_verdict(struct ap_database *db, ap_verdict_fn fn, void *context,
                                   struct ap_error *err);
/* Evaluations, scores, guards and verdicts of one arm and seed, dropped before that pair is run
 * again. */
ap_status ap_database_forget(struct ap_database *db, const char *arm, int64_t seed,
                             struct ap_error *err);

#endif
