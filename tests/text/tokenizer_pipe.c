/* A tokenizer behind a pipe, for tools/check_tokenizers.py: tokenizer_pipe < requests > answers.
 *
 *     request   a byte for what to do, 32 bits of length, so many bytes
 *       L       a tokenizer.json: the tokenizer from now on
 *       O       a folder: the tokenizer in it from now on
 *       M S T   a text: ids as markup, as markup with special tokens, as text
 *       D K     32-bit ids: their text, with and without special tokens; whole and token by token
 *     answer    32 bits of status, 32 bits of length, so many bytes (the error's text if it failed)
 */
#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ap_tokenizer *tokenizer;

static ap_status load(char kind, const char *text, size_t n, struct ap_error *err)
{
    ap_tokenizer_close(tokenizer);
    tokenizer = NULL;
    return kind == 'O'
               ? ap_tokenizer_open(&tokenizer, text, err)
               : ap_tokenizer_parse(&tokenizer, text, n, "tokenizer.json", NULL, 0, NULL, err);
}

static ap_status encode(char kind, const char *text, size_t n, struct ap_buffer *out,
                        struct ap_error *err)
{
    struct ap_ids ids = {0};
    struct ap_segment segment = {text, n, kind == 'T' ? AP_SEGMENT_TEXT : AP_SEGMENT_MARKUP};
    ap_status status = ap_tokenizer_encode(tokenizer, &segment, 1, kind == 'S', &ids, err);
    if (status == AP_OK)
        status = ap_buffer_append(out, ids.data, ids.n * sizeof(*ids.data), err);
    ap_ids_free(&ids);
    return status;
}

static ap_status stream(const int32_t *ids, size_t n, bool skip, struct ap_buffer *out,
                        struct ap_error *err)
{
    struct ap_decoder *d = NULL;
    const char *piece;
    size_t n_piece;
    ap_status status = ap_decoder_open(&d, tokenizer, skip, err);
    for (size_t i = 0; i <= n && status == AP_OK; i++) {
        status = i < n ? ap_decoder_push(d, ids[i], &piece, &n_piece, err)
                       : ap_decoder_finish(d, &piece, &n_piece, err);
        if (status == AP_OK && !ap_utf8_valid(piece, n_piece))
            status = ap_fail(err, AP_INVALID, "a piece is not of whole characters");
        if (status == AP_OK)
            status = ap_buffer_append(out, piece, n_piece, err);
    }
    ap_decoder_close(d);
    return status;
}

static ap_status decode(char kind, const char *ids, size_t n_bytes, struct ap_buffer *out,
                        struct ap_error *err)
{
    struct ap_buffer pieces = {0};
    char *text = NULL;
    size_t n = 0, n_ids = n_bytes / sizeof(int32_t);
    const int32_t *list = (const int32_t *)(const void *)ids;
    ap_status status = ap_tokenizer_decode(tokenizer, list, n_ids, kind == 'K', &text, &n, err);
    if (status == AP_OK)
        status = ap_buffer_append(out, text, n, err);
    if (status == AP_OK)
        status = stream(list, n_ids, kind == 'K', &pieces, err);
    if (status == AP_OK &&
        (pieces.len != out->len || (out->len && memcmp(pieces.data, out->data, out->len) != 0)))
        status = ap_fail(err, AP_INVALID, "token by token '%s', as a whole '%s'", pieces.data,
                         out->data);
    ap_buffer_free(&pieces);
    ap_text_free(text);
    return status;
}

static ap_status handle(char kind, const char *data, size_t n, struct ap_buffer *out,
                        struct ap_error *err)
{
    if (kind == 'L' || kind == 'O')
        return load(kind, data, n, err);
    if (!tokenizer)
        return ap_fail(err, AP_INVALID, "no tokenizer");
    return kind == 'D' || kind == 'K' ? decode(kind, data, n, out, err)
                                      : encode(kind, data, n, out, err);
}

static bool answer(ap_status status, const char *data, size_t n)
{
    uint32_t head[2] = {status, (uint32_t)n};
    return fwrite(head, sizeof(head), 1, stdout) == 1 &&
           (n == 0 || fwrite(data, 1, n, stdout) == n) && fflush(stdout) == 0;
}

int main(void)
{
    struct ap_buffer out = {0};
    char kind;
    uint32_t n;
    bool going = true;
    while (going && fread(&kind, 1, 1, stdin) == 1 && fread(&n, sizeof(n), 1, stdin) == 1) {
        struct ap_error err = {0};
        char *data = ap_calloc((size_t)n + 1, 1);
        if (!data || fread(data, 1, n, stdin) != n)
            return 1;
        ap_buffer_clear(&out);
        ap_status status = handle(kind, data, n, &out, &err);
        going = status == AP_OK ? answer(status, out.data, out.len)
                                : answer(status, err.text, strlen(err.text));
        ap_free(data);
    }
    ap_buffer_free(&out);
    ap_tokenizer_close(tokenizer);
    return !going;
}
