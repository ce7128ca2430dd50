/* The bounded growable buffer. Entry points: ap_buffer_append, _puts, _printf, _free. */
#include "base/buffer.h"

#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

ap_status ap_buffer_reserve(struct ap_buffer *b, size_t n, struct ap_error *err)
{
    size_t max = b->max ? b->max : AP_BUFFER_MAX, need;
    if (b->len > max || n > max - b->len)
        return ap_fail(
            err, AP_LIMIT,
            "text of %zu + %zu bytes is over the limit of %zu bytes; make the input shorter",
            b->len, n, max);
    if (__builtin_add_overflow(b->len, n + 1, &need)) /* + 1 for the NUL */
        return ap_fail(err, AP_LIMIT, "text of %zu + %zu bytes has no size", b->len, n);
    if (need <= b->cap)
        return AP_OK;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap = cap > max ? need : cap * 2;
    char *data = ap_realloc(b->data, b->data ? b->len + 1 : 0, cap, 1);
    if (!data)
        return ap_fail(err, AP_MEMORY, "no memory for a text of %zu bytes; free some", need);
    b->data = data;
    b->cap = cap;
    return AP_OK;
}

ap_status ap_buffer_append(struct ap_buffer *b, const void *data, size_t n, struct ap_error *err)
{
    ap_status status = ap_buffer_reserve(b, n, err);
    if (status != AP_OK)
        return status;
    if (n)
        memcpy(b->data + b->len, data, n);
    b->len += n;
    b->data[b->len] = '\0';
    return AP_OK;
}

ap_status ap_buffer_puts(struct ap_buffer *b, const char *text, struct ap_error *err)
{
    return ap_buffer_append(b, text, strlen(text), err);
}

ap_status ap_buffer_printf(struct ap_buffer *b, struct ap_error *err, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ap_status status = n < 0 ? ap_fail(err, AP_INVALID, "format '%s' cannot be written", fmt)
                             : ap_buffer_reserve(b, (size_t)n, err);
    if (status == AP_OK) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return status;
}

void ap_buffer_clear(struct ap_buffer *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = '\0';
}

void ap_buffer_free(struct ap_buffer *b)
{
    ap_free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}
