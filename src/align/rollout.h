/* The rollout table: rows are rewrites (or, in rlhf, answers), columns describe their tokens.
 * Column t always describes predicting token t; rows hold real tokens only, so there is no mask to
 * forget. Groups are consecutive: rows g·n_each … (g+1)·n_each − 1 belong to prompt g. */
#ifndef AP_ALIGN_ROLLOUT_H
#define AP_ALIGN_ROLLOUT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ap_rollout_row {
    int32_t prompt;  /* index of the prompt in its environment; the loop fills it */
    uint64_t record; /* the prompt's own number; policy->sample */
    int sample;      /* which of the n_each; policy->sample */
    size_t first;    /* first token in the columns */
    int n;           /* tokens, the end token included */
    bool ended;      /* has an end token */
    int n_empty;     /* texts (15) that are empty: 0 or 1, of a chain up to its passes */
    int n_fault; /* times (15) that it has no end or no text: 0 or 1, of a chain up to its passes */
    char *text;  /* the rewrite as text, stripped; owned; NULL in a tabular world */
    char *answer;   /* the first of the K answers; owned; environment */
    int n_answer;   /* its tokens; environment; -1: not known */
    double score;   /* R̂: mean over the K answers, normalised; environment */
    double penalty; /* missing end or empty text (15); environment */
    double kl;      /* Σ_t k3_t against the reference; the loop */
};

struct ap_rollout {
    struct ap_rollout_row *rows;
    int n_row, max_row;
    int n_each;
    size_t n_token, max_token;
    int32_t *ids; /* sampled tokens; policy->sample */
    double
        *logp_old; /* under the policy that sampled, recomputed by the training forward; the loop */
    double *logp_ref;                  /* under ρ_sft; the loop */
    double *logp;                      /* under the policy as it is; the loop */
    double *entropy;                   /* the loop */
    double *value_old, *value;         /* critic; PPO */
    double *advantage, *returns;       /* PPO: per token */
    double *dlogp, *dentropy, *dvalue; /* of the loss; the loop */
    double *score_row;                 /* max_row numbers of scratch */
};

ap_status ap_rollout_init(struct ap_rollout *r, int max_row, size_t max_token,
                          struct ap_error *err);
/* Bytes of memory that such a table takes, texts aside. */
size_t ap_rollout_bytes(int max_row, size_t max_token);
/* Forget the rows, free their texts. */
void ap_rollout_clear(struct ap_rollout *r);
void ap_rollout_free(struct ap_rollout *r);
/* Append a row with its n ≥ 1 tokens; AP_LIMIT when it does not fit. text: taken over, also on
 * failure (may be NULL). */
ap_status ap_rollout_add(struct ap_rollout *r, int32_t prompt, uint64_t record, int sample,
                         const int32_t *ids, int n, bool ended, char *text, struct ap_error *err);

#endif
