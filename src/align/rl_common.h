/* Verbs that rloo.c, grpo.c and ppo.c share: the prompts of a step, log-probabilities of a rollout,
 * the assertions of math.md (13), metrics. Not here: losses, the loops themselves. */
#ifndef AP_ALIGN_RL_COMMON_H
#define AP_ALIGN_RL_COMMON_H

#include "align/loops.h"
#include "align/monitor.h"

/* What a loop works with; allocated once. */
struct ap_rl_work {
    struct ap_rollout rollout;
    int n_prompt;      /* of a step */
    int n_minibatch;   /* of an epoch */
    int32_t *prompts;  /* [max_row] of this step, n_prompt; of a validation, as many as fit */
    int32_t *pass;     /* [environment's n_prompt] scratch: a permutation */
    int32_t *rows;     /* [max_row] the order in which rows are trained on */
    double *advantage; /* [max_row] RLOO, GRPO */
    double *judged;    /* [environment's n_judge, max_row] of a validation; NULL: there are none */
};

ap_status ap_rl_open(struct ap_rl_work *w, const struct ap_stage *stage,
                     const struct ap_policy *policy, const struct ap_environment *env,
                     const struct ap_rl_settings *settings, struct ap_error *err);
void ap_rl_close(struct ap_rl_work *w);

/* Fills w->prompts: the next of this pass's permutation, a function of (seed, stage, step). No
 * prompt is there twice: what a pass leaves over is dropped. */
void ap_rl_prompts(struct ap_rl_work *w, const struct ap_stage *stage, int32_t n_prompt,
                   int64_t step);
/* rows ← a permutation of 0 … n−1, a function of (seed, stage, epoch counted over the run). */
void ap_rl_order(const struct ap_stage *stage, int64_t epoch, int32_t *rows, int n);

/* logp_old and entropy (policy), logp_ref (reference) of the whole rollout by the training forward,
 * and every row's kl. rows: scratch. */
ap_status ap_rl_logprobs(struct ap_policy *policy, struct ap_rollout *r, int32_t *rows,
                         struct ap_error *err);
/* (13): log-probabilities are finite, the mean KL is not below −1e-6; at step 0 policy and
 * reference are one. Else AP_NUMERIC with row, token and both values. */
ap_status ap_rl_check_kl(const struct ap_stage *stage, const struct ap_policy *policy,
                         const struct ap_rollout *r, int64_t step, struct ap_error *err);
/* Before the first update after a rollout the ratio is 1: |logp − logp_old| ≤ tolerance on the
 * rows. */
ap_status ap_rl_check_ratio(const struct ap_stage *stage, const struct ap_policy *policy,
                            const struct ap_rollout *r, const int32_t *rows, int n_rows,
                            int64_t step, struct ap_error *err);

/* Of one step. NaN: not measured, left out of run.db. */
struct ap_rl_metrics {
    double reward, kl, entropy, length,
        ended; /* of the rollout: means over rows; entropy over tokens */
    double loss, clip_fraction, grad_norm, value_loss; /* means over the updates that were made */
    double lr;                                         /* of the last update */
    double explained_variance;                         /* PPO: 1 − Var(G − V)/Var(G) */
    double lambda;                                     /* of the step, where it adapts */
    int n_update;                                      /* made, not skipped */
    double monitors[AP_MONITOR_COUNT]; /* of the rollout's texts; NaN where there are none */
};
/* The environment's scores. Where they fail (a server is down, a budget ends, Ctrl-C while it is
 * waited for) the steps before are saved. */
ap_status ap_rl_score(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                      int64_t step, struct ap_rollout *r, struct ap_error *err);
/* Fills the means over the rollout and the monitors, and zeroes or NaN for the rest. */
ap_status ap_rl_measure(const struct ap_environment *env, const struct ap_rollout *r,
                        struct ap_rl_metrics *m, struct ap_error *err);

/* A loss that is not finite makes the gradient so too, and the guard in update drops both. */
void ap_rl_poison(struct ap_rollout *r, const int32_t *rows, int n_rows, double loss);
/* Update, or count a bad one; adds loss, clip_fraction and value_loss of a minibatch to m. */
ap_status ap_rl_update(struct ap_stage *stage, struct ap_policy *policy, int64_t step,
                       int64_t update, double loss, double clip_fraction, double value_loss,
                       struct ap_rl_metrics *m, struct ap_error *err);
/* Whether the step's KL passed settings->kl_stop, or a monitor its stop: says so (AP_EVENT_WARN)
 * and ends the stage. Warnings of monitors, too. */
bool ap_rl_too_far(struct ap_stage *stage, const struct ap_rl_settings *settings, int64_t step,
                   const struct ap_rl_metrics *m);
/* Whether one monitor's value is beyond its stop, which ends the stage; warns once beyond its
 * warning. NaN never is. */
bool ap_rl_passed(struct ap_stage *stage, int64_t step, ap_monitor monitor, double value);
/* Turns m's sums into means and writes them and the rollout's rows to run.db, in one transaction.
 */
ap_status ap_rl_record(struct ap_stage *stage, const struct ap_environment *env,
                       const struct ap_rollout *r, int64_t step, struct ap_rl_metrics *m,
                       struct ap_error *err);

#endif
