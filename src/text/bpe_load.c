/* The "model" object of a tokenizer.json made into tables. Entry points: ap_bpe_init, ap_bpe_free.
 */
#include "text/bpe.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "text/merge_table.h"
#include "text/text_json.h"

#include <string.h>

void ap_bpe_free(struct ap_bpe *bpe)
{
    ap_free(bpe->merge);
    *bpe = (struct ap_bpe){0};
}

/* A key that must be absent, null or "": it would change the result and is not implemented. */
static ap_status refuse_affix(const json_t *model, const char *key, const char *where,
                              struct ap_error *err)
{
    const char *text = NULL;
    size_t n = 0;
    ap_status status = ap_json_text(model, key, where, false, &text, &n, err);
    if (status == AP_OK && n > 0)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: \"%s\" is \"%.64s\", expected null; not implemented", where, key, text);
    return status;
}

static ap_status read_flags(struct ap_bpe *bpe, const json_t *model, const char *where,
                            struct ap_error *err)
{
    static const char *const known[] = {
        "type",     "dropout",       "unk_token",     "continuing_subword_prefix",
        "fuse_unk", "byte_fallback", "ignore_merges", "end_of_word_suffix",
        "vocab",    "merges",
    };
    ap_status status;
    double dropout = 0;
    const char *unk = NULL;
    size_t n = 0;
    AP_TRY(ap_text_json_known(model, where, known, AP_LEN(known), err));
    AP_TRY(ap_json_bool(model, "byte_fallback", where, false, &bpe->byte_fallback, err));
    AP_TRY(ap_json_bool(model, "fuse_unk", where, false, &bpe->fuse_unk, err));
    AP_TRY(ap_json_bool(model, "ignore_merges", where, false, &bpe->ignore_merges, err));
    AP_TRY(refuse_affix(model, "continuing_subword_prefix", where, err));
    AP_TRY(refuse_affix(model, "end_of_word_suffix", where, err));
    AP_TRY(ap_json_real(model, "dropout", where, false, &dropout, err));
    if (dropout != 0)
        return ap_fail(err, AP_UNSUPPORTED, "%s: \"dropout\" is %g, expected null; not implemented",
                       where, dropout);
    AP_TRY(ap_json_text(model, "unk_token", where, false, &unk, &n, err));
    bpe->unk = unk ? ap_vocab_find(bpe->vocab, unk, n, AP_VOCAB_MODEL) : -1;
    if (unk && bpe->unk < 0)
        return ap_fail(err, AP_FORMAT, "%s: \"unk_token\" \"%.64s\" is not in \"vocab\"; add it",
                       where, unk);
out:
    return status;
}

static void find_characters(struct ap_bpe *bpe)
{
    char text[8];
    for (int b = 0; b < 256; b++) {
        snprintf(text, sizeof(text), "<0x%02X>", (unsigned)b);
        bpe->byte[b] = ap_vocab_find(bpe->vocab, text, 6, AP_VOCAB_MODEL);
    }
    for (uint32_t cp = 0; cp < AP_BPE_N_DIRECT; cp++) {
        size_t n = ap_utf8_encode(cp, text);
        bpe->direct[cp] = ap_vocab_find(bpe->vocab, text, n, AP_VOCAB_MODEL);
    }
}

/* A merge as it is read: its halves one behind the other. */
struct halves {
    struct ap_buffer joined;
    size_t n_left;
    bool is_pair; /* else it is no merge, but JSON */
};

/* "a b" or ["a", "b"]. */
static ap_status read_halves(struct halves *h, struct ap_buffer *half, struct ap_json_cursor *at,
                             struct ap_error *err)
{
    ap_status status;
    h->is_pair = false;
    ap_buffer_clear(&h->joined);
    if (ap_json_take(at, '[')) {
        bool left = ap_json_string(at, half, &status, err);
        AP_TRY(status);
        if (!left || !ap_json_take(at, ','))
            return AP_OK;
        AP_TRY(ap_buffer_append(&h->joined, half->data, half->len, err));
        h->n_left = half->len;
        bool right = ap_json_string(at, half, &status, err);
        AP_TRY(status);
        h->is_pair = right && ap_json_take(at, ']');
        AP_TRY(ap_buffer_append(&h->joined, half->data, half->len, err));
        return AP_OK;
    }
    bool whole = ap_json_string(at, half, &status, err);
    AP_TRY(status);
    const char *space = whole && half->len ? memchr(half->data, ' ', half->len) : NULL;
    if (!space)
        return AP_OK;
    h->n_left = (size_t)(space - half->data);
    h->is_pair = !memchr(space + 1, ' ', half->len - h->n_left - 1);
    AP_TRY(ap_buffer_append(&h->joined, half->data, h->n_left, err));
    AP_TRY(ap_buffer_append(&h->joined, space + 1, half->len - h->n_left - 1, err));
out:
    return status;
}

