/* Validations of a stage, on a table: what they measure and leave alone, which step is kept, when
 * the stage ends; and all of it the same after an interruption. */
#include "align/tabular_run.h"
#include "align/validate.h"

enum { N_VALID = 40, LONG = 48 };

static const char *const judges[] = {"reward", "held"};

/* The held-out judge loves rewrite 6, which training likes, and hates 7, which it likes most. */
static double held(int code)
{
    return code == 6 ? 1 : code == 7 ? -0.5 : -1;
}

static ap_status judge(void *self, int64_t step, struct ap_rollout *r, double *out,
                       struct ap_error *err)
{
    const struct tabular_scorer *e = self;
    (void)err;
    assert_true(step == AP_VALID_STEP);
    for (int i = 0; i < r->n_row; i++) {
        const struct ap_rollout_row *row = &r->rows[i];
        int code = 0;
        assert_in_range(row->prompt, N_PROMPT, N_PROMPT + N_VALID - 1); /* never a training one */
        for (int t = 0; t < row->n; t++)
            code = code * 2 + r->ids[row->first + (size_t)t];
        out[i] = e->value[row->prompt % X * R + code];
        out[r->n_row + i] = held(code);
    }
    return AP_OK;
}

static void watched_open(struct run *o, enum loop loop)
{
    run_open(o, loop);
    for (int x = 0; x < X; x++)
        for (int i = 0; i < R; i++)
            o->value[x * R + i] = i == 7 ? 1 : i == 6 ? 0.8 : 0;
    o->scorer.n_answers = 0;
    o->settings.steps = LONG;
    o->settings.kl = 0.01;
    o->settings.rewrites = 16;
    o->table.optimiser.schedule = "constant";
    o->table.optimiser.lr = 0.02;
    o->table.n_updates = (int64_t)LONG * 2 * 3;
    o->settings.valid_every = 4;
    o->settings.keep = (char *)"best";
    o->env.n_valid = N_VALID;
    o->env.judges = judges;
    o->env.n_judge = 2;
    o->env.picks = 1;
    o->env.judge = judge;
}

static void watched_close(struct run *o, struct kept *k)
{
    kept_close(k);
    run_close(o);
}

/* -- what is measured -- */

struct course {
    const char *name;
    double value[LONG + 1];
    int64_t step[LONG + 1];
    int n;
};

static ap_status take_point(void *context, const char *stage, int64_t step, const char *name,
                            double value)
{
    struct course *c = context;
    (void)stage;
    if (strcmp(name, c->name) != 0)
        return AP_OK;
    assert_true(c->n <= LONG);
    c->step[c->n] = step;
    c->value[c->n++] = value;
    return AP_OK;
}

static struct course course_of(const struct kept *k, const char *name)
{
    struct ap_error err;
    struct course c = {.name = name};
    check_ok(ap_database_each_metric(k->db, take_point, &c, &err), err);
    return c;
}

static void test_the_step_before_the_held_out_judge_turns_is_kept(void **state)
{
    for (enum loop loop = RLOO; loop < N_LOOP; loop++) {
        struct run o;
        struct kept k;
        struct ap_error err;
        static const char *const names[] = {"rloo", "grpo", "ppo"};
        watched_open(&o, loop);
        kept_open(&k, &o, *state, names[loop]);
        check_ok(run_go(&o, loop, &err), err);
        struct course heldout = course_of(&k, "valid_held"), own = course_of(&k, "valid_reward");
        struct course kl = course_of(&k, "valid_kl");
        assert_int_equal(heldout.n, 1 + LONG / 4);
        assert_int_equal(own.n, heldout.n);
        int best = 0;
        for (int i = 0; i < heldout.n; i++) {
            assert_int_equal(heldout.step[i], 4 * i);
            best = heldout.value[i] > heldout.value[best] ? i : best;
        }
        const int last = heldout.n - 1;
        assert_true(own.value[last] > own.value[best] && own.value[best] > own.value[0]);
        assert_true(heldout.value[best] > heldout.value[last] + 0.1);
        assert_in_range(best, 1, last - 1);
        check_near(kl.value[0], 0, 1e-12, 0); /* nothing was learned yet */
        assert_int_equal(o.stage.watch.kept_step, 4 * best);
        assert_true(o.stage.watch.best == heldout.value[best]);
        assert_null(o.stage.watch.ended);
        watched_close(&o, &k);
    }
}

/* The kept table is the one that training had at that step. */
static void test_what_is_kept_is_what_training_had_then(void **state)
{
    struct run o, until;
    struct kept k, k_until;
    struct ap_error err;
    watched_open(&o, PPO);
    kept_open(&k, &o, *state, "best");
    check_ok(run_go(&o, PPO, &err), err);
    watched_open(&until, PPO);
    until.settings.steps = (int)o.stage.watch.kept_step;
    until.settings.keep = (char *)"last";
    kept_open(&k_until, &until, *state, "until");
    check_ok(run_go(&until, PPO, &err), err);
    check_same_table(&until, &o);
    watched_close(&until, &k_until);
    watched_close(&o, &k);
}

