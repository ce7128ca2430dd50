/* Supervised training: math.md (8). Serves pretraining of a model from random weights and the
 * prompter's SFT. */
#ifndef AP_ALIGN_SFT_H
#define AP_ALIGN_SFT_H

#include "align/lm.h"
#include "align/stage.h"
#include "store/settings.h"
#include "text/sequence.h"

struct ap_sft_options {
    const struct ap_lm *lm;
    struct ap_role role; /* what trains: the adapter where there is one, else the weights */
    const struct ap_sequence *sequences; /* n of them, borrowed */
    int n;
    int epochs, batch; /* sequences a step */
    const struct ap_optimiser_settings *optimiser;
};

/* sft.c. The result (PEFT's folder or a Hugging Face folder) is left in the role; saving it is the
 * caller's. */
ap_status ap_sft(struct ap_stage *stage, const struct ap_sft_options *options,
                 struct ap_error *err);

/* Sequences of a step: batch `step` of epoch permutations keyed by (seed, stage, epoch). order[n]
 * is kept between calls with *epoch (−1 at first). Returns how many sequences the step has; *first
 * is its place in order. */
int ap_epoch_batch(int32_t *order, int n, int batch, int64_t step, uint64_t seed, const char *stage,
                   int64_t *epoch, int *first);

#endif
