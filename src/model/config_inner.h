/* What config.json and adapter_config.json share: values that must be there or must do nothing. */
#ifndef AP_MODEL_CONFIG_INNER_H
#define AP_MODEL_CONFIG_INNER_H

#include "base/json.h"

#define AP_CONFIG_FILE_MAX ((size_t)16 << 20) /* bytes of a JSON file in a model's folder */

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
/* Writes JSON text beside and renames it; o's reference is taken. NULL o is AP_MEMORY. */
ap_status ap_config_put(const char *dir, const char *file, json_t *o, struct ap_error *err);

#endif
