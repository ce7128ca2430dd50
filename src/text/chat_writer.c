/* Collecting a chat's text and ids. Entry points: ap_chat_write_markup, _content, _token,
 * ap_chat_flush. */
#include "text/chat_writer.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

void ap_chat_writer_free(struct ap_chat_writer *w)
{
    ap_buffer_free(&w->text);
    ap_free(w->part);
    w->part = NULL;
    w->n = w->cap = 0;
}

static ap_status write_part(struct ap_chat_writer *w, const char *text, size_t n,
                            ap_segment_kind kind, struct ap_error *err)
{
    if (w->n == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 16;
        struct ap_chat_part *grown = ap_realloc(w->part, w->n, cap, sizeof(*grown));
        if (!grown)
            return ap_fail(err, AP_MEMORY, "no memory for a chat; free some");
        w->part = grown;
        w->cap = cap;
    }
    w->part[w->n] = (struct ap_chat_part){w->text.len, n, kind};
    ap_status status = ap_buffer_append(&w->text, text, n, err);
    if (status == AP_OK)
        w->n++;
    return status;
}

ap_status ap_chat_write_markup(struct ap_chat_writer *w, const char *text, struct ap_error *err)
{
    return write_part(w, text, strlen(text), AP_SEGMENT_MARKUP, err);
}

ap_status ap_chat_write_content(struct ap_chat_writer *w, const char *text, size_t n,
                                struct ap_error *err)
{
    return write_part(w, text, n, w->content_kind, err);
}

ap_status ap_chat_flush(struct ap_chat_writer *w, struct ap_error *err)
{
    ap_status status = AP_OK;
    if (w->ids && w->n) {
        struct ap_segment *segment = ap_calloc(w->n, sizeof(*segment));
        if (!segment)
            return ap_fail(err, AP_MEMORY, "no memory for a chat; free some");
        for (size_t i = 0; i < w->n; i++)
            segment[i] =
                (struct ap_segment){w->text.data + w->part[i].start, w->part[i].n, w->part[i].kind};
        status = ap_tokenizer_encode(w->t, segment, w->n, false, w->ids, err);
        ap_free(segment);
    }
    w->n = 0;
    return status;
}

ap_status ap_chat_write_token(struct ap_chat_writer *w, int32_t id, struct ap_error *err)
{
    ap_status status = ap_chat_flush(w, err);
    if (status == AP_OK)
        status = ap_buffer_puts(&w->text, ap_tokenizer_spelling(w->t, id), err);
    if (status == AP_OK && w->ids)
        status = ap_ids_push(w->ids, id, err);
    return status;
}
