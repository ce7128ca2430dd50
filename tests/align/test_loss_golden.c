/* Losses, advantages, KL and TV against reference values: our own of tests/golden, and the larger
 * ones of the reference folder (skipped where that is absent). */
#include "align/table.h"
#include "base/json.h"

#define EXACT 1e-10

static char own[] = AP_SOURCE_DIR "/tests/golden/losses.json";

/* state: the file's path; NULL: the reference folder's. */
static json_t *open_golden(void **state, const char *key)
{
    struct ap_error err;
    json_t *root, *part;
    const char *path = *state ? *state : check_golden("losses.json");
    if (!path)
        skip();
    check_ok(ap_json_load(path, 1 << 22, &root, &err), err);
    part = json_incref(json_object_get(root, key));
    assert_non_null(part);
    json_decref(root);
    return part;
}

static double number(const json_t *o, const char *key)
{
    assert_true(json_is_number(json_object_get(o, key)));
    return json_number_value(json_object_get(o, key));
}

static double at(const json_t *o, const char *key, size_t i)
{
    return json_number_value(json_array_get(json_object_get(o, key), i));
}

static double at2(const json_t *o, const char *key, size_t i, size_t j)
{
    return json_number_value(json_array_get(json_array_get(json_object_get(o, key), i), j));
}

static void golden_rollout(const json_t *o, struct ap_rollout *r, int n_each)
{
    int lens[16] = {0}, n = (int)json_array_size(json_object_get(o, "lens"));
    assert_in_range(n, 1, 16);
    for (int i = 0; i < n; i++)
        lens[i] = (int)at(o, "lens", (size_t)i);
    table_make(r, lens, n, n_each);
    for (int i = 0; i < n; i++)
        r->rows[i].score = at(o, "reward", (size_t)i);
}

static void golden_column(const json_t *o, const char *key, const struct ap_rollout *r, double *x)
{
    for (int i = 0; i < r->n_row; i++)
        for (int t = 0; t < r->rows[i].n; t++)
            x[r->rows[i].first + (size_t)t] = at2(o, key, (size_t)i, (size_t)t);
}

static void golden_check(const json_t *o, const char *key, const struct ap_rollout *r,
                         const double *x)
{
    for (int i = 0; i < r->n_row; i++)
        for (int t = 0; t < r->rows[i].n; t++)
            check_near(x[r->rows[i].first + (size_t)t], at2(o, key, (size_t)i, (size_t)t), EXACT,
                       EXACT);
}

static void test_golden_sft(void **state)
{
    json_t *o = open_golden(state, "sft");
    double logp[64], want[64], got[64];
    int n = 0, n_first = 0; /* rows 0 and 1 are the first micro-batch */
    for (size_t i = 0; i < json_array_size(json_object_get(o, "logp")); i++) {
        n_first = i == 2 ? n : n_first;
        for (size_t t = 0; t < 6; t++)
            if (at2(o, "mask", i, t) != 0) {
                logp[n] = at2(o, "logp", i, t);
                want[n++] = at2(o, "dlogp", i, t);
            }
    }
    check_near(ap_loss_sft(logp, n, n, got), number(o, "loss"), EXACT, EXACT);
    for (int i = 0; i < n; i++)
        check_near(got[i], want[i], EXACT, EXACT);
    double split = ap_loss_sft(logp, n_first, n, got) +
                   ap_loss_sft(logp + n_first, n - n_first, n, got + n_first);
    check_near(split, number(o, "loss"), EXACT, EXACT);
    for (int i = 0; i < n; i++)
        check_near(got[i], want[i], EXACT, EXACT);
    json_decref(o);
}

static void test_golden_bradley_terry(void **state)
{
    json_t *all = open_golden(state, "bradley_terry"), *o;
    size_t k;
    assert_true(json_array_size(all) > 0);
    json_array_foreach(all, k, o)
    {
        double chosen[32], rejected[32], dchosen[32], drejected[32];
        int n = (int)json_array_size(json_object_get(o, "chosen"));
        for (int i = 0; i < n; i++) {
            chosen[i] = at(o, "chosen", (size_t)i);
            rejected[i] = at(o, "rejected", (size_t)i);
        }
        double loss = ap_loss_bradley_terry(chosen, rejected, n, n, number(o, "margin"),
                                            number(o, "centre"), dchosen, drejected);
        check_near(loss, number(o, "loss"), EXACT, EXACT);
        for (int i = 0; i < n; i++) {
            check_near(dchosen[i], at(o, "dchosen", (size_t)i), EXACT, EXACT);
            if (json_object_get(o, "drejected")) /* one case keeps only one side */
                check_near(drejected[i], at(o, "drejected", (size_t)i), EXACT, EXACT);
        }
    }
    json_decref(all);
}

