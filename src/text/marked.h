/* Text that knows of every byte whether it came from a chat template (markup) or from outside. */
#ifndef AP_TEXT_MARKED_H
#define AP_TEXT_MARKED_H

#include "alignpro/text.h"
#include "base/buffer.h"

/* Owned: text and, as long, an ap_segment_kind in each byte of kind. */
struct ap_marked {
    struct ap_buffer text, kind;
};

/* A piece of one; borrowed. */
struct ap_span {
    const char *text, *kind;
    size_t n;
};

static inline struct ap_span ap_marked_span(const struct ap_marked *m)
{
    return (struct ap_span){m->text.data, m->kind.data, m->text.len};
}

static inline struct ap_span ap_span_slice(struct ap_span s, size_t start, size_t end)
{
    return (struct ap_span){s.text + start, s.kind + start, end - start};
}

/* Bytes of one kind. */
ap_status ap_marked_fill(struct ap_marked *m, const char *text, size_t n, char kind,
                         struct ap_error *err);
ap_status ap_marked_append(struct ap_marked *m, struct ap_span s, struct ap_error *err);
/* A segment, its invalid UTF-8 replaced by U+FFFD. */
ap_status ap_marked_segment(struct ap_marked *m, const struct ap_segment *segment,
                            struct ap_error *err);
void ap_marked_clear(struct ap_marked *m);
void ap_marked_free(struct ap_marked *m);

#endif
