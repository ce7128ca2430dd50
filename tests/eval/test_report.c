/* run.db to statistics, and what is said of them: hand-made rows, what is refused, sentences,
 * table, JSON and CSV. */
#include "eval/report_page.h"

#include "base/json.h"
#include "eval/synthetic_run.h"

static struct ap_database *open_empty(void)
{
    struct ap_database *db = NULL;
    struct ap_error err = {0};
    check_ok(ap_database_open(&db, ":memory:", &err), err);
    return db;
}

static void put(struct ap_database *db, const char *arm, int64_t seed, uint64_t record, int sample,
                double score)
{
    struct ap_error err = {0};
    bool has_rewrite = strcmp(arm, "bare") != 0;
    struct ap_evaluation_record row = {.arm = arm,
                                       .seed = seed,
                                       .record = record,
                                       .sample = sample,
                                       .prompt = "x",
                                       .rewrite = has_rewrite ? "x'" : NULL,
                                       .answer = "y",
                                       .n_rewrite_tokens = has_rewrite ? 7 : 0,
                                       .n_answer_tokens = 3,
                                       .rewrite_ended = true,
                                       .answer_ended = record != 1,
                                       .kl = has_rewrite ? 2.5 : NAN};
    check_ok(ap_database_evaluation(db, &row, &err), err);
    check_ok(ap_database_score(db, arm, seed, record, sample, "reward", score, &err), err);
}

static char *const two_arms[] = {"bare", "align"}, *const one_judge[] = {"reward"};

/* Rows that must count, among rows that must not: another arm, other samples, a prompt that one arm
 * lacks, a record above 2^63. */
static void test_rows_to_statistics(void **state)
{
    (void)state;
    struct ap_database *db = open_empty();
    struct ap_error err = {0};
    static struct ap_evaluation e;
    const uint64_t large = UINT64_MAX - 5;
    put(db, "bare", 4, 1, -1, 1);
    put(db, "bare", 4, large, -1, 3);
    put(db, "bare", 9, 1, -1, 2);
    put(db, "bare", 9, large, -1, 4);
    put(db, "align", 4, 1, -1, 2);
    put(db, "align", 4, large, -1, 3);
    put(db, "align", 9, 1, -1, 4);
    put(db, "align", 9, large, -1, 1);
    put(db, "align", 4, 50, -1, 100); /* bare has no such prompt */
    put(db, "align", 4, 1, 0, 100);   /* a sample that was not kept */
    put(db, "user's own", 4, 1, -1, 100);
    check_ok(ap_evaluate(&e, db, two_arms, 2, one_judge, 1, 200, 1, &err), err);
    assert_int_equal(e.n_arm, 2);
    assert_int_equal(e.n_seed, 2);
    assert_int_equal(e.seeds[0], 4);
    assert_int_equal(e.seeds[1], 9);
    assert_int_equal(e.n_dropped[0], 1);
    const struct ap_arm_statistics *bare = &e.arms[0][0], *align = &e.arms[0][1];
    assert_string_equal(align->name, "align");
    assert_int_equal(align->n_prompt, 2);
    assert_int_equal(align->n_seed, 2);
    check_near(bare->mean.value, 2.5, 1e-12, 0);
    check_near(align->delta_bare.value, 0, 1e-12, 0); /* +1 +2 | 0 −3 */
    assert_true(isnan(align->delta_bare.low));        /* two prompts */
    check_near(align->win_bare.value, 2.5 / 4, 1e-12, 0);
    check_near(align->variance.value, (0.5 + 4.5) / 2, 1e-12, 0);
    check_near(align->kl.value, 2.5, 1e-12, 0);
    check_near(align->rewrite_tokens.value, 7, 1e-12, 0);
    check_near(bare->answer_tokens.value, 3, 1e-12, 0);
    check_near(bare->answer_ended.value, 0.5, 1e-12, 0);
    assert_true(isnan(bare->kl.value) && isnan(bare->rewrite_ended.value));
    ap_database_close(db);
}

