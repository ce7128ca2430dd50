/* Encoding and decoding with a loaded tokenizer. Entry points: ap_tokenizer_encode, _decode, and
 * the small questions about it. Loading is in tokenizer_load.c.
 *
 *     segments ─► added tokens of the raw text ─► normaliser ─► those of the normalised text
 *              ─► words ─► BPE ─► ids */
#include "text/tokenizer.h"

#include "base/error.h"
#include "base/memory.h"

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

/* Everything one call of encode works with. */
struct encoder {
    const struct ap_tokenizer *t;
    struct ap_ids *ids;
    struct ap_marked raw, work[2];
    struct ap_words words;
    struct ap_bpe_scratch scratch;
};

static void encoder_free(struct encoder *e)
{
    ap_marked_free(&e->raw);
    ap_marked_free(&e->work[0]);
    ap_marked_free(&e->work[1]);
    ap_words_free(&e->words);
    ap_bpe_scratch_free(&e->scratch);
}

static ap_status encode_words(struct encoder *e, struct ap_span s, struct ap_error *err)
{
    ap_status status = ap_words_begin(&e->words, s.text, s.n, err);
    while (status == AP_OK) {
        const char *word;
        size_t n;
        bool more;
        status = ap_words_next(&e->words, &word, &n, &more, err);
        if (status != AP_OK || !more)
            break;
        status = ap_bpe_encode(&e->t->bpe, &e->scratch, word, n, e->ids, err);
    }
    return status;
}

static ap_status encode_normalized(struct encoder *e, struct ap_span s, struct ap_error *err)
{
    struct ap_added_scan scan;
    struct ap_added_piece piece;
    ap_status status = AP_OK;
    ap_added_begin(&scan, &e->t->added_normalized, s);
    while (status == AP_OK && ap_added_next(&scan, &piece))
        status =
            piece.id >= 0 ? ap_ids_push(e->ids, piece.id, err) : encode_words(e, piece.span, err);
    return status;
}

static ap_status encode_raw(struct encoder *e, struct ap_error *err)
{
    struct ap_added_scan scan;
    struct ap_added_piece piece;
    struct ap_span span;
    ap_status status = AP_OK;
    ap_added_begin(&scan, &e->t->added_raw, ap_marked_span(&e->raw));
    while (status == AP_OK && ap_added_next(&scan, &piece)) {
        if (piece.id >= 0) {
            status = ap_ids_push(e->ids, piece.id, err);
            continue;
        }
        status = ap_normalizer_run(&e->t->normalizer, piece.span, e->work, &span, err);
        if (status == AP_OK)
            status = encode_normalized(e, span, err);
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
    struct encoder e = {.t = t, .ids = ids};
    size_t n_before = ids->n;
    ap_status status = ap_words_init(&e.words, &t->pretokenizer, err);
    for (size_t i = 0; i < n_segments && status == AP_OK; i++)
        status = ap_marked_segment(&e.raw, &segments[i], err);
    if (status == AP_OK && with_special)
        status = push_all(ids, &t->postprocessor.before, err);
    if (status == AP_OK)
        status = encode_raw(&e, err);
    if (status == AP_OK && with_special)
        status = push_all(ids, &t->postprocessor.after, err);
    if (status != AP_OK)
        ids->n = n_before;
    encoder_free(&e);
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