static void test_validations_change_nothing_of_what_is_learned(void **state)
{
    struct run with, without;
    struct kept k_with, k_without;
    struct ap_error err;
    watched_open(&with, RLOO);
    with.settings.keep = (char *)"last";
    kept_open(&k_with, &with, *state, "with");
    check_ok(run_go(&with, RLOO, &err), err);
    watched_open(&without, RLOO);
    without.settings.valid_every = 0;
    kept_open(&k_without, &without, *state, "without");
    check_ok(run_go(&without, RLOO, &err), err);
    check_same_table(&with, &without);
    assert_int_equal(with.stage.watch.kept_step, LONG);
    assert_int_equal(without.stage.watch.kept_step, LONG);
    assert_int_equal(course_of(&k_without, "valid_held").n, 0);
    char *best = ap_run_dir_path(&k_with.dir, "align", "best");
    assert_false(ap_file_exists(best));
    ap_free(best);
    watched_close(&with, &k_with);
    watched_close(&without, &k_without);
}

/* Another batch is another grouping of the same numbers. */
static void test_a_validation_depends_on_no_batch(void **state)
{
    struct course c[2];
    for (int i = 0; i < 2; i++) {
        struct run o;
        struct kept k;
        struct ap_error err;
        watched_open(&o, RLOO);
        o.settings.steps = 0;
        o.settings.prompts = i ? 10 : 3; /* 12 or 40 rows at once */
        kept_open(&k, &o, *state, i ? "b" : "a");
        check_ok(run_go(&o, RLOO, &err), err);
        c[i] = course_of(&k, "valid_held");
        watched_close(&o, &k);
    }
    assert_int_equal(c[0].n, 1);
    assert_true(c[0].value[0] == c[1].value[0]);
}

/* -- its end -- */

static void test_patience_ends_the_stage(void **state)
{
    struct run o, whole;
    struct kept k, k_whole;
    struct ap_error err;
    watched_open(&whole, GRPO);
    kept_open(&k_whole, &whole, *state, "whole");
    check_ok(run_go(&whole, GRPO, &err), err);
    watched_open(&o, GRPO);
    o.settings.patience = 2;
    kept_open(&k, &o, *state, "patient");
    check_ok(run_go(&o, GRPO, &err), err);
    struct course c = course_of(&k, "valid_held");
    assert_in_range(c.n, 4, LONG / 4);
    assert_string_equal(o.stage.watch.ended, "patience");
    assert_int_equal(o.stage.watch.kept_step, c.step[c.n - 3]);
    assert_int_equal(o.recorder.n[AP_EVENT_STEP], c.step[c.n - 1]);
    assert_int_equal(o.recorder.n[AP_EVENT_END], 1);
    check_same_table(&o, &whole); /* the later ones were no better either */
    watched_close(&o, &k);
    watched_close(&whole, &k_whole);
}

/* The reward runs ahead of the judge that it is not: a warning once, then the end. */
static void test_a_gap_warns_once_and_stops(void **state)
{
    const struct ap_monitor_settings warns = {.limits[AP_MONITOR_GAP] = {{0.2}, 1}},
                                     stops = {.limits[AP_MONITOR_GAP] = {{0.2, 0.35}, 2}};
    struct run o;
    struct kept k;
    struct ap_error err;
    watched_open(&o, RLOO);
    o.stage.monitor = &warns;
    kept_open(&k, &o, *state, "warns");
    check_ok(run_go(&o, RLOO, &err), err);
    struct course gap = course_of(&k, "gap"), own = course_of(&k, "valid_reward"),
                  other = course_of(&k, "valid_held");
    assert_int_equal(gap.n, own.n);
    for (int i = 0; i < gap.n; i++)
        check_near(gap.value[i], own.value[i] - other.value[i] - (own.value[0] - other.value[0]),
                   1e-12, 0);
    assert_true(gap.value[gap.n - 1] > 0.35);
    assert_int_equal(o.recorder.n[AP_EVENT_WARN], 1);
    check_holds(o.recorder.warning, "gap is ");
    check_holds(o.recorder.warning, "the warning of monitor.gap, 0.2");
    assert_null(o.stage.watch.ended);
    const int64_t best = o.stage.watch.kept_step;
    watched_close(&o, &k);

    watched_open(&o, RLOO);
    o.stage.monitor = &stops;
    kept_open(&k, &o, *state, "stops");
    check_ok(run_go(&o, RLOO, &err), err);
    assert_string_equal(o.stage.watch.ended, "gap");
    check_holds(o.recorder.warning, "beyond the stop of monitor.gap, 0.35");
    assert_in_range(o.recorder.n[AP_EVENT_STEP], 4, LONG - 4);
    assert_int_equal(o.stage.watch.kept_step, best);
    watched_close(&o, &k);
}

