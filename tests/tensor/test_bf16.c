/* bf16 products: the rounding of every operand, values against double, a row's bits, gradients; for
 * every table that this processor can run. */
#include "fill.h"

#include "tensor/cpu/gemm.h"

static const struct {
    int m, n, k;
} shapes[] = {
    {1, 1, 1},    {1, 16, 1},  {3, 5, 7},    {6, 16, 32},   {7, 17, 33},    {2, 600, 128},
    {13, 31, 65}, {8, 8, 300}, {97, 40, 19}, {33, 100, 77}, {1, 257, 1030}, {12, 24, 520},
};

#if defined(__x86_64__)
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
#define N_TABLES 3
static const struct ap_tiles *table_of(int i)
{
    if (i == 0)
        return &ap_tiles_bf16_base;
    if (i == 1)
        return has_avx512() ? &ap_tiles_bf16_avx512 : NULL;
    return has_avx512() && __builtin_cpu_supports("avx512bf16") ? &ap_tiles_bf16_dot : NULL;
}
#define DOT_TABLE (&ap_tiles_bf16_dot)
#else
#define N_TABLES 1
#define table_of(i) (&ap_tiles_bf16_base)
#define DOT_TABLE NULL
#endif

/* Each table that can run here. */
#define FOR_TABLES(t)                                                                              \
    for (int i_ = 0; i_ < N_TABLES; i_++)                                                          \
        for (const struct ap_tiles *t = table_of(i_); t; t = NULL)

static float rounded(float x)
{
    return ap_bf16_to_f32(ap_bf16_of(x));
}

static struct ap_packed *packed_with(const struct ap_tiles *t, const float *w, int n, int k)
{
    struct ap_packed *p = ap_panels_new(t, &ap_tiles_base, n, k, AP_BF16);
    assert_non_null(p);
    ap_panels_fill(p, w, AP_F32);
    return p;
}

/* -- rounding -- */

static const float special[] = {
    0.0f,
    -0.0f,
    1.0f,
    0x1.01p0f, /* half way to the next, an even one below */
    0x1.03p0f, /* half way, an even one above */
    -0x1.01p0f,
    -0x1.03p0f,
    0x1.010002p0f,   /* a bit above half way */
    0x1.00fffep0f,   /* a bit below */
    0x1.fep127f,     /* the largest */
    0x1.fefffep127f, /* rounds to it */
    0x1.ffp127f,     /* half way to beyond: infinite */
    -0x1.fffffep127f,
    INFINITY,
    -INFINITY,
    0x1p-126f,
    0x1p-133f,   /* the smallest bf16 */
    0x1p-134f,   /* half of it: zero is even */
    0x1.8p-133f, /* one and a half: two */
    0x1.000002p-134f,
    0x1p-149f,
    -0x1.fcp-127f, /* subnormal */
    -0x1.fdp-127f,
    3.14159274f,
};

/* Of the two bf16 about x, the nearer; of two as near the one whose last bit is zero. In double,
 * where all of it is exact; beyond the largest comes 2^128. */
static float nearest(float x)
{
    uint32_t below = ap_f32_bits(fabsf(x)) & 0xffff0000, above = below + 0x10000;
    double lo = (double)ap_f32_of_bits(below);
    double hi = above == 0x7f800000 ? 0x1p128 : (double)ap_f32_of_bits(above);
    double to_lo = fabs((double)x) - lo, to_hi = hi - fabs((double)x);
    bool up = to_hi < to_lo || (to_hi == to_lo && (below >> 16 & 1));
    return copysignf(ap_f32_of_bits(up ? above : below), x);
}

static void test_rounding(void **state)
{
    (void)state;
    for (size_t i = 0; i < AP_LEN(special); i++) {
        float want = isinf(special[i]) ? special[i] : nearest(special[i]),
              got = rounded(special[i]);
        check_same_bits(&got, &want, 1);
    }
    for (uint32_t bits = 0; bits < 0x7f800000 - 7919; bits += 7919) {
        float x = ap_f32_of_bits(bits), want = nearest(x), got = rounded(x);
        check_same_bits(&got, &want, 1);
    }
    assert_true(isnan(rounded(NAN)) && isnan(rounded(-NAN)));
    assert_true(isnan(rounded(ap_f32_of_bits(0x7f800001)))); /* its upper half is an infinity's */
    assert_true(ap_bf16_of(0x1.01p0f) == 0x3f80 && ap_bf16_of(0x1.03p0f) == 0x3f82);
}

