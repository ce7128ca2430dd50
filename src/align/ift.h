/* Intuitive fine-tuning, math.md (21): supervised training in which an answer's inputs are blended
 * with what the model itself would have written. */
#ifndef AP_ALIGN_IFT_H
#define AP_ALIGN_IFT_H

#include "align/lm.h"
#include "align/stage.h"
#include "store/settings.h"
#include "text/sequence.h"

struct ap_ift_options {
    const struct ap_lm *lm;
    struct ap_role role;             /* what trains */
    const struct ap_weights *frozen; /* whose embedding stands for the guesses: the role's start */
    const struct ap_sequence *sequences; /* n of them, borrowed */
    int n;
    const struct ap_ift_settings *settings;
};

/* ift.c. The result is left in the role; saving it is the caller's. */
ap_status ap_ift(struct ap_stage *stage, const struct ap_ift_options *options,
                 struct ap_error *err);

#endif
