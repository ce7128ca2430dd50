/* Encoding and decoding with a loaded tokenizer. Entry points: ap_tokenizer_encode, _decode, and
 * the small questions about it. Loading is in tokenizer_load.c.
 *
 *     segments ─► added tokens of the raw text ─► normaliser ─► those of the normalised text
 *              ─► words ─► BPE ─► ids */
#include "text/tokenizer.h"

#include "base/error.h"
#include "base/memory.h"
#include "text/byte_level.h"
#include "text/word_cache.h"

#include <stdatomic.h>
#include <string.h>

int32_t ap_tokenizer_n_vocab(const struct ap_tokenizer *t)
{
    return t->vocab.n;
}

int32_t ap_tokenizer_bos(const struct ap_tokenizer *t)
{
    return t->bos;
}

int32_t ap_tokenizer_eos(const struct ap_tokenizer *t)
{
    return t->eos;
}

int32_t ap_tokenizer_id(const struct ap_tokenizer *t, const char *token)
{
    return ap_vocab_find(&t->vocab, token, strlen(token), AP_VOCAB_PRESENT);
}

const char *ap_tokenizer_chat_template(const struct ap_tokenizer *t)
{
    return t->chat_template;
}

const char *ap_tokenizer_spelling(const struct ap_tokenizer *t, int32_t id)
{
    size_t n;
    return id >= 0 && id < t->vocab.n ? ap_vocab_text(&t->vocab, id, &n) : NULL;
}

void ap_text_free(char *text)
{
    ap_free(text);
}

#define CACHE_BITS 14 /* 1 MiB of words */

/* Everything one call of encode works with. */
struct ap_encoder {
    const struct ap_tokenizer *t;
    struct ap_ids *ids;
    struct ap_marked raw;
    struct ap_normalizer_work work;
    struct ap_searcher searcher;
    struct ap_words words;
    struct ap_buffer spelled;
    struct ap_bpe_scratch scratch;
    struct ap_word_cache_entry *cache;
};

void ap_encoder_close(struct ap_encoder *e)
{
    if (!e)
        return;
    ap_marked_free(&e->raw);
    ap_normalizer_work_free(&e->work);
    ap_searcher_free(&e->searcher);
    ap_words_free(&e->words);
    ap_buffer_free(&e->spelled);
    ap_bpe_scratch_free(&e->scratch);
    ap_free(e->cache);
    ap_free(e);
}

static ap_status encoder_open(struct ap_encoder **out, const struct ap_tokenizer *t,
                              struct ap_ids *ids, struct ap_error *err)
{
    struct ap_encoder *e = atomic_exchange(t->spare, NULL);
    *out = e;
    if (!e) {
        *out = e = ap_calloc(1, sizeof(*e));
        if (e)
            e->cache = ap_calloc((size_t)1 << CACHE_BITS, sizeof(*e->cache));
        if (!e || !e->cache)
            return ap_fail(err, AP_MEMORY, "no memory to encode a text; free some");
    }
    e->t = t;
    e->ids = ids;
    ap_marked_clear(&e->raw);
    return AP_OK;
}

/* Keep it for the next call, unless it has grown large or another is kept already. */
static void encoder_return(struct ap_encoder *e)
{
    struct ap_encoder *none = NULL;
    bool large = e && e->raw.text.cap > (size_t)1 << 20;
    if (!e || large || !atomic_compare_exchange_strong(e->t->spare, &none, e))
        ap_encoder_close(e);
}

static ap_status encode_anew(struct ap_encoder *e, const char *word, size_t n, struct ap_error *err)
{
    if (!e->t->pretokenizer.byte_level)
        return ap_bpe_encode(&e->t->bpe, &e->scratch, word, n, e->ids, err);
    ap_buffer_clear(&e->spelled);
    ap_status status = ap_byte_level_encode(&e->spelled, word, n, err);
    return status == AP_OK ? ap_bpe_encode(&e->t->bpe, &e->scratch, e->spelled.data, e->spelled.len,
                                           e->ids, err)
                           : status;
}

static ap_status encode_word(struct ap_encoder *e, const char *word, size_t n, struct ap_error *err)
{
    ap_status status = AP_OK;
    if (n > AP_WORD_CACHE_BYTES)
        return encode_anew(e, word, n, err);
    struct ap_word_cache_entry *entry = &e->cache[ap_word_cache_place(word, n, CACHE_BITS)];
    if (entry->n == n && !memcmp(entry->word, word, n)) {
        for (size_t i = 0; i < entry->n_ids && status == AP_OK; i++)
            status = ap_ids_push(e->ids, entry->ids[i], err);
        return status;
    }
    size_t before = e->ids->n;
    status = encode_anew(e, word, n, err);
    size_t n_ids = e->ids->n - before;
    if (status != AP_OK || n_ids > AP_WORD_CACHE_IDS)
        return status;
    entry->n = (unsigned char)n;
    entry->n_ids = (unsigned char)n_ids;
    memcpy(entry->word, word, n);
    if (n_ids)
        memcpy(entry->ids, e->ids->data + before, n_ids * sizeof(*entry->ids));
    return status;
}

