/* Losses, advantages, KL and TV: hand-computed cases, finite differences, properties, and the
 * reference values of losses.json where that file is there. */
#include "align/loss.h"
#include "align/table.h"
#include "base/json.h"

#define EXACT 1e-10

/* -- (8) -- */

static void test_sft_by_hand(void **state)
{
    (void)state;
    const double logp[] = {-1, -2, -3};
    double dlogp[3];
    check_near(ap_loss_sft(logp, 3, 4, dlogp), 1.5, 1e-15, 0);
    for (int i = 0; i < 3; i++)
        check_near(dlogp[i], -0.25, 0, 0);
}

static void test_sft_is_the_sum_of_its_micro_batches(void **state)
{
    (void)state;
    double logp[9], whole[9], parts[9];
    table_fill(logp, 9, -4, 0, 1);
    double loss = ap_loss_sft(logp, 9, 9, whole);
    double split = ap_loss_sft(logp, 4, 9, parts) + ap_loss_sft(logp + 4, 5, 9, parts + 4);
    check_near(split, loss, 1e-15, 0);
    assert_memory_equal(whole, parts, sizeof(whole));
}

/* -- (9) -- */

struct pair_case {
    double chosen[4], rejected[4], margin, centre;
};

static double pair_loss(void *context)
{
    struct pair_case *c = context;
    double unused[2][4];
    return ap_loss_bradley_terry(c->chosen, c->rejected, 4, 5, c->margin, c->centre, unused[0],
                                 unused[1]);
}

static void test_bradley_terry_by_hand(void **state)
{
    (void)state;
    double chosen = log(3) + 0.5, rejected = 0, dc, dr;
    /* σ(log 3) = 3/4 */
    check_near(ap_loss_bradley_terry(&chosen, &rejected, 1, 1, 0.5, 0, &dc, &dr), log(4.0 / 3),
               1e-15, 0);
    check_near(dc, -0.25, 1e-15, 0);
    check_near(dr, 0.25, 1e-15, 0);
    chosen = 1, rejected = 1;
    check_near(ap_loss_bradley_terry(&chosen, &rejected, 1, 1, 0, 0.1, &dc, &dr), log(2) + 0.4,
               1e-15, 0);
    check_near(dc, -0.5 + 0.4, 1e-15, 0);
    check_near(dr, 0.5 + 0.4, 1e-15, 0);
    chosen = -800, rejected = 0; /* no overflow far out */
    check_near(ap_loss_bradley_terry(&chosen, &rejected, 1, 1, 0, 0, &dc, &dr), 800, 1e-12, 0);
    check_near(dc, -1, 1e-15, 0);
}

static void test_bradley_terry_gradient(void **state)
{
    (void)state;
    struct pair_case c = {.margin = 0.3, .centre = 0.05};
    double dchosen[4], drejected[4];
    table_fill(c.chosen, 4, -2, 2, 2);
    table_fill(c.rejected, 4, -2, 2, 3);
    ap_loss_bradley_terry(c.chosen, c.rejected, 4, 5, c.margin, c.centre, dchosen, drejected);
    table_check_gradient(c.chosen, dchosen, 4, pair_loss, &c);
    table_check_gradient(c.rejected, drejected, 4, pair_loss, &c);
}

static void test_bradley_terry_sees_only_the_gap(void **state)
{
    (void)state;
    struct pair_case a = {.margin = 0.2}, b;
    table_fill(a.chosen, 4, -2, 2, 2);
    table_fill(a.rejected, 4, -2, 2, 3);
    b = a;
    for (int i = 0; i < 4; i++)
        b.chosen[i] += 7, b.rejected[i] += 7;
    check_near(pair_loss(&a), pair_loss(&b), 1e-14, 0);
    a.centre = b.centre = 0.01; /* the centring weight is there to see the rest */
    assert_true(pair_loss(&b) > pair_loss(&a) + 1);
}

/* -- (9a) -- */

static double implicit_loss(void *context)
{
    return ap_implicit_reward(*(double *)context, -1.2, 0.2, 0.002, NULL);
}

