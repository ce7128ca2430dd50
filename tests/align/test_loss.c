/* Losses, advantages, KL and TV: hand-computed cases, finite differences, properties. */
#include "align/loss.h"
#include "align/table.h"

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

/* -- (20) -- */

struct dpo_case {
    double chosen[4], rejected[4], chosen_ref[4], rejected_ref[4];
    struct ap_dpo_weights w;
};

static double dpo_loss_of(const struct dpo_case *c, double *dchosen, double *drejected)
{
    const struct ap_dpo_pairs p = {c->chosen, c->rejected, c->chosen_ref, c->rejected_ref};
    return ap_loss_dpo(&p, 4, 5, 30, &c->w, dchosen, drejected);
}

static double dpo_loss(void *context)
{
    double unused[2][4];
    return dpo_loss_of(context, unused[0], unused[1]);
}

static void dpo_fill(struct dpo_case *c)
{
    table_fill(c->chosen, 4, -20, -2, 21);
    table_fill(c->rejected, 4, -20, -2, 22);
    table_fill(c->chosen_ref, 4, -20, -2, 23);
    table_fill(c->rejected_ref, 4, -20, -2, 24);
}

static void test_dpo_by_hand(void **state)
{
    (void)state;
    const double chosen = -4, rejected = -6, chosen_ref = -5, rejected_ref = -6 - log(3) / 0.5 + 1;
    const struct ap_dpo_pairs p = {&chosen, &rejected, &chosen_ref, &rejected_ref};
    struct ap_dpo_weights w = {.beta = 0.5};
    double dc, dr, ratio = log(3) - 0.5; /* β log-ratio of the rejected; of the chosen ½ */
    double z = 0.5 - ratio, right = 1 / (1 + exp(-z));
    check_near(ap_loss_dpo(&p, 1, 1, 1, &w, &dc, &dr), -log(right), 1e-15, 0);
    check_near(dc, -0.5 * (1 - right), 1e-15, 0);
    check_near(dr, -dc, 1e-15, 0);
    w.label_smoothing = 0.25; /* one pair in four is thought to be the other way round */
    check_near(ap_loss_dpo(&p, 1, 1, 1, &w, &dc, &dr), -0.75 * log(right) - 0.25 * log(1 - right),
               1e-15, 0);
    check_near(dc, 0.5 * (0.25 * right - 0.75 * (1 - right)), 1e-15, 0);
    w = (struct ap_dpo_weights){.beta = 0.5, .nll_weight = 2}; /* of eight tokens */
    check_near(ap_loss_dpo(&p, 1, 1, 8, &w, &dc, &dr), -log(right) + 2 * 4.0 / 8, 1e-15, 0);
    check_near(dc, -0.5 * (1 - right) - 0.25, 1e-15, 0);
    check_near(dr, 0.5 * (1 - right), 1e-15, 0);
}

static void test_dpo_gradient(void **state)
{
    (void)state;
    struct dpo_case c = {
        .w = {.beta = 0.3, .margin = 0.4, .label_smoothing = 0.1, .nll_weight = 0.7}};
    double dchosen[4], drejected[4];
    dpo_fill(&c);
    dpo_loss_of(&c, dchosen, drejected);
    table_check_gradient(c.chosen, dchosen, 4, dpo_loss, &c);
    table_check_gradient(c.rejected, drejected, 4, dpo_loss, &c);
}

/* math.md (9a): without smoothing and NLL it is (9) on the implicit reward. */
static void test_dpo_is_bradley_terry_on_the_implicit_reward(void **state)
{
    (void)state;
    struct dpo_case c = {.w = {.beta = 0.2, .margin = 0.3}};
    double dchosen[4], drejected[4], reward[2][4], want[2][4];
    dpo_fill(&c);
    for (int i = 0; i < 4; i++) {
        reward[0][i] = ap_implicit_reward(c.chosen[i], c.chosen_ref[i], 0.2, 0, NULL);
        reward[1][i] = ap_implicit_reward(c.rejected[i], c.rejected_ref[i], 0.2, 0, NULL);
    }
    double loss = ap_loss_bradley_terry(reward[0], reward[1], 4, 5, 0.3, 0, want[0], want[1]);
    check_near(dpo_loss_of(&c, dchosen, drejected), loss, 1e-14, 0);
    for (int i = 0; i < 4; i++) {
        check_near(dchosen[i], 0.2 * want[0][i], 1e-15, 0);
        check_near(drejected[i], 0.2 * want[1][i], 1e-15, 0);
    }
}

/* -- (21) -- */

