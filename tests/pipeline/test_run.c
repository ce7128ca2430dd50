/* A recipe's stages from random weights to a report, by the program itself: both algorithms, with
 * and without adapters, every kind of reward and source of rewrites; what a second run does; what
 * is refused before anything is trained. Interruptions are in test_run_resume.c. */
#include "program.h"

#include "store/database.h"
#include "store/event_files.h"

#include <jansson.h>
#include <sqlite3.h>
#include <sys/stat.h>

/* -- what a run leaves -- */

static json_t *load_json(const char *path)
{
    json_error_t where;
    json_t *o = json_load_file(path, 0, &where);
    if (!o)
        fprintf(stderr, "%s: %s\n", path, where.text);
    assert_non_null(o);
    return o;
}

static int count_lines(const char *path)
{
    struct ap_buffer text = get_file(path);
    int n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] == '\n';
    ap_buffer_free(&text);
    return n;
}

static void check_pages(const char *run, int n_arm)
{
    json_t *o = load_json(in_folder(run, "eval.json"));
    const json_t *judge = json_array_get(json_object_get(o, "judges"), 0);
    assert_int_equal(json_array_size(json_object_get(judge, "arms")), n_arm);
    json_decref(o);
    assert_int_equal(count_lines(in_folder(run, "eval.csv")), n_arm + 1);
    struct ap_buffer page = get_file(in_folder(run, "report.html"));
    check_holds(page.data, "<html");
    check_holds(page.data, "Align-Pro");
    ap_buffer_free(&page);
}

/* TensorBoard's copy of eval.json's means, in as many files as there were evaluations. */
static void check_eval_events(const char *run, int n_file)
{
    json_t *o = load_json(in_folder(run, "eval.json"));
    struct event_run events = read_events(in_folder(run, "tb/eval"));
    size_t k, i;
    const json_t *judge, *arm;
    int n = 0;
    json_array_foreach(json_object_get(o, "judges"), k, judge)
        json_array_foreach(json_object_get(judge, "arms"), i, arm)
    {
        char tag[80];
        snprintf(tag, sizeof(tag), "eval/%s/%s", json_string_value(json_object_get(judge, "judge")),
                 json_string_value(json_object_get(arm, "arm")));
        assert_true(n < events.n);
        assert_string_equal(events.points[n].tag, tag);
        json_t *mean = json_object_get(json_object_get(arm, "mean"), "value");
        check_near(events.points[n++].value, json_number_value(mean), 1e-6, 1e-6);
    }
    assert_true(n >= 4);
    assert_int_equal(n, events.n);
    assert_int_equal(events.n_file, n_file);
    free(events.points);
    json_decref(o);
}

struct metrics {
    int n_align, n_rlhf, n_sft, n_reward;
    double first_kl;
};

static ap_status take_metric(void *context, const char *stage, int64_t step, const char *name,
                             double value)
{
    struct metrics *m = context;
    m->n_align += !strcmp(stage, "align");
    m->n_rlhf += !strcmp(stage, "rlhf");
    m->n_sft += !strcmp(stage, "sft");
    m->n_reward += !strncmp(stage, "reward", strlen("reward"));
    assert_true(isfinite(value));
    if (!strcmp(stage, "align") && step == 0 && !strcmp(name, "kl"))
        m->first_kl = value;
    return AP_OK;
}

static struct metrics metrics_of(const char *run)
{
    struct metrics m = {.first_kl = -1};
    struct ap_database *db;
    struct ap_error err;
    check_ok(ap_database_open(&db, in_folder(run, "run.db"), &err), err);
    check_ok(ap_database_each_metric(db, take_metric, &m, &err), err);
    ap_database_close(db);
    return m;
}

static bool has_stage(const char *run, const char *stage)
{
    char name[64];
    snprintf(name, sizeof(name), "%s/DONE", stage);
    return access(in_folder(run, name), R_OK) == 0;
}

static int count_arms(const struct tiny_recipe *recipe)
{
    int n = 1;
    for (const char *at = recipe->arms; *at; at++)
        n += *at == ',';
    return n;
}

