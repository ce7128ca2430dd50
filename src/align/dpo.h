/* Direct preference optimisation, math.md (20), which is also how the implicit reward (9a) is
 * trained. */
#ifndef AP_ALIGN_DPO_H
#define AP_ALIGN_DPO_H

#include "align/lm.h"
#include "align/loss.h"
#include "align/pairs.h"
#include "align/stage.h"
#include "store/settings.h"

struct ap_dpo_options {
    const struct ap_lm *lm;
    struct ap_role role;      /* what trains */
    struct ap_role reference; /* its own start, frozen */
    struct ap_dpo_weights weights;
    const struct ap_pair *pairs; /* n of them, borrowed */
    int n;
    const struct ap_pair *valid; /* for the accuracy at the end; may be NULL */
    int n_valid;
    int epochs, batch; /* pairs a step */
    const struct ap_optimiser_settings *optimiser;
};

/* dpo.c. *accuracy: share of valid pairs in the right order (NaN without any). */
ap_status ap_dpo(struct ap_stage *stage, const struct ap_dpo_options *options, double *accuracy,
                 struct ap_error *err);

#endif
