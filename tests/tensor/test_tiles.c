/* Every tile of every table that this processor can run, against a chain of fmaf: the bits must be
 * those of the chain. */
#include "fill.h"

#include "tensor/cpu/gemm.h"

#if defined(__x86_64__) && !defined(AP_TEST_ALL_TILES)
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
#define AVX512_TILES (has_avx512() ? &ap_tiles_avx512 : NULL)
#elif defined(__x86_64__) /* for a build of gemm_avx512.c without -mavx512f: the same code on      \
                             narrower vectors */
#define AVX512_TILES (&ap_tiles_avx512)
#else
#define AVX512_TILES NULL
#endif

enum { K = 37, WIDEST = 4 * AP_PANEL, A_ROW = K + 3, B_PANEL = K * AP_PANEL + 5 };

/* Rows of A side by side, or across (a_row 1), as weight gradients read them. */
static void check_tile(ap_tile_fn tile, int rows, int columns, bool across, bool accumulate)
{
    float *a = made_up((size_t)A_ROW * AP_TILE_ROWS * 4, 1, 1);
    float *b = made_up((size_t)B_PANEL * 4 + WIDEST, 2, 1);
    float *c = made_up((size_t)AP_TILE_ROWS * (WIDEST + 1), 3, 1);
    float *want = copy_of(c, (size_t)AP_TILE_ROWS * (WIDEST + 1));
    size_t a_row = across ? 1 : A_ROW, a_k = across ? AP_TILE_ROWS : 1;
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            const float *bj = b + j / AP_PANEL * B_PANEL + j % AP_PANEL;
            float sum = accumulate ? want[i * (WIDEST + 1) + j] : 0.0f;
            for (int k = 0; k < K; k++)
                sum = fmaf(a[(size_t)i * a_row + (size_t)k * a_k], bj[k * AP_PANEL], sum);
            want[i * (WIDEST + 1) + j] = sum;
        }
    }
    tile(c, WIDEST + 1, a, a_row, a_k, b, AP_PANEL, B_PANEL, K, accumulate);
    check_same_bits(c, want, (size_t)AP_TILE_ROWS * (WIDEST + 1)); /* what lies around it too */
    ap_free(a), ap_free(b), ap_free(c), ap_free(want);
}

static void check_table(const struct ap_tiles *t)
{
    for (int rows = 1; rows <= t->n_row; rows++) {
        const ap_tile_fn tiles[4] = {t->by_half[rows], t->by_1[rows], t->by_2[rows], t->by_4[rows]};
        const int columns[4] = {AP_PANEL / 2, AP_PANEL, 2 * AP_PANEL, 4 * AP_PANEL};
        assert_non_null(t->by_1[rows]);
        for (int w = 0; w < 4; w++) {
            if (columns[w] <= t->n_panel[rows] * AP_PANEL && w > 0)
                assert_non_null(tiles[w]);
            for (int how = 0; tiles[w] && how < 4; how++)
                check_tile(tiles[w], rows, columns[w], how & 1, how & 2);
        }
    }
}

static void test_base(void **state)
{
    (void)state;
    check_table(&ap_tiles_base);
}

static void test_avx512(void **state)
{
    (void)state;
    const struct ap_tiles *t = AVX512_TILES;
    if (!t) {
        printf("SKIP: this processor has no AVX-512\n");
        skip();
    }
    check_table(t);
}

/* Row r of a stair has k + r elements. */
static void test_stair(void **state)
{
    (void)state;
    enum { D = 29, T = 20 };
    float *p = made_up(AP_STAIR_ROWS * T, 1, 1), *v = made_up(T * D, 2, 1);
    for (int m = 1; m <= AP_STAIR_ROWS; m++) {
        float got[AP_STAIR_ROWS * D] = {0}, want[AP_STAIR_ROWS * D] = {0};
        for (int r = 0; r < m; r++)
            for (int d = 0; d < D; d++)
                for (int j = 0; j < 9 + r; j++)
                    want[r * D + d] = fmaf(p[r * T + j], v[j * D + d], want[r * D + d]);
        ap_stair_product(got, D, p, T, v, D, m, D, 9);
        check_same_bits(got, want, AP_STAIR_ROWS * D);
    }
    ap_free(p), ap_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_avx512),
        cmocka_unit_test(test_stair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
