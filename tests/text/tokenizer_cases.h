/* Helpers for tests over JSON files of tokenizer cases. */
#ifndef AP_TESTS_TOKENIZER_CASES_H
#define AP_TESTS_TOKENIZER_CASES_H

#include "check.h"

#include "base/json.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

static inline json_t *load_json(const char *path)
{
    struct ap_error err = {0};
    json_t *root = NULL;
    check_ok(ap_json_load(path, (size_t)64 << 20, &root, &err), err);
    return root;
}

/* Encodes a JSON string as one segment of a kind. */
static inline struct ap_ids encode_json(const struct ap_tokenizer *t, const json_t *text,
                                        ap_segment_kind kind, bool special)
{
    struct ap_error err = {0};
    struct ap_ids ids = {0};
    struct ap_segment segment = {json_string_value(text), json_string_length(text), kind};
    check_ok(ap_tokenizer_encode(t, &segment, 1, special, &ids, &err), err);
    return ids;
}

static inline struct ap_ids ids_of_json(const json_t *list)
{
    struct ap_error err = {0};
    struct ap_ids ids = {0};
    for (size_t i = 0; i < json_array_size(list); i++)
        check_ok(ap_ids_push(&ids, (int32_t)json_integer_value(json_array_get(list, i)), &err),
                 err);
    return ids;
}

static inline void check_same_ids(const struct ap_ids *got, const json_t *want, const char *what)
{
    struct ap_ids expected = ids_of_json(want);
    bool same = got->n == expected.n &&
                (got->n == 0 || !memcmp(got->data, expected.data, got->n * sizeof(int32_t)));
    for (size_t i = 0; !same && i < got->n; i++)
        fprintf(stderr, "%s%d", i ? " " : "got ids: ", got->data[i]);
    if (!same)
        fail_msg("%s: other ids than expected", what);
    ap_ids_free(&expected);
}

static inline void check_encodes(const struct ap_tokenizer *t, const json_t *text,
                                 ap_segment_kind kind, bool special, const json_t *want)
{
    struct ap_ids ids = encode_json(t, text, kind, special);
    check_same_ids(&ids, want, json_string_value(text));
    ap_ids_free(&ids);
}

static inline void check_text(const char *got, size_t n, const json_t *want, const char *what)
{
    if (n != json_string_length(want) || memcmp(got, json_string_value(want), n) != 0)
        fail_msg("%s: got '%s', expected '%s'", what, got, json_string_value(want));
}

/* The whole and token by token; the pieces are whole characters and add up to the whole. */
static inline void check_decodes(const struct ap_tokenizer *t, const struct ap_ids *ids, bool skip,
                                 const json_t *want)
{
    struct ap_error err = {0};
    struct ap_decoder *d = NULL;
    struct ap_buffer sum = {0};
    char *text = NULL;
    const char *piece;
    size_t n = 0, n_piece;
    check_ok(ap_tokenizer_decode(t, ids->data, ids->n, skip, &text, &n, &err), err);
    check_text(text, n, want, skip ? "decode, special skipped" : "decode");
    check_ok(ap_decoder_open(&d, t, skip, &err), err);
    for (size_t i = 0; i <= ids->n; i++) {
        check_ok(i < ids->n ? ap_decoder_push(d, ids->data[i], &piece, &n_piece, &err)
                            : ap_decoder_finish(d, &piece, &n_piece, &err),
                 err);
        assert_true(ap_utf8_valid(piece, n_piece));
        check_ok(ap_buffer_append(&sum, piece, n_piece, &err), err);
    }
    check_text(sum.data, sum.len, want, "token by token");
    ap_decoder_close(d);
    ap_buffer_free(&sum);
    ap_text_free(text);
}

#endif
