/* What works row by row: against double, gradients by finite differences, the same bits alone,
 * among others and on threads. */
#include "fill.h"

/* The rows of [m, width] that a call on all of them must give when it is made on one row at a time.
 */
typedef void (*rows_fn)(float *y, const float *x, int first, int n);

static void check_exact(rows_fn fn, const float *x, int m, int width)
{
    size_t n = (size_t)m * width;
    float *all = copy_of(x, n), *one = copy_of(x, n);
    ap_threads_set(2);
    fn(all, x, 0, m);
    ap_threads_set(1);
    for (int i = m - 1; i >= 0; i--)
        fn(one + (size_t)i * width, x + (size_t)i * width, i, 1);
    ap_threads_set(0);
    check_same_bits(one, all, n);
    ap_free(all), ap_free(one);
}

/* -- RMSNorm -- */

static const int widths[] = {1, 7, 16, 33, 64, 128, 577};
#define N_WIDTHS (sizeof(widths) / sizeof(widths[0]))
#define M 5

static void rmsnorm_reference(double *y, const float *x, const float *w, int m, int width,
                              double eps)
{
    for (int i = 0; i < m; i++) {
        double sum = 0.0;
        for (int j = 0; j < width; j++)
            sum += (double)x[i * width + j] * (double)x[i * width + j];
        for (int j = 0; j < width; j++)
            y[i * width + j] = (double)x[i * width + j] / sqrt(sum / width + eps) * (double)w[j];
    }
}

static void test_rmsnorm(void **state)
{
    (void)state;
    for (size_t c = 0; c < N_WIDTHS; c++) {
        int width = widths[c];
        size_t n = (size_t)M * width;
        float *x = made_up(n, 1, 2), *w = made_up((size_t)width, 2, 1), *y = zeros(n);
        float rstd[M];
        double *want = ap_calloc(n, sizeof(*want));
        rmsnorm_reference(want, x, w, M, width, 1e-5);
        test_ops()->rmsnorm(y, rstd, x, w, M, width, 1e-5f);
        check_array(y, want, n, 1e-6);
        memset(y, 0, n * sizeof(float));
        test_ops()->rmsnorm(y, NULL, x, w, M, width, 1e-5f);
        check_array(y, want, n, 1e-6);
        ap_free(x), ap_free(w), ap_free(y), ap_free(want);
    }
}

static void rmsnorm_rows(float *y, const float *x, int first, int n)
{
    float *w = made_up(100, 9, 1);
    (void)first;
    test_ops()->rmsnorm(y, NULL, x, w, n, 100, 1e-5f);
    ap_free(w);
}

/* Σ dy·y at x + step·e_i, in double. */
static double rmsnorm_objective(const float *dy, const float *x, const float *w, int width)
{
    double *y = ap_calloc((size_t)M * width, sizeof(*y)), sum = 0.0;
    rmsnorm_reference(y, x, w, M, width, 1e-5);
    for (int i = 0; i < M * width; i++)
        sum += y[i] * (double)dy[i];
    ap_free(y);
    return sum;
}

static double slope(float *at, double (*f)(const float *, const float *, const float *, int),
                    const float *dy, const float *x, const float *w, int width)
{
    float keep = *at;
    *at = keep + 0x1p-10f;
    double up = f(dy, x, w, width), high = (double)*at;
    *at = keep - 0x1p-10f;
    double down = f(dy, x, w, width), low = (double)*at;
    *at = keep;
    return (up - down) / (high - low);
}

static void test_rmsnorm_backward(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    for (size_t c = 1; c < N_WIDTHS; c++) {
        int width = widths[c];
        size_t n = (size_t)M * width;
        float *x = made_up(n, 1, 2), *w = made_up((size_t)width, 2, 1), *dy = made_up(n, 3, 1);
        float *y = zeros(n), *dx = made_up(n, 4, 1), *before = copy_of(dx, n);
        float *dw = made_up((size_t)width, 5, 1), *dw_before = copy_of(dw, (size_t)width);
        float rstd[M];
        ops->rmsnorm(y, rstd, x, w, M, width, 1e-5f);
        ops->rmsnorm_backward(dx, dw, dy, x, w, rstd, M, width);
        for (size_t i = 0; i < n; i += 1 + n / 31)
            check_near((double)(dx[i] - before[i]),
                       slope(&x[i], rmsnorm_objective, dy, x, w, width), 1e-5, 1e-4);
        for (int j = 0; j < width; j += 1 + width / 13)
            check_near((double)(dw[j] - dw_before[j]),
                       slope(&w[j], rmsnorm_objective, dy, x, w, width), 1e-5, 1e-5);
        float *again = copy_of(before, n);
        ops->rmsnorm_backward(again, NULL, dy, x, w, rstd, M, width);
        check_same_bits(again, dx, n);
        ap_free(x), ap_free(w), ap_free(dy), ap_free(y), ap_free(dx), ap_free(before);
        ap_free(dw), ap_free(dw_before), ap_free(again);
    }
}

