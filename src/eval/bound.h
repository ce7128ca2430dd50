/* How far prompting can get on a target, from samples: math.md (5)–(7). Pure arithmetic over
 * arrays: no model, no database, no text. The same quantities of a finite world in closed form:
 * align/exact.h. */
#ifndef AP_EVAL_BOUND_H
#define AP_EVAL_BOUND_H

#include "base/error.h"
#include "eval/statistics.h"

#include <stddef.h>
#include <stdint.h>

/* Answers that one policy p gave, under p and under another policy q: what (7) asks for. */
struct ap_bound_pairs {
    int n;                     /* answers per prompt; 0: this target gives no log-probs */
    const double *logp, *logq; /* [X, n] of whole answers, nats; logq may be −Inf */
};

/* Arrays row-major and borrowed; X prompts. */
struct ap_bound_samples {
    int64_t n_prompt;
    int n_rewrite, n_answer; /* n rewrites of ρ_sft a prompt; K ≥ 2 answers to each */
    double kl;               /* λ > 0 */
    double r_max;            /* ap_bound_range of all rewards seen, or a bound that is known */
    const double *reward;    /* R̂ before its mean over answers: r(x, y) [X, n, K] */
    /* Of a trained prompter ρ_θ, means per prompt [X]; both NULL without one. */
    const double *trained_reward, *trained_kl; /* kl: math.md (13), nats */
    const double *star_reward;      /* of π* (the RLHF arm), means per prompt; NULL without one */
    struct ap_bound_pairs lacks;    /* p = π* (the RLHF arm stands for it), q = π_F(·|x) */
    struct ap_bound_pairs disturbs; /* p = π_F(·|x'), q = π_F(·|x), x' ~ ρ_sft */
};

/* The one list of what is told, J in the units of the reward:
 *   j_sft           J_λ(ρ_sft), where the KL is 0
 *   lower           the cross-fitted value: in expectation at most (5)
 *   plug_in         λ E log mean exp(R̂/λ): no coverage, biased up by the noise of R̂ and down by n
 *   j_trained       J_λ(ρ_θ)
 *   gain            J_λ(ρ_θ) − J_λ(ρ_sft); (6) holds for ρ_θ where this is not negative
 *   room_*          the ceiling less J_λ(ρ_sft)
 *   share_*         gain / room_*; NaN unless the interval of the room lies above zero
 *   lacks, disturbs, wins_back   the three terms of (6); the last is subtracted
 *   sum             lacks + disturbs − wins_back: what the gap to π* can at most be
 *   gap             E r of π* less E r of ρ_θ, as it was seen
 */
#define AP_BOUND_LIST(X)                                                                           \
    X(j_sft)                                                                                       \
    X(lower)                                                                                       \
    X(plug_in)                                                                                     \
    X(j_trained)                                                                                   \
    X(gain)                                                                                        \
    X(room_lower)                                                                                  \
    X(room_plug_in)                                                                                \
    X(share_lower)                                                                                 \
    X(share_plug_in)                                                                               \
    X(lacks)                                                                                       \
    X(disturbs)                                                                                    \
    X(wins_back)                                                                                   \
    X(sum)                                                                                         \
    X(gap)

/* Whether J_λ(ρ_θ) ≥ J_λ(ρ_sft), which (6) rests on. */
enum ap_bound_check {
    AP_BOUND_UNKNOWN, /* no trained prompter */
    AP_BOUND_HOLDS,   /* the interval of gain lies at or above zero */
    AP_BOUND_OPEN,    /* it holds zero, or there is no interval */
    AP_BOUND_FAILS,   /* it lies below zero */
};

/* NaN: the samples that it needs are not there. */
struct ap_bound {
#define X(field) struct ap_interval field;
    AP_BOUND_LIST(X)
#undef X
    enum ap_bound_check check;
};

/* λ log mean_i exp(mean_k R̂[i, k]/λ) of one prompt, reward [n, K]: an estimate of λ log Z(x). */
double ap_bound_plug_in(const double *reward, int n, int K, double kl);

/* Of one prompt, reward [n, K], K ≥ 2: Σ_i w_i b_i − λ KL(w ‖ 1/n), weights w ∝ exp(a/λ) from the
 * means a of one half of the answers and values b from the other; the mean of both directions. The
 * halves are independent, so given the rewrites its expectation is the objective of some w, and no
 * w beats λ log mean exp(R/λ), which in turn is at most λ log Z(x) in expectation (Jensen). Of an
 * odd K the second half has one answer more. */
double ap_bound_lower(const double *reward, int n, int K, double kl);

/* Mean of (7) over n answers. */
double ap_bound_tv(const double *logp, const double *logq, int n);

/* Largest less smallest: the R_max of a reward that has no bound of its own. 0 of nothing. */
double ap_bound_range(const double *reward, size_t n);

/* Everything above with 95% percentile intervals over prompts, the same resample for every number,
 * from the stream (seed, "bound.bootstrap", resample); none with one prompt. A reward or
 * log-probability that is not a number is AP_INVALID, as is K < 2. Deterministic. */
ap_status ap_bound_of(struct ap_bound *out, const struct ap_bound_samples *samples, int n_bootstrap,
                      uint64_t seed, struct ap_error *err);

#endif
