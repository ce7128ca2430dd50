/* Tokenizers against the Rust library `tokenizers`: our own small ones (tests/golden/text, made by
 * tools/make_golden_text.py), stories260K and the corpora of the reference folder. */
#include "tokenizer_cases.h"

#include "base/file.h"

#include <zlib.h>

static void check_entry(const json_t *entry)
{
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    const json_t *cases = json_object_get(entry, "cases"), *decode;
    char *text = json_dumps(json_object_get(entry, "tokenizer"), JSON_COMPACT);
    printf("%s\n", json_string_value(json_object_get(entry, "name")));
    check_ok(ap_tokenizer_parse(&t, text, strlen(text), "tokenizer.json", NULL, 0, NULL, &err),
             err);
    assert_true(json_array_size(cases) > 30);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *source = json_object_get(c, "text");
        check_encodes(t, source, AP_SEGMENT_MARKUP, false, json_object_get(c, "ids"));
        check_encodes(t, source, AP_SEGMENT_MARKUP, true, json_object_get(c, "special"));
        check_encodes(t, source, AP_SEGMENT_TEXT, false, json_object_get(c, "as_text"));
        struct ap_ids ids = ids_of_json(json_object_get(c, "ids"));
        check_decodes(t, &ids, false, json_object_get(c, "decoded"));
        check_decodes(t, &ids, true, json_object_get(c, "skipped"));
        ap_ids_free(&ids);
    }
    decode = json_object_get(entry, "decode");
    assert_true(json_array_size(decode) > 30);
    for (size_t i = 0; i < json_array_size(decode); i++) {
        const json_t *c = json_array_get(decode, i);
        struct ap_ids ids = ids_of_json(json_object_get(c, "ids"));
        check_decodes(t, &ids, false, json_object_get(c, "decoded"));
        check_decodes(t, &ids, true, json_object_get(c, "skipped"));
        ap_ids_free(&ids);
    }
    ap_tokenizer_close(t);
    free(text);
}

static void test_own_tokenizers(void **state)
{
    (void)state;
    json_t *root = load_json(AP_SOURCE_DIR "/tests/golden/text/tokenizers.json");
    const json_t *entries = json_object_get(root, "tokenizers");
    assert_int_equal(json_array_size(entries), 16);
    for (size_t i = 0; i < json_array_size(entries); i++)
        check_entry(json_array_get(entries, i));
    json_decref(root);
}

static struct ap_tokenizer *open_stories(void)
{
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    const char *path = check_data("models/stories260K-hf/tokenizer.json");
    if (!path)
        skip();
    char *dir = ap_path_dir(path);
    check_ok(ap_tokenizer_open(&t, dir, &err), err);
    free(dir);
    return t;
}

static void test_stories_cases(void **state)
{
    (void)state;
    const char *path = check_golden("text/tokens_stories260K.json");
    if (!path)
        skip();
    struct ap_tokenizer *t = open_stories();
    json_t *root = load_json(path);
    const json_t *cases = json_object_get(root, "cases");
    assert_int_equal(json_array_size(cases), 54);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *source = json_object_get(c, "text");
        check_encodes(t, source, AP_SEGMENT_MARKUP, false, json_object_get(c, "ids"));
        check_encodes(t, source, AP_SEGMENT_MARKUP, true, json_object_get(c, "ids_with_special"));
        struct ap_ids ids = ids_of_json(json_object_get(c, "ids"));
        check_decodes(t, &ids, false, json_object_get(c, "decoded"));
        check_decodes(t, &ids, true, json_object_get(c, "decoded_without_special"));
        ap_ids_free(&ids);
    }
    json_decref(root);
    ap_tokenizer_close(t);
}

static void test_stories_own_cases(void **state)
{
    (void)state;
    const char *path = check_data("models/stories260K-hf/tokenizer_cases.json");
    if (!path)
        skip();
    struct ap_tokenizer *t = open_stories();
    json_t *root = load_json(path);
    const json_t *cases = json_is_array(root) ? root : json_object_get(root, "cases");
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        check_encodes(t, json_object_get(c, "text"), AP_SEGMENT_MARKUP, false,
                      json_object_get(c, "ids"));
    }
    assert_int_equal(ap_tokenizer_n_vocab(t), 512);
    assert_int_equal(ap_tokenizer_bos(t), 1);
    assert_int_equal(ap_tokenizer_eos(t), 2);
    assert_int_equal(ap_tokenizer_id(t, "<s>"), 1);
    assert_int_equal(ap_tokenizer_id(t, "no such token"), -1);
    assert_string_equal(ap_tokenizer_spelling(t, 2), "</s>");
    assert_null(ap_tokenizer_spelling(t, 512));
    assert_null(ap_tokenizer_chat_template(t));
    json_decref(root);
    ap_tokenizer_close(t);
}

