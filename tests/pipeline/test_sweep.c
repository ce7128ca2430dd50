/* A sweep from inside: its points, the recipe of each, and the frontier that samples give it. The
 * command as a whole: tests/cli/test_sweep.sh. */
#include "pipeline/sweep_inner.h"

#include "program.h"

#include <math.h>

static struct ap_sweep *open_sweep(const char *folder, const char *const *grid, size_t n)
{
    struct ap_error err;
    struct ap_sweep *sweep;
    char recipe[300];
    snprintf(recipe, sizeof(recipe), "%s/recipe.yaml", folder);
    put_recipe(folder, "recipe.yaml", &tiny_recipe_default);
    check_ok(ap_sweep_open(&sweep, recipe, grid, n, (const char *[]){"run.from=elsewhere"}, 1, NULL,
                           &err),
             err);
    return sweep;
}

static void test_every_combination_has_its_recipe(void **state)
{
    const char *grid[] = {"align.kl=0.1,5e-2", "align.steps=2,3,4"};
    struct ap_sweep *s = open_sweep(*state, grid, 2);
    struct ap_error err;
    assert_int_equal(s->n, 6);
    assert_string_equal(s->arm, "align");
    assert_string_equal(s->points[0].folder, "align.kl=0.1,align.steps=2");
    assert_string_equal(s->points[5].folder, "align.kl=0.05,align.steps=4"); /* 5e-2 */
    assert_int_equal(s->n_from, 1);
    assert_string_equal(ap_sweep_directory(s), in_folder(*state, "run/sweep"));
    for (int i = 0; i < s->n; i++) {
        struct ap_recipe *recipe;
        check_ok(ap_sweep_recipe(s, i, (const char *[]){"align.prompts=7"}, 1, &recipe, &err), err);
        const struct ap_settings *settings = ap_recipe_settings(recipe);
        check_near(settings->align.kl, i < 3 ? 0.1 : 0.05, 1e-15, 0);
        assert_int_equal(settings->align.steps, 2 + i % 3);
        assert_int_equal(settings->align.prompts, 7);
        ap_recipe_close(recipe);
    }
    ap_sweep_close(s);
}

static void test_a_folder_is_a_plain_name(void **state)
{
    const char *grid[] = {
        "prompter.meta_prompt=\"../{prompt}\",\"../ prompt}\","
        "\"a text of many words, longer than any name of a folder should ever be, "
        "and then some more of them: {prompt}\""};
    struct ap_sweep *s = open_sweep(*state, grid, 1);
    assert_int_equal(s->n, 3);
    for (int i = 0; i < 3; i++) {
        assert_null(strchr(s->points[i].folder, '/'));
        assert_null(strchr(s->points[i].folder, ' '));
        assert_true(strlen(s->points[i].folder) < 120);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(s->points[i].folder, s->points[k].folder);
    }
    ap_sweep_close(s);
}

static void test_samples_give_it_a_frontier(void **state)
{
    const char *grid[] = {"align.kl=0.1,0.2"};
    struct ap_sweep *s = open_sweep(*state, grid, 1);
    struct ap_error err;
    char *keys[AP_SWEEP_KEYS_MAX];
    double reward[3 * 4 * 2], flat[3 * 4 * 2];
    for (int i = 0; i < 24; i++) {
        reward[i] = i / 2 % 4; /* the rewrite's number */
        flat[i] = 1;
    }
    assert_int_equal(ap_sweep_results(s, keys).n_frontier, 0);
    check_ok(ap_sweep_frontier(s, &(struct ap_frontier_samples){3, 4, 2, reward}, &err), err);
    struct ap_sweep_results r = ap_sweep_results(s, keys);
    assert_true(r.n_frontier > 10);
    assert_int_equal(r.frontier_rewrites, 4);
    check_near(r.frontier[0].reward.value, 3, 1e-9, 0); /* the best of four */
    check_near(r.frontier[0].kl.value, log(4), 1e-9, 0);
    check_near(r.frontier[r.n_frontier - 1].reward.value, 1.5, 0.05, 0); /* their mean */
    check_ok(ap_sweep_frontier(s, &(struct ap_frontier_samples){3, 4, 2, flat}, &err), err);
    assert_int_equal(ap_sweep_results(s, keys).n_frontier, 0);
    ap_sweep_close(s);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_setup, program_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_every_combination_has_its_recipe),
        WITH_FOLDER(test_a_folder_is_a_plain_name),
        WITH_FOLDER(test_samples_give_it_a_frontier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
