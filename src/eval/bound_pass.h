/* The samples behind the bound (bound.h), drawn through targets into run.db's table bounds. What is
 * made of them: bound_told.h. */
#ifndef AP_EVAL_BOUND_PASS_H
#define AP_EVAL_BOUND_PASS_H

#include "align/prompts.h"
#include "align/reward.h"
#include "align/target.h"
#include "store/database.h"

/* One policy's samples. All borrowed. */
struct ap_bound_pass {
    const char *policy;         /* sft, align or rlhf */
    struct ap_target *rewriter; /* NULL: x goes to the target as it is, as one "rewrite" */
    struct ap_target *target;   /* answers */
    struct ap_target *bare;     /* π_F, which scores answers to x: logq */
    const struct ap_prompts *prompts, *rewriter_prompts; /* the same test prompts for both sides */
    const char *meta_prompt;
    const struct ap_reward *reward;
    struct ap_role kl_policy, kl_reference; /* of the rewrites; weights NULL: no KL */
    double kl_temperature;
    int batch_tokens;                  /* of that KL */
    int n_rewrite, n_answer, n_scored; /* the first n_scored answers to a rewrite get logp, logq */
    uint64_t seed;
    struct ap_database *db;
};

/* Prompts [first, first + n) in one transaction: all of their rows are there or none. Streams are
 * (seed, bound.rewrite or bound.answer, record, sample), whatever the policy: two policies that are
 * one give the same rows. A target without logp leaves logp and logq NaN. */
ap_status ap_bound_pass(const struct ap_bound_pass *pass, int first, int n, struct ap_error *err);

#endif
