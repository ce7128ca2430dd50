/* The bound from samples: cases done by hand, the reference values, and a thousand finite worlds
 * whose truth is known, where the exact bound must hold and the intervals must cover. */
#include "eval/bound.h"

#include "align/finite_world.h"
#include "align/loss.h"
#include "eval/table_of.h"

static char own[] = AP_SOURCE_DIR "/tests/golden/losses.json";

/* -- by hand -- */

static void test_one_prompt_by_hand(void **state)
{
    (void)state;
    const double two[] = {0, 1, 1, 1};          /* two rewrites, two answers */
    const double three[] = {1, 0, 1, 0, 4, -1}; /* three answers: halves of one and two */
    const double e = exp(1), w[] = {1 / (1 + e), e / (1 + e)};
    check_near(ap_bound_plug_in(two, 2, 2, 1), log((exp(0.5) + e) / 2), 1e-15, 0);
    check_near(ap_bound_plug_in(two, 2, 2, 0.5), 0.5 * log((e + exp(2)) / 2), 1e-15, 0);
    /* a 0 1, b 1 1 | a 1 1, b 0 1 */
    check_near(ap_bound_lower(two, 2, 2, 1),
               (1 - w[0] * log(2 * w[0]) - w[1] * log(2 * w[1]) + 0.5) / 2, 1e-15, 0);
    /* a 1 0, b 0.5 1.5 | a 0.5 1.5, b 1 0 */
    check_near(ap_bound_lower(three, 2, 3, 1),
               (0.5 * w[1] + 1.5 * w[0] + w[0]) / 2 - w[0] * log(2 * w[0]) - w[1] * log(2 * w[1]),
               1e-15, 0);
    /* Answers without noise: both are λ log mean exp(R/λ), whatever the scale. */
    const double still[] = {700, 700, 701, 701};
    check_near(ap_bound_lower(still, 2, 2, 0.1), 701 + 0.1 * log((1 + exp(-10)) / 2), 1e-11, 0);
    check_near(ap_bound_plug_in(still, 2, 2, 0.1), ap_bound_lower(still, 2, 2, 0.1), 1e-11, 0);
    /* One rewrite leaves nothing to choose: both are its mean. */
    check_near(ap_bound_lower(three, 1, 3, 0.2), (1 + 0.5) / 2, 1e-15, 0);
    check_near(ap_bound_range(three, 6), 5, 0, 0);
    check_near(ap_bound_range(three, 0), 0, 0, 0);
    check_near(ap_bound_tv((double[]){log(0.5), log(0.2)}, (double[]){log(0.25), -INFINITY}, 2),
               0.75, 1e-15, 0);
}

/* Two prompts: a resample is the first twice, both, or the second twice, so every interval ends at
 * the prompts' own values. */
static struct ap_bound_samples two_prompts(void)
{
    static const double reward[] = {0, 0, 1, 1, 2, 2, 4, 4}, trained[] = {1, 4}, kl[] = {0.5, 0.25};
    static const double logp[] = {-1, -1}, logq[] = {-1, -INFINITY};
    static const double near[] = {-1, -1.6931471805599453}; /* the second half as probable */
    return (struct ap_bound_samples){.n_prompt = 2,
                                     .n_rewrite = 2,
                                     .n_answer = 2,
                                     .kl = 1,
                                     .r_max = 4,
                                     .reward = reward,
                                     .trained_reward = trained,
                                     .trained_kl = kl,
                                     .lacks = {1, logp, logq},
                                     .disturbs = {1, logp, near}};
}

static void test_two_prompts_by_hand(void **state)
{
    (void)state;
    struct ap_bound_samples s = two_prompts();
    struct ap_bound b;
    struct ap_error err;
    const double first = log((1 + exp(1)) / 2), second = log((exp(2) + exp(4)) / 2);
    check_ok(ap_bound_of(&b, &s, 400, 1, &err), err);
    check_interval(b.j_sft, 1.75, 0.5, 3);
    check_interval(b.lower, (first + second) / 2, first, second);
    check_interval(b.plug_in, (first + second) / 2, first, second);
    check_interval(b.j_trained, (0.5 + 3.75) / 2, 0.5, 3.75);
    check_interval(b.gain, 0.375, 0, 0.75);
    check_interval(b.room_lower, (first + second) / 2 - 1.75, first - 0.5, second - 3);
    check_interval(b.share_lower, 0.375 / ((first + second) / 2 - 1.75), 0, 0.75 / (second - 3));
    check_interval(b.share_plug_in, b.share_lower.value, 0, 0.75 / (second - 3));
    check_interval(b.lacks, 2, 0, 4);
    check_interval(b.disturbs, 1, 0, 2);
    check_interval(b.wins_back, 0.375, 0.25, 0.5);
    check_interval(b.sum, 2.625, -0.5, 5.75);
    assert_int_equal(b.check, AP_BOUND_HOLDS);
}

