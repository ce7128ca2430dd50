/* Supervised and pair losses, KL and TV terms of one sample: pure functions in double. Not here:
 * the RL losses (loss_rl.c), advantages (advantage.c). Entry points: ap_loss_sft, ap_loss_ift,
 * ap_loss_bradley_terry, ap_loss_dpo, ap_implicit_reward, ap_kl_k1/k2/k3, ap_tv_term. */
#include "align/loss.h"

#include <math.h>

double ap_loss_sft(const double *logp, int n, double n_global, double *dlogp)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += logp[i];
        dlogp[i] = -1 / n_global;
    }
    return -sum / n_global;
}

/* dlogp holds the costs c_t first, from the last token on, then −w_t/(n n_global). */
double ap_loss_ift(const double *logp, int n, double g, double n_global, double *dlogp)
{
    double loss = 0, sum = 0, next = 0;
    for (int t = n - 1; t >= 0; t--) {
        next = -logp[t] / n + g * next;
        sum += dlogp[t] = next;
    }
    for (int t = 0; t < n; t++) {
        double w = g > 0 && sum != 0 ? n * dlogp[t] / sum : 1; /* g = 0: w is 1 by definition */
        loss -= w * logp[t];
        dlogp[t] = -w / (n * n_global);
    }
    return loss / (n * n_global);
}

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* log(1 + e^x) without overflow. */
static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

double ap_loss_bradley_terry(const double *chosen, const double *rejected, int n, double n_global,
                             double margin, double centre, double *dchosen, double *drejected)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double gap = chosen[i] - rejected[i] - margin, both = chosen[i] + rejected[i];
        double dgap = -sigmoid(-gap), dboth = 2 * centre * both;
        sum += softplus(-gap) + centre * both * both;
        dchosen[i] = (dgap + dboth) / n_global;
        drejected[i] = (-dgap + dboth) / n_global;
    }
    return sum / n_global;
}

double ap_loss_dpo(const struct ap_dpo_pairs *p, int n, double n_global, double n_token_global,
                   const struct ap_dpo_weights *w, double *dchosen, double *drejected)
{
    const double wrong = w->label_smoothing, right = 1 - wrong;
    const double nll = w->nll_weight > 0 ? w->nll_weight / n_token_global : 0;
    double sum = 0, sum_chosen = 0;
    for (int i = 0; i < n; i++) {
        double ratio_chosen = p->chosen[i] - p->chosen_ref[i];
        double ratio_rejected = p->rejected[i] - p->rejected_ref[i];
        double gap = w->beta * (ratio_chosen - ratio_rejected) - w->margin;
        double dgap = w->beta * (wrong * sigmoid(gap) - right * sigmoid(-gap)) / n_global;
        sum += right * softplus(-gap) + wrong * softplus(gap);
        sum_chosen += p->chosen[i];
        dchosen[i] = dgap - nll;
        drejected[i] = -dgap;
    }
    return sum / n_global - nll * sum_chosen;
}

/* log(e^a + floor) and its derivative in a; a floor of 0 gives a itself, also where e^a is 0. */
static double floored(double a, double floor, double *da)
{
    if (floor <= 0) {
        *da = 1;
        return a;
    }
    double above = a - log(floor);
    *da = sigmoid(above);
    return log(floor) + softplus(above);
}

double ap_implicit_reward(double logp, double logp_ref, double beta, double floor, double *dlogp)
{
    double slope, unused;
    double reward = beta * (floored(logp, floor, &slope) - floored(logp_ref, floor, &unused));
    if (dlogp)
        *dlogp = beta * slope;
    return reward;
}

double ap_kl_k1(double logp, double logp_ref)
{
    return logp - logp_ref;
}

double ap_kl_k2(double logp, double logp_ref)
{
    double k1 = logp - logp_ref;
    return k1 * k1 / 2;
}

double ap_kl_k3(double logp, double logp_ref)
{
    double k1 = logp - logp_ref;
    return expm1(-k1) + k1;
}

double ap_adaptive_kl(double lambda, double kl, double target, double horizon, int n)
{
    double error = kl / target - 1;
    error = error > 0.2 ? 0.2 : error < -0.2 ? -0.2 : error; /* NaN comes through */
    return lambda * (1 + error * n / horizon);
}

double ap_tv_term(double logp, double logq)
{
    return fmax(0, -expm1(logq - logp));
}
