/* Statistics of arms over a table of scores: math.md section 3, "Metrics per arm", each with a 95%
 * paired bootstrap interval over prompts. Pure arithmetic: no database (report.h), no text. */
#ifndef AP_EVAL_STATISTICS_H
#define AP_EVAL_STATISTICS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define AP_ARMS_MAX 16
#define AP_SEEDS_MAX 64
#define AP_BOOTSTRAP_MAX 100000

struct ap_interval {
    double value, low, high; /* estimate and 95% bootstrap interval; NaN where it does not exist */
};

/* value with the 2.5% and 97.5% quantiles of its resamples, linear between order statistics; NaN
 * resamples count for nothing, and without any other there is no interval. Sorts samples[n]. */
struct ap_interval ap_interval_of(double value, double *samples, int n);

/* The one list of metrics: fields of ap_arm_statistics, keys of JSON, columns of CSV.
 *   mean             of the judge's score over prompts and seeds
 *   variance         n−1 over prompts, one answer each; the mean over seeds
 *   delta_*          paired difference of means against bare, instruct; NaN without that arm
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
    X(win_bare)                                                                                    \
    X(win_instruct)                                                                                \
    X(share_bare)                                                                                  \
    X(share_instruct)                                                                              \
    X(kl)                                                                                          \
    X(rewrite_tokens)                                                                              \
    X(answer_tokens)                                                                               \
    X(rewrite_ended)                                                                               \
    X(answer_ended)

/* One arm under one judge, over the prompts and seeds that every arm has. */
struct ap_arm_statistics {
    char name[32];
    int64_t n_prompt; /* distinct test prompts */
    int n_seed;       /* distinct seeds */
#define X(field) struct ap_interval field;
    AP_STATISTIC_LIST(X)
#undef X
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
    struct ap_score_cell *cells; /* [n_prompt][n_seed][n_arm] */
    int bare, instruct, rlhf;    /* indices of these arms; −1 when absent */
};

/* Fill out[n_arm] but for the names. A (prompt, seed) counts when every arm has a score there;
 * *n_dropped (may be NULL) is how many had one in some arm only. A resample draws prompts, all
 * seeds of a prompt together, the same for every arm, from the stream (seed, "eval.bootstrap",
 * resample). Intervals are percentile intervals; with one prompt there are none. No shared (prompt,
 * seed) is AP_NOT_FOUND. Deterministic. Source: Efron and Tibshirani (1993), chapter 13. */
ap_status ap_arm_statistics_of(struct ap_arm_statistics *out, const struct ap_score_table *table,
                               int n_bootstrap, uint64_t seed, int64_t *n_dropped,
                               struct ap_error *err);

#endif
