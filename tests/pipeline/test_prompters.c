/* Whole runs with several prompters, in turn and jointly: what they leave, what is refused, and
 * that the first learns as if it were alone. */
#include "program.h"

/* Another meta-prompt: an sft of its own. */
static const char two_prompters[] =
    "\n"
    "  - {model: target, adapter: {rank: 4}, meta_prompt: \"{prompt}\", max_new_tokens: 8}\n"
    "  - {model: target, adapter: {rank: 4}, meta_prompt: \"on: {prompt}\", max_new_tokens: 6}";

static void check_chain(const char *folder)
{
    struct program p = {0};
    char run[300];
    snprintf(run, sizeof(run), "%s/run", folder);
    struct ap_buffer page = get_file(in_folder(run, "report.html"));
    check_holds(page.data, "Rewriting on after pass 1");
    check_holds(page.data, "of several prompters only the first rewrites");
    ap_buffer_free(&page);
    program_must(&p, folder, "rewrite", "--run", run, "--temperature", "1", "about the fox 7");
    assert_null(strstr(p.text, "align is not done"));
    program_must(&p, folder, "export", "--run", run, "--stage", "align-2", "--format", "hf",
                 "--out", in_folder(folder, "second"));
    check_holds(p.text, "inside \"on: {prompt}\"");
    check_holds(p.text, "prompter 2 of 2 that rewrite one after another");
    assert_int_equal(ap_dir_remove(in_folder(folder, "second"), NULL), AP_OK);
    program_must(&p, folder, "inspect", run);
    check_holds(p.table, "prompters target, target");
    check_holds(p.table, "  align-2              done");
}

static void open_chain(const char *folder, const char *algorithm)
{
    struct tiny_recipe r = tiny_recipe_default;
    r.prompter = two_prompters;
    r.algorithm = algorithm;
    r.reward = "rule: length, length: 12";
    r.arms = "bare, instruct, sft, align-1, align, best-of-n, best-of-n-answers";
    r.more = "guard: {similarity: 0.1}\n";
    put_recipe(folder, "recipe.yaml", &r);
}

static void test_prompters_in_turn(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    open_chain(folder, "ppo");
    program_must(&p, folder, "align", in_folder(folder, "recipe.yaml")); /* of all of them */
    check_holds(p.text, "\nsft-2 ");
    check_holds(p.text, "\nalign-2 ");
    program_must(&p, folder, "run", in_folder(folder, "recipe.yaml"), "--set", "eval.noise=0,20%");
    check_chain(folder);
    assert_int_equal(ap_dir_remove(in_folder(folder, "run/align-2/final"), NULL), AP_OK);
    int code =
        program_run(&p, folder, "eval", in_folder(folder, "recipe.yaml"), "--set", "eval.seeds=7");
    check_refused(&p, code, 1, "run/align-2/final is missing; `alignpro align RECIPE`",
                  "run/align-2 is removed");
}

static void test_prompters_jointly(void **state)
{
    const char *folder = *state;
    struct program p = {0};
    open_chain(folder, "grpo, prompters: joint");
    program_must(&p, folder, "run", in_folder(folder, "recipe.yaml"));
    assert_null(strstr(p.text, "\nalign-2 "));
    check_chain(folder);
    assert_int_equal(ap_dir_remove(in_folder(folder, "run/align-2/final"), NULL), AP_OK);
    int code =
        program_run(&p, folder, "eval", in_folder(folder, "recipe.yaml"), "--set", "eval.seeds=7");
    check_refused(&p, code, 1, "run/align-2/final is missing", "run/align is removed");
}

/* A list of one is the one, byte for byte; the first of several learns as if it were alone. */
static void test_the_first_prompter_learns_as_if_alone(void **state)
{
    static const char one[] = "\n  - {model: prompter, adapter: {rank: 4}, meta_prompt: "
                              "\"{prompt}\", max_new_tokens: 8}";
    char two[512];
    const char *folder = *state;
    struct program p = {0};
    struct tiny_recipe r = tiny_recipe_default;
    r.reward = "rule: length, length: 12";
    r.arms = "bare, align";
    snprintf(two, sizeof(two), "%s%s", one, one);
    const char *const prompters[] = {NULL, one, two};
    for (int i = 0; i < 3; i++) {
        char dir[32];
        r.prompter = prompters[i];
        put_recipe(folder, "recipe.yaml", &r);
        snprintf(dir, sizeof(dir), "run.dir=run%d", i);
        program_must(&p, folder, "run", in_folder(folder, "recipe.yaml"), "--set", dir);
        assert_int_equal(strstr(p.text, "\nsft-2 ") != NULL, false); /* they share one */
    }
    check_same_results(in_folder(folder, "run0"), in_folder(folder, "run1"));
    check_same_file(in_folder(folder, "run0/align/final/adapter_model.safetensors"),
                    in_folder(folder, "run2/align/final/adapter_model.safetensors"));
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_setup, program_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_prompters_in_turn),
        WITH_FOLDER(test_prompters_jointly),
        WITH_FOLDER(test_the_first_prompter_learns_as_if_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
