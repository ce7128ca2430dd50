/* The monitors by hand, and what they promise: bounded, indifferent to case and punctuation, alive
 * on any bytes. */
#include "align/monitor.h"

#include "base/memory.h"
#include "base/random.h"
#include "check.h"

#include <math.h>

static double repetition(const char *text)
{
    struct ap_error err;
    double value = NAN;
    check_ok(ap_monitor_repetition(text, &value, &err), err);
    return value;
}

static double copy(const char *x, const char *rewrite)
{
    struct ap_error err;
    double value = NAN;
    check_ok(ap_monitor_copy(x, rewrite, &value, &err), err);
    return value;
}

static double drift(const char *x, const char *rewrite)
{
    struct ap_error err;
    double value = NAN;
    check_ok(ap_monitor_drift(x, rewrite, &value, &err), err);
    return value;
}

static void test_repetition_by_hand(void **state)
{
    (void)state;
    check_near(repetition(""), 0, 0, 0);
    check_near(repetition("a b"), 0, 0, 0);
    check_near(repetition("a b c d"), 0, 0, 0);
    check_near(repetition("a a a"), 0, 0, 0);
    check_near(repetition("a a a a"), 0.5, 0, 0);      /* aaa aaa */
    check_near(repetition("a b c a b c"), 0.25, 0, 0); /* abc bca cab abc */
    check_near(repetition("A, b -- c! a. B (c)"), 0.25, 0, 0);
    check_near(repetition("a b c. a b d. a b e."), 0, 0, 0); /* pairs repeat, triples do not */
    check_near(repetition("ab c d abc d"), 0, 0, 0);         /* words, not letters */
}

static void test_copy_by_hand(void **state)
{
    (void)state;
    check_near(copy("", "anything"), 0, 0, 0);
    check_near(copy("fox food", ""), 0, 0, 0);
    check_near(copy("fox food", "Tell me what food the FOX's cubs eat."), 1, 0, 0);
    check_near(copy("the fox, the home", "about the bear"), 0.5, 0, 0);
    check_near(copy("my son saw a fox", "describe the fox"), 0.2, 0, 0);
    check_near(copy("l\xC3\xA9opard", "le l\xC3\xA9opard"), 1, 0, 0);
}

static void test_drift_by_hand(void **state)
{
    (void)state;
    check_near(drift("about the otter", "About  the OTTER"), 0, 0, 0);
    check_near(drift("abc", "xyz"), 1, 0, 0);
    check_near(drift("", ""), 0, 0, 0);
    assert_true(drift("about the otter", "about the otters") < drift("about the otter", "a fox"));
}

static void test_means_over_texts(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_monitored m = {0};
    for (int k = 0; k < AP_MONITOR_COUNT; k++)
        assert_true(isnan(ap_monitored_mean(&m, (ap_monitor)k)));
    const struct ap_monitor_text texts[] = {
        {"fox food", "food of the fox", "a a a a", 4, 6, true},
        {"fox food", "bear", "a b c", 2, -1, false},
        {"fox food", NULL, "a b c d", 0, 12, true}, /* no rewrite */
        {"fox food", NULL, "", 0, 0, true},         /* an empty answer is one, of no tokens */
    };
    for (size_t i = 0; i < AP_LEN(texts); i++)
        check_ok(ap_monitored_add(&m, &texts[i], &err), err);
    check_near(ap_monitored_mean(&m, AP_MONITOR_REPETITION), 0.5 / 4, 1e-15, 0);
    check_near(ap_monitored_mean(&m, AP_MONITOR_MISSING_END), 1.0 / 4, 1e-15, 0);
    check_near(ap_monitored_mean(&m, AP_MONITOR_COPY), 0.5, 0, 0);
    check_near(ap_monitored_mean(&m, AP_MONITOR_REWRITE_LENGTH), 3, 0, 0);
    check_near(ap_monitored_mean(&m, AP_MONITOR_ANSWER_LENGTH), 6, 0, 0); /* one is not known */
    assert_true(isnan(ap_monitored_mean(&m, AP_MONITOR_GAP)));
}

static void test_any_bytes_give_shares(void **state)
{
    (void)state;
    struct ap_random random;
    char a[64], b[64];
    ap_random_init(&random, &(struct ap_stream){.seed = 9});
    for (int i = 0; i < 2000; i++) {
        size_t n = (size_t)(60 * ap_random_uniform(&random));
        for (size_t k = 0; k < sizeof(a) - 1; k++) {
            a[k] = (char)(1 + (int)(255 * ap_random_uniform(&random)));
            b[k] = (char)(97 + (int)(3 * ap_random_uniform(&random)) * (k % 2 ? 1 : -32));
        }
        a[n] = b[n] = '\0';
        const double values[] = {repetition(a), repetition(b), copy(a, b), copy(b, a), drift(a, b)};
        for (size_t k = 0; k < AP_LEN(values); k++)
            assert_true(values[k] >= 0 && values[k] <= 1);
        check_near(copy(a, a), copy(a, a) > 0 ? 1 : 0, 0, 0); /* or there is no word */
    }
}

static void test_every_monitor_has_a_name_and_a_remedy(void **state)
{
    (void)state;
    assert_string_equal(ap_monitor_name(AP_MONITOR_REPETITION), "repetition");
    assert_string_equal(ap_monitor_name(AP_MONITOR_DRIFT), "drift");
    assert_string_equal(ap_monitor_name(AP_MONITOR_GAP), "gap");
    for (int k = 0; k < AP_MONITOR_COUNT; k++) {
        assert_true(strlen(ap_monitor_remedy((ap_monitor)k)) > 10);
        assert_true(strlen(ap_monitor_name((ap_monitor)k)) > 2);
        for (int i = 0; i < k; i++)
            assert_string_not_equal(ap_monitor_remedy((ap_monitor)k),
                                    ap_monitor_remedy((ap_monitor)i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repetition_by_hand),
        cmocka_unit_test(test_copy_by_hand),
        cmocka_unit_test(test_drift_by_hand),
        cmocka_unit_test(test_means_over_texts),
        cmocka_unit_test(test_any_bytes_give_shares),
        cmocka_unit_test(test_every_monitor_has_a_name_and_a_remedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
