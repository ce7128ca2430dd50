/* The field's tokenizers against the Rust library `tokenizers`: the reference folder's strings and
 * corpora, and the strings that llama.cpp tests itself with. */
#include "tokenizer_cases.h"

#include "base/file.h"
#include "base/memory.h"

#include <zlib.h>

static struct ap_tokenizer *open_real(const char *name)
{
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    char file[256];
    snprintf(file, sizeof(file), "%s/tokenizer.json", name);
    const char *path = check_data(file);
    if (!path)
        skip();
    char *dir = ap_path_dir(path);
    check_ok(ap_tokenizer_open(&t, dir, &err), err);
    free(dir);
    return t;
}

/* tokens_NAME.json of the reference folder, and the tokenizer that it names. */
static json_t *load_golden(const char *name, struct ap_tokenizer **t)
{
    char file[256];
    snprintf(file, sizeof(file), "text/tokens_%s.json", name);
    const char *path = check_golden(file);
    if (!path)
        skip();
    json_t *root = load_json(path);
    *t = open_real(json_string_value(json_object_get(root, "tokenizer")));
    return root;
}

static void test_cases(void **state)
{
    struct ap_tokenizer *t;
    json_t *root = load_golden(*state, &t);
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
    struct ap_tokenizer *t = open_real("models/stories260K-hf");
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

static void test_corpora(void **state)
{
    struct ap_tokenizer *t;
    json_t *root = load_golden(*state, &t), *corpora = json_object_get(root, "corpora"), *want;
    const char *file;
    assert_int_equal(json_object_size(corpora), 4);
    json_object_foreach(corpora, file, want)
    {
        check_corpus(t, file, want);
    }
    json_decref(root);
    ap_tokenizer_close(t);
}

/* ---- expected/NAME.inp and .out: texts between marks, and their ids, a line each ---- */

struct expected {
    const char *name, *dir;
};

static char *load_text(const struct expected *e, const char *ending)
{
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    char file[256];
    snprintf(file, sizeof(file), "tokenizers/expected/%s.%s", e->name, ending);
    const char *path = check_data(file);
    if (!path)
        skip();
    check_ok(ap_file_read(path, (size_t)1 << 20, &text, &err), err);
    return text.data;
}

static void test_expected(void **state)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    const struct expected *e = *state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = open_real(e->dir);
    char *texts = load_text(e, "inp"), *lines = load_text(e, "out"), *line = lines;
    int n_texts = 0;
    for (char *text = texts, *end; (end = strstr(text, mark)); text = end + strlen(mark)) {
        struct ap_segment segment = {text, (size_t)(end - text), AP_SEGMENT_MARKUP};
        struct ap_ids ids = {0};
        check_ok(ap_tokenizer_encode(t, &segment, 1, false, &ids, &err), err);
        for (size_t i = 0; i < ids.n; i++)
            assert_int_equal(ids.data[i], strtol(line, &line, 10));
        while (*line == ' ')
            line++;
        assert_int_equal(*line++, '\n');
        ap_ids_free(&ids);
        n_texts++;
    }
    assert_int_equal(n_texts, 46);
    ap_free(texts);
    ap_free(lines);
    ap_tokenizer_close(t);
}

int main(void)
{
    static struct expected llama = {"llama-bpe", "tokenizers/llama-3.2-instruct"},
                           qwen2 = {"qwen2", "tokenizers/qwen2.5-instruct"},
                           phi3 = {"phi-3", "tokenizers/phi-3-mini"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_cases, "llama"),
        cmocka_unit_test_prestate(test_cases, "qwen2"),
        cmocka_unit_test_prestate(test_cases, "phi3"),
        cmocka_unit_test_prestate(test_cases, "stories260K"),
        cmocka_unit_test(test_stories_own_cases),
        cmocka_unit_test_prestate(test_corpora, "llama"),
        cmocka_unit_test_prestate(test_corpora, "qwen2"),
        cmocka_unit_test_prestate(test_corpora, "phi3"),
        cmocka_unit_test_prestate(test_corpora, "stories260K"),
        cmocka_unit_test_prestate(test_expected, &llama),
        cmocka_unit_test_prestate(test_expected, &qwen2),
        cmocka_unit_test_prestate(test_expected, &phi3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
