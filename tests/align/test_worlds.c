/* Ground truth: in finite worlds, where ρ* is known in closed form, the very loops that train a
 * language model must bring a table to it. And the closed forms themselves. */
#include "align/finite_world.h"
#include "align/loops.h"

#define EXACT 1e-10

static char own[] = AP_SOURCE_DIR "/tests/golden/losses.json";

/* -- closed forms -- */

/* One prompt, two rewrites, two answers, λ 1: everything on one line. */
static void test_closed_form_by_hand(void **state)
{
    (void)state;
    const double one[] = {1}, rho[] = {0.75, 0.25}, target[] = {1, 0, 0.5, 0.5},
                 bare[] = {0.8, 0.2};
    const double reward[] = {0, 1};
    const struct ap_exact_world w = {1, 2, 2, 1, 1, one, rho, target, bare, reward};
    double value[2], star[2], log_z[1], kl_star[1];
    struct ap_exact_result r = {
        .value = value, .rho_star = star, .log_z = log_z, .kl_star = kl_star};
    ap_exact_solve(&w, &r);
    const double z = 0.75 + 0.25 * exp(0.5), p = 0.25 * exp(0.5) / z; /* ρ* of the second rewrite */
    check_near(value[0], 0, 0, 0);
    check_near(value[1], 0.5, 0, 0);
    check_near(log_z[0], log(z), 1e-15, 0);
    check_near(star[1], p, 1e-15, 0);
    check_near(r.j_star, log(z), 1e-15, 0);
    check_near(r.mean_reward_star, 0.5 * p, 1e-15, 0);
    check_near(r.mean_reward_sft, 0.125, 1e-15, 0);
    check_near(r.gap, 1 - 0.5 * p, 1e-15, 0);
    check_near(r.lacks, 0.8, 1e-15, 0);
    check_near(r.disturbs, 0.75 * 0.2 + 0.25 * 0.3, 1e-15, 0);
    check_near(r.wins_back, 0.5 * p - log(z), 1e-15, 0); /* λ KL = E R − λ log Z */
}

static void test_closed_form_is_the_optimum(void **state)
{
    (void)state;
    struct world o;
    double rho[3 * 12];
    struct ap_random random;
    world_random(&o, 3, 12, 5, 0.2, 11);
    const double best = ap_exact_objective(&o.w, o.truth.value, o.truth.rho_star);
    check_near(best, o.truth.j_star, 1e-12, 0); /* (5) */
    ap_random_init(&random, &(struct ap_stream){.seed = 12});
    for (int trial = 0; trial < 200; trial++) {
        for (int x = 0; x < 3; x++) {
            random_simplex(&random, rho + 12 * x, 12);
            for (int i = 0; i < 12; i++) /* near ρ*, where it is hardest to beat */
                rho[12 * x + i] = 0.9 * o.truth.rho_star[12 * x + i] + 0.1 * rho[12 * x + i];
        }
        assert_true(ap_exact_objective(&o.w, o.truth.value, rho) < best);
    }
    assert_true(o.truth.gap <= o.truth.lacks + o.truth.disturbs - o.truth.wins_back); /* (6) */
    check_near(ap_exact_kl((double[]){1, 0}, (double[]){0.5, 0.5}, 2), log(2), 1e-15, 0);
    assert_true(isinf(ap_exact_kl((double[]){0.5, 0.5}, (double[]){1, 0}, 2)));
    world_free(&o);
}

static void check_array(const json_t *g, const char *key, const double *got, size_t n)
{
    double *want = tabular_numbers(n);
    assert_int_equal(flatten(json_object_get(g, key), want), n);
    for (size_t i = 0; i < n; i++)
        check_near(got[i], want[i], EXACT, EXACT);
    ap_free(want);
}

