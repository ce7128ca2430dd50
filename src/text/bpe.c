/* Byte-pair encoding with a linked list of symbols and a heap of possible merges. Entry points:
 * ap_bpe_encode, ap_bpe_scratch_free. Loading is in bpe_load.c.
 *
 * A heap entry may be out of date: its symbols have been merged with others meanwhile. It is then
 * recognised by the pair that stands there now and dropped, which keeps the whole O(n log n). */
#include "text/bpe.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "text/merge_table.h"

#include <assert.h>
#include <string.h>

void ap_bpe_scratch_free(struct ap_bpe_scratch *scratch)
{
    ap_free(scratch->symbol);
    ap_free(scratch->heap);
    *scratch = (struct ap_bpe_scratch){0};
}

static ap_status no_memory(size_t n, struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "no memory to encode a word of %zu symbols; free some", n);
}

static ap_status add_symbol(struct ap_bpe_scratch *s, int32_t id, struct ap_error *err)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        struct ap_symbol *grown = ap_realloc(s->symbol, s->n, cap, sizeof(*grown));
        if (!grown)
            return no_memory(cap, err);
        s->symbol = grown;
        s->cap = cap;
    }
    int32_t at = (int32_t)s->n++;
    s->symbol[at] = (struct ap_symbol){id, at - 1, at + 1};
    return AP_OK;
}

/* The bytes of a character the vocabulary lacks; false when a byte has no token. */
static ap_status add_bytes(const struct ap_bpe *bpe, struct ap_bpe_scratch *s, const char *text,
                           size_t n, bool *done, struct ap_error *err)
{
    ap_status status = AP_OK;
    *done = bpe->byte_fallback;
    for (size_t i = 0; i < n && *done; i++)
        *done = bpe->byte[(unsigned char)text[i]] >= 0;
    for (size_t i = 0; i < n && *done && status == AP_OK; i++)
        status = add_symbol(s, bpe->byte[(unsigned char)text[i]], err);
    return status;
}

static int32_t character_id(const struct ap_bpe *bpe, const char *text, size_t n, uint32_t cp)
{
    return cp < AP_BPE_N_DIRECT ? bpe->direct[cp]
                                : ap_vocab_find(bpe->vocab, text, n, AP_VOCAB_MODEL);
}

/* An unknown token is held back while further unknown characters may fuse with it. Bytes of the
 * fallback do not release it, a quirk of the reference that is kept. */
static ap_status add_characters(const struct ap_bpe *bpe, struct ap_bpe_scratch *s,
                                const char *text, size_t n, struct ap_error *err)
{
    bool unknown = false, done;
    ap_status status = AP_OK;
    s->n = 0;
    for (size_t i = 0, used; i < n && status == AP_OK; i += used) {
        uint32_t cp;
        used = ap_utf8_decode(text + i, n - i, &cp);
        int32_t id = character_id(bpe, text + i, used, cp);
        if (id >= 0) {
            if (unknown)
                status = add_symbol(s, bpe->unk, err);
            unknown = false;
            if (status == AP_OK)
                status = add_symbol(s, id, err);
            continue;
        }
        status = add_bytes(bpe, s, text + i, used, &done, err);
        if (status != AP_OK || done || bpe->unk < 0)
            continue;
        if (unknown && !bpe->fuse_unk)
            status = add_symbol(s, bpe->unk, err);
        unknown = true;
    }
    if (status == AP_OK && unknown)
        status = add_symbol(s, bpe->unk, err);
    if (s->n)
        s->symbol[s->n - 1].next = -1;
    return status;
}

