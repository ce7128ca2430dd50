/* A growable byte buffer with a ceiling. NUL-terminated one past len once anything was put in, so
 * that data can be read as a C string. A zeroed struct is an empty buffer. */
#ifndef AP_BASE_BUFFER_H
#define AP_BASE_BUFFER_H

#include "base/error.h"

#include <stddef.h>

struct ap_buffer {
    char *data;      /* owned; NULL while empty */
    size_t len, cap; /* bytes */
    size_t max;      /* most bytes it may hold; 0 stands for AP_BUFFER_MAX */
};

#define AP_BUFFER_MAX ((size_t)1 << 30)

/* Room for n more bytes; a ceiling passed is AP_LIMIT, and the contents stay as they were. */
ap_status ap_buffer_reserve(struct ap_buffer *b, size_t n, struct ap_error *err);
/* data must not point into b. */
ap_status ap_buffer_append(struct ap_buffer *b, const void *data, size_t n, struct ap_error *err);
ap_status ap_buffer_puts(struct ap_buffer *b, const char *text, struct ap_error *err);
ap_status ap_buffer_printf(struct ap_buffer *b, struct ap_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void ap_buffer_clear(struct ap_buffer *b); /* len = 0, memory kept */
void ap_buffer_free(struct ap_buffer *b);

#endif
