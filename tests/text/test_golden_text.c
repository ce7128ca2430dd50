/* The demo's tokenizer against the Rust library `tokenizers`: tests/golden/text/tokens_demo.json,
 * made by tools/make_golden.py. The file must be made again with the tokenizer. */
#include "tokenizer_cases.h"

static void test_demo_cases(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    json_t *root = load_json(AP_SOURCE_DIR "/tests/golden/text/tokens_demo.json");
    const json_t *cases = json_object_get(root, "cases");
    assert_string_equal(json_string_value(json_object_get(root, "tokenizer")), "examples/demo");
    check_ok(ap_tokenizer_open(&t, AP_SOURCE_DIR "/examples/demo", &err), err);
    assert_true(json_array_size(cases) >= 30);
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_demo_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
