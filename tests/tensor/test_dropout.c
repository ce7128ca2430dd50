/* Dropout: every element by its own bits of the generator, rate, scale and mean. */
#include "fill.h"

#include "base/random.h"

enum { M = 9, K = 301 };

static struct ap_mask mask_of(double p, const uint64_t *record, const int32_t *pos)
{
    struct ap_mask m = {
        .key = {7, 0x9abcdef0}, .mix = 0x123456789abcdef, .record = record, .pos = pos};
    m.drop = (uint32_t)(p * 65536);
    m.scale = (float)(65536.0 / (65536.0 - m.drop));
    return m;
}

static bool is_dropped(const struct ap_mask *m, int i, int k)
{
    uint64_t high = m->record[i] ^ m->mix;
    uint32_t out[4],
        counter[4] = {(uint32_t)k / 8, (uint32_t)m->pos[i], (uint32_t)high, (uint32_t)(high >> 32)};
    ap_philox(counter, m->key, out);
    return (out[k % 8 / 2] >> (k % 2 ? 16 : 0) & 0xffff) < m->drop;
}

static void test_by_place(void **state)
{
    (void)state;
    uint64_t record[M];
    int32_t pos[M];
    for (int i = 0; i < M; i++)
        record[i] = (uint64_t)i / 4 + ((uint64_t)1 << 40), pos[i] = 3 * i;
    struct ap_mask m = mask_of(0.3, record, pos);
    float *x = made_up(M * K, 1, 1), *y = made_up(M * K, 2, 1), *start = copy_of(y, M * K);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        memcpy(y, start, M * K * sizeof(*y));
        test_ops()->dropout(y, x, &m, M, K, accumulate);
        for (int i = 0; i < M * K; i++) {
            float factor = is_dropped(&m, i / K, i % K) ? 0.0f : m.scale;
            check_near((double)y[i],
                       (double)x[i] * (double)factor + (accumulate ? (double)start[i] : 0.0), 1e-6,
                       0);
            assert_true(factor != 0 || accumulate || y[i] == 0);
        }
    }
    ap_free(x), ap_free(y), ap_free(start);
}

static void test_rate_and_mean(void **state)
{
    (void)state;
    enum { ROWS = 2000, WIDTH = 500 };
    static const double rates[] = {0, 0.1, 0.5, 0.9};
    uint64_t *record = ap_calloc(ROWS, sizeof(*record));
    int32_t *pos = ap_calloc(ROWS, sizeof(*pos));
    float *x = zeros((size_t)ROWS * WIDTH), *y = zeros((size_t)ROWS * WIDTH);
    for (int i = 0; i < ROWS; i++)
        record[i] = (uint64_t)i / 100, pos[i] = i % 100;
    for (size_t i = 0; i < (size_t)ROWS * WIDTH; i++)
        x[i] = 1;
    for (size_t r = 0; r < AP_LEN(rates); r++) {
        struct ap_mask m = mask_of(rates[r], record, pos);
        size_t n_zero = 0, n = (size_t)ROWS * WIDTH;
        double sum = 0, p = m.drop / 65536.0, deviation = sqrt(p * (1 - p) / (double)n);
        test_ops()->dropout(y, x, &m, ROWS, WIDTH, false);
        for (size_t i = 0; i < n; i++) {
            n_zero += y[i] == 0;
            sum += (double)y[i];
            assert_true(y[i] == 0 || y[i] == m.scale);
        }
        check_near((double)n_zero / (double)n, p, 5 * deviation, 0);
        check_near(sum / (double)n, 1, 5 * deviation / (1 - p) + 1e-6, 0);
        check_near(1 / (double)m.scale, 1 - rates[r], 1.0 / 65536, 0);
    }
    ap_free(record), ap_free(pos), ap_free(x), ap_free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_place),
        cmocka_unit_test(test_rate_and_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