/* A length is a mean over all answers, the empty one too, wherever it is told; where one is not
 * known the mean over all is not, either. */
static void test_lengths_agree(void **state)
{
    (void)state;
    struct ap_database *db = open_empty();
    struct ap_error err = {0};
    static struct ap_evaluation e;
    struct ap_evaluation_record row = {.arm = "bare", .sample = -1, .prompt = "x", .answer = ""};
    const int at = AP_MONITOR_ANSWER_LENGTH;
    for (row.record = 0; row.record < 4; row.record++) {
        row.n_answer_tokens = row.record ? 4 : 0;
        check_ok(ap_database_evaluation(db, &row, &err), err);
        check_ok(ap_database_score(db, "bare", 0, row.record, -1, "reward", 1, &err), err);
    }
    check_ok(ap_evaluate(&e, db, two_arms, 1, one_judge, 1, 50, 1, &err), err);
    check_ok(ap_evaluate_texts(&e, db, &err), err);
    check_near(e.arms[0][0].answer_tokens.value, 3, 1e-12, 0);
    check_near(e.texts[0].monitors[at], 3, 1e-12, 0);
    row.record = 0;
    row.n_answer_tokens = -1;
    check_ok(ap_database_evaluation(db, &row, &err), err);
    check_ok(ap_evaluate(&e, db, two_arms, 1, one_judge, 1, 50, 1, &err), err);
    check_ok(ap_evaluate_texts(&e, db, &err), err);
    assert_true(isnan(e.arms[0][0].answer_tokens.value));
    check_near(e.texts[0].monitors[at], 4, 1e-12, 0);
    ap_database_close(db);
}

static void check_refused(struct ap_database *db, char *const *arms, int n_arms,
                          char *const *judges, ap_status want, const char *part, const char *other)
{
    struct ap_error err = {0};
    static struct ap_evaluation e;
    assert_int_equal(ap_evaluate(&e, db, arms, n_arms, judges, 1, 50, 1, &err), want);
    check_holds(err.text, part);
    check_holds(err.text, other);
}

static void test_refusals(void **state)
{
    (void)state;
    struct ap_database *db = open_empty();
    char *long_name[] = {"an-arm-with-a-name-of-thirty-two-bytes"}, *twice[] = {"bare", "bare"},
         *other[] = {"heldout"}, *many[AP_ARMS_MAX + 1] = {0};
    check_refused(db, two_arms, 2, one_judge, AP_NOT_FOUND, "no answers of the arm 'bare'", "eval");
    put(db, "bare", 1, 1, -1, 0);
    check_refused(db, two_arms, 2, one_judge, AP_NOT_FOUND, "no answers of the arm 'align'",
                  "eval");
    put(db, "align", 1, 2, -1, 0);
    check_refused(db, two_arms, 2, other, AP_NOT_FOUND, "judge 'heldout'", "arm 'bare'");
    check_refused(db, two_arms, 2, one_judge, AP_NOT_FOUND, "no prompt and seed", "2 arms");
    check_refused(db, long_name, 1, one_judge, AP_LIMIT, "eval.arms", "at most 31");
    check_refused(db, twice, 2, one_judge, AP_INVALID, "'bare' twice", "remove one");
    check_refused(db, many, AP_ARMS_MAX + 1, one_judge, AP_LIMIT, "eval.arms", "17 names");
    check_refused(db, two_arms, 0, one_judge, AP_LIMIT, "0 names", "expected 1 to 16");
    ap_database_close(db);
}