/* The tables round rows as ap_bf16_of does, wherever in a vector a number stands. */
static void check_round(const struct ap_tiles *t)
{
    enum { K = 83, ROW = 101 };
    float x[2 * K], out[2 * ROW];
    for (int i = 0; i < 2 * K; i++)
        x[i] = special[(size_t)(i * 7) % AP_LEN(special)];
    x[5] = NAN, x[K - 1] = -NAN, x[2 * K - 1] = 0x1.01p0f;
    t->round(out, ROW, x, K, 2, K);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k <= K; k++) { /* and the zero beside the odd last one */
            const uint16_t *halves = (const uint16_t *)(out + i * ROW);
            float want = k < K ? rounded(x[i * K + k]) : 0.0f;
            float got = t->pair_words == 1 ? ap_bf16_to_f32(halves[k]) : out[i * ROW + k];
            check_same_bits(&got, &want, 1);
        }
}

static void test_tables_round(void **state)
{
    (void)state;
    FOR_TABLES(t)
    check_round(t);
}

/* -- products -- */

static void check_linear(const struct ap_tiles *t, int m, int n, int k, bool accumulate)
{
    float *x = made_up((size_t)m * k, 1, 1), *w = made_up((size_t)n * k, 2, 1);
    float *y = made_up((size_t)m * n, 3, 1), *chain = copy_of(y, (size_t)m * n);
    double *want = ap_calloc((size_t)m * n, sizeof(*want));
    struct ap_packed *p = packed_with(t, w, n, k);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            size_t at = (size_t)i * n + j;
            chain[at] = accumulate ? chain[at] : 0.0f;
            want[at] = (double)chain[at];
            for (int l = 0; l < k; l++) {
                float a = rounded(x[(size_t)i * k + l]), b = rounded(w[(size_t)j * k + l]);
                want[at] += (double)a * (double)b;
                chain[at] = fmaf(a, b, chain[at]);
            }
        }
    ap_gemm_linear(y, x, p, m, accumulate);
    check_array(y, want, (size_t)m * n, 2e-6 * sqrt(k));
    if (t != DOT_TABLE) /* what widens is one chain of fused multiply-adds */
        check_same_bits(y, chain, (size_t)m * n);
    test_ops()->pack_free(p);
    ap_free(x), ap_free(w), ap_free(y), ap_free(chain), ap_free(want);
}

