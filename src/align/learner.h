/* A role that trains: its tape and its optimiser. What trains is the adapter where the role has
 * one, else the weights. */
#ifndef AP_ALIGN_LEARNER_H
#define AP_ALIGN_LEARNER_H

#include "align/lm.h"
#include "align/stage.h"
#include "train/optimiser.h"

struct ap_learner {
    struct ap_role role;   /* parts borrowed */
    const char *base_name; /* borrowed: written into adapter_config.json */
    struct ap_tape *tape;
    struct ap_optimiser *optimiser;
};

/* What its tape keeps for backward. */
enum ap_tape_kind ap_learner_tape(const struct ap_optimiser_settings *settings);
/* Marks what trains. max_row: most tokens of one forward; max_rank: of any adapter that shares the
 * tape. */
ap_status ap_learner_open(struct ap_learner *l, const struct ap_lm *lm, const struct ap_role *role,
                          const struct ap_optimiser_settings *settings, int64_t n_steps,
                          int max_row, int max_rank, struct ap_error *err);
void ap_learner_close(struct ap_learner *l);

/* The masks of a supervised step; math.md (10) has none in RL. Records are the packed sequences'.
 */
struct ap_dropout ap_learner_dropout(const struct ap_stage *stage, int64_t step,
                                     const uint64_t *record);
void ap_learner_zero_grad(struct ap_learner *l);
/* One optimiser step; none, and update->bad says why, when the loss or a gradient is not finite. */
void ap_learner_step(struct ap_learner *l, int64_t step, double loss, struct ap_update *update);
/* The same with metrics loss, grad_norm and lr, or a bad step (ap_stage_bad). */
ap_status ap_learner_update(struct ap_learner *l, struct ap_stage *stage, int64_t step, double loss,
                            struct ap_error *err);

/* The trained part alone: PEFT's folder, or a Hugging Face folder. */
ap_status ap_learner_save_result(const struct ap_learner *l, const char *folder,
                                 struct ap_error *err);
/* With the optimiser's state, as FOLDER/NAME/ and FOLDER/NAME-optimiser.safetensors; and back, bit
 * for bit. */
ap_status ap_learner_save(const struct ap_learner *l, const char *folder, const char *name,
                          struct ap_error *err);
ap_status ap_learner_load(struct ap_learner *l, const char *folder, const char *name,
                          struct ap_error *err);

/* The larger adapter rank of two roles. */
int ap_role_max_rank(const struct ap_role *a, const struct ap_role *b);

#endif