static void test_the_check_has_four_answers(void **state)
{
    (void)state;
    struct ap_bound_samples s = two_prompts();
    struct ap_bound b;
    struct ap_error err;
    s.trained_reward = (double[]){0.5, 4}; /* gains −0.5 and 0.75 */
    check_ok(ap_bound_of(&b, &s, 400, 1, &err), err);
    assert_int_equal(b.check, AP_BOUND_OPEN);
    s.trained_reward = (double[]){0.5, 3}; /* −0.5 and −0.25 */
    check_ok(ap_bound_of(&b, &s, 400, 1, &err), err);
    assert_int_equal(b.check, AP_BOUND_FAILS);
    s.n_prompt = 1;
    check_ok(ap_bound_of(&b, &s, 400, 1, &err), err);
    assert_int_equal(b.check, AP_BOUND_OPEN);
    check_near(b.gain.value, -0.5, 1e-15, 0);
    assert_true(isnan(b.gain.low) && isnan(b.gain.high) && isnan(b.share_lower.value));
}

/* What is not there is NaN, and the rest stands. */
static void test_a_term_that_cannot_be_had(void **state)
{
    (void)state;
    struct ap_bound_samples s = two_prompts();
    struct ap_bound b;
    struct ap_error err;
    s.lacks = s.disturbs = (struct ap_bound_pairs){0};
    check_ok(ap_bound_of(&b, &s, 400, 1, &err), err);
    assert_true(isnan(b.lacks.value) && isnan(b.disturbs.low) && isnan(b.sum.value));
    check_interval(b.wins_back, 0.375, 0.25, 0.5);
    s.trained_reward = s.trained_kl = NULL;
    check_ok(ap_bound_of(&b, &s, 400, 1, &err), err);
    assert_int_equal(b.check, AP_BOUND_UNKNOWN);
    assert_true(isnan(b.gain.value) && isnan(b.share_lower.value) && isnan(b.wins_back.high));
    check_interval(b.j_sft, 1.75, 0.5, 3);
    /* No room, no share: rewrites that are all worth the same. */
    s = two_prompts();
    s.reward = (double[]){1, 1, 1, 1, 1, 1, 1, 1};
    check_ok(ap_bound_of(&b, &s, 400, 1, &err), err);
    check_interval(b.room_plug_in, 0, 0, 0);
    assert_true(isnan(b.share_plug_in.value) && isnan(b.share_plug_in.high));
}

static void test_bad_samples(void **state)
{
    (void)state;
    struct ap_bound_samples s = two_prompts();
    struct ap_bound b;
    struct ap_error err = {0};
    assert_int_equal(ap_bound_of(&b, &s, 0, 1, &err), AP_INVALID);
    check_holds(err.text, "expected 1 to 100000");
    s.n_answer = 1;
    assert_int_equal(ap_bound_of(&b, &s, 10, 1, &err), AP_INVALID);
    check_holds(err.text, "2 rewrites with 1 answers");
    s = two_prompts();
    s.trained_kl = (double[]){0, NAN};
    assert_int_equal(ap_bound_of(&b, &s, 10, 1, &err), AP_INVALID);
    check_holds(err.text, "not a finite number");
    s = two_prompts();
    s.disturbs.logq = (double[]){NAN, 0};
    assert_int_equal(ap_bound_of(&b, &s, 10, 1, &err), AP_INVALID);
    check_holds(err.text, "'disturbs'");
    s.n_prompt = 0;
    assert_int_equal(ap_bound_of(&b, &s, 10, 1, &err), AP_LIMIT);
}

/* -- samples of a finite world -- */

static int draw(struct ap_random *random, const double *p, int n)
{
    double u = ap_random_uniform(random);
    int i = 0;
    for (; i + 1 < n && u >= p[i]; i++)
        u -= p[i];
    return i;
}

