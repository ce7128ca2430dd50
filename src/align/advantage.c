/* Advantages: GAE with token rewards (math.md (10)), whitening, leave-one-out (math.md (11)),
 * standardised groups (math.md (12)). Pure functions over a rollout's columns. Entry points:
 * ap_gae, ap_whiten, ap_rloo_advantage, ap_grpo_advantage. */
#include "align/loss.h"

#include <assert.h>
#include <math.h>

void ap_gae(struct ap_rollout *r, double kl, double gamma, double lambda)
{
    for (int i = 0; i < r->n_row; i++) {
        const struct ap_rollout_row *row = &r->rows[i];
        double next_value = 0, next_advantage = 0, reward = row->score - row->penalty;
        for (size_t t = row->first + (size_t)row->n; t-- > row->first;) {
            double token = reward - kl * ap_kl_k1(r->logp_old[t], r->logp_ref[t]);
            double delta = token + gamma * next_value - r->value_old[t];
            r->advantage[t] = delta + gamma * lambda * next_advantage;
            r->returns[t] = r->advantage[t] + r->value_old[t];
            next_value = r->value_old[t];
            next_advantage = r->advantage[t];
            reward = 0; /* only the last token carries R̂ */
        }
    }
}

void ap_whiten(double *x, size_t n)
{
    if (n == 0)
        return;
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++)
        x[i] = (x[i] - mean) / sqrt(variance + 1e-8);
}

/* R̃ of one row: its score less penalty and the KL paid. */
static double kept_reward(const struct ap_rollout *r, const struct ap_rollout_row *row, double kl)
{
    double paid = 0;
    for (size_t t = row->first; t < row->first + (size_t)row->n; t++)
        paid += ap_kl_k1(r->logp_old[t], r->logp_ref[t]);
    return row->score - row->penalty - kl * paid;
}

void ap_rloo_advantage(const struct ap_rollout *r, double kl, double *advantage)
{
    const int n = r->n_each;
    assert(n >= 2 && r->n_row % n == 0);
    for (int first = 0; first < r->n_row; first += n) {
        double sum = 0;
        for (int i = first; i < first + n; i++) {
            advantage[i] = kept_reward(r, &r->rows[i], kl);
            sum += advantage[i];
        }
        for (int i = first; i < first + n; i++)
            advantage[i] -= (sum - advantage[i]) / (n - 1);
    }
}

/* Sums are of differences from the first reward, so that equal rewards give 0 and no rounding. */
void ap_grpo_advantage(const struct ap_rollout *r, double *advantage)
{
    const int n = r->n_each;
    assert(n >= 2 && r->n_row % n == 0);
    for (int first = 0; first < r->n_row; first += n) {
        const struct ap_rollout_row *row = &r->rows[first];
        const double origin = row[0].score - row[0].penalty;
        double mean = 0, variance = 0;
        for (int i = 0; i < n; i++)
            mean += (row[i].score - row[i].penalty - origin) / n;
        for (int i = 0; i < n; i++) {
            double off = row[i].score - row[i].penalty - origin - mean;
            advantage[first + i] = off;
            variance += off * off / (n - 1);
        }
        for (int i = first; i < first + n; i++)
            advantage[i] /= sqrt(variance) + 1e-4;
    }
}
