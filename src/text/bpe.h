/* Byte-pair encoding of one word: characters, byte fallback and unknowns, then merges by rank.
 * Not here: what a word is (pretokenize.h). Reference: the Rust library `tokenizers`, models/bpe.
 */
#ifndef AP_TEXT_BPE_H
#define AP_TEXT_BPE_H

#include "alignpro/text.h"
#include "text/model_text.h"
#include "text/vocab.h"

#define AP_BPE_N_DIRECT 512 /* characters below it are looked up without hashing */

/* left ++ right becomes id; a smaller rank goes first. */
struct ap_merge {
    int32_t left, right; /* left −1: an empty slot */
    uint32_t rank;
    int32_t id;
};

struct ap_bpe {
    const struct ap_vocab *vocab; /* borrowed */
    struct ap_merge *merge;       /* open addressing by (left, right); mask + 1 slots */
    uint32_t mask;
    int32_t byte[256];               /* ids of <0x00> … <0xFF>, −1 where there is none */
    int32_t direct[AP_BPE_N_DIRECT]; /* ids of single characters, −1 where there is none */
    int32_t unk;                     /* −1: unknown characters vanish, as in the reference */
    bool byte_fallback, fuse_unk, ignore_merges;
    bool parts; /* nothing is ever joined before a U+2581 that another character precedes */
};

/* One character or merged token of the word, linked to its neighbours. */
struct ap_symbol {
    int32_t id;         /* −1 once merged into its left neighbour */
    int32_t prev, next; /* −1 at the ends */
};

struct ap_candidate {
    uint64_t key; /* rank, then position: the order of merging */
    int32_t id;
};

/* Working memory, kept between words. Zero it before first use. */
struct ap_bpe_scratch {
    struct ap_symbol *symbol;
    size_t n, cap;
    struct ap_candidate *heap;
    size_t n_heap, heap_cap;
};

/* From the "model" object of a tokenizer.json, whose merges are read from its text; `vocab` must
 * hold the model's tokens already. */
ap_status ap_bpe_init(struct ap_bpe *bpe, const struct ap_vocab *vocab, const json_t *model,
                      struct ap_model_text *text, const char *where, struct ap_error *err);
void ap_bpe_free(struct ap_bpe *bpe);

/* Append the ids of a word of valid UTF-8: O(n log n) in its length. */
ap_status ap_bpe_encode(const struct ap_bpe *bpe, struct ap_bpe_scratch *scratch, const char *word,
                        size_t n, struct ap_ids *ids, struct ap_error *err);
/* End of the part of a word that begins at `start`: the next U+2581 behind another character, or
 * the word's end. Where bpe->parts is set, the ids of a word are those of its parts. */
size_t ap_bpe_part(const char *word, size_t n, size_t start);
void ap_bpe_scratch_free(struct ap_bpe_scratch *scratch);

#endif
