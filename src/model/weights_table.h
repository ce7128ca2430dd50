/* The table of a model's weights, before any values are in it. */
#ifndef AP_MODEL_WEIGHTS_TABLE_H
#define AP_MODEL_WEIGHTS_TABLE_H

#include "model/weights.h"

/* Rows with names, shapes and packings; the rope tables for `context` positions (0:
 * ap_config_context).
 */
ap_status ap_weights_new(struct ap_weights **out, const struct ap_config *config, int context,
                         ap_dtype dtype, struct ap_error *err);
/* What its rope divides frequency i of the plain one by; longrope's short factor. */
float ap_rope_slowing(const struct ap_config *c, int i);
/* What longrope multiplies cosines and sines with, whichever factors are in use; 1 elsewhere. */
double ap_rope_attention(const struct ap_config *c);
/* cos and sin of position · frequency, [context, n_freq], rounded where transformers rounds. */
void ap_rope_fill(float *cos_table, float *sin_table, const struct ap_config *config, int context);

#endif