static void test_closed_form_of_the_reference_worlds(void **state)
{
    json_t *all = golden_of(state, "align_world"), *g;
    size_t k;
    assert_int_equal(json_array_size(all), 2);
    json_array_foreach(all, k, g)
    {
        struct world o;
        double terms[3];
        world_golden(&o, g);
        size_t x = (size_t)o.w.n_prompt, xr = x * (size_t)o.w.n_rewrite;
        check_array(g, "value_of_rewrite", o.truth.value, xr);
        check_array(g, "log_z", o.truth.log_z, x);
        check_array(g, "rho_star", o.truth.rho_star, xr);
        check_array(g, "kl_star", o.truth.kl_star, x);
        check_near(o.truth.j_star, number(g, "j_star"), EXACT, EXACT);
        check_near(o.truth.mean_reward_star, number(g, "mean_reward_star"), EXACT, EXACT);
        check_near(o.truth.mean_reward_sft, number(g, "mean_reward_sft"), EXACT, EXACT);
        check_near(o.truth.gap, number(g, "gap"), EXACT, EXACT);
        assert_int_equal(flatten(json_object_get(g, "bound_terms"), terms), 3);
        check_near(o.truth.lacks, terms[0], EXACT, EXACT);
        check_near(o.truth.disturbs, terms[1], EXACT, EXACT);
        check_near(o.truth.wins_back, terms[2], EXACT, EXACT);
        world_free(&o);
    }
    json_decref(all);
}

/* -- the loops -- */

enum loop { RLOO, PPO, GRPO };
static ap_status (*const loops[])(struct ap_stage *, struct ap_policy *, struct ap_environment *,
                                  const struct ap_rl_settings *,
                                  struct ap_error *) = {ap_rloo, ap_ppo, ap_grpo};

struct trial {
    enum loop loop;
    const char *kl_loss; /* GRPO */
    double kl;           /* λ of the learner; the world's own where 0 */
    int arity, depth, n_answers;
    int rewrites, steps;
    double lr;
};

/* The largest KL(ρ*(·|x) ‖ ρ(·|x)) over prompts: stricter than the mean over P(x). */
static double distance(const struct world *o, const struct tabular *p)
{
    const int R = o->w.n_rewrite;
    double *rho = tabular_numbers((size_t)R), worst = 0;
    for (int x = 0; x < o->w.n_prompt; x++) {
        tabular_distribution(p, x, rho);
        worst = fmax(worst, ap_exact_kl(o->truth.rho_star + (size_t)x * (size_t)R, rho, R));
    }
    ap_free(rho);
    return worst;
}

/* table: open until the caller closes it. */
static void train(const struct world *o, const struct trial *t, struct tabular *table)
{
    struct ap_error err;
    struct ap_rl_settings s = {.kl = t->kl > 0 ? t->kl : o->w.kl,
                               .kl_loss = t->kl_loss ? (char *)t->kl_loss : "k2",
                               .rewrites = t->rewrites,
                               .prompts = o->w.n_prompt,
                               .steps = t->steps,
                               .epochs = 2,
                               .minibatches = 1,
                               .clip = 0.2,
                               .value_clip = 0.2,
                               .value_weight = 0.1,
                               .gamma = 1,
                               .gae_lambda = 0.95,
                               .value_lr = 0.02,
                               .optimiser = {.lr = t->lr,
                                             .schedule = "cosine",
                                             .lr_end = 0.01,
                                             .beta1 = 0.9,
                                             .beta2 = 0.99,
                                             .eps = 1e-8}};
    tabular_open(table, &o->w, t->arity, t->depth, &s.optimiser, s.value_lr,
                 (int64_t)s.steps * s.epochs, 5);
    struct tabular_scorer scorer = {&o->w, o->truth.value, t->arity, t->n_answers, 5, 0};
    struct ap_policy policy = tabular_policy(table);
    struct ap_environment env = {
        .self = &scorer, .n_prompt = o->w.n_prompt, .score = tabular_score};
    struct ap_stage stage = {.name = "align", .seed = 5, .max_bad_steps = 1};
    check_ok(loops[t->loop](&stage, &policy, &env, &s, &err), err);
}