/* N prompts of the world, n rewrites of ρ_sft with K answers each, n rewrites of ρ* with one answer
 * each, K answers of pi [X, Y] in the place of π*. The arrays lie in *numbers, the caller's. */
static struct ap_bound_samples samples_of(const struct world *o, const double *pi, int N, int n,
                                          int K, struct ap_random *random, double **numbers)
{
    const struct ap_exact_world *w = &o->w;
    const size_t answers = (size_t)N * (size_t)n * (size_t)K, pairs = (size_t)N * (size_t)K;
    const int R = w->n_rewrite, Y = w->n_answer;
    double *at = *numbers = tabular_numbers(3 * answers + 2 * pairs + 2 * (size_t)N);
    double *reward = at, *logp = at + answers, *logq = logp + answers, *lacks_p = logq + answers,
           *lacks_q = lacks_p + pairs, *trained = lacks_q + pairs, *kl = trained + N;
    const struct ap_bound_samples out = {.n_prompt = N,
                                         .n_rewrite = n,
                                         .n_answer = K,
                                         .kl = w->kl,
                                         .r_max = w->r_max,
                                         .reward = reward,
                                         .trained_reward = trained,
                                         .trained_kl = kl,
                                         .lacks = {K, lacks_p, lacks_q},
                                         .disturbs = {n * K, logp, logq}};
    for (int j = 0; j < N; j++) {
        const int x = draw(random, w->prompts, w->n_prompt);
        const double *bare = w->bare + x * Y, *sft = w->rho_sft + x * R;
        const double *star = o->truth.rho_star + x * R;
        for (int i = 0; i < n; i++) {
            const double *given = w->target + (x * R + draw(random, sft, R)) * Y;
            const int better = draw(random, star, R);
            for (int k = 0; k < K; k++) {
                const int y = draw(random, given, Y);
                *reward++ = w->reward[x * Y + y];
                *logp++ = log(given[y]);
                *logq++ = log(bare[y]);
            }
            trained[j] += w->reward[x * Y + draw(random, w->target + (x * R + better) * Y, Y)] / n;
            kl[j] += ap_kl_k3(log(star[better]), log(sft[better])) / n;
        }
        for (int k = 0; k < K; k++) {
            const int y = draw(random, pi + x * Y, Y);
            *lacks_p++ = log(pi[x * Y + y]);
            *lacks_q++ = log(bare[y]);
        }
    }
    return out;
}

/* The policy that maximises the reward, sharp 0; else π_F(y|x) exp(r/sharp), normalised. */
static double *best_policy(const struct ap_exact_world *w, double sharp)
{
    double *pi = tabular_numbers((size_t)w->n_prompt * (size_t)w->n_answer);
    for (int x = 0; x < w->n_prompt; x++) {
        const double *reward = w->reward + x * w->n_answer;
        double *row = pi + x * w->n_answer;
        int best = 0;
        for (int y = 1; y < w->n_answer; y++)
            best = reward[y] > reward[best] ? y : best;
        if (sharp > 0)
            ap_exact_tilt(w->bare + x * w->n_answer, reward, w->n_answer, sharp, row);
        else
            row[best] = 1;
    }
    return pi;
}

static double lacks_of(const struct ap_exact_world *w, const double *pi)
{
    double sum = 0;
    for (int x = 0; x < w->n_prompt; x++)
        sum += w->prompts[x] *
               ap_exact_tv(pi + x * w->n_answer, w->bare + x * w->n_answer, w->n_answer);
    return w->r_max * sum;
}

/* -- the reference values -- */

/* Within twice the 95% interval: four standard errors. */
static void check_about(struct ap_interval got, double want)
{
    check_near(got.value, want, got.high - got.low, 1e-12);
}

