/* Training a reward with a scalar head from preference pairs, math.md (9). The implicit reward (9a)
 * is trained by dpo.h. */
#ifndef AP_ALIGN_REWARD_TRAIN_H
#define AP_ALIGN_REWARD_TRAIN_H

#include "align/lm.h"
#include "align/pairs.h"
#include "align/stage.h"
#include "store/settings.h"

struct ap_reward_train_options {
    const struct ap_lm *lm;
    struct ap_role role;         /* what trains: a classifier */
    const struct ap_pair *pairs; /* n of them, borrowed */
    int n;
    const struct ap_pair *valid; /* for the accuracy at the end; may be NULL */
    int n_valid;
    const struct ap_reward_train_settings *settings;
};

/* reward_train.c. *accuracy: share of valid pairs in the right order (NaN without any). */
ap_status ap_reward_train(struct ap_stage *stage, const struct ap_reward_train_options *options,
                          double *accuracy, struct ap_error *err);

#endif
