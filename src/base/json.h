/* jansson with the settings that the field's files need: duplicate keys refused, \u0000 allowed,
 * integers over 64 bits read as reals, depth and size bounded; and typed getters whose messages
 * name the file and the key. */
#ifndef AP_BASE_JSON_H
#define AP_BASE_JSON_H

#include "base/buffer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The text must be one array or object, with nothing after it; a leading byte order mark is
 * skipped. where: what the text is, for messages ("config.json", "data.jsonl:17"). *out is a new
 * reference. */
ap_status ap_json_parse(const char *text, size_t n, const char *where, json_t **out,
                        struct ap_error *err);
ap_status ap_json_load(const char *path, size_t max, json_t **out, struct ap_error *err);

/* Getters on an object. A missing or null key leaves *out as it is, and is an error only when
 * `required`. An integer is fine for a real, a real is never an integer. A value of another type or
 * outside [min, max] is an error. */
ap_status ap_json_int(const json_t *o, const char *key, const char *where, bool required,
                      int64_t min, int64_t max, int64_t *out, struct ap_error *err);
ap_status ap_json_real(const json_t *o, const char *key, const char *where, bool required,
                       double *out, struct ap_error *err);
ap_status ap_json_bool(const json_t *o, const char *key, const char *where, bool required,
                       bool *out, struct ap_error *err);
/* *out borrows from o; *n_bytes (may be NULL) is its length, which may cross NUL bytes; a text
 * with a NUL is refused where n_bytes is NULL. */
ap_status ap_json_text(const json_t *o, const char *key, const char *where, bool required,
                       const char **out, size_t *n_bytes, struct ap_error *err);

#endif
