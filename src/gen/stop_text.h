/* The text of one sample as it grows, with its stop strings, searched across the borders of tokens,
 * and how much of it stays whatever comes. Not here: end tokens (generator.c). */
#ifndef AP_GEN_STOP_TEXT_H
#define AP_GEN_STOP_TEXT_H

#include "alignpro/text.h"

#include "base/buffer.h"

struct ap_stop_text {
    struct ap_decoder *decoder; /* owned; NULL between samples */
    struct ap_buffer text;      /* what is final so far; the memory stays from sample to sample */
    char *const *stops;         /* borrowed */
    int n_stop;
    size_t longest;   /* bytes of the longest stop string */
    size_t n_settled; /* first bytes of text that stay: no stop string begins in them */
};

/* n_stop may be 0: then text is all that the decoder has given. */
ap_status ap_stop_text_begin(struct ap_stop_text *s, const struct ap_tokenizer *tokenizer,
                             char *const *stops, int n_stop, struct ap_error *err);
/* Add a token. *hit when a stop string stands in the text now; *at: bytes before the first one. */
ap_status ap_stop_text_push(struct ap_stop_text *s, int32_t id, bool *hit, size_t *at,
                            struct ap_error *err);
/* The sample ended otherwise: bytes that the decoder held back may complete a stop string. */
ap_status ap_stop_text_finish(struct ap_stop_text *s, bool *hit, size_t *at, struct ap_error *err);
void ap_stop_text_free(struct ap_stop_text *s);

#endif
