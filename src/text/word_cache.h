/* Ids of words met before: what most of a text is made of. A direct-mapped table: a word that meets
 * another in its place replaces it. Results never depend on it. */
#ifndef AP_TEXT_WORD_CACHE_H
#define AP_TEXT_WORD_CACHE_H

#include <stddef.h>
#include <stdint.h>

#define AP_WORD_CACHE_BYTES 24 /* the longest word kept, and the most ids of one */
#define AP_WORD_CACHE_IDS 9

struct ap_word_cache_entry { /* 64 bytes, a cache line */
    int32_t ids[AP_WORD_CACHE_IDS];
    unsigned char n, n_ids; /* bytes; 0 for an empty place */
    char word[AP_WORD_CACHE_BYTES];
};

/* The place of a word of 1 to AP_WORD_CACHE_BYTES bytes in a table of 1 << bits. */
uint32_t ap_word_cache_place(const char *word, size_t n, int bits);

#endif