static void check_golden_dpo(const json_t *o)
{
    double chosen[32], rejected[32], chosen_ref[32], rejected_ref[32], dchosen[32], drejected[32];
    int n = (int)json_array_size(json_object_get(o, "policy_chosen"));
    double n_token = 0, n_right = 0;
    assert_in_range(n, 1, 32);
    for (int i = 0; i < n; i++) {
        chosen[i] = at(o, "policy_chosen", (size_t)i);
        rejected[i] = at(o, "policy_rejected", (size_t)i);
        chosen_ref[i] = at(o, "ref_chosen", (size_t)i);
        rejected_ref[i] = at(o, "ref_rejected", (size_t)i);
        n_token += at(o, "chosen_tokens", (size_t)i);
        n_right += chosen[i] - chosen_ref[i] > rejected[i] - rejected_ref[i];
    }
    const struct ap_dpo_pairs pairs = {chosen, rejected, chosen_ref, rejected_ref};
    const struct ap_dpo_weights weights = {.beta = number(o, "beta"),
                                           .label_smoothing = number(o, "label_smoothing"),
                                           .nll_weight = number(o, "nll_weight")};
    double loss = ap_loss_dpo(&pairs, n, n, n_token, &weights, dchosen, drejected);
    check_near(loss, number(o, "loss"), EXACT, EXACT);
    check_near(n_right / n, number(o, "accuracy"), EXACT, EXACT);
    for (int i = 0; i < n; i++) {
        check_near(dchosen[i], at(o, "dpolicy_chosen", (size_t)i), EXACT, EXACT);
        check_near(drejected[i], at(o, "dpolicy_rejected", (size_t)i), EXACT, EXACT);
    }
}

static void test_golden_dpo(void **state)
{
    json_t *all = open_golden(state, "dpo"), *o;
    size_t k;
    assert_int_equal(json_array_size(all), 3);
    json_array_foreach(all, k, o) check_golden_dpo(o);
    json_decref(all);
}

static void check_golden_kl(const json_t *o, const struct ap_rollout *r)
{
    double k1 = 0, k2 = 0, k3 = 0, n = (double)r->n_token;
    for (size_t t = 0; t < r->n_token; t++) {
        k1 += ap_kl_k1(r->logp_old[t], r->logp_ref[t]) / n;
        k2 += ap_kl_k2(r->logp_old[t], r->logp_ref[t]) / n;
        k3 += ap_kl_k3(r->logp_old[t], r->logp_ref[t]) / n;
    }
    const json_t *want = json_object_get(o, "kl_stats");
    check_near(k1, number(want, "k1"), EXACT, EXACT);
    check_near(k2, number(want, "k2"), EXACT, EXACT);
    check_near(k3, number(want, "k3"), EXACT, EXACT);
}

static void check_golden_ppo(const json_t *o)
{
    const int32_t rows[] = {0, 1, 2, 3};
    struct ap_rollout r;
    struct ap_ppo_stats stats = {0};
    golden_rollout(o, &r, 1);
    golden_column(o, "logp_old", &r, r.logp_old);
    golden_column(o, "logp_ref", &r, r.logp_ref);
    golden_column(o, "logp_new", &r, r.logp);
    golden_column(o, "value_old", &r, r.value_old);
    golden_column(o, "value_new", &r, r.value);
    golden_column(o, "entropy", &r, r.entropy);
    check_golden_kl(o, &r);
    /* with V 0 and γ λ 0 the advantage is the token's reward */
    memset(r.value_old, 0, r.n_token * sizeof(double));
    ap_gae(&r, number(o, "kl"), 0, 0);
    golden_check(o, "token_reward", &r, r.advantage);
    golden_column(o, "value_old", &r, r.value_old);
    ap_gae(&r, number(o, "kl"), number(o, "gamma"), number(o, "gae_lambda"));
    golden_check(o, "advantage", &r, r.advantage);
    golden_check(o, "returns", &r, r.returns);
    ap_whiten(r.advantage, r.n_token);
    golden_check(o, "advantage_whitened", &r, r.advantage);
    double loss = ap_loss_ppo(&r, rows, r.n_row, (double)r.n_token, number(o, "clip"),
                              number(o, "value_clip"), number(o, "value_weight"),
                              number(o, "entropy_weight"), &stats);
    check_near(loss, number(o, "loss"), EXACT, EXACT);
    check_near(stats.policy_loss, number(o, "policy_loss"), EXACT, EXACT);
    check_near(stats.value_loss, number(o, "value_loss"), EXACT, EXACT);
    check_near(stats.clip_fraction, number(o, "clip_fraction"), EXACT, EXACT);
    check_near(stats.approx_kl, number(o, "approx_kl_new_old"), EXACT, EXACT);
    golden_check(o, "dlogp", &r, r.dlogp);
    golden_check(o, "dvalue", &r, r.dvalue);
    golden_check(o, "dentropy", &r, r.dentropy);
    ap_rollout_free(&r);
}

