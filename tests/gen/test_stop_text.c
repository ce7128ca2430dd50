/* Stop strings across tokens, on the demo's byte-level tokenizer. */
#include "check.h"

#include "base/error.h"
#include "gen/stop_text.h"

static int setup(void **state)
{
    struct ap_error err;
    struct ap_tokenizer *t;
    if (ap_tokenizer_open(&t, AP_SOURCE_DIR "/examples/demo", &err) != AP_OK) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    ap_tokenizer_close(*state);
    return 0;
}

struct outcome {
    bool hit;
    size_t at;
    size_t n_pushed; /* tokens until the hit */
    struct ap_ids ids;
};

static struct outcome feed(const struct ap_tokenizer *t, struct ap_stop_text *s, const char *text,
                           char *const *stops, int n_stop)
{
    struct ap_error err;
    struct outcome o = {0};
    struct ap_segment segment = {text, strlen(text), AP_SEGMENT_TEXT};
    check_ok(ap_tokenizer_encode(t, &segment, 1, false, &o.ids, &err), err);
    check_ok(ap_stop_text_begin(s, t, stops, n_stop, &err), err);
    while (!o.hit && o.n_pushed < o.ids.n)
        check_ok(ap_stop_text_push(s, o.ids.data[o.n_pushed++], &o.hit, &o.at, &err), err);
    if (!o.hit)
        check_ok(ap_stop_text_finish(s, &o.hit, &o.at, &err), err);
    return o;
}

/* Every part of a text, wherever the borders of its tokens lie, is found at its first place. */
static void test_every_part_of_a_text(void **state)
{
    static const char text[] = "A xyzzy said: na\xc3\xafve \xe2\x82\xac 5!\nThe end.";
    struct ap_stop_text s = {0};
    for (size_t from = 0; from < sizeof(text) - 1; from++)
        for (size_t n = 1; from + n <= sizeof(text) - 1; n++) {
            if ((text[from] & 0xC0) == 0x80 || (text[from + n] & 0xC0) == 0x80)
                continue;
            char part[64], *stops[] = {part};
            memcpy(part, text + from, n);
            part[n] = '\0';
            struct outcome o = feed(*state, &s, text, stops, 1);
            assert_true(o.hit);
            assert_int_equal(o.at, strstr(text, part) - text);
            ap_ids_free(&o.ids);
        }
    ap_stop_text_free(&s);
}

static void test_a_stop_over_several_tokens(void **state)
{
    char *stops[] = {"zzy said"};
    struct ap_stop_text s = {0};
    struct outcome o = feed(*state, &s, "A xyzzy said: no more of it", stops, 1);
    assert_true(o.hit);
    assert_int_equal(o.at, 4);
    assert_true(o.n_pushed > 3 && o.n_pushed < o.ids.n); /* several tokens, and not all */
    ap_ids_free(&o.ids);
    ap_stop_text_free(&s);
}

static void test_the_first_of_several_stops(void **state)
{
    char *stops[] = {"lamb", "tle la", "never"};
    struct ap_stop_text s = {0};
    struct outcome o = feed(*state, &s, "Mary had a little lamb", stops, 3);
    assert_true(o.hit);
    assert_int_equal(o.at, 14);
    ap_ids_free(&o.ids);
    o = feed(*state, &s, "Mary had a dog", stops, 3); /* the same memory, another sample */
    assert_false(o.hit);
    ap_ids_free(&o.ids);
    ap_stop_text_free(&s);
}

/* A character that the tokens leave unfinished comes out, as U+FFFD, when the sample ends. */
static void test_what_the_decoder_held_back(void **state)
{
    char *stops[] = {"\xef\xbf\xbd"};
    struct ap_stop_text s = {0};
    struct ap_error err;
    struct ap_ids ids = {0};
    bool hit;
    size_t at;
    struct ap_segment segment = {"a\xe2\x82\xac", 4, AP_SEGMENT_TEXT};
    check_ok(ap_tokenizer_encode(*state, &segment, 1, false, &ids, &err), err);
    assert_true(ids.n > 2);
    check_ok(ap_stop_text_begin(&s, *state, stops, 1, &err), err);
    for (size_t i = 0; i + 1 < ids.n; i++) {
        check_ok(ap_stop_text_push(&s, ids.data[i], &hit, &at, &err), err);
        assert_false(hit);
    }
    check_ok(ap_stop_text_finish(&s, &hit, &at, &err), err);
    assert_true(hit);
    assert_int_equal(at, 1);
    ap_ids_free(&ids);
    ap_stop_text_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_of_a_text),
        cmocka_unit_test(test_a_stop_over_several_tokens),
        cmocka_unit_test(test_the_first_of_several_stops),
        cmocka_unit_test(test_what_the_decoder_held_back),
    };
    return cmocka_run_group_tests_name("stop_text", tests, setup, teardown);
}
