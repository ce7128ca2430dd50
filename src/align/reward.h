/* Rewards: (x, y) in, a number out, always against the ORIGINAL prompt x. A model (scalar head (9)
 * or implicit reward (9a)), a rule, a program of the user's, or a
 * weighted sum of these. */
#ifndef AP_ALIGN_REWARD_H
#define AP_ALIGN_REWARD_H

#include "align/lm.h"
#include "align/program.h"
#include "base/progress.h"
#include "store/settings.h"

struct ap_scored {
    const struct ap_message *context; /* borrowed */
    size_t n_context;
    const char *x, *y;
    bool ended;  /* y had its end token */
    bool scored; /* y is worth `score`, in the run's units, whatever a reward says */
    double score;
};
/* What answer is to x in that context, all borrowed. */
struct ap_answer;
struct ap_scored ap_scored_answer(const struct ap_message *context, size_t n_context, const char *x,
                                  const struct ap_answer *answer);

struct ap_reward {
    void *self;
    ap_status (*score)(void *self, const struct ap_scored *items, int n, double *out,
                       struct ap_error *err);
    void (*free)(void *self);
    double gain, bias; /* normalised = gain·raw + bias; 1 and 0 until fixed, math.md (9) */
    double range;      /* largest less smallest raw score there can be; 0: no such bound is known */
};
void ap_reward_free(struct ap_reward *r);
/* gain·raw + bias. A score that is not finite is AP_NUMERIC. */
ap_status ap_reward_score(const struct ap_reward *r, const struct ap_scored *items, int n,
                          double *out, struct ap_error *err);
/* Mean 0 and variance 1 of raw[n]; all equal: gain 1. */
void ap_reward_normalise(struct ap_reward *r, const double *raw, int n);

/* (9): the scalar head of role on the last token of [context, x, y]. Borrows lm, role's parts. */
ap_status ap_reward_classifier(struct ap_reward *out, const struct ap_lm *lm,
                               const struct ap_role *role, int batch_tokens, struct ap_error *err);
/* (9a): β Σ_t log((π_ψ + ε)/(π_ref + ε)) over y's tokens and its end token. */
ap_status ap_reward_implicit(struct ap_reward *out, const struct ap_lm *lm,
                             const struct ap_role *policy, const struct ap_role *reference,
                             double beta, double floor, int batch_tokens, struct ap_error *err);
/* length: −|characters − length|/length; regex: number of matches > 0 ? 1 : 0; match: 1 when y
 * equals pattern. The last two have the range 1. */
ap_status ap_reward_rule(struct ap_reward *out, const char *rule, const char *pattern,
                         double length, struct ap_error *err);

/* A program that scores, docs/formats.md "A reward of your own". Started at once (so that one that
 * is not there is found early), kept between calls, started once more when it ends in a call, its
 * group killed at free. Copies command; borrows sink, which gets the first lines of its standard
 * error. What breaks the protocol, a silence over the timeout and a second end are AP_FORMAT or
 * AP_IO with the command's last words. Scores are as deterministic as the program is. */
ap_status ap_reward_command(struct ap_reward *out, const struct ap_command *command,
                            const struct ap_sink *sink, struct ap_error *err);

struct ap_reward_part {
    const struct ap_reward *reward; /* its gain and bias are applied first */
    double weight;                  /* 0: it is not asked */
    const char *name;               /* under rewards:, for messages; NULL for the only one */
};
/* Σ weight · score of 1 ≤ n ≤ AP_REWARDS_MAX parts; its range is known where those of all that are
 * asked are. Copies parts; what they point to is borrowed. */
ap_status ap_reward_sum(struct ap_reward *out, const struct ap_reward_part *parts, int n,
                        struct ap_error *err);

#endif
