/* A JSON text as a tape of its values' places: the whole text is checked, nothing is copied, and
 * what is not asked for stays the bytes that it was. For bodies that are passed on with a few
 * strings exchanged. Not here: values as values (base/json.h).
 *
 *     {"a": [1, "x"], "b": null}          0 object ─ first ─► 1 array "a" ─ next ─► 3 null "b"
 *                                                             └ first ─► 2 string
 */
#ifndef AP_SERVE_JSON_TAPE_H
#define AP_SERVE_JSON_TAPE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ap_tape_kind {
    AP_TAPE_OBJECT,
    AP_TAPE_ARRAY,
    AP_TAPE_STRING,
    AP_TAPE_NUMBER,
    AP_TAPE_TRUE,
    AP_TAPE_FALSE,
    AP_TAPE_NULL,
} ap_tape_kind;

struct ap_tape_node {
    uint32_t start, end;         /* bytes of the value, a string's quotes among them */
    uint32_t key_start, key_end; /* of its key, with the quotes; 0, 0 for an element */
    uint32_t first, next;        /* child and sibling; 0: none */
    uint32_t n_child;            /* of an array or object, also those without a node */
    ap_tape_kind kind;
    bool escaped, key_escaped; /* the string, the key, holds a backslash */
};

struct ap_tape_limits {
    int depth;     /* of arrays and objects in each other */
    size_t fields; /* values with a node */
    size_t string; /* bytes of one string as it stands there */
};

struct ap_tape {
    const char *text; /* borrowed */
    size_t n;
    struct ap_tape_node *nodes; /* owned; the first is the text's own value */
    size_t n_node, cap;
};

/* One value with nothing but white space around it, RFC 8259, in UTF-8. Numbers, true, false and
 * null that are elements of an array are checked and get no node. AP_FORMAT says where it is not
 * JSON, AP_LIMIT which limit is passed. */
ap_status ap_tape_read(struct ap_tape *t, const char *text, size_t n,
                       const struct ap_tape_limits *limits, struct ap_error *err);
void ap_tape_free(struct ap_tape *t);

/* The member of that name; 0: there is none, or `object` is no object. Two of them are AP_FORMAT.
 */
ap_status ap_tape_find(const struct ap_tape *t, uint32_t object, const char *key, uint32_t *node,
                       struct ap_error *err);
/* A string's text, allocated. AP_FORMAT for a NUL or half a surrogate pair in it. */
ap_status ap_tape_text(const struct ap_tape *t, uint32_t node, char **text, struct ap_error *err);
/* Whether it is a string and just this one. */
bool ap_tape_is(const struct ap_tape *t, uint32_t node, const char *text);

#endif