/* Rows that arrived in another order are the same evaluation. */
static void test_order_of_rows(void **state)
{
    (void)state;
    static struct ap_evaluation first, second;
    struct ap_error err = {0};
    struct ap_database *a = open_empty(), *b = open_empty();
    for (int i = 0; i < 40; i++)
        for (int arm = 0; arm < 2; arm++) {
            put(a, two_arms[arm], i % 2, (uint64_t)(i / 2), -1, (i * 7 + arm * 3) % 11);
            int k = 39 - i;
            put(b, two_arms[1 - arm], k % 2, (uint64_t)(k / 2), -1, (k * 7 + (1 - arm) * 3) % 11);
        }
    check_ok(ap_evaluate(&first, a, two_arms, 2, one_judge, 1, 300, 1, &err), err);
    check_ok(ap_evaluate(&second, b, two_arms, 2, one_judge, 1, 300, 1, &err), err);
    struct ap_buffer x = {0}, y = {0};
    check_ok(ap_evaluation_json(&first, &x, &err), err);
    check_ok(ap_evaluation_json(&second, &y, &err), err);
    assert_string_equal(x.data, y.data);
    ap_buffer_free(&x);
    ap_buffer_free(&y);
    ap_database_close(a);
    ap_database_close(b);
}

/* ---- sentences ---- */

/* An evaluation written by hand, of two judges. */
static void by_hand(struct ap_evaluation *e)
{
    static const char *const arms[] = {"bare", "instruct", "sft", "align", "rlhf"};
    const struct ap_interval none = {NAN, NAN, NAN}, ended = {1, 1, 1};
    *e = (struct ap_evaluation){
        .n_judge = 2, .n_arm = 5, .n_bootstrap = 2000, .n_seed = 1, .seeds = {1}};
    strcpy(e->judges[0], "reward");
    strcpy(e->judges[1], "world");
    for (int j = 0; j < 2; j++)
        for (int a = 0; a < 5; a++) {
            struct ap_arm_statistics *s = &e->arms[j][a];
            for (int k = 0; k < ap_n_statistics; k++)
                *ap_statistic_at(s, k) = none;
            snprintf(s->name, sizeof(s->name), "%s", arms[a]);
            s->n_prompt = 200;
            s->n_seed = 3;
            s->mean = (struct ap_interval){a - 0.7, a - 0.8, a - 0.6};
            s->variance = (struct ap_interval){1.14 - 0.2 * a, 1.04 - 0.2 * a, 1.24 - 0.2 * a};
            s->delta_bare = (struct ap_interval){a, a - 0.15, a + 0.15};
            s->delta_rlhf = (struct ap_interval){a - 4, a - 4.1, a - 3.9};
            s->win_bare = (struct ap_interval){0.89, 0.86, 0.92};
            s->win_instruct = (struct ap_interval){0.71, 0.66, 0.75};
            s->share_bare = (struct ap_interval){0.85, 0.80, 0.91};
            s->share_instruct = (struct ap_interval){0.61, 0.50, 0.70};
            s->answer_ended = s->rewrite_ended = ended;
        }
    e->arms[0][3].kl = (struct ap_interval){3, 2.8, 3.2};
}

static struct ap_buffer sentences_of(const struct ap_evaluation *e)
{
    struct ap_error err = {0};
    struct ap_buffer out = {0};
    check_ok(ap_evaluation_sentences(e, &out, &err), err);
    return out;
}

static void check_lacks(const char *text, const char *part)
{
    if (strstr(text, part)) {
        fprintf(stderr, "'%s' holds '%s'\n", text, part);
        fail();
    }
}