static ap_status unknown_half(const char *half, size_t n, size_t rank, const char *where,
                              struct ap_error *err)
{
    return ap_fail(err, AP_FORMAT, "%s: \"merges\"[%zu] names \"%.*s\", which is not in \"vocab\"",
                   where, rank, (int)(n < 64 ? n : 64), half);
}

static ap_status add_merge(struct ap_bpe *bpe, const struct halves *h, size_t rank,
                           const char *where, struct ap_error *err)
{
    static const char mark[] = "\xE2\x96\x81";
    const char *left = h->joined.data, *right = left + h->n_left;
    size_t n_left = h->n_left, n_right = h->joined.len - n_left;
    int32_t left_id = ap_vocab_find(bpe->vocab, left, n_left, AP_VOCAB_MODEL);
    int32_t right_id = ap_vocab_find(bpe->vocab, right, n_right, AP_VOCAB_MODEL);
    if (left_id < 0)
        return unknown_half(left, n_left, rank, where, err);
    if (right_id < 0)
        return unknown_half(right, n_right, rank, where, err);
    if (n_left < 3 || memcmp(right - 3, mark, 3) != 0)
        bpe->parts = bpe->parts && (n_right < 3 || memcmp(right, mark, 3) != 0);
    int32_t result = ap_vocab_find(bpe->vocab, left, h->joined.len, AP_VOCAB_MODEL);
    if (result < 0)
        return ap_fail(err, AP_FORMAT,
                       "%s: \"merges\"[%zu] makes \"%.64s\", which is not in "
                       "\"vocab\"",
                       where, rank, left);
    /* A pair that stands twice has its last rank, as in the reference. */
    *ap_merge_slot(bpe, left_id, right_id) =
        (struct ap_merge){left_id, right_id, (uint32_t)rank, result};
    return AP_OK;
}

static ap_status make_table(struct ap_bpe *bpe, size_t n, const char *where, struct ap_error *err)
{
    size_t n_slots = 16;
    if (n > (size_t)1 << 28)
        return ap_fail(err, AP_LIMIT, "%s: %zu merges are over the limit of %d", where, n, 1 << 28);
    while (n_slots < 2 * n)
        n_slots *= 2;
    bpe->merge = ap_calloc(n_slots, sizeof(*bpe->merge));
    if (!bpe->merge)
        return ap_fail(err, AP_MEMORY, "%s: no memory for %zu merges", where, n);
    for (size_t i = 0; i < n_slots; i++)
        bpe->merge[i].left = -1;
    bpe->mask = (uint32_t)(n_slots - 1);
    return AP_OK;
}

static ap_status read_merges(struct ap_bpe *bpe, struct ap_model_text *text, const char *where,
                             struct ap_error *err)
{
    struct ap_json_cursor *at = &text->merges;
    struct ap_buffer half = {0};
    struct halves h = {0};
    ap_status status;
    size_t rank = 0;
    AP_TRY(make_table(bpe, text->n_merges, where, err));
    bpe->parts =
        !bpe->ignore_merges && ap_vocab_find(bpe->vocab, "\xE2\x96\x81", 3, AP_VOCAB_MODEL) >= 0;
    ap_json_take(at, '[');
    for (; ap_json_more(at, ']', rank == 0); rank++) {
        AP_TRY(read_halves(&h, &half, at, err));
        if (!h.is_pair || rank == text->n_merges)
            AP_TRY(ap_fail(err, AP_FORMAT,
                           "%s: \"merges\"[%zu] is not a pair, expected \"a b\" or "
                           "[\"a\", \"b\"]",
                           where, rank));
        AP_TRY(add_merge(bpe, &h, rank, where, err));
    }
    if (at->broken)
        status = ap_fail(err, AP_FORMAT, "%s: \"merges\": is not JSON", where);
out:
    ap_buffer_free(&h.joined);
    ap_buffer_free(&half);
    return status;
}

ap_status ap_bpe_init(struct ap_bpe *bpe, const struct ap_vocab *vocab, const json_t *model,
                      struct ap_model_text *text, const char *where, struct ap_error *err)
{
    const json_t *merges;
    *bpe = (struct ap_bpe){.vocab = vocab};
    ap_status status = read_flags(bpe, model, where, err);
    if (status == AP_OK)
        status = ap_text_json_array(model, "merges", where, true, &merges, err);
    if (status == AP_OK)
        status = read_merges(bpe, text, where, err);
    if (status == AP_OK)
        find_characters(bpe);
    return status;
}