static void test_implicit_reward(void **state)
{
    (void)state;
    double slope;
    check_near(ap_implicit_reward(-1, -3, 0.2, 0, &slope), 0.4, 1e-15, 0);
    check_near(slope, 0.2, 0, 0);
    /* (½ + ¼) / (¼ + ¼) */
    check_near(ap_implicit_reward(log(0.5), log(0.25), 0.2, 0.25, &slope), 0.2 * log(1.5), 1e-15,
               0);
    check_near(slope, 0.2 * 0.5 / 0.75, 1e-15, 0);
    for (double logp = -30; logp < 0; logp += 1.7) {
        double x = logp;
        ap_implicit_reward(x, -1.2, 0.2, 0.002, &slope);
        table_check_gradient(&x, &slope, 1, implicit_loss, &x);
    }
    /* the floor bounds what an impossible token can cost or bring */
    check_near(ap_implicit_reward(-INFINITY, 0, 0.2, 0.002, &slope), 0.2 * log(0.002 / 1.002),
               1e-15, 0);
    check_near(slope, 0, 0, 0);
}

/* -- (10) -- */

static void test_gae_by_hand(void **state)
{
    (void)state;
    struct ap_rollout r;
    table_make(&r, (int[]){2}, 1, 1);
    r.rows[0].score = 1.25;
    r.rows[0].penalty = 0.25;
    r.logp_old[0] = -1, r.logp_ref[0] = -1.5;
    r.logp_old[1] = -1, r.logp_ref[1] = -0.5;
    r.value_old[0] = 0.2, r.value_old[1] = 0.4;
    ap_gae(&r, 0.1, 1, 0.5);
    /* token rewards −0.05 and 1.05; δ 0.15 and 0.65 */
    check_near(r.advantage[1], 0.65, 1e-15, 0);
    check_near(r.advantage[0], 0.15 + 0.5 * 0.65, 1e-15, 0);
    check_near(r.returns[1], 1.05, 1e-15, 0);
    check_near(r.returns[0], 0.675, 1e-15, 0);
    ap_rollout_free(&r);
}

static void test_gae_with_lambda_one_is_the_return(void **state)
{
    (void)state;
    struct ap_rollout r;
    table_make(&r, (int[]){5, 1, 3}, 3, 1);
    table_fill(r.logp_old, 9, -2, 0, 4);
    memcpy(r.logp_ref, r.logp_old, 9 * sizeof(double));
    table_fill(r.value_old, 9, -1, 1, 5);
    for (int i = 0; i < 3; i++)
        r.rows[i].score = i + 0.5;
    ap_gae(&r, 0.7, 1, 1); /* KL 0: every token's return is the row's score, whatever V says */
    for (int i = 0; i < 3; i++)
        for (int t = 0; t < r.rows[i].n; t++)
            check_near(r.returns[r.rows[i].first + (size_t)t], i + 0.5, 1e-14, 0);
    ap_rollout_free(&r);
}

static void test_whitening(void **state)
{
    (void)state;
    double x[] = {1, 2, 3, 6}, y[50], flat[] = {4, 4, 4}, mean = 0, variance = 0;
    ap_whiten(x, 4); /* mean 3, variance 14/4 */
    check_near(x[0], -2 / sqrt(3.5), 1e-8, 0);
    check_near(x[3], 3 / sqrt(3.5), 1e-8, 0);
    table_fill(y, 50, -5, 9, 6);
    ap_whiten(y, 50);
    for (int i = 0; i < 50; i++)
        mean += y[i] / 50, variance += y[i] * y[i] / 50;
    check_near(mean, 0, 1e-14, 0);
    check_near(variance, 1, 1e-8, 0);
    ap_whiten(flat, 3);
    check_near(flat[1], 0, 0, 0);
    ap_whiten(NULL, 0);
}

