/* The curve of best trades of reward against KL: for each λ the point (KL(ρ* ‖ ρ_sft), reward of
 * ρ*) of math.md (4), which no prompter lies above; from rewards that are known, or from samples.
 * And the knee of measured points. Pure arithmetic: no model, no database, no text. */
#ifndef AP_EVAL_FRONTIER_H
#define AP_EVAL_FRONTIER_H

#include "base/error.h"
#include "eval/statistics.h"

#include <stdbool.h>
#include <stdint.h>

#define AP_FRONTIER_MAX 64

struct ap_frontier_point {
    double lambda;                 /* λ > 0 */
    struct ap_interval kl, reward; /* kl in nats; low and high NaN where nothing was sampled */
};

/* Arrays row-major and borrowed; X prompts, R rewrites: every one that ρ_sft can write. */
struct ap_frontier_world {
    int n_prompt, n_rewrite;
    const double *prompts; /* P(x) [X], sums to 1 */
    const double *rho_sft; /* [X, R] */
    const double *value;   /* R(x, x') of math.md (3) [X, R] */
};
/* X prompts, of each n rewrites of ρ_sft and K answers to each of them. */
struct ap_frontier_samples {
    int64_t n_prompt;
    int n_rewrite, n_answer;
    const double *reward; /* r(x, y) [X, n, K] */
};

/* n values of λ from low to high, both above 0, of equal ratios. */
void ap_frontier_lambdas(double *lambda, int n, double low, double high);

/* The exact points of the λs [n], in their order. */
ap_status ap_frontier_exact(struct ap_frontier_point *out, const struct ap_frontier_world *world,
                            const double *lambda, int n, struct ap_error *err);

/* The same from samples: ρ* is tilted over the n rewrites by the means of one half of the answers
 * and valued by the other half, both ways (as math.md (5)'s lower value), so a point is in
 * expectation what some prompter reaches at that KL or less: at or below the true curve. Its KL is
 * that of n weights against equal ones and never more than log n, where the curve ends: it says
 * nothing of prompters that went further. 95% percentile intervals over prompts, the same resample
 * for every λ, from the stream (seed, "frontier.bootstrap", resample); none with one prompt. K < 2
 * or a reward that is not a number is AP_INVALID. Deterministic. */
ap_status ap_frontier_of(struct ap_frontier_point *out, const struct ap_frontier_samples *samples,
                         const double *lambda, int n, int n_bootstrap, uint64_t seed,
                         struct ap_error *err);

/* The knee of measured points: of the corners of their upper concave frontier, from the one of
 * least KL to the one of most reward, that which lies farthest above the chord between these two
 * when both axes are stretched to run from 0 to 1. −1 where the frontier has fewer than three
 * corners. Points that are not finite are left out. corner (may be NULL): n flags of the frontier's
 * points.
 */
int ap_frontier_knee(const double *kl, const double *reward, int n, bool *corner);

#endif