static void test_sentences_of_a_gain(void **state)
{
    (void)state;
    static struct ap_evaluation e;
    by_hand(&e);
    struct ap_buffer text = sentences_of(&e);
    check_holds(text.data, "Judged by reward, the reward that training maximised:\n");
    check_holds(text.data, "200 test prompts, 3 seeds; higher is better");
    check_holds(text.data, "Align-Pro beats bare by 3.00 ± 0.15; RLHF is ahead by 1.00 ± 0.10; "
                           "85% [80, 91] of the gap is closed.\n");
    check_holds(text.data, "Align-Pro scores 2.30 on average and bare -0.70; it wins 89% [86, 92]");
    check_holds(text.data, "(instruct) it wins 71% [66, 75].");
    check_holds(text.data, "(sft) gains +2.00 [1.85, 2.15] against bare.");
    check_holds(text.data, "Of the gap from instruct to RLHF it closes 61% [50, 70].\n");
    check_holds(text.data, "from prompt to prompt is lower: 0.54 [0.44, 0.64] against bare's 1.14");
    check_holds(text.data, "3.00 [2.80, 3.20] nats (KL)");
    check_lacks(text.data, "Caution");
    check_lacks(text.data, "cut at the length limit");
    check_lacks(text.data, "nan");
    ap_buffer_free(&text);
}

/* A further pass is told against the last before it that was evaluated. */
static void test_sentences_of_passes(void **state)
{
    (void)state;
    static struct ap_evaluation e;
    by_hand(&e);
    struct ap_buffer text = sentences_of(&e);
    check_lacks(text.data, "Rewriting on");
    ap_buffer_free(&text);
    strcpy(e.arms[0][1].name, "align-1");
    strcpy(e.arms[0][2].name, "align-3");
    e.arms[0][2].delta_pass = (struct ap_interval){0.3, 0.2, 0.4};
    e.arms[0][3].delta_pass = (struct ap_interval){0.05, -0.02, 0.12};
    text = sentences_of(&e);
    check_holds(text.data,
                "Rewriting on after pass 1 gains +0.30 [0.20, 0.40] over stopping there.");
    check_holds(text.data, "Rewriting on after pass 3 makes no clear difference: +0.05 "
                           "[-0.02, 0.12] over stopping there.");
    ap_buffer_free(&text);
}

/* What is not there, not clear or not good is said so. */
static void test_sentences_of_doubt(void **state)
{
    (void)state;
    static struct ap_evaluation e;
    by_hand(&e);
    e.arms[1][3].delta_bare = (struct ap_interval){0.1, -0.1, 0.3};
    e.arms[1][2].delta_bare = (struct ap_interval){-0.5, -0.7, -0.3};
    e.arms[1][3].delta_rlhf = (struct ap_interval){0.5, 0.3, 0.7};
    e.arms[1][3].share_bare.value = NAN;
    e.arms[0][4].answer_ended.value = 0.88;
    e.n_dropped[1] = 12;
    struct ap_buffer text = sentences_of(&e);
    check_holds(text.data,
                "Align-Pro and bare cannot be told apart (+0.10 ± 0.20); RLHF is behind by 0.50 ± "
                "0.20; RLHF does not clearly beat bare, so there is no gap to close.\n");
    check_holds(text.data, "(sft) loses -0.50 [-0.70, -0.30] against bare");
    check_holds(text.data, "RLHF: 12% of the answers were cut at the length limit");
    check_holds(text.data, "Under world, 12 pairs of prompt and seed were left out");
    ap_buffer_free(&text);

    e.arms[0][3].delta_bare = (struct ap_interval){-0.4, -0.6, -0.2};
    text = sentences_of(&e);
    check_holds(text.data, "Align-Pro loses to bare by 0.40 ± 0.20; ");
    ap_buffer_free(&text);

    /* a lopsided interval is told as it is where its half width would say another thing of 0 */
    e.arms[0][3].delta_bare = (struct ap_interval){0.29, -0.01, 0.53};
    e.arms[1][3].delta_bare = (struct ap_interval){-0.17, -0.35, -0.004};
    text = sentences_of(&e);
    check_holds(text.data, "Align-Pro and bare cannot be told apart (+0.29 [-0.01, 0.53]); ");
    check_holds(text.data, "Align-Pro loses to bare by 0.17 [0.00, 0.35]; ");
    ap_buffer_free(&text);
}

