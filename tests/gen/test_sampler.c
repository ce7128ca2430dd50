/* The sampler against exact shares: a uniform grid through an inverse CDF meets every token as
 * often as its probability says, to within one; random numbers by chi-square. */
#include "check.h"

#include "base/memory.h"
#include "base/random.h"
#include "gen/sampler.h"

enum { V_MAX = 2000, GRID = 6000 };

struct fixture {
    float logits[V_MAX];
    double expected[V_MAX];
    int count[V_MAX];
    int32_t heap[V_MAX];
    double block[64];
    struct ap_sampler_scratch scratch;
};

static int setup(void **state)
{
    struct fixture *f = ap_calloc(1, sizeof(*f));
    f->scratch = (struct ap_sampler_scratch){f->block, f->heap};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    ap_free(*state);
    return 0;
}

static void fill_logits(struct fixture *f, int n, double spread)
{
    struct ap_random r;
    ap_random_init(&r, &(struct ap_stream){.seed = 7});
    for (int i = 0; i < n; i++)
        f->logits[i] = (float)(3 + spread * ap_random_normal(&r));
}

static int by_logit(const void *a, const void *b, void *logits)
{
    const float *l = logits;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    return l[i] != l[j] ? (l[i] < l[j]) - (l[i] > l[j]) : i - j;
}

/* The plain definition, with a sort: keep k, then the fewest whose share reaches p. */
static void expect(struct fixture *f, int n, const struct ap_sampling *s)
{
    int32_t order[V_MAX];
    double mass = 0, kept = 0;
    for (int i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof(*order), by_logit, f->logits);
    int most = s->top_k && s->top_k < n ? s->top_k : n, m = 0;
    memset(f->expected, 0, sizeof(f->expected));
    for (int i = 0; i < most; i++)
        mass += exp(((double)f->logits[order[i]] - f->logits[order[0]]) / s->temperature);
    for (; m < most && kept < s->top_p * mass; m++) {
        double w = exp(((double)f->logits[order[m]] - f->logits[order[0]]) / s->temperature);
        f->expected[order[m]] = w;
        kept += w;
    }
    for (int i = 0; i < n; i++)
        f->expected[i] /= kept;
}

static void check_shares(struct fixture *f, int n, const struct ap_sampling *s)
{
    expect(f, n, s);
    memset(f->count, 0, sizeof(f->count));
    for (int i = 0; i < GRID; i++) {
        int32_t id = ap_sample_token(f->logits, n, s, (i + 0.5) / GRID, &f->scratch);
        assert_in_range(id, 0, n - 1);
        f->count[id]++;
    }
    for (int i = 0; i < n; i++)
        check_near(f->count[i], f->expected[i] * GRID, f->expected[i] > 0 ? 1.2 : 0, 1e-5);
}

static void test_greedy_takes_the_first_of_equals(void **state)
{
    struct fixture *f = *state;
    struct ap_sampling s = {.top_p = 1};
    for (int n = 1; n < 70; n++) {
        fill_logits(f, n, 1);
        f->logits[n - 1] = f->logits[n / 2] = 50;
        assert_int_equal(ap_sample_token(f->logits, n, &s, 0, &f->scratch), n / 2);
    }
    for (int i = 0; i < 40; i++)
        f->logits[i] = -INFINITY;
    f->logits[33] = -3e38f;
    assert_int_equal(ap_sample_token(f->logits, 40, &s, 0, &f->scratch), 33);
}

static void test_shares_without_truncation(void **state)
{
    struct fixture *f = *state;
    const int sizes[] = {1, 5, 16, 255, 256, 257, 1000, 2000};
    for (size_t i = 0; i < AP_LEN(sizes); i++) {
        fill_logits(f, sizes[i], 2);
        check_shares(f, sizes[i], &(struct ap_sampling){1, 0, 1});
    }
    check_shares(f, 600, &(struct ap_sampling){0.5, 0, 1});
    check_shares(f, 600, &(struct ap_sampling){4, 0, 1});
}

static void test_ids_rise_with_the_uniform(void **state)
{
    struct fixture *f = *state;
    struct ap_sampling s = {1, 0, 1};
    int32_t last = 0;
    fill_logits(f, 700, 1);
    for (int i = 0; i < 5000; i++) {
        int32_t id = ap_sample_token(f->logits, 700, &s, i / 5000.0, &f->scratch);
        assert_true(id >= last);
        last = id;
    }
}

static void test_shares_under_truncation(void **state)
{
    struct fixture *f = *state;
    fill_logits(f, 1000, 2);
    check_shares(f, 1000, &(struct ap_sampling){1, 1, 1});
    check_shares(f, 1000, &(struct ap_sampling){1, 40, 1});
    check_shares(f, 1000, &(struct ap_sampling){1, 0, 0.9});
    check_shares(f, 1000, &(struct ap_sampling){1, 0, 1e-6});
    check_shares(f, 1000, &(struct ap_sampling){0.7, 0, 0.5});
    check_shares(f, 1000, &(struct ap_sampling){1, 20, 0.8});
    check_shares(f, 1000, &(struct ap_sampling){1.5, 5000, 0.999});
}

