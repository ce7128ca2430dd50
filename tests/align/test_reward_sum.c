/* The weighted sum of rewards: of normalised scores, in any order, to the bit; errors name the
 * member. */
#include "align/reward.h"
#include "base/error.h"
#include "check.h"

struct fake {
    double scale;
    int n_calls;
    const char *fails; /* with these words; NULL: it does not */
};

static ap_status fake_score(void *self, const struct ap_scored *items, int n, double *out,
                            struct ap_error *err)
{
    struct fake *f = self;
    f->n_calls++;
    if (f->fails)
        return ap_fail(err, AP_IO, "%s", f->fails);
    for (int i = 0; i < n; i++)
        out[i] = f->scale * (double)strlen(items[i].y);
    return AP_OK;
}

static struct ap_reward reward_of(struct fake *f, double gain, double bias)
{
    return (struct ap_reward){.self = f, .score = fake_score, .gain = gain, .bias = bias};
}

static const struct ap_scored items[] = {{.x = "x", .y = "1", .ended = true},
                                         {.x = "x", .y = "two", .ended = true},
                                         {.x = "x", .y = "", .ended = false}};

static void test_of_normalised_scores(void **state)
{
    (void)state;
    struct ap_error err;
    struct fake a = {.scale = 1}, b = {.scale = -2};
    struct ap_reward rewards[] = {reward_of(&a, 2, 1), reward_of(&b, 1, 0)}, sum;
    const struct ap_reward_part parts[] = {{&rewards[0], 0.5, "a"}, {&rewards[1], 3, "b"}};
    double out[3];
    check_ok(ap_reward_sum(&sum, parts, 2, &err), err);
    check_ok(ap_reward_score(&sum, items, 3, out, &err), err);
    for (int i = 0; i < 3; i++) {
        double n = (double)strlen(items[i].y);
        check_near(out[i], 0.5 * (2 * n + 1) + 3 * -2 * n, 1e-12, 0);
    }
    ap_reward_free(&sum);
}

static void test_of_one_is_that_one(void **state)
{
    (void)state;
    struct ap_error err;
    struct fake a = {.scale = 0.1};
    struct ap_reward reward = reward_of(&a, 0.7, 0.3), sum;
    const struct ap_reward_part part = {&reward, 1, NULL};
    double out[3], want[3];
    check_ok(ap_reward_sum(&sum, &part, 1, &err), err);
    check_ok(ap_reward_score(&sum, items, 3, out, &err), err);
    check_ok(ap_reward_score(&reward, items, 3, want, &err), err);
    assert_memory_equal(out, want, sizeof(want));
    ap_reward_free(&sum);
}

/* |weight · gain| times each range; not known where one that is asked has none. */
static void test_range(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_reward rewards[3], sum;
    check_ok(ap_reward_rule(&rewards[0], "regex", "a", 0, &err), err);
    check_ok(ap_reward_rule(&rewards[1], "match", "a", 0, &err), err);
    check_ok(ap_reward_rule(&rewards[2], "length", "", 9, &err), err);
    rewards[1].gain = -2;
    for (int asks_length = 0; asks_length < 2; asks_length++) {
        const struct ap_reward_part parts[] = {
            {&rewards[0], 0.5, "a"}, {&rewards[1], 3, "b"}, {&rewards[2], asks_length, "c"}};
        check_ok(ap_reward_sum(&sum, parts, 3, &err), err);
        check_near(sum.range, asks_length ? 0 : 6.5, 0, 0);
        ap_reward_free(&sum);
    }
    for (int i = 0; i < 3; i++)
        ap_reward_free(&rewards[i]);
}

static void test_weight_0_is_not_asked(void **state)
{
    (void)state;
    struct ap_error err;
    struct fake a = {.scale = 1}, b = {.fails = "it is tired"};
    struct ap_reward rewards[] = {reward_of(&a, 1, 0), reward_of(&b, 1, 0)}, sum;
    const struct ap_reward_part parts[] = {{&rewards[0], 1, "a"}, {&rewards[1], 0, "b"}};
    double out[3];
    check_ok(ap_reward_sum(&sum, parts, 2, &err), err);
    check_ok(ap_reward_score(&sum, items, 3, out, &err), err);
    assert_int_equal(b.n_calls, 0);
    assert_true(out[1] == 3);
    ap_reward_free(&sum);
}

static void test_errors_name_the_member(void **state)
{
    (void)state;
    struct ap_error err;
    struct fake a = {.scale = 1}, b = {.fails = "it is tired"}, c = {.scale = NAN};
    struct ap_reward rewards[] = {reward_of(&a, 1, 0), reward_of(&b, 1, 0), reward_of(&c, 1, 0)};
    struct ap_reward sum;
    double out[3];
    for (int k = 1; k < 3; k++) {
        const struct ap_reward_part parts[] = {{&rewards[0], 1, "fine"}, {&rewards[k], 1, "other"}};
        check_ok(ap_reward_sum(&sum, parts, 2, &err), err);
        err = (struct ap_error){0};
        assert_int_equal(ap_reward_score(&sum, items, 3, out, &err), k == 1 ? AP_IO : AP_NUMERIC);
        check_holds(err.text, "rewards.other: ");
        check_holds(err.text, k == 1 ? "it is tired" : "expected a finite number");
        ap_reward_free(&sum);
    }
}

/* A server's client has said its name already. */
static void test_no_name_twice(void **state)
{
    static const struct {
        const char *says, *text;
    } rows[] = {{"rewards.a: nobody is there", "rewards.a: nobody is there"},
                {"rewards.a.budget.usd is 1", "rewards.a.budget.usd is 1"},
                {"rewards.ab: nobody is there", "rewards.a: rewards.ab: nobody is there"},
                {"rewards.a", "rewards.a: rewards.a"}};
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct ap_error err = {0};
        struct fake a = {.fails = rows[i].says};
        struct ap_reward reward = reward_of(&a, 1, 0), sum;
        const struct ap_reward_part part = {&reward, 1, "a"};
        double out[3];
        check_ok(ap_reward_sum(&sum, &part, 1, &err), err);
        assert_int_equal(ap_reward_score(&sum, items, 3, out, &err), AP_IO);
        assert_string_equal(err.text, rows[i].text);
        assert_int_equal(ap_reward_score(&sum, items, 3, out, NULL), AP_IO);
        ap_reward_free(&sum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_of_normalised_scores),  cmocka_unit_test(test_of_one_is_that_one),
        cmocka_unit_test(test_no_name_twice),         cmocka_unit_test(test_range),
        cmocka_unit_test(test_weight_0_is_not_asked), cmocka_unit_test(test_errors_name_the_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
