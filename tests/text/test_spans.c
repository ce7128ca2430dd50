/* Spans that must not be touched: one case a kind, what is none, any bytes. */
#include "text/spans.h"

#include "check.h"

/* "KIND:TEXT KIND:TEXT", every span of the text. */
static void check_spans(const char *text, unsigned kinds, const char *expected)
{
    char got[512] = "";
    struct ap_span span;
    struct ap_span_scan scan = ap_spans_begin(text, strlen(text), kinds);
    while (ap_spans_next(&scan, &span)) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof(got) - n, "%s%s:%.*s", n ? "|" : "", ap_span_name(span.kind),
                 (int)span.n, text + span.at);
    }
    assert_string_equal(got, expected);
}

static void test_one_case_a_kind(void **state)
{
    (void)state;
    check_spans("Run `ls -l` now", AP_SPAN_ALL, "code:ls -l");
    check_spans("```c\nint x;\n``` and `y`", AP_SPAN_ALL, "code:c\nint x;\n|code:y");
    check_spans("He said \"go on\" twice", AP_SPAN_ALL, "quote:go on");
    check_spans("“a” „b“ «c» 「d」", AP_SPAN_ALL, "quote:a|quote:b|quote:c|quote:d");
    check_spans("See https://a.org/b?c=1, and www.d.org.", AP_SPAN_ALL,
                "url:https://a.org/b?c=1|url:www.d.org");
    check_spans("(ftp://a.b/c) <http://e>", AP_SPAN_ALL, "url:ftp://a.b/c|url:http://e");
    check_spans("3.14, 1,000 and 12:30. 7kg 第8章", AP_SPAN_ALL,
                "number:3.14|number:1,000|number:12:30|number:7|number:8");
    check_spans("[[name]] of [[a b]]", AP_SPAN_ALL, "bracket:[[name]]|bracket:[[a b]]");
}

static void test_what_is_none(void **state)
{
    (void)state;
    check_spans("", AP_SPAN_ALL, "");
    check_spans("don't x2 b2b v1.2 [one] ``` unclosed", AP_SPAN_ALL, "");
    check_spans("a 5\" nail and a 7\" one", AP_SPAN_ALL, "number:5|number:7");
    check_spans("`` \"\" [[ www. http:// ://", AP_SPAN_ALL, "");
    check_spans("“never closed 4", AP_SPAN_ALL, "number:4");
}

/* The first mark wins what is in it, unless its kind is not asked for. */
static void test_nested(void **state)
{
    (void)state;
    check_spans("`x = \"5\"` 6", AP_SPAN_ALL, "code:x = \"5\"|number:6");
    check_spans("`x = \"5\"` 6", AP_SPAN_BIT(AP_SPAN_NUMBER), "number:5|number:6");
    check_spans("[[a [[b]] c]]", AP_SPAN_ALL, "bracket:[[a [[b]]");
    check_spans("http://a.b/12", AP_SPAN_BIT(AP_SPAN_NUMBER), "number:12");
}

static void test_stands(void **state)
{
    const char *text = "15 5 5.5 http://a http://a/b http://a.";
    size_t n = strlen(text);
    (void)state;
    assert_false(ap_span_stands(AP_SPAN_NUMBER, text, n, 1, 1));
    assert_true(ap_span_stands(AP_SPAN_NUMBER, text, n, 3, 1));
    assert_false(ap_span_stands(AP_SPAN_NUMBER, text, n, 5, 1));
    assert_false(ap_span_stands(AP_SPAN_NUMBER, text, n, 7, 1));
    assert_true(ap_span_stands(AP_SPAN_URL, text, n, 9, 8));
    assert_false(ap_span_stands(AP_SPAN_URL, text, n, 18, 8));
    assert_true(ap_span_stands(AP_SPAN_URL, text, n, 29, 8));
}

/* A megabyte of one pattern: spans are in order, within the text, and the scan ends soon (the test
 * would not if it looked for a closing mark anew at each opening one). */
static void test_any_bytes(void **state)
{
    static const char *const patterns[] = {"[[",  "“",     "`",      "``",   "\"a",
                                           " \"", "1.",    "www.) ", "a://", "\xff\xc3",
                                           "]]",  "[[1]]", "«「",    "```"};
    enum { N = 1 << 20 };
    char *text = malloc(N);
    (void)state;
    for (size_t p = 0; p < sizeof(patterns) / sizeof(patterns[0]); p++) {
        size_t n = strlen(patterns[p]), last = 0;
        for (size_t i = 0; i < N; i++)
            text[i] = patterns[p][i % n];
        struct ap_span span;
        struct ap_span_scan scan = ap_spans_begin(text, N, AP_SPAN_ALL);
        while (ap_spans_next(&scan, &span)) {
            assert_true(span.whole >= last && span.whole <= span.at && span.n > 0);
            assert_true(span.at + span.n <= span.past && span.past <= N);
            last = span.past;
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_case_a_kind), cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_nested),          cmocka_unit_test(test_stands),
        cmocka_unit_test(test_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
