/* A tokenizer of six tokens as JSON text, for tests that change one thing in it. */
#ifndef AP_TESTS_SMALL_TOKENIZER_H
#define AP_TESTS_SMALL_TOKENIZER_H

#include "check.h"

#include "text/tokenizer.h"

static const char small_tokenizer[] =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,"
    " \"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"single_word\": false,"
    " \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true},"
    " {\"id\": 7, \"content\": \"</s>\", \"single_word\": false, \"lstrip\": false,"
    " \"rstrip\": false, \"normalized\": false, \"special\": true}],"
    " \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"},"
    " \"content\": \"_\"}, \"pre_tokenizer\": null,"
    " \"post_processor\": {\"type\": \"TemplateProcessing\","
    " \"single\": [{\"SpecialToken\": {\"id\": \"<unk>\", \"type_id\": 0}},"
    " {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [],"
    " \"special_tokens\": {\"<unk>\": {\"id\": \"<unk>\", \"ids\": [0], \"tokens\": [\"<unk>\"]}}},"
    " \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\","
    " \"pattern\": {\"String\": \"_\"}, \"content\": \" \"}, {\"type\": \"Fuse\"},"
    " {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]},"
    " \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": \"<unk>\","
    " \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": true,"
    " \"byte_fallback\": false, \"ignore_merges\": false,"
    " \"vocab\": {\"<unk>\": 0, \"_\": 1, \"a\": 2, \"b\": 3, \"ab\": 4, \"_ab\": 5, \"\\n\": 6},"
    " \"merges\": [\"a b\", \"_ ab\"]}}";

static const char small_config[] = "{\"bos_token\": {\"content\": \"<unk>\", \"lstrip\": false},"
                                   " \"eos_token\": \"</s>\","
                                   " \"model_max_length\": 1000000000000000019884624838656}";

/* text with its first `from` replaced; allocated (free). `from` must be there. */
static inline char *edited(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (!at)
        fail_msg("'%s' is not in the text to edit", from);
    size_t before = (size_t)(at - text), size = strlen(text) + strlen(to) + 1;
    char *out = malloc(size);
    assert_non_null(out);
    snprintf(out, size, "%.*s%s%s", (int)before, text, to, at + strlen(from));
    return out;
}

static inline ap_status parse_small(struct ap_tokenizer **t, const char *text, const char *config,
                                    struct ap_error *err)
{
    return ap_tokenizer_parse(t, text, strlen(text), "dir/tokenizer.json", config,
                              config ? strlen(config) : 0, "dir/tokenizer_config.json", err);
}

static inline struct ap_tokenizer *open_small(void)
{
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    check_ok(parse_small(&t, small_tokenizer, small_config, &err), err);
    return t;
}

/* Encodes segments given as text, kind, …, NULL and compares with ids ended by −1. */
static inline void check_ids(const struct ap_ids *ids, const int32_t *want)
{
    size_t n = 0;
    while (want[n] >= 0)
        n++;
    assert_int_equal(ids->n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids->data[i], want[i]);
}

#endif
