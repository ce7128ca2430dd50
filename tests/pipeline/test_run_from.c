/* run.from: a stage taken over from another run is the stage that this run would have trained, byte
 * for byte; whatever reaches it makes it be trained anew; and a kill leaves nothing half. */
#include "program.h"

#include "base/random.h"

#include <sys/stat.h>

/* alignpro run recipe.yaml --set run.dir=DIR, and more settings ended by NULL. */
static void run_in(struct program *p, const char *folder, const char *dir, const char *const *sets)
{
    char where[300];
    const char *args[PROGRAM_ARGS] = {"run", in_folder(folder, "recipe.yaml"), "--set", where};
    int n = 4;
    snprintf(where, sizeof(where), "run.dir=%s", dir);
    for (int i = 0; sets[i]; i++) {
        args[n++] = "--set";
        args[n++] = sets[i];
    }
    program_start(p, folder, args);
}

#define run_must(p, folder, dir, ...)                                                              \
    do {                                                                                           \
        run_in(p, folder, dir, (const char *const[]){__VA_ARGS__, NULL});                          \
        int code_ = program_wait(p);                                                               \
        if (code_ != 0)                                                                            \
            fprintf(stderr, "%s\n", (p)->text);                                                    \
        assert_int_equal(code_, 0);                                                                \
    } while (0)

/* "sft  taken from …" */
static bool was_taken(const struct program *p, const char *stage)
{
    char note[100];
    snprintf(note, sizeof(note), "\n%-9s taken from ", stage);
    return strstr(p->text, note) != NULL;
}

static void check_taken(const struct program *p, const char *stages)
{
    static const char *const all[] = {"pretrain", "reward", "reward-taught", "reward-own", "sft",
                                      "align",    "rlhf",   "dpo",           "ift"};
    for (size_t i = 0; i < AP_LEN(all); i++) {
        char word[32];
        snprintf(word, sizeof(word), " %s ", all[i]);
        if (was_taken(p, all[i]) != (strstr(stages, word) != NULL)) {
            fprintf(stderr, "%s: expected to be taken: %s; said: %s\n", all[i], stages, p->text);
            fail();
        }
    }
}

static void check_linked(const char *run, const char *stage)
{
    char path[700];
    struct stat info;
    assert_true(final_of(path, sizeof(path), run, stage));
    assert_int_equal(stat(path, &info), 0);
    assert_true(info.st_nlink > 1);
}

/* -- the same results -- */

static void test_a_run_with_stages_taken_over_ends_where_one_that_trained_all_does(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_every_arm();
    put_recipe(folder, "recipe.yaml", &r);
    run_must(&p, folder, "first", NULL);
    check_taken(&p, " ");
    run_must(&p, folder, "alone", "align.kl=0.2", "rlhf.kl=0.05");
    run_must(&p, folder, "shared", "align.kl=0.2", "rlhf.kl=0.05", "run.from=first");
    check_taken(&p, " pretrain reward sft rlhf dpo ift ");
    check_holds(p.text, "align.kl is 0.05 there and 0.2 here");
    check_holds(p.text, "its normaliser is taken from");
    assert_int_equal(check_same_results(in_folder(folder, "alone"), in_folder(folder, "shared")),
                     7);
    check_same_file(in_folder(folder, "alone/reward/normaliser.json"),
                    in_folder(folder, "shared/reward/normaliser.json"));
    check_linked(in_folder(folder, "shared"), "sft");
    struct ap_buffer done = get_file(in_folder(folder, "shared/sft/DONE"));
    check_holds(done.data, "\"taken_from\": \"");
    ap_buffer_free(&done);
    assert_int_equal(access(in_folder(folder, "shared/sft/ckpt"), R_OK), -1);
    /* and by way of a run that took them over itself */
    run_must(&p, folder, "third", "align.kl=0.2", "rlhf.kl=0.05", "run.from=[first, shared]");
    check_taken(&p, " pretrain reward sft align rlhf dpo ift ");
    check_holds(p.text, "\nmemory    eval "); /* the plan has what will be run */
    assert_null(strstr(p.text, "\nmemory    align "));
    assert_int_equal(check_same_results(in_folder(folder, "alone"), in_folder(folder, "third")), 7);
}