/* Sums over rows are the same on any number of threads. */
static void test_sums_over_rows(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    enum { ROWS = 700, WIDTH = 150 };
    float *x = made_up(ROWS * WIDTH, 1, 1), *dy = made_up(ROWS * WIDTH, 2, 1);
    float *w = made_up(WIDTH, 3, 1), *rstd = made_up(ROWS, 4, 1), *dx = zeros(ROWS * WIDTH);
    float *dw[2], *db[2], *table[2];
    int32_t ids[ROWS];
    double want = 0.0;
    for (int i = 0; i < ROWS; i++) {
        ids[i] = i * i % 11;
        want += (double)dy[i * WIDTH + 149];
    }
    for (int t = 0; t < 2; t++) {
        ap_threads_set(t + 1);
        dw[t] = zeros(WIDTH), db[t] = zeros(WIDTH), table[t] = zeros(11 * WIDTH);
        ops->rmsnorm_backward(dx, dw[t], dy, x, w, rstd, ROWS, WIDTH);
        ops->bias_db(db[t], dy, ROWS, WIDTH);
        ops->embed_backward(table[t], dy, ids, ROWS, WIDTH);
    }
    ap_threads_set(0);
    check_same_bits(dw[1], dw[0], WIDTH);
    check_same_bits(db[1], db[0], WIDTH);
    check_same_bits(table[1], table[0], 11 * WIDTH);
    check_near((double)db[0][149], want, 1e-4, 1e-5);
    for (int t = 0; t < 2; t++)
        ap_free(dw[t]), ap_free(db[t]), ap_free(table[t]);
    ap_free(x), ap_free(dy), ap_free(w), ap_free(rstd), ap_free(dx);
}

/* -- bias -- */

static void test_bias(void **state)
{
    (void)state;
    float y[6] = {1, 2, 3, 4, 5, 6}, b[3] = {10, 20, 30}, db[3] = {1, 1, 1};
    const float want[6] = {11, 22, 33, 14, 25, 36}, want_db[3] = {6, 8, 10};
    const float dy[6] = {1, 2, 3, 4, 5, 6};
    test_ops()->bias(y, b, 2, 3);
    check_same_bits(y, want, 6);
    test_ops()->bias_db(db, dy, 2, 3);
    check_same_bits(db, want_db, 3);
}

/* -- rows by index -- */

static void test_rows_by_index(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    const float table[8] = {0, 1, 10, 11, 20, 21, 30, 31};
    const int32_t ids[3] = {3, 0, 3};
    const float want[6] = {30, 31, 0, 1, 30, 31}, dy[6] = {1, 2, 4, 8, 16, 32};
    const float want_table[8] = {4, 8, 0, 0, 0, 0, 17, 34};
    float y[6], dtable[8] = {0};
    ops->embed(y, table, AP_F32, ids, 3, 2);
    check_same_bits(y, want, 6);
    memset(y, 0, sizeof(y));
    ops->gather(y, table, ids, 3, 2);
    check_same_bits(y, want, 6);
    ops->embed_backward(dtable, dy, ids, 3, 2);
    check_same_bits(dtable, want_table, 8);
    ops->scatter_add(dtable, dy, ids, 3, 2);
    for (int i = 0; i < 8; i++)
        assert_float_equal(dtable[i], 2 * want_table[i], 0);
}

/* -- rotary positions -- */

#define HEADS 3
#define POSITIONS 40

struct tables {
    float *cosine, *sine;
};

static struct tables tables_open(int n_freq)
{
    struct tables t = {zeros((size_t)POSITIONS * n_freq), zeros((size_t)POSITIONS * n_freq)};
    for (int p = 0; p < POSITIONS; p++)
        for (int i = 0; i < n_freq; i++) {
            double angle = p * pow(10000.0, -(double)i / n_freq);
            t.cosine[p * n_freq + i] = (float)cos(angle);
            t.sine[p * n_freq + i] = (float)sin(angle);
        }
    return t;
}

