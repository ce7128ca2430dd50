/* libFuzzer entry for tokenizer.json, a text and tokenizer_config.json, with NULs between: any
 * bytes give a tokenizer or one line of error; with one, the text encodes, decodes, and decodes to
 * the same token by token.
 * fuzz: text */
#include "base/utf8.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_streaming(const struct ap_tokenizer *t, const struct ap_ids *ids, bool skip)
{
    struct ap_error err = {0};
    struct ap_decoder *d = NULL;
    char *whole = NULL;
    const char *piece;
    size_t n = 0, at = 0, n_piece;
    if (ap_tokenizer_decode(t, ids->data, ids->n, skip, &whole, &n, &err) != AP_OK ||
        ap_decoder_open(&d, t, skip, &err) != AP_OK)
        abort();
    for (size_t i = 0; i <= ids->n; i++, at += n_piece) {
        ap_status status = i < ids->n ? ap_decoder_push(d, ids->data[i], &piece, &n_piece, &err)
                                      : ap_decoder_finish(d, &piece, &n_piece, &err);
        if (status != AP_OK || at + n_piece > n || memcmp(whole + at, piece, n_piece) != 0 ||
            !ap_utf8_valid(piece, n_piece))
            abort();
    }
    if (at != n)
        abort();
    ap_decoder_close(d);
    ap_text_free(whole);
}

static void check_text(const struct ap_tokenizer *t, const char *text, size_t n)
{
    struct ap_error err = {0};
    struct ap_ids ids = {0};
    struct ap_segment segment[] = {
        {text, n / 2, AP_SEGMENT_MARKUP},
        {text + n / 2, n - n / 2, AP_SEGMENT_TEXT},
    };
    if (ap_tokenizer_encode(t, segment, 2, true, &ids, &err) != AP_OK)
        abort();
    for (size_t i = 0; i < ids.n; i++)
        if (ids.data[i] < 0 || ids.data[i] >= ap_tokenizer_n_vocab(t))
            abort();
    check_streaming(t, &ids, false);
    check_streaming(t, &ids, true);
    /* the bytes as ids: sequences that no text encodes to */
    ids.n = 0;
    for (size_t i = 0; i < n; i++)
        if (ap_ids_push(&ids, (unsigned char)text[i] % ap_tokenizer_n_vocab(t), &err) != AP_OK)
            abort();
    check_streaming(t, &ids, false);
    ap_ids_free(&ids);
}

/* The bytes up to the next NUL; *data and *n go on behind it. */
static const char *take_part(const char **data, size_t *n, size_t *n_part)
{
    const char *part = *data, *nul = *n ? memchr(part, '\0', *n) : NULL;
    *n_part = nul ? (size_t)(nul - part) : *n;
    *data = part + *n_part + (nul != NULL);
    *n -= *n_part + (nul != NULL);
    return part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    const char *rest = size ? (const char *)data : "";
    size_t n_json, n_text;
    const char *json = take_part(&rest, &size, &n_json);
    const char *text = take_part(&rest, &size, &n_text);
    ap_status status = ap_tokenizer_parse(&t, json, n_json, "tokenizer.json", size ? rest : NULL,
                                          size, "tokenizer_config.json", &err);
    if (status == AP_OK)
        check_text(t, text, n_text);
    else if (t || !err.text[0] || strchr(err.text, '\n'))
        abort();
    ap_tokenizer_close(t);
    return 0;
}
