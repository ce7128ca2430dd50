/* Finding added tokens in a text: leftmost, longest, from a byte trie. Two sets exist in a
 * tokenizer: one for the raw text, one for the normalised. Not here: their ids and flags
 * (vocab.h). Reference: the Rust library `tokenizers`, added_vocabulary.rs. */
#ifndef AP_TEXT_ADDED_H
#define AP_TEXT_ADDED_H

#include "text/marked.h"
#include "text/pattern.h"

#include <stdint.h>

#define AP_ADDED_TEXT_MAX 256 /* bytes of one added token: bounds the cost of a search */

struct ap_added_token {
    int32_t id;
    bool special;        /* recognised in markup only */
    bool lstrip, rstrip; /* takes the white space before, after it in */
    bool single_word;    /* not beside a character of a word */
};

/* Children of a node are a list; the first level is a table by byte. */
struct ap_added_node {
    int32_t child, sibling; /* nodes, −1 for none */
    int32_t token;          /* index of the token that ends here, −1 for none */
    unsigned char byte;
};

struct ap_added {
    struct ap_added_node *node;
    size_t n_nodes, nodes_cap;
    struct ap_added_token *token;
    size_t n_tokens, tokens_cap;
    int32_t root[256];
    struct ap_pattern word; /* a character of a word; there where a token is single_word */
};

void ap_added_init(struct ap_added *a);
void ap_added_free(struct ap_added *a);
/* The later of two tokens with one text stands, as in the reference. */
ap_status ap_added_put(struct ap_added *a, const char *text, size_t n, struct ap_added_token token,
                       struct ap_error *err);

/* What a text falls into: pieces between tokens (id −1), and tokens. */
struct ap_added_piece {
    struct ap_span span;
    int32_t id;
};

struct ap_added_scan {
    const struct ap_added *added;
    struct ap_searcher *searcher;
    struct ap_span text;
    size_t from;   /* search goes on here */
    size_t given;  /* handed out up to here */
    bool has_held; /* a token was found behind the piece handed out last */
    struct ap_added_piece held;
};

void ap_added_begin(struct ap_added_scan *scan, const struct ap_added *added,
                    struct ap_searcher *searcher, struct ap_span text);
/* *more is false at the end. No piece is empty. */
ap_status ap_added_next(struct ap_added_scan *scan, struct ap_added_piece *piece, bool *more,
                        struct ap_error *err);

#endif
