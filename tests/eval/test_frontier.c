/* The frontier: by hand, against finite worlds whose closed form is known, with learners that must
 * stay below it, from samples that must not promise more than there is; and the knee. */
#include "eval/frontier.h"

#include "align/finite_world.h"
#include "align/loops.h"

enum { N_LAMBDA = 9 };

static struct ap_frontier_world known(const struct world *o)
{
    return (struct ap_frontier_world){o->w.n_prompt, o->w.n_rewrite, o->w.prompts, o->w.rho_sft,
                                      o->truth.value};
}

static struct ap_frontier_point exact_at(const struct world *o, double lambda)
{
    struct ap_error err;
    struct ap_frontier_point point;
    struct ap_frontier_world world = known(o);
    check_ok(ap_frontier_exact(&point, &world, &lambda, 1, &err), err);
    return point;
}

/* The most reward at a KL: λ by bisection. */
static double most_reward(const struct world *o, double kl)
{
    double low = 1e-4, high = 1e4;
    for (int i = 0; i < 200; i++) {
        double middle = sqrt(low * high);
        if (exact_at(o, middle).kl.value > kl)
            low = middle;
        else
            high = middle;
    }
    return exact_at(o, low).reward.value;
}

/* -- exact -- */

static void test_by_hand(void **state)
{
    (void)state;
    struct ap_error err;
    const double one[] = {1}, rho[] = {0.75, 0.25}, value[] = {0, 1}, lambda[] = {1, 1e-3, 1e6};
    const struct ap_frontier_world world = {1, 2, one, rho, value};
    struct ap_frontier_point p[3];
    check_ok(ap_frontier_exact(p, &world, lambda, 3, &err), err);
    const double w = 0.25 * exp(1) / (0.75 + 0.25 * exp(1));
    check_near(p[0].reward.value, w, 1e-15, 0);
    check_near(p[0].kl.value, w * log(w / 0.25) + (1 - w) * log((1 - w) / 0.75), 1e-15, 0);
    check_near(p[1].reward.value, 1, 1e-12, 0); /* all on the best */
    check_near(p[1].kl.value, log(4), 1e-12, 0);
    check_near(p[2].reward.value, 0.25, 1e-6, 0); /* stays where it is */
    check_near(p[2].kl.value, 0, 1e-12, 0);
    assert_true(isnan(p[0].kl.low) && isnan(p[0].reward.high));
}

static void test_the_optimum_lies_on_it_and_it_is_concave(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world o;
        struct ap_error err;
        double lambda[N_LAMBDA], kl = 0;
        struct ap_frontier_point p[N_LAMBDA];
        world_random(&o, 3, 8, 5, 0.2, seed);
        for (int x = 0; x < 3; x++)
            kl += o.w.prompts[x] * o.truth.kl_star[x];
        check_near(exact_at(&o, 0.2).kl.value, kl, 1e-13, 0);
        check_near(exact_at(&o, 0.2).reward.value, o.truth.mean_reward_star, 1e-13, 0);
        ap_frontier_lambdas(lambda, N_LAMBDA, 0.01, 2);
        check_near(lambda[0], 0.01, 1e-15, 0);
        check_near(lambda[N_LAMBDA - 1], 2, 1e-12, 0);
        struct ap_frontier_world world = known(&o);
        check_ok(ap_frontier_exact(p, &world, lambda, N_LAMBDA, &err), err);
        for (int i = 1; i < N_LAMBDA; i++) {
            assert_true(p[i].kl.value < p[i - 1].kl.value);
            double slope =
                (p[i - 1].reward.value - p[i].reward.value) / (p[i - 1].kl.value - p[i].kl.value);
            assert_true(slope >= lambda[i - 1] && slope <= lambda[i]); /* d reward / d KL = λ */
        }
        world_free(&o);
    }
}

/* -- learners -- */

