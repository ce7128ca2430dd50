/* What every stage promises, shown by the loops on a table: resume bit for bit, the assertions of
 * math.md (13), bad steps, kl_stop, the order of prompts, nothing allocated in a step. */
#include "align/tabular_run.h"

/* math.md (14): λ is state of the stage, too. */
static void adapt(struct run *o)
{
    o->settings.kl_target = 0.05;
    o->settings.kl_horizon = 20;
}

static void undisturbed(struct run *o, struct kept *k, const char *root, enum loop loop)
{
    struct ap_error err;
    run_open(o, loop);
    adapt(o);
    kept_open(k, o, root, "whole");
    check_ok(run_go(o, loop, &err), err);
    assert_int_equal(o->recorder.n[AP_EVENT_BEGIN], 1);
    assert_int_equal(o->recorder.n[AP_EVENT_STEP], STEPS);
    assert_int_equal(o->recorder.n[AP_EVENT_END], 1);
    assert_int_equal(o->recorder.n[AP_EVENT_WARN], 0);
    assert_true(isfinite(o->recorder.tokens_per_s) && o->recorder.tokens_per_s > 0);
}

static void check_stop_and_resume(const char *root, enum loop loop)
{
    struct run whole, part;
    struct kept kept_whole, kept_part;
    struct ap_error err;
    undisturbed(&whole, &kept_whole, root, loop);
    for (int turn = 0; turn < 3; turn++) { /* stopped after step 4, after step 7, not at all */
        run_open(&part, loop);
        adapt(&part);
        kept_open(&kept_part, &part, root, "part");
        part.recorder.stop_at = turn == 0 ? 4 : turn == 1 ? 7 : 0;
        ap_status status = run_go(&part, loop, &err);
        if (turn == 2)
            break;
        assert_int_equal(status, AP_INTERRUPTED);
        check_holds(err.text, turn == 0 ? "stopped after step 4 of 9" : "after step 7 of 9");
        check_holds(err.text, "run the same command again");
        kept_close(&kept_part);
        run_close(&part);
    }
    assert_int_equal(part.recorder.n[AP_EVENT_STEP], 2);
    assert_int_equal(part.recorder.n[AP_EVENT_NOTE], 1);
    check_same_table(&whole, &part);
    check_same_metrics(&kept_whole, &kept_part);
    kept_close(&kept_part);
    kept_close(&kept_whole);
    run_close(&part);
    run_close(&whole);
}

static void test_stopped_and_resumed_is_undisturbed(void **state)
{
    check_stop_and_resume(*state, RLOO);
}

static void test_stopped_and_resumed_is_undisturbed_by_grpo(void **state)
{
    check_stop_and_resume(*state, GRPO);
}

static void test_stopped_and_resumed_is_undisturbed_with_a_critic(void **state)
{
    check_stop_and_resume(*state, PPO);
}

