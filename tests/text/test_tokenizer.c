/* What a tokenizer does beyond parity: segments, long texts, invalid UTF-8, appending, decoding. */
#include "small_tokenizer.h"

#include "base/memory.h"

static struct ap_segment markup_of(const char *text)
{
    return (struct ap_segment){text, strlen(text), AP_SEGMENT_MARKUP};
}

static struct ap_segment text_of(const char *text)
{
    return (struct ap_segment){text, strlen(text), AP_SEGMENT_TEXT};
}

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

static void check_segments(const struct ap_segment *segments, size_t n, const int32_t *want)
{
    struct ap_error err = {0};
    struct ap_tokenizer *t = open_small();
    struct ap_ids ids = {0};
    check_ok(ap_tokenizer_encode(t, segments, n, false, &ids, &err), err);
    check_ids(&ids, want);
    ap_ids_free(&ids);
    ap_tokenizer_close(t);
}

static void test_special_tokens_stand_in_markup_only(void **state)
{
    (void)state;
    check_segments((struct ap_segment[]){markup_of("a</s>")}, 1, IDS(2, 7));
    /* "</s>" as text: four unknown characters, fused */
    check_segments((struct ap_segment[]){text_of("a</s>b")}, 1, IDS(2, 0, 3));
    check_segments((struct ap_segment[]){text_of("a</s>"), markup_of("</s>")}, 2, IDS(2, 0, 7));
    /* one half of the spelling from each side is no special token */
    check_segments((struct ap_segment[]){markup_of("</"), text_of("s>")}, 2, IDS(0));
    check_segments((struct ap_segment[]){markup_of("</"), markup_of("s>")}, 2, IDS(7));
}

static void test_segments_join_as_one_text(void **state)
{
    (void)state;
    check_segments((struct ap_segment[]){text_of("a"), markup_of("b")}, 2, IDS(4));
    check_segments((struct ap_segment[]){markup_of(" "), text_of("a"), markup_of("b")}, 3, IDS(5));
    check_segments((struct ap_segment[]){text_of(""), text_of("ab"), markup_of("")}, 3, IDS(4));
    check_segments(NULL, 0, (const int32_t[]){-1});
}

static void test_encode_appends_and_adds_special(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = open_small();
    struct ap_ids ids = {0};
    struct ap_segment segment = text_of("ab");
    check_ok(ap_ids_push(&ids, 6, &err), err);
    check_ok(ap_tokenizer_encode(t, &segment, 1, true, &ids, &err), err);
    check_ids(&ids, IDS(6, 0, 4));
    assert_int_equal(ap_tokenizer_bos(t), 0);
    assert_int_equal(ap_tokenizer_eos(t), 7);
    ap_ids_free(&ids);
    ap_tokenizer_close(t);
}

static void test_invalid_utf8_is_replaced(void **state)
{
    (void)state;
    char *text = edited(small_tokenizer, "\"\\n\": 6", "\"\\ufffd\": 6");
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    struct ap_ids ids = {0};
    struct ap_segment segment = text_of("a\xFF\xE4\xBD"
                                        "b\xEF\xBF\xBD\x80");
    check_ok(parse_small(&t, text, NULL, &err), err);
    check_ok(ap_tokenizer_encode(t, &segment, 1, false, &ids, &err), err);
    check_ids(&ids, IDS(2, 6, 6, 3, 6, 6));
    ap_ids_free(&ids);
    ap_tokenizer_close(t);
    free(text);
}

/* Quadratic merging would take hours here. */
static void test_a_megabyte_without_spaces(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    struct ap_error err = {0};
    struct ap_tokenizer *t = open_small();
    struct ap_ids ids = {0};
    char *text = malloc(N);
    assert_non_null(text);
    for (size_t i = 0; i < N; i++)
        text[i] = "ab"[i % 2];
    struct ap_segment segment = {text, N, AP_SEGMENT_MARKUP};
    check_ok(ap_tokenizer_encode(t, &segment, 1, false, &ids, &err), err);
    assert_int_equal(ids.n, N / 2);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(ids.data[i], 4);
    free(text);
    ap_ids_free(&ids);
    ap_tokenizer_close(t);
}