static void test_ppo_by_hand(void **state)
{
    (void)state;
    struct ap_rollout r;
    const int32_t rows[] = {0, 1};
    struct ap_ppo_stats stats = {0};
    table_make(&r, (int[]){2, 1}, 2, 1);
    const double ratio[] = {1.5, 1.5, 0.5}, advantage[] = {2, -1, 1};
    for (int t = 0; t < 3; t++) {
        r.logp[t] = log(ratio[t]) - 3, r.logp_old[t] = -3;
        r.advantage[t] = advantage[t];
        r.entropy[t] = 0.3;
    }
    r.value[0] = 1, r.value_old[0] = 1, r.returns[0] = 0;   /* free: ½ */
    r.value[1] = 2, r.value_old[1] = 1, r.returns[1] = 3;   /* held at 1.2: ½·1.8² */
    r.value[2] = 0, r.value_old[2] = 1, r.returns[2] = 0.5; /* held at 0.8: free is larger, ⅛ */
    double loss = ap_loss_ppo(&r, rows, 2, 3, 0.2, 0.2, 0.5, 0.01, &stats);
    check_near(stats.policy_loss, (-2 * 1.2 + 1.5 - 0.5) / 3, 1e-15, 0);
    check_near(stats.value_loss, (0.5 + 1.62 + 0.125) / 3, 1e-15, 0);
    check_near(stats.entropy, 0.3, 1e-15, 0);
    check_near(stats.clip_fraction, 1.0 / 3, 1e-15, 0);
    check_near(loss, stats.policy_loss + 0.5 * stats.value_loss - 0.003, 1e-15, 0);
    const double dlogp[] = {0, 0.5, -0.5 / 3}, dvalue[] = {0.5 / 3, 0, -0.25 / 3};
    for (int t = 0; t < 3; t++) {
        check_near(r.dlogp[t], dlogp[t], 1e-15, 0);
        check_near(r.dvalue[t], dvalue[t], 1e-15, 0);
        check_near(r.dentropy[t], -0.01 / 3, 1e-17, 0);
    }
    ap_rollout_free(&r);
}

static const int32_t four_rows[] = {0, 1, 2, 3};

/* Ratios well off the corners of clip, so that differences see one branch. */
static void ppo_table(struct ap_rollout *r)
{
    table_make(r, (int[]){3, 1, 4, 2}, 4, 2);
    table_fill(r->logp_old, 10, -3, -1, 7);
    table_fill(r->logp, 10, -3, -1, 8);
    table_fill(r->advantage, 10, -2, 2, 9);
    table_fill(r->entropy, 10, 0, 2, 10);
    table_fill(r->value_old, 10, -1, 1, 11);
    table_fill(r->value, 10, -1, 1, 12);
    table_fill(r->returns, 10, -1, 1, 13);
}

static double ppo_loss(void *context)
{
    struct ap_ppo_stats stats = {0};
    return ap_loss_ppo(context, four_rows, 4, 10, 0.2, 0.15, 0.3, 0.02, &stats);
}

static void test_ppo_gradient(void **state)
{
    (void)state;
    struct ap_rollout r;
    double dlogp[10], dvalue[10], dentropy[10];
    ppo_table(&r);
    ppo_loss(&r);
    memcpy(dlogp, r.dlogp, sizeof(dlogp));
    memcpy(dvalue, r.dvalue, sizeof(dvalue));
    memcpy(dentropy, r.dentropy, sizeof(dentropy));
    table_check_gradient(r.logp, dlogp, 10, ppo_loss, &r);
    table_check_gradient(r.value, dvalue, 10, ppo_loss, &r);
    table_check_gradient(r.entropy, dentropy, 10, ppo_loss, &r);
    ap_rollout_free(&r);
}

static void test_ppo_micro_batches_add_up(void **state)
{
    (void)state;
    struct ap_rollout r;
    const int32_t first[] = {2, 0}, second[] = {3, 1};
    struct ap_ppo_stats whole = {0}, parts = {0};
    double dlogp[10];
    ppo_table(&r);
    double loss = ap_loss_ppo(&r, four_rows, 4, 10, 0.2, 0.15, 0.3, 0.02, &whole);
    memcpy(dlogp, r.dlogp, sizeof(dlogp));
    double sum = ap_loss_ppo(&r, first, 2, 10, 0.2, 0.15, 0.3, 0.02, &parts);
    sum += ap_loss_ppo(&r, second, 2, 10, 0.2, 0.15, 0.3, 0.02, &parts);
    check_near(sum, loss, 1e-14, 0);
    check_near(parts.policy_loss, whole.policy_loss, 1e-14, 0);
    check_near(parts.value_loss, whole.value_loss, 1e-14, 0);
    check_near(parts.approx_kl, whole.approx_kl, 1e-14, 0);
    check_near(parts.clip_fraction, whole.clip_fraction, 1e-14, 0);
    assert_memory_equal(r.dlogp, dlogp, sizeof(dlogp));
    ap_rollout_free(&r);
}

