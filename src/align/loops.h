/* The training loops: one file and one visible loop each. */
#ifndef AP_ALIGN_LOOPS_H
#define AP_ALIGN_LOOPS_H

#include "align/policy.h"
#include "align/stage.h"

/* math.md (11): rloo.c. steps × {prompts × rewrites, score, advantages, epochs × minibatches}.
 * Prompts of a step: the next settings->prompts of a permutation of the environment's, a new one
 * each pass, a function of (seed, stage). */
ap_status ap_rloo(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                  const struct ap_rl_settings *settings, struct ap_error *err);
/* math.md (12): grpo.c. */
ap_status ap_grpo(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                  const struct ap_rl_settings *settings, struct ap_error *err);
/* math.md (10): ppo.c. */
ap_status ap_ppo(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                 const struct ap_rl_settings *settings, struct ap_error *err);

#endif