/* Steps 6 and 7 are in run.db, but the newest checkpoint is that of step 6. */
static void test_killed_and_resumed_is_undisturbed(void **state)
{
    struct run whole, part;
    struct kept kept_whole, kept_part;
    struct ap_error err;
    int how = 0;
    undisturbed(&whole, &kept_whole, *state, RLOO);
    pid_t child = fork();
    if (child == 0) {
        run_open(&part, RLOO);
        adapt(&part);
        kept_open(&kept_part, &part, *state, "part");
        part.stage.checkpoint_every = 3;
        part.recorder.kill_at = 8;
        run_go(&part, RLOO, &err);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    run_open(&part, RLOO);
    adapt(&part);
    kept_open(&kept_part, &part, *state, "part");
    check_ok(run_go(&part, RLOO, &err), err);
    assert_int_equal(part.recorder.n[AP_EVENT_STEP], 3);
    check_same_table(&whole, &part);
    check_same_metrics(&kept_whole, &kept_part);
    kept_close(&kept_part);
    kept_close(&kept_whole);
    run_close(&part);
    run_close(&whole);
}

struct lambdas {
    double kl[STEPS], lambda[STEPS];
    int n;
};

static ap_status take_lambda(void *context, const char *stage, int64_t step, const char *name,
                             double value)
{
    struct lambdas *l = context;
    (void)stage;
    if (strcmp(name, "kl") == 0)
        l->kl[step] = value;
    if (strcmp(name, "lambda") == 0) {
        l->lambda[step] = value;
        l->n++;
    }
    return AP_OK;
}

/* From step to step λ rises where the KL was over its target and falls where it was below; it
 * begins as the recipe says. Where nothing adapts, nothing is noted. */
static void test_lambda_follows_the_kl(void **state)
{
    struct run o;
    struct kept kept;
    struct ap_error err;
    for (enum loop loop = RLOO; loop < N_LOOP; loop++) {
        struct lambdas l = {.n = 0};
        int up = 0, down = 0;
        assert_int_equal(ap_dir_remove(*state, NULL), AP_OK);
        undisturbed(&o, &kept, *state, loop);
        check_ok(ap_database_each_metric(kept.db, take_lambda, &l, &err), err);
        assert_int_equal(l.n, STEPS);
        assert_true(l.lambda[0] == 0.1);
        for (int i = 0; i + 1 < STEPS; i++) {
            up += l.kl[i] > 0.05;
            down += l.kl[i] < 0.05;
            assert_true((l.lambda[i + 1] > l.lambda[i]) == (l.kl[i] > 0.05));
        }
        assert_true(up > 0 && down > 0);
        kept_close(&kept);
        run_close(&o);
    }
    struct lambdas l = {.n = 0};
    assert_int_equal(ap_dir_remove(*state, NULL), AP_OK);
    run_open(&o, RLOO);
    kept_open(&kept, &o, *state, "plain");
    check_ok(run_go(&o, RLOO, &err), err);
    check_ok(ap_database_each_metric(kept.db, take_lambda, &l, &err), err);
    assert_int_equal(l.n, 0);
    assert_true(o.stage.kl == 0.1);
    kept_close(&kept);
    run_close(&o);
}

static void test_a_stage_without_a_directory_says_that_nothing_is_kept(void **state)
{
    (void)state;
    struct run o;
    struct ap_error err;
    run_open(&o, RLOO);
    o.recorder.stop_at = 2;
    assert_int_equal(run_go(&o, RLOO, &err), AP_INTERRUPTED);
    check_holds(err.text, "starts afresh next time");
    run_close(&o);
}

/* -- (13) -- */

static void check_refused(enum loop loop, double lie, double wobble, const char *a, const char *b)
{
    struct run o;
    struct ap_error err;
    run_open(&o, loop);
    o.table.lie = lie;
    o.table.wobble = wobble;
    assert_int_equal(run_go(&o, loop, &err), AP_NUMERIC);
    check_holds(err.text, "step 0");
    check_holds(err.text, "token 0 of 3");
    check_holds(err.text, a);
    check_holds(err.text, b);
    assert_int_equal(o.recorder.n[AP_EVENT_STEP], 0);
    run_close(&o);
}

static void test_another_reference_than_the_policy_is_refused(void **state)
{
    (void)state;
    for (enum loop loop = RLOO; loop < N_LOOP; loop++) {
        check_refused(loop, 1e-3, 0, "under the reference", "both are one model");
        check_refused(loop, NAN, 0, "nan", "under the reference");
    }
}

static void test_a_forward_that_changes_is_refused(void **state)
{
    (void)state;
    for (enum loop loop = RLOO; loop < N_LOOP; loop++)
        check_refused(loop, 0, 1e-3, "in the first minibatch", "after sampling");
}

static void test_differences_within_tolerance_pass(void **state)
{
    (void)state;
    struct run o;
    struct ap_error err;
    run_open(&o, RLOO);
    o.table.lie = 1e-10;
    check_ok(run_go(&o, RLOO, &err), err);
    run_close(&o);
}

static void test_a_negative_mean_kl_is_refused(void **state)
{
    (void)state;
    struct run o;
    struct ap_error err;
    struct ap_rollout *r;
    struct ap_rl_work w;
    const int32_t ids[] = {0};
    run_open(&o, RLOO);
    check_ok(ap_rl_open(&w, &o.stage, &o.policy, &o.env, &o.settings, &err), err);
    r = &w.rollout;
    check_ok(ap_rollout_add(r, 0, 0, 0, ids, 1, true, NULL, &err), err);
    r->rows[0].kl = -2e-6;
    assert_int_equal(ap_rl_check_kl(&o.stage, &o.policy, r, 3, &err), AP_NUMERIC);
    check_holds(err.text, "the mean KL is -2e-06");
    r->rows[0].kl = -0.5e-6;
    check_ok(ap_rl_check_kl(&o.stage, &o.policy, r, 3, &err), err);
    r->rows[0].kl = 1e-3;
    check_ok(ap_rl_check_kl(&o.stage, &o.policy, r, 3, &err), err);
    assert_int_equal(ap_rl_check_kl(&o.stage, &o.policy, r, 0, &err), AP_NUMERIC);
    check_holds(err.text, "expected 0 before the first update");
    r->rows[0].kl = 0;
    r->logp_ref[0] = -INFINITY;
    assert_int_equal(ap_rl_check_kl(&o.stage, &o.policy, r, 3, &err), AP_NUMERIC);
    check_holds(err.text, "-inf under the reference");
    ap_rl_close(&w);
    run_close(&o);
}

/* -- bad steps, kl_stop -- */

static void test_a_bad_step_is_skipped_and_counted(void **state)
{
    (void)state;
    for (enum loop loop = RLOO; loop < N_LOOP; loop++) {
        struct run o;
        struct ap_error err;
        run_open(&o, loop);
        o.table.poison = 7;
        check_ok(run_go(&o, loop, &err), err);
        assert_int_equal(o.stage.n_skipped, 1);
        assert_int_equal(o.recorder.n[AP_EVENT_WARN], 1);
        check_holds(o.recorder.warning, "step 1: table.logits is not finite");
        assert_int_equal(o.table.n_applied, STEPS * 6 - 1);
        for (size_t i = 0; i < o.table.logits.n; i++)
            assert_true(isfinite(o.table.logits.x[i]));
        run_close(&o);
    }
}

static void test_bad_steps_in_a_row_stop_the_run(void **state)
{
    (void)state;
    struct run o;
    struct ap_error err;
    run_open(&o, RLOO);
    o.stage.max_bad_steps = 1;
    o.table.poison = 3;
    assert_int_equal(run_go(&o, RLOO, &err), AP_NUMERIC);
    check_holds(err.text, "step 0: table.logits is not finite");
    run_close(&o);
    run_open(&o, PPO); /* a reward that is NaN: the loss says so, and nothing is learned from it */
    o.scorer.offset = NAN;
    assert_int_equal(run_go(&o, PPO, &err), AP_NUMERIC);
    check_holds(err.text, "the loss");
    check_holds(err.text, "2 updates in a row");
    assert_int_equal(o.table.n_applied, 0);
    run_close(&o);
}

static void test_kl_stop_ends_a_stage_early_and_well(void **state)
{
    (void)state;
    for (enum loop loop = RLOO; loop < N_LOOP; loop++) {
        struct run o;
        struct ap_error err;
        run_open(&o, loop);
        o.settings.kl_stop = 1e-4;
        check_ok(run_go(&o, loop, &err), err);
        assert_in_range(o.recorder.n[AP_EVENT_STEP], 1, STEPS - 1);
        assert_int_equal(o.recorder.n[AP_EVENT_WARN], 1);
        assert_int_equal(o.recorder.n[AP_EVENT_END], 1);
        check_holds(o.recorder.warning, ".kl_stop");
        run_close(&o);
    }
}

/* -- settings, prompts, cost -- */

static void test_settings_that_cannot_work_are_refused(void **state)
{
    (void)state;
    struct run o;
    struct ap_error err;
    run_open(&o, RLOO);
    o.settings.rewrites = 1;
    assert_int_equal(run_go(&o, RLOO, &err), AP_INVALID);
    check_holds(err.text, "align.rewrites is 1");
    o.settings.rewrites = 4;
    o.policy.value = NULL;
    assert_int_equal(run_go(&o, PPO, &err), AP_INVALID);
    check_holds(err.text, "needs a critic");
    o.settings.prompts = 11;
    check_ok(run_go(&o, RLOO, &err), err);
    check_holds(o.recorder.warning, "11 prompts a step are asked for, but there are 10");
    run_close(&o);
}

static void test_every_pass_is_a_new_permutation(void **state)
{
    (void)state;
    struct run o;
    struct ap_error err;
    struct ap_rl_work w;
    int32_t passes[2][9];
    run_open(&o, RLOO);
    check_ok(ap_rl_open(&w, &o.stage, &o.policy, &o.env, &o.settings, &err), err);
    for (int step = 0; step < 6; step++) { /* 3 steps of 3 prompts out of 10 */
        ap_rl_prompts(&w, &o.stage, N_PROMPT, step);
        memcpy(passes[step / 3] + step % 3 * 3, w.prompts, 3 * sizeof(int32_t));
    }
    for (int pass = 0; pass < 2; pass++) {
        bool seen[N_PROMPT] = {false};
        for (int i = 0; i < 9; i++) {
            assert_in_range(passes[pass][i], 0, N_PROMPT - 1);
            assert_false(seen[passes[pass][i]]);
            seen[passes[pass][i]] = true;
        }
    }
    assert_memory_not_equal(passes[0], passes[1], sizeof(passes[0]));
    ap_rl_prompts(&w, &o.stage, N_PROMPT, 1); /* a function of the step alone */
    assert_memory_equal(w.prompts, passes[0] + 3, 3 * sizeof(int32_t));
    ap_rl_close(&w);
    run_close(&o);
}

static void test_a_step_allocates_nothing(void **state)
{
    (void)state;
    for (enum loop loop = RLOO; loop < N_LOOP; loop++) {
        struct run o;
        struct ap_error err;
        run_open(&o, loop);
        check_ok(run_go(&o, loop, &err), err);
        assert_int_equal(o.recorder.allocations[1], o.recorder.allocations[STEPS]);
        run_close(&o);
    }
}

static void test_micro_batches_change_nothing_but_rounding(void **state)
{
    (void)state;
    for (enum loop loop = RLOO; loop < N_LOOP; loop++) {
        struct run whole, split;
        struct ap_error err;
        run_open(&whole, loop);
        run_open(&split, loop);
        split.table.micro = 3;
        check_ok(run_go(&whole, loop, &err), err);
        check_ok(run_go(&split, loop, &err), err);
        for (size_t i = 0; i < whole.table.logits.n; i++)
            check_near(split.table.logits.x[i], whole.table.logits.x[i], 1e-6, 0);
        run_close(&whole);
        run_close(&split);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stopped_and_resumed_is_undisturbed, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_stopped_and_resumed_is_undisturbed_by_grpo, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_stopped_and_resumed_is_undisturbed_with_a_critic,
                                        make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_lambda_follows_the_kl, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_killed_and_resumed_is_undisturbed, make_root,
                                        remove_root),
        cmocka_unit_test(test_a_stage_without_a_directory_says_that_nothing_is_kept),
        cmocka_unit_test(test_another_reference_than_the_policy_is_refused),
        cmocka_unit_test(test_a_forward_that_changes_is_refused),
        cmocka_unit_test(test_differences_within_tolerance_pass),
        cmocka_unit_test(test_a_negative_mean_kl_is_refused),
        cmocka_unit_test(test_a_bad_step_is_skipped_and_counted),
        cmocka_unit_test(test_bad_steps_in_a_row_stop_the_run),
        cmocka_unit_test(test_kl_stop_ends_a_stage_early_and_well),
        cmocka_unit_test(test_settings_that_cannot_work_are_refused),
        cmocka_unit_test(test_every_pass_is_a_new_permutation),
        cmocka_unit_test(test_a_step_allocates_nothing),
        cmocka_unit_test(test_micro_batches_change_nothing_but_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
