/* A run that is disturbed ends where an undisturbed one does, byte for byte: killed again and again
 * at moments of chance, asked to stop, on a full disk. */
#include "program.h"

#include "base/random.h"
#include "store/database.h"
#include "store/event_files.h"

enum { KILLS_LEAST = 5, KILLS_MAX = 30 };

struct pair {
    char folder[256], recipe[300], whole[300], part[300];
    double seconds; /* of the undisturbed run */
    int n_joint;    /* results of prompters that learn in another's stage */
};

static void open_pair(struct pair *pair, void **state, const struct tiny_recipe *recipe)
{
    struct program p = {0};
    pair->n_joint = 0;
    snprintf(pair->folder, sizeof(pair->folder), "%s", (const char *)*state);
    snprintf(pair->recipe, sizeof(pair->recipe), "%s/recipe.yaml", pair->folder);
    snprintf(pair->whole, sizeof(pair->whole), "%s/run", pair->folder);
    snprintf(pair->part, sizeof(pair->part), "%s/part", pair->folder);
    put_recipe(pair->folder, "recipe.yaml", recipe);
    double began = program_clock();
    program_must(&p, pair->folder, "run", pair->recipe);
    pair->seconds = program_clock() - began;
}

/* -- metrics too -- */

struct lines {
    struct ap_buffer text;
};

static ap_status take_metric(void *context, const char *stage, int64_t step, const char *name,
                             double value)
{
    struct lines *l = context;
    struct ap_error err;
    return ap_buffer_printf(&l->text, &err, "%s %lld %s %.17g\n", stage, (long long)step, name,
                            value);
}

static struct lines metrics_of(const char *run)
{
    struct lines l = {{0}};
    struct ap_database *db;
    struct ap_error err;
    check_ok(ap_database_open(&db, in_folder(run, "run.db"), &err), err);
    check_ok(ap_database_each_metric(db, take_metric, &l, &err), err);
    ap_database_close(db);
    return l;
}

/* -- and TensorBoard's copy of them -- */

struct copies {
    const char *run;
    char stage[64];       /* whose events are read */
    struct event_run now; /* in the order of steps, each step's as they were measured */
    int n_found, n_total, n_stage, n_file;
};

static void next_copy(struct copies *c, const char *stage)
{
    char folder[128];
    assert_int_equal(c->n_found, c->now.n); /* no point that run.db has not */
    free(c->now.points);
    c->now = (struct event_run){0};
    c->n_found = 0;
    snprintf(c->stage, sizeof(c->stage), "%s", stage);
    if (!stage[0])
        return;
    snprintf(folder, sizeof(folder), "tb/%s", stage);
    c->now = read_events(in_folder(c->run, folder));
    c->n_stage++;
    c->n_file += c->now.n_file;
    assert_true(c->now.n_start > 0 &&
                c->now.n_start <= c->now.n_file); /* killed before its start */
    check_holds(c->now.text, "seed: 1");          /* the recipe */
}

static ap_status find_copy(void *context, const char *stage, int64_t step, const char *name,
                           double value)
{
    struct copies *c = context;
    int n_same = 0;
    if (strcmp(stage, c->stage) != 0)
        next_copy(c, stage);
    for (int i = 0; i < c->now.n; i++) {
        const struct event_point *p = &c->now.points[i];
        if (p->step == step && strcmp(p->tag, name) == 0) {
            assert_true(p->value == (float)value);
            n_same++;
        }
    }
    assert_int_equal(n_same, 1);
    c->n_found++;
    c->n_total++;
    return AP_OK;
}

/* Every metric once, bit for bit, whatever was killed. Returns the files. */
static int check_events(const char *run, int n_stage)
{
    struct copies c = {.run = run};
    struct ap_database *db;
    struct ap_error err;
    check_ok(ap_database_open(&db, in_folder(run, "run.db"), &err), err);
    check_ok(ap_database_each_metric(db, find_copy, &c, &err), err);
    ap_database_close(db);
    next_copy(&c, "");
    assert_int_equal(c.n_stage, n_stage);
    assert_true(c.n_total > 100);
    return c.n_file;
}

