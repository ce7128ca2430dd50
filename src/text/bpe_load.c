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

/* The two halves of a merge in either spelling: "a b" or ["a", "b"]. */
static bool split_merge(const json_t *merge, const char *half[2], size_t n[2])
{
    if (json_is_array(merge)) {
        const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
        if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(b))
            return false;
        half[0] = json_string_value(a);
        half[1] = json_string_value(b);
        n[0] = json_string_length(a);
        n[1] = json_string_length(b);
        return true;
    }
    if (!json_is_string(merge))
        return false;
    const char *text = json_string_value(merge);
    size_t length = json_string_length(merge);
    const char *space = memchr(text, ' ', length);
    if (!space || memchr(space + 1, ' ', length - (size_t)(space + 1 - text)))
        return false;
    half[0] = text;
    n[0] = (size_t)(space - text);
    half[1] = space + 1;
    n[1] = length - n[0] - 1;
    return true;
}

static ap_status add_merge(struct ap_bpe *bpe, const json_t *merge, size_t rank,
                           struct ap_buffer *joined, const char *where, struct ap_error *err)
{
    static const char mark[] = "\xE2\x96\x81";
    const char *half[2];
    size_t n[2];
    int32_t id[2];
    if (!split_merge(merge, half, n))
        return ap_fail(err, AP_FORMAT,
                       "%s: \"merges\"[%zu] is not a pair, expected \"a b\" or [\"a\", \"b\"]",
                       where, rank);
    for (int i = 0; i < 2; i++) {
        id[i] = ap_vocab_find(bpe->vocab, half[i], n[i], AP_VOCAB_MODEL);
        if (id[i] < 0)
            return ap_fail(err, AP_FORMAT,
                           "%s: \"merges\"[%zu] names \"%.*s\", which is not in "
                           "\"vocab\"",
                           where, rank, (int)(n[i] < 64 ? n[i] : 64), half[i]);
    }
    ap_buffer_clear(joined);
    ap_status status = ap_buffer_append(joined, half[0], n[0], err);
    if (status == AP_OK)
        status = ap_buffer_append(joined, half[1], n[1], err);
    if (status != AP_OK)
        return status;
    if (n[0] < 3 || memcmp(half[0] + n[0] - 3, mark, 3) != 0)
        bpe->parts = bpe->parts && (n[1] < 3 || memcmp(half[1], mark, 3) != 0);
    int32_t result = ap_vocab_find(bpe->vocab, joined->data, joined->len, AP_VOCAB_MODEL);
    if (result < 0)
        return ap_fail(err, AP_FORMAT,
                       "%s: \"merges\"[%zu] makes \"%.64s\", which is not in "
                       "\"vocab\"",
                       where, rank, joined->data);
    /* A pair that stands twice has its last rank, as in the reference. */
    *ap_merge_slot(bpe, id[0], id[1]) = (struct ap_merge){id[0], id[1], (uint32_t)rank, result};
    return AP_OK;
}

static ap_status read_merges(struct ap_bpe *bpe, const json_t *merges, const char *where,
                             struct ap_error *err)
{
    size_t n = json_array_size(merges), n_slots = 16;
    struct ap_buffer joined = {0};
    ap_status status = AP_OK;
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
    bpe->parts =
        !bpe->ignore_merges && ap_vocab_find(bpe->vocab, "\xE2\x96\x81", 3, AP_VOCAB_MODEL) >= 0;
    for (size_t i = 0; i < n && status == AP_OK; i++)
        status = add_merge(bpe, json_array_get(merges, i), i, &joined, where, err);
    ap_buffer_free(&joined);
    return status;
}

ap_status ap_bpe_init(struct ap_bpe *bpe, const struct ap_vocab *vocab, const json_t *model,
                      const char *where, struct ap_error *err)
{
    const json_t *merges;
    *bpe = (struct ap_bpe){.vocab = vocab};
    ap_status status = read_flags(bpe, model, where, err);
    if (status == AP_OK)
        status = ap_text_json_array(model, "merges", where, true, &merges, err);
    if (status == AP_OK)
        status = read_merges(bpe, merges, where, err);
    if (status == AP_OK)
        find_characters(bpe);
    return status;
}
