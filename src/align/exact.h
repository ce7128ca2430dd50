/* A finite world in closed form: math.md (2)–(6) without sampling. Ground truth for the learners,
 * and the formulas that an estimate of the bound fills with samples. Not here: estimators and their
 * intervals. */
#ifndef AP_ALIGN_EXACT_H
#define AP_ALIGN_EXACT_H

/* Arrays row-major and borrowed; X prompts, R rewrites, Y answers. */
struct ap_exact_world {
    int n_prompt, n_rewrite, n_answer;
    double kl;             /* λ > 0 */
    double r_max;          /* rewards lie in [0, r_max] */
    const double *prompts; /* P(x) [X], sums to 1 */
    const double *rho_sft; /* ρ_sft(x'|x) [X, R] */
    const double *target;  /* π_F(y|x') [X, R, Y] */
    const double *bare;    /* π_F(y|x) [X, Y] */
    const double *reward;  /* r(x, y) [X, Y] */
};

struct ap_exact_result {
    double *value;    /* R(x, x') of (3) [X, R]; the caller's memory, like the next three */
    double *rho_star; /* (4) [X, R] */
    double *log_z;    /* [X] */
    double *kl_star;  /* KL(ρ*(·|x) ‖ ρ_sft(·|x)) [X], nats */
    double j_star;    /* (5) */
    double mean_reward_star, mean_reward_sft; /* J without the KL term of ρ* and of ρ_sft */
    double gap; /* the left side of (6), π* the policy that maximises the reward */
    double lacks, disturbs, wins_back; /* the three terms of (6); the last is subtracted */
};

void ap_exact_solve(const struct ap_exact_world *w, struct ap_exact_result *out);

/* (2) of any prompter rho [X, R], given value [X, R] of (3). */
double ap_exact_objective(const struct ap_exact_world *w, const double *value, const double *rho);

/* (4): star[n] = rho·exp(value/kl)/Z, in logs; returns log Z. star may be rho. */
double ap_exact_tilt(const double *rho, const double *value, int n, double kl, double *star);
/* Σ p x */
double ap_exact_mean(const double *p, const double *x, int n);
/* KL(p ‖ q) in nats; +Inf where q lacks mass that p has. */
double ap_exact_kl(const double *p, const double *q, int n);
/* ½ Σ |p − q| */
double ap_exact_tv(const double *p, const double *q, int n);

#endif
