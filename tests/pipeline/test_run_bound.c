/* `alignpro bound` on tiny runs: what it says of a prompter that is its own start, of targets whose
 * log-probabilities are not the model's, of recipes that lack a side; that a kill changes nothing;
 * what is refused. */
#include "program.h"

#include "base/json.h"
#include <math.h>
#include <sqlite3.h>

/* Seconds: few answers, and no other stage than it needs. */
#define SMALL                                                                                      \
    "--set", "bound.rewrites=3", "--set", "bound.answers=4", "--set", "bound.scored=2", "--set",   \
        "bound.bootstrap=200"

static json_t *told_of(const char *run)
{
    json_t *o = NULL;
    struct ap_error err;
    check_ok(ap_json_load(in_folder(run, "bound.json"), 1 << 20, &o, &err), err);
    return o;
}

static double number(const json_t *o, const char *name, const char *end)
{
    const json_t *x = json_object_get(json_object_get(o, name), end);
    return json_is_number(x) ? json_number_value(x) : NAN;
}

/* As a run from weights of its own, with the rule's reward: no stage but pretrain and align. */
static struct tiny_recipe quick(const char *more)
{
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "rule: length, length: 12";
    r.sft = "source: none";
    r.arms = "bare, align";
    r.more = more;
    return r;
}

static void test_every_term_of_a_run(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = quick("");
    put_recipe(*state, "recipe.yaml", &r);
    const char *recipe = in_folder(*state, "recipe.yaml");
    program_must(&p, *state, "bound", recipe, SMALL);
    check_holds(p.table, "With 3 rewrites of");
    check_holds(p.table, "The trained prompter reached");
    check_holds(p.table, "Their sum:");
    json_t *o = told_of(in_folder(*state, "run"));
    const double lacks = number(o, "lacks", "value"), disturbs = number(o, "disturbs", "value");
    const double r_max = json_number_value(json_object_get(o, "r_max"));
    assert_true(lacks >= 0 && lacks <= r_max && disturbs > 0 && disturbs <= r_max);
    check_near(number(o, "sum", "value"), lacks + disturbs - number(o, "wins_back", "value"), 0,
               1e-12);
    check_near(number(o, "gain", "value"),
               number(o, "j_trained", "value") - number(o, "j_sft", "value"), 0, 1e-12);
    assert_true(number(o, "lower", "value") <= number(o, "plug_in", "value"));
    assert_true(number(o, "j_sft", "value") <= number(o, "plug_in", "value"));
    json_decref(o);
    struct ap_buffer page = get_file(in_folder(*state, "run/report.html"));
    check_holds(page.data, "How far prompting can get");
    ap_buffer_free(&page);

    /* again: nothing is sampled, and lambda is no sample's */
    program_must(&p, *state, "bound", recipe, SMALL, "--set", "bound.kl=0.5");
    check_holds(p.text, "bound     is there already");
    check_holds(p.table, "at lambda 0.5");
    program_must(&p, *state, "inspect", in_folder(*state, "run"));
    check_holds(p.table, "bound");
}

/* ρ_θ = ρ_sft, on the same streams: the same rewrites, answers and rewards. */
static void test_a_prompter_that_is_its_start_gains_nothing(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = quick("");
    r.steps = 0;
    put_recipe(*state, "recipe.yaml", &r);
    program_must(&p, *state, "bound", in_folder(*state, "recipe.yaml"), SMALL);
    json_t *o = told_of(in_folder(*state, "run"));
    check_near(number(o, "gain", "value"), 0, 0, 1e-9);
    check_near(number(o, "wins_back", "value"), 0, 0, 1e-9);
    assert_true(number(o, "gain", "low") <= 1e-9 && number(o, "gain", "high") >= -1e-9);
    json_decref(o);
}

static void test_terms_that_cannot_be_had_are_named(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = quick("");
    put_recipe(*state, "recipe.yaml", &r);
    program_must(&p, *state, "bound", in_folder(*state, "recipe.yaml"), SMALL, "--set",
                 "target.top_p=0.9");
    check_holds(p.table, "What rewriting disturbs: not available:");
    check_holds(p.table, "top_p cuts its distribution");
    check_holds(p.table, "What optimisation wins back: ");
    check_holds(p.table, "Their sum is not available");
    json_t *o = told_of(in_folder(*state, "run"));
    assert_true(isnan(number(o, "sum", "value")) && !isnan(number(o, "lower", "value")));
    assert_true(isnan(number(o, "lacks", "value")) && isnan(number(o, "disturbs", "value")));
    json_decref(o);
}

