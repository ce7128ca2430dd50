/* Pre-tokenisers of a tokenizer.json: what splits a text into the words that merges stay within.
 * Kinds: none (the text is one word) and ByteLevel, with GPT-2's regular expression. A further kind
 * is a row in the table of pretokenizer.c. Reference: the Rust library `tokenizers`. */
#ifndef AP_TEXT_PRETOKENIZER_H
#define AP_TEXT_PRETOKENIZER_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buffer.h"
#include "base/json.h"

struct ap_pretokenizer {
    bool byte_level;       /* words are spelled in GPT-2's alphabet */
    bool add_prefix_space; /* a text that does not begin with one gets a space */
    pcre2_code *split;     /* owned; NULL: a text is one word */
};

/* From the "pre_tokenizer" of the tokenizer.json; NULL gives none. */
ap_status ap_pretokenizer_init(struct ap_pretokenizer *p, const json_t *config, const char *where,
                               struct ap_error *err);
void ap_pretokenizer_free(struct ap_pretokenizer *p);

/* Walks the words of one text after another. */
struct ap_words {
    const struct ap_pretokenizer *pre;
    struct ap_buffer prefixed, spelled; /* owned working memory */
    pcre2_match_data *match;            /* owned */
    const char *text;
    size_t n, from;
};

ap_status ap_words_init(struct ap_words *w, const struct ap_pretokenizer *p, struct ap_error *err);
void ap_words_free(struct ap_words *w);
/* text: valid UTF-8, borrowed until the next begin. */
ap_status ap_words_begin(struct ap_words *w, const char *text, size_t n, struct ap_error *err);
/* *word is borrowed until the next call; *more is false at the end. */
ap_status ap_words_next(struct ap_words *w, const char **word, size_t *n, bool *more,
                        struct ap_error *err);

#endif
