/* A report as it is told: lines of text and an object of JSON grow together, and one of them is
 * shown. What fails in the telling itself is kept, and the calls after it do nothing. */
#ifndef AP_PIPELINE_INSPECT_TELL_H
#define AP_PIPELINE_INSPECT_TELL_H

#include "pipeline/inspect_inner.h"
#include "pipeline/inspect_text.h"

struct ap_tell {
    const char *path;
    json_t *o; /* owned */
    struct ap_buffer text;
    ap_status status; /* of the telling */
    struct ap_error *err;
    struct ap_error first; /* the first problem found in what is told of */
    int n_problem;
};

/* shown: what the kind is called in the text. */
void ap_tell_begin(struct ap_tell *t, const char *path, const char *kind, const char *shown,
                   struct ap_error *err);
/* Appends to out and frees. AP_FORMAT, with the report in out, when problems were found. */
ap_status ap_tell_end(struct ap_tell *t, bool json, struct ap_buffer *out);

/* A line behind a label: text only. */
void ap_tell_line(struct ap_tell *t, const char *label, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same of any bytes, at most `lines` lines. */
void ap_tell_bytes(struct ap_tell *t, const char *label, const char *text, size_t n, int lines);
/* Text as it stands, for tables. Any bytes as a cell of it. */
void ap_tell_raw(struct ap_tell *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ap_tell_cell(struct ap_tell *t, const char *text, size_t n, int columns);
/* A key of the object: JSON only. The value's reference is taken; NULL is out of memory. */
void ap_tell_set(struct ap_tell *t, const char *key, json_t *value);
void ap_tell_text(struct ap_tell *t, const char *key, const char *text); /* NULL: null */
void ap_tell_count(struct ap_tell *t, const char *key, uint64_t n);
/* Something that is damaged or does not fit together, or (AP_UNSUPPORTED) that alignpro does not
 * implement: a line, and an element of "problems" or "unsupported". AP_MEMORY ends the telling. */
void ap_tell_problem(struct ap_tell *t, const struct ap_error *e);
/* Runs `status`'s error through ap_tell_problem; whether there was none. */
bool ap_tell_fine(struct ap_tell *t, ap_status status, const struct ap_error *e);

#endif