static void check_rope(int head_dim, int n_freq)
{
    struct tables t = tables_open(n_freq);
    const int32_t pos[4] = {0, 1, 39, 7};
    int n = 4 * HEADS * head_dim;
    float *x = made_up((size_t)n, 1, 1), *y = copy_of(x, (size_t)n);
    test_ops()->rope(y, t.cosine, t.sine, pos, 4, HEADS, head_dim, n_freq, false);
    for (int r = 0; r < 4 * HEADS; r++) {
        for (int i = 0; i < n_freq; i++) {
            double angle = pos[r / HEADS] * pow(10000.0, -(double)i / n_freq);
            double a = (double)x[r * head_dim + i], b = (double)x[r * head_dim + i + n_freq];
            check_near((double)y[r * head_dim + i], a * cos(angle) - b * sin(angle), 1e-6, 0);
            check_near((double)y[r * head_dim + i + n_freq], b * cos(angle) + a * sin(angle), 1e-6,
                       0);
        }
        for (int i = 2 * n_freq; i < head_dim; i++)
            assert_true(y[r * head_dim + i] == x[r * head_dim + i]);
    }
    test_ops()->rope(y, t.cosine, t.sine, pos, 4, HEADS, head_dim, n_freq, true);
    for (int i = 0; i < n; i++)
        check_near((double)y[i], (double)x[i], 1e-6, 0);
    ap_free(t.cosine), ap_free(t.sine), ap_free(x), ap_free(y);
}

static void test_rope(void **state)
{
    (void)state;
    check_rope(8, 4);
    check_rope(20, 10);
    check_rope(64, 32);
    check_rope(16, 5); /* partial */
}

static void rope_rows(float *y, const float *x, int first, int n)
{
    struct tables t = tables_open(10);
    int32_t pos[POSITIONS];
    for (int i = 0; i < n; i++)
        pos[i] = first + i;
    memcpy(y, x, (size_t)n * HEADS * 20 * sizeof(float));
    test_ops()->rope(y, t.cosine, t.sine, pos, n, HEADS, 20, 10, false);
    ap_free(t.cosine), ap_free(t.sine);
}

/* -- SwiGLU -- */

static double swiglu_reference(double gate, double up)
{
    return gate / (1.0 + exp(-gate)) * up;
}

static void test_swiglu(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    for (size_t n = 1; n < 100; n += 7) {
        float *gate = made_up(n, 1, 6), *up = made_up(n, 2, 3), *dh = made_up(n, 3, 1);
        float *h = zeros(n), *dgate = zeros(n), *dup = zeros(n);
        ops->swiglu(h, gate, up, n);
        ops->swiglu_backward(dgate, dup, dh, gate, up, n);
        for (size_t i = 0; i < n; i++) {
            double g = (double)gate[i], u = (double)up[i], d = (double)dh[i], e = 1e-5;
            check_near((double)h[i], swiglu_reference(g, u), 1e-6, 1e-6);
            check_near((double)dgate[i],
                       d * (swiglu_reference(g + e, u) - swiglu_reference(g - e, u)) / (2 * e),
                       1e-6, 1e-5);
            check_near((double)dup[i], d * swiglu_reference(g, 1.0), 1e-6, 1e-6);
        }
        ap_free(gate), ap_free(up), ap_free(dh), ap_free(h), ap_free(dgate), ap_free(dup);
    }
}

static void test_swiglu_far_out(void **state)
{
    (void)state;
    const float gate[5] = {-1000.0f, 1000.0f, -88.5f, INFINITY, NAN}, up[5] = {1, 1, 1, 1, 1};
    float h[5];
    test_ops()->swiglu(h, gate, up, 5);
    assert_true(h[0] == 0.0f && h[1] == 1000.0f && fabsf(h[2]) < 1e-30f && isinf(h[3]));
    assert_true(isnan(h[4]));
}

static void swiglu_rows(float *y, const float *x, int first, int n)
{
    (void)first;
    test_ops()->swiglu(y, x, x, (size_t)n * 45);
}

static void test_rows_are_exact(void **state)
{
    (void)state;
    float *x = made_up(400 * 100, 1, 3);
    check_exact(rmsnorm_rows, x, 400, 100);
    check_exact(rope_rows, x, POSITIONS, HEADS * 20);
    check_exact(swiglu_rows, x, 800, 45);
    ap_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm),        cmocka_unit_test(test_rmsnorm_backward),
        cmocka_unit_test(test_sums_over_rows), cmocka_unit_test(test_bias),
        cmocka_unit_test(test_rows_by_index),  cmocka_unit_test(test_rope),
        cmocka_unit_test(test_swiglu),         cmocka_unit_test(test_swiglu_far_out),
        cmocka_unit_test(test_rows_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
