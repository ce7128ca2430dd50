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

/* ---- what stays ---- */

static bool ends_a_character(const struct ap_stop_text *s)
{
    return s->n_settled == s->text.len || (s->text.data[s->n_settled] & 0xC0) != 0x80;
}

/* Each part of a text as a stop string, met or, with more behind it, nearly met: what settles
 * stays, as whole characters, and never less than what no stop string can reach. */
static void test_what_settles_stays(void **state)
{
    static const char text[] = "A aab said: na\xc3\xafve \xe2\x82\xac 5!\nThe aaab.";
    struct ap_stop_text s = {0};
    struct ap_error err;
    struct ap_ids ids = {0};
    struct ap_segment segment = {text, strlen(text), AP_SEGMENT_TEXT};
    check_ok(ap_tokenizer_encode(*state, &segment, 1, false, &ids, &err), err);
    for (size_t i = 0; i < 2 * strlen(text); i++)
        for (size_t n = 1; n <= 5 && i / 2 + n <= strlen(text); n++) {
            char part[16], *stops[] = {part, (char *)"\xe2\x82\xac 6"};
            size_t at = 0, before = 0;
            bool hit = false;
            if ((text[i / 2] & 0xC0) == 0x80 || (text[i / 2 + n] & 0xC0) == 0x80)
                continue;
            snprintf(part, sizeof(part), "%.*s%s", (int)n, text + i / 2, i % 2 ? "#" : "");
            check_ok(ap_stop_text_begin(&s, *state, stops, 2, &err), err);
            for (size_t k = 0; k < ids.n && !hit; k++, before = s.n_settled) {
                check_ok(ap_stop_text_push(&s, ids.data[k], &hit, &at, &err), err);
                assert_true(s.n_settled >= before && ends_a_character(&s));
                assert_true(hit || s.n_settled + s.longest > s.text.len);
                assert_memory_equal(s.text.data, text, s.n_settled);
            }
            assert_int_equal(hit, i % 2 == 0);
            assert_true(!hit || s.n_settled <= at);
        }
    ap_ids_free(&ids);
    ap_stop_text_free(&s);
}

/* Token by token, with how much has settled after each. */
static void check_settled(const struct ap_tokenizer *t, struct ap_stop_text *s, const char *text,
                          size_t want)
{
    struct ap_error err;
    struct ap_ids ids = {0};
    struct ap_segment segment = {text, strlen(text), AP_SEGMENT_TEXT};
    bool hit;
    size_t at;
    check_ok(ap_tokenizer_encode(t, &segment, 1, false, &ids, &err), err);
    for (size_t i = 0; i < ids.n; i++)
        check_ok(ap_stop_text_push(s, ids.data[i], &hit, &at, &err), err);
    assert_false(hit);
    assert_int_equal(s->n_settled, want);
    ap_ids_free(&ids);
}

static void test_only_a_beginning_of_a_stop_waits(void **state)
{
    char *stops[] = {"aab!", "b\xe2\x82\xac"};
    struct ap_stop_text s = {0};
    struct ap_error err;
    bool hit;
    size_t at;
    check_ok(ap_stop_text_begin(&s, *state, stops, 2, &err), err);
    check_settled(*state, &s, "x", 1);
    check_settled(*state, &s, "a", 1);
    check_settled(*state, &s, "a", 1);
    check_settled(*state, &s, "a", 2); /* the last two may begin one, the first not any more */
    check_settled(*state, &s, "b", 2);
    check_settled(*state, &s, "c", 6);
    check_settled(*state, &s, "b", 6);
    check_settled(*state, &s, "b", 7);
    check_ok(ap_stop_text_finish(&s, &hit, &at, &err), err);
    assert_false(hit);
    check_ok(ap_stop_text_begin(&s, *state, NULL, 0, &err), err); /* without any nothing waits */
    check_settled(*state, &s, "xaab", 4);
    ap_stop_text_free(&s);
}

/* A character waits for the last of its tokens. */
static void test_half_a_character_waits(void **state)
{
    struct ap_stop_text s = {0};
    struct ap_error err;
    struct ap_ids ids = {0};
    bool hit;
    size_t at;
    struct ap_segment segment = {"\xe2\x82\xac", 3, AP_SEGMENT_TEXT};
    check_ok(ap_tokenizer_encode(*state, &segment, 1, false, &ids, &err), err);
    assert_true(ids.n > 1);
    check_ok(ap_stop_text_begin(&s, *state, NULL, 0, &err), err);
    for (size_t i = 0; i < ids.n; i++) {
        assert_int_equal(s.n_settled, 0);
        check_ok(ap_stop_text_push(&s, ids.data[i], &hit, &at, &err), err);
    }
    assert_int_equal(s.n_settled, 3);
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
        cmocka_unit_test(test_what_settles_stays),
        cmocka_unit_test(test_only_a_beginning_of_a_stop_waits),
        cmocka_unit_test(test_half_a_character_waits),
    };
    return cmocka_run_group_tests_name("stop_text", tests, setup, teardown);
}
