/* The vocabulary: token ids and their spellings, both ways. Not here: merges (bpe.h), the search
 * for added tokens in a text (added.h). */
#ifndef AP_TEXT_VOCAB_H
#define AP_TEXT_VOCAB_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AP_VOCAB_PRESENT = 1,
    AP_VOCAB_MODEL = 2,    /* in the model's own vocabulary, so that BPE may produce it */
    AP_VOCAB_ADDED = 4,    /* in added_tokens */
    AP_VOCAB_SPECIAL = 8,  /* added and special */
    AP_VOCAB_SKIPPED = 16, /* left out of a decoding that skips special tokens */
};

struct ap_vocab_entry {
    uint32_t start, n;             /* the spelling in ap_vocab.bytes, which has a NUL after it */
    uint32_t shown_start, n_shown; /* what the decoder is given: the spelling, or its normal form */
    uint8_t flags;                 /* AP_VOCAB_… */
};

struct ap_vocab {
    struct ap_buffer bytes;
    struct ap_vocab_entry *entry; /* n of them, by id */
    int32_t n;                    /* ids */
    int32_t *slot;                /* open addressing by spelling: an id, or −1; mask + 1 slots */
    uint32_t mask;
};

/* Room for the ids [0, n), all absent; n is the most there can be, until ap_vocab_trim. */
ap_status ap_vocab_init(struct ap_vocab *v, size_t n, const char *where, struct ap_error *err);
void ap_vocab_free(struct ap_vocab *v);
/* Give id a spelling. An id out of range or taken, and a spelling that stands already, are
 * AP_FORMAT. */
ap_status ap_vocab_put(struct ap_vocab *v, int64_t id, const char *text, size_t n, uint8_t flags,
                       const char *where, struct ap_error *err);
/* There are n tokens, no more: a higher id is AP_FORMAT. */
ap_status ap_vocab_trim(struct ap_vocab *v, size_t n, const char *where, struct ap_error *err);
/* Id of a spelling among the entries that have one of the flags; −1 when there is none. */
int32_t ap_vocab_find(const struct ap_vocab *v, const char *text, size_t n, uint8_t flags);
/* The spelling, and what the decoder is given. Borrowed; id must be in range. */
const char *ap_vocab_text(const struct ap_vocab *v, int32_t id, size_t *n);
const char *ap_vocab_shown(const struct ap_vocab *v, int32_t id, size_t *n);
/* An added token that is matched in normalised text is decoded from its normal form. */
ap_status ap_vocab_show(struct ap_vocab *v, int32_t id, const char *text, size_t n,
                        struct ap_error *err);
/* All tokens are in: set AP_VOCAB_SKIPPED. The reference skips what the decoder would be given,
 * when that is the spelling of a special token; so one with another normal form is never skipped.
 */
void ap_vocab_finish(struct ap_vocab *v);

#endif