static void learn(const struct world *o, double kl, int steps, struct tabular *table)
{
    struct ap_error err;
    struct ap_rl_settings s = {.kl = kl,
                               .rewrites = 32,
                               .prompts = o->w.n_prompt,
                               .steps = steps,
                               .epochs = 2,
                               .minibatches = 1,
                               .clip = 0.2,
                               .optimiser = {.lr = 0.03,
                                             .schedule = "cosine",
                                             .lr_end = 0.01,
                                             .beta1 = 0.9,
                                             .beta2 = 0.99,
                                             .eps = 1e-8}};
    tabular_open(table, &o->w, 16, 1, &s.optimiser, 0.02, (int64_t)steps * 2, 5);
    struct tabular_scorer scorer = {&o->w, o->truth.value, 16, 2, 5, 0};
    struct ap_policy policy = tabular_policy(table);
    struct ap_environment env = {
        .self = &scorer, .n_prompt = o->w.n_prompt, .score = tabular_score};
    struct ap_stage stage = {.name = "align", .seed = 5, .max_bad_steps = 1};
    check_ok(ap_rloo(&stage, &policy, &env, &s, &err), err);
}

static void test_no_learner_lies_above_it(void **state)
{
    (void)state;
    struct world o;
    const double lambdas[] = {0.03, 0.1, 0.3, 1};
    double before = INFINITY;
    world_random(&o, 2, 16, 6, 0.15, 3);
    for (size_t i = 0; i < AP_LEN(lambdas); i++)
        for (int steps = 20; steps <= 160; steps += 140) { /* unfinished, and as good as done */
            struct tabular table;
            double kl = 0, reward = 0, rho[16];
            learn(&o, lambdas[i], steps, &table);
            for (int x = 0; x < 2; x++) {
                tabular_distribution(&table, x, rho);
                kl += o.w.prompts[x] * ap_exact_kl(rho, o.w.rho_sft + 16 * x, 16);
                reward += o.w.prompts[x] * ap_exact_mean(rho, o.truth.value + 16 * x, 16);
            }
            tabular_close(&table);
            double most = most_reward(&o, kl);
            printf("  lambda %g, %d steps: KL %.4f reward %.4f of at most %.4f\n", lambdas[i],
                   steps, kl, reward, most);
            assert_true(reward <= most + 1e-9);
            if (steps < 160)
                continue;
            assert_true(most - reward < 0.01); /* and a trained one comes near */
            assert_true(kl < before);
            before = kl;
        }
    world_free(&o);
}

/* -- samples -- */

/* reward [X, n, K] of a world, every prompt as likely. */
static void draw(const struct world *o, int n, int K, uint64_t seed, double *reward)
{
    struct ap_random random;
    const int R = o->w.n_rewrite, Y = o->w.n_answer;
    ap_random_init(&random, &(struct ap_stream){.seed = seed});
    for (int x = 0; x < o->w.n_prompt; x++)
        for (int i = 0; i < n; i++) {
            double logp[16];
            for (int k = 0; k < R; k++)
                logp[k] = log(o->w.rho_sft[x * R + k]);
            int rewrite = tabular_draw(&random, logp, R);
            for (int y = 0; y < Y; y++)
                logp[y] = log(o->w.target[(x * R + rewrite) * Y + y]);
            for (int k = 0; k < K; k++)
                *reward++ = o->w.reward[x * Y + tabular_draw(&random, logp, Y)];
        }
}

/* Means over many draws: on or below the true curve, and near it with many rewrites and answers. */
static void test_samples_promise_no_more_than_there_is(void **state)
{
    (void)state;
    enum { X = 4, DRAWS = 300, N = 64, K = 32 };
    const int sizes[][2] = {{4, 2}, {16, 4}, {N, K}};
    double lambda[N_LAMBDA], *reward = tabular_numbers((size_t)X * N * K);
    struct ap_error err;
    struct world o;
    world_random(&o, X, 8, 5, 0.1, 7);
    for (int x = 0; x < X; x++)
        ((double *)(uintptr_t)o.w.prompts)[x] = 1.0 / X;
    ap_frontier_lambdas(lambda, N_LAMBDA, 0.02, 1);
    for (size_t s = 0; s < AP_LEN(sizes); s++) {
        double kl[N_LAMBDA] = {0}, mean[N_LAMBDA] = {0};
        struct ap_frontier_samples samples = {X, sizes[s][0], sizes[s][1], reward};
        for (int d = 0; d < DRAWS; d++) {
            struct ap_frontier_point p[N_LAMBDA];
            draw(&o, sizes[s][0], sizes[s][1], 1000 * s + (uint64_t)d, reward);
            check_ok(ap_frontier_of(p, &samples, lambda, N_LAMBDA, 1, 1, &err), err);
            for (int i = 0; i < N_LAMBDA; i++) {
                kl[i] += p[i].kl.value / DRAWS;
                mean[i] += p[i].reward.value / DRAWS;
                assert_true(p[i].kl.value <= log(sizes[s][0]) + 1e-12);
            }
        }
        for (int i = 0; i < N_LAMBDA; i++) {
            double most = most_reward(&o, kl[i]);
            printf("  n %d K %d lambda %.3f: KL %.3f reward %.4f of at most %.4f\n", sizes[s][0],
                   sizes[s][1], lambda[i], kl[i], mean[i], most);
            assert_true(mean[i] <= most + 0.005); /* the error of a mean of 1200 prompts */
            if (s == 2 && lambda[i] > 0.1)
                assert_true(most - mean[i] < 0.01);
        }
    }
    ap_free(reward);
    world_free(&o);
}

