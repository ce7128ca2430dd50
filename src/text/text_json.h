/* Small helpers for reading a tokenizer.json: sub-objects, the "type" of a component, refusal of
 * what is not implemented. Not here: parsing (base/json.h). */
#ifndef AP_TEXT_TEXT_JSON_H
#define AP_TEXT_TEXT_JSON_H

#include "base/error.h"
#include "base/json.h"

#include <stddef.h>

/* *out is o[key] (borrowed), an object; NULL where it is absent or null. */
ap_status ap_text_json_object(const json_t *o, const char *key, const char *where, bool required,
                              const json_t **out, struct ap_error *err);
/* The same for an array. */
ap_status ap_text_json_array(const json_t *o, const char *key, const char *where, bool required,
                             const json_t **out, struct ap_error *err);
/* {"String": TEXT} at o[key]; {"Regex": …} is AP_UNSUPPORTED, an empty text AP_FORMAT. Borrowed. */
ap_status ap_text_json_pattern(const json_t *o, const char *key, const char *where,
                               const char **out, size_t *n, struct ap_error *err);
/* Row of the table `names` that o["type"] names; AP_UNSUPPORTED names the known ones. */
ap_status ap_text_json_kind(const json_t *o, const char *where, const char *const *names,
                            size_t n_names, size_t *kind, struct ap_error *err);
/* Every key of o must be among the n known ones; another is AP_UNSUPPORTED by name. */
ap_status ap_text_json_known(const json_t *o, const char *where, const char *const *known, size_t n,
                             struct ap_error *err);

#endif
