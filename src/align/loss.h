/* Losses and advantages: pure functions over arrays in double, math.md (8)–(13). A loss returns its
 * value and fills the gradient with respect to what the model gave. Rows and tokens as in
 * rollout.h. */
#ifndef AP_ALIGN_LOSS_H
#define AP_ALIGN_LOSS_H

#include "align/rollout.h"

/* (8) over n trained tokens of a micro-batch; n_global: of the whole batch. dlogp =. */
double ap_loss_sft(const double *logp, int n, double n_global, double *dlogp);
/* (21) of one row of n trained tokens, divided by the n_global rows of the batch; the weights w_t
 * are constants in the gradient. dlogp =. */
double ap_loss_ift(const double *logp, int n, double g, double n_global, double *dlogp);
/* (9) summed over n pairs and divided by n_global. margin: one for all. */
double ap_loss_bradley_terry(const double *chosen, const double *rejected, int n, double n_global,
                             double margin, double centre, double *dchosen, double *drejected);
/* (20). Summed log-probabilities of n pairs of answers under policy and reference. */
struct ap_dpo_pairs {
    const double *chosen, *rejected, *chosen_ref, *rejected_ref;
};
struct ap_dpo_weights {
    double beta, margin;    /* margin: m of (9), between the two implicit rewards */
    double label_smoothing; /* share of pairs that are taken to be the wrong way round */
    double nll_weight;      /* of −log π(chosen), a mean over the chosen answers' tokens */
};
/* (20) summed over n pairs and divided by n_global; n_token_global: tokens of the batch's chosen
 * answers. dchosen, drejected =, with respect to the policy's sums. */
double ap_loss_dpo(const struct ap_dpo_pairs *p, int n, double n_global, double n_token_global,
                   const struct ap_dpo_weights *w, double *dchosen, double *drejected);
/* (9a) one token's share of the implicit reward, and its derivative with respect to logp (NULL:
 * skip). */
double ap_implicit_reward(double logp, double logp_ref, double beta, double floor, double *dlogp);

/* (10) token rewards, GAE, returns for every row of r; reads logp_old, logp_ref, value_old, rows'
 * score and penalty; fills advantage and returns. Whitened in place by ap_whiten afterwards. */
void ap_gae(struct ap_rollout *r, double kl, double gamma, double lambda);
/* Mean 0, variance 1 (population, eps 1e-8 inside the root) over all tokens. */
void ap_whiten(double *x, size_t n);

struct ap_ppo_stats {
    double policy_loss, value_loss, entropy, clip_fraction,
        approx_kl; /* sums over tokens ÷ n_global; += */
};
/* (10) on the given rows, mean over n_global tokens; reads logp, logp_old, advantage, entropy,
 * value, value_old, returns; fills dlogp, dvalue, dentropy of those rows; returns the loss. Zero
 * stats before the first micro-batch. Whoever can hold only one forward at a time takes the two
 * halves one after the other. */
double ap_loss_ppo(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                   double clip, double value_clip, double value_weight, double entropy_weight,
                   struct ap_ppo_stats *stats);
double ap_loss_ppo_policy(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                          double clip, double entropy_weight, struct ap_ppo_stats *stats);
double ap_loss_ppo_value(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                         double value_clip, double value_weight, struct ap_ppo_stats *stats);
/* (11) advantages of rows from R̃ = score − penalty − λ Σ k1; advantage[n_row]. n_each ≥ 2
 * (asserted). */
void ap_rloo_advantage(const struct ap_rollout *r, double kl, double *advantage);
/* (11) on the given rows, mean over n_global sequences; fills dlogp; clip_fraction +=. advantage is
 * indexed by row of r. */
double ap_loss_rloo(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                    const double *advantage, double clip, double *clip_fraction);

/* (12) advantages of rows from R̂ = score − penalty: standardised within the n_each ≥ 2 (asserted)
 * of one prompt; exactly 0 where all are equal. */
void ap_grpo_advantage(const struct ap_rollout *r, double *advantage);
/* (12) on the given rows: the clipped ratio of each token and kl times its KL from logp_ref (k2, or
 * k3), mean over a row's tokens, then over n_global rows; fills dlogp; clip_fraction +=. */
double ap_loss_grpo(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                    const double *advantage, double clip, double kl, bool k3,
                    double *clip_fraction);

/* (13) of one token */
double ap_kl_k1(double logp, double logp_ref);
double ap_kl_k2(double logp, double logp_ref);
double ap_kl_k3(double logp, double logp_ref);
/* (14): λ after a step of n rewrites whose mean KL was kl. target, horizon > 0. */
double ap_adaptive_kl(double lambda, double kl, double target, double horizon, int n);
/* (7) one sample's term from log p and log q. */
double ap_tv_term(double logp, double logq);

#endif