static void check_same_runs(const struct pair *pair, int n_stage)
{
    assert_int_equal(check_events(pair->whole, n_stage), n_stage);
    assert_true(check_events(pair->part, n_stage) >= n_stage);
    struct lines a = metrics_of(pair->whole), b = metrics_of(pair->part);
    assert_int_equal(check_same_results(pair->whole, pair->part), n_stage + pair->n_joint);
    assert_true(a.text.len > 1000);
    assert_string_equal(a.text.data, b.text.data);
    ap_buffer_free(&a.text);
    ap_buffer_free(&b.text);
}

/* -- SIGKILL -- */

/* Until it ends by itself; returns the kills. */
static int run_under_fire(const struct pair *pair, struct ap_random *random)
{
    struct program p = {0};
    for (int kills = 0;;) {
        program_start(&p, pair->folder,
                      (const char *const[]){"run", pair->recipe, "--set", "run.dir=part", "--set",
                                            "run.checkpoint_every=1", NULL});
        if (kills < KILLS_MAX) {
            program_sleep(0.6 * pair->seconds * ap_random_uniform(random));
            kill(p.pid, SIGKILL);
        }
        int code = program_wait(&p);
        if (code == 0)
            return kills;
        if (code != -SIGKILL)
            fprintf(stderr, "after %d kills: %s\n", kills, p.text);
        assert_int_equal(code, -SIGKILL);
        kills++;
    }
}

/* A run may be lucky: as many of them as it takes to be hit a few times. */
static void check_under_fire(const struct pair *pair, uint64_t seed, int n_stage)
{
    struct ap_random random;
    int kills = 0, round = 0;
    ap_random_init(&random, &(struct ap_stream){.seed = seed});
    int least = check_full() ? 8 * KILLS_LEAST : KILLS_LEAST;
    for (; kills < least && round < 4 * least; round++) {
        assert_int_equal(ap_dir_remove(pair->part, NULL), AP_OK);
        kills += run_under_fire(pair, &random);
        check_same_runs(pair, n_stage);
    }
    printf("%d kills in %d runs\n", kills, round);
    assert_true(kills >= least);
}

static void test_killed_at_any_moment_rloo(void **state)
{
    struct pair pair;
    struct tiny_recipe r = tiny_recipe_default;
    r.algorithm = "rloo, kl_target: 0.001, kl_horizon: 20"; /* lambda is state, too */
    open_pair(&pair, state, &r);
    check_under_fire(&pair, 1, 5);
}

static void test_killed_at_any_moment_ppo(void **state)
{
    struct pair pair;
    struct tiny_recipe r = tiny_recipe_default;
    r.algorithm = "ppo, kl_target: 0.001, kl_horizon: 20";
    r.adapter = "none";
    r.reward = "model: target, adapter: none, kind: implicit";
    r.sft = "source: best-of-n, n: 2, prompts: 8";
    open_pair(&pair, state, &r);
    check_under_fire(&pair, 2, 5);
}

static void test_killed_at_any_moment_with_several_rewards(void **state)
{
    struct pair pair;
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "rewards:\n"
               "  taught: {model: target, adapter: {rank: 4}, weight: 0.5}\n"
               "  own: {model: target, adapter: none, kind: implicit}\n"
               "  long: {command: [sh, score.sh], normalise: true, weight: 0.2}";
    r.sft = "source: best-of-n, n: 2, prompts: 8";
    put_score_command(*state);
    open_pair(&pair, state, &r);
    check_under_fire(&pair, 3, 6);
}

/* With best/ beside the checkpoints: validations are repeated, the kept step is the same. */
static void test_killed_at_any_moment_with_a_held_out_reward(void **state)
{
    struct pair pair;
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "rewards:\n"
               "  taught: {model: target, adapter: {rank: 4}, pairs: half-a}\n"
               "  own: {model: target, adapter: {rank: 4}, pairs: half-b, weight: 0}";
    r.algorithm = "rloo, valid_every: 1, patience: 2, seed: 5";
    open_pair(&pair, state, &r);
    check_under_fire(&pair, 5, 6);
}

static void test_killed_at_any_moment_with_every_arm(void **state)
{
    struct pair pair;
    struct tiny_recipe r = tiny_recipe_every_arm();
    open_pair(&pair, state, &r);
    check_under_fire(&pair, 4, 7);
}

