/* Which split and which half a prompt is in, and the examples of a split. Entry points:
 * ap_split_of, ap_half_of, ap_dataset_select. */
#include "text/dataset.h"

#include "base/memory.h"

ap_split ap_split_of(uint64_t hash, double train, double valid)
{
    double u = (double)(hash >> 11) * 0x1p-53;
    if (u < train)
        return AP_SPLIT_TRAIN;
    return u < train + valid ? AP_SPLIT_VALID : AP_SPLIT_TEST;
}

/* A bit of the product that the split, which is the top of the hash itself, does not decide. */
int ap_half_of(uint64_t hash)
{
    hash = (hash ^ hash >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return (int)(hash >> 32 & 1);
}

/* Hashes seen so far; open addressing, 2n slots at least. */
struct seen {
    uint64_t *slot; /* hash, or 0 for empty */
    size_t mask;
    bool zero; /* the hash 0 itself */
};

static bool seen_before(struct seen *s, uint64_t hash)
{
    if (hash == 0) {
        bool before = s->zero;
        s->zero = true;
        return before;
    }
    size_t i = hash & s->mask;
    while (s->slot[i] && s->slot[i] != hash)
        i = (i + 1) & s->mask;
    bool before = s->slot[i] == hash;
    s->slot[i] = hash;
    return before;
}

ap_status ap_dataset_select(const struct ap_dataset *d, ap_split split, double train, double valid,
                            bool unique_prompts, int32_t **index, size_t *n, struct ap_error *err)
{
    size_t n_slots = 16;
    while (n_slots < 2 * d->n)
        n_slots *= 2;
    struct seen seen = {ap_calloc(n_slots, sizeof(uint64_t)), n_slots - 1, false};
    *index = ap_calloc(d->n, sizeof(**index));
    *n = 0;
    if (!seen.slot || !*index) {
        ap_free(seen.slot);
        ap_free(*index);
        *index = NULL;
        return ap_fail(err, AP_MEMORY, "no memory to select among %zu examples", d->n);
    }
    for (size_t i = 0; i < d->n; i++) {
        uint64_t hash = d->examples[i].hash;
        if (split != AP_SPLIT_ALL && ap_split_of(hash, train, valid) != split)
            continue;
        if (unique_prompts && seen_before(&seen, hash))
            continue;
        (*index)[(*n)++] = (int32_t)i;
    }
    ap_free(seen.slot);
    return AP_OK;
}