static void test_sentences_of_one_prompt(void **state)
{
    (void)state;
    static struct ap_evaluation e;
    struct ap_error err = {0};
    struct ap_database *db = open_empty();
    put(db, "bare", 1, 1, -1, 0);
    put(db, "align", 1, 1, -1, 1);
    check_ok(ap_evaluate(&e, db, two_arms, 2, one_judge, 1, 50, 1, &err), err);
    struct ap_buffer text = sentences_of(&e);
    check_holds(text.data,
                "1 test prompt, 1 seed; higher is better; fewer than 10 prompts give no intervals");
    check_holds(text.data, "cannot be told apart (+1.00); without an RLHF arm the share of the gap "
                           "is n/a.\n");
    check_lacks(text.data, "nan");
    check_lacks(text.data, "[");
    ap_buffer_free(&text);
    ap_database_close(db);
}

/* ---- guards and noise ---- */

static void test_guards_are_counted_by_arm(void **state)
{
    (void)state;
    struct ap_database *db = open_empty();
    struct ap_error err = {0};
    static struct ap_evaluation e;
    struct ap_buffer text = {0};
    for (uint64_t record = 1; record <= 4; record++) {
        put(db, "bare", 4, record, -1, 1);
        put(db, "align", 4, record, -1, 2);
    }
    put(db, "align", 4, 1, 0, 1);
    check_ok(ap_database_guard(db, "align", 4, 1, -1, "number", "", &err), err);
    check_ok(ap_database_guard(db, "align", 4, 2, -1, "number", "", &err), err);
    check_ok(ap_database_guard(db, "align", 4, 4, -1, "empty", "", &err), err);
    check_ok(ap_database_guard(db, "align", 4, 1, 0, "url", "", &err), err); /* was not kept */
    check_ok(ap_database_guard(db, "sft", 4, 1, -1, "url", "", &err), err);  /* no arm of these */
    check_ok(ap_evaluate(&e, db, two_arms, 2, one_judge, 1, 20, 1, &err), err);
    check_ok(ap_evaluation_sentences(&e, &text, &err), err);
    check_holds(text.data, "Align-Pro: in place of 3 of 4 rewrites the prompt was sent as it is "
                           "(empty 1, number 2).\n");
    ap_buffer_clear(&text);
    check_ok(ap_evaluation_json(&e, &text, &err), err);
    json_t *root;
    check_ok(ap_json_parse(text.data, text.len, "evaluation", &root, &err), err);
    const json_t *guards = json_object_get(root, "guards"), *fired;
    assert_int_equal(json_array_size(guards), 1);
    fired = json_object_get(json_array_get(guards, 0), "fired");
    assert_int_equal(json_object_size(fired), 2);
    assert_int_equal(json_integer_value(json_object_get(fired, "number")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(guards, 0), "rewrites")), 4);
    json_decref(root);
    ap_buffer_free(&text);
    ap_database_close(db);
}

