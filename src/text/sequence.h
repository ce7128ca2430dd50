/* Token sequences with a mask of trained tokens, made from chats. math.md (8), (9), (15a). */
#ifndef AP_TEXT_SEQUENCE_H
#define AP_TEXT_SEQUENCE_H

#include "alignpro/text.h"
#include "text/dataset.h"

/* ids[0..n), trained[t] = 1 where predicting ids[t] enters the loss (never t = 0). */
struct ap_sequence {
    int32_t *ids;     /* owned */
    uint8_t *trained; /* owned, n of them */
    int32_t n;
    int32_t n_prompt; /* ids before the first trained token */
};

void ap_sequence_free(struct ap_sequence *s);

typedef enum ap_too_long { AP_TOO_LONG_SKIP, AP_TOO_LONG_TRUNCATE, AP_TOO_LONG_ERROR } ap_too_long;

/* context ++ [user x] with generation prompt, then the answer and its end token; answer NULL gives
 * a prompt alone. Longer than max_tokens: *fits = false under skip; under truncate the beginning of
 * x's sequence is kept whole and tokens are cut from the end of the answer, or from the front of
 * the prompt (a BOS there stays) when there is no answer, and *fits = false when not one token of
 * an answer would be left; under error AP_LIMIT that says tokens and limit. Where *fits is false, s
 * is empty. */
ap_status ap_sequence_make(struct ap_sequence *s, const struct ap_template *tpl,
                           const struct ap_message *context, size_t n_context, const char *x,
                           const char *answer, int32_t max_tokens, ap_too_long too_long, bool *fits,
                           struct ap_error *err);

/* The whole chat for a reward model: [context, user x, assistant y], no generation prompt; nothing
 * is marked trained. Truncation cuts from the end. math.md (9). */
ap_status ap_sequence_chat(struct ap_sequence *s, const struct ap_template *tpl,
                           const struct ap_message *context, size_t n_context, const char *x,
                           const char *y, int32_t max_tokens, ap_too_long too_long, bool *fits,
                           struct ap_error *err);

/* x wrapped in the meta-prompt: every "{prompt}" in it stands for x; a meta-prompt without it goes
 * before x on a line of its own; "" leaves x as it is. Allocated (ap_free); NULL when out of
 * memory. */
char *ap_meta_prompt_apply(const char *meta_prompt, const char *x);
/* The default: asks for a rewrite and never for an answer. */
extern const char ap_meta_prompt_default[];

#endif
