/* exp and the sigmoid of vectors over their whole range, no value of which may leave the integers
 * inside (a sanitized build stops there). */
#include "check.h"

#include "base/error.h"
#include "tensor/cpu/vmath.h"

#include <math.h>
#include <string.h>

static float exp_of(float value)
{
    ap_vf x[4];
    for (int v = 0; v < 4; v++)
        x[v] = ap_vsplat(value);
    ap_vexp_each(x, 4);
    return x[3][AP_VEC_N - 1];
}

static float sigmoid_of(float value)
{
    ap_vf x[1] = {ap_vsplat(value)};
    ap_vsigmoid_each(x, 1);
    return x[0][0];
}

static void test_normal_values(void **state)
{
    (void)state;
    for (float x = -87.33f; x < 88.7f; x += 0.37f)
        check_near(exp_of(x), exp((double)x), 0, 2.5e-7);
    assert_true(exp_of(0) == 1 && exp_of(-0.0f) == 1);
}

static void test_ends_of_the_range(void **state)
{
    const float low[] = {-87.34f, -88, -200, -9e6f, -1.5e7f, -1e9f, -1e30f, -3.4e38f, -INFINITY};
    const float high[] = {88.8f, 89, 200, 1e30f, INFINITY};
    (void)state;
    for (size_t i = 0; i < AP_LEN(low); i++) {
        assert_true(exp_of(low[i]) == 0 && !signbit(exp_of(low[i])));
        assert_true(sigmoid_of(-low[i]) == 1);
    }
    for (size_t i = 0; i < AP_LEN(high); i++) {
        assert_true(exp_of(high[i]) == INFINITY);
        assert_true(sigmoid_of(-high[i]) == 0);
    }
}

static void test_no_number(void **state)
{
    (void)state;
    assert_true(isnan(exp_of(NAN)) && isnan(exp_of(-NAN)));
    assert_true(isnan(sigmoid_of(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal_values),
        cmocka_unit_test(test_ends_of_the_range),
        cmocka_unit_test(test_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
