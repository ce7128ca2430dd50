/* Hashing of words. Entry point: ap_word_cache_place. */
#include "text/word_cache.h"

#include <string.h>

static uint64_t load(const char *text, size_t n)
{
    uint64_t value = 0;
    memcpy(&value, text, n < 8 ? n : 8);
    return value;
}

uint32_t ap_word_cache_place(const char *word, size_t n, int bits)
{
    uint64_t h = load(word, n) * 0x9E3779B97F4A7C15u + n;
    if (n > 8)
        h = (h ^ h >> 29) * 0xBF58476D1CE4E5B9u + load(word + n - 8, 8);
    if (n > 16)
        h = (h ^ h >> 31) * 0x94D049BB133111EBu + load(word + 8, 8);
    return (uint32_t)((h ^ h >> 32) * 0xD6E8FEB86659FD93u >> (64 - bits));
}
