/* inspect of run directories: one that was killed, one at work, a finished one, damaged ones; their
 * stages and checkpoints. Nothing in them may change. */
#include "pipeline/program.h"

#include "alignpro/inspect.h"
#include "alignpro/text.h"
#include "base/random.h"

#include <jansson.h>
#include <sys/stat.h>

#define STAGES "bare, instruct, align"

static json_t *inspect(const char *path, ap_status want)
{
    struct ap_error err = {0};
    char *text;
    ap_status got = ap_inspect(path, &(struct ap_inspect_options){.json = true}, &text, &err);
    if (got != want)
        fprintf(stderr, "%s: %s\n", path, err.text);
    assert_int_equal(got, want);
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    ap_text_free(text);
    return o;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static json_t *stage_of(const json_t *o, const char *name)
{
    const json_t *list = json_object_get(o, "stages");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!strcmp(text_of(json_array_get(list, i), "stage"), name))
            return json_array_get(list, i);
    fprintf(stderr, "no stage %s\n", name);
    fail();
    return NULL;
}

/* What the directory's own files are, bytes and times. */
static uint64_t print_of(const char *run)
{
    static const char *const names[] = {"",       "lock",       "recipe.yaml",
                                        "run.db", "run.db-wal", "run.db-shm"};
    uint64_t print = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat info = {0};
        struct ap_buffer bytes = {0};
        const char *path = in_folder(run, names[i]);
        if (stat(path, &info) != 0) {
            print = print * 31 + 1;
            continue;
        }
        if (S_ISREG(info.st_mode))
            assert_int_equal(ap_file_read(path, 1 << 26, &bytes, NULL), AP_OK);
        print = print * 31 + (bytes.len ? ap_hash(bytes.data, bytes.len) : 0);
        print = print * 31 + (uint64_t)info.st_mtim.tv_sec + (uint64_t)info.st_mtim.tv_nsec;
        ap_buffer_free(&bytes);
    }
    return print;
}

static void make(const char *folder, int steps)
{
    struct tiny_recipe recipe = tiny_recipe_default;
    recipe.arms = STAGES;
    recipe.steps = steps;
    put_recipe(folder, "recipe.yaml", &recipe);
}

/* While the process lives it is named; after kill -9 the log is read all the same. */
static void test_at_work_and_killed(void **state)
{
    struct program p = {0};
    char path[600], run[512];
    snprintf(run, sizeof(run), "%s", in_folder(*state, "run"));
    make(*state, 100000);
    program_start(&p, *state, (const char *const[]){"run", in_folder(*state, "recipe.yaml"), NULL});
    snprintf(path, sizeof(path), "%s/align/ckpt", run);
    for (int i = 0; i < 60000 && access(path, F_OK) != 0; i++)
        program_sleep(2e-3);
    assert_int_equal(access(path, F_OK), 0);
    json_t *o = inspect(run, AP_OK);
    assert_true(json_is_true(json_object_get(o, "in_use")));
    assert_int_equal(json_integer_value(json_object_get(o, "process")), p.pid);
    assert_string_equal(text_of(stage_of(o, "sft"), "state"), "done");
    json_decref(o);
    program_sleep(0.2);
    kill(p.pid, SIGKILL);
    assert_int_equal(program_wait(&p), -SIGKILL);

    uint64_t before = print_of(run);
    o = inspect(run, AP_OK);
    assert_true(before == print_of(run));
    assert_true(json_is_false(json_object_get(o, "in_use")));
    json_t *align = stage_of(o, "align"), *metrics = json_object_get(o, "metrics");
    assert_string_equal(text_of(align, "state"), "begun");
    assert_int_equal(json_integer_value(json_object_get(align, "steps")), 100000);
    assert_string_equal(text_of(stage_of(o, "reward"), "result"), "adapter of rank 4, with a head");
    assert_string_equal(text_of(stage_of(o, "pretrain"), "result"), "whole model");
    assert_string_equal(text_of(stage_of(o, "eval"), "state"), "not begun");
    assert_true(json_is_number(
        json_object_get(json_object_get(json_object_get(metrics, "align"), "values"), "reward")));
    json_decref(o);
}

