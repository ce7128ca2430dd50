/* oneDNN behind the table: the values of our own products, any number of rows, and the verdict on
 * its exactness. */
#include "fill.h"

#include "tensor/cpu/onednn.h"

static const struct ap_ops *ops_with(const char *who)
{
    setenv("ALIGNPRO_MATMUL", who, 1);
    const struct ap_ops *ops = test_ops();
    unsetenv("ALIGNPRO_MATMUL");
    return ops;
}

static void check_against_own(int m, int n, int k, bool accumulate)
{
    const struct ap_ops *ops[2] = {ops_with("own"), ops_with("onednn")};
    float *x = made_up((size_t)m * k, 1, 1), *w = made_up((size_t)n * k, 2, 1), *y[2];
    for (int i = 0; i < 2; i++) {
        struct ap_packed *p = ops[i]->pack_new(n, k);
        assert_non_null(p);
        ops[i]->pack(p, w);
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

static void test_verdict_is_true_of_what_it_says(void **state)
{
    (void)state;
    enum { M = 33, N = 512, K = 512 };
    struct ap_onednn *o = ap_onednn_new(N, K);
    assert_non_null(o);
    bool exact = ap_onednn_is_exact(o);
    float *x = made_up(M * K, 1, 1), *w = made_up(N * K, 2, 1), *all = zeros(M * N),
          *one = zeros(N);
    ap_onednn_pack(o, w);
    ap_onednn_linear(all, x, o, M, false);
    for (int i = 0; exact && i < M; i++) {
        ap_onednn_linear(one, x + i * K, o, 1, false);
        check_same_bits(one, all + i * N, N);
    }
    if (!exact)
        printf("oneDNN's rows are not exact on this processor\n");
    ap_onednn_free(o);
    ap_onednn_free(NULL);
    ap_free(x), ap_free(w), ap_free(all), ap_free(one);
}

/* Whatever the table chose for a large weight, its rows are exact. */
static void test_large_weight_is_exact(void **state)
{
    (void)state;
    enum { M = 70, N = 520, K = 512 };
    const struct ap_ops *ops = test_ops();
    float *x = made_up(M * K, 1, 1), *w = made_up(N * K, 2, 1), *all = zeros(M * N),
          *one = zeros(N);
    struct ap_packed *p = ops->pack_new(N, K);
    assert_non_null(p);
    ops->pack(p, w);
    ops->linear(all, x, p, M, false);
    for (int i = 0; i < M; i++) {
        ops->linear(one, x + i * K, p, 1, false);
        check_same_bits(one, all + i * N, N);
    }
    ops->pack_free(p);
    ap_free(x), ap_free(w), ap_free(all), ap_free(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_verdict_is_true_of_what_it_says),
        cmocka_unit_test(test_large_weight_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