/* ---- corpora: number of texts and tokens, CRC-32 over all ids ---- */

struct sum {
    const struct ap_tokenizer *t;
    uint64_t n_texts, n_tokens;
    uLong crc;
};

static void add_text(struct sum *s, const json_t *text)
{
    struct ap_ids ids = encode_json(s->t, text, AP_SEGMENT_MARKUP, false);
    assert_true(json_is_string(text));
    s->n_texts++;
    s->n_tokens += ids.n;
    s->crc = crc32(s->crc, (const Bytef *)ids.data, (uInt)(ids.n * sizeof(int32_t)));
    ap_ids_free(&ids);
}

static void add_messages(struct sum *s, const json_t *messages)
{
    for (size_t i = 0; i < json_array_size(messages); i++)
        add_text(s, json_object_get(json_array_get(messages, i), "content"));
}

static void add_record(struct sum *s, const char *file, const json_t *o)
{
    static const struct {
        const char *file;
        const char *keys[5];
    } fields[] = {
        {"helpsteer", {"prompt", "response"}},
        {"ultrafeedback", {"prompt", "chosen", "rejected"}},
        {"orca", {"system", "question", "chosen", "rejected"}},
        {"hh-rlhf", {"chosen", "rejected"}},
    };
    for (size_t f = 0; f < AP_LEN(fields); f++) {
        if (strncmp(file, fields[f].file, strlen(fields[f].file)) != 0)
            continue;
        for (const char *const *key = fields[f].keys; *key; key++) {
            const json_t *value = json_object_get(o, *key);
            json_is_array(value) ? add_messages(s, value) : add_text(s, value);
        }
    }
}

static void check_corpus(const struct ap_tokenizer *t, const char *file, const json_t *want)
{
    struct ap_error err = {0};
    struct ap_lines *lines = NULL;
    struct sum sum = {.t = t, .crc = crc32(0, NULL, 0)};
    char name[256], crc[16];
    const char *text;
    size_t n;
    uint64_t number = 0, most = strncmp(file, "hh-rlhf", 7) ? UINT64_MAX : 500;
    bool more = true;
    snprintf(name, sizeof(name), "datasets/%s", file);
    const char *path = check_data(name);
    if (!path)
        skip();
    check_ok(ap_lines_open(&lines, path, (size_t)16 << 20, &err), err);
    while (number < most) {
        json_t *o = NULL;
        check_ok(ap_lines_next(lines, &text, &n, &number, &more, &err), err);
        if (!more)
            break;
        check_ok(ap_json_parse(text, n, file, &o, &err), err);
        add_record(&sum, file, o);
        json_decref(o);
    }
    ap_lines_close(lines);
    snprintf(crc, sizeof(crc), "%08lx", (unsigned long)sum.crc);
    assert_int_equal(sum.n_texts, json_integer_value(json_object_get(want, "texts")));
    assert_int_equal(sum.n_tokens, json_integer_value(json_object_get(want, "tokens")));
    assert_string_equal(crc, json_string_value(json_object_get(want, "crc32")));
}

static void test_stories_corpora(void **state)
{
    (void)state;
    const char *path = check_golden("text/tokens_stories260K.json"), *file;
    json_t *want;
    if (!path)
        skip();
    struct ap_tokenizer *t = open_stories();
    json_t *root = load_json(path), *corpora = json_object_get(root, "corpora");
    assert_int_equal(json_object_size(corpora), 4);
    json_object_foreach(corpora, file, want)
    {
        check_corpus(t, file, want);
    }
    json_decref(root);
    ap_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_tokenizers),
        cmocka_unit_test(test_stories_cases),
        cmocka_unit_test(test_stories_own_cases),
        cmocka_unit_test(test_stories_corpora),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