/* Where no link can be made, a copy is. */
static void test_from_another_file_system(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct stat here, there;
    char path[700], first[300], set[320], disk[] = "/tmp/alignpro-test-XXXXXX";
    assert_non_null(mkdtemp(disk));
    assert_int_equal(stat(folder, &here) | stat(disk, &there), 0);
    if (here.st_dev == there.st_dev) {
        ap_dir_remove(disk, NULL);
        printf("  %s and /tmp are one file system\n", folder);
        skip();
    }
    put_recipe(folder, "recipe.yaml", &tiny_recipe_default);
    snprintf(first, sizeof(first), "%s/first", disk);
    snprintf(set, sizeof(set), "run.from=%s", first);
    run_must(&p, folder, first, NULL);
    run_must(&p, folder, "shared", set);
    check_taken(&p, " pretrain reward sft align rlhf ");
    assert_int_equal(check_same_results(first, in_folder(folder, "shared")), 5);
    assert_true(final_of(path, sizeof(path), in_folder(folder, "shared"), "sft"));
    assert_int_equal(stat(path, &here), 0);
    assert_int_equal(here.st_nlink, 1);
    assert_int_equal(ap_dir_remove(disk, NULL), AP_OK);
}

static void test_best_of_n_and_several_rewards_are_taken_over(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "rewards:\n"
               "  taught: {model: target, adapter: {rank: 4}, weight: 0.5}\n"
               "  own: {model: target, adapter: none, kind: implicit}\n"
               "  long: {command: [sh, score.sh], normalise: true, weight: 0.2}";
    r.sft = "source: best-of-n, n: 2, prompts: 8";
    put_score_command(folder);
    put_recipe(folder, "recipe.yaml", &r);
    run_must(&p, folder, "first", NULL);
    run_must(&p, folder, "alone", "align.steps=4", "rlhf.steps=3");
    run_must(&p, folder, "shared", "align.steps=4", "rlhf.steps=3", "run.from=first");
    check_taken(&p, " pretrain reward-taught reward-own sft rlhf ");
    check_holds(p.text, "reward-long its normaliser is taken from");
    assert_int_equal(check_same_results(in_folder(folder, "alone"), in_folder(folder, "shared")),
                     6);
    /* one reward's weight is in the sum that the others are judged by, and not in their training */
    run_must(&p, folder, "weighed", "rewards.own.weight=0.3", "run.from=first");
    check_taken(&p, " pretrain reward-taught reward-own ");
    /* a program of the same words may be another; written again it is the same */
    put_score_command(folder);
    run_must(&p, folder, "again", "run.from=first");
    check_taken(&p, " pretrain reward-taught reward-own sft align rlhf ");
    add_text(folder, "score.sh", "# another\n");
    run_must(&p, folder, "rescored", "run.from=first");
    check_taken(&p, " pretrain reward-taught reward-own ");
    check_holds(p.text, "score.sh has changed since");
}

/* -- what differs -- */

static void check_differs(const char *folder, const char *set, const char *taken, const char *note)
{
    struct program p = {0};
    assert_int_equal(ap_dir_remove(in_folder(folder, "other"), NULL), AP_OK);
    run_must(&p, folder, "other", set, "run.from=first");
    check_taken(&p, taken);
    check_holds(p.text, note);
}

