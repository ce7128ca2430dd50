/* Look-up in the hash table of merges: shared by bpe.c, which reads it in its inner loop, and
 * bpe_load.c, which fills it. */
#ifndef AP_TEXT_MERGE_TABLE_H
#define AP_TEXT_MERGE_TABLE_H

#include "text/bpe.h"

/* The slot of the pair, or the empty one where it would go. */
static inline struct ap_merge *ap_merge_slot(const struct ap_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    uint32_t i = (uint32_t)(h >> 32) & bpe->mask;
    while (bpe->merge[i].left >= 0 && (bpe->merge[i].left != left || bpe->merge[i].right != right))
        i = (i + 1) & bpe->mask;
    return &bpe->merge[i];
}

/* NULL when the pair does not merge. */
static inline const struct ap_merge *ap_merge_find(const struct ap_bpe *bpe, int32_t left,
                                                   int32_t right)
{
    const struct ap_merge *m = ap_merge_slot(bpe, left, right);
    return m->left < 0 ? NULL : m;
}

#endif
