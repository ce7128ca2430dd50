/* Text with the origin of every byte. Entry points: ap_marked_segment, _append, _fill. */
#include "text/marked.h"

#include "base/utf8.h"

#include <string.h>

void ap_marked_clear(struct ap_marked *m)
{
    ap_buffer_clear(&m->text);
    ap_buffer_clear(&m->kind);
}

void ap_marked_free(struct ap_marked *m)
{
    ap_buffer_free(&m->text);
    ap_buffer_free(&m->kind);
}

ap_status ap_marked_fill(struct ap_marked *m, const char *text, size_t n, char kind,
                         struct ap_error *err)
{
    ap_status status = ap_buffer_append(&m->text, text, n, err);
    if (status == AP_OK)
        status = ap_buffer_reserve(&m->kind, n, err);
    if (status != AP_OK || n == 0)
        return status;
    memset(m->kind.data + m->kind.len, kind, n);
    m->kind.len += n;
    return AP_OK;
}

ap_status ap_marked_append(struct ap_marked *m, struct ap_span s, struct ap_error *err)
{
    ap_status status = ap_buffer_append(&m->text, s.text, s.n, err);
    return status == AP_OK ? ap_buffer_append(&m->kind, s.kind, s.n, err) : status;
}

ap_status ap_marked_segment(struct ap_marked *m, const struct ap_segment *segment,
                            struct ap_error *err)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    const char *text = segment->text;
    size_t start = 0, n = segment->n;
    char kind = (char)segment->kind;
    ap_status status = AP_OK;
    if (ap_utf8_valid(text, n))
        return ap_marked_fill(m, text, n, kind, err);
    for (size_t i = 0, used; i < n && status == AP_OK; i += used) {
        uint32_t cp;
        used = ap_utf8_decode(text + i, n - i, &cp);
        if (cp != AP_UTF8_REPLACEMENT)
            continue;
        status = ap_marked_fill(m, text + start, i - start, kind, err);
        if (status == AP_OK)
            status = ap_marked_fill(m, replacement, 3, kind, err);
        start = i + used;
    }
    return status == AP_OK ? ap_marked_fill(m, text + start, n - start, kind, err) : status;
}