/* All of a recipe, then again: nothing is done twice. */
static void check_whole_run(const char *folder, const struct tiny_recipe *recipe, bool rewards,
                            bool sft)
{
    struct program p = {0};
    char run[512], final[700];
    snprintf(run, sizeof(run), "%s/run", folder);
    put_recipe(folder, "recipe.yaml", recipe);
    program_must(&p, folder, "run", in_folder(folder, "recipe.yaml"));
    check_holds(p.table, "judge: reward");
    check_holds(p.table, "/run/report.html");
    assert_true(has_stage(run, "pretrain") && has_stage(run, "align"));
    assert_true(has_stage(run, "rlhf") && has_stage(run, "eval"));
    assert_int_equal(has_stage(run, "reward"), rewards);
    assert_int_equal(has_stage(run, "sft"), sft);
    check_pages(run, count_arms(recipe));
    check_eval_events(run, 1);
    assert_true(final_of(final, sizeof(final), run, "align"));
    assert_int_equal(strstr(final, "adapter_model") != NULL, strcmp(recipe->adapter, "none") != 0);

    struct metrics m = metrics_of(run);
    assert_true(m.n_align >= 5 * 8 && m.n_rlhf >= 3 * 8);
    assert_true((m.n_sft > 0) == sft && (m.n_reward > 0) == rewards);
    assert_true(m.first_kl == 0); /* math.md (13) */

    struct ap_buffer before = get_file(in_folder(run, "eval.json"));
    program_must(&p, folder, "run", in_folder(folder, "recipe.yaml"));
    check_holds(p.text, "align     is there already");
    check_holds(p.text, "eval      is there already");
    assert_null(strstr(p.text, "steps)"));
    check_holds(p.table, "judge: reward"); /* the table all the same */
    check_eval_events(run, 1);
    struct ap_buffer after = get_file(in_folder(run, "eval.json"));
    assert_string_equal(before.data, after.data);
    ap_buffer_free(&before);
    ap_buffer_free(&after);
}

static void test_rloo_with_adapters_and_a_head(void **state)
{
    check_whole_run(*state, &tiny_recipe_default, true, true);
}

static void test_ppo_on_whole_models_with_an_implicit_reward(void **state)
{
    struct tiny_recipe r = tiny_recipe_default;
    r.algorithm = "ppo";
    r.adapter = "none";
    r.reward = "model: target, adapter: none, kind: implicit";
    r.sft = "source: best-of-n, n: 3, prompts: 12";
    check_whole_run(*state, &r, true, true);
    const char *lines = in_folder(*state, "run/sft/best-of-n.jsonl");
    assert_in_range(count_lines(lines), 6, 12);
}

static void test_rloo_on_whole_models_with_a_rule(void **state)
{
    struct tiny_recipe r = tiny_recipe_default;
    r.adapter = "none";
    r.reward = "rule: length, length: 12";
    r.sft = "source: none";
    check_whole_run(*state, &r, false, false);
    assert_true(access(in_folder(*state, "run/reward/normaliser.json"), R_OK) != 0);
}

/* The program stands beside the recipe, and the run directory's own recipe finds it, too. */
static void test_rloo_with_a_command(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    put_score_command(*state);
    r.reward = "command: [sh, score.sh]";
    r.sft = "source: best-of-n, n: 2, prompts: 8";
    check_whole_run(*state, &r, false, true);
    program_must(&p, *state, "eval", in_folder(*state, "run/recipe.yaml"), "--set", "eval.seeds=3");
    put_text(*state, "score.sh", "echo no reason >&2; exit 4\n");
    int code =
        program_run(&p, *state, "eval", in_folder(*state, "recipe.yaml"), "--set", "eval.seeds=4");
    check_refused(&p, code, 1, "reward command 'sh score.sh': ended twice (last: exit status 4)",
                  "it said last: no reason");
    check_holds(p.text, "reward    no reason");
}

static void test_a_missing_command_is_found_before_any_training(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "command: [./no-such-program, x]";
    put_recipe(*state, "recipe.yaml", &r);
    int code = program_run(&p, *state, "run", in_folder(*state, "recipe.yaml"));
    check_refused(&p, code, 1, "reward.command: ./no-such-program: cannot be started",
                  "No such file or directory");
    assert_true(access(in_folder(*state, "run"), F_OK) != 0);
}

