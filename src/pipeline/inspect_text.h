/* Text from files on a terminal of 100 columns: escaped, wrapped, cut. */
#ifndef AP_PIPELINE_INSPECT_TEXT_H
#define AP_PIPELINE_INSPECT_TEXT_H

#include "base/buffer.h"

#include <jansson.h>
#include <stdint.h>

#define AP_INSPECT_COLUMNS 100
#define AP_INSPECT_INDENT 14 /* where values begin */
#define AP_INSPECT_LINES 3

/* n bytes of any text behind a label, which begins in column `margin`; at most `lines` lines, and
 * what is cut off is said. Control characters and the marks that turn the direction of writing are
 * escaped. */
ap_status ap_inspect_put(struct ap_buffer *out, int margin, const char *label, const char *text,
                         size_t n, int lines, struct ap_error *err);
/* The same text in one piece, cut with "..." where it is wider than `columns`. */
ap_status ap_inspect_put_cell(struct ap_buffer *out, const char *text, size_t n, int columns,
                              struct ap_error *err);
/* A JSON string of any bytes, those that are not UTF-8 as U+FFFD, cut with "..." after `most`;
 * NULL when out of memory. */
json_t *ap_inspect_string(const char *text, size_t n, size_t most);
/* "1,234,567", "1.2 MiB"; return out. */
const char *ap_inspect_number(uint64_t n, char out[32]);
const char *ap_inspect_size(uint64_t bytes, char out[32]);

#endif
