/* What reaches a stage: no key that changes results may be forgotten, and the first difference of
 * two records is named. Taking over itself: test_run_from.c. */
#include "pipeline/stage_share.h"

#include "program.h"

static const char *const stages[] = {"pretrain", "reward", "normaliser", "sft",
                                     "align",    "rlhf",   "dpo",        "ift"};

struct shared {
    struct ap_recipe *recipe;
    struct ap_run run;
    json_t *inputs[AP_LEN(stages)];
};

static void open_shared(struct shared *s, const char *folder, const char *const *sets, size_t n)
{
    struct ap_error err;
    char path[300];
    *s = (struct shared){0};
    snprintf(path, sizeof(path), "%s/recipe.yaml", folder);
    check_ok(ap_recipe_open(&s->recipe, path, sets, n, &err), err);
    s->run.recipe = s->recipe;
    s->run.s = ap_recipe_settings(s->recipe);
    s->run.marks = json_object();
    for (size_t i = 0; i < AP_LEN(stages); i++)
        check_ok(ap_share_inputs(&s->run, stages[i], &s->inputs[i], &err), err);
}

static void close_shared(struct shared *s)
{
    for (size_t i = 0; i < AP_LEN(stages); i++)
        json_decref(s->inputs[i]);
    json_decref(s->run.marks);
    ap_recipe_close(s->recipe);
}

/* Of which stage's inputs it is, or NULL. */
static const char *reached(const struct shared *s, const char *key)
{
    for (size_t i = 0; i < AP_LEN(stages); i++)
        if (json_object_get(json_object_get(s->inputs[i], "settings"), key))
            return stages[i];
    return NULL;
}

static ap_status check_reached(void *context, const char *key, const char *value, bool harmless,
                               struct ap_error *err)
{
    (void)value, (void)err;
    bool folder = strcmp(key, "reward.folder") == 0; /* counts here, and not in the fingerprint */
    if (harmless && !folder) {
        assert_null(reached(context, key));
    } else if (!reached(context, key)) {
        fprintf(stderr, "%s reaches no stage: stage_share.c's table has no row that holds it\n",
                key);
        fail();
    }
    return AP_OK;
}

static void test_every_key_that_changes_results_reaches_a_stage(void **state)
{
    struct shared s;
    struct ap_error err;
    struct tiny_recipe r = tiny_recipe_every_arm();
    put_recipe(*state, "recipe.yaml", &r);
    open_shared(&s, *state, NULL, 0);
    check_ok(ap_recipe_each_value(s.recipe, check_reached, &s, &err), err);
    close_shared(&s);
}

static void check_difference(const struct shared *a, const struct shared *b, const char *stage,
                             const char *expected)
{
    char why[300] = "";
    size_t i = 0;
    while (strcmp(stages[i], stage) != 0)
        i++;
    bool differs = ap_share_difference(a->inputs[i], b->inputs[i], why, sizeof(why));
    assert_int_equal(differs, expected != NULL);
    check_holds(why, expected ? expected : "");
}

static void test_the_first_difference_is_named(void **state)
{
    struct shared a, b;
    struct tiny_recipe r = tiny_recipe_default;
    put_recipe(*state, "recipe.yaml", &r);
    open_shared(&a, *state, NULL, 0);
    open_shared(&b, *state,
                (const char *[]){"align.kl=0.3", "rlhf.kl=0.05", "eval.n=7", "run.threads=3"}, 4);
    for (size_t i = 0; i < AP_LEN(stages); i++)
        check_difference(&a, &b, stages[i],
                         strcmp(stages[i], "align") == 0 ? "align.kl is 0.05 there and 0.3 here"
                                                         : NULL);
    close_shared(&b);
    /* the reward is that of align and of rlhf, and its model starts from what pretrain left */
    open_shared(&b, *state, (const char *[]){"reward_train.margin=1"}, 1);
    check_difference(&a, &b, "sft", NULL);
    check_difference(&a, &b, "dpo", NULL);
    check_difference(&a, &b, "rlhf", "reward_train.margin is 0 there and 1 here");
    close_shared(&b);
    open_shared(&b, *state, (const char *[]){"pretrain.model=prompter"}, 1);
    check_difference(&a, &b, "sft", "there");
    check_difference(&a, &b, "reward", "there");
    close_shared(&b);
    /* a stage with a file of its own does not read data.path */
    put_text(*state, "other.jsonl", "{}\n");
    open_shared(&b, *state, (const char *[]){"data.path=other.jsonl"}, 1);
    check_difference(&a, &b, "sft", NULL);
    check_difference(&a, &b, "pretrain", NULL);
    check_difference(&a, &b, "align", "data.path is ");
    close_shared(&b);
    /* what is validated on decides which step is kept */
    const char *const valid[] = {"align.valid_every=2", "align.valid_path=other.jsonl"};
    struct shared c;
    open_shared(&b, *state, valid, 2);
    put_text(*state, "other.jsonl", "{}\n{}\n");
    open_shared(&c, *state, valid, 2);
    check_difference(&b, &c, "align", "other.jsonl has changed since");
    check_difference(&b, &c, "sft", NULL);
    close_shared(&c);
    close_shared(&b);
    put_text(*state, "rewrites.jsonl", "{}\n");
    open_shared(&b, *state, NULL, 0);
    check_difference(&a, &b, "sft", "rewrites.jsonl has changed since");
    check_difference(&a, &b, "align", "rewrites.jsonl has changed since");
    check_difference(&a, &b, "rlhf", NULL);
    json_object_set_new(b.inputs[4], "program", json_string("0.0.1"));
    check_difference(&b, &a, "align", "it was made by alignpro 0.0.1");
    close_shared(&b);
    close_shared(&a);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_setup, program_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_every_key_that_changes_results_reaches_a_stage),
        WITH_FOLDER(test_the_first_difference_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
