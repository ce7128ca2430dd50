/* The sampler against exact shares: a uniform grid through an inverse CDF meets every token as
 * often as its probability says, to within one; random numbers by chi-square. */
#include "check.h"

#include "base/json.h"
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

/* The plain definition, with a sort: keep k, then the fewest whose share reaches p, then those of
 * at least min_p of the largest. */
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
    for (; m < most && (s->top_p == 1 || kept < s->top_p * mass); m++) {
        double w = exp(((double)f->logits[order[m]] - f->logits[order[0]]) / s->temperature);
        if (w < s->min_p)
            break;
        f->expected[order[m]] = w;
        kept += w;
    }
    for (int i = 0; i < n; i++)
        f->expected[i] /= kept;
}

static void check_counts(struct fixture *f, int n, const struct ap_sampling *s)
{
    memset(f->count, 0, sizeof(f->count));
    for (int i = 0; i < GRID; i++) {
        int32_t id = ap_sample_token(f->logits, n, s, (i + 0.5) / GRID, &f->scratch);
        assert_in_range(id, 0, n - 1);
        f->count[id]++;
    }
    for (int i = 0; i < n; i++)
        check_near(f->count[i], f->expected[i] * GRID, f->expected[i] > 0 ? 1.2 : 0, 1e-5);
}

static void check_shares(struct fixture *f, int n, const struct ap_sampling *s)
{
    expect(f, n, s);
    check_counts(f, n, s);
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
        check_shares(f, sizes[i], &(struct ap_sampling){1, 0, 1, 0, 0});
    }
    check_shares(f, 600, &(struct ap_sampling){0.5, 0, 1, 0, 0});
    check_shares(f, 600, &(struct ap_sampling){4, 0, 1, 0, 0});
}

static void test_ids_rise_with_the_uniform(void **state)
{
    struct fixture *f = *state;
    struct ap_sampling s = {1, 0, 1, 0, 0};
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
    check_shares(f, 1000, &(struct ap_sampling){1, 1, 1, 0, 0});
    check_shares(f, 1000, &(struct ap_sampling){1, 40, 1, 0, 0});
    check_shares(f, 1000, &(struct ap_sampling){1, 0, 0.9, 0, 0});
    check_shares(f, 1000, &(struct ap_sampling){1, 0, 1e-6, 0, 0});
    check_shares(f, 1000, &(struct ap_sampling){0.7, 0, 0.5, 0, 0});
    check_shares(f, 1000, &(struct ap_sampling){1, 20, 0.8, 0, 0});
    check_shares(f, 1000, &(struct ap_sampling){1.5, 5000, 0.999, 0, 0});
}

static void test_shares_under_min_p(void **state)
{
    struct fixture *f = *state;
    fill_logits(f, 1000, 2);
    check_shares(f, 1000, &(struct ap_sampling){1, 0, 1, 0.1, 1});
    check_shares(f, 1000, &(struct ap_sampling){0.6, 0, 1, 0.001, 0});
    check_shares(f, 1000, &(struct ap_sampling){2, 0, 1, 0.7, 0});
    check_shares(f, 1000, &(struct ap_sampling){1, 30, 1, 0.05, 0});
    check_shares(f, 1000, &(struct ap_sampling){1, 0, 0.9, 0.05, 0});
    check_shares(f, 1000, &(struct ap_sampling){1, 0, 0.3, 0.01, 0});
    check_shares(f, 1000, &(struct ap_sampling){1.5, 200, 0.95, 0.02, 0});
    f->logits[7] = f->logits[900] = 50;
    check_shares(f, 1000, &(struct ap_sampling){1, 0, 1, 1, 0}); /* both of the largest */
    assert_true(f->count[7] > 0 && f->count[900] > 0);
}

/* Once however often it stands there; back to the bit. */
static void test_penalty_by_hand(void **state)
{
    (void)state;
    float logits[] = {4, -4, 0, 3, -INFINITY}, before[5], saved[6];
    const int32_t said[] = {1, 0, 0, 2, 1, 4};
    memcpy(before, logits, sizeof(before));
    ap_penalise(logits, said, 6, 2, saved);
    const float want[] = {2, -8, 0, 3, -INFINITY};
    for (int i = 0; i < 5; i++)
        assert_true(logits[i] == want[i]);
    ap_unpenalise(logits, said, 6, saved);
    assert_memory_equal(logits, before, sizeof(before));
    ap_penalise(logits, said, 0, 2, saved);
    assert_memory_equal(logits, before, sizeof(before));
}

static int read_numbers(const json_t *o, const char *key, double *out)
{
    const json_t *list = json_object_get(o, key), *x;
    size_t i;
    assert_in_range(json_array_size(list), 1, V_MAX);
    json_array_foreach(list, i, x) out[i] = json_number_value(x);
    return (int)json_array_size(list);
}

