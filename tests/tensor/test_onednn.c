/* oneDNN behind the table: the values of our own products, any number of rows. */
#include "fill.h"

static const struct ap_ops *ops_with(const char *who)
{
    setenv("ALIGNPRO_MATMUL", who, 1);
    const struct ap_ops *ops = test_ops();
    unsetenv("ALIGNPRO_MATMUL");
    return ops;
}

static void check_against_own(int m, int n, int k, bool accumulate)
{
    const struct ap_ops *ops[2] = {test_ops(), ops_with("onednn")};
    float *x = made_up((size_t)m * k, 1, 1), *w = made_up((size_t)n * k, 2, 1), *y[2];
    for (int i = 0; i < 2; i++) {
        struct ap_packed *p = ops[i]->pack_new(n, k, AP_F32);
        assert_non_null(p);
        ops[i]->pack(p, w, AP_F32);
        y[i] = made_up((size_t)m * n, 3, 1);
        ops[i]->linear(y[i], x, p, m, accumulate);
        ops[i]->pack_free(p);
    }
    for (size_t i = 0; i < (size_t)m * n; i++)
        check_near((double)y[1][i], (double)y[0][i], 4e-6 * sqrt(k), 1e-5);
    ap_free(x), ap_free(w), ap_free(y[0]), ap_free(y[1]);
}

static void test_values(void **state)
{
    (void)state;
    static const int rows[] = {1, 5, 63, 64, 65, 200, 700};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_against_own(rows[i], 40, 33, false);
        check_against_own(rows[i], 96, 64, true);
    }
    check_against_own(3, 1, 1, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