static void test_nothing_to_validate_on_is_refused(void **state)
{
    struct run o;
    struct ap_error err;
    (void)state;
    watched_open(&o, RLOO);
    o.env.n_valid = 0;
    assert_int_equal(run_go(&o, RLOO, &err), AP_INVALID);
    check_holds(err.text, "0 valid prompts");
    run_close(&o);
}

/* -- interruptions -- */

/* Killed after `at` steps, in a process of its own. */
static void killed(const char *root, enum loop loop, int64_t at)
{
    int how = 0;
    pid_t child = fork();
    if (child == 0) {
        struct run part;
        struct kept k;
        struct ap_error err;
        watched_open(&part, loop);
        kept_open(&k, &part, root, "part");
        part.stage.checkpoint_every = 3;
        part.recorder.kill_at = at;
        run_go(&part, loop, &err);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void check_same_best(const struct kept *a, const struct kept *b, const char *stage,
                            int64_t step)
{
    struct ap_error err;
    struct ap_buffer x = {0}, y = {0};
    char name[64];
    snprintf(name, sizeof(name), "best/step-%08lld/table", (long long)step);
    char *one = ap_run_dir_path(&a->dir, stage, name), *two = ap_run_dir_path(&b->dir, stage, name);
    check_ok(ap_file_read(one, 1 << 20, &x, &err), err);
    check_ok(ap_file_read(two, 1 << 20, &y, &err), err);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    ap_buffer_free(&x);
    ap_buffer_free(&y);
    ap_free(one);
    ap_free(two);
}

static void check_undisturbed(const char *root, enum loop loop)
{
    struct run whole, part;
    struct kept k_whole, k_part;
    struct ap_error err;
    watched_open(&whole, loop);
    kept_open(&k_whole, &whole, root, "whole");
    check_ok(run_go(&whole, loop, &err), err);
    const int64_t best = whole.stage.watch.kept_step;
    assert_in_range(best, 4, LONG - 4);
    killed(root, loop, 2);        /* before there is a checkpoint: afresh */
    killed(root, loop, best + 1); /* best/ is there; the checkpoint does not know it yet */
    killed(root, loop, best + 7);
    killed(root, loop, LONG);
    watched_open(&part, loop);
    kept_open(&k_part, &part, root, "part");
    check_ok(run_go(&part, loop, &err), err);
    assert_int_equal(part.stage.watch.kept_step, best);
    assert_true(part.stage.watch.best == whole.stage.watch.best);
    check_same_table(&whole, &part);
    check_same_best(&k_whole, &k_part, whole.stage.name, best);
    struct course a = course_of(&k_whole, "valid_held"), b = course_of(&k_part, "valid_held");
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.value, b.value, sizeof(a.value));
    watched_close(&part, &k_part);
    watched_close(&whole, &k_whole);
}

static void test_killed_and_resumed_keeps_the_same_step(void **state)
{
    check_undisturbed(*state, RLOO);
}

static void test_killed_and_resumed_keeps_the_same_step_with_a_critic(void **state)
{
    check_undisturbed(*state, PPO);
}

static void test_a_best_that_is_gone_is_told(void **state)
{
    struct run o;
    struct kept k;
    struct ap_error err;
    watched_open(&o, RLOO);
    o.recorder.stop_at = LONG;
    kept_open(&k, &o, *state, "gone");
    assert_int_equal(run_go(&o, RLOO, &err), AP_INTERRUPTED);
    char *best = ap_run_dir_path(&k.dir, "align", "best");
    check_ok(ap_dir_remove(best, &err), err);
    ap_free(best);
    watched_close(&o, &k);
    watched_open(&o, RLOO);
    kept_open(&k, &o, *state, "gone");
    assert_int_equal(run_go(&o, RLOO, &err), AP_NOT_FOUND);
    check_holds(err.text, "is missing or not whole");
    watched_close(&o, &k);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        TEST(test_the_step_before_the_held_out_judge_turns_is_kept),
        TEST(test_what_is_kept_is_what_training_had_then),
        TEST(test_validations_change_nothing_of_what_is_learned),
        TEST(test_a_validation_depends_on_no_batch),
        TEST(test_patience_ends_the_stage),
        TEST(test_a_gap_warns_once_and_stops),
        TEST(test_nothing_to_validate_on_is_refused),
        TEST(test_killed_and_resumed_keeps_the_same_step),
        TEST(test_killed_and_resumed_keeps_the_same_step_with_a_critic),
        TEST(test_a_best_that_is_gone_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
