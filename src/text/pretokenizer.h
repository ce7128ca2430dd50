/* Pre-tokenisers of a tokenizer.json: what splits a text into the words that merges stay within. A
 * component is read as one to three steps; pieces of the text go through all of them. Kinds are
 * rows of the table in pretokenizer_load.c. Reference: the Rust library `tokenizers`. */
#ifndef AP_TEXT_PRETOKENIZER_H
#define AP_TEXT_PRETOKENIZER_H

#include "base/buffer.h"
#include "base/json.h"
#include "text/pattern.h"

#define AP_PRETOKENIZER_MAX 16

enum ap_split_behavior { /* what becomes of a match: a piece, nothing, a part of a neighbour */
                         AP_SPLIT_REMOVED,
                         AP_SPLIT_ISOLATED,
                         AP_SPLIT_MERGED_WITH_PREVIOUS,
                         AP_SPLIT_MERGED_WITH_NEXT,
                         AP_SPLIT_CONTIGUOUS,
};

enum ap_pretokenizer_kind {
    AP_PRETOKENIZER_SPLIT, /* pattern, behavior, invert */
    AP_PRETOKENIZER_MARK,  /* mark, replace, only_first */
    AP_PRETOKENIZER_CHUNK, /* length */
    AP_PRETOKENIZER_BYTES, /* into GPT-2's alphabet */
};

struct ap_pretokenizer_step {
    enum ap_pretokenizer_kind kind;
    struct ap_pattern pattern; /* owned */
    enum ap_split_behavior behavior;
    bool invert;     /* what lies between matches is the match */
    char mark[5];    /* one character, put before a piece that does not begin with it */
    bool prefix;     /* whether it is */
    bool only_first; /* before the first piece of a text only */
    bool replace;    /* and stands for every space */
    int64_t length;  /* characters */
};

struct ap_pretokenizer {
    struct ap_pretokenizer_step step[AP_PRETOKENIZER_MAX];
    int n;
    /* The last step was BYTES, and is not among them: words are bytes, and the model knows what
     * character each is. */
    bool byte_level;
};

/* From the "pre_tokenizer" of the tokenizer.json; NULL gives none. */
ap_status ap_pretokenizer_init(struct ap_pretokenizer *p, const json_t *config, const char *where,
                               struct ap_error *err);
void ap_pretokenizer_free(struct ap_pretokenizer *p);

struct ap_piece {
    uint32_t start, end; /* bytes */
};

struct ap_pieces {
    struct ap_piece *data; /* owned */
    size_t n, cap;
};

/* The words of a text, and the memory that splitting takes. Zero it before first use. */
struct ap_words {
    const char *text;        /* what the words are pieces of: the text itself, or in rewritten */
    struct ap_pieces pieces; /* the words; none is empty */
    struct ap_pieces next;
    struct ap_buffer rewritten[2];
    struct ap_searcher searcher;
};

void ap_words_free(struct ap_words *w);
/* text: n bytes of valid UTF-8, borrowed while the words are used. first: it stands at the
 * beginning of what is encoded. */
ap_status ap_words_split(struct ap_words *w, const struct ap_pretokenizer *p, const char *text,
                         size_t n, bool first, struct ap_error *err);

#endif