static void test_the_reference_worlds(void **state)
{
    json_t *all = golden_of(state, "align_world"), *g;
    size_t k;
    json_array_foreach(all, k, g)
    {
        struct world o;
        struct ap_bound b;
        struct ap_error err;
        struct ap_random random;
        double *numbers, terms[3];
        world_golden(&o, g);
        ap_random_init(&random, &(struct ap_stream){.seed = 21, .record = k});
        double *pi = best_policy(&o.w, 0);
        struct ap_bound_samples s = samples_of(&o, pi, 1000, 16, 8, &random, &numbers);
        check_ok(ap_bound_of(&b, &s, 400, 1, &err), err);
        assert_int_equal(flatten(json_object_get(g, "bound_terms"), terms), 3);
        check_about(b.j_sft, number(g, "mean_reward_sft"));
        check_about(b.j_trained, number(g, "j_star"));
        check_about(b.lacks, terms[0]);
        check_about(b.disturbs, terms[1]);
        check_about(b.wins_back, terms[2]);
        check_about(b.sum, terms[0] + terms[1] - terms[2]);
        assert_true(b.lower.low <= number(g, "j_star"));
        assert_true(b.lower.value < b.plug_in.value);
        assert_int_equal(b.check, AP_BOUND_HOLDS);
        assert_true(b.sum.low >= number(g, "gap"));
        ap_free(numbers), ap_free(pi);
        world_free(&o);
    }
    json_decref(all);
}

static void test_tv_of_the_reference_pairs(void **state)
{
    json_t *all = golden_of(state, "tv"), *g;
    size_t k;
    json_array_foreach(all, k, g)
    {
        enum { N = 40000 };
        double p[64], q[64], *logp = tabular_numbers(2 * N), *logq = logp + N;
        struct ap_random random;
        assert_in_range(json_array_size(json_object_get(g, "p")), 2, 64);
        const int n = (int)flatten(json_object_get(g, "p"), p);
        assert_int_equal(flatten(json_object_get(g, "q"), q), n);
        ap_random_init(&random, &(struct ap_stream){.seed = 22, .record = k});
        for (int i = 0; i < N; i++) {
            const int y = draw(&random, p, n);
            logp[i] = log(p[y]), logq[i] = log(q[y]);
        }
        /* A term lies in [0, 1]: a standard error is at most ½/√N. */
        check_near(ap_bound_tv(logp, logq, N), number(g, "tv"), 4 * 0.5 / sqrt(N), 0);
        ap_free(logp);
    }
    json_decref(all);
}

/* -- a thousand worlds -- */

enum { LEFT = 4 }; /* rewrites drawn, and answers to each: one a half */

/* What ap_bound_lower is expected to be for one prompt with K 2, over every way to draw `left` more
 * rewrites and the answers that weigh them; weights so far sum to `sum`, weight × (value − a) to
 * `differences`. */
static double expected_lower(const struct world *o, int x, int left, double sum, double differences)
{
    const struct ap_exact_world *w = &o->w;
    const int R = w->n_rewrite, Y = w->n_answer;
    double expected = 0;
    if (left == 0)
        return differences / sum + w->kl * log(sum / LEFT);
    for (int i = x * R; i < (x + 1) * R; i++)
        for (int y = 0; y < Y; y++) {
            const double a = w->reward[x * Y + y], weight = exp(a / w->kl);
            expected += w->rho_sft[i] * w->target[i * Y + y] *
                        expected_lower(o, x, left - 1, sum + weight,
                                       differences + weight * (o->truth.value[i] - a));
        }
    return expected;
}

static int covers(struct ap_interval x, double truth)
{
    return x.low <= truth && truth <= x.high;
}

static void test_a_thousand_worlds(void **state)
{
    (void)state;
    enum { N_WORLD = 1000, N_PROMPT = 200, K = 2 };
    const double kl = 0.3;
    static const char *const names[] = {"j_sft", "j_trained", "lower", "lacks", "disturbs"};
    int n[5] = {0}, n_holds = 0, n_below = 0;
    for (int i = 0; i < N_WORLD; i++) {
        struct world o;
        struct ap_bound b;
        struct ap_error err;
        struct ap_random random;
        double *numbers, lower = 0;
        world_random(&o, 4, 3, 3, kl, 1000 + (uint64_t)i);
        n_holds += o.truth.gap <= o.truth.lacks + o.truth.disturbs - o.truth.wins_back;
        for (int x = 0; x < 4; x++)
            lower += o.w.prompts[x] * expected_lower(&o, x, LEFT, 0, 0);
        n_below += lower <= o.truth.j_star;
        ap_random_init(&random, &(struct ap_stream){.seed = 23, .record = (uint64_t)i});
        double *pi = best_policy(&o.w, 0.2);
        struct ap_bound_samples s = samples_of(&o, pi, N_PROMPT, LEFT, K, &random, &numbers);
        check_ok(ap_bound_of(&b, &s, 400, (uint64_t)i, &err), err);
        n[0] += covers(b.j_sft, o.truth.mean_reward_sft);
        n[1] += covers(b.j_trained, o.truth.j_star);
        n[2] += covers(b.lower, lower);
        n[3] += covers(b.lacks, lacks_of(&o.w, pi));
        n[4] += covers(b.disturbs, o.truth.disturbs);
        ap_free(numbers), ap_free(pi);
        world_free(&o);
    }
    printf(
        "of %d worlds, %d prompts, n %d, K %d, lambda %g: the exact bound holds in %d, the lower "
        "value is expected below J* in %d; covered:",
        N_WORLD, N_PROMPT, LEFT, K, kl, n_holds, n_below);
    for (int m = 0; m < 5; m++)
        printf(" %s %.1f%%", names[m], 100.0 * n[m] / N_WORLD);
    printf("\n");
    assert_int_equal(n_holds, N_WORLD);
    assert_int_equal(n_below, N_WORLD);
    for (int m = 0; m < 5; m++)
        assert_in_range(n[m], N_WORLD * 93 / 100, N_WORLD * 98 / 100);
}

