/* What config.json and adapter_config.json share: values that must be there or must do nothing. */
#ifndef AP_MODEL_CONFIG_INNER_H
#define AP_MODEL_CONFIG_INNER_H

#include "base/json.h"
#include "model/config.h"

#define AP_CONFIG_FILE_MAX ((size_t)16 << 20) /* bytes of a JSON file in a model's folder */

#define AP_SIZE_MAX (1 << 24) /* of a vocabulary, a context: their products fit in 64 bits */

/* What a family's files say, and what transformers takes where they say nothing. */
struct ap_family_row {
    const char *model_type, *causal, *classifier; /* the last two: of "architectures" */
    int max_position, n_kv_head;                  /* n_kv_head 0: num_attention_heads */
    double rms_eps;
    int32_t bos, eos, pad; /* −1: none */
};

extern const struct ap_family_row ap_families[AP_FAMILY_N];

/* A key that must be absent, null, or do nothing. */
enum ap_inert { AP_INERT_NULL, AP_INERT_FALSE, AP_INERT_ZERO, AP_INERT_ONE, AP_INERT_EMPTY };

struct ap_inert_key {
    const char *key;
    enum ap_inert value;
};

/* The first key of the table with another value is AP_UNSUPPORTED, by key and value. */
ap_status ap_config_refuse(const json_t *o, const char *path, const struct ap_inert_key *keys,
                           size_t n, struct ap_error *err);
/* path: "key" is VALUE, expected EXPECTED: not implemented. */
ap_status ap_config_unsupported(const char *path, const char *key, const json_t *value,
                                const char *expected, struct ap_error *err);
/* Null, false, "", 0 or an empty list or object: a feature that is off. */
bool ap_config_is_off(const json_t *value);
/* An integer in [min, max] into *out; absent: as it is, or an error when required. */
ap_status ap_config_int(const json_t *o, const char *key, const char *path, bool required, int min,
                        int max, int *out, struct ap_error *err);
/* A number whose f32 is positive and finite. */
ap_status ap_config_positive(const json_t *o, const char *key, const char *path, bool required,
                             double *out, struct ap_error *err);
/* Into c, whose family and sizes are read: rope_parameters or rope_scaling; sliding windows. */
ap_status ap_config_read_rope(struct ap_config *c, const json_t *o, const char *path,
                              struct ap_error *err);
ap_status ap_config_read_windows(struct ap_config *c, const json_t *o, const char *path,
                                 struct ap_error *err);
/* Writes JSON text beside and renames it; o's reference is taken. NULL o is AP_MEMORY. */
ap_status ap_config_put(const char *dir, const char *file, json_t *o, struct ap_error *err);

#endif