static void test_noise_beside_the_arms(void **state)
{
    (void)state;
    struct ap_database *db = open_empty();
    struct ap_error err = {0};
    static struct ap_evaluation e;
    struct ap_buffer text = {0};
    const double noise[] = {0, 0.05, 0.2};
    for (uint64_t record = 1; record <= 20; record++) {
        put(db, "bare", 4, record, -1, 1);
        put(db, "align", 4, record, -1, 2);
        put(db, "bare@0.05", 4, record, -1, 0.5);
        put(db, "align@0.05", 4, record, -1, record % 2 ? 1 : 2);
        put(db, "bare@0.2", 4, record, -1, 0);
    }
    check_ok(ap_evaluate(&e, db, two_arms, 2, one_judge, 1, 200, 1, &err), err);
    assert_int_equal(ap_evaluate_noise(&e, db, noise, 3, 1, &err), AP_NOT_FOUND);
    check_holds(err.text, "align@0.2");
    check_ok(ap_evaluate_noise(&e, db, noise, 2, 1, &err), err);
    assert_int_equal(e.n_noise, 2);
    check_near(e.noisy[0][0][1].value, 2, 1e-12, 0); /* the arm's own rows */
    check_near(e.noisy[1][0][0].value, 0.5, 1e-12, 0);
    check_near(e.noisy[1][0][1].value, 1.5, 1e-12, 0);
    assert_true(e.noisy[1][0][1].low < 1.5 && e.noisy[1][0][1].high > 1.5);
    check_near(e.arms[0][1].mean.value, 2, 1e-12, 0);
    check_ok(ap_evaluation_json(&e, &text, &err), err);
    json_t *root;
    check_ok(ap_json_parse(text.data, text.len, "evaluation", &root, &err), err);
    const json_t *level = json_array_get(json_object_get(root, "noise"), 1),
                 *arms = json_object_get(json_object_get(level, "judges"), "reward");
    check_near(json_real_value(json_object_get(level, "strength")), 0.05, 1e-12, 0);
    check_near(json_real_value(json_object_get(json_object_get(arms, "align"), "value")), 1.5,
               1e-12, 0);
    json_decref(root);
    ap_buffer_free(&text);
    ap_database_close(db);
}

/* ---- table, JSON, CSV ---- */

static void test_table_fits(void **state)
{
    (void)state;
    static struct ap_evaluation e;
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    struct ap_database *db = synthetic_run(60, 2);
    synthetic_evaluation(&e, db);
    check_ok(ap_evaluation_table(&e, &text, &err), err);
    if (getenv("REPORT_TABLE"))
        fputs(text.data, stdout);
    check_holds(text.data, "judge: reward (60 prompts, 2 seeds)\n");
    check_holds(text.data, "judge: world (60 prompts, 2 seeds)\n");
    check_holds(text.data, "\nAlign-Pro ");
    check_lacks(text.data, "nan");
    char *rest = text.data, *line;
    while ((line = strsep(&rest, "\n"))) {
        assert_in_range(strlen(line), 0, 100);
        assert_true(!*line || line[strlen(line) - 1] != ' ');
    }
    ap_buffer_free(&text);
    ap_database_close(db);
}

/* Scores of any size keep the table's columns. */
static void test_table_of_large_scores(void **state)
{
    (void)state;
    static struct ap_evaluation e;
    struct ap_error err = {0};
    const double scales[] = {1e-3, 50, 500, 5e4, -5e4, 1e6};
    for (size_t i = 0; i < AP_LEN(scales); i++) {
        struct ap_buffer text = {0};
        double s = scales[i];
        by_hand(&e);
        for (int a = 0; a < 5; a++)
            e.arms[0][a].mean = e.arms[0][a].delta_bare =
                (struct ap_interval){s, s - fabs(s) / 9, s + fabs(s) / 9};
        check_ok(ap_evaluation_table(&e, &text, &err), err);
        char *rest = text.data, *line;
        while ((line = strsep(&rest, "\n")))
            assert_in_range(strlen(line), 0, s > -1 && s < 1e5 ? 100 : 120);
        ap_buffer_free(&text);
    }
}

static double number_at(const json_t *arm, const char *metric, const char *key)
{
    const json_t *value = json_object_get(json_object_get(arm, metric), key);
    assert_non_null(value);
    return json_is_null(value) ? NAN : json_real_value(value);
}

