/* What a chat template writes into: text, the segments that it is made of, and ids. Templates
 * differ only in the calls they make. */
#ifndef AP_TEXT_CHAT_WRITER_H
#define AP_TEXT_CHAT_WRITER_H

#include "alignpro/text.h"
#include "base/buffer.h"

struct ap_chat_part {
    size_t start, n; /* bytes of the writer's text */
    ap_segment_kind kind;
};

struct ap_chat_writer {
    const struct ap_tokenizer *t; /* borrowed */
    ap_segment_kind content_kind; /* of message contents */
    struct ap_buffer text;        /* all of it */
    struct ap_ids *ids;           /* borrowed; NULL: text only */
    struct ap_chat_part *part;    /* not yet encoded */
    size_t n, cap;
};

void ap_chat_writer_free(struct ap_chat_writer *w);
ap_status ap_chat_write_markup(struct ap_chat_writer *w, const char *text, struct ap_error *err);
ap_status ap_chat_write_content(struct ap_chat_writer *w, const char *text, size_t n,
                                struct ap_error *err);
/* Encode what was written since the last flush, as one text. */
ap_status ap_chat_flush(struct ap_chat_writer *w, struct ap_error *err);
/* Flush, then put a token: its spelling into the text, its id behind the ids. */
ap_status ap_chat_write_token(struct ap_chat_writer *w, int32_t id, struct ap_error *err);

#endif
