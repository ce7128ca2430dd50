/* Training a reward from preference pairs: math.md (9) on a scalar head, or on the implicit reward
 * (9a). */
#ifndef AP_ALIGN_REWARD_TRAIN_H
#define AP_ALIGN_REWARD_TRAIN_H

#include "align/lm.h"
#include "align/stage.h"
#include "store/settings.h"
#include "text/sequence.h"

/* One pair: chats for a classifier; prompt ++ answer with the answer's tokens marked for the
 * implicit reward. */
struct ap_pair {
    struct ap_sequence chosen, rejected;
};
void ap_pairs_free(struct ap_pair *pairs, int n); /* the sequences and the array */

struct ap_reward_train_options {
    const struct ap_lm *lm;
    struct ap_role role;         /* what trains */
    struct ap_role reference;    /* implicit: its own start, frozen; weights NULL: a classifier */
    double beta;                 /* implicit */
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