/* A word falls apart where no merge can join it, so that a text without pre-tokeniser is not one
 * word of a million characters. */
static ap_status encode_parts(struct ap_encoder *e, const char *word, size_t n,
                              struct ap_error *err)
{
    ap_status status = AP_OK;
    if (!e->t->bpe.parts || e->t->pretokenizer.byte_level)
        return encode_word(e, word, n, err);
    for (size_t start = 0, end; start < n && status == AP_OK; start = end) {
        end = ap_bpe_part(word, n, start);
        status = encode_word(e, word + start, end - start, err);
    }
    return status;
}

static ap_status encode_words(struct ap_encoder *e, struct ap_span s, bool first,
                              struct ap_error *err)
{
    ap_status status = ap_words_split(&e->words, &e->t->pretokenizer, s.text, s.n, first, err);
    for (size_t i = 0; i < e->words.pieces.n && status == AP_OK; i++) {
        struct ap_piece piece = e->words.pieces.data[i];
        status = encode_parts(e, e->words.text + piece.start, piece.end - piece.start, err);
    }
    return status;
}

static ap_status encode_normalized(struct ap_encoder *e, struct ap_span s, bool first,
                                   struct ap_error *err)
{
    struct ap_added_scan scan;
    struct ap_added_piece piece;
    bool more = true;
    ap_status status = AP_OK;
    ap_added_begin(&scan, &e->t->added_normalized, &e->searcher, s);
    while (status == AP_OK) {
        status = ap_added_next(&scan, &piece, &more, err);
        if (status != AP_OK || !more)
            break;
        status = piece.id >= 0
                     ? ap_ids_push(e->ids, piece.id, err)
                     : encode_words(e, piece.span, first && piece.span.text == s.text, err);
    }
    return status;
}

static ap_status encode_raw(struct ap_encoder *e, struct ap_error *err)
{
    struct ap_added_scan scan;
    struct ap_added_piece piece;
    struct ap_span span;
    bool more = true;
    ap_status status = AP_OK;
    ap_added_begin(&scan, &e->t->added_raw, &e->searcher, ap_marked_span(&e->raw));
    while (status == AP_OK) {
        status = ap_added_next(&scan, &piece, &more, err);
        if (status != AP_OK || !more)
            break;
        if (piece.id >= 0) {
            status = ap_ids_push(e->ids, piece.id, err);
            continue;
        }
        bool first = piece.span.text == e->raw.text.data;
        status = ap_normalizer_run(&e->t->normalizer, piece.span, &e->work, &span, err);
        if (status == AP_OK)
            status = encode_normalized(e, span, first, err);
    }
    return status;
}

static ap_status push_all(struct ap_ids *ids, const struct ap_ids *more, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (size_t i = 0; i < more->n && status == AP_OK; i++)
        status = ap_ids_push(ids, more->data[i], err);
    return status;
}

ap_status ap_tokenizer_encode(const struct ap_tokenizer *t, const struct ap_segment *segments,
                              size_t n_segments, bool with_special, struct ap_ids *ids,
                              struct ap_error *err)
{
    struct ap_encoder *e;
    size_t n_before = ids->n;
    ap_status status = encoder_open(&e, t, ids, err);
    for (size_t i = 0; i < n_segments && status == AP_OK; i++)
        status = ap_marked_segment(&e->raw, &segments[i], err);
    if (status == AP_OK && with_special)
        status = push_all(ids, &t->postprocessor.before, err);
    if (status == AP_OK)
        status = encode_raw(e, err);
    if (status == AP_OK && with_special)
        status = push_all(ids, &t->postprocessor.after, err);
    if (status != AP_OK)
        ids->n = n_before;
    encoder_return(e);
    return status;
}

ap_status ap_tokenizer_decode(const struct ap_tokenizer *t, const int32_t *ids, size_t n_ids,
                              bool skip_special, char **text, size_t *n, struct ap_error *err)
{
    struct ap_decoder d;
    ap_status status = AP_OK;
    *text = NULL;
    *n = 0;
    ap_decoder_init(&d, t, skip_special);
    for (size_t i = 0; i < n_ids; i++)
        AP_TRY(ap_decoder_add(&d, ids[i], err));
    AP_TRY(ap_decoder_end(&d, err));
    *text = ap_strndup(d.out.len ? d.out.data : "", d.out.len);
    if (!*text)
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory for a text of %zu bytes", d.out.len));
    *n = d.out.len;
out:
    ap_decoder_free(&d);
    return status;
}
