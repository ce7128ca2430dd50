/* The losses of PPO (math.md (10)), RLOO (math.md (11)) and GRPO (math.md (12)) on rows of a
 * rollout: pure functions over its columns. Not here: advantages (advantage.c). Entry points:
 * ap_loss_ppo, its halves ap_loss_ppo_policy and ap_loss_ppo_value, ap_loss_rloo, ap_loss_grpo. */
#include "align/loss.h"

#include <math.h>

static double clamp(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

/* max(-A w, -A clip(w, 1±ε)); *dlogw is its derivative in log w, *clipped whether the second is
 * larger. NaN comes through, where fmax would hide it. */
static double surrogate(double advantage, double ratio, double clip, double *dlogw, bool *clipped)
{
    double free = -advantage * ratio, held = -advantage * clamp(ratio, 1 - clip, 1 + clip);
    *clipped = held > free;
    *dlogw = *clipped ? 0 : free;
    return *clipped ? held : free;
}

double ap_loss_ppo_policy(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                          double clip, double entropy_weight, struct ap_ppo_stats *stats)
{
    double loss = 0, entropy = 0, approx_kl = 0;
    int n_clipped = 0;
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        for (size_t t = row->first; t < row->first + (size_t)row->n; t++) {
            double log_ratio = r->logp[t] - r->logp_old[t], dlogw;
            bool clipped;
            loss += surrogate(r->advantage[t], exp(log_ratio), clip, &dlogw, &clipped);
            n_clipped += clipped;
            entropy += r->entropy[t];
            approx_kl += expm1(log_ratio) - log_ratio;
            r->dlogp[t] = dlogw / n_global;
            r->dentropy[t] = -entropy_weight / n_global;
        }
    }
    stats->policy_loss += loss / n_global;
    stats->entropy += entropy / n_global;
    stats->clip_fraction += n_clipped / n_global;
    stats->approx_kl += approx_kl / n_global;
    return (loss - entropy_weight * entropy) / n_global;
}

/* ½ max((V−G)², (clip(V, V_old ± ε)−G)²) and its derivative in V. */
static double value_term(double value, double old, double target, double clip, double *dvalue)
{
    double free = value - target, held = clamp(value, old - clip, old + clip) - target;
    bool clipped = held * held > free * free;
    *dvalue = clipped ? 0 : free;
    return (clipped ? held * held : free * free) / 2;
}

double ap_loss_ppo_value(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                         double value_clip, double value_weight, struct ap_ppo_stats *stats)
{
    double loss = 0;
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        for (size_t t = row->first; t < row->first + (size_t)row->n; t++) {
            double dvalue;
            loss += value_term(r->value[t], r->value_old[t], r->returns[t], value_clip, &dvalue);
            r->dvalue[t] = value_weight * dvalue / n_global;
        }
    }
    stats->value_loss += loss / n_global;
    return value_weight * loss / n_global;
}

double ap_loss_ppo(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                   double clip, double value_clip, double value_weight, double entropy_weight,
                   struct ap_ppo_stats *stats)
{
    return ap_loss_ppo_policy(r, rows, n_rows, n_global, clip, entropy_weight, stats) +
           ap_loss_ppo_value(r, rows, n_rows, n_global, value_clip, value_weight, stats);
}

double ap_loss_rloo(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                    const double *advantage, double clip, double *clip_fraction)
{
    double loss = 0;
    int n_clipped = 0;
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        double log_ratio = 0, dlogw;
        bool clipped;
        for (size_t t = row->first; t < row->first + (size_t)row->n; t++)
            log_ratio += r->logp[t] - r->logp_old[t];
        loss += surrogate(advantage[rows[i]], exp(log_ratio), clip, &dlogw, &clipped);
        n_clipped += clipped;
        for (size_t t = row->first; t < row->first + (size_t)row->n; t++)
            r->dlogp[t] = dlogw / n_global;
    }
    *clip_fraction += n_clipped / n_global;
    return loss / n_global;
}

double ap_loss_grpo(struct ap_rollout *r, const int32_t *rows, int n_rows, double n_global,
                    const double *advantage, double clip, double kl, bool k3, double *clip_fraction)
{
    double loss = 0;
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        const double share = 1 / (row->n * n_global);
        for (size_t t = row->first; t < row->first + (size_t)row->n; t++) {
            const double logp = r->logp[t], ref = r->logp_ref[t], k1 = ap_kl_k1(logp, ref);
            double dlogw;
            bool clipped;
            loss += share * surrogate(advantage[rows[i]], exp(logp - r->logp_old[t]), clip, &dlogw,
                                      &clipped);
            loss += share * kl * (k3 ? ap_kl_k3(logp, ref) : ap_kl_k2(logp, ref));
            r->dlogp[t] = share * (dlogw + kl * (k3 ? -expm1(-k1) : k1));
            *clip_fraction += share * clipped;
        }
    }
    return loss;
}