static void test_what_reaches_a_stage_makes_it_be_trained(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_every_arm();
    r.steps = 2;
    put_recipe(folder, "recipe.yaml", &r);
    run_must(&p, folder, "first", NULL);
    check_differs(folder, "sft.epochs=1", " pretrain reward rlhf dpo ift ",
                  "sft.epochs is 2 there and 1 here");
    check_differs(folder, "reward_train.epochs=2", " pretrain sft dpo ift ",
                  "reward_train.epochs is 1 there and 2 here");
    check_differs(folder, "target.max_new_tokens=7", " pretrain reward sft ",
                  "target.max_new_tokens is 8 there and 7 here");
    check_differs(folder, "prompter.temperature=0.9", " pretrain reward rlhf dpo ift ",
                  "prompter.temperature is 1 there and 0.9 here");
    check_differs(folder, "pretrain.lr=5e-3", " sft ", "pretrain.lr is 0.01 there and 0.005 here");
    check_differs(folder, "run.seed=2", " ", "run.seed is 1 there and 2 here");
    check_differs(folder, "dpo.beta=0.3", " pretrain reward sft align rlhf ift ",
                  "dpo.beta is 0.1 there and 0.3 here");
    check_differs(folder, "eval.n=3", " pretrain reward sft align rlhf dpo ift ", "taken from");
    check_differs(folder, "reward.pairs=half-a", " pretrain sft dpo ift ",
                  "reward.pairs is \"all\" there and \"half-a\" here");
    /* the same path and another content: rewrites are read by sft alone */
    struct ap_buffer rewrites = get_file(in_folder(folder, "rewrites.jsonl"));
    rewrites.data[rewrites.len - 1] = '\0'; /* its last newline */
    put_text(folder, "rewrites.jsonl", rewrites.data);
    ap_buffer_free(&rewrites);
    check_differs(folder, "eval.n=2", " pretrain reward rlhf dpo ift ",
                  "rewrites.jsonl has changed since");
}

/* What stood still while its data changed is made from neither: refused until they are back. */
static void test_data_that_change_in_the_middle_are_refused(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.steps = 200;
    put_recipe(folder, "recipe.yaml", &r);
    run_in(&p, folder, "first", (const char *const[]){NULL});
    assert_true(program_says(&p, "\nalign     "));
    kill(p.pid, SIGINT);
    assert_int_equal(program_wait(&p), 130);
    add_text(folder, "pairs.jsonl", "\n");
    run_in(&p, folder, "first", (const char *const[]){NULL});
    check_refused(&p, program_wait(&p), 1,
                  "reward: ", "/pairs.jsonl, which holds something else now");
    put_data(folder); /* the same again, at another time */
    run_must(&p, folder, "first", NULL);
    run_must(&p, folder, "second", "run.from=first");
    check_taken(&p, " pretrain reward sft align rlhf ");
    /* done, and asked for again */
    add_text(folder, "corpus.jsonl", "\n");
    run_in(&p, folder, "first", (const char *const[]){NULL});
    check_refused(&p, program_wait(&p), 1,
                  "pretrain: ", "/corpus.jsonl, which holds something else now");
}

/* What was read is trained on to the end, and nothing is made of the rest behind it. */
static void test_data_that_change_while_they_are_trained_on_are_refused(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.steps = 200;
    r.reward = "rule: length, length: 12";
    put_recipe(folder, "recipe.yaml", &r);
    run_in(&p, folder, "first", (const char *const[]){NULL});
    assert_true(program_says(&p, "\nalign     "));
    add_text(folder, "pairs.jsonl", "\n");
    assert_int_equal(program_wait(&p), 0);
    run_in(&p, folder, "first", (const char *const[]){NULL});
    check_refused(&p, program_wait(&p), 1,
                  "align: ", "/pairs.jsonl, which holds something else now");
}

/* A normaliser is fixed on prompts of align, before align is asked for. */
static void test_a_normaliser_of_other_prompts_is_refused(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "command: [sh, score.sh], normalise: true";
    r.arms = "bare";
    r.more = "";
    put_score_command(folder);
    put_recipe(folder, "recipe.yaml", &r);
    put_text(folder, "more.jsonl",
             "{\"prompt\": \"an otter\"}\n{\"prompt\": \"a fox\"}\n"
             "{\"prompt\": \"a wolf\"}\n");
    program_must(&p, folder, "eval", in_folder(folder, "recipe.yaml"), "--set",
                 "align.path=more.jsonl");
    check_holds(p.text, "bare answers have mean 0");
    assert_int_equal(access(in_folder(folder, "run/align/DONE"), F_OK), -1);
    add_text(folder, "more.jsonl", "{\"prompt\": \"a bear\"}\n");
    int code = program_run(&p, folder, "align", in_folder(folder, "recipe.yaml"), "--set",
                           "align.path=more.jsonl");
    check_refused(&p, code, 1, "/run/reward/normaliser.json was made from ",
                  "/more.jsonl, which holds something else now");
}