static void test_ids_outside_are_refused(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = open_small();
    char *text;
    size_t n;
    int32_t bad[] = {4, 8};
    assert_int_equal(ap_tokenizer_decode(t, bad, 2, false, &text, &n, &err), AP_INVALID);
    check_holds(err.text, "token id 8");
    check_holds(err.text, "0 to 7");
    assert_null(text);
    bad[1] = -1;
    assert_int_equal(ap_tokenizer_decode(t, bad, 2, false, &text, &n, &err), AP_INVALID);
    ap_tokenizer_close(t);
}

static void test_skipping_special(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = open_small();
    const int32_t ids[] = {0, 5, 4, 7}, beyond[] = {4, 8, 4}, below[] = {-1};
    char *text;
    size_t n;
    check_ok(ap_tokenizer_decode(t, ids, 4, false, &text, &n, &err), err);
    assert_string_equal(text, "<unk> abab</s>");
    ap_text_free(text);
    check_ok(ap_tokenizer_decode(t, ids, 4, true, &text, &n, &err), err);
    assert_string_equal(text, "abab");
    assert_int_equal(n, 4);
    ap_text_free(text);
    check_ok(ap_tokenizer_decode(t, beyond, 3, true, &text, &n, &err), err);
    assert_int_equal(n, 4); /* twice the token 4 */
    assert_int_equal(ap_tokenizer_decode(t, below, 1, true, &(char *){NULL}, &n, &err), AP_INVALID);
    ap_text_free(text);
    ap_tokenizer_close(t);
}

/* Generation decodes a token at a time: after the first few nothing is allocated. */
static void test_streaming_allocates_nothing(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_tokenizer *t = open_small();
    struct ap_decoder *d = NULL;
    const char *text;
    size_t n;
    check_ok(ap_decoder_open(&d, t, false, &err), err);
    check_ok(ap_decoder_push(d, 5, &text, &n, &err), err);
    uint64_t before = ap_memory_n_allocations();
    for (int i = 0; i < 1000; i++)
        check_ok(ap_decoder_push(d, i % 8, &text, &n, &err), err);
    assert_int_equal(ap_memory_n_allocations(), before);
    ap_decoder_close(d);
    ap_decoder_close(NULL);
    ap_tokenizer_close(t);
}

/* The demo's own tokenizer: reads, and gives back any text. */
static void test_demo_round_trip(void **state)
{
    (void)state;
    static const char text[] =
        "Describe the otter: food, 12 \xF0\x9F\x91\x8D\n\n  don't\x01 \xC3\xA9";
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    struct ap_ids ids = {0};
    struct ap_segment segment = text_of(text);
    char *back;
    size_t n;
    if (access(AP_SOURCE_DIR "/examples/demo/tokenizer.json", R_OK) != 0)
        skip();
    check_ok(ap_tokenizer_open(&t, AP_SOURCE_DIR "/examples/demo", &err), err);
    assert_true(ap_tokenizer_bos(t) >= 0 && ap_tokenizer_eos(t) >= 0);
    check_ok(ap_tokenizer_encode(t, &segment, 1, false, &ids, &err), err);
    check_ok(ap_tokenizer_decode(t, ids.data, ids.n, false, &back, &n, &err), err);
    assert_int_equal(n, sizeof(text) - 1);
    assert_memory_equal(back, text, n);
    ap_text_free(back);
    ap_ids_free(&ids);
    ap_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_tokens_stand_in_markup_only),
        cmocka_unit_test(test_segments_join_as_one_text),
        cmocka_unit_test(test_encode_appends_and_adds_special),
        cmocka_unit_test(test_invalid_utf8_is_replaced),
        cmocka_unit_test(test_a_megabyte_without_spaces),
        cmocka_unit_test(test_ids_outside_are_refused),
        cmocka_unit_test(test_skipping_special),
        cmocka_unit_test(test_streaming_allocates_nothing),
        cmocka_unit_test(test_demo_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