static void test_linear(void **state)
{
    (void)state;
    FOR_TABLES(t)
    for (size_t s = 0; s < AP_LEN(shapes); s++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            check_linear(t, shapes[s].m, shapes[s].n, shapes[s].k, accumulate);
}

/* The sums are f32: numbers that bf16 cannot hold come out whole. */
static void test_sums_are_f32(void **state)
{
    (void)state;
    enum { K = 300 };
    float x[K], w[K], y = -1;
    for (int k = 0; k < K; k++)
        x[k] = 1, w[k] = k < 257 ? 1.0f : 0x1p-8f;
    FOR_TABLES(t)
    {
        struct ap_packed *p = packed_with(t, w, 1, K);
        ap_gemm_linear(&y, x, p, 1, false);
        assert_true(y == 257.0f + (K - 257) * 0x1p-8f);
        test_ops()->pack_free(p);
    }
}

/* NaN and infinity come through, in a row of their own. */
static void test_not_finite(void **state)
{
    (void)state;
    enum { M = 3, N = 5, K = 9 };
    float x[M * K] = {0}, w[N * K], y[M * N];
    for (int i = 0; i < N * K; i++)
        w[i] = 1;
    x[K + 4] = NAN, x[2 * K + 8] = 0x1.ffp127f; /* rounds to infinity */
    FOR_TABLES(t)
    {
        struct ap_packed *p = packed_with(t, w, N, K);
        ap_gemm_linear(y, x, p, M, false);
        for (int j = 0; j < N; j++)
            assert_true(y[j] == 0 && isnan(y[N + j]) && isinf(y[2 * N + j]));
        test_ops()->pack_free(p);
    }
}

static void check_exact(const struct ap_tiles *t, int m, int n, int k, bool accumulate)
{
    float *x = made_up((size_t)m * k, 1, 1), *w = made_up((size_t)n * k, 2, 1);
    float *start = made_up((size_t)m * n, 3, 1), *y = copy_of(start, (size_t)m * n);
    struct ap_packed *p = packed_with(t, w, n, k);
    ap_gemm_linear(y, x, p, m, accumulate);
    for (int threads = 1; threads <= 3; threads++) {
        ap_threads_set(threads);
        for (int rows = 1; rows <= m; rows = rows * 2 + 1) {
            float *other = copy_of(start, (size_t)m * n);
            for (int i = (m - 1) / rows * rows; i >= 0; i -= rows)
                ap_gemm_linear(other + (size_t)i * n, x + (size_t)i * k, p,
                               m - i < rows ? m - i : rows, accumulate);
            check_same_bits(other, y, (size_t)m * n);
            ap_free(other);
        }
    }
    ap_threads_set(0);
    test_ops()->pack_free(p);
    ap_free(x), ap_free(w), ap_free(start), ap_free(y);
}

static void test_rows_are_exact(void **state)
{
    (void)state;
    FOR_TABLES(t)
    {
        check_exact(t, 131, 77, 91, false);
        check_exact(t, 131, 77, 90, true);
        check_exact(t, 50, 128, 1300, false);
        check_exact(t, 37, 5, 3, true);
    }
}

/* dx is an f32 product with the rounded weight, bit for bit. */
static void test_dx(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    for (size_t s = 0; s < AP_LEN(shapes); s++) {
        int m = shapes[s].m, n = shapes[s].n, k = shapes[s].k;
        float *dy = made_up((size_t)m * n, 1, 1), *w = made_up((size_t)n * k, 2, 1);
        float *dx = made_up((size_t)m * k, 3, 1), *want = copy_of(dx, (size_t)m * k);
        struct ap_packed *half = ops->pack_new(n, k, AP_BF16), *full = ops->pack_new(n, k, AP_F32);
        ops->pack(half, w, AP_F32);
        for (int i = 0; i < n * k; i++)
            w[i] = rounded(w[i]);
        ops->pack(full, w, AP_F32);
        ops->linear_dx(dx, dy, half, m, s % 2);
        ops->linear_dx(want, dy, full, m, s % 2);
        check_same_bits(dx, want, (size_t)m * k);
        ops->pack_free(half), ops->pack_free(full);
        ap_free(dy), ap_free(w), ap_free(dx), ap_free(want);
    }
}

/* -- packing -- */

/* From halves at an odd address as from the floats they stand for; rows come back as they went in.
 */
static void check_stored(ap_dtype dtype, ap_dtype stored)
{
    enum { N = 21, K = 133 };
    const struct ap_ops *ops = test_ops();
    unsigned char bytes[2 * N * K + 1];
    float *w = zeros(N * K), *y = zeros(N * K), row[K];
    int32_t ids[N];
    for (int i = 0; i < N * K; i++) {
        uint16_t half = (uint16_t)(0x3000 + i * 5 % 0x0c00) | (uint16_t)(i % 3 ? 0 : 0x8000);
        memcpy(bytes + 1 + 2 * i, &half, 2);
    }
    ap_to_f32(w, bytes + 1, stored, N * K);
    struct ap_packed *a = ops->pack_new(N, K, dtype), *b = ops->pack_new(N, K, dtype);
    ops->pack(a, bytes + 1, stored);
    ops->pack(b, w, AP_F32);
    assert_memory_equal(a->panels, b->panels, (N + 15) / 16 * (K + 1) / 2 * 16 * sizeof(float));
    for (int i = 0; i < N; i++)
        ids[i] = (i * 8 + 3) % N;
    ops->embed_packed(y, a, ids, N);
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < K; k++)
            row[k] = dtype == AP_BF16 ? rounded(w[ids[i] * K + k]) : w[ids[i] * K + k];
        check_same_bits(y + i * K, row, K);
    }
    ops->embed(y, bytes + 1, stored, ids, N, K);
    for (int i = 0; i < N; i++)
        check_same_bits(y + i * K, w + ids[i] * K, K);
    ops->pack_free(a), ops->pack_free(b);
    ap_free(w), ap_free(y);
}

static void test_stored(void **state)
{
    (void)state;
    check_stored(AP_BF16, AP_BF16);
    check_stored(AP_BF16, AP_F16);
    check_stored(AP_F32, AP_BF16);
    check_stored(AP_F32, AP_F16);
}

static void test_memory(void **state)
{
    (void)state;
    const struct ap_ops *ops = test_ops();
    size_t f32 = ops->pack_bytes(4096, 1024, AP_F32), bf16 = ops->pack_bytes(4096, 1024, AP_BF16);
    assert_true(f32 >= (size_t)4096 * 1024 * 4 && f32 < (size_t)4096 * 1024 * 4 + 8192);
    assert_true(bf16 >= (size_t)4096 * 1024 * 2 && bf16 < (size_t)4096 * 1024 * 2 + 8192);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding),   cmocka_unit_test(test_tables_round),
        cmocka_unit_test(test_linear),     cmocka_unit_test(test_sums_are_f32),
        cmocka_unit_test(test_not_finite), cmocka_unit_test(test_rows_are_exact),
        cmocka_unit_test(test_dx),         cmocka_unit_test(test_stored),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