/* -- the two biases: the table of docs/bound.md -- */

struct bias {
    double plug_in, lower, gain; /* mean over worlds; gain: J* − J(ρ_sft) */
};

static struct bias bias_at(int n, int K, double kl)
{
    enum { N_WORLD = 100, N_DRAW = 50, R = 32, Y = 6 };
    struct bias sum = {0};
    for (int i = 0; i < N_WORLD; i++) {
        struct world o;
        struct ap_random random;
        double reward[64 * 16];
        world_random(&o, 1, R, Y, kl, 5000 + (uint64_t)i);
        ap_random_init(&random, &(struct ap_stream){.seed = 24, .record = (uint64_t)i});
        sum.gain += (o.truth.j_star - o.truth.mean_reward_sft) / N_WORLD;
        for (int d = 0; d < N_DRAW; d++) {
            for (int j = 0; j < n; j++) {
                const double *given = o.w.target + draw(&random, o.w.rho_sft, R) * Y;
                for (int k = 0; k < K; k++)
                    reward[j * K + k] = o.w.reward[draw(&random, given, Y)];
            }
            sum.plug_in += (ap_bound_plug_in(reward, n, K, kl) - o.truth.j_star) / N_DRAW / N_WORLD;
            sum.lower += (ap_bound_lower(reward, n, K, kl) - o.truth.j_star) / N_DRAW / N_WORLD;
        }
        world_free(&o);
    }
    return sum;
}

static void test_the_plug_in_is_biased(void **state)
{
    (void)state;
    static const double kl[] = {0.05, 0.2};
    static const int n[] = {2, 8, 64}, K[] = {2, 4, 16};
    printf("| lambda | n | K | J* - J(sft) | plug-in - J* | cross-fitted lower - J* |\n");
    for (int l = 0; l < 2; l++)
        for (int i = 0; i < 3; i++) {
            struct bias before = {.plug_in = INFINITY, .lower = -INFINITY};
            for (int j = 0; j < 3; j++) {
                struct bias b = bias_at(n[i], K[j], kl[l]);
                printf("| %g | %d | %d | %.4f | %+.4f | %+.4f |\n", kl[l], n[i], K[j], b.gain,
                       b.plug_in, b.lower);
                assert_true(b.lower < 0 && b.lower < b.plug_in);
                assert_true(b.plug_in < before.plug_in); /* less noise */
                assert_true(b.lower > before.lower);
                if (n[i] == 64) /* and enough rewrites: only the noise is left, upwards */
                    assert_true(b.plug_in > 0);
                before = b;
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_prompt_by_hand),
        cmocka_unit_test(test_two_prompts_by_hand),
        cmocka_unit_test(test_the_check_has_four_answers),
        cmocka_unit_test(test_a_term_that_cannot_be_had),
        cmocka_unit_test(test_bad_samples),
        cmocka_unit_test(test_the_reference_worlds),
        cmocka_unit_test(test_tv_of_the_reference_pairs),
        cmocka_unit_test_prestate(test_the_reference_worlds, own),
        cmocka_unit_test_prestate(test_tv_of_the_reference_pairs, own),
        cmocka_unit_test(test_a_thousand_worlds),
        cmocka_unit_test(test_the_plug_in_is_biased),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
