/* Files that must be refused, each by one line that names the file, the place and what is wrong. */
#include "small_tokenizer.h"

struct fault {
    const char *from, *to; /* edit of the small tokenizer (or of its config) */
    ap_status status;
    const char *part[2]; /* what the message holds besides the file's name */
};

static const struct fault faults[] = {
    {"{\"version\"", "[\"version\"", AP_FORMAT, {"is not JSON"}},
    {"\"type\": \"BPE\"",
     "\"type\": \"Unigram\"",
     AP_UNSUPPORTED,
     {"model", "\"Unigram\", expected one of BPE"}},
    {"\"type\": \"BPE\",", "", AP_FORMAT, {"model", "\"type\" is missing"}},
    {"\"model\":", "\"modell\":", AP_FORMAT, {"\"model\" is missing"}},
    {"\"truncation\"", "\"trunk\"", AP_UNSUPPORTED, {"\"trunk\""}},
    {"\"ignore_merges\"", "\"ignore_murges\"", AP_UNSUPPORTED, {"model", "\"ignore_murges\""}},
    {"\"dropout\": null", "\"dropout\": 0.1", AP_UNSUPPORTED, {"\"dropout\" is 0.1"}},
    {"\"end_of_word_suffix\": null",
     "\"end_of_word_suffix\": \"</w>\"",
     AP_UNSUPPORTED,
     {"end_of_word_suffix", "</w>"}},
    {"\"continuing_subword_prefix\": null",
     "\"continuing_subword_prefix\": \"##\"",
     AP_UNSUPPORTED,
     {"continuing_subword_prefix"}},
    {"\"unk_token\": \"<unk>\"", "\"unk_token\": \"<none>\"", AP_FORMAT, {"unk_token", "<none>"}},
    {"\"byte_fallback\": false",
     "\"byte_fallback\": 0",
     AP_FORMAT,
     {"byte_fallback", "true or false"}},
    {"\"vocab\": {",
     "\"vocab\": [], \"v\": {",
     AP_FORMAT,
     {"\"vocab\" is of another type", "object"}},
    {"\"a\": 2", "\"a\": 3", AP_FORMAT, {"share the id 3"}},
    {"\"a\": 2", "\"a\": 99", AP_FORMAT, {"\"a\" has id 99", "0 to 8"}},
    {"\"a\": 2", "\"a\": -1", AP_FORMAT, {"\"a\" has id -1"}},
    {"\"a\": 2", "\"a\": 2.5", AP_FORMAT, {"id of \"a\" is no integer"}},
    {"\"a\": 2", "\"a\": 1000000000000000019884624838656", AP_FORMAT, {"id of \"a\""}},
    {"\"a\": 2", "\"a\": 2, \"a\": 2", AP_FORMAT, {"\"a\" and \"a\" share the id 2"}},
    {"\"id\": 7", "\"id\": 3", AP_FORMAT, {"added_tokens", "share the id 3"}},
    {"\"id\": 7", "\"id\": 8", AP_FORMAT, {"added_tokens", "id 8, expected 0 to 7"}},
    {"\"id\": 7", "\"id\": \"7\"", AP_FORMAT, {"added_tokens", "\"id\""}},
    {"\"id\": 0", "\"id\": 1", AP_FORMAT, {"added_tokens", "\"<unk>\" has the ids 0 and 1"}},
    {"\"content\": \"</s>\"", "\"content\": \"<unk>\"", AP_FORMAT, {"added_tokens"}},
    {"\"content\": \"</s>\"", "\"content\": \"\"", AP_FORMAT, {"0 bytes, expected 1 to"}},
    {"\"content\": \"</s>\"", "\"content\": 5", AP_FORMAT, {"\"content\" is an integer"}},
    {"\"single_word\": false", "\"single_word\": 1", AP_FORMAT, {"\"single_word\" is an"}},
    {"\"special\": true", "\"special\": null", AP_FORMAT, {"\"special\" is null"}},
    {"\"added_tokens\": [", "\"added_tokens\": [7, ", AP_FORMAT, {"added_tokens"}},
    {"\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}",
     "\"type\": \"Precompiled\"",
     AP_UNSUPPORTED,
     {"normalizer", "\"Precompiled\", expected one of Sequence, NFC"}},
    {"{\"String\": \" \"}", "{\"Regex\": \"( +\"}", AP_UNSUPPORTED, {"normalizer", "a ( without"}},
    {"{\"String\": \" \"}", "{\"String\": \"\"}", AP_FORMAT, {"normalizer", "empty"}},
    {"\"pre_tokenizer\": null",
     "\"pre_tokenizer\": {\"type\": \"UnicodeScripts\"}",
     AP_UNSUPPORTED,
     {"pre_tokenizer", "UnicodeScripts"}},
    {"\"pre_tokenizer\": null",
     "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"new\": 1}",
     AP_UNSUPPORTED,
     {"pre_tokenizer", "\"new\""}},
    {"\"pre_tokenizer\": null",
     "\"pre_tokenizer\": \"ByteLevel\"",
     AP_FORMAT,
     {"\"pre_tokenizer\"", "object"}},
    {"\"TemplateProcessing\"",
     "\"BertProcessing\"",
     AP_UNSUPPORTED,
     {"post_processor", "BertProcessing"}},
    {"\"ids\": [0]", "\"ids\": [8]", AP_FORMAT, {"post_processor", "0 to 7"}},
    {"\"ids\": [0]", "\"ids\": [null]", AP_FORMAT, {"post_processor"}},
    {"{\"id\": \"A\"", "{\"id\": \"B\"", AP_UNSUPPORTED, {"post_processor", "\"B\""}},
    {"{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}",
     "{\"Sequence\": 4}",
     AP_FORMAT,
     {"post_processor", "Sequence"}},
    {"\"single\": [", "\"x\": [], \"single\": [", AP_UNSUPPORTED, {"post_processor", "\"x\""}},
    {"{\"<unk>\": {\"id\"",
     "{\"<s>\": {\"id\"",
     AP_FORMAT,
     {"post_processor", "\"<unk>\" is missing"}},
    {"{\"type\": \"Fuse\"}", "{\"type\": \"WordPiece\"}", AP_UNSUPPORTED, {"decoder", "WordPiece"}},
    {"{\"type\": \"Strip\"",
     "{\"type\": \"ByteFallback\"}, {\"type\": \"Strip\"",
     AP_UNSUPPORTED,
     {"decoder", "ByteFallback after"}},
    {"\"stop\": 0", "\"stop\": 1", AP_UNSUPPORTED, {"decoder", "\"stop\" is 1"}},
    {"\"start\": 1", "\"start\": -1", AP_FORMAT, {"decoder", "\"start\" is -1"}},
    {"\"content\": \" \", \"start\"",
     "\"content\": \"ab\", \"start\"",
     AP_FORMAT,
     {"decoder", "one character"}},
    {"\"decoders\": [",
     "\"decoders\": [{\"type\": \"Sequence\", \"decoders\": []}, ",
     AP_UNSUPPORTED,
     {"decoder", "flat"}},
    {"\"merges\": [", "\"merges\": [\"a z\", ", AP_FORMAT, {"\"merges\"[0]", "\"z\""}},
    {"\"merges\": [", "\"merges\": [\"b a\", ", AP_FORMAT, {"\"merges\"[0] makes \"ba\""}},
    {"\"merges\": [", "\"merges\": [\"a b c\", ", AP_FORMAT, {"\"merges\"[0] is not a pair"}},
    {"\"merges\": [", "\"merges\": [\"ab\", ", AP_FORMAT, {"\"merges\"[0] is not a pair"}},
    {"\"merges\": [", "\"merges\": [[\"a\"], ", AP_FORMAT, {"\"merges\"[0] is not a pair"}},
    {"\"merges\": [", "\"merges\": [17, ", AP_FORMAT, {"\"merges\"[0] is not a pair"}},
    {"\"merges\": [\"a b\", \"_ ab\"]", "\"merges\": {}", AP_FORMAT, {"\"merges\"", "array"}},
};

