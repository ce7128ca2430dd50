/* Statistics of arms: cases done by hand, the coverage of the bootstrap interval, pairing, and
 * properties that hold for every table. */
#include "eval/statistics.h"

#include "base/random.h"
#include "eval/table_of.h"

static void fill_normal(struct ap_score_table *t, struct ap_random *r, const double *shift)
{
    for (int64_t p = 0; p < t->n_prompt; p++) {
        double prompt = ap_random_normal(r); /* common to all arms: what pairing takes out */
        for (int s = 0; s < t->n_seed; s++)
            for (int a = 0; a < t->n_arm; a++)
                cell_at(t, p, s, a)->score = prompt + shift[a] + 0.5 * ap_random_normal(r);
    }
}

static struct ap_random random_of(uint64_t record)
{
    struct ap_random r;
    ap_random_init(&r, &(struct ap_stream){.seed = 11, .record = record});
    return r;
}

/* bare 0 2 | 4 6, arm 1 2 | 3 9 (prompts | seeds inside): by hand. */
static void test_hand_case(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(2, 2, 2);
    struct ap_arm_statistics out[2] = {0};
    struct ap_error err = {0};
    const double bare[] = {0, 2, 4, 6}, arm[] = {1, 2, 3, 9};
    t.rlhf = 1;
    for (int i = 0; i < 4; i++) {
        cell_at(&t, i / 2, i % 2, 0)->score = bare[i];
        cell_at(&t, i / 2, i % 2, 1)->score = arm[i];
        cell_at(&t, i / 2, i % 2, 1)->kl = i;
        cell_at(&t, i / 2, i % 2, 1)->rewrite_tokens = 2 * i;
        cell_at(&t, i / 2, i % 2, 1)->rewrite_ended = i > 0;
    }
    check_ok(ap_arm_statistics_of(out, &t, 200, 1, NULL, NULL, &err), err);
    assert_int_equal(out[1].n_prompt, 2);
    assert_int_equal(out[1].n_seed, 2);
    check_near(out[0].mean.value, 3, 1e-12, 0);
    check_near(out[1].mean.value, 3.75, 1e-12, 0);
    check_near(out[0].variance.value, 8, 1e-12, 0);              /* 0 4: 8; 2 6: 8 */
    check_near(out[1].variance.value, (2 + 24.5) / 2, 1e-12, 0); /* 1 3: 2; 2 9: 24.5 */
    check_near(out[1].delta_bare.value, 0.75, 1e-12, 0);         /* 1 0 | −1 3 */
    check_near(out[0].delta_rlhf.value, -0.75, 1e-12, 0);
    check_near(out[1].delta_rlhf.value, 0, 1e-12, 0);
    check_near(out[1].win_bare.value, (1 + 0.5 + 0 + 1) / 4, 1e-12, 0); /* win tie | loss win */
    check_near(out[1].kl.value, 1.5, 1e-12, 0);
    check_near(out[1].rewrite_tokens.value, 3, 1e-12, 0);
    check_near(out[1].rewrite_ended.value, 0.75, 1e-12, 0);
    check_near(out[1].answer_tokens.value, 10, 1e-12, 0);
    assert_true(isnan(out[0].kl.value) && isnan(out[0].rewrite_tokens.value));
    assert_true(isnan(out[1].win_instruct.value) && isnan(out[1].delta_instruct.low));
    assert_true(isnan(out[1].share_bare.value)); /* a gap, but no interval of it */
    ap_free(t.cells);
}

/* ---- the draws, done once more in the open ---- */

static int draw(struct ap_random *r, int n)
{
    return (int)ap_random_below(r, (uint32_t)n);
}

