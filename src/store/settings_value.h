/* Values of single settings: from text into struct ap_settings, back into YAML, copied and freed.
 * Not here: where the text came from (recipe_read.c, recipe_override.c). */
#ifndef AP_STORE_SETTINGS_VALUE_H
#define AP_STORE_SETTINGS_VALUE_H

#include "store/settings_table.h"

/* A value as it was written: one text, or a list of them. */
struct ap_raw {
    bool list;
    int n;
    char *text[AP_LIST_MAX]; /* owned, n of them */
    bool quoted[AP_LIST_MAX];
};
/* Copy of n bytes; AP_LIMIT for too many elements, AP_FORMAT for a NUL or bytes that are not UTF-8.
 */
ap_status ap_raw_add(struct ap_raw *raw, const char *text, size_t n, bool quoted,
                     struct ap_error *err);
void ap_raw_free(struct ap_raw *raw);
/* The unquoted word alone. */
bool ap_raw_is(const struct ap_raw *raw, const char *word);

/* owner: the struct that the row's group describes. The message says key, what was found and what
 * is expected; the caller puts the place before it. On failure the old value stands. */
ap_status ap_setting_put(const struct ap_setting *row, void *owner, const char *key,
                         const struct ap_raw *raw, struct ap_error *err);
/* Whether a value is a list; whether it, or an element, is a text of no fixed choice. */
bool ap_setting_is_list(ap_setting_type type);
bool ap_setting_is_text(ap_setting_type type);
/* The value that the table gives; into a zeroed or filled owner. */
ap_status ap_setting_default(const struct ap_setting *row, void *owner, struct ap_error *err);
ap_status ap_setting_copy(const struct ap_setting *row, void *to, const void *from,
                          struct ap_error *err);
/* As YAML on one line. */
ap_status ap_setting_write(const struct ap_setting *row, const void *owner, struct ap_buffer *out,
                           struct ap_error *err);
/* "a number from 0 to 1, or a percentage" */
void ap_setting_expected(const struct ap_setting *row, char *out, size_t size);
/* Frees what the value owns and zeroes it. */
void ap_setting_clear(const struct ap_setting *row, void *owner);
/* Room for the value of a text row: the old one is freed. text is copied. */
ap_status ap_setting_set_text(char **slot, const char *text, struct ap_error *err);

#endif