static void test_ppo_at_ratio_one_is_the_policy_gradient(void **state)
{
    (void)state;
    struct ap_rollout r;
    ppo_table(&r);
    memcpy(r.logp, r.logp_old, 10 * sizeof(double));
    struct ap_ppo_stats stats = {0};
    ap_loss_ppo(&r, four_rows, 4, 10, 0.2, 0.2, 0, 0, &stats);
    for (int t = 0; t < 10; t++)
        check_near(r.dlogp[t], -r.advantage[t] / 10, 1e-16, 0);
    check_near(stats.clip_fraction, 0, 0, 0);
    check_near(stats.approx_kl, 0, 0, 0);
    ap_rollout_free(&r);
}

static void test_not_a_number_comes_through(void **state)
{
    (void)state;
    struct ap_rollout r;
    ppo_table(&r);
    r.logp[4] = NAN;
    assert_true(isnan(ppo_loss(&r)) && isnan(r.dlogp[4]) && !isnan(r.dlogp[3]));
    r.logp[4] = -1, r.value[2] = NAN;
    assert_true(isnan(ppo_loss(&r)) && isnan(r.dvalue[2]));
    const double advantage[] = {1, -1, NAN, 1};
    double clipped = 0;
    assert_true(isnan(ap_loss_rloo(&r, four_rows, 4, 4, advantage, 0.2, &clipped)));
    ap_rollout_free(&r);
}

/* -- (11) -- */

static void test_rloo_by_hand(void **state)
{
    (void)state;
    struct ap_rollout r;
    double advantage[3], clipped = 0;
    const int32_t rows[] = {0, 1, 2};
    table_make(&r, (int[]){2, 1, 1}, 3, 3);
    r.rows[0].score = 1, r.rows[1].score = 3, r.rows[2].score = 0;
    r.rows[2].penalty = 1;
    r.logp_old[0] = -1, r.logp_ref[0] = -3; /* k1 2 */
    r.logp_old[1] = -1, r.logp_ref[1] = 0;  /* k1 −1 */
    ap_rloo_advantage(&r, 0.5, advantage);  /* R̃ ½, 3, −1 */
    check_near(advantage[0], 0.5 - 1, 1e-15, 0);
    check_near(advantage[1], 3 + 0.25, 1e-15, 0);
    check_near(advantage[2], -1 - 1.75, 1e-15, 0);
    r.logp[0] = -1 + log(2), r.logp[1] = -1 + log(0.75); /* ratio 1.5 of the whole row */
    r.logp[2] = log(2);                                  /* ratio 2, A > 0: held at 1.2 */
    r.logp[3] = 0;
    double loss = ap_loss_rloo(&r, rows, 3, 3, advantage, 0.2, &clipped);
    check_near(loss, (0.5 * 1.5 - 3.25 * 1.2 + 2.75) / 3, 1e-15, 0);
    check_near(clipped, 1.0 / 3, 1e-15, 0);
    const double dlogp[] = {0.25, 0.25, 0, 2.75 / 3};
    for (int t = 0; t < 4; t++)
        check_near(r.dlogp[t], dlogp[t], 1e-15, 0);
    ap_rollout_free(&r);
}

static double rloo_loss(void *context)
{
    const double advantage[] = {0.7, -1.1, 0.4, -0.2};
    double clipped = 0;
    return ap_loss_rloo(context, four_rows, 4, 4, advantage, 0.2, &clipped);
}

static void test_rloo_gradient(void **state)
{
    (void)state;
    struct ap_rollout r;
    double dlogp[10];
    ppo_table(&r);
    for (int t = 0; t < 10; t++) /* some rows inside the clip, some outside */
        r.logp[t] = r.logp_old[t] + 0.15 * (r.logp[t] - r.logp_old[t]);
    rloo_loss(&r);
    memcpy(dlogp, r.dlogp, sizeof(dlogp));
    table_check_gradient(r.logp, dlogp, 10, rloo_loss, &r);
    ap_rollout_free(&r);
}

static void test_rloo_advantages_sum_to_zero_and_ignore_a_shift(void **state)
{
    (void)state;
    struct ap_rollout r;
    double before[4], after[4];
    ppo_table(&r);
    table_fill(r.logp_ref, 10, -3, -1, 14);
    for (int i = 0; i < 4; i++)
        r.rows[i].score = 0.3 * i * i - 1;
    ap_rloo_advantage(&r, 0.1, before);
    check_near(before[0] + before[1], 0, 1e-15, 0);
    check_near(before[2] + before[3], 0, 1e-15, 0);
    for (int i = 0; i < 4; i++)
        r.rows[i].score += 5 + i / 2; /* one shift per prompt */
    ap_rloo_advantage(&r, 0.1, after);
    for (int i = 0; i < 4; i++)
        check_near(after[i], before[i], 1e-14, 0);
    ap_rollout_free(&r);
}

