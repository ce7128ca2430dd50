/* Guards: one case a kind by hand, what never fires, any bytes. */
#include "align/guard.h"

#include "base/random.h"
#include "base/utf8.h"
#include "check.h"

#include <math.h>

#define ALL "code", "quote", "url", "number", "bracket"
static const struct ap_guard_settings protect_all = {.protect = {ALL}, .n_protect = 5};

static ap_guard check(const struct ap_guard_settings *s, const char *x, const char *rewrite)
{
    struct ap_error err;
    ap_guard guard;
    char why[AP_GUARD_WHY_MAX];
    check_ok(ap_guard_check(s, x, rewrite, &guard, why, &err), err);
    assert_int_equal(why[0] == '\0', guard == AP_GUARD_NONE);
    assert_true(ap_utf8_valid(why, strlen(why)));
    assert_null(strchr(why, '\n'));
    return guard;
}

static void test_spans(void **state)
{
    static const struct {
        const char *x, *rewrite;
        ap_guard guard;
    } cases[] = {
        {"What does `ls -l` do?", "Explain ls.", AP_GUARD_CODE},
        {"What does `ls -l` do?", "Explain:\n```\nls -l\n```", AP_GUARD_NONE},
        {"Translate \"good day\".", "Translate a greeting.", AP_GUARD_QUOTE},
        {"Translate \"good day\".", "Translate “good day” into French.", AP_GUARD_NONE},
        {"Sum up https://a.org/b", "Sum up https://a.org", AP_GUARD_URL},
        {"Sum up https://a.org", "Sum up https://a.org/b", AP_GUARD_URL},
        {"Sum up https://a.org", "Sum up https://a.org, briefly.", AP_GUARD_NONE},
        {"Add 5 and 7", "Add 15 and 7", AP_GUARD_NUMBER},
        {"Add 5 and 7", "To 7 add 5", AP_GUARD_NONE},
        {"At 12:30", "At 12.30", AP_GUARD_NUMBER},
        {"Dear [[name]],\nhi", "Dear name, hi", AP_GUARD_BRACKET},
        {"Dear [[name]],", "Write to [[name]]", AP_GUARD_NONE},
        {"a fox", "", AP_GUARD_EMPTY},
        {"a fox", "The fox", AP_GUARD_NONE},
    };
    struct ap_guard_settings off = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(check(&protect_all, cases[i].x, cases[i].rewrite), cases[i].guard);
        assert_int_equal(check(&off, cases[i].x, cases[i].rewrite),
                         cases[i].guard == AP_GUARD_EMPTY ? AP_GUARD_EMPTY : AP_GUARD_NONE);
    }
    struct ap_guard_settings urls = {.protect = {"url"}, .n_protect = 1};
    assert_int_equal(check(&urls, "Add 5", "Add five"), AP_GUARD_NONE);
}

static void test_similarity(void **state)
{
    struct ap_error err;
    double value;
    (void)state;
    /* " ab", "ab " against " ab", "abc", "bc ": 2·1 / (2 + 3) */
    check_ok(ap_guard_similarity("ab", "abc", &value, &err), err);
    check_near(value, 0.4, 1e-12, 0);
    check_ok(ap_guard_similarity("The  FOX\n", " the fox", &value, &err), err);
    check_near(value, 1, 1e-12, 0);
    check_ok(ap_guard_similarity("abc", "xyz", &value, &err), err);
    check_near(value, 0, 1e-12, 0);
    /* multiplicity counts: " aa", "aaa" twice, "aa " against " aa", "aaa", "aa " */
    check_ok(ap_guard_similarity("aaaa", "aaa", &value, &err), err);
    check_near(value, 6.0 / 7, 1e-12, 0);
    struct ap_guard_settings s = {.similarity = 0.4};
    assert_int_equal(check(&s, "ab", "abc"), AP_GUARD_NONE);
    s.similarity = 0.41;
    assert_int_equal(check(&s, "ab", "abc"), AP_GUARD_SIMILARITY);
}

