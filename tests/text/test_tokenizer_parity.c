/* Our own small tokenizers against the Rust library `tokenizers`: tests/golden/text, made by
 * tools/make_golden_text.py. The field's own are in test_tokenizer_real.c. */
#include "tokenizer_cases.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