static const struct fault config_faults[] = {
    {"\"eos_token\": \"</s>\"", "\"eos_token\": \"<end>\"", AP_FORMAT, {"eos_token", "<end>"}},
    {"\"eos_token\": \"</s>\"", "\"eos_token\": 3", AP_FORMAT, {"eos_token"}},
    {"{\"content\": \"<unk>\"", "{\"text\": \"<unk>\"", AP_FORMAT, {"content"}},
    {"\"eos_token\"", "\"chat_template\": 3, \"eos_token\"", AP_FORMAT, {"chat_template"}},
    {"\"eos_token\"", "\"chat_template\": [3], \"eos_token\"", AP_FORMAT, {"name"}},
    {"{\"bos", "{{\"bos", AP_FORMAT, {"is not JSON"}},
};

static void check_fault(const struct fault *f, const char *text, const char *config,
                        const char *file)
{
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    ap_status status = parse_small(&t, text, config, &err);
    if (status != f->status)
        fail_msg("'%s' -> '%s': status %d, expected %d (%s)", f->from, f->to, (int)status,
                 (int)f->status, err.text);
    assert_null(t);
    assert_null(strchr(err.text, '\n'));
    check_holds(err.text, file);
    for (size_t i = 0; i < 2 && f->part[i]; i++)
        check_holds(err.text, f->part[i]);
}