/* What transformers' own chain of processors leaves of the same logits. */
static void test_shares_of_transformers(void **state)
{
    struct fixture *f = *state;
    struct ap_error err;
    json_t *root, *c;
    size_t k;
    double numbers[V_MAX];
    float saved[V_MAX];
    check_ok(ap_json_load(AP_SOURCE_DIR "/tests/golden/sampling.json", 1 << 20, &root, &err), err);
    json_array_foreach(json_object_get(root, "cases"), k, c)
    {
        struct ap_sampling s = {.temperature = json_number_value(json_object_get(c, "temperature")),
                                .top_k = (int)json_integer_value(json_object_get(c, "top_k")),
                                .top_p = json_number_value(json_object_get(c, "top_p")),
                                .min_p = json_number_value(json_object_get(c, "min_p")),
                                .repetition_penalty =
                                    json_number_value(json_object_get(c, "repetition_penalty"))};
        int n_said = read_numbers(c, "said", numbers);
        int32_t said[64];
        assert_in_range(n_said, 1, 64);
        for (int i = 0; i < n_said; i++)
            said[i] = (int32_t)numbers[i];
        int n = read_numbers(c, "logits", numbers);
        for (int i = 0; i < n; i++)
            f->logits[i] = (float)numbers[i];
        assert_int_equal(read_numbers(c, "shares", f->expected), n);
        check_ok(ap_sampling_check(&s, &err), err);
        ap_penalise(f->logits, said, n_said, s.repetition_penalty, saved);
        check_counts(f, n, &s);
    }
    assert_true(k >= 10);
    json_decref(root);
}

static void test_ties_at_the_kth_place(void **state)
{
    struct fixture *f = *state;
    struct ap_sampling s = {1, 3, 1, 0, 0};
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
    const struct ap_sampling settings[] = {
        {1, 0, 1, 0, 0}, {1, 2, 1, 0, 0}, {1, 0, 0.9, 0, 0}, {0.01, 0, 1, 0, 0}};
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
    const struct ap_sampling settings[] = {{0, 0, 1, 0, 0},   {1, 0, 1, 0, 0},   {1, 3, 1, 0, 0},
                                           {1, 0, 0.5, 0, 0}, {1, 0, 1, 0.5, 0}, {1, 3, 1, 0.5, 0},
                                           {1, 3, 0.5, 0, 0}};
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
    const struct ap_sampling settings[] = {
        {1, 0, 1, 0, 0}, {0.8, 0, 1, 0, 0}, {1, 6, 1, 0, 0}, {1, 0, 0.8, 0, 0}};
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
    const struct {
        struct ap_sampling s;
        const char *name;
    } bad[] = {{{-1, 0, 1, 0, 0}, "temperature"},
               {{1e-9, 0, 1, 0, 0}, "temperature"},
               {{NAN, 0, 1, 0, 0}, "temperature"},
               {{1e9, 0, 1, 0, 0}, "temperature"},
               {{1, -1, 1, 0, 0}, "top_k"},
               {{1, 0, 0, 0, 0}, "top_p"},
               {{1, 0, 1.1, 0, 0}, "top_p"},
               {{1, 0, NAN, 0, 0}, "top_p"},
               {{1, 0, 1, -0.1, 0}, "min_p"},
               {{1, 0, 1, 1.1, 0}, "min_p"},
               {{1, 0, 1, NAN, 0}, "min_p"},
               {{1, 0, 1, 0, -1}, "repetition_penalty"},
               {{1, 0, 1, 0, 1e-9}, "repetition_penalty"},
               {{1, 0, 1, 0, 1e9}, "repetition_penalty"},
               {{1, 0, 1, 0, NAN}, "repetition_penalty"}};
    for (size_t i = 0; i < AP_LEN(bad); i++) {
        assert_int_equal(ap_sampling_check(&bad[i].s, &err), AP_INVALID);
        check_holds(err.text, bad[i].name);
        check_holds(err.text, "expected");
    }
    check_ok(ap_sampling_check(&(struct ap_sampling){0, 0, 1, 0, 0}, &err), err);
    check_ok(ap_sampling_check(&(struct ap_sampling){0.7, 50, 0.9, 1, 1}, &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_takes_the_first_of_equals),
        cmocka_unit_test(test_shares_without_truncation),
        cmocka_unit_test(test_ids_rise_with_the_uniform),
        cmocka_unit_test(test_shares_under_truncation),
        cmocka_unit_test(test_shares_under_min_p),
        cmocka_unit_test(test_penalty_by_hand),
        cmocka_unit_test(test_shares_of_transformers),
        cmocka_unit_test(test_ties_at_the_kth_place),
        cmocka_unit_test(test_ends_of_the_uniform),
        cmocka_unit_test(test_rows_with_nan),
        cmocka_unit_test(test_chi_square),
        cmocka_unit_test(test_settings_are_checked),
    };
    return cmocka_run_group_tests_name("sampler", tests, setup, teardown);
}
