/* Flat arrays, AdamW, exp, the number of threads, and the choice of the table. */
#include "fill.h"

#include "tensor/cpu/vmath.h"

static void test_add_and_scale(void **state)
{
    (void)state;
    enum { N = 40001 };
    float *x = made_up(N, 1, 1), *y = made_up(N, 2, 1), *sum = copy_of(y, N), *half = copy_of(x, N);
    test_ops()->add(sum, x, N);
    test_ops()->scale(half, 0.5f, N);
    for (int i = 0; i < N; i++)
        assert_true(sum[i] == x[i] + y[i] && half[i] == 0.5f * x[i]);
    ap_free(x), ap_free(y), ap_free(sum), ap_free(half);
}

static void test_sum_squares(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    const size_t sizes[] = {0, 1, 15, 64, 65, 1000, 70001};
    for (size_t c = 0; c < sizeof(sizes) / sizeof(sizes[0]); c++) {
        float *x = made_up(sizes[c], 1, 3);
        double want = 0.0;
        for (size_t i = 0; i < sizes[c]; i++)
            want += (double)x[i] * (double)x[i];
        check_near(ops->sum_squares(x, sizes[c]), want, 0, 1e-13);
        ap_threads_set(1);
        double one = ops->sum_squares(x, sizes[c]);
        ap_threads_set(2);
        double two = ops->sum_squares(x, sizes[c]);
        ap_threads_set(0);
        assert_memory_equal(&one, &two, sizeof(one));
        ap_free(x);
    }
}

static void test_sum_squares_lets_nan_through(void **state)
{
    (void)state;
    float *x = made_up(50000, 1, 1);
    for (size_t at = 0; at < 50000; at += 4999) {
        float keep = x[at];
        x[at] = NAN;
        assert_true(isnan(test_ops()->sum_squares(x, 50000)));
        x[at] = -INFINITY;
        assert_true(isinf(test_ops()->sum_squares(x, 50000)));
        x[at] = 1e30f; /* its square is no f32 */
        check_near(test_ops()->sum_squares(x, 50000), 1e60, 0, 1e-6);
        x[at] = keep;
    }
    ap_free(x);
}

/* Worked by hand: w 1, g 0.5, lr 0.1, β 0.9 and 0.99, eps 0.01, decay 0.2. Step 1: m = 0.05, v =
 * 0.0025, m̂ = v̂^½ = 0.5, so w = 1·0.98 − 0.1·0.5/0.51. Step 2, g = −1: m = −0.055, v = 0.012475. */
static void test_adamw_by_hand(void **state)
{
    (void)state;
    float w = 1.0f, m = 0.0f, v = 0.0f, g = 0.5f;
    test_ops()->adamw(&w, &g, &m, &v, 1, 1.0f, 0.1, 0.9, 0.99, 0.01, 0.2, 1);
    double want = 0.98 - 0.1 * 0.5 / 0.51;
    check_near((double)m, 0.05, 1e-8, 0);
    check_near((double)v, 0.0025, 1e-9, 0);
    check_near((double)w, want, 2e-7, 0);
    g = -2.0f;
    test_ops()->adamw(&w, &g, &m, &v, 1, 0.5f, 0.1, 0.9, 0.99, 0.01, 0.2, 2);
    want = want * 0.98 - 0.1 * (-0.055 / 0.19) / (sqrt(0.012475 / 0.0199) + 0.01);
    check_near((double)m, -0.055, 1e-8, 0);
    check_near((double)v, 0.012475, 1e-8, 0);
    check_near((double)w, want, 3e-7, 0);
}

static void test_adamw_on_threads(void **state)
{
    (void)state;
    enum { N = 100003 };
    float *g = made_up(N, 1, 1), *w[2], *m[2], *v[2];
    for (int t = 0; t < 2; t++) {
        w[t] = made_up(N, 2, 1), m[t] = made_up(N, 3, 1), v[t] = made_up(N, 4, 1);
        for (int i = 0; i < N; i++)
            v[t][i] = fabsf(v[t][i]);
        ap_threads_set(t + 1);
        test_ops()->adamw(w[t], g, m[t], v[t], N, 0.3f, 1e-3, 0.9, 0.999, 1e-8, 0.1, 5);
    }
    ap_threads_set(0);
    check_same_bits(w[1], w[0], N);
    check_same_bits(m[1], m[0], N);
    check_same_bits(v[1], v[0], N);
    for (int t = 0; t < 2; t++)
        ap_free(w[t]), ap_free(m[t]), ap_free(v[t]);
    ap_free(g);
}

/* Distance in representable numbers. */
static double ulps(float got, double want)
{
    float near = (float)want;
    double unit = (double)(nextafterf(fabsf(near), INFINITY) - fabsf(near));
    return fabs((double)got - want) / unit;
}

static void test_exp(void **state)
{
    (void)state;
    float x[4 * AP_VEC_N];
    double worst = 0.0;
    for (float at = -87.3f; at < 88.7f; at += 0.00371f * (float)AP_VEC_N) {
        ap_vf e[4];
        for (int i = 0; i < 4 * AP_VEC_N; i++)
            x[i] = at + 0.00371f * (float)(i % AP_VEC_N);
        for (int v = 0; v < 4; v++)
            e[v] = ap_vload(x + v * AP_VEC_N);
        ap_vexp_each(e, 4);
        for (int i = 0; i < AP_VEC_N; i++) {
            double error = ulps(e[0][i], exp((double)x[i]));
            worst = error > worst ? error : worst;
            assert_true(e[3][i] == e[0][i]);
        }
    }
    assert_true(worst <= 2.0);
}

static void test_exp_at_the_ends(void **state)
{
    (void)state;
    const float x[8] = {-88.0f, -1000.0f, -INFINITY, 0.0f, 89.0f, 1e30f, INFINITY, NAN};
    for (int i = 0; i < 8; i++) {
        ap_vf e = ap_vsplat(x[i]);
        ap_vexp_each(&e, 1);
        if (i < 3)
            assert_true(e[0] == 0.0f);
        else if (i == 3)
            assert_true(e[0] == 1.0f);
        else if (i < 7)
            assert_true(isinf(e[0]) && e[0] > 0.0f);
        else
            assert_true(isnan(e[0]));
    }
}

static void test_threads(void **state)
{
    (void)state;
    assert_int_equal(ap_threads_set(3), 3);
    assert_int_equal(ap_threads(), 3);
    assert_true(ap_threads_set(0) >= 1);
}

static void test_choice_of_products(void **state)
{
    (void)state;
    const struct ap_ops *ops;
    struct ap_error err = {0};
    setenv("ALIGNPRO_MATMUL", "mkl", 1);
    assert_int_equal(ap_ops_cpu(&ops, &err), AP_INVALID);
    check_holds(err.text, "ALIGNPRO_MATMUL: expected onednn, found mkl");
    setenv("ALIGNPRO_MATMUL", "onednn", 1);
    check_ok(ap_ops_cpu(&ops, &err), err);
    check_holds(ops->name, "oneDNN products");
    unsetenv("ALIGNPRO_MATMUL");
    check_ok(ap_ops_cpu(&ops, &err), err);
    check_holds(ops->name, "cpu");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_scale),
        cmocka_unit_test(test_sum_squares),
        cmocka_unit_test(test_sum_squares_lets_nan_through),
        cmocka_unit_test(test_adamw_by_hand),
        cmocka_unit_test(test_adamw_on_threads),
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_exp_at_the_ends),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_choice_of_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
