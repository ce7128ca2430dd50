/* What watches the stages that learn from reward, by the program itself: a held-out reward that
 * picks the step, a seed of the stage's own, valid prompts, what is refused. */
#include "program.h"

#include <jansson.h>
#include <sqlite3.h>

static json_t *load_json(const char *path)
{
    json_error_t where;
    json_t *o = json_load_file(path, 0, &where);
    if (!o)
        fprintf(stderr, "%s: %s\n", path, where.text);
    assert_non_null(o);
    return o;
}

static const char watched[] =
    "rewards:\n"
    "  main: {model: target, adapter: {rank: 4}, pairs: half-a}\n"
    "  heldout: {model: target, adapter: {rank: 4}, pairs: half-b, weight: 0}\n";

static int64_t number_of_done(const char *run, const char *stage, const char *key)
{
    char name[64];
    snprintf(name, sizeof(name), "%s/DONE", stage);
    json_t *o = load_json(in_folder(run, name));
    assert_true(json_is_integer(json_object_get(o, key)));
    int64_t n = json_integer_value(json_object_get(o, key));
    json_decref(o);
    return n;
}

/* Rows of run.db that a query counts. */
static int64_t count_rows(const char *run, const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *query;
    assert_int_equal(sqlite3_open(in_folder(run, "run.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &query, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(query, 0);
    sqlite3_finalize(query);
    sqlite3_close(db);
    return n;
}

static void test_a_held_out_reward_picks_the_step(void **state)
{
    struct tiny_recipe r = tiny_recipe_default;
    struct program p = {0};
    char recipe[300], run[300];
    snprintf(run, sizeof(run), "%s/run", (const char *)*state);
    r.reward = watched;
    put_recipe(*state, "recipe.yaml", &r);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    program_must(&p, *state, "rlhf", recipe, "--set", "align.valid_every=2", "--set",
                 "align.lr=1e-2");
    int64_t half_a = number_of_done(run, "reward-main", "pairs");
    int64_t half_b = number_of_done(run, "reward-heldout", "pairs");
    assert_true(half_a > 0 && half_b > 0);
    assert_int_equal(number_of_done(run, "reward-main", "valid"),
                     number_of_done(run, "reward-heldout", "valid"));
    program_must(&p, *state, "align", recipe, "--set", "align.valid_every=2", "--set",
                 "align.lr=1e-2");
    check_holds(p.text, "align     step 0: heldout ");
    check_holds(p.text, "align     keeps step ");
    int64_t step = number_of_done(run, "align", "kept_step");
    assert_true(step == 0 || step == 2 || step == 4 || step == 5);
    /* steps 0, 2, 4, 5 of align and 0, 2, 3 of rlhf: reward, main, heldout, kl */
    assert_int_equal(count_rows(run, "SELECT count(*) FROM metrics WHERE name LIKE 'valid!_%' "
                                     "ESCAPE '!' AND stage IN ('align', 'rlhf')"),
                     7 * 4);
    /* its value is the greatest, and no earlier one is as great */
    char text[400];
    snprintf(text, sizeof(text),
             "SELECT count(*) FROM metrics a JOIN metrics b USING (stage, name) WHERE stage = "
             "'align' AND name = 'valid_heldout' AND a.step = %d AND (b.value > a.value OR "
             "(b.value = a.value AND b.step < a.step))",
             (int)step);
    assert_int_equal(count_rows(run, text), 0);

    program_must(&p, *state, "inspect", in_folder(*state, "run/align"));
    snprintf(text, sizeof(text), "best/step-%08d, whole", (int)step);
    check_holds(p.table, text);
    snprintf(text, sizeof(text), "\"kept_step\": %d", (int)step);
    check_holds(p.table, text);

    /* all pairs, and as many as both halves */
    program_must(&p, *state, "reward", recipe, "--set", "run.dir=all", "--set",
                 "rewards.main.pairs=all");
    assert_int_equal(number_of_done(in_folder(*state, "all"), "reward-main", "pairs"),
                     half_a + half_b);
}

/* A seed of its own is another stage on the same reward and the same start. */
static void test_a_stage_s_own_seed(void **state)
{
    struct tiny_recipe r = tiny_recipe_default;
    struct program p = {0};
    char recipe[300], a[300], b[300];
    put_recipe(*state, "recipe.yaml", &r);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    program_must(&p, *state, "align", recipe);
    program_must(&p, *state, "align", recipe, "--set", "align.seed=1", "--set", "run.dir=same");
    program_must(&p, *state, "align", recipe, "--set", "align.seed=7", "--set", "run.dir=other");
    static const char *const stages[] = {"reward", "sft", "align"};
    for (int i = 0; i < 3; i++) {
        snprintf(a, sizeof(a), "%s/run/%s/final/adapter_model.safetensors", (const char *)*state,
                 stages[i]);
        snprintf(b, sizeof(b), "%s/same/%s/final/adapter_model.safetensors", (const char *)*state,
                 stages[i]);
        check_same_file(a, b);
        snprintf(b, sizeof(b), "%s/other/%s/final/adapter_model.safetensors", (const char *)*state,
                 stages[i]);
        if (i < 2)
            check_same_file(a, b);
    }
    struct ap_buffer x = get_file(a), y = get_file(b);
    assert_true(x.len == y.len && memcmp(x.data, y.data, x.len) != 0);
    ap_buffer_free(&x);
    ap_buffer_free(&y);
}

static void test_what_cannot_be_validated_is_refused(void **state)
{
    static const struct {
        const char *set[2], *part, *other;
    } cases[] = {
        {{"align.valid_every=2", "data.split.valid=0"},
         "none of them a valid prompt",
         "align.valid_path"},
        {{"align.valid_every=2", "align.valid_path=gone.jsonl"}, "align.valid_path", "gone.jsonl"},
        {{"align.valid_every=2", "align.valid_judge=world"}, "valid_judge", "no meta"},
        {{"align.valid_every=2", "align.valid_judge=nobody"},
         "align.valid_judge",
         "expected one of"},
        {{"align.keep=best", "align.prompts=3"}, "align.keep", "valid_every is 0"},
        {{"align.patience=3", "align.prompts=3"}, "align.patience", "valid_every is 0"},
        {{"monitor.gap=0.2", "align.prompts=3"}, "monitor.gap", "nothing is validated"},
        {{"align.seed=0", "align.prompts=3"}, "align.seed", "0"},
        {{"rewards.main.pairs=half-c", "align.prompts=3"}, "pairs", "half-c"},
    };
    struct tiny_recipe r = tiny_recipe_default;
    struct program p = {0};
    char recipe[300];
    r.reward = watched;
    put_recipe(*state, "recipe.yaml", &r);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    for (size_t i = 0; i < AP_LEN(cases); i++) {
        int code =
            program_run(&p, *state, "align", recipe, "--set", cases[i].set[0], "--set",
                        cases[i].set[1], "--set", i == 0 ? "data.split.test=0.4" : "run.threads=1");
        check_refused(&p, code, code == 2 ? 2 : 1, cases[i].part, cases[i].other);
        assert_true(access(in_folder(*state, "run"), F_OK) != 0); /* before anything is trained */
    }
}

/* A file of its own whose prompts are all but two trained on: those two are left. */
static void test_valid_prompts_that_are_trained_on_are_left_out(void **state)
{
    struct tiny_recipe r = tiny_recipe_default;
    struct program p = {0};
    char recipe[300];
    put_recipe(*state, "recipe.yaml", &r);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    put_text(*state, "other.jsonl",
             "{\"prompt\": \"about the newt 1\"}\n{\"prompt\": \"about the newt 2\"}\n");
    program_must(&p, *state, "align", recipe, "--set", "align.valid_every=5", "--set",
                 "align.valid_path=other.jsonl");
    check_holds(p.text, "on 2 valid prompts");
    program_must(&p, *state, "align", recipe, "--set", "align.valid_every=5", "--set",
                 "align.valid_path=pairs.jsonl", "--set", "run.dir=overlap");
    check_holds(p.text, "valid prompts are trained on and left out");
    int code =
        program_run(&p, *state, "align", recipe, "--set", "align.valid_every=5", "--set",
                    "align.path=other.jsonl", "--set", "align.valid_path=other.jsonl", "--set",
                    "data.split.train=1", "--set", "data.split.valid=0", "--set",
                    "data.split.test=0", "--set", "run.dir=none", "--set", "eval.path=other.jsonl");
    check_refused(&p, code, 1, "none of its 2 valid prompts is left", "2 are trained on");
}

/* -- monitors -- */

static void test_monitors_are_recorded_and_stop_a_stage(void **state)
{
    struct tiny_recipe r = tiny_recipe_default;
    struct program p = {0};
    char recipe[300], run[300];
    put_recipe(*state, "recipe.yaml", &r);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    snprintf(run, sizeof(run), "%s/run", (const char *)*state);
    program_must(&p, *state, "rlhf", recipe);
    program_must(&p, *state, "align", recipe);
    /* 5 steps of align: repetition, missing_end, copy, drift and both lengths; 3 of rlhf: three */
    assert_int_equal(count_rows(run, "SELECT count(*) FROM metrics WHERE name IN ('repetition', "
                                     "'missing_end', 'copy', 'drift', 'rewrite_length', "
                                     "'answer_length')"),
                     5 * 6 + 3 * 3);
    assert_int_equal(count_rows(run,
                                "SELECT count(*) FROM metrics WHERE name IN ('repetition', "
                                "'missing_end', 'copy', 'drift') AND value NOT BETWEEN 0 AND 1"),
                     0);
    program_must(&p, *state, "align", recipe, "--set", "run.dir=stopped", "--set",
                 "monitor.answer_length=0.5,1", "--set", "monitor.rewrite_length=0.5");
    check_holds(p.text, "step 0: rewrite_length is ");
    check_holds(p.text, "the warning of monitor.rewrite_length, 0.5");
    check_holds(p.text, "beyond the stop of monitor.answer_length, 1; the stage ends here");
    check_holds(p.text, "keeps step 0; it ended after step 0 of 5: answer_length");
    assert_int_equal(number_of_done(in_folder(*state, "stopped"), "align", "kept_step"), 0);
}

static void test_limits_that_make_no_sense_are_refused(void **state)
{
    static const char *const cases[][3] = {
        {"monitor.repetition=0.3,0.2", "monitor.repetition", "expected a stop above the warning"},
        {"monitor.repetition=0.3,0.3", "monitor.repetition", "expected a stop above the warning"},
        {"monitor.gap=1,2,3", "monitor.gap has 3 numbers", "at most two"},
        {"monitor.drift=-0.1", "monitor.drift", "-0.1"},
        {"monitor.copy=1.5", "monitor.copy", "1.5"},
        {"monitor.boredom=1", "unknown key", "monitor.boredom"},
    };
    struct tiny_recipe r = tiny_recipe_default;
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &r);
    for (size_t i = 0; i < AP_LEN(cases); i++) {
        int code = program_run(&p, *state, "align", in_folder(*state, "recipe.yaml"), "--set",
                               cases[i][0]);
        assert_true(code == 1 || code == 2);
        check_refused(&p, code, code, cases[i][1], cases[i][2]);
    }
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, program_setup, program_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_a_held_out_reward_picks_the_step),
        WITH_FOLDER(test_a_stage_s_own_seed),
        WITH_FOLDER(test_what_cannot_be_validated_is_refused),
        WITH_FOLDER(test_valid_prompts_that_are_trained_on_are_left_out),
        WITH_FOLDER(test_monitors_are_recorded_and_stop_a_stage),
        WITH_FOLDER(test_limits_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