static const char weighted[] =
    "rewards:\n"
    "  taught: {model: target, adapter: {rank: 4}, weight: 0.5}\n"
    "  own: {model: target, adapter: none, kind: implicit, weight: 0.3}\n"
    "  short: {rule: length, length: 12, normalise: true}\n"
    "  said: {command: 'while read -r x; do id=${x#*:}; echo \"{\\\"id\\\": ${id%%,*}, "
    "\\\"score\\\": 1}\"; done', weight: 0}";

/* Each that learns has a stage and a folder of its own; each may judge. */
static void test_rloo_with_weighted_rewards(void **state)
{
    struct tiny_recipe r = tiny_recipe_default;
    struct program p = {0};
    r.reward = weighted;
    r.sft = "source: best-of-n, n: 2, prompts: 8";
    check_whole_run(*state, &r, true, true);
    const char *run = in_folder(*state, "run");
    assert_true(has_stage(run, "reward-taught") && has_stage(run, "reward-own"));
    assert_true(access(in_folder(run, "reward-taught/final/adapter_model.safetensors"), R_OK) == 0);
    assert_true(access(in_folder(run, "reward-own/final/model.safetensors"), R_OK) == 0);
    assert_true(access(in_folder(run, "reward-short/normaliser.json"), R_OK) == 0);
    assert_true(access(in_folder(run, "reward-said"), R_OK) != 0);
    program_must(&p, *state, "run", in_folder(*state, "recipe.yaml"), "--set",
                 "eval.judges=reward,taught,own,short,said");
    for (int i = 0; i < 4; i++) {
        static const char *const judges[] = {"judge: taught", "judge: own", "judge: short",
                                             "judge: said"};
        check_holds(p.table, judges[i]);
    }
}

/* A sum of one is that one, and halves add up to the bit. */
static void test_a_sum_is_the_reward_itself(void **state)
{
    static const char *const sections[] = {"rule: length, length: 12",
                                           "rewards: {one: {rule: length, length: 12}}",
                                           "rewards: {a: {rule: length, length: 12, weight: 0.5}, "
                                           "b: {rule: length, length: 12, weight: 0.5}}"};
    static const char *const runs[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++) {
        struct program p = {0};
        struct tiny_recipe r = tiny_recipe_default;
        char dir[64];
        r.reward = sections[i];
        r.sft = "source: best-of-n, n: 2, prompts: 8";
        put_recipe(*state, "recipe.yaml", &r);
        snprintf(dir, sizeof(dir), "run.dir=%s", runs[i]);
        program_must(&p, *state, "run", in_folder(*state, "recipe.yaml"), "--set", dir);
        if (i > 0)
            check_same_results(in_folder(*state, runs[0]), in_folder(*state, runs[i]));
    }
}

static void test_ppo_with_adapters_and_a_whole_classifier(void **state)
{
    struct tiny_recipe r = tiny_recipe_default;
    r.algorithm = "ppo";
    r.reward = "model: target, adapter: none";
    r.sft = "source: best-of-n, n: 2, prompts: 6";
    check_whole_run(*state, &r, true, true);
    json_t *o = load_json(in_folder(*state, "run/reward/normaliser.json"));
    assert_true(json_real_value(json_object_get(o, "gain")) > 0);
    json_decref(o);
}

/* -- every arm -- */

/* Rows of an arm, and the mean score of those that count. */
struct arm_rows {
    int n, n_counted, n_kl;
    double mean;
};

