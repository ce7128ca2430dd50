/* A pairwise judge's replies: what is a verdict and what is not, two orders, what is counted. */
#include "align/judge.h"

#include "check.h"

#include <math.h>

static void test_parse(void **state)
{
    static const struct {
        const char *reply;
        ap_verdict verdict;
    } cases[] = {
        {"A", AP_VERDICT_A},
        {" b.\n", AP_VERDICT_B},
        {"\n**Tie**\n", AP_VERDICT_TIE},
        {"Verdict: A", AP_VERDICT_A},
        {"verdict:b", AP_VERDICT_B},
        {"Both will do.\n**Verdict:** tie", AP_VERDICT_TIE},
        {"**Verdict**: **B**\r\n", AP_VERDICT_B},
        {"My final verdict: A.", AP_VERDICT_A},
        {"B is shorter, so [[B]]", AP_VERDICT_B},
        {"Verdict: [[A]]", AP_VERDICT_A},
        {"Verdict: A\nNo, wait.\nVerdict: B", AP_VERDICT_B},
        {"Verdict: A [[A]]", AP_VERDICT_A},
        {"Verdict: A\nI hope this helps.", AP_VERDICT_A},
        {"Verdict: A Verdict: B", AP_VERDICT_NONE},
        {"[[A]][[B]]", AP_VERDICT_NONE},
        {"Verdict: B\n[[A]] [[B]]", AP_VERDICT_NONE},
        {"Verdict: A or B", AP_VERDICT_NONE},
        {"Verdict: A/B", AP_VERDICT_NONE},
        {"Verdict: A good answer", AP_VERDICT_NONE},
        {"A good answer is short.", AP_VERDICT_NONE},
        {"A\nB", AP_VERDICT_NONE},
        {"Verdict: Apple", AP_VERDICT_NONE},
        {"Verdict: tied", AP_VERDICT_NONE},
        {"Verdict: A\xc3\xa9", AP_VERDICT_NONE},
        {"Verdict A", AP_VERDICT_NONE},
        {"overdict: A", AP_VERDICT_NONE},
        {"Verdict:\nA", AP_VERDICT_NONE},
        {"[[C]]", AP_VERDICT_NONE},
        {"[[A]", AP_VERDICT_NONE},
        {"", AP_VERDICT_NONE},
        {"\n \n", AP_VERDICT_NONE},
        {"\xff\xfe", AP_VERDICT_NONE},
        {NULL, AP_VERDICT_NONE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (ap_verdict_parse(cases[i].reply) != cases[i].verdict)
            fail_msg("\"%s\": got %d, expected %d", cases[i].reply,
                     (int)ap_verdict_parse(cases[i].reply), (int)cases[i].verdict);
}

/* Swapping the two answers turns a win into a loss and nothing else; always "A" is no winner. */
static void test_two_orders(void **state)
{
    (void)state;
    assert_int_equal(ap_outcome_of(AP_VERDICT_A, AP_VERDICT_B), AP_OUTCOME_WIN);
    assert_int_equal(ap_outcome_of(AP_VERDICT_A, AP_VERDICT_A), AP_OUTCOME_CONTRADICTION);
    assert_int_equal(ap_outcome_of(AP_VERDICT_A, AP_VERDICT_TIE), AP_OUTCOME_CONTRADICTION);
    assert_int_equal(ap_outcome_of(AP_VERDICT_TIE, AP_VERDICT_TIE), AP_OUTCOME_TIE);
    for (int a = AP_VERDICT_NONE; a <= AP_VERDICT_TIE; a++)
        for (int b = AP_VERDICT_NONE; b <= AP_VERDICT_TIE; b++) {
            ap_outcome one = ap_outcome_of((ap_verdict)a, (ap_verdict)b);
            ap_outcome other = ap_outcome_of((ap_verdict)b, (ap_verdict)a);
            assert_int_equal(one == AP_OUTCOME_NONE, a == AP_VERDICT_NONE || b == AP_VERDICT_NONE);
            if (one == AP_OUTCOME_NONE)
                assert_true(isnan(ap_outcome_points(one)));
            else
                assert_true(ap_outcome_points(one) + ap_outcome_points(other) == 1.0);
        }
    assert_string_equal(ap_outcome_name(AP_OUTCOME_SAME), "same");
}

static void test_shares(void **state)
{
    /* 10 pairs: 2 none, 4 win, 1 loss, 1 tie, 1 contradiction, 1 same: (4 + 3/2) / 8 */
    static const int64_t counts[AP_OUTCOME_COUNT] = {2, 4, 1, 1, 1, 1};
    static const int64_t none[AP_OUTCOME_COUNT] = {0};
    static const int64_t all_bad[AP_OUTCOME_COUNT] = {3};
    (void)state;
    struct ap_outcome_shares s = ap_outcome_sum(counts, 0.2);
    assert_int_equal(s.n, 10);
    assert_true(s.win_rate == 5.5 / 8 && s.contradicted == 0.1 && s.bad == 0.2);
    s = ap_outcome_sum(counts, 0.19);
    assert_true(isnan(s.win_rate) && s.bad == 0.2);
    s = ap_outcome_sum(none, 1);
    assert_true(s.n == 0 && isnan(s.win_rate) && isnan(s.bad));
    assert_true(isnan(ap_outcome_sum(all_bad, 1).win_rate));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_two_orders),
        cmocka_unit_test(test_shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