/* A command may be mended meanwhile, but what was made with both is no other run's. */
static void test_a_command_that_changes_in_the_middle_is_remembered(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.steps = 200;
    r.reward = "command: [sh, score.sh]";
    put_score_command(folder);
    put_recipe(folder, "recipe.yaml", &r);
    run_in(&p, folder, "first", (const char *const[]){NULL});
    assert_true(program_says(&p, "\nalign     "));
    kill(p.pid, SIGINT);
    assert_int_equal(program_wait(&p), 130);
    add_text(folder, "score.sh", "# mended\n");
    run_must(&p, folder, "first", NULL);
    run_must(&p, folder, "second", "run.from=first");
    check_taken(&p, " pretrain sft rlhf ");
    check_holds(p.text, "align     is not taken over: ");
    check_holds(p.text, "changed while it was made");
}

/* -- errors -- */

/* A list's later prompters are not in the table of what reaches a stage. */
static void test_a_list_of_prompters_is_trained(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "rule: length, length: 12";
    r.arms = "bare, align";
    r.prompter = "\n  - {model: prompter, adapter: {rank: 4}, meta_prompt: \"{prompt}\", "
                 "max_new_tokens: 8}\n  - {model: prompter, adapter: {rank: 4}, meta_prompt: "
                 "\"{prompt}\", max_new_tokens: 8}";
    put_recipe(folder, "recipe.yaml", &r);
    run_must(&p, folder, "one", "align.prompters=joint");
    run_must(&p, folder, "two", "align.prompters=joint", "run.from=one");
    assert_false(was_taken(&p, "sft"));
    assert_false(was_taken(&p, "align"));
    check_same_results(in_folder(folder, "one"), in_folder(folder, "two"));
}

static void test_run_from_must_be_another_run(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    char recipe[300];
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", folder);
    put_recipe(folder, "recipe.yaml", &tiny_recipe_default);
    int code = program_run(&p, folder, "run", recipe, "--set", "run.from=nowhere");
    check_refused(&p, code, 1,
                  "run.from: ", "/nowhere is no run directory (it has no recipe.yaml)");
    assert_int_equal(access(in_folder(folder, "run"), R_OK), -1);
    program_must(&p, folder, "run", recipe);
    code = program_run(&p, folder, "run", recipe, "--set", "run.from=./run/../run");
    check_refused(&p, code, 1, "run.from: ", "is this run's own directory");
}

/* -- SIGKILL -- */

static void test_killed_while_stages_are_taken_over(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    struct ap_random random;
    int kills = 0, most = check_full() ? 60 : 12;
    struct tiny_recipe r = tiny_recipe_every_arm();
    ap_random_init(&random, &(struct ap_stream){.seed = 5});
    put_recipe(folder, "recipe.yaml", &r);
    run_must(&p, folder, "first", NULL);
    double began = program_clock();
    run_must(&p, folder, "whole", "run.from=first");
    double seconds = program_clock() - began;
    for (int code = -1; code != 0; kills += code != 0) {
        run_in(&p, folder, "part", (const char *const[]){"run.from=first", NULL});
        if (kills < most) {
            program_sleep(0.6 * seconds * ap_random_uniform(&random));
            kill(p.pid, SIGKILL);
        }
        code = program_wait(&p);
        assert_true(code == 0 || code == -SIGKILL);
    }
    assert_true(kills > 0);
    assert_int_equal(check_same_results(in_folder(folder, "first"), in_folder(folder, "part")), 7);
    assert_int_equal(check_same_results(in_folder(folder, "whole"), in_folder(folder, "part")), 7);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_setup, program_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_a_run_with_stages_taken_over_ends_where_one_that_trained_all_does),
        WITH_FOLDER(test_from_another_file_system),
        WITH_FOLDER(test_best_of_n_and_several_rewards_are_taken_over),
        WITH_FOLDER(test_what_reaches_a_stage_makes_it_be_trained),
        WITH_FOLDER(test_data_that_change_in_the_middle_are_refused),
        WITH_FOLDER(test_data_that_change_while_they_are_trained_on_are_refused),
        WITH_FOLDER(test_a_normaliser_of_other_prompts_is_refused),
        WITH_FOLDER(test_a_command_that_changes_in_the_middle_is_remembered),
        WITH_FOLDER(test_a_list_of_prompters_is_trained),
        WITH_FOLDER(test_run_from_must_be_another_run),
        WITH_FOLDER(test_killed_while_stages_are_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