/* The mean of arm 0 in resample i: prompts × seeds, or × runs of `per` seeds. */
static double resampled_mean(const struct ap_score_table *t, int i, int per)
{
    struct ap_random prompts, seeds;
    int n_prompt = (int)t->n_prompt, p[64], n_draw = t->n_seed / per, drawn[8];
    double total = 0;
    ap_random_init(&prompts, &(struct ap_stream){.seed = 6,
                                                 .stage = ap_stream_stage("eval.bootstrap"),
                                                 .step = (uint32_t)i});
    ap_random_init(&seeds, &(struct ap_stream){.seed = 6,
                                               .stage = ap_stream_stage("eval.bootstrap.seeds"),
                                               .step = (uint32_t)i});
    for (int k = 0; k < n_prompt; k++)
        p[k] = draw(&prompts, n_prompt);
    for (int k = 0; k < n_draw; k++)
        drawn[k] = n_draw > 1 ? draw(&seeds, n_draw) : 0;
    for (int d = 0; d < n_draw; d++)
        for (int s = 0; s < per; s++)
            for (int k = 0; k < n_prompt; k++)
                total += cell_at(t, p[k], drawn[d] * per + s, 0)->score;
    return total / (n_prompt * t->n_seed);
}

/* One seed: prompts alone are drawn. Four: both, cells by the product. Four in two runs: the runs
 * whole. */
static void test_draws(void **state)
{
    (void)state;
    const int n_seeds[] = {1, 4, 4}, pers[] = {1, 1, 2};
    for (int c = 0; c < 3; c++) {
        struct ap_score_table t = make_table(12, n_seeds[c], 1);
        struct ap_arm_statistics out[1] = {0};
        struct ap_error err = {0};
        static double samples[AP_N_STATISTICS][40];
        struct ap_random r = random_of(7);
        fill_normal(&t, &r, (const double[]){0});
        t.seeds_a_run = pers[c] > 1 ? pers[c] : 0;
        check_ok(ap_arm_statistics_of(out, &t, 40, 6, NULL, &samples[0][0], &err), err);
        assert_int_equal(out[0].n_seed, n_seeds[c] / pers[c]);
        for (int i = 0; i < 40; i++)
            check_near(samples[AP_AT_mean][i], resampled_mean(&t, i, pers[c]), 1e-12, 0);
        ap_free(t.cells);
    }
}

/* A prompt and seed that one arm lacks is in no arm; the count of the others is untouched. */
static void test_shared_only(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(3, 2, 2);
    struct ap_arm_statistics out[2] = {0};
    struct ap_error err = {0};
    int64_t n_dropped = -1;
    for (int p = 0; p < 3; p++)
        for (int s = 0; s < 2; s++)
            for (int a = 0; a < 2; a++)
                cell_at(&t, p, s, a)->score = p + 10 * a;
    cell_at(&t, 0, 0, 1)->score = NAN;      /* one seed of prompt 0 */
    cell_at(&t, 2, 0, 0)->score = INFINITY; /* prompt 2 altogether */
    cell_at(&t, 2, 1, 0)->score = NAN;
    cell_at(&t, 2, 1, 1)->score = NAN; /* in no arm: not counted as dropped */
    check_ok(ap_arm_statistics_of(out, &t, 50, 1, &n_dropped, NULL, &err), err);
    assert_int_equal(out[0].n_prompt, 2);
    assert_int_equal(n_dropped, 2);
    check_near(out[0].mean.value, 2.0 / 3, 1e-12, 0); /* prompt 0 once, prompt 1 twice */
    check_near(out[1].delta_bare.value, 10, 1e-12, 0);
    /* Seed 0 has prompt 1 alone, seed 1 has 0 and 1. */
    check_near(out[0].variance.value, 0.5, 1e-12, 0);

    for (int p = 0; p < 3; p++)
        for (int s = 0; s < 2; s++)
            cell_at(&t, p, s, 1)->score = NAN;
    assert_int_equal(ap_arm_statistics_of(out, &t, 50, 1, &n_dropped, NULL, &err), AP_NOT_FOUND);
    check_holds(err.text, "no prompt and seed");
    ap_free(t.cells);
}

