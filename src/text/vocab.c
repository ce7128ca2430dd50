/* Token ids and spellings: an array by id and a hash table by spelling. Entry points:
 * ap_vocab_init, ap_vocab_put, ap_vocab_find, ap_vocab_text, ap_vocab_shown. */
#include "text/vocab.h"

#include "base/memory.h"
#include "base/random.h"

#include <assert.h>
#include <string.h>

ap_status ap_vocab_init(struct ap_vocab *v, size_t n, const char *where, struct ap_error *err)
{
    size_t n_slots = 16;
    *v = (struct ap_vocab){0};
    if (n > (size_t)1 << 28)
        return ap_fail(err, AP_LIMIT, "%s: %zu tokens are over the limit of %d", where, n, 1 << 28);
    while (n_slots < 2 * n)
        n_slots *= 2;
    v->entry = ap_calloc(n, sizeof(*v->entry));
    v->slot = ap_calloc(n_slots, sizeof(*v->slot));
    if (!v->entry || !v->slot)
        return ap_fail(err, AP_MEMORY, "%s: no memory for a vocabulary of %zu", where, n);
    memset(v->slot, 0xFF, n_slots * sizeof(*v->slot));
    v->mask = (uint32_t)(n_slots - 1);
    v->n = (int32_t)n;
    return AP_OK;
}

void ap_vocab_free(struct ap_vocab *v)
{
    ap_buffer_free(&v->bytes);
    ap_free(v->entry);
    ap_free(v->slot);
    *v = (struct ap_vocab){0};
}

const char *ap_vocab_text(const struct ap_vocab *v, int32_t id, size_t *n)
{
    assert(id >= 0 && id < v->n);
    *n = v->entry[id].n;
    return *n ? v->bytes.data + v->entry[id].start : "";
}

const char *ap_vocab_shown(const struct ap_vocab *v, int32_t id, size_t *n)
{
    assert(id >= 0 && id < v->n);
    *n = v->entry[id].n_shown;
    return *n ? v->bytes.data + v->entry[id].shown_start : "";
}

/* The slot that holds the spelling, or the empty one where it would go. */
static uint32_t find_slot(const struct ap_vocab *v, const char *text, size_t n)
{
    uint32_t i = (uint32_t)ap_hash(text, n) & v->mask;
    while (v->slot[i] >= 0) {
        const struct ap_vocab_entry *e = &v->entry[v->slot[i]];
        if (e->n == n && (n == 0 || !memcmp(v->bytes.data + e->start, text, n)))
            return i;
        i = (i + 1) & v->mask;
    }
    return i;
}

int32_t ap_vocab_find(const struct ap_vocab *v, const char *text, size_t n, uint8_t flags)
{
    if (!v->slot)
        return -1;
    int32_t id = v->slot[find_slot(v, text, n)];
    return id >= 0 && (v->entry[id].flags & flags) ? id : -1;
}

static ap_status keep(struct ap_vocab *v, const char *text, size_t n, uint32_t *start,
                      struct ap_error *err)
{
    *start = (uint32_t)v->bytes.len; /* a buffer's ceiling is far below 2^32 */
    ap_status status = ap_buffer_append(&v->bytes, text, n, err);
    return status == AP_OK ? ap_buffer_append(&v->bytes, "", 1, err) : status;
}

static ap_status out_of_range(const char *text, int64_t id, int32_t n, const char *where,
                              struct ap_error *err)
{
    return ap_fail(
        err, AP_FORMAT,
        "%s: token \"%.64s\" has id %lld, expected 0 to %d (there are at most %d tokens, and ids "
        "have no gaps)",
        where, text, (long long)id, n - 1, n);
}

ap_status ap_vocab_trim(struct ap_vocab *v, size_t n, const char *where, struct ap_error *err)
{
    size_t n_text;
    for (int32_t id = (int32_t)n; id < v->n; id++)
        if (v->entry[id].flags)
            return out_of_range(ap_vocab_text(v, id, &n_text), id, (int32_t)n, where, err);
    v->n = (int32_t)n;
    return AP_OK;
}

ap_status ap_vocab_put(struct ap_vocab *v, int64_t id, const char *text, size_t n, uint8_t flags,
                       const char *where, struct ap_error *err)
{
    size_t n_other;
    if (id < 0 || id >= v->n)
        return out_of_range(text, id, v->n, where, err);
    struct ap_vocab_entry *e = &v->entry[id];
    if (e->flags)
        return ap_fail(err, AP_FORMAT,
                       "%s: tokens \"%.64s\" and \"%.64s\" share the id %lld; each "
                       "needs its own",
                       where, ap_vocab_text(v, (int32_t)id, &n_other), text, (long long)id);
    uint32_t slot = find_slot(v, text, n);
    if (v->slot[slot] >= 0)
        return ap_fail(err, AP_FORMAT, "%s: token \"%.64s\" has the ids %d and %lld; keep one",
                       where, text, v->slot[slot], (long long)id);
    uint32_t start = 0;
    ap_status status = keep(v, text, n, &start, err);
    if (status != AP_OK)
        return status;
    *e = (struct ap_vocab_entry){start, (uint32_t)n, start, (uint32_t)n, flags | AP_VOCAB_PRESENT};
    v->slot[slot] = (int32_t)id;
    return AP_OK;
}

ap_status ap_vocab_show(struct ap_vocab *v, int32_t id, const char *text, size_t n,
                        struct ap_error *err)
{
    uint32_t start = 0;
    ap_status status = keep(v, text, n, &start, err);
    if (status != AP_OK)
        return status;
    v->entry[id].shown_start = start;
    v->entry[id].n_shown = (uint32_t)n;
    return AP_OK;
}

void ap_vocab_finish(struct ap_vocab *v)
{
    for (int32_t id = 0; id < v->n; id++) {
        size_t n;
        const char *shown = ap_vocab_shown(v, id, &n);
        if (ap_vocab_find(v, shown, n, AP_VOCAB_SPECIAL) >= 0)
            v->entry[id].flags |= AP_VOCAB_SKIPPED;
    }
}
