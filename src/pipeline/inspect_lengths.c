/* A histogram of lengths (inspect_lengths.h).
 *
 *     bucket   0 1 2 ... 65535 | 64 for each doubling after that
 */
#include "pipeline/inspect_lengths.h"

#include "base/memory.h"

#include <math.h>

#define EXACT ((uint64_t)65536)
#define EXACT_BITS 16
#define PER_DOUBLING_BITS 6
#define N_BUCKETS (EXACT + ((64 - EXACT_BITS) << PER_DOUBLING_BITS))

static uint64_t bucket_of(uint64_t length)
{
    if (length < EXACT)
        return length;
    int bits = 63 - __builtin_clzll(length), shift = bits - PER_DOUBLING_BITS;
    return EXACT + ((uint64_t)(bits - EXACT_BITS) << PER_DOUBLING_BITS) +
           ((length >> shift) & ((1 << PER_DOUBLING_BITS) - 1));
}

/* The least length of a bucket. */
static uint64_t bucket_start(uint64_t bucket)
{
    if (bucket < EXACT)
        return bucket;
    uint64_t above = bucket - EXACT, part = above & ((1 << PER_DOUBLING_BITS) - 1);
    int bits = EXACT_BITS + (int)(above >> PER_DOUBLING_BITS);
    return ((UINT64_C(1) << PER_DOUBLING_BITS) + part) << (bits - PER_DOUBLING_BITS);
}

ap_status ap_lengths_add(struct ap_lengths *l, uint64_t length, struct ap_error *err)
{
    if (!l->count && !(l->count = ap_calloc(N_BUCKETS, sizeof(*l->count))))
        return ap_fail(err, AP_MEMORY, "no memory to count lengths; free some");
    l->min = l->n == 0 || length < l->min ? length : l->min;
    l->max = length > l->max ? length : l->max;
    l->n++;
    l->count[bucket_of(length)]++;
    return AP_OK;
}

uint64_t ap_lengths_quantile(const struct ap_lengths *l, double q)
{
    uint64_t seen = 0, wanted = (uint64_t)ceil(q * (double)l->n);
    for (uint64_t i = 0; l->n && i < N_BUCKETS; i++) {
        seen += l->count[i];
        if (seen >= wanted && seen > 0)
            return bucket_start(i);
    }
    return 0;
}

void ap_lengths_free(struct ap_lengths *l)
{
    ap_free(l->count);
    *l = (struct ap_lengths){0};
}
