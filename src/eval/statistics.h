/* Statistics of arms over a table of scores: math.md section 3, "Metrics per arm", each with a 95%
 * bootstrap interval over prompts and seeds, paired across arms. Pure arithmetic: no database
 * (report.h), no text. */
#ifndef AP_EVAL_STATISTICS_H
#define AP_EVAL_STATISTICS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define AP_ARMS_MAX 16
#define AP_SEEDS_MAX 64
#define AP_BOOTSTRAP_MAX 100000
/* Fewer prompts get no interval: a percentile interval of a mean over 10 holds the truth in 90% of
 * cases in place of 95, over 5 in 82% (tests/eval/test_statistics.c). */
#define AP_PROMPTS_LEAST 10

struct ap_interval {
    double value, low, high; /* estimate and 95% bootstrap interval; NaN where it does not exist */
};

/* value with the 2.5% and 97.5% quantiles of its resamples, linear between order statistics; NaN
 * resamples count for nothing, and without any other there is no interval. Sorts samples[n]. */
struct ap_interval ap_interval_of(double value, double *samples, int n);

/* The one list of metrics: fields of ap_arm_statistics, keys of JSON, columns of CSV.
 *   mean             of the judge's score over prompts and seeds
 *   variance         n−1 over prompts, one answer each; the mean over seeds
 *   delta_*          paired difference of means against bare, instruct, rlhf; NaN without that arm
 *   delta_pass       the same against the pass of a chain before; NaN where there is none
 *   win_*            share of comparisons won against bare, instruct; ties one half
 *   share_*          share closed of the gap from bare, instruct to rlhf; NaN without rlhf, or when
 *                    the interval of the gap does not lie above zero (a ratio to nothing)
 *   kl               mean Σ k3 in nats, math.md (13); NaN for none
 *   *_tokens         mean lengths; *_ended: shares that ended by themselves; NaN without rewrites
 */
#define AP_STATISTIC_LIST(X)                                                                       \
    X(mean)                                                                                        \
    X(variance)                                                                                    \
    X(delta_bare)                                                                                  \
    X(delta_instruct)                                                                              \
    X(delta_rlhf)                                                                                  \
    X(win_bare)                                                                                    \
    X(win_instruct)                                                                                \
    X(share_bare)                                                                                  \
    X(share_instruct)                                                                              \
    X(kl)                                                                                          \
    X(rewrite_tokens)                                                                              \
    X(answer_tokens)                                                                               \
    X(rewrite_ended)                                                                               \
    X(answer_ended)                                                                                \
    X(delta_pass)

/* One arm under one judge, over the prompts and seeds that every arm has. */
struct ap_arm_statistics {
    char name[32];
    int64_t n_prompt; /* distinct test prompts */
    int n_seed;       /* what is drawn beside prompts: seeds, or runs */
#define X(field) struct ap_interval field;
    AP_STATISTIC_LIST(X)
#undef X
};

enum {
#define X(field) AP_AT_##field,
    AP_STATISTIC_LIST(X)
#undef X
        AP_N_STATISTICS
};

/* A row of the list above: its name and where it lies. */
struct ap_statistic {
    const char *name;
    size_t offset; /* of a struct ap_interval in struct ap_arm_statistics */
};
extern const struct ap_statistic ap_statistics[];
extern const int ap_n_statistics;
struct ap_interval *ap_statistic_at(struct ap_arm_statistics *arm, int which);

/* One answer of one arm. */
struct ap_score_cell {
    double score;                             /* NaN or infinite: there is none */
    double kl, rewrite_tokens, answer_tokens; /* NaN where there is none */
    double rewrite_ended, answer_ended;       /* 0 or 1; NaN without a rewrite */
};

struct ap_score_table {
    int64_t n_prompt;
    int n_seed, n_arm;
    int seeds_a_run; /* 0: every seed is drawn by itself; k: n_seed / k runs are drawn, of k seeds
                        each that follow one another */
    struct ap_score_cell *cells; /* [n_prompt][n_seed][n_arm] */
    int bare, instruct, rlhf;    /* indices of these arms; −1 when absent */
    int before[AP_ARMS_MAX];     /* 1 + index of the pass before; 0: none */
};

/* Fill out[n_arm] but for the names. A (prompt, seed) counts when every arm has a score there;
 * *n_dropped (may be NULL) is how many had one in some arm only.
 *
 * A resample draws prompts and, where there are several, seeds (or whole runs), and takes the cells
 * where both were drawn, as often as the product says; the same for every arm. Prompts come from
 * the stream (seed, "eval.bootstrap", resample), seeds from (seed, "eval.bootstrap.seeds",
 * resample), so that one seed changes nothing about prompts. It is a little wide where seeds are
 * nothing but noise and too narrow for few seeds that truly differ: docs/report.md has figures.
 * Intervals are percentile intervals; with fewer than AP_PROMPTS_LEAST prompts there are none.
 *
 * samples (may be NULL): [n_arm][ap_n_statistics][n_bootstrap], every resample's values; NaN for
 * none, infinite for a share of no gap. No shared (prompt, seed) is AP_NOT_FOUND. Deterministic.
 * Source: Efron and Tibshirani (1993), chapter 13; Owen (2007), "The pigeonhole bootstrap". */
ap_status ap_arm_statistics_of(struct ap_arm_statistics *out, const struct ap_score_table *table,
                               int n_bootstrap, uint64_t seed, int64_t *n_dropped, double *samples,
                               struct ap_error *err);

#endif