/* -- (13), (7) -- */

static const double p5[] = {0.1, 0.4, 0.05, 0.25, 0.2}, q5[] = {0.3, 0.1, 0.15, 0.25, 0.2};

static void test_kl_estimators(void **state)
{
    (void)state;
    check_near(ap_kl_k1(-1, -1.5), 0.5, 0, 0);
    check_near(ap_kl_k2(-1, -1.5), 0.125, 1e-16, 0);
    check_near(ap_kl_k3(-1, -1.5), exp(-0.5) - 0.5, 1e-15, 0);
    double kl = 0, k3 = 0;
    for (int i = 0; i < 5; i++) {
        kl += p5[i] * ap_kl_k1(log(p5[i]), log(q5[i]));
        k3 += p5[i] * ap_kl_k3(log(p5[i]), log(q5[i]));
        assert_true(ap_kl_k3(log(p5[i]), log(q5[i])) >= 0);
    }
    check_near(k3, kl, 1e-15, 0); /* unbiased: the same mean under p */
    /* near zero the naive e^−k1 − 1 + k1 has lost everything */
    check_near(ap_kl_k3(1e-7, 0), 0.5e-14, 0, 1e-2);
}

static void test_tv_term(void **state)
{
    (void)state;
    double mean = 0, distance = 0;
    for (int i = 0; i < 5; i++) {
        mean += p5[i] * ap_tv_term(log(p5[i]), log(q5[i]));
        distance += fabs(p5[i] - q5[i]) / 2;
    }
    check_near(mean, distance, 1e-15, 0);
    check_near(mean, 0.3, 1e-15, 0);
    check_near(ap_tv_term(-1, -INFINITY), 1, 0, 0);
    check_near(ap_tv_term(-5, -1), 0, 0, 0);
}

/* -- losses.json -- */

static json_t *open_golden(const char *key)
{
    struct ap_error err;
    json_t *root, *part;
    const char *path = check_golden("losses.json");
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
    (void)state;
    json_t *o = open_golden("sft");
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
    (void)state;
    json_t *all = open_golden("bradley_terry"), *o;
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
    double loss = ap_loss_ppo(&r, four_rows, r.n_row, (double)r.n_token, number(o, "clip"),
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
    (void)state;
    json_t *all = open_golden("ppo"), *o;
    size_t k;
    assert_int_equal(json_array_size(all), 2);
    json_array_foreach(all, k, o) check_golden_ppo(o);
    json_decref(all);
}

static void test_golden_rloo(void **state)
{
    (void)state;
    json_t *o = open_golden("rloo");
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

static void test_golden_tv(void **state)
{
    (void)state;
    json_t *all = open_golden("tv"), *o;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sft_by_hand),
        cmocka_unit_test(test_sft_is_the_sum_of_its_micro_batches),
        cmocka_unit_test(test_bradley_terry_by_hand),
        cmocka_unit_test(test_bradley_terry_gradient),
        cmocka_unit_test(test_bradley_terry_sees_only_the_gap),
        cmocka_unit_test(test_implicit_reward),
        cmocka_unit_test(test_gae_by_hand),
        cmocka_unit_test(test_gae_with_lambda_one_is_the_return),
        cmocka_unit_test(test_whitening),
        cmocka_unit_test(test_ppo_by_hand),
        cmocka_unit_test(test_ppo_gradient),
        cmocka_unit_test(test_ppo_micro_batches_add_up),
        cmocka_unit_test(test_ppo_at_ratio_one_is_the_policy_gradient),
        cmocka_unit_test(test_not_a_number_comes_through),
        cmocka_unit_test(test_rloo_by_hand),
        cmocka_unit_test(test_rloo_gradient),
        cmocka_unit_test(test_rloo_advantages_sum_to_zero_and_ignore_a_shift),
        cmocka_unit_test(test_kl_estimators),
        cmocka_unit_test(test_tv_term),
        cmocka_unit_test(test_golden_sft),
        cmocka_unit_test(test_golden_bradley_terry),
        cmocka_unit_test(test_golden_ppo),
        cmocka_unit_test(test_golden_rloo),
        cmocka_unit_test(test_golden_tv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