static void test_length(void **state)
{
    struct ap_guard_settings s = {.max_growth = 2};
    (void)state;
    assert_int_equal(check(&s, "éé", "abcd"), AP_GUARD_NONE); /* characters, not bytes */
    assert_int_equal(check(&s, "éé", "abcde"), AP_GUARD_LENGTH);
    s = (struct ap_guard_settings){.max_length = 4};
    assert_int_equal(check(&s, "x", "ééé é"), AP_GUARD_LENGTH);
    assert_int_equal(check(&s, "x", "éééé"), AP_GUARD_NONE);
    assert_int_equal(check(&s, "longer than that", "longer than that"), AP_GUARD_NONE);
}

/* Pieces that make spans, halves of spans and bytes that are no text. */
static void random_text(struct ap_random *r, char out[400])
{
    static const char *const pieces[] = {"fox ",          "12 ",    "3.5,", "`a b` ",   "``` ",
                                         "[[c]] ",        "[[",     "]] ",  "\"d e\" ", "\" ",
                                         "“f” ",          "„ ",     "é",    "\xff",     "\xe2\x80",
                                         "http://g.h/1 ", "www.i ", "\n",   "7",        "."};
    out[0] = '\0';
    for (uint32_t n = ap_random_below(r, 24); n > 0; n--)
        strcat(out, pieces[ap_random_below(r, sizeof(pieces) / sizeof(pieces[0]))]);
}

static void test_the_prompt_itself_and_more_text_never_fire(void **state)
{
    struct ap_random r;
    char x[400], before[400], after[400], rewrite[1300];
    (void)state;
    ap_random_init(&r, &(struct ap_stream){.seed = 5});
    for (int i = 0; i < 5000; i++) {
        random_text(&r, x);
        random_text(&r, before);
        random_text(&r, after);
        struct ap_guard_settings s = protect_all;
        assert_int_equal(check(&s, x, x), x[0] ? AP_GUARD_NONE : AP_GUARD_EMPTY);
        snprintf(rewrite, sizeof(rewrite), "%s %s %s", before, x, after);
        assert_int_equal(check(&s, x, rewrite), AP_GUARD_NONE);
        s = (struct ap_guard_settings){.similarity = 1, .max_growth = 1, .max_length = 1};
        assert_int_equal(check(&s, x, x), x[0] ? AP_GUARD_NONE : AP_GUARD_EMPTY);
        double left, right;
        struct ap_error err;
        check_ok(ap_guard_similarity(x, after, &left, &err), err);
        check_ok(ap_guard_similarity(after, x, &right, &err), err);
        assert_true(left == right && left >= 0 && left <= 1);
    }
}

/* Order may change; what is looked through for that is bounded, on a megabyte too. */
static void test_large_texts(void **state)
{
    enum { N = 120000 };
    char *x = malloc(9 * N + 1), *rewrite = malloc(9 * N + 1);
    (void)state;
    x[0] = rewrite[0] = '\0';
    for (int i = 0, at = 0, to = 0; i < N; i++) {
        at += snprintf(x + at, 9, "%d ", 100000 + i);
        to += snprintf(rewrite + to, 9, "%d ", 100000 + N - 1 - i);
    }
    struct ap_guard_settings s = protect_all;
    assert_int_equal(check(&s, x, rewrite), AP_GUARD_NUMBER); /* over the bound: counts as lost */
    x[7 * 40] = '\0';
    assert_int_equal(check(&s, x, rewrite), AP_GUARD_NONE);
    s.similarity = 0.01;
    memset(x, '\xff', 9 * N);
    x[9 * N] = '\0';
    assert_int_equal(check(&s, x, rewrite), AP_GUARD_SIMILARITY);
    for (int i = 0; i < 9 * N; i++)
        x[i] = "[\"`"[i % 3];
    check(&s, x, rewrite);
    free(x);
    free(rewrite);
}

static void test_names(void **state)
{
    (void)state;
    for (int g = AP_GUARD_NONE; g < AP_GUARD_COUNT; g++)
        assert_int_equal(ap_guard_find(ap_guard_name((ap_guard)g)), g);
    assert_int_equal(ap_guard_find("other"), AP_GUARD_NONE);
    assert_false(ap_guard_is_on(&(struct ap_guard_settings){0}));
    assert_true(ap_guard_is_on(&protect_all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_similarity),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_the_prompt_itself_and_more_text_never_fire),
        cmocka_unit_test(test_large_texts),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
