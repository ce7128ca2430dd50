/* Philox against the known answers of Random123, and the draws against their moments. Seeds are
 * fixed: a bound of five standard errors either always holds or never. */
#include "check.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"

/* Random123 1.14, tests/kat_vectors, philox4x32 10. */
static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        uint32_t got[4];
        ap_philox(rows[i].counter, rows[i].key, got);
        assert_memory_equal(got, rows[i].want, sizeof(got));
    }
}

static struct ap_random stream_of(uint64_t seed, uint32_t stage, uint32_t step, uint64_t record,
                                  uint32_t sample)
{
    struct ap_stream stream = {seed, stage, step, record, sample};
    struct ap_random r;
    ap_random_init(&r, &stream);
    return r;
}

static void test_streams_differ_and_repeat(void **state)
{
    (void)state;
    struct ap_random same[2] = {stream_of(1, 2, 3, 4, 5), stream_of(1, 2, 3, 4, 5)};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(ap_random_u32(&same[0]), ap_random_u32(&same[1]));
    struct ap_random rows[] = {
        stream_of(1, 2, 3, 4, 5),
        stream_of(2, 2, 3, 4, 5),
        stream_of(1, 3, 3, 4, 5),
        stream_of(1, 2, 4, 4, 5),
        stream_of(1, 2, 3, 5, 5),
        stream_of(1, 2, 3, 4, 6),
        stream_of(1ull << 32 | 1, 2, 3, 4, 5),
        stream_of(1, 2, 3, 1ull << 32 | 4, 5),
    };
    uint32_t first[AP_LEN(rows)];
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        first[i] = ap_random_u32(&rows[i]);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(first[i], first[j]);
    }
}

static void test_block_counter_carries(void **state)
{
    (void)state;
    struct ap_random r = stream_of(1, 1, 1, 1, 1);
    r.counter[0] = 0xFFFFFFFF;
    ap_random_u32(&r);
    assert_int_equal(r.counter[0], 0);
    assert_int_equal(r.counter[1], 1);
}

static void test_uniform_and_normal_moments(void **state)
{
    (void)state;
    enum { N = 400000 };
    struct ap_random r = stream_of(7, ap_stream_stage("test"), 0, 0, 0);
    double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n3 = 0, n4 = 0, least = 1, most = 0;
    for (int i = 0; i < N; i++) {
        double u = ap_random_uniform(&r), z = ap_random_normal(&r);
        least = fmin(least, u);
        most = fmax(most, u);
        u1 += u;
        u2 += u * u;
        n1 += z;
        n2 += z * z;
        n3 += z * z * z;
        n4 += z * z * z * z;
    }
    double se = 5 / sqrt(N);
    assert_true(least >= 0 && most < 1);
    check_near(u1 / N, 0.5, se * sqrt(1.0 / 12), 0);
    check_near(u2 / N, 1.0 / 3, se * sqrt(4.0 / 45), 0);
    check_near(n1 / N, 0, se, 0);
    check_near(n2 / N, 1, se * sqrt(2), 0);
    check_near(n3 / N, 0, se * sqrt(15), 0);
    check_near(n4 / N, 3, se * sqrt(96), 0);
}

static void test_below_is_uniform(void **state)
{
    (void)state;
    enum { N = 7, DRAWS = 70000 };
    int count[N] = {0};
    struct ap_random r = stream_of(3, 0, 0, 9, 0);
    for (int i = 0; i < DRAWS; i++) {
        uint32_t drawn = ap_random_below(&r, N);
        assert_true(drawn < N);
        count[drawn]++;
    }
    double chi2 = 0;
    for (int i = 0; i < N; i++)
        chi2 += (count[i] - DRAWS / N) * (double)(count[i] - DRAWS / N) / (DRAWS / N);
    assert_true(chi2 < 22.5); /* 6 degrees of freedom, p = 0.001 */
    for (int i = 0; i < 100; i++)
        assert_int_equal(ap_random_below(&r, 1), 0);
    /* Of 3·2^30 values each third one gets two words of 2^32 unless some are refused. */
    int third[3] = {0};
    for (int i = 0; i < DRAWS; i++)
        third[ap_random_below(&r, 3u << 30) % 3]++;
    for (int i = 0; i < 3; i++)
        assert_true(abs(third[i] - DRAWS / 3) < 625); /* five standard errors */
}

static void test_shuffle(void **state)
{
    (void)state;
    enum { N = 4, ROUNDS = 24000 };
    int seen[256] = {0}, n_orders = 0;
    struct ap_random r = stream_of(5, 0, 0, 0, 0);
    for (int i = 0; i < ROUNDS; i++) {
        int32_t index[N] = {0, 1, 2, 3};
        ap_random_shuffle(&r, index, N);
        int present = 0, order = 0;
        for (int j = 0; j < N; j++) {
            present |= 1 << index[j];
            order = order * 4 + index[j];
        }
        assert_int_equal(present, 15);
        n_orders += seen[order]++ == 0;
    }
    assert_int_equal(n_orders, 24);
    for (int i = 0; i < 256; i++)
        assert_true(seen[i] == 0 || abs(seen[i] - ROUNDS / 24) < 160); /* five standard errors */
    int32_t one[1] = {8};
    ap_random_shuffle(&r, one, 1);
    ap_random_shuffle(&r, one, 0);
    assert_int_equal(one[0], 8);
}

/* A change here would move every split and every stream of a user's run. */
static void test_hashes_stay(void **state)
{
    (void)state;
    assert_int_equal(ap_stream_stage("align"), ap_stream_stage("align"));
    assert_int_not_equal(ap_stream_stage("align"), ap_stream_stage("sft"));
    assert_true(ap_hash("", 0) == 0xEFD01F60BA992926u);
    assert_true(ap_hash("a", 1) != ap_hash("b", 1));
    int bits[64] = {0};
    for (uint32_t i = 0; i < 4096; i++)
        for (int b = 0; b < 64; b++)
            bits[b] += (int)(ap_hash(&i, sizeof(i)) >> b & 1);
    for (int b = 0; b < 64; b++)
        assert_in_range(bits[b], 2048 - 160, 2048 + 160);
}

static void test_clock_goes_forward(void **state)
{
    (void)state;
    double before = ap_clock_seconds();
    assert_true(ap_clock_seconds() >= before && before > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_streams_differ_and_repeat),
        cmocka_unit_test(test_block_counter_carries),
        cmocka_unit_test(test_uniform_and_normal_moments),
        cmocka_unit_test(test_below_is_uniform),
        cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_hashes_stay),
        cmocka_unit_test(test_clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
