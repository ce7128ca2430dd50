/* What scores the policy's texts (policy.h): the target and the reward, or the reward alone. */
#ifndef AP_ALIGN_ENVIRONMENT_H
#define AP_ALIGN_ENVIRONMENT_H

#include "align/policy.h"
#include "align/prompts.h"
#include "align/reward.h"
#include "align/target.h"

struct ap_text_judge {
    const char *name;
    const struct ap_reward *reward; /* NULL: the world's true score, of prompts that have a meta */
};

struct ap_text_environment {
    const struct ap_prompts *prompts;
    struct ap_target *target; /* NULL: the policy's text is the answer (rlhf) */
    const struct ap_reward *reward;
    int n_answers;              /* K */
    double missing_end_penalty; /* math.md (15) */
    uint64_t seed;
    const char *stage;
    int64_t n_empty; /* rewrites that were empty: x was sent; counted over the run */
    int n_valid;     /* of prompts: the last so many, which training does not see */
    struct ap_text_judge judges[AP_VALID_JUDGES_MAX];
    const char *judge_names[AP_VALID_JUDGES_MAX]; /* filled by ap_text_environment */
    int n_judge, picks;                           /* the judge that says which step is best */
};

/* Borrows e. */
struct ap_environment ap_text_environment(struct ap_text_environment *e);

#endif
