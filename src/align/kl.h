/* Log-probabilities of whole texts, and how far a policy's are from its reference: math.md (13). */
#ifndef AP_ALIGN_KL_H
#define AP_ALIGN_KL_H

#include "align/lm.h"

struct ap_kl_item {
    const int32_t *prompt, *answer; /* borrowed */
    int n_prompt, n_answer;
};

/* sum[i] = Σ_t k3_t of an answer under the two roles at a temperature. Items longer than
 * batch_tokens get memory of their own size. */
ap_status ap_kl_sums(const struct ap_role *policy, const struct ap_role *reference,
                     const struct ap_kl_item *items, int n, double temperature, int batch_tokens,
                     double *sum, struct ap_error *err);

/* sum[i] = Σ_t log-probability of an answer's tokens under one role, nats. */
ap_status ap_logp_sums(const struct ap_role *role, const struct ap_kl_item *items, int n,
                       double temperature, int batch_tokens, double *sum, struct ap_error *err);

#endif
