/* Closed forms over a finite world (exact.h): pure functions. */
#include "align/exact.h"

#include <math.h>
#include <stddef.h>

double ap_exact_mean(const double *p, const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += p[i] * x[i];
    return sum;
}

double ap_exact_kl(const double *p, const double *q, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (p[i] > 0)
            sum += p[i] * (log(p[i]) - log(q[i]));
    return sum;
}

double ap_exact_tv(const double *p, const double *q, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += fabs(p[i] - q[i]) / 2;
    return sum;
}

double ap_exact_tilt(const double *rho, const double *value, int n, double kl, double *star)
{
    double best = -INFINITY, sum = 0; /* exp of what is at most 0 */
    for (int i = 0; i < n; i++)
        best = fmax(best, value[i] / kl);
    for (int i = 0; i < n; i++) {
        star[i] = rho[i] * exp(value[i] / kl - best);
        sum += star[i];
    }
    for (int i = 0; i < n; i++)
        star[i] /= sum;
    return best + log(sum);
}

double ap_exact_objective(const struct ap_exact_world *w, const double *value, const double *rho)
{
    const int R = w->n_rewrite;
    double sum = 0;
    for (int x = 0; x < w->n_prompt; x++) {
        const size_t row = (size_t)x * (size_t)R;
        sum += w->prompts[x] * (ap_exact_mean(rho + row, value + row, R) -
                                w->kl * ap_exact_kl(rho + row, w->rho_sft + row, R));
    }
    return sum;
}

/* E_{x'~ρ_sft} TV(π_F(·|x), π_F(·|x')) */
static double disturbance(const struct ap_exact_world *w, int x)
{
    const size_t R = (size_t)w->n_rewrite, Y = (size_t)w->n_answer;
    double sum = 0;
    for (size_t i = (size_t)x * R; i < ((size_t)x + 1) * R; i++)
        sum += w->rho_sft[i] * ap_exact_tv(w->bare + (size_t)x * Y, w->target + i * Y, w->n_answer);
    return sum;
}

static int best_answer(const double *reward, int n)
{
    int best = 0;
    for (int y = 1; y < n; y++)
        best = reward[y] > reward[best] ? y : best;
    return best;
}

void ap_exact_solve(const struct ap_exact_world *w, struct ap_exact_result *out)
{
    const size_t R = (size_t)w->n_rewrite, Y = (size_t)w->n_answer;
    double mean_reward_best = 0;
    out->j_star = out->mean_reward_star = out->mean_reward_sft = 0;
    out->lacks = out->disturbs = out->wins_back = 0;
    for (int x = 0; x < w->n_prompt; x++) {
        const size_t row = (size_t)x * R;
        const double p = w->prompts[x], *reward = w->reward + (size_t)x * Y;
        const double *sft = w->rho_sft + row;
        double *value = out->value + row, *star = out->rho_star + row;
        const int best = best_answer(reward, w->n_answer);
        for (size_t i = 0; i < R; i++)
            value[i] = ap_exact_mean(w->target + (row + i) * Y, reward, w->n_answer);
        out->log_z[x] = ap_exact_tilt(sft, value, w->n_rewrite, w->kl, star);
        out->kl_star[x] = ap_exact_kl(star, sft, w->n_rewrite);
        out->j_star += p * w->kl * out->log_z[x];
        out->mean_reward_star += p * ap_exact_mean(star, value, w->n_rewrite);
        out->mean_reward_sft += p * ap_exact_mean(sft, value, w->n_rewrite);
        mean_reward_best += p * reward[best];
        out->lacks += p * w->r_max * (1 - w->bare[(size_t)x * Y + (size_t)best]);
        out->disturbs += p * w->r_max * disturbance(w, x);
        out->wins_back += p * w->kl * out->kl_star[x];
    }
    out->gap = mean_reward_best - out->mean_reward_star;
}
