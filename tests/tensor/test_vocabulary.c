/* Log-probabilities, entropies and their gradient: against double, by finite differences, at the
 * edges. */
#include "fill.h"

struct row {
    double logp, entropy, lse;
};

static struct row reference(const float *x, int n, int target, double temperature)
{
    double most = -INFINITY, sum = 0.0, h = 0.0;
    for (int j = 0; j < n; j++)
        most = (double)x[j] > most ? (double)x[j] : most;
    for (int j = 0; j < n; j++)
        sum += exp(((double)x[j] - most) / temperature);
    double lse = most / temperature + log(sum);
    for (int j = 0; j < n; j++) {
        double logp = (double)x[j] / temperature - lse;
        h -= logp > -700 ? exp(logp) * logp : 0.0;
    }
    return (struct row){(double)x[target] / temperature - lse, h, lse};
}

static const int sizes[] = {1, 2, 15, 16, 31, 33, 600, 1024, 1025, 5000};

static void test_logprob(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof(sizes) / sizeof(sizes[0]); c++) {
        int n = sizes[c];
        float *x = made_up((size_t)3 * n, 1, 8), logp[3], entropy[3], lse[3], again[3];
        const int32_t target[3] = {0, n / 2, n - 1};
        float temperature = c % 2 ? 1.0f : 0.7f;
        test_ops()->logprob(logp, entropy, lse, x, target, 3, n, temperature);
        for (int i = 0; i < 3; i++) {
            struct row want = reference(x + i * n, n, target[i], (double)temperature);
            check_near((double)logp[i], want.logp, 1e-6, 3e-7);
            check_near((double)entropy[i], want.entropy, 2e-6, 1e-6);
            check_near((double)lse[i], want.lse, 1e-6, 3e-7);
        }
        test_ops()->logprob(again, NULL, lse, x, target, 3, n, temperature);
        check_same_bits(again, logp, 3);
        ap_free(x);
    }
}

static void test_edges(void **state)
{
    (void)state;
    float x[4] = {-INFINITY, 3.0f, -INFINITY, 3.0f}, logp, entropy, lse;
    int32_t target = 3;
    test_ops()->logprob(&logp, &entropy, &lse, x, &target, 1, 4, 1.0f);
    check_near((double)logp, -log(2.0), 1e-7, 0);
    check_near((double)entropy, log(2.0), 1e-7, 0);
    target = 0;
    test_ops()->logprob(&logp, &entropy, &lse, x, &target, 1, 4, 1.0f);
    assert_true(isinf(logp) && logp < 0.0f);
    float dlogp = 0.0f, dentropy = 1.0f;
    test_ops()->logprob_backward(x, &lse, &entropy, &target, &dlogp, &dentropy, 1, 4, 1.0f);
    for (int j = 0; j < 4; j++)
        check_near((double)x[j], 0.0, 1e-6, 0);
    float bad[4] = {1.0f, NAN, 2.0f, 3.0f};
    test_ops()->logprob(&logp, &entropy, &lse, bad, &target, 1, 4, 1.0f);
    assert_true(isnan(logp) && isnan(lse));
}

static void check_backward(int n, double temperature, bool with_entropy)
{
    float *x = made_up((size_t)2 * n, 2, 4), *g = copy_of(x, (size_t)2 * n);
    float logp[2], entropy[2], lse[2];
    const int32_t target[2] = {n - 1, n / 3};
    const float dlogp[2] = {0.7f, -1.3f}, dentropy[2] = {0.4f, -0.6f};
    test_ops()->logprob(logp, entropy, lse, x, target, 2, n, (float)temperature);
    test_ops()->logprob_backward(g, lse, entropy, target, dlogp, with_entropy ? dentropy : NULL, 2,
                                 n, (float)temperature);
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < n; j += 1 + n / 17) {
            float *at = x + i * n + j, keep = *at;
            *at = keep + 0x1p-10f;
            struct row up = reference(x + i * n, n, target[i], temperature);
            double high = (double)*at;
            *at = keep - 0x1p-10f;
            struct row down = reference(x + i * n, n, target[i], temperature);
            double width = high - (double)*at;
            *at = keep;
            double want = (double)dlogp[i] * (up.logp - down.logp) / width;
            if (with_entropy)
                want += (double)dentropy[i] * (up.entropy - down.entropy) / width;
            check_near((double)g[i * n + j], want, 1e-6, 1e-5);
        }
    }
    ap_free(x), ap_free(g);
}

static void test_backward(void **state)
{
    (void)state;
    check_backward(5, 1.0, true);
    check_backward(37, 0.5, true);
    check_backward(600, 1.0, false);
    check_backward(600, 1.3, true);
    check_backward(1030, 2.0, true);
}

/* Rows do not know of each other. */
static void test_rows_are_exact(void **state)
{
    (void)state;
    enum { ROWS = 40, N = 333 };
    float *x = made_up(ROWS * N, 1, 8), *all = copy_of(x, ROWS * N), *one = copy_of(x, ROWS * N);
    float logp[2][ROWS], entropy[2][ROWS], lse[2][ROWS];
    int32_t target[ROWS];
    for (int i = 0; i < ROWS; i++)
        target[i] = i * 7;
    ap_threads_set(2);
    test_ops()->logprob(logp[0], entropy[0], lse[0], x, target, ROWS, N, 0.9f);
    test_ops()->logprob_backward(all, lse[0], entropy[0], target, logp[0], entropy[0], ROWS, N,
                                 0.9f);
    ap_threads_set(1);
    for (int i = ROWS - 1; i >= 0; i--) {
        test_ops()->logprob(logp[1] + i, entropy[1] + i, lse[1] + i, x + i * N, target + i, 1, N,
                            0.9f);
        test_ops()->logprob_backward(one + i * N, lse[1] + i, entropy[1] + i, target + i,
                                     logp[1] + i, entropy[1] + i, 1, N, 0.9f);
    }
    ap_threads_set(0);
    check_same_bits(logp[1], logp[0], ROWS);
    check_same_bits(entropy[1], entropy[0], ROWS);
    check_same_bits(lse[1], lse[0], ROWS);
    check_same_bits(one, all, ROWS * N);
    ap_free(x), ap_free(all), ap_free(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logprob),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_rows_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