/* KL(ρ* ‖ ρ) after training. */
static double learn(const struct world *o, const struct trial *t)
{
    struct tabular table;
    train(o, t, &table);
    double after = distance(o, &table);
    tabular_close(&table);
    return after;
}

/* KL(ρ* ‖ ρ_sft), largest over prompts: where a learner starts. */
static double start(const struct world *o)
{
    const int R = o->w.n_rewrite;
    double worst = 0;
    for (int x = 0; x < o->w.n_prompt; x++)
        worst = fmax(worst, ap_exact_kl(o->truth.rho_star + x * R, o->w.rho_sft + x * R, R));
    return worst;
}

/* By both algorithms, from exact R and from answers that are sampled. */
static void learn_all_ways(const struct world *o, struct trial t)
{
    for (int sampled = 0; sampled < 2; sampled++) {
        t.n_answers = sampled ? 2 : 0;
        for (enum loop loop = RLOO; loop <= PPO; loop++) {
            t.loop = loop;
            double before = start(o), after = learn(o, &t);
            printf("  %s, %d^%d rewrites, %s: KL(rho* || rho) from %.4f to %.5f nats\n",
                   t.loop == PPO ? "ppo " : "rloo", t.arity, t.depth,
                   sampled ? "sampled answers" : "exact values", before, after);
            assert_true(after <= 0.02 && after <= before / 10);
            if (!sampled)
                assert_true(after <= 0.001); /* without noise there is no excuse */
        }
    }
}

static void test_a_random_world_is_learned(void **state)
{
    (void)state;
    struct world o;
    world_random(&o, 2, 16, 6, 0.15, 3);
    learn_all_ways(
        &o, (struct trial){.arity = 16, .depth = 1, .rewrites = 64, .steps = 250, .lr = 0.03});
    learn_all_ways(
        &o, (struct trial){.arity = 4, .depth = 2, .rewrites = 64, .steps = 250, .lr = 0.03});
    world_free(&o);
}

/* The measure must be able to fail: with another λ the optimum is another one. */
static void test_another_kl_weight_ends_elsewhere(void **state)
{
    (void)state;
    struct world o;
    world_random(&o, 2, 16, 6, 0.15, 3);
    for (enum loop loop = RLOO; loop <= PPO; loop++) {
        struct trial t = {.loop = loop,
                          .kl = 0.05,
                          .arity = 16,
                          .depth = 1,
                          .rewrites = 64,
                          .steps = 200,
                          .lr = 0.05};
        assert_true(learn(&o, &t) > 0.1);
    }
    world_free(&o);
}

/* -- GRPO -- */

/* Standard deviation and mean of R(x, ·) under rho. */
static double spread(const struct world *o, int x, const double *rho, double *mean)
{
    const int R = o->w.n_rewrite;
    const double *value = o->truth.value + x * R;
    double variance = 0;
    *mean = 0;
    for (int i = 0; i < R; i++)
        *mean += rho[i] * value[i];
    for (int i = 0; i < R; i++)
        variance += rho[i] * (value[i] - *mean) * (value[i] - *mean);
    return sqrt(variance);
}

/* What k2 in the loss leads to: (4) with λ times the deviation of R under ρ itself. Returns the
 * largest KL between that and ρ. */
static double from_reverse_point(const struct world *o, const struct tabular *p, double kl)
{
    const int R = o->w.n_rewrite;
    double *rho = tabular_numbers(2 * (size_t)R), *want = rho + R, worst = 0, mean;
    for (int x = 0; x < o->w.n_prompt; x++) {
        double z = 0;
        tabular_distribution(p, x, rho);
        double sigma = spread(o, x, rho, &mean);
        for (int i = 0; i < R; i++)
            z += want[i] =
                o->w.rho_sft[x * R + i] * exp((o->truth.value[x * R + i] - mean) / (kl * sigma));
        for (int i = 0; i < R; i++)
            want[i] /= z;
        worst = fmax(worst, ap_exact_kl(want, rho, R));
    }
    ap_free(rho);
    return worst;
}

