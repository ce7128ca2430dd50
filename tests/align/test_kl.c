/* KL of texts: the sum over an answer's tokens of k3 in double, whatever the batch. math.md (13).
 */
#include "align/kl.h"

#include "align/tiny_lm.h"

enum { N = 5 };

struct fixture {
    struct ap_lm *lm;
    struct ap_adapter *adapter;
    struct ap_role policy, base;
    int32_t prompt[N][24], answer[N][24];
    struct ap_kl_item items[N];
};

static void open_fixture(struct fixture *f)
{
    struct ap_random random;
    *f = (struct fixture){.lm = tiny_lm_new(3)};
    f->adapter = tiny_adapter(f->lm, false, true, 6);
    f->policy = (struct ap_role){f->lm->weights, f->adapter};
    f->base = (struct ap_role){f->lm->weights, NULL};
    ap_random_init(&random, &(struct ap_stream){.seed = 2});
    for (int i = 0; i < N; i++) {
        f->items[i] = (struct ap_kl_item){f->prompt[i], f->answer[i], 2 + 5 * i, 1 + 4 * i};
        for (int t = 0; t < 24; t++) {
            f->prompt[i][t] = (int32_t)ap_random_below(&random, 600);
            f->answer[i][t] = (int32_t)ap_random_below(&random, 600);
        }
    }
}

static void close_fixture(struct fixture *f)
{
    ap_adapter_free(f->adapter);
    ap_lm_free(f->lm);
}

static double logp_of(const struct ap_role *role, const struct ap_kl_item *item, int t)
{
    int32_t ids[64];
    uint8_t only[64] = {0};
    int n = 0;
    memcpy(ids, item->prompt, (size_t)item->n_prompt * sizeof(*ids));
    memcpy(ids + item->n_prompt, item->answer, (size_t)item->n_answer * sizeof(*ids));
    only[item->n_prompt + t] = 1;
    return tiny_logp_sum(role, ids, only, item->n_prompt + item->n_answer, &n);
}

static void test_sums_against_token_by_token(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_error err;
    double sum[N];
    open_fixture(&f);
    check_ok(ap_kl_sums(&f.policy, &f.base, f.items, N, 1, 64, sum, &err), err);
    for (int i = 0; i < N; i++) {
        double expected = 0;
        for (int t = 0; t < f.items[i].n_answer; t++) {
            double k1 = logp_of(&f.policy, &f.items[i], t) - logp_of(&f.base, &f.items[i], t);
            expected += expm1(-k1) + k1;
        }
        check_near(sum[i], expected, 1e-5, 1e-4);
        assert_true(sum[i] > 1e-3);
    }
    close_fixture(&f);
}

static void test_batches_change_no_bit(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_error err;
    double small[N], large[N];
    open_fixture(&f);
    check_ok(ap_kl_sums(&f.policy, &f.base, f.items, N, 0.7, 1, small, &err), err);
    check_ok(ap_kl_sums(&f.policy, &f.base, f.items, N, 0.7, 4096, large, &err), err);
    assert_memory_equal(small, large, sizeof(small));
    check_ok(ap_kl_sums(&f.policy, &f.base, f.items, N, 1, 4096, large, &err), err);
    for (int i = 0; i < N; i++)
        assert_true(small[i] != large[i]); /* the temperature counts */
    close_fixture(&f);
}

static void test_one_role_is_no_way_from_itself(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_error err;
    double sum[N];
    open_fixture(&f);
    check_ok(ap_kl_sums(&f.policy, &f.policy, f.items, N, 1, 64, sum, &err), err);
    for (int i = 0; i < N; i++)
        assert_true(sum[i] == 0);
    f.items[2].n_answer = 0; /* nothing was written */
    check_ok(ap_kl_sums(&f.policy, &f.base, f.items, N, 1, 64, sum, &err), err);
    assert_true(sum[2] == 0 && sum[3] > 0);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_against_token_by_token),
        cmocka_unit_test(test_batches_change_no_bit),
        cmocka_unit_test(test_one_role_is_no_way_from_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