static ap_status heap_push(struct ap_bpe_scratch *s, struct ap_candidate c, struct ap_error *err)
{
    if (s->n_heap == s->heap_cap) {
        size_t cap = s->heap_cap ? 2 * s->heap_cap : 64;
        struct ap_candidate *grown = ap_realloc(s->heap, s->n_heap, cap, sizeof(*grown));
        if (!grown)
            return no_memory(cap, err);
        s->heap = grown;
        s->heap_cap = cap;
    }
    size_t i = s->n_heap++;
    for (; i > 0 && s->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
    return AP_OK;
}

static struct ap_candidate heap_pop(struct ap_bpe_scratch *s)
{
    struct ap_candidate top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->n_heap)
            break;
        if (child + 1 < s->n_heap && s->heap[child + 1].key < s->heap[child].key)
            child++;
        if (last.key <= s->heap[child].key)
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* Put the merge of the symbol at `at` with its right neighbour into the heap, if there is one. */
static ap_status offer(const struct ap_bpe *bpe, struct ap_bpe_scratch *s, int32_t at,
                       struct ap_error *err)
{
    if (at < 0 || s->symbol[at].next < 0)
        return AP_OK;
    const struct ap_merge *m =
        ap_merge_find(bpe, s->symbol[at].id, s->symbol[s->symbol[at].next].id);
    if (!m)
        return AP_OK;
    return heap_push(s, (struct ap_candidate){(uint64_t)m->rank << 32 | (uint32_t)at, m->id}, err);
}

/* The symbol at `at` takes its right neighbour in and becomes id. */
static void join(struct ap_bpe_scratch *s, int32_t at, int32_t id)
{
    struct ap_symbol *left = &s->symbol[at], *right = &s->symbol[left->next];
    left->id = id;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0)
        s->symbol[left->next].prev = at;
}

static ap_status merge_all(const struct ap_bpe *bpe, struct ap_bpe_scratch *s, struct ap_error *err)
{
    ap_status status = AP_OK;
    s->n_heap = 0;
    for (size_t i = 0; i + 1 < s->n && status == AP_OK; i++)
        status = offer(bpe, s, (int32_t)i, err);
    while (s->n_heap && status == AP_OK) {
        struct ap_candidate top = heap_pop(s);
        int32_t at = (int32_t)(uint32_t)top.key;
        const struct ap_symbol *left = &s->symbol[at];
        if (left->id < 0 || left->next < 0)
            continue;
        const struct ap_merge *m = ap_merge_find(bpe, left->id, s->symbol[left->next].id);
        if (!m || m->id != top.id)
            continue;
        join(s, at, top.id);
        status = offer(bpe, s, s->symbol[at].prev, err);
        if (status == AP_OK)
            status = offer(bpe, s, at, err);
    }
    return status;
}

static bool is_mark(const char *text, size_t n)
{
    return n >= 3 && !memcmp(text, "\xE2\x96\x81", 3);
}

size_t ap_bpe_part(const char *word, size_t n, size_t start)
{
    size_t i = start;
    while (is_mark(word + i, n - i))
        i += 3;
    for (; i < n; i++) {
        const char *lead = memchr(word + i, 0xE2, n - i);
        if (!lead)
            return n;
        i = (size_t)(lead - word);
        if (is_mark(lead, n - i) && i > start)
            return i;
    }
    return n;
}

ap_status ap_bpe_encode(const struct ap_bpe *bpe, struct ap_bpe_scratch *scratch, const char *word,
                        size_t n, struct ap_ids *ids, struct ap_error *err)
{
    assert(n <= AP_BUFFER_MAX);
    if (n == 0)
        return AP_OK;
    if (bpe->ignore_merges) {
        int32_t id = ap_vocab_find(bpe->vocab, word, n, AP_VOCAB_MODEL);
        if (id >= 0)
            return ap_ids_push(ids, id, err);
    }
    ap_status status = add_characters(bpe, scratch, word, n, err);
    if (status == AP_OK)
        status = merge_all(bpe, scratch, err);
    for (int32_t i = scratch->n ? 0 : -1; i >= 0 && status == AP_OK; i = scratch->symbol[i].next)
        status = ap_ids_push(ids, scratch->symbol[i].id, err);
    return status;
}