static void test_ift_by_hand(void **state)
{
    (void)state;
    const double logp[] = {-1, -2, -4}; /* c·T: 4 + ½(2 + ½·4)…: 3, 4, 4; Σ 11 */
    double dlogp[3];
    check_near(ap_loss_ift(logp, 3, 0.5, 2, dlogp), (3 * 1 + 4 * 2 + 4 * 4) * 3.0 / 11 / 3 / 2,
               1e-15, 0);
    check_near(dlogp[0], -3 * 3.0 / 11 / 6, 1e-15, 0);
    check_near(dlogp[1], -3 * 4.0 / 11 / 6, 1e-15, 0);
    check_near(dlogp[2], -3 * 4.0 / 11 / 6, 1e-15, 0);
    const double certain[] = {0, 0};
    check_near(ap_loss_ift(certain, 2, 0.5, 1, dlogp), 0, 0, 0);
    check_near(dlogp[0], -0.5, 0, 0);
}

static void test_ift_without_decay_is_sft_of_a_row(void **state)
{
    (void)state;
    double logp[7], got[7], want[7];
    table_fill(logp, 7, -5, 0, 25);
    assert_true(ap_loss_ift(logp, 7, 0, 1, got) == ap_loss_sft(logp, 7, 7, want));
    assert_memory_equal(got, want, sizeof(got));
}

struct ift_case {
    double logp[6], weight[6];
};

static double ift_loss(void *context)
{
    const struct ift_case *c = context;
    double loss = 0;
    for (int t = 0; t < 6; t++)
        loss -= c->weight[t] * c->logp[t] / 6;
    return loss;
}