static void test_tokenizer_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        char *text = edited(small_tokenizer, faults[i].from, faults[i].to);
        check_fault(&faults[i], text, NULL, "dir/tokenizer.json");
        free(text);
    }
}

static void test_config_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(config_faults) / sizeof(config_faults[0]); i++) {
        char *config = edited(small_config, config_faults[i].from, config_faults[i].to);
        check_fault(&config_faults[i], small_tokenizer, config, "dir/tokenizer_config.json");
        free(config);
    }
}

/* Every prefix of the file: an error, never a tokenizer, never a crash. */
static void test_truncated(void **state)
{
    (void)state;
    for (size_t n = 0; n + 1 < sizeof(small_tokenizer) - 1; n++) {
        struct ap_error err = {0};
        struct ap_tokenizer *t = NULL;
        char *text = strndup(small_tokenizer, n);
        assert_int_equal(parse_small(&t, text, NULL, &err), AP_FORMAT);
        check_holds(err.text, "dir/tokenizer.json");
        free(text);
    }
}

static void test_deep_nesting(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    char deep[4096] = "\"normalizer\": ", *text;
    for (int i = 0; i < 20; i++)
        strcat(deep, "{\"type\": \"Sequence\", \"normalizers\": [");
    strcat(deep, "{\"type\": \"Prepend\", \"prepend\": \"_\"}");
    for (int i = 0; i < 20; i++)
        strcat(deep, "]}");
    strcat(deep, ", \"version\"");
    text = edited(small_tokenizer, "\"version\"", deep);
    char *once = edited(text,
                        "\"normalizer\": {\"type\": \"Replace\", \"pattern\": "
                        "{\"String\": \" \"}, \"content\": \"_\"},",
                        "");
    assert_int_equal(parse_small(&t, once, NULL, &err), AP_LIMIT);
    check_holds(err.text, "normalizer");
    free(once);
    free(text);
}

/* Eight rules that make 1000 letters of one would make 10^24 of it. */
static void test_a_normalizer_that_grows(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    struct ap_ids ids = {0};
    struct ap_segment one = {"a b", 3, AP_SEGMENT_TEXT}, none = {"b b", 3, AP_SEGMENT_TEXT};
    char letters[1001] = "", rules[10000] = "{\"type\": \"Sequence\", \"normalizers\": [";
    memset(letters, 'a', 1000);
    for (int i = 0; i < 8; i++) {
        size_t n = strlen(rules);
        snprintf(rules + n, sizeof(rules) - n,
                 "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"%s\"}",
                 i ? ", " : "", letters);
    }
    strcat(rules, "]}");
    char *text = edited(small_tokenizer,
                        "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"},"
                        " \"content\": \"_\"}",
                        rules);
    check_ok(parse_small(&t, text, NULL, &err), err);
    assert_int_equal(ap_tokenizer_encode(t, &one, 1, false, &ids, &err), AP_LIMIT);
    check_holds(err.text, "to a text of 3");
    check_holds(err.text, "Replace rules");
    check_ok(ap_tokenizer_encode(t, &none, 1, false, &ids, &err), err);
    ap_ids_free(&ids);
    ap_tokenizer_close(t);
    free(text);
}

static void test_missing_folder(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    assert_int_equal(ap_tokenizer_open(&t, "/no/such/folder", &err), AP_NOT_FOUND);
    check_holds(err.text, "/no/such/folder/tokenizer.json");
    assert_null(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_faults),
        cmocka_unit_test(test_config_faults),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_a_normalizer_that_grows),
        cmocka_unit_test(test_missing_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