static void test_json(void **state)
{
    (void)state;
    static struct ap_evaluation e;
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    json_t *root;
    by_hand(&e);
    check_ok(ap_evaluation_json(&e, &text, &err), err);
    check_ok(ap_json_parse(text.data, text.len, "evaluation", &root, &err), err);
    assert_int_equal(json_integer_value(json_object_get(root, "bootstrap")), 2000);
    assert_int_equal(json_array_size(json_object_get(root, "seeds")), 1);
    const json_t *judge = json_array_get(json_object_get(root, "judges"), 0),
                 *arm = json_array_get(json_object_get(judge, "arms"), 3);
    assert_string_equal(json_string_value(json_object_get(judge, "judge")), "reward");
    assert_string_equal(json_string_value(json_object_get(arm, "arm")), "align");
    assert_string_equal(json_string_value(json_object_get(arm, "shown")), "Align-Pro");
    assert_int_equal(json_integer_value(json_object_get(arm, "prompts")), 200);
    for (int k = 0; k < ap_n_statistics; k++) { /* every number with its interval */
        const struct ap_interval *x = ap_statistic_at(&e.arms[0][3], k);
        const double want[] = {x->value, x->low, x->high};
        static const char *const keys[] = {"value", "low", "high"};
        for (int i = 0; i < 3; i++) {
            double got = number_at(arm, ap_statistics[k].name, keys[i]);
            assert_true((isnan(got) && isnan(want[i])) || fabs(got - want[i]) < 1e-12);
        }
    }
    json_decref(root);
    ap_buffer_free(&text);

    strcpy(e.judges[0], "\xFF"); /* not UTF-8 */
    assert_int_equal(ap_evaluation_json(&e, &text, &err), AP_INVALID);
    check_holds(err.text, "UTF-8");
    ap_buffer_free(&text);
}

static int n_commas(const char *line)
{
    int n = 0;
    for (; *line && *line != '\n'; line++)
        n += *line == ',';
    return n;
}

static void test_csv(void **state)
{
    (void)state;
    static struct ap_evaluation e;
    struct ap_error err = {0};
    struct ap_buffer text = {0};
    by_hand(&e);
    strcpy(e.judges[1], "my \"own\"");
    check_ok(ap_evaluation_csv(&e, &text, &err), err);
    check_holds(text.data, "judge,arm,prompts,seeds,mean,mean_low,mean_high,variance,");
    check_holds(text.data, "\n\"reward\",\"align\",200,3,2.3,2.2,2.4,0.54,0.44,0.64,3,2.85,3.15,,,,"
                           "-1,-1.1,-0.9,0.89,");
    check_holds(text.data, "\n\"my \"\"own\"\"\",\"bare\",");
    int n = 0;
    for (const char *line = text.data; *line; line = strchr(line, '\n') + 1, n++)
        assert_int_equal(n_commas(line), 3 + 3 * ap_n_statistics);
    assert_int_equal(n, 1 + 2 * 5);
    ap_buffer_free(&text);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_string_equal(ap_number(-0.001, 2, false).text, "0.00");
    assert_string_equal(ap_number(0.001, 2, true).text, "0.00");
    assert_string_equal(ap_number(1.5, 1, true).text, "+1.5");
    assert_string_equal(ap_number(-NAN, 1, true).text, "-");
    assert_string_equal(ap_percent(0.895).text, "90%");
    assert_string_equal(ap_percent(NAN).text, "-");
    assert_string_equal(ap_with_range((struct ap_interval){1, NAN, NAN}, 1, false).text, "1.0");
    assert_string_equal(ap_percent_with_range((struct ap_interval){.5, .4, .6}).text,
                        "50% [40, 60]");
    assert_string_equal(ap_arm_shown("align"), "Align-Pro");
    assert_string_equal(ap_arm_shown("mine"), "mine");
    assert_string_equal(ap_judge_meaning("mine"), "one of the recipe's rewards");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_to_statistics),
        cmocka_unit_test(test_lengths_agree),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_order_of_rows),
        cmocka_unit_test(test_sentences_of_a_gain),
        cmocka_unit_test(test_sentences_of_passes),
        cmocka_unit_test(test_sentences_of_doubt),
        cmocka_unit_test(test_sentences_of_one_prompt),
        cmocka_unit_test(test_guards_are_counted_by_arm),
        cmocka_unit_test(test_noise_beside_the_arms),
        cmocka_unit_test(test_table_fits),
        cmocka_unit_test(test_table_of_large_scores),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