static void change(const char *run, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(in_folder(run, "run.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_true(sqlite3_changes(db) > 0);
    sqlite3_close(db);
}

/* As the samples of a target behind an API would be. */
static void test_a_target_without_log_probabilities(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = quick("");
    put_recipe(*state, "recipe.yaml", &r);
    program_must(&p, *state, "bound", in_folder(*state, "recipe.yaml"), SMALL);
    change(in_folder(*state, "run"), "UPDATE bounds SET logp = NULL, logq = NULL");
    program_must(&p, *state, "bound", in_folder(*state, "recipe.yaml"), SMALL);
    check_holds(p.table,
                "What the frozen model lacks: not available: this target gives no log-prob");
    check_holds(p.table, "What rewriting disturbs: not available: this target gives no log-prob");
    check_holds(p.table, "With 3 rewrites of");
}

/* No answer is ever paid: the range that was seen is none, that of the rule is 1. */
static void test_a_reward_with_a_range_of_its_own(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = quick("");
    r.reward = "rule: regex, pattern: 'no answer says this'";
    put_recipe(*state, "recipe.yaml", &r);
    program_must(&p, *state, "bound", in_folder(*state, "recipe.yaml"), SMALL);
    check_holds(p.table, "R_max 1.000 is the range of the reward:");
    json_t *o = told_of(in_folder(*state, "run"));
    check_near(json_number_value(json_object_get(o, "r_max")), 1, 0, 0);
    assert_true(json_is_true(json_object_get(o, "r_max_known")));
    assert_true(number(o, "disturbs", "value") > 0);
    json_decref(o);
}

static void train(void **state, struct program *p, const char *dir)
{
    char set[64];
    snprintf(set, sizeof(set), "run.dir=%s", dir);
    program_must(p, *state, "rlhf", in_folder(*state, "recipe.yaml"), "--set", set);
    program_must(p, *state, "align", in_folder(*state, "recipe.yaml"), "--set", set);
}

/* As if it had been killed there: the last prompts of one policy and all of another are missing. */
static void take_away(const char *run)
{
    change(run, "DELETE FROM bounds WHERE policy = 'rlhf' OR (policy = 'align' "
                "AND record > (SELECT min(record) FROM bounds))");
    assert_int_equal(unlink(in_folder(run, "bound/DONE")), 0);
    assert_int_equal(unlink(in_folder(run, "bound.json")), 0);
}

/* Killed where it stands, gone on with another batch: the same numbers. */
static void test_a_kill_changes_no_byte(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = quick("");
    char recipe[512], whole[600], part[600];
    put_recipe(*state, "recipe.yaml", &r);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    train(state, &p, "whole");
    train(state, &p, "part");
    program_must(&p, *state, "bound", recipe, SMALL, "--set", "run.dir=whole");
    for (int i = 0; i < 4; i++) {
        program_start(&p, *state,
                      (const char *const[]){"bound", recipe, SMALL, "--set", "run.dir=part",
                                            "--set", "run.batch=3", NULL});
        if (program_says(&p, "for the ceiling")) {
            program_sleep(0.02 * i);
            kill(p.pid, SIGKILL);
        }
        program_wait(&p);
    }
    program_must(&p, *state, "bound", recipe, SMALL, "--set", "run.dir=part", "--set",
                 "run.batch=5");
    snprintf(whole, sizeof(whole), "%s/whole/bound.json", (const char *)*state);
    snprintf(part, sizeof(part), "%s/part/bound.json", (const char *)*state);
    check_same_file(whole, part);
    take_away(in_folder(*state, "part"));
    program_must(&p, *state, "bound", recipe, SMALL, "--set", "run.dir=part");
    check_same_file(whole, part);

    /* other samples are asked for: they are drawn anew, and their number says so */
    program_must(&p, *state, "bound", recipe, SMALL, "--set", "run.dir=part", "--set",
                 "bound.rewrites=2");
    check_holds(p.table, "With 2 rewrites of");
}

static void test_what_is_refused(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = quick("");
    char recipe[512];
    put_recipe(*state, "recipe.yaml", &r);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    int code = program_run(&p, *state, "bound", recipe, "--set", "bound.answers=1");
    check_refused(&p, code, 1, "bound.answers", "2");
    code = program_run(&p, *state, "bound", recipe, "--set", "bound.scored=17");
    check_refused(&p, code, 1, "bound.scored is 17", "bound.answers 16");
    code = program_run(&p, *state, "bound", recipe, "--set", "align.kl=0");
    check_refused(&p, code, 1, "bound.kl", "set bound.kl above 0");
    code = program_run(&p, *state, "bound", recipe, "--set", "eval.path=none.jsonl");
    check_refused(&p, code, 1, "eval.path", "none.jsonl");
    assert_true(access(in_folder(*state, "run"), F_OK) != 0);

    program_must(&p, *state, "align", recipe);
    program_must(&p, *state, "rlhf", recipe);
    assert_int_equal(ap_dir_remove(in_folder(*state, "run/align/final"), NULL), AP_OK);
    code = program_run(&p, *state, "bound", recipe, SMALL);
    check_refused(&p, code, 1, "bound: align has no checkpoint",
                  "`alignpro align RECIPE` makes it");
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_setup, program_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_every_term_of_a_run),
        WITH_FOLDER(test_a_prompter_that_is_its_start_gains_nothing),
        WITH_FOLDER(test_terms_that_cannot_be_had_are_named),
        WITH_FOLDER(test_a_target_without_log_probabilities),
        WITH_FOLDER(test_a_reward_with_a_range_of_its_own),
        WITH_FOLDER(test_a_kill_changes_no_byte),
        WITH_FOLDER(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
