/* Noise: the identity at 0, the same for the same stream, how much is touched, what never is. */
#include "text/noise.h"

#include "base/utf8.h"
#include "check.h"

static const char plain[] = "Please tell me how the old fox finds its food in winter, when snow "
                            "lies deep. Thanks a lot!";

static struct ap_stream stream_of(uint64_t record)
{
    return (struct ap_stream){.seed = 3, .stage = ap_stream_stage("noise"), .record = record};
}

/* In a static buffer. */
static const char *noisy(const char *text, double strength, uint64_t record,
                         struct ap_noise_counts *counts)
{
    static struct ap_buffer out;
    struct ap_error err;
    struct ap_stream stream = stream_of(record);
    ap_buffer_free(&out);
    check_ok(ap_buffer_puts(&out, "", &err), err);
    check_ok(ap_noise(text, strlen(text), strength, &stream, &out, counts, &err), err);
    return out.data;
}

static void test_strength_0_is_the_identity(void **state)
{
    static const char *const texts[] = {plain,        "",       "  a \n\n b\t",
                                        "\xff\xfe é", "\"open", "你好 吗"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (uint64_t record = 0; record < 50; record++)
            assert_string_equal(noisy(texts[i], 0, record, NULL), texts[i]);
}

static void test_a_function_of_its_stream(void **state)
{
    char first[400];
    int n_other = 0;
    (void)state;
    for (uint64_t record = 0; record < 100; record++) {
        snprintf(first, sizeof(first), "%s", noisy(plain, 0.3, record, NULL));
        assert_string_equal(noisy(plain, 0.3, record, NULL), first);
        n_other += strcmp(noisy(plain, 0.3, record + 1, NULL), first) != 0;
    }
    assert_in_range(n_other, 95, 100);
}

/* Counts over many texts lie within five standard deviations of the strength, every kind comes up
 * by its share, and what is counted is what is done: a text is changed if and only if something is
 * counted. A swap takes two words for one decision, hence the 1.15. */
static void test_how_much_is_touched(void **state)
{
    static const double strengths[] = {0.05, 0.1, 0.2};
    enum { N = 4000 };
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        double p = strengths[s], words = 0, touched = 0, kinds[AP_NOISE_KINDS] = {0};
        for (uint64_t record = 0; record < N; record++) {
            struct ap_noise_counts c;
            int any = 0;
            const char *text = noisy(plain, p, record, &c);
            for (int k = 0; k < AP_NOISE_KINDS; k++) {
                any += c.touched[k];
                kinds[k] += c.touched[k];
            }
            assert_int_equal(strcmp(text, plain) != 0, any > 0);
            words += c.n_word;
            touched += any - c.touched[AP_NOISE_DISTRACTOR];
        }
        assert_true(words == 19.0 * N);
        check_near(touched / words, p / (1 + 0.15 * p), 5 * sqrt(p / words), 0);
        check_near(kinds[AP_NOISE_DISTRACTOR] / N, p, 5 * sqrt(p / N), 0);
        check_near(kinds[AP_NOISE_DROP] / touched, 0.15 * 18 / 19, 0.03, 0);
        check_near(kinds[AP_NOISE_SWAP] / touched, 0.15 * 18 / 19, 0.03, 0);
        check_near(kinds[AP_NOISE_CASE] / touched, 0.15, 0.03, 0);
        check_near(kinds[AP_NOISE_PUNCTUATION] / touched, 0.15 * 3 / 19, 0.02, 0);
    }
}

/* At full strength every word that may be touched is, and nothing else. */
static void test_what_is_never_touched(void **state)
{
    static const char *const kept[] = {"{prompt}",
                                       "[[user name here]]",
                                       "<|im_end|>",
                                       "`ls -l /tmp`",
                                       "\"so it goes\"",
                                       "http://a.org/b?c=d",
                                       "3.14",
                                       "x2",
                                       "a_b",
                                       "{two words}"};
    char text[200];
    (void)state;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        for (uint64_t record = 0; record < 200; record++) {
            snprintf(text, sizeof(text), "the %s fox", kept[i]);
            const char *out = noisy(text, 1, record, NULL);
            check_holds(out, kept[i]);
            assert_true(strncmp(out, "the ", 4) != 0);
        }
    assert_string_equal(noisy("", 1, 1, NULL), "");
    assert_string_equal(noisy(" \n", 1, 1, NULL), " \n");
}

/* One word, so that what was done can be told from the text. */
static void test_the_kinds(void **state)
{
    int seen[AP_NOISE_KINDS] = {0};
    (void)state;
    for (uint64_t record = 0; record < 400; record++) {
        struct ap_noise_counts c;
        const char *out = noisy("go.", 0.999999, record, &c);
        const char *rest = strchr(out, ' ') ? strchr(out, ' ') : out + strlen(out);
        size_t n = (size_t)(rest - out);
        assert_int_equal(c.touched[AP_NOISE_DROP] + c.touched[AP_NOISE_SWAP], 0);
        if (c.touched[AP_NOISE_CASE])
            assert_memory_equal(out, "GO.", n);
        else if (c.touched[AP_NOISE_PUNCTUATION]) {
            assert_memory_equal(out, "go", 2);
            assert_true(n == 2 || (n >= 4 && n <= 6));
        } else {
            assert_int_equal(n, 3);
            assert_true((out[0] != 'g') + (out[1] != 'o') == 1);
            assert_non_null(out[0] != 'g' ? strchr("ftyhbv", out[0]) : strchr("ipkl", out[1]));
        }
        for (int k = 0; k < AP_NOISE_KINDS; k++)
            seen[k] += c.touched[k];
    }
    assert_true(seen[AP_NOISE_TYPO] && seen[AP_NOISE_CASE] && seen[AP_NOISE_PUNCTUATION]);
}

/* Words of any script; a word is left, and valid text stays valid. */
static void test_utf8(void **state)
{
    static const char *const pieces[] = {"été ",   "你好",      "吗 ", "naïve, ", "😀 ",
                                         "don't ", "日本語。 ", "«",   "» ",      "well-known! "};
    struct ap_random r;
    (void)state;
    ap_random_init(&r, &(struct ap_stream){.seed = 9});
    for (uint64_t record = 0; record < 3000; record++) {
        char text[600] = "";
        for (uint32_t n = 1 + ap_random_below(&r, 20); n > 0; n--)
            strcat(text, pieces[ap_random_below(&r, sizeof(pieces) / sizeof(pieces[0]))]);
        const char *out = noisy(text, 0.5, record, NULL);
        assert_true(ap_utf8_valid(out, strlen(out)));
        assert_true(strspn(out, " ") < strlen(out));
    }
    for (uint64_t record = 0; record < 100; record++)
        noisy("\xff\xc3 a\xe2\x80 \xf0", 1, record, NULL); /* the sanitizers look on */
}

static void test_a_megabyte(void **state)
{
    enum { N = 1 << 20 };
    char *text = malloc(N + 1);
    (void)state;
    for (int i = 0; i < N; i++)
        text[i] = "[a \"b "[i % 6];
    text[N] = '\0';
    assert_true(strlen(noisy(text, 1, 1, NULL)) > N / 4);
    memset(text, 'a', N);
    assert_true(strlen(noisy(text, 1, 1, NULL)) >= N);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strength_0_is_the_identity),
        cmocka_unit_test(test_a_function_of_its_stream),
        cmocka_unit_test(test_how_much_is_touched),
        cmocka_unit_test(test_what_is_never_touched),
        cmocka_unit_test(test_the_kinds),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_a_megabyte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
