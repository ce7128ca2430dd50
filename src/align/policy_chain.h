/* Sequential prompters behind the narrow waist (policy.h): x → x'₁ → x'₂ …, one policy a pass, each
 * given what the pass before wrote. To a loop the chain is one policy: a row's tokens are those of
 * its trained passes one after another, so that log ρ(x'|x), its KL and its gradient are sums over
 * the passes, and the rows of a loop need know nothing of it.
 *
 *   row of the loop     [ tokens of pass 1 | tokens of pass 2 | … ]
 *   rows of pass k      the same places in the same columns
 *
 * Passes at the head may be frozen: they are sampled anew in every step, once a group, so that the
 * n rewrites that a baseline compares begin at one text; their tokens are in no row. So a chain
 * whose last pass alone is trained is how prompters learn in turn, and one with none frozen how
 * they learn jointly. A chain of one trained pass is that pass, bit for bit. */
#ifndef AP_ALIGN_POLICY_CHAIN_H
#define AP_ALIGN_POLICY_CHAIN_H

#include "align/policy.h"

/* What a pass is given in the place of a prompt. */
struct ap_pass_input {
    int32_t prompt;     /* the environment's: whose x it was, and whose context holds */
    uint64_t record;    /* key the pass's random streams, */
    int sample;         /* from this sample on */
    const char *text;   /* what is handed on: the last text that a pass wrote; NULL: none did, x */
    const int32_t *ids; /* the pass before: its n tokens */
    int n;
};

struct ap_chain_pass {
    struct ap_policy policy; /* borrowed; of a frozen pass only sample and max_tokens are used */
    /* Let prompts 0 … n−1 of the policy be these, until the next call; not of the first pass. What
     * the inputs point to is the chain's until then. */
    ap_status (*see)(void *self, const struct ap_pass_input *inputs, int n, struct ap_error *err);
    void *self; /* of see */
};

struct ap_policy_chain;
/* Copies the passes. The first n_frozen (0 … n_pass − 1) are frozen; of the others all have a
 * critic or none. max_row: rows of the largest rollout. */
ap_status ap_policy_chain_open(struct ap_policy_chain **out, const struct ap_chain_pass *passes,
                               int n_pass, int n_frozen, int max_row, struct ap_error *err);
void ap_policy_chain_close(struct ap_policy_chain *c);
/* Checkpoints: the first trained pass in the folder itself, the others in FOLDER/pass-N. */
struct ap_policy ap_policy_chain(struct ap_policy_chain *c);
/* Bytes that the chain itself takes for a pass of that many tokens at most. */
size_t ap_policy_chain_bytes(int max_row, int max_tokens);

#endif
