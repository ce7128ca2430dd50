/* AdamW over the trainable rows of parameter tables, with schedule, global norm clip and the guard
 * against NaN and Inf. Not here: losses, loops. */
#ifndef AP_TRAIN_OPTIMISER_H
#define AP_TRAIN_OPTIMISER_H

#include "model/weights.h"

struct ap_optimiser; /* m and v of every row with a gradient; step count */

/* tables: borrowed; only rows with grad take part. n_steps: length of the schedule. */
ap_status ap_optimiser_open(struct ap_optimiser **out, const struct ap_ops *ops,
                            struct ap_param_table *const *tables, int n_tables,
                            const struct ap_optimiser_settings *settings, int64_t n_steps,
                            struct ap_error *err);
/* Bytes of memory that the state of such rows takes once they train. */
size_t ap_optimiser_bytes(const struct ap_param_table *table);
void ap_optimiser_close(struct ap_optimiser *o);

/* lr at a step (from 0): warm-up is linear from lr/(warm-up steps), then the schedule, which
 * reaches lr·lr_end at the last step. A schedule of another name is constant (recipes are checked
 * before). */
double ap_schedule_lr(const struct ap_optimiser_settings *settings, int64_t step, int64_t n_steps);

struct ap_update {
    double grad_norm; /* before clipping */
    double lr;
    bool skipped; /* a gradient was not finite: nothing changed but the gradients, now zero */
    char bad[AP_NAME_MAX]; /* the tensor's name when skipped */
};

/* Clip as torch's clip_grad_norm_ does, AdamW, zero the gradients, pack changed weights again. A
 * skipped step does not count for Adam's bias correction. Allocates nothing. */
void ap_optimiser_step(struct ap_optimiser *o, int64_t step, struct ap_update *out);

/* Whether every gradient is finite; if not, the tensor's name. For a caller whose two optimisers
 * step both or not at all (ap_params_zero_grad then drops the gradients). */
bool ap_optimiser_finite(const struct ap_optimiser *o, char bad[AP_NAME_MAX]);

/* FOLDER/NAME.safetensors (name "optimiser", say): exact state, so that resume is bit-identical.
 * load refuses a file of other rows or shapes. */
ap_status ap_optimiser_save(const struct ap_optimiser *o, const char *folder, const char *name,
                            struct ap_error *err);
ap_status ap_optimiser_load(struct ap_optimiser *o, const char *folder, const char *name,
                            struct ap_error *err);

#endif