static void test_golden_ppo(void **state)
{
    json_t *all = open_golden(state, "ppo"), *o;
    size_t k;
    assert_int_equal(json_array_size(all), 2);
    json_array_foreach(all, k, o) check_golden_ppo(o);
    json_decref(all);
}

static void test_golden_rloo(void **state)
{
    json_t *o = open_golden(state, "rloo");
    struct ap_rollout r;
    const int32_t rows[] = {0, 1, 2, 3, 4, 5};
    double advantage[6], clipped = 0;
    golden_rollout(o, &r, (int)number(o, "n"));
    golden_column(o, "logp_old", &r, r.logp_old);
    golden_column(o, "logp_ref", &r, r.logp_ref);
    golden_column(o, "logp_new", &r, r.logp);
    ap_rloo_advantage(&r, number(o, "kl"), advantage);
    for (size_t i = 0; i < 6; i++)
        check_near(advantage[i], at(o, "advantage", i), EXACT, EXACT);
    double loss = ap_loss_rloo(&r, rows, 6, 6, advantage, number(o, "clip"), &clipped);
    check_near(loss, number(o, "loss"), EXACT, EXACT);
    golden_check(o, "dlogp", &r, r.dlogp);
    ap_rollout_free(&r);
    json_decref(o);
}

static void test_golden_grpo(void **state)
{
    json_t *o = open_golden(state, "grpo");
    struct ap_rollout r;
    const int32_t rows[] = {0, 1, 2, 3, 4, 5};
    double advantage[6];
    golden_rollout(o, &r, (int)number(o, "n"));
    golden_column(o, "logp_old", &r, r.logp_old);
    golden_column(o, "logp_ref", &r, r.logp_ref);
    golden_column(o, "logp_new", &r, r.logp);
    ap_grpo_advantage(&r, advantage);
    for (size_t i = 0; i < 6; i++)
        check_near(advantage[i], at(o, "advantage", i), EXACT, EXACT);
    for (int k3 = 0; k3 < 2; k3++) {
        const json_t *want = json_object_get(json_object_get(o, "by_kl_loss"), k3 ? "k3" : "k2");
        double clipped = 0, loss = ap_loss_grpo(&r, rows, 6, 6, advantage, number(o, "clip"),
                                                number(o, "beta"), k3, &clipped);
        check_near(loss, number(want, "loss"), EXACT, EXACT);
        golden_check(want, "dlogp", &r, r.dlogp);
    }
    ap_rollout_free(&r);
    json_decref(o);
}

static void test_golden_tv(void **state)
{
    json_t *all = open_golden(state, "tv"), *o;
    size_t k;
    assert_true(json_array_size(all) > 0);
    json_array_foreach(all, k, o)
    {
        double mean = 0;
        for (size_t i = 0; i < json_array_size(json_object_get(o, "p")); i++) {
            double p = at(o, "p", i), term = ap_tv_term(log(p), log(at(o, "q", i)));
            check_near(term, at(o, "per_outcome", i), EXACT, EXACT);
            mean += p * term;
        }
        check_near(mean, number(o, "tv"), EXACT, EXACT);
    }
    json_decref(all);
}

static void test_golden_adaptive(void **state)
{
    json_t *o = open_golden(state, "adaptive"), *step;
    double lambda = number(o, "start");
    size_t k;
    json_array_foreach(json_object_get(o, "steps"), k, step)
    {
        lambda = ap_adaptive_kl(lambda, number(step, "kl"), number(o, "target"),
                                number(o, "horizon"), (int)number(o, "n"));
        check_near(lambda, number(step, "weight"), EXACT, EXACT);
    }
    assert_true(k >= 5);
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_golden_sft, own),
        cmocka_unit_test_prestate(test_golden_bradley_terry, own),
        cmocka_unit_test_prestate(test_golden_ppo, own),
        cmocka_unit_test_prestate(test_golden_rloo, own),
        cmocka_unit_test_prestate(test_golden_tv, own),
        cmocka_unit_test_prestate(test_golden_adaptive, own),
        cmocka_unit_test(test_golden_sft),
        cmocka_unit_test(test_golden_bradley_terry),
        cmocka_unit_test(test_golden_dpo),
        cmocka_unit_test(test_golden_ppo),
        cmocka_unit_test(test_golden_rloo),
        cmocka_unit_test(test_golden_grpo),
        cmocka_unit_test(test_golden_tv),
        cmocka_unit_test(test_golden_adaptive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