static void check_refused_with(ap_status status, const char *text, const struct ap_error *err)
{
    assert_int_equal(status, AP_INVALID);
    check_holds(err->text, text);
}

/* Two prompts: every resample is the first twice, both, or the second twice. */
static void test_intervals_and_what_is_refused(void **state)
{
    (void)state;
    double reward[] = {0, 0, 1, 1, 2, 2, 4, 4};
    const double lambda[] = {1};
    struct ap_frontier_samples s = {2, 2, 2, reward};
    struct ap_frontier_point p;
    struct ap_error err;
    const double e = exp(1), a = e / (1 + e), b = e * e / (1 + e * e);
    check_ok(ap_frontier_of(&p, &s, lambda, 1, 400, 1, &err), err);
    check_near(p.reward.value, (a + 2 + 2 * b) / 2, 1e-14, 0);
    check_near(p.reward.low, a, 1e-14, 0);
    check_near(p.reward.high, 2 + 2 * b, 1e-14, 0);
    check_near(p.kl.low, a * log(2 * a) + (1 - a) * log(2 - 2 * a), 1e-14, 0);
    s.n_prompt = 1;
    check_ok(ap_frontier_of(&p, &s, lambda, 1, 10, 1, &err), err);
    assert_true(isnan(p.reward.low));
    s = (struct ap_frontier_samples){2, 4, 1, reward};
    check_refused_with(ap_frontier_of(&p, &s, lambda, 1, 10, 1, &err), "4 rewrites with 1", &err);
    s = (struct ap_frontier_samples){2, 2, 2, reward};
    reward[5] = NAN;
    check_refused_with(ap_frontier_of(&p, &s, lambda, 1, 10, 1, &err), "not a finite", &err);
}

/* -- the knee -- */

static void test_knee(void **state)
{
    (void)state;
    bool corner[6];
    const double kl[] = {1, 0, 4, 2, 3, NAN}, reward[] = {7, 0, 10, 8, 3, 99};
    assert_int_equal(ap_frontier_knee(kl, reward, 6, corner), 0); /* 0.7 - 0.25; 2 has 0.8 - 0.5 */
    const bool want[] = {true, true, true, false, false, false};  /* (2, 8): on the line, passed */
    assert_memory_equal(corner, want, sizeof(want));
    /* past the most reward there is no frontier */
    const double far[] = {0, 1, 9}, falls[] = {0, 5, 4};
    assert_int_equal(ap_frontier_knee(far, falls, 3, corner), -1);
    assert_true(corner[0] && corner[1] && !corner[2]);
    /* on one line: no corner between the ends */
    assert_int_equal(ap_frontier_knee((double[]){0, 1, 2}, (double[]){0, 1, 2}, 3, NULL), -1);
    assert_int_equal(ap_frontier_knee((double[]){0, 1, 2}, (double[]){0, 0.5, 2}, 3, NULL), -1);
    assert_int_equal(ap_frontier_knee((double[]){0, 1, 2}, (double[]){5, 6.5, 7}, 3, NULL), 1);
    assert_int_equal(ap_frontier_knee((double[]){1, 1}, (double[]){5, 6}, 2, NULL), -1);
    assert_int_equal(ap_frontier_knee((double[]){NAN}, (double[]){5}, 1, NULL), -1);
    assert_int_equal(ap_frontier_knee(NULL, NULL, 0, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_the_optimum_lies_on_it_and_it_is_concave),
        cmocka_unit_test(test_no_learner_lies_above_it),
        cmocka_unit_test(test_samples_promise_no_more_than_there_is),
        cmocka_unit_test(test_intervals_and_what_is_refused),
        cmocka_unit_test(test_knee),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