/* A prompter, one that shares its sft and one of another kind. */
static const char three_prompters[] =
    "\n"
    "  - {model: prompter, adapter: {rank: 4}, meta_prompt: \"{prompt}\", max_new_tokens: 6}\n"
    "  - {model: prompter, adapter: {rank: 4}, meta_prompt: \"{prompt}\", max_new_tokens: 8}\n"
    "  - {model: prompter, adapter: none, meta_prompt: \"to: {prompt}\", max_new_tokens: 5}";
static const char two_prompters[] =
    "\n"
    "  - {model: prompter, adapter: {rank: 4}, meta_prompt: \"{prompt}\", max_new_tokens: 6}\n"
    "  - {model: target, adapter: {rank: 2}, meta_prompt: \"to: {prompt}\", max_new_tokens: 8}";

static void test_killed_at_any_moment_with_prompters_in_turn(void **state)
{
    struct pair pair;
    struct tiny_recipe r = tiny_recipe_default;
    r.prompter = three_prompters;
    r.reward = "rule: length, length: 12";
    r.arms = "bare, instruct, sft, align-1, align-2, align, best-of-n";
    open_pair(&pair, state, &r);
    check_under_fire(&pair, 5, 7);
}

static void test_killed_at_any_moment_with_prompters_jointly(void **state)
{
    struct pair pair;
    struct tiny_recipe r = tiny_recipe_default;
    r.prompter = two_prompters;
    r.algorithm = "ppo, prompters: joint, kl_target: 0.001, kl_horizon: 20";
    r.sft = "source: best-of-n, n: 2, prompts: 8";
    r.arms = "bare, sft, align-1, align";
    open_pair(&pair, state, &r);
    pair.n_joint = 1;
    check_under_fire(&pair, 6, 6);
}

/* -- Ctrl-C -- */

/* Ask to stop when `stage` has begun; then the same command goes on. */
static void check_stopped_in(const struct pair *pair, const char *stage)
{
    struct program p = {0};
    char begun[64], steps[64];
    snprintf(begun, sizeof(begun), "\n%-9s ", stage);
    snprintf(steps, sizeof(steps), "%s: stopped after step ", stage);
    program_start(&p, pair->folder,
                  (const char *const[]){"run", pair->recipe, "--set", "run.dir=part", NULL});
    assert_true(program_says(&p, begun));
    kill(p.pid, SIGINT);
    int code = program_wait(&p);
    check_refused(&p, code, 130, steps, "run the same command again to go on from there");
    check_holds(p.text, "stopping after this step");
}

static void test_asked_to_stop_it_saves_and_says_how_to_go_on(void **state)
{
    struct pair pair;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "rule: length, length: 12";
    r.steps = 60; /* so that a signal sent at the beginning comes before the end */
    open_pair(&pair, state, &r);
    check_stopped_in(&pair, "align");
    program_must(&p, pair.folder, "run", pair.recipe, "--set", "run.dir=part");
    check_holds(p.text, "goes on after step");
    check_same_runs(&pair, 4);
}

/* -- a full disk -- */

static void test_a_full_disk_loses_nothing(void **state)
{
    struct pair pair;
    struct program p = {0};
    const size_t limits[] = {20000, 70000, 100000};
    int n_failed = 0;
    open_pair(&pair, state, &tiny_recipe_default);
    for (size_t i = 0; i < AP_LEN(limits); i++) {
        p.most_bytes = limits[i];
        int code = program_run(&p, pair.folder, "run", pair.recipe, "--set", "run.dir=part");
        if (code == 0)
            continue;
        check_refused(&p, code, 1, "/part/", "");
        n_failed++;
    }
    assert_true(n_failed >= 2);
    p.most_bytes = 0;
    program_must(&p, pair.folder, "run", pair.recipe, "--set", "run.dir=part");
    check_same_runs(&pair, 5);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_setup, program_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_killed_at_any_moment_rloo),
        WITH_FOLDER(test_killed_at_any_moment_ppo),
        WITH_FOLDER(test_killed_at_any_moment_with_several_rewards),
        WITH_FOLDER(test_killed_at_any_moment_with_a_held_out_reward),
        WITH_FOLDER(test_killed_at_any_moment_with_every_arm),
        WITH_FOLDER(test_killed_at_any_moment_with_prompters_in_turn),
        WITH_FOLDER(test_killed_at_any_moment_with_prompters_jointly),
        WITH_FOLDER(test_asked_to_stop_it_saves_and_says_how_to_go_on),
        WITH_FOLDER(test_a_full_disk_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