static void test_ties_at_the_kth_place(void **state)
{
    struct fixture *f = *state;
    struct ap_sampling s = {1, 3, 1};
    for (int i = 0; i < 50; i++)
        f->logits[i] = 1;
    f->logits[30] = 2;
    check_shares(f, 50, &s); /* 30, 0 and 1 */
    assert_true(f->count[30] > 0 && f->count[0] > 0 && f->count[1] > 0);
}

static void test_ends_of_the_uniform(void **state)
{
    struct fixture *f = *state;
    double top = 1 - 0x1p-53;
    const struct ap_sampling settings[] = {{1, 0, 1}, {1, 2, 1}, {1, 0, 0.9}, {0.01, 0, 1}};
    fill_logits(f, 400, 1);
    for (int i = 0; i < 400; i++)
        if (i != 17 && i != 300)
            f->logits[i] = -INFINITY;
    f->logits[17] = f->logits[300] = 3;
    for (size_t i = 0; i < AP_LEN(settings); i++) {
        assert_int_equal(ap_sample_token(f->logits, 400, &settings[i], 0, &f->scratch), 17);
        assert_int_equal(ap_sample_token(f->logits, 400, &settings[i], top, &f->scratch), 300);
    }
}

/* Whatever a broken model gives, the id is within bounds. */
static void test_rows_with_nan(void **state)
{
    struct fixture *f = *state;
    const float broken[] = {NAN, INFINITY, -INFINITY};
    const struct ap_sampling settings[] = {
        {0, 0, 1}, {1, 0, 1}, {1, 3, 1}, {1, 0, 0.5}, {1, 3, 0.5}};
    for (size_t b = 0; b < AP_LEN(broken); b++)
        for (size_t i = 0; i < AP_LEN(settings); i++)
            for (int all = 0; all < 2; all++) {
                fill_logits(f, 30, 1);
                for (int j = 0; j < (all ? 30 : 1); j++)
                    f->logits[j] = broken[b];
                assert_in_range(ap_sample_token(f->logits, 30, &settings[i], 0.999, &f->scratch), 0,
                                29);
            }
}

static void test_chi_square(void **state)
{
    struct fixture *f = *state;
    const struct ap_sampling settings[] = {{1, 0, 1}, {0.8, 0, 1}, {1, 6, 1}, {1, 0, 0.8}};
    enum { N = 12, DRAWS = 50000 };
    struct ap_random r;
    ap_random_init(&r, &(struct ap_stream){.seed = 11});
    fill_logits(f, N, 1);
    for (size_t k = 0; k < AP_LEN(settings); k++) {
        double chi = 0;
        expect(f, N, &settings[k]);
        memset(f->count, 0, sizeof(f->count));
        for (int i = 0; i < DRAWS; i++)
            f->count[ap_sample_token(f->logits, N, &settings[k], ap_random_uniform(&r),
                                     &f->scratch)]++;
        for (int i = 0; i < N; i++) {
            double want = f->expected[i] * DRAWS;
            chi += want > 0 ? (f->count[i] - want) * (f->count[i] - want) / want : 0;
            assert_true(want > 0 || f->count[i] == 0);
        }
        assert_true(chi < 31.3); /* 11 degrees of freedom, p = 0.001 */
    }
}

static void test_settings_are_checked(void **state)
{
    (void)state;
    struct ap_error err;
    const struct ap_sampling bad[] = {{-1, 0, 1}, {1e-9, 0, 1}, {NAN, 0, 1}, {1e9, 0, 1},
                                      {1, -1, 1}, {1, 0, 0},    {1, 0, 1.1}, {1, 0, NAN}};
    const char *names[] = {"temperature", "temperature", "temperature", "temperature",
                           "top_k",       "top_p",       "top_p",       "top_p"};
    for (size_t i = 0; i < AP_LEN(bad); i++) {
        assert_int_equal(ap_sampling_check(&bad[i], &err), AP_INVALID);
        check_holds(err.text, names[i]);
        check_holds(err.text, "expected");
    }
    check_ok(ap_sampling_check(&(struct ap_sampling){0, 0, 1}, &err), err);
    check_ok(ap_sampling_check(&(struct ap_sampling){0.7, 50, 0.9}, &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_takes_the_first_of_equals),
        cmocka_unit_test(test_shares_without_truncation),
        cmocka_unit_test(test_ids_rise_with_the_uniform),
        cmocka_unit_test(test_shares_under_truncation),
        cmocka_unit_test(test_ties_at_the_kth_place),
        cmocka_unit_test(test_ends_of_the_uniform),
        cmocka_unit_test(test_rows_with_nan),
        cmocka_unit_test(test_chi_square),
        cmocka_unit_test(test_settings_are_checked),
    };
    return cmocka_run_group_tests_name("sampler", tests, setup, teardown);
}
