/* A language model behind the narrow waist (policy.h): the prompter in align, the target itself in
 * rlhf. */
#ifndef AP_ALIGN_POLICY_LM_H
#define AP_ALIGN_POLICY_LM_H

#include "align/policy.h"
#include "align/prompts.h"
#include "train/optimiser.h"

struct ap_lm_policy_options {
    const struct ap_lm *lm;           /* text of all roles; borrowed */
    const struct ap_prompts *prompts; /* borrowed; indices of `sample` go into it */
    struct ap_role policy;    /* what trains: its adapter when it has one, else its weights */
    struct ap_role reference; /* ρ_sft: frozen */
    struct ap_role
        critic; /* PPO: frozen weights and an adapter with a zero head; weights NULL: none */
    const struct ap_rl_settings *settings;
    int64_t n_updates; /* optimiser steps of the whole stage: the schedule's length */
    int max_prompt; /* most tokens of a prompt where prompts change from step to step; 0: as now */
    bool frozen;    /* only samples: has no gradients, reference and settings are not looked at */
    int max_new_tokens, n_slot;
    double temperature; /* of the sampler and of every log-probability */
    uint64_t seed;
    const char *stage;
};

struct ap_lm_policy;
/* Copies options; roles and prompts are borrowed until close. Marks the policy's and the critic's
 * trainable parts as such. */
ap_status ap_lm_policy_open(struct ap_lm_policy **out, const struct ap_lm_policy_options *options,
                            struct ap_error *err);
void ap_lm_policy_close(struct ap_lm_policy *p);
struct ap_policy ap_lm_policy(struct ap_lm_policy *p);

#endif