/* The weights are those of (21), summed forwards, and constants in the gradient. */
static void test_ift_gradient(void **state)
{
    (void)state;
    struct ift_case c;
    double dlogp[6], sum = 0;
    table_fill(c.logp, 6, -4, 0, 26);
    for (int t = 0; t < 6; t++) {
        c.weight[t] = 0;
        for (int k = t; k < 6; k++)
            c.weight[t] -= pow(0.8, k - t) * c.logp[k] / 6;
        sum += c.weight[t];
    }
    for (int t = 0; t < 6; t++)
        c.weight[t] *= 6 / sum;
    check_near(ap_loss_ift(c.logp, 6, 0.8, 1, dlogp), ift_loss(&c), 1e-14, 0);
    table_check_gradient(c.logp, dlogp, 6, ift_loss, &c);
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
    assert_true(isnan(ap_loss_grpo(&r, four_rows, 4, 4, advantage, 0.2, 0.1, false, &clipped)));
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

/* -- (12) -- */

static void test_grpo_by_hand(void **state)
{
    (void)state;
    struct ap_rollout r;
    double advantage[4], clipped = 0;
    const int32_t rows[] = {0, 1};
    table_make(&r, (int[]){2, 1, 1, 1}, 4, 2);
    r.rows[0].score = 3, r.rows[1].score = 2;
    r.rows[1].penalty = 1;                   /* 3 and 1: std √2 */
    r.rows[2].score = r.rows[3].score = 0.1; /* nothing to compare */
    ap_grpo_advantage(&r, advantage);
    check_near(advantage[0], 1 / (sqrt(2) + 1e-4), 1e-15, 0);
    check_near(advantage[1], -1 / (sqrt(2) + 1e-4), 1e-15, 0);
    assert_true(advantage[2] == 0 && advantage[3] == 0);
    const double given[] = {2, -1};
    for (int t = 0; t < 3; t++)
        r.logp_old[t] = -2;
    r.logp[0] = -2 + log(1.5), r.logp_ref[0] = r.logp[0] - 1; /* held at 1.2; k1 1 */
    r.logp[1] = -2, r.logp_ref[1] = -2;
    r.logp[2] = -2 + log(0.5), r.logp_ref[2] = r.logp[2] + 2; /* held at 0.8; k1 −2 */
    double loss = ap_loss_grpo(&r, rows, 2, 4, given, 0.2, 0.5, false, &clipped);
    check_near(loss, ((-2.4 + 0.25 - 2) / 2 + 0.8 + 1) / 4, 1e-15, 0);
    check_near(clipped, (0.5 + 1) / 4, 1e-15, 0);
    check_near(r.dlogp[0], 0.5 / 8, 1e-15, 0);
    check_near(r.dlogp[1], -2.0 / 8, 1e-15, 0);
    check_near(r.dlogp[2], -1.0 / 4, 1e-15, 0);
    loss = ap_loss_grpo(&r, rows, 2, 4, given, 0.2, 0.5, true, &clipped);
    check_near(loss, ((-2.4 + 0.5 * exp(-1) - 2) / 2 + 0.8 + 0.5 * (exp(2) - 3)) / 4, 1e-15, 0);
    check_near(r.dlogp[2], 0.5 * (1 - exp(2)) / 4, 1e-15, 0);
    ap_rollout_free(&r);
}

struct grpo_case {
    struct ap_rollout *r;
    bool k3;
};

static double grpo_loss(void *context)
{
    const double advantage[] = {0.7, -1.1, 0.4, -0.2};
    struct grpo_case *c = context;
    double clipped = 0;
    return ap_loss_grpo(c->r, four_rows, 4, 5, advantage, 0.2, 0.3, c->k3, &clipped);
}

static void test_grpo_gradient(void **state)
{
    (void)state;
    struct ap_rollout r;
    double dlogp[10];
    ppo_table(&r);
    table_fill(r.logp_ref, 10, -3, -1, 14);
    for (int k3 = 0; k3 < 2; k3++) {
        struct grpo_case c = {&r, k3};
        grpo_loss(&c);
        memcpy(dlogp, r.dlogp, sizeof(dlogp));
        table_check_gradient(r.logp, dlogp, 10, grpo_loss, &c);
    }
    ap_rollout_free(&r);
}

/* A group's advantages do not know the unit of the reward. */
static void test_grpo_advantages_ignore_shift_and_scale(void **state)
{
    (void)state;
    struct ap_rollout r;
    double score[8], before[8], after[8], sum = 0;
    table_make(&r, (int[]){1, 1, 1, 1, 1, 1, 1, 1}, 8, 4);
    table_fill(score, 8, -2, 2, 15);
    for (int i = 0; i < 8; i++)
        r.rows[i].score = score[i];
    ap_grpo_advantage(&r, before);
    for (int i = 0; i < 8; i++) {
        r.rows[i].score = 1000 * score[i] + 7;
        sum += i < 4 ? before[i] : 0;
    }
    ap_grpo_advantage(&r, after);
    check_near(sum, 0, 1e-14, 0);
    for (int i = 0; i < 8; i++)
        check_near(after[i], before[i], 1e-3, 0); /* but for the 1e-4 */
    ap_rollout_free(&r);
}

/* -- KL and TV -- */

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

/* math.md (14): up above the target, down below it, as it is on it; never by more than a fifth of
 * n/horizon. */
static void test_adaptive_kl(void **state)
{
    (void)state;
    assert_true(ap_adaptive_kl(0.05, 4.01, 4, 1000, 64) > 0.05);
    assert_true(ap_adaptive_kl(0.05, 3.99, 4, 1000, 64) < 0.05);
    assert_true(ap_adaptive_kl(0.05, 4, 4, 1000, 64) == 0.05);
    check_near(ap_adaptive_kl(0.05, 4.4, 4, 1000, 100), 0.05 * 1.01, 1e-15, 0);
    check_near(ap_adaptive_kl(0.05, 1e9, 4, 1000, 100), 0.05 * 1.02, 1e-15, 0);
    check_near(ap_adaptive_kl(0.05, 0, 4, 1000, 100), 0.05 * 0.98, 1e-15, 0);
    assert_true(ap_adaptive_kl(0.05, 0, 4, 1000, 1000) > 0); /* the most that a recipe may ask */
    assert_true(isnan(ap_adaptive_kl(0.05, NAN, 4, 1000, 1)));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sft_by_hand),
        cmocka_unit_test(test_sft_is_the_sum_of_its_micro_batches),
        cmocka_unit_test(test_bradley_terry_by_hand),
        cmocka_unit_test(test_bradley_terry_gradient),
        cmocka_unit_test(test_bradley_terry_sees_only_the_gap),
        cmocka_unit_test(test_implicit_reward),
        cmocka_unit_test(test_dpo_by_hand),
        cmocka_unit_test(test_dpo_gradient),
        cmocka_unit_test(test_dpo_is_bradley_terry_on_the_implicit_reward),
        cmocka_unit_test(test_ift_by_hand),
        cmocka_unit_test(test_ift_without_decay_is_sft_of_a_row),
        cmocka_unit_test(test_ift_gradient),
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
        cmocka_unit_test(test_grpo_by_hand),
        cmocka_unit_test(test_grpo_gradient),
        cmocka_unit_test(test_grpo_advantages_ignore_shift_and_scale),
        cmocka_unit_test(test_kl_estimators),
        cmocka_unit_test(test_adaptive_kl),
        cmocka_unit_test(test_tv_term),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
