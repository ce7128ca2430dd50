/* The narrow waist between algorithms and models: log-probabilities (and values) out, gradients of
 * the loss with respect to them in. Implemented by the language model (policy_lm.c), by several
 * policies one after another (policy_chain.c) and, for ground truth, by tables over an enumerable
 * world (tests). And the environment that scores what a policy
 * wrote. */
#ifndef AP_ALIGN_POLICY_H
#define AP_ALIGN_POLICY_H

#include "align/rollout.h"
#include "store/settings.h"

typedef enum ap_policy_role { AP_POLICY, AP_REFERENCE } ap_policy_role;

struct ap_policy_update {
    double grad_norm, value_grad_norm;
    double lr;
    bool skipped;  /* a gradient was not finite; nothing changed */
    char bad[160]; /* the tensor's name when skipped */
};

struct ap_policy {
    void *self;
    /* n_each samples for each of the n prompts at temperature; streams keyed by (seed, stage, step,
     * record, sample). Clears r, fills rows in order with ids, ended, text. */
    ap_status (*sample)(void *self, const int32_t *prompts, int n, int n_each, int64_t step,
                        struct ap_rollout *r, struct ap_error *err);
    /* How many of the given rows, from the first on, one forward can hold (≥ 1). */
    int (*fit)(void *self, const struct ap_rollout *r, const int32_t *rows, int n_rows);
    /* logp and entropy (NULL: skip) of every token of the given rows, written at the rows' places
     * in the columns. For AP_POLICY the forward stays for the backward that may follow. */
    ap_status (*forward)(void *self, ap_policy_role role, const struct ap_rollout *r,
                         const int32_t *rows, int n_rows, double *logp, double *entropy,
                         struct ap_error *err);
    /* dlogp, dentropy (NULL: none) are columns; adds to the policy's gradients. Rows as in the last
     * forward. */
    ap_status (*backward)(void *self, const struct ap_rollout *r, const int32_t *rows, int n_rows,
                          const double *dlogp, const double *dentropy, struct ap_error *err);
    /* The critic: V_t from the state that predicts token t. NULL where there is none. The loops
     * call forward → backward → value → value_backward, so that critic and policy may share one
     * tape. */
    ap_status (*value)(void *self, const struct ap_rollout *r, const int32_t *rows, int n_rows,
                       double *value, struct ap_error *err);
    ap_status (*value_backward)(void *self, const struct ap_rollout *r, const int32_t *rows,
                                int n_rows, const double *dvalue, struct ap_error *err);
    /* Whether the gradients that wait for an update are finite; bad, NULL or of 160 bytes: the
     * name of the first tensor whose are not. And to forget them. */
    bool (*finite)(void *self, char *bad);
    void (*drop)(void *self);
    /* One optimiser step for the policy and, when it was used, the critic; gradients are zero
     * afterwards. update: number of the update since the stage began, from 0, skipped ones counted:
     * step·epochs·minibatches + … ; the schedule is as long as steps·epochs·minibatches. */
    void (*update)(void *self, int64_t update, struct ap_policy_update *out);
    /* Everything that training changes, into / from a checkpoint's folder. */
    ap_status (*save)(void *self, const char *folder, struct ap_error *err);
    ap_status (*load)(void *self, const char *folder, struct ap_error *err);
    /* Largest |log ratio| that step 0 may show between policy and reference, and between sampler
     * and training forward: 1e-5 in f32, 2e-2 in bf16 (math.md (13)). */
    double tolerance;
    int max_tokens; /* most tokens that sample writes into one row, the end token included */
};

#define AP_VALID_JUDGES_MAX (AP_REWARDS_MAX + 2) /* the rewards, their sum, the world */

struct ap_environment {
    void *self;
    int32_t n_prompt;
    /* x of a prompt as run.db shows it, borrowed; NULL: none is known (a tabular world). */
    const char *(*prompt_text)(void *self, int32_t prompt);
    /* Fill score, penalty and answer of every row. An answer left NULL says that the row's text is
     * itself the answer (rlhf). */
    ap_status (*score)(void *self, int64_t step, struct ap_rollout *r, struct ap_error *err);
    /* Prompts that training never sees, behind the n_prompt that it does; 0: none. */
    int32_t n_valid;
    const char *const *judges; /* names of those who score on them, the reward first; `picks` says
                                  which step is best */
    int n_judge, picks;
    /* One answer to every row, and what each judge says of it: out[judge·n_row + row]. */
    ap_status (*judge)(void *self, int64_t step, struct ap_rollout *r, double *out,
                       struct ap_error *err);
};

#endif
