/* The linear modules of a layer, as files and adapters name them. A fused one holds several of the
 * maps that a layer computes, their rows one after another. */
#ifndef AP_MODEL_MODULE_H
#define AP_MODEL_MODULE_H

#include "model/weights.h"

struct ap_module {
    const char *name, *parent;           /* "q_proj" of "self_attn" */
    const char *weight_keys, *bias_keys; /* of config.json, for messages */
    int first, n;                        /* maps first … first + n − 1 */
};

extern const struct ap_module ap_modules[AP_LORA_N];

/* Whether a layer of this model has the module. */
bool ap_module_is_there(const struct ap_config *c, int module);
bool ap_module_has_bias(const struct ap_config *c, int module);
/* The module that holds a map. */
int ap_module_of(const struct ap_config *c, int map);
/* The model's module of that name of n bytes, −1 when there is none. */
int ap_module_find(const struct ap_config *c, const char *name, size_t n);
/* "q_proj k_proj …" of the model, for messages; returns out. */
const char *ap_module_list(const struct ap_config *c, char *out, size_t size);

/* Rows and columns of a map's weight, and of a module's: all its maps. */
void ap_map_shape(const struct ap_config *c, int map, int *n_out, int *n_in);
void ap_module_shape(const struct ap_config *c, int module, int *n_out, int *n_in);
/* A part for each map of a module: of its weight, or of an adapter's B. */
void ap_module_add_parts(struct ap_param *p, const struct ap_config *c, int module);

#endif