static struct arm_rows rows_of(const char *run, const char *arm)
{
    struct arm_rows r = {0};
    sqlite3 *db;
    sqlite3_stmt *query;
    static const char text[] =
        "SELECT count(*), sum(e.sample = -1), sum(e.kl IS NOT NULL), avg(CASE WHEN e.sample = -1 "
        "THEN s.value END) FROM evaluations e JOIN scores s USING (arm, seed, record, sample) "
        "WHERE arm = ?";
    assert_int_equal(sqlite3_open(in_folder(run, "run.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &query, NULL), SQLITE_OK);
    sqlite3_bind_text(query, 1, arm, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    r = (struct arm_rows){sqlite3_column_int(query, 0), sqlite3_column_int(query, 1),
                          sqlite3_column_int(query, 2), sqlite3_column_double(query, 3)};
    sqlite3_finalize(query);
    sqlite3_close(db);
    return r;
}

/* With adapters and without: dpo and ift leave a target each; the best of n answers is no worse
 * than the first of them, which is bare's own. */
static void check_every_arm(const char *folder, const char *adapter)
{
    struct tiny_recipe r = tiny_recipe_every_arm();
    char run[512], final[700];
    snprintf(run, sizeof(run), "%s/run", folder);
    r.adapter = adapter;
    check_whole_run(folder, &r, true, true);
    assert_true(has_stage(run, "dpo") && has_stage(run, "ift"));
    assert_true(final_of(final, sizeof(final), run, "dpo"));
    assert_true(final_of(final, sizeof(final), run, "ift"));
    struct arm_rows bare = rows_of(run, "bare"), best = rows_of(run, "best-of-n-answers");
    struct arm_rows dpo = rows_of(run, "dpo"), ift = rows_of(run, "ift");
    assert_true(bare.n > 0 && bare.n == bare.n_counted && bare.n_kl == 0);
    assert_int_equal(best.n, 2 * bare.n);
    assert_int_equal(best.n_counted, bare.n);
    assert_true(best.mean > bare.mean);
    assert_true(dpo.n == bare.n && dpo.n_kl == bare.n);
    assert_true(ift.n == bare.n && ift.n_kl == bare.n);
    assert_true(dpo.mean != bare.mean && ift.mean != bare.mean && dpo.mean != ift.mean);
}

static void test_every_arm_with_adapters(void **state)
{
    struct program p = {0};
    char run[512], recipe[512];
    check_every_arm(*state, "{rank: 4}");
    snprintf(run, sizeof(run), "%s/run", (const char *)*state);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    /* a checkpoint that went: whose it is, and what makes it */
    assert_int_equal(ap_dir_remove(in_folder(run, "dpo/final"), NULL), AP_OK);
    int code = program_run(&p, *state, "eval", recipe, "--set", "eval.seeds=3");
    check_refused(&p, code, 1, "eval.arms: dpo has no checkpoint",
                  "`alignpro dpo RECIPE` makes it");
    assert_int_equal(ap_dir_remove(in_folder(run, "dpo"), NULL), AP_OK);
    program_must(&p, *state, "dpo", recipe);
    program_must(&p, *state, "eval", recipe, "--set", "eval.seeds=3");
}

static void test_every_arm_on_whole_models(void **state)
{
    check_every_arm(*state, "none");
}

/* -- what changes nothing -- */

static void test_threads_and_batches_change_no_bit(void **state)
{
    struct program p = {0};
    char recipe[512], a[512], b[512];
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    snprintf(a, sizeof(a), "%s/run", (const char *)*state);
    snprintf(b, sizeof(b), "%s/other", (const char *)*state);
    program_must(&p, *state, "run", recipe);
    program_must(&p, *state, "run", recipe, "--set", "run.dir=other", "--set", "run.threads=2",
                 "--set", "run.batch=3", "--set", "run.checkpoint_every=1");
    assert_int_equal(check_same_results(a, b), 5);
}

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        n++;
    return n;
}

/* Switched off, or in the way of a file that is a user's own: the run's bits are the same. */
static void test_events_change_no_bit(void **state)
{
    struct program p = {0};
    char recipe[512], a[512], b[512];
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    snprintf(a, sizeof(a), "%s/run", (const char *)*state);
    snprintf(b, sizeof(b), "%s/off", (const char *)*state);
    program_must(&p, *state, "run", recipe);
    program_must(&p, *state, "run", recipe, "--set", "run.dir=off", "--set",
                 "run.tensorboard=false");
    assert_int_equal(check_same_results(a, b), 5);
    assert_int_equal(access(in_folder(b, "tb"), F_OK), -1);
    program_must(&p, *state, "run", recipe, "--set", "run.dir=off"); /* the same recipe */

    snprintf(b, sizeof(b), "%s/blocked", (const char *)*state);
    assert_int_equal(mkdir(b, 0777), 0);
    put_text(b, "tb", "mine");
    program_must(&p, *state, "run", recipe, "--set", "run.dir=blocked");
    assert_int_equal(check_same_results(a, b), 5);
    assert_int_equal(count_of(p.text, "TensorBoard's copy of this stage ends here"), 5);
    assert_int_equal(count_of(p.text, "TensorBoard has no copy of the evaluation"), 1);
    struct metrics with = metrics_of(a), without = metrics_of(b);
    assert_int_equal(with.n_align, without.n_align);
}

static void test_stages_one_by_one_are_the_run(void **state)
{
    struct program p = {0};
    char recipe[512], a[512], b[512];
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", (const char *)*state);
    snprintf(a, sizeof(a), "%s/run", (const char *)*state);
    snprintf(b, sizeof(b), "%s/other", (const char *)*state);
    program_must(&p, *state, "run", recipe);
    program_must(&p, *state, "sft", recipe, "--set", "run.dir=other");
    assert_true(has_stage(b, "pretrain") && has_stage(b, "sft") && !has_stage(b, "reward"));
    program_must(&p, *state, "rlhf", recipe, "--set", "run.dir=other");
    assert_true(has_stage(b, "reward") && has_stage(b, "rlhf") && !has_stage(b, "align"));
    program_must(&p, *state, "eval", recipe, "--set", "run.dir=other"); /* brings align */
    check_holds(p.table, "judge: reward");
    assert_int_equal(check_same_results(a, b), 5);
}

/* -- what is refused -- */

static void test_a_missing_data_file_is_found_before_any_training(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.sft = "source: file, path: nowhere.jsonl";
    put_recipe(*state, "recipe.yaml", &r);
    int code = program_run(&p, *state, "run", in_folder(*state, "recipe.yaml"));
    check_refused(&p, code, 1, "nowhere.jsonl", "No such file");
    assert_true(access(in_folder(*state, "run"), F_OK) != 0); /* its correction may use it */
}

static void test_a_missing_model_is_found_before_any_training(void **state)
{
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    int code = program_run(&p, *state, "run", in_folder(*state, "recipe.yaml"), "--set",
                           "models.prompter.config=absent.json");
    check_refused(&p, code, 1, "models.prompter", "absent.json");
    assert_true(access(in_folder(*state, "run"), F_OK) != 0); /* its correction may use it */
}

static void test_data_of_another_schema_is_an_error_by_record(void **state)
{
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    int code = program_run(&p, *state, "reward", in_folder(*state, "recipe.yaml"), "--set",
                           "reward_train.path=rewrites.jsonl");
    check_refused(&p, code, 1, "rewrites.jsonl", "is a preference pair");
    code = program_run(&p, *state, "sft", in_folder(*state, "recipe.yaml"), "--set",
                       "sft.path=pairs.jsonl", "--set", "run.dir=other");
    check_refused(&p, code, 1, "pairs.jsonl", "has an answer to imitate");
}

static void test_a_directory_in_use_is_busy(void **state)
{
    struct program p = {0};
    struct ap_error err;
    struct ap_lock lock;
    char holder[64];
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    check_ok(ap_dir_make(in_folder(*state, "run"), &err), err);
    check_ok(ap_lock_take(&lock, in_folder(*state, "run/lock"), &err), err);
    int code = program_run(&p, *state, "run", in_folder(*state, "recipe.yaml"));
    snprintf(holder, sizeof(holder), "%d", (int)getpid());
    check_refused(&p, code, 1, "/run", holder);
    ap_lock_release(&lock);
    program_must(&p, *state, "pretrain", in_folder(*state, "recipe.yaml"));
}

static void test_another_recipe_in_the_same_directory_is_refused(void **state)
{
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    program_must(&p, *state, "pretrain", in_folder(*state, "recipe.yaml"));
    int code =
        program_run(&p, *state, "run", in_folder(*state, "recipe.yaml"), "--set", "align.kl=0.3");
    check_refused(&p, code, 1, "align.kl", "run");
    assert_false(has_stage(in_folder(*state, "run"), "align"));
}

static void test_a_context_over_the_model_s_is_refused(void **state)
{
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    int code = program_run(&p, *state, "run", in_folder(*state, "recipe.yaml"), "--set",
                           "run.context=129");
    check_refused(&p, code, 1, "run.context is 129", "expected at most 128");
}

static void test_no_prompt_that_fits_is_an_error(void **state)
{
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    int code = program_run(&p, *state, "align", in_folder(*state, "recipe.yaml"), "--set",
                           "run.context=10");
    assert_int_equal(code, 1);
    check_holds(p.text, "alignpro: ");
}

/* What can be known at the start is said at the start, and the directory is not bound to it. */
static void test_what_is_decidable_is_refused_before_training(void **state)
{
    static const char *const rows[][2] = {
        {"eval.judges=world", "meta"},
        {"eval.bootstrap=10000000", "eval.bootstrap"},
        {"eval.temperature=0.0001", "eval.temperature"},
        {"target.temperature=0.0001", "target.temperature"},
        {"target.max_new_tokens=127", "target.max_new_tokens"},
        {"prompter.max_new_tokens=127", "prompter.max_new_tokens"},
        {"text.template=nope", "text.template"},
    };
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct program p = {0};
        int code =
            program_run(&p, *state, "run", in_folder(*state, "recipe.yaml"), "--set", rows[i][0]);
        check_refused(&p, code, 1, rows[i][1], rows[i][1]);
        assert_true(access(in_folder(*state, "run"), F_OK) != 0);
    }
}

/* eval.* changes nothing that was trained: the same run evaluates again, and only that. */
static void test_eval_settings_may_change(void **state)
{
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    assert_int_equal(program_run(&p, *state, "run", in_folder(*state, "recipe.yaml")), 0);
    assert_int_equal(program_run(&p, *state, "run", in_folder(*state, "recipe.yaml"), "--set",
                                 "eval.arms=[bare, instruct, sft, align]", "--set",
                                 "eval.seeds=[5, 6]"),
                     0);
    check_holds(p.table, "2 seeds");
    check_holds(p.table, "instruct");
    check_holds(p.text, "align     is there already");
    check_eval_events(in_folder(*state, "run"), 2);
}

/* The same path and other test prompts: they are answered, and none of the old ones counted. */
static void test_other_test_prompts_are_answered(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    struct ap_buffer first, again;
    r.arms = "bare, align";
    r.more = "bound: {prompts: 2, rewrites: 2, answers: 2, scored: 2}\n";
    put_recipe(*state, "recipe.yaml", &r);
    put_text(*state, "test.jsonl", "{\"prompt\": \"an otter\"}\n{\"prompt\": \"a fox\"}\n");
#define AGAIN(command)                                                                             \
    program_must(&p, *state, command, in_folder(*state, "recipe.yaml"), "--set",                   \
                 "eval.path=test.jsonl")
    AGAIN("run");
    AGAIN("bound");
    first = get_file(in_folder(*state, "run/eval.json"));
    put_text(*state, "test.jsonl", "{\"prompt\": \"an otter\"}\n{\"prompt\": \"a fox\"}\n");
    AGAIN("eval"); /* written again, and the same */
    check_holds(p.text, "eval      is there already");
    AGAIN("bound");
    check_holds(p.text, "bound     is there already");
    put_text(*state, "test.jsonl",
             "{\"prompt\": \"a wolf\"}\n{\"prompt\": \"a bear\"}\n{\"prompt\": \"a deer\"}\n");
    AGAIN("eval");
    assert_null(strstr(p.text, "eval      is there already"));
    check_holds(p.table, "3 test prompts");
    AGAIN("bound");
    assert_null(strstr(p.text, "bound     is there already"));
    again = get_file(in_folder(*state, "run/eval.json"));
    assert_string_not_equal(first.data, again.data);
    ap_buffer_free(&first);
    ap_buffer_free(&again);
#undef AGAIN
}

/* Those that were read are answered to the end, and known as those. */
static void test_test_prompts_that_change_while_it_trains_are_answered(void **state)
{
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.arms = "bare, align";
    r.steps = 200;
    put_recipe(*state, "recipe.yaml", &r);
    put_text(*state, "test.jsonl", "{\"prompt\": \"an otter\"}\n{\"prompt\": \"a fox\"}\n");
    program_start(&p, *state,
                  (const char *[]){"run", in_folder(*state, "recipe.yaml"), "--set",
                                   "eval.path=test.jsonl", NULL});
    assert_true(program_says(&p, "\nalign     "));
    put_text(*state, "test.jsonl",
             "{\"prompt\": \"a wolf\"}\n{\"prompt\": \"a bear\"}\n{\"prompt\": \"a deer\"}\n");
    assert_int_equal(program_wait(&p), 0);
    check_holds(p.table, "2 test prompts");
    program_must(&p, *state, "run", in_folder(*state, "recipe.yaml"), "--set",
                 "eval.path=test.jsonl");
    check_holds(p.table, "3 test prompts");
}

static void test_rlhf_without_temperature_is_refused(void **state)
{
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    int code = program_run(&p, *state, "rlhf", in_folder(*state, "recipe.yaml"), "--set",
                           "target.temperature=0");
    check_refused(&p, code, 1, "target.temperature: got 0", "0.001 or more");
}

/* -- numbers that go wrong -- */

static void test_weights_that_overflow_stop_a_run_with_the_tensor_s_name(void **state)
{
    struct program p = {0};
    put_recipe(*state, "recipe.yaml", &tiny_recipe_default);
    put_config(*state, "wild.json", "1e30");
    int code = program_run(&p, *state, "pretrain", in_folder(*state, "recipe.yaml"), "--set",
                           "models.target.config=wild.json", "--set", "run.max_bad_steps=3");
    check_refused(&p, code, 1, "pretrain: step 2: model.", "3 updates in a row");
    check_holds(p.text, "step 0: model.");
    assert_false(has_stage(in_folder(*state, "run"), "pretrain"));
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_setup, program_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_rloo_with_adapters_and_a_head),
        WITH_FOLDER(test_ppo_on_whole_models_with_an_implicit_reward),
        WITH_FOLDER(test_rloo_on_whole_models_with_a_rule),
        WITH_FOLDER(test_rloo_with_a_command),
        WITH_FOLDER(test_a_missing_command_is_found_before_any_training),
        WITH_FOLDER(test_rloo_with_weighted_rewards),
        WITH_FOLDER(test_every_arm_with_adapters),
        WITH_FOLDER(test_every_arm_on_whole_models),
        WITH_FOLDER(test_a_sum_is_the_reward_itself),
        WITH_FOLDER(test_ppo_with_adapters_and_a_whole_classifier),
        WITH_FOLDER(test_threads_and_batches_change_no_bit),
        WITH_FOLDER(test_events_change_no_bit),
        WITH_FOLDER(test_stages_one_by_one_are_the_run),
        WITH_FOLDER(test_a_missing_data_file_is_found_before_any_training),
        WITH_FOLDER(test_a_missing_model_is_found_before_any_training),
        WITH_FOLDER(test_data_of_another_schema_is_an_error_by_record),
        WITH_FOLDER(test_a_directory_in_use_is_busy),
        WITH_FOLDER(test_another_recipe_in_the_same_directory_is_refused),
        WITH_FOLDER(test_a_context_over_the_model_s_is_refused),
        WITH_FOLDER(test_no_prompt_that_fits_is_an_error),
        WITH_FOLDER(test_rlhf_without_temperature_is_refused),
        WITH_FOLDER(test_what_is_decidable_is_refused_before_training),
        WITH_FOLDER(test_eval_settings_may_change),
        WITH_FOLDER(test_other_test_prompts_are_answered),
        WITH_FOLDER(test_test_prompts_that_change_while_it_trains_are_answered),
        WITH_FOLDER(test_weights_that_overflow_stop_a_run_with_the_tensor_s_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