static void check_parts(const char *run)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/align", run);
    json_t *o = inspect(path, AP_OK);
    assert_string_equal(text_of(o, "kind"), "stage");
    assert_string_equal(text_of(o, "state"), "done");
    assert_string_equal(text_of(o, "result"), "adapter of rank 4");
    json_decref(o);
    snprintf(path, sizeof(path), "%s/align/final", run);
    o = inspect(path, AP_OK);
    assert_string_equal(text_of(o, "kind"), "adapter");
    assert_true(json_is_true(json_object_get(o, "whole")));
    json_decref(o);
    snprintf(path, sizeof(path), "%s/pretrain/final", run);
    o = inspect(path, AP_OK);
    assert_string_equal(text_of(o, "kind"), "model");
    json_decref(o);
    snprintf(path, sizeof(path), "%s/align/ckpt/step-00000004", run);
    o = inspect(path, AP_OK);
    assert_string_equal(text_of(o, "kind"), "checkpoint");
    assert_true(json_is_true(json_object_get(o, "whole")));
    assert_int_equal(json_integer_value(json_object_get(o, "step")), 4);
    json_t *policy = json_object_get(o, "policy");
    assert_string_equal(text_of(policy, "result"), "adapter of rank 4");
    assert_int_equal(json_integer_value(json_object_get(policy, "optimiser_tensors")), 2 * 2 * 7);
    json_decref(o);
    strcat(path, "/DONE");
    assert_int_equal(unlink(path), 0);
    *strrchr(path, '/') = '\0';
    o = inspect(path, AP_OK);
    assert_true(json_is_false(json_object_get(o, "whole")));
    json_decref(o);
}

/* The mean of an arm as eval.json has it. */
static double mean_of(const char *run, const char *arm, int *n_prompts)
{
    json_t *o = json_load_file(in_folder(run, "eval.json"), 0, NULL);
    const json_t *arms = json_object_get(json_array_get(json_object_get(o, "judges"), 0), "arms");
    double mean = NAN;
    for (size_t i = 0; i < json_array_size(arms); i++) {
        const json_t *a = json_array_get(arms, i);
        if (!strcmp(text_of(a, "arm"), arm)) {
            mean = json_number_value(json_object_get(json_object_get(a, "mean"), "value"));
            *n_prompts = (int)json_integer_value(json_object_get(a, "prompts"));
        }
    }
    json_decref(o);
    return mean;
}

static void damage(const char *run)
{
    const char *path = in_folder(run, "run.db");
    struct ap_error err;
    check_ok(ap_file_write(path,
                           "no database at all, but some text that is longer than a header, "
                           "which has a hundred bytes in all",
                           97, &err),
             err);
    json_t *o = inspect(run, AP_FORMAT);
    check_holds(json_string_value(json_array_get(json_object_get(o, "problems"), 0)),
                "file is not a database");
    assert_string_equal(text_of(stage_of(o, "align"), "state"), "done");
    json_decref(o);
    put_text(run, "recipe.yaml", "models: [");
    o = inspect(run, AP_FORMAT);
    assert_int_equal(json_array_size(json_object_get(o, "problems")), 2);
    json_decref(o);
}

static void test_finished_and_damaged(void **state)
{
    struct program p = {0};
    char kept[512];
    snprintf(kept, sizeof(kept), "%s", in_folder(*state, "run"));
    assert_int_equal(ap_dir_remove(kept, NULL), AP_OK);
    make(*state, 5);
    program_must(&p, *state, "run", in_folder(*state, "recipe.yaml"));
    uint64_t before = print_of(kept);
    program_must(&p, *state, "inspect", kept);
    assert_true(before == print_of(kept));
    check_holds(p.table, "  align                done                       adapter of rank 4 ");
    check_holds(p.table, "  in use      no\n");
    check_holds(p.table, "mean score by judge");
    for (const char *line = p.table; line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        assert_true(strcspn(line, "\n") <= 100);
    int n_prompts = 0;
    double mean = mean_of(kept, "align", &n_prompts);
    json_t *o = inspect(kept, AP_OK);
    const json_t *score =
        json_object_get(json_object_get(json_object_get(o, "scores"), "align"), "reward");
    check_near(json_number_value(json_object_get(score, "mean")), mean, 1e-9, 1e-9);
    assert_int_equal(json_integer_value(json_object_get(score, "answers")), 2 * n_prompts);
    json_decref(o);
    check_parts(kept);
    damage(kept);
}

/* The last row of a stage with validations holds what they measured, and nothing of the steps. */
static void test_metrics_of_validations(void **state)
{
    struct program p = {0};
    char run[512];
    snprintf(run, sizeof(run), "%s", in_folder(*state, "run"));
    assert_int_equal(ap_dir_remove(run, NULL), AP_OK);
    make(*state, 4);
    program_must(&p, *state, "align", in_folder(*state, "recipe.yaml"), "--set",
                 "align.valid_every=2");
    json_t *o = inspect(run, AP_OK);
    const json_t *align = json_object_get(json_object_get(o, "metrics"), "align"),
                 *values = json_object_get(align, "values");
    assert_int_equal(json_integer_value(json_object_get(align, "step")), 4);
    static const char *const names[] = {"reward", "kl", "loss", "grad_norm", "valid_reward"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_true(json_is_number(json_object_get(values, names[i])));
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_work_and_killed),
        cmocka_unit_test(test_finished_and_damaged),
        cmocka_unit_test(test_metrics_of_validations),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