static void test_few_prompts_have_no_interval(void **state)
{
    (void)state;
    for (int n = 1; n <= AP_PROMPTS_LEAST; n++) {
        struct ap_score_table t = make_table(n, 3, 2);
        struct ap_arm_statistics out[2] = {0};
        struct ap_error err = {0};
        struct ap_random r = random_of(8);
        fill_normal(&t, &r, (const double[]){0, 0.3});
        check_ok(ap_arm_statistics_of(out, &t, 50, 1, NULL, NULL, &err), err);
        assert_true(isfinite(out[1].delta_bare.value));
        assert_int_equal(isnan(out[1].delta_bare.low), n < AP_PROMPTS_LEAST);
        assert_int_equal(isnan(out[1].mean.high), n < AP_PROMPTS_LEAST);
        assert_int_equal(isnan(out[1].variance.value), n < 2);
        ap_free(t.cells);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(2, 1, 1);
    struct ap_arm_statistics out[1] = {0};
    struct ap_error err = {0};
    assert_int_equal(ap_arm_statistics_of(out, &t, 0, 1, NULL, NULL, &err), AP_INVALID);
    check_holds(err.text, "expected 1 to 100000");
    t.n_seed = AP_SEEDS_MAX + 1;
    assert_int_equal(ap_arm_statistics_of(out, &t, 10, 1, NULL, NULL, &err), AP_LIMIT);
    check_holds(err.text, "65 seeds");
    ap_free(t.cells);
}

/* The same scores in two arms: whatever the resample, nothing between them. */
static void test_identical_arms(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(37, 3, 2);
    struct ap_arm_statistics out[2] = {0};
    struct ap_error err = {0};
    struct ap_random r = random_of(1);
    fill_normal(&t, &r, (const double[]){0, 0});
    for (int p = 0; p < 37; p++)
        for (int s = 0; s < 3; s++)
            cell_at(&t, p, s, 1)->score = cell_at(&t, p, s, 0)->score;
    check_ok(ap_arm_statistics_of(out, &t, 500, 1, NULL, NULL, &err), err);
    assert_true(out[1].delta_bare.value == 0 && out[1].delta_bare.low == 0 &&
                out[1].delta_bare.high == 0);
    assert_true(out[1].win_bare.value == 0.5 && out[1].win_bare.low == 0.5 &&
                out[1].win_bare.high == 0.5);
    assert_memory_equal(&out[0].mean, &out[1].mean, sizeof(out[0].mean));
    ap_free(t.cells);
}

/* A shift that is the same on every prompt: the paired interval is a point, the unpaired is wide.
 */
static void test_pairing(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(60, 1, 2);
    struct ap_arm_statistics out[2] = {0};
    struct ap_error err = {0};
    struct ap_random r = random_of(2);
    for (int p = 0; p < 60; p++) {
        double x = floor(1000 * ap_random_normal(&r)) / 1024; /* exact in binary */
        cell_at(&t, p, 0, 0)->score = x;
        cell_at(&t, p, 0, 1)->score = x + 0.25;
    }
    check_ok(ap_arm_statistics_of(out, &t, 500, 1, NULL, NULL, &err), err);
    check_interval(out[1].delta_bare, 0.25, 0.25, 0.25);
    assert_true(out[1].mean.high - out[1].mean.low > 0.3);
    check_interval(out[1].win_bare, 1, 1, 1);
    ap_free(t.cells);
}

/* ---- coverage ---- */

/* Scores of two arms, mean 0 and 0.3: prompt + seed + what both make together. */
struct two_way {
    int n_prompt, n_seed;
    double prompt, seed, cell; /* deviations, of the difference between arms */
    int least, most;           /* per cent of the intervals that hold 0.3 */
};

static void fill_two_way(struct ap_score_table *t, struct ap_random *r, const struct two_way *w)
{
    double seeds[AP_SEEDS_MAX];
    for (int s = 0; s < t->n_seed; s++)
        seeds[s] = w->seed * ap_random_normal(r);
    for (int64_t p = 0; p < t->n_prompt; p++) {
        double common = ap_random_normal(r), own = w->prompt * ap_random_normal(r);
        for (int s = 0; s < t->n_seed; s++) {
            cell_at(t, p, s, 0)->score = common;
            cell_at(t, p, s, 1)->score =
                common + 0.3 + own + seeds[s] + w->cell * ap_random_normal(r);
        }
    }
}

static double coverage(const struct two_way *w, int n_set)
{
    struct ap_score_table t = make_table(w->n_prompt, w->n_seed, 2);
    struct ap_arm_statistics out[2] = {0};
    struct ap_error err = {0};
    int n_held = 0;
    for (int i = 0; i < n_set; i++) {
        struct ap_random r = random_of(100 + (uint64_t)i);
        fill_two_way(&t, &r, w);
        check_ok(ap_arm_statistics_of(out, &t, 300, (uint64_t)i, NULL, NULL, &err), err);
        n_held += out[1].delta_bare.low <= 0.3 && 0.3 <= out[1].delta_bare.high;
    }
    ap_free(t.cells);
    return 100.0 * n_held / n_set;
}

/* What docs/report.md tells of the intervals; the bounds leave two deviations of 400 sets and more.
 */
static void test_coverage(void **state)
{
    (void)state;
    static const struct two_way cases[] = {
        {10, 1, 1, 0, 0, 87, 94},      {20, 1, 1, 0, 0, 90, 96},
        {80, 1, 1, 0, 0, 92, 98},      {200, 1, 1, 0, 0, 92, 98},
        {80, 2, 1, 0, 0.5, 92, 99},    {80, 3, 1, 0, 0.5, 92, 99},
        {80, 3, 0, 0, 1, 97, 100},     {80, 2, 1, 0.05, 0.5, 90, 99},
        {80, 3, 1, 0.05, 0.5, 90, 99}, {80, 5, 1, 0.1, 0.5, 90, 98},
        {80, 2, 0.5, 0.3, 0.5, 0, 80}, {80, 3, 0.5, 0.3, 0.5, 0, 90},
        {80, 5, 0.5, 0.3, 0.5, 0, 93}, {80, 10, 0.5, 0.3, 0.5, 88, 97},
    };
    for (size_t i = 0; i < AP_LEN(cases); i++) {
        const struct two_way *w = &cases[i];
        double held = coverage(w, 400);
        printf(
            "%3d prompts, %2d seeds, deviations of prompts %.2f, seeds %.2f, both %.2f: %.1f%%\n",
            w->n_prompt, w->n_seed, w->prompt, w->seed, w->cell, held);
        if (held < w->least || held > w->most) {
            fprintf(stderr, "coverage %.1f%%, expected %d to %d\n", held, w->least, w->most);
            fail();
        }
    }
}

/* rlhf closes all of its own gap and bare none, exactly; half-way is half. */
static void test_share(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(50, 2, 4);
    struct ap_arm_statistics out[4] = {0};
    struct ap_error err = {0};
    struct ap_random r = random_of(3);
    t.instruct = 1;
    t.rlhf = 3;
    t.before[3] = 1 + 2;
    for (int p = 0; p < 50; p++)
        for (int s = 0; s < 2; s++) {
            double x = ap_random_normal(&r), gap = 1 + 0.5 * ap_random_normal(&r);
            cell_at(&t, p, s, 0)->score = x;
            cell_at(&t, p, s, 1)->score = x + 2; /* above rlhf: no gap from here */
            cell_at(&t, p, s, 2)->score = x + gap / 2;
            cell_at(&t, p, s, 3)->score = x + gap;
        }
    check_ok(ap_arm_statistics_of(out, &t, 500, 1, NULL, NULL, &err), err);
    check_interval(out[0].share_bare, 0, 0, 0);
    check_interval(out[2].share_bare, 0.5, 0.5, 0.5);
    check_interval(out[3].share_bare, 1, 1, 1);
    for (int a = 0; a < 4; a++)
        assert_true(isnan(out[a].share_instruct.value) && isnan(out[a].share_instruct.low));
    check_near(out[2].delta_instruct.value, out[2].mean.value - out[1].mean.value, 1e-12, 0);
    check_near(out[3].delta_pass.value, out[3].mean.value - out[2].mean.value, 1e-12, 0);
    assert_true(out[3].delta_pass.low > 0 && out[3].delta_pass.low < out[3].delta_pass.value);
    assert_true(isnan(out[2].delta_pass.value));
    ap_free(t.cells);
}

/* A gap that cannot be told from none gives no share, though the ratio exists. */
static void test_share_needs_a_gap(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(50, 1, 3);
    struct ap_arm_statistics out[3] = {0};
    struct ap_error err = {0};
    struct ap_random r = random_of(4);
    t.rlhf = 2;
    fill_normal(&t, &r, (const double[]){0, 1, 0.001});
    check_ok(ap_arm_statistics_of(out, &t, 500, 1, NULL, NULL, &err), err);
    assert_true(out[2].delta_bare.low < 0 && out[2].delta_bare.high > 0);
    assert_true(isnan(out[1].share_bare.value) && isnan(out[1].share_bare.high));
    ap_free(t.cells);
}

/* Of any table: orders, mirror images, scale and shift. */
static void test_properties(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(40, 3, 3), turned = make_table(40, 3, 3);
    struct ap_arm_statistics out[3] = {0}, again[3] = {0};
    struct ap_error err = {0};
    struct ap_random r = random_of(5);
    fill_normal(&t, &r, (const double[]){0, 0.2, 0.9});
    turned.bare = 2;
    for (int p = 0; p < 40; p++)
        for (int s = 0; s < 3; s++)
            for (int a = 0; a < 3; a++) /* arms in the other order, prompts as they were */
                cell_at(&turned, p, s, 2 - a)->score = 4 * cell_at(&t, p, s, a)->score - 1;
    check_ok(ap_arm_statistics_of(out, &t, 300, 9, NULL, NULL, &err), err);
    check_ok(ap_arm_statistics_of(again, &turned, 300, 9, NULL, NULL, &err), err);
    for (int a = 0; a < 3; a++) {
        const struct ap_arm_statistics *x = &out[a], *y = &again[2 - a];
        assert_true(x->mean.low <= x->mean.value && x->mean.value <= x->mean.high);
        assert_in_range((long)(100 * x->win_bare.value), 0, 100);
        check_near(y->mean.low, 4 * x->mean.low - 1, 1e-9, 0);
        check_near(y->variance.value, 16 * x->variance.value, 1e-9, 0);
        check_near(y->variance.high, 16 * x->variance.high, 1e-9, 0);
        check_near(y->delta_bare.high, 4 * x->delta_bare.high, 1e-9, 0);
        check_near(y->win_bare.value, x->win_bare.value, 1e-12, 0);
    }
    /* A large offset costs the variance no digits. */
    for (int i = 0; i < 40 * 3 * 3; i++)
        t.cells[i].score += 1e6;
    check_ok(ap_arm_statistics_of(again, &t, 300, 9, NULL, NULL, &err), err);
    check_near(again[1].variance.value, out[1].variance.value, 1e-7, 0);
    /* The same seed gives the same bits, another seed another interval. */
    check_ok(ap_arm_statistics_of(again, &turned, 300, 10, NULL, NULL, &err), err);
    assert_true(again[0].mean.low != 4 * out[2].mean.low - 1);
    ap_free(t.cells);
    ap_free(turned.cells);
}

/* A demo's size, and more: nothing here grows faster than resamples × prompts. */
static void test_demo_size(void **state)
{
    (void)state;
    struct ap_score_table t = make_table(200, 3, 6);
    struct ap_arm_statistics out[6] = {0};
    struct ap_error err = {0};
    struct ap_random r = random_of(6);
    t.instruct = 1;
    t.rlhf = 4;
    fill_normal(&t, &r, (const double[]){0, 0.1, 0.3, 0.8, 1, 0.7});
    check_ok(ap_arm_statistics_of(out, &t, 2000, 1, NULL, NULL, &err), err);
    assert_true(out[3].share_bare.low > 0.6 && out[3].share_bare.high < 1);
    assert_true(out[3].share_instruct.low > 0.5);
    ap_free(t.cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hand_case),   cmocka_unit_test(test_draws),
        cmocka_unit_test(test_shared_only), cmocka_unit_test(test_few_prompts_have_no_interval),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_identical_arms),
        cmocka_unit_test(test_pairing),     cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_share),       cmocka_unit_test(test_share_needs_a_gap),
        cmocka_unit_test(test_properties),  cmocka_unit_test(test_demo_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