/* And k3, whose gradient is that of KL(ρ_sft ‖ ρ): ρ (λ − A) = λ ρ_sft, A = (R − mean)/deviation.
 */
static double from_forward_point(const struct world *o, const struct tabular *p, double kl)
{
    const int R = o->w.n_rewrite;
    double *rho = tabular_numbers(2 * (size_t)R), *want = rho + R, worst = 0, mean;
    for (int x = 0; x < o->w.n_prompt; x++) {
        tabular_distribution(p, x, rho);
        double sigma = spread(o, x, rho, &mean);
        for (int i = 0; i < R; i++) {
            double advantage = (o->truth.value[x * R + i] - mean) / sigma;
            assert_true(advantage < kl);
            want[i] = kl * o->w.rho_sft[x * R + i] / (kl - advantage);
        }
        worst = fmax(worst, ap_exact_kl(want, rho, R));
    }
    ap_free(rho);
    return worst;
}

/* It ends at its own fixed point, which is not ρ* of any one λ: the group's deviation divides the
 * reward and not the leash. */
static void test_grpo_ends_at_its_own_fixed_point(void **state)
{
    (void)state;
    struct world o;
    struct tabular table;
    struct trial t = {.loop = GRPO,
                      .kl = 3.5,
                      .arity = 16,
                      .depth = 1,
                      .rewrites = 512,
                      .steps = 300,
                      .lr = 0.03};
    world_random(&o, 2, 16, 6, 0.15, 3);
    for (int k3 = 0; k3 < 2; k3++) {
        t.kl_loss = k3 ? "k3" : "k2";
        train(&o, &t, &table);
        double reverse = from_reverse_point(&o, &table, t.kl);
        double forward = from_forward_point(&o, &table, t.kl);
        printf("  grpo, %s: %.6f nats from the reverse KL's point, %.6f from the forward KL's, "
               "%.4f from rho*\n",
               t.kl_loss, reverse, forward, distance(&o, &table));
        assert_true((k3 ? forward : reverse) <= 1e-3);
        assert_true((k3 ? reverse : forward) >= 4 * (k3 ? forward : reverse));
        tabular_close(&table);
    }
    world_free(&o);
}

static void learn_golden(void **state, size_t which, struct trial t)
{
    json_t *all = golden_of(state, "align_world");
    struct world o;
    world_golden(&o, json_array_get(all, which));
    learn_all_ways(&o, t);
    world_free(&o);
    json_decref(all);
}

static void test_the_first_reference_world_is_learned(void **state)
{
    learn_golden(
        state, 0,
        (struct trial){.arity = 50, .depth = 1, .rewrites = 128, .steps = 400, .lr = 0.05});
}

static void test_the_second_reference_world_is_learned(void **state)
{
    learn_golden(
        state, 1,
        (struct trial){.arity = 64, .depth = 1, .rewrites = 128, .steps = 250, .lr = 0.02});
}

static void test_rewrites_of_three_tokens_are_learned(void **state)
{
    learn_golden(state, 1,
                 (struct trial){.arity = 4, .depth = 3, .rewrites = 128, .steps = 250, .lr = 0.02});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_form_by_hand),
        cmocka_unit_test(test_closed_form_is_the_optimum),
        cmocka_unit_test_prestate(test_closed_form_of_the_reference_worlds, own),
        cmocka_unit_test(test_closed_form_of_the_reference_worlds),
        cmocka_unit_test(test_a_random_world_is_learned),
        cmocka_unit_test(test_another_kl_weight_ends_elsewhere),
        cmocka_unit_test(test_grpo_ends_at_its_own_fixed_point),
        cmocka_unit_test(test_the_first_reference_world_is_learned),
        cmocka_unit_test(test_the_second_reference_world_is_learned),
        cmocka_unit_test(test_rewrites_of_three_tokens_are_learned),
        cmocka_unit_test_prestate(test_the_first_reference_world_is_learned, own),
        cmocka_unit_test_prestate(test_rewrites_of_three_tokens_are_learned, own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
