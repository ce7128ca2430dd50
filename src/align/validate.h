/* Validation of a stage that learns from reward: what the policy is worth on prompts that training
 * never sees, by judges that training may not ask, and which step is kept for it. Verbs of the
 * loops, beside rl_common.h. */
#ifndef AP_ALIGN_VALIDATE_H
#define AP_ALIGN_VALIDATE_H

#include "align/rl_common.h"

/* The step that keys the streams of every validation, past any of training: the same draws each
 * time, so that validations differ by what was learned alone. */
#define AP_VALID_STEP (INT64_C(1) << 31)

/* After `step` steps of training, where one is due (settings->valid_every; also before the first
 * and after the last): one sample for each valid prompt, valid_reward, valid_NAME, valid_kl into
 * run.db at that step. The best by the environment's picking judge goes into best/ of the stage;
 * too many in a row that are no better (settings->patience) set stage->watch.ended. Uses w's
 * rollout, which a step no longer needs. A function of the policy and the settings: batching and
 * interruption change nothing. */
ap_status ap_rl_validate(struct ap_rl_work *w, struct ap_stage *stage, struct ap_policy *policy,
                         const struct ap_environment *env, const struct ap_rl_settings *settings,
                         int64_t step, struct ap_error *err);
/* At the end, after `step` steps: the policy goes back to its best where that is kept; the log and
 * stage->watch.kept_step say which step it is and why the stage ended. */
ap_status ap_rl_keep(struct ap_stage *stage, struct ap_policy *policy,
                     const struct ap_rl_settings *settings, int64_t step, struct ap_error *err);

#endif
