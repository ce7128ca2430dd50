/* Products: against double, and the same bits whatever rows come together, on any number of
 * threads. */
#include "fill.h"

static const struct {
    int m, n, k;
} shapes[] = {
    {1, 1, 1},    {1, 16, 1},    {3, 5, 7},      {6, 16, 32},   {7, 17, 33},    {2, 600, 128},
    {13, 31, 65}, {8, 8, 300},   {97, 40, 19},   {33, 100, 77}, {200, 130, 70}, {12, 24, 520},
    {5, 1, 64},   {64, 344, 64}, {193, 65, 257}, {1, 257, 600}, {4, 48, 8},     {11, 33, 1},
};

static double product_at(const float *a, size_t a_step, const float *b, size_t b_step, int k)
{
    double sum = 0.0;
    for (int i = 0; i < k; i++)
        sum += (double)a[(size_t)i * a_step] * (double)b[(size_t)i * b_step];
    return sum;
}

static void check_linear(int m, int n, int k, bool accumulate)
{
    const struct ap_ops *ops = test_ops();
    float *x = made_up((size_t)m * k, 1, 1), *w = made_up((size_t)n * k, 2, 1);
    float *y = made_up((size_t)m * n, 3, 1);
    double *want = ap_calloc((size_t)m * n, sizeof(*want));
    struct ap_packed *p = ops->pack_new(n, k, AP_F32);
    assert_non_null(p);
    ops->pack(p, w, AP_F32);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            want[(size_t)i * n + j] = product_at(x + (size_t)i * k, 1, w + (size_t)j * k, 1, k) +
                                      (accumulate ? (double)y[(size_t)i * n + j] : 0.0);
    ops->linear(y, x, p, m, accumulate);
    check_array(y, want, (size_t)m * n, 2e-6 * sqrt(k));
    ops->pack_free(p);
    ap_free(x), ap_free(w), ap_free(y), ap_free(want);
}

static void test_linear(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            check_linear(shapes[s].m, shapes[s].n, shapes[s].k, accumulate);
}

static void check_dx(int m, int n, int k, bool accumulate)
{
    const struct ap_ops *ops = test_ops();
    float *dy = made_up((size_t)m * n, 1, 1), *w = made_up((size_t)n * k, 2, 1);
    float *dx = made_up((size_t)m * k, 3, 1);
    double *want = ap_calloc((size_t)m * k, sizeof(*want));
    for (int i = 0; i < m; i++)
        for (int j = 0; j < k; j++)
            want[(size_t)i * k + j] = product_at(dy + (size_t)i * n, 1, w + j, k, n) +
                                      (accumulate ? (double)dx[(size_t)i * k + j] : 0.0);
    struct ap_packed *p = ops->pack_new(n, k, AP_F32);
    assert_non_null(p);
    ops->pack(p, w, AP_F32);
    ops->linear_dx(dx, dy, p, m, accumulate);
    ops->pack_free(p);
    check_array(dx, want, (size_t)m * k, 2e-6 * sqrt(n));
    ap_free(dy), ap_free(w), ap_free(dx), ap_free(want);
}

static void check_dw(int m, int n, int k)
{
    const struct ap_ops *ops = test_ops();
    float *dy = made_up((size_t)m * n, 1, 1), *x = made_up((size_t)m * k, 2, 1);
    float *dw = made_up((size_t)n * k, 3, 1);
    double *want = ap_calloc((size_t)n * k, sizeof(*want));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++)
            want[(size_t)i * k + j] =
                product_at(dy + i, n, x + j, k, m) + (double)dw[(size_t)i * k + j];
    ops->linear_dw(dw, dy, x, m, n, k);
    check_array(dw, want, (size_t)n * k, 2e-6 * sqrt(m));
    ap_free(dy), ap_free(x), ap_free(dw), ap_free(want);
}

static void test_gradients(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        check_dx(shapes[s].m, shapes[s].n, shapes[s].k, false);
        check_dx(shapes[s].m, shapes[s].n, shapes[s].k, true);
        check_dw(shapes[s].m, shapes[s].n, shapes[s].k);
    }
}

