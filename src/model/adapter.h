/* What an adapter is to be, module by module, and making its table: for adapter*.c. */
#ifndef AP_MODEL_ADAPTER_H
#define AP_MODEL_ADAPTER_H

#include "base/json.h"
#include "model/weights.h"

#define AP_LORA_RANK_MAX 4096
#define AP_MODULE_NAME_MAX 96

struct ap_adapter_plan {
    int r; /* r and lora_alpha of the file, which its patterns depart from */
    double alpha;
    bool rslora, with_head;
    double dropout;
    int n;          /* n_layer·AP_LORA_N, the length of both: */
    int *ranks;     /* 0 where the module is not adapted */
    double *alphas; /* read where a rank is not 0 */
};

/* ---- adapter_plan.c ---- */

/* "model.layers.0.self_attn.q_proj"; returns out. */
const char *ap_lora_module(char out[AP_MODULE_NAME_MAX], int layer, int target);
/* Plans are freed by the caller, also after an error. */
/* Room for a base of this config, nothing adapted. */
ap_status ap_adapter_plan_init(struct ap_adapter_plan *plan, const struct ap_config *config,
                               struct ap_error *err);
/* One rank and alpha for all targets. */
ap_status ap_adapter_plan_even(struct ap_adapter_plan *plan, const struct ap_config *config,
                               const struct ap_adapter_settings *s, bool with_head,
                               struct ap_error *err);
/* What an adapter is. */
ap_status ap_adapter_plan_of(struct ap_adapter_plan *plan, const struct ap_adapter *a,
                             struct ap_error *err);
void ap_adapter_plan_free(struct ap_adapter_plan *plan);

/* ---- adapter_match.c ---- */

/* ranks and alphas by PEFT's own rules: target_modules, exclude_modules, layers_to_transform,
 * layers_pattern, rank_pattern, alpha_pattern of the object o. r and alpha must be in the plan.
 * path: of the file, for messages. Source: peft 0.21, tuners_utils.check_target_module_exists,
 * utils.other.get_pattern_key. */
ap_status ap_adapter_match(struct ap_adapter_plan *plan, const json_t *o, const char *path,
                           const struct ap_config *base, struct ap_error *err);

/* ---- adapter_config.c ---- */

/* What of an adapter_config.json is refused whatever its base is. */
ap_status ap_adapter_refuse(const json_t *o, const char *path, struct ap_error *err);
/* The text of an adapter_config.json for a base of this config, as a plan. */
ap_status ap_adapter_plan_read(struct ap_adapter_plan *plan, const json_t *o, const char *path,
                               const struct ap_config *base, struct ap_error *err);
/* The same the other way; NULL when out of memory. base_name NULL: none. */
json_t *ap_adapter_config(const struct ap_adapter *a, const char *base_name);

/* ---- adapter.c ---- */

/* Rows with names, shapes and packings, their values zero. */
ap_status ap_adapter_make(struct ap_adapter **out, const struct ap_config *config,
                          const struct ap_adapter_plan *plan, struct ap_error *err);

/* The same without memory for values. */
ap_status ap_adapter_outline(struct ap_adapter **out, const struct ap_config *config,
                             const struct ap_adapter_plan *plan, struct ap_error *err);

/* ---- adapter_file.c ---- */

/* What ap_adapter_load finds in the folder's configuration and in the header of its file, every
 * tensor checked, without a value: not to be computed with. */
ap_status ap_adapter_look(struct ap_adapter **out, const struct ap_config *base, const char *dir,
                          struct ap_error *err);

#endif
