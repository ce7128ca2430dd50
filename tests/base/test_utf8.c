/* UTF-8 against the tables of the Unicode standard: every code point both ways, and the replacement
 * of maximal subparts. */
#include "check.h"

#include "base/error.h"
#include "base/utf8.h"

static void test_every_code_point(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        char bytes[4];
        uint32_t back = 0;
        size_t n = ap_utf8_encode(cp, bytes), want = cp < 0x80      ? 1
                                                     : cp < 0x800   ? 2
                                                     : cp < 0x10000 ? 3
                                                                    : 4;
        int surrogate = cp >= 0xD800 && cp <= 0xDFFF;
        if (n != want || ap_utf8_decode(bytes, n, &back) != n || !ap_utf8_valid(bytes, n) ||
            back != (surrogate ? AP_UTF8_REPLACEMENT : cp))
            fail_msg("U+%04X does not come back", cp);
        for (size_t cut = 1; cut < n; cut++)
            if (ap_utf8_valid(bytes, cut))
                fail_msg("U+%04X cut to %zu bytes passes", cp, cut);
    }
    char out[4];
    assert_int_equal(ap_utf8_encode(0x110000, out), 3);
    assert_memory_equal(out, "\xEF\xBF\xBD", 3);
}

/* Lengths that the decoder consumes, one digit each; a letter 'r' before those that are replaced.
 */
static void expect_walk(const char *text, size_t n, const char *want)
{
    char got[64] = {0}, *at = got;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t used = ap_utf8_decode(text + i, n - i, &cp);
        assert_in_range(used, 1, 4);
        assert_true(used <= n - i);
        if (cp == AP_UTF8_REPLACEMENT)
            *at++ = 'r';
        *at++ = (char)('0' + used);
        i += used;
    }
    assert_string_equal(got, want);
}

#define WALK(text, want) expect_walk(text, sizeof(text) - 1, want)

static void test_maximal_subparts(void **state)
{
    (void)state;
    /* Tables 3-8 to 3-11 of the standard. */
    WALK("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "r1r1r1r1r1r1r1r11");
    WALK("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "r1r1r1r1r1r1r1r11");
    WALK("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "r1r1r1r1r11r1r11");
    WALK("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "r2r1r3r21");
    WALK("\xF0\x9F\x98", "r3");
    WALK("a\0b", "111");
    WALK("\xEF\xBF\xBD", "r3"); /* U+FFFD itself */
    uint32_t cp = 0;
    assert_int_equal(ap_utf8_decode("", 0, &cp), 0);
}

static void test_valid(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xC1\xBF",
        "\xE0\x9F\xBF",
        "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "a\xFF",
        "\xEF\xBF",
        "\xF1\x80\x80",
    };
    assert_true(ap_utf8_valid("", 0));
    assert_true(ap_utf8_valid("a\0\xEF\xBF\xBD", 5));
    for (size_t i = 0; i < AP_LEN(bad); i++)
        if (ap_utf8_valid(bad[i], strlen(bad[i])))
            fail_msg("row %zu passes", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_maximal_subparts),
        cmocka_unit_test(test_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