/* The full tier: every small shape, where edges of tiles and panels meet. */
static void test_all_small_shapes(void **state)
{
    (void)state;
    if (!check_full())
        skip();
    for (int m = 1; m <= 14; m++)
        for (int n = 1; n <= 36; n += n < 4 ? 1 : 5)
            for (int k = 1; k <= 20; k += k < 3 ? 1 : 6) {
                check_linear(m, n, k, m % 2 == 0);
                check_dx(m, n, k, m % 2 == 1);
                check_dw(m, n, k);
            }
}

/* y by `rows` rows at a time, the last first. */
static void linear_by(const struct ap_ops *ops, float *y, const float *x, const struct ap_packed *p,
                      int m, int n, int k, int rows, bool accumulate)
{
    for (int i = (m - 1) / rows * rows; i >= 0; i -= rows)
        ops->linear(y + (size_t)i * n, x + (size_t)i * k, p, m - i < rows ? m - i : rows,
                    accumulate);
}

static void check_exact(int m, int n, int k, bool accumulate)
{
    const struct ap_ops *ops = test_ops();
    float *x = made_up((size_t)m * k, 1, 1), *w = made_up((size_t)n * k, 2, 1);
    float *start = made_up((size_t)m * n, 3, 1), *y = copy_of(start, (size_t)m * n);
    struct ap_packed *p = ops->pack_new(n, k, AP_F32);
    assert_non_null(p);
    ops->pack(p, w, AP_F32);
    ap_threads_set(2);
    ops->linear(y, x, p, m, accumulate);
    for (int threads = 1; threads <= 3; threads++) {
        ap_threads_set(threads);
        for (int rows = 1; rows <= m; rows = rows * 2 + 1) {
            float *other = copy_of(start, (size_t)m * n);
            linear_by(ops, other, x, p, m, n, k, rows, accumulate);
            check_same_bits(other, y, (size_t)m * n);
            ap_free(other);
        }
    }
    ap_threads_set(0);
    ops->pack_free(p);
    ap_free(x), ap_free(w), ap_free(start), ap_free(y);
}

static void test_rows_are_exact(void **state)
{
    (void)state;
    check_exact(131, 77, 90, false);
    check_exact(131, 77, 90, true);
    check_exact(100, 128, 700, false);
    check_exact(37, 5, 3, true);
    check_exact(66, 600, 64, false);
}

/* Every element is one chain of fused multiply-adds from the first k to the last. */
static void test_order_is_one_chain(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    enum { M = 9, N = 21, K = 530 };
    float *x = made_up((size_t)M * K, 1, 1), *w = made_up((size_t)N * K, 2, 1);
    float *y = zeros((size_t)M * N), *want = zeros((size_t)M * N);
    struct ap_packed *p = ops->pack_new(N, K, AP_F32);
    ops->pack(p, w, AP_F32);
    ops->linear(y, x, p, M, false);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++)
            for (int l = 0; l < K; l++)
                want[i * N + j] = fmaf(x[i * K + l], w[j * K + l], want[i * N + j]);
    check_same_bits(y, want, (size_t)M * N);
    ops->pack_free(p);
    ap_free(x), ap_free(w), ap_free(y), ap_free(want);
}

static void test_gradients_on_threads(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    enum { M = 150, N = 70, K = 200 };
    float *dy = made_up((size_t)M * N, 1, 1), *w = made_up((size_t)N * K, 2, 1);
    float *x = made_up((size_t)M * K, 3, 1);
    float *dx[2], *dw[2];
    struct ap_packed *p = ops->pack_new(N, K, AP_F32);
    assert_non_null(p);
    ops->pack(p, w, AP_F32);
    for (int t = 0; t < 2; t++) {
        dx[t] = zeros((size_t)M * K);
        dw[t] = made_up((size_t)N * K, 4, 1);
        ap_threads_set(1 + t);
        ops->linear_dx(dx[t], dy, p, M, false);
        ops->linear_dw(dw[t], dy, x, M, N, K);
    }
    ap_threads_set(0);
    ops->pack_free(p);
    check_same_bits(dx[1], dx[0], (size_t)M * K);
    check_same_bits(dw[1], dw[0], (size_t)N * K);
    for (int t = 0; t < 2; t++)
        ap_free(dx[t]), ap_free(dw[t]);
    ap_free(dy), ap_free(w), ap_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_all_small_shapes),
        cmocka_unit_test(test_rows_are_exact),
        cmocka_unit_test(test_order_is_one_chain),
        cmocka_unit_test(test_gradients_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
