/* A stage's copy for TensorBoard: with each step, before its checkpoint, and given up with one
 * warning where it cannot be written. */
#include "align/stage.h"
#include "store/event_files.h"
#include "store/store_recipes.h"

#include "base/faults.h"

struct work {
    char *folder;
    struct ap_recipe *recipe;
    struct ap_run_dir dir;
    struct ap_database *db;
    struct ap_event_file events;
    struct ap_sink sink;
    struct ap_stage stage;
    int n_warn;
    char warning[512];
    int n_seen; /* points in the files when a checkpoint was written */
};

static void on_event(void *context, const struct ap_event *event)
{
    struct work *w = context;
    if (event->kind != AP_EVENT_WARN)
        return;
    w->n_warn++;
    snprintf(w->warning, sizeof(w->warning), "%s", event->text);
}

static void open_work(struct work *w)
{
    struct ap_error err;
    char set[600];
    *w = (struct work){.folder = fresh_folder()};
    snprintf(set, sizeof(set), "run.dir=%s/run", w->folder);
    check_ok(parse(&w->recipe, RECIPE_FULL, (const char *const[]){set}, 1, &err), err);
    check_ok(ap_run_dir_open(&w->dir, w->recipe, &err), err);
    char *path = ap_path_join(w->dir.path, "run.db");
    check_ok(ap_database_open(&w->db, path, &err), err);
    ap_free(path);
    w->sink = (struct ap_sink){.fn = on_event, .context = w};
    w->stage = (struct ap_stage){.name = "align",
                                 .dir = &w->dir,
                                 .db = w->db,
                                 .events = &w->events,
                                 .sink = &w->sink,
                                 .checkpoint_every = 2,
                                 .max_bad_steps = 5};
}

static void close_work(struct work *w)
{
    ap_event_file_close(&w->events);
    ap_database_close(w->db);
    ap_run_dir_close(&w->dir);
    ap_recipe_close(w->recipe);
    remove_folder(w->folder);
}

static struct event_run events_of(const struct work *w)
{
    char *tb = ap_path_join(w->dir.path, "tb"), *folder = ap_path_join(tb, "align");
    struct event_run run = read_events(folder);
    ap_free(tb);
    ap_free(folder);
    return run;
}

static ap_status load(void *self, const char *folder, struct ap_error *err)
{
    (void)self, (void)folder, (void)err;
    return AP_OK;
}

static ap_status save(void *self, const char *folder, struct ap_error *err)
{
    (void)folder, (void)err;
    struct work *w = self;
    struct event_run run = events_of(w);
    w->n_seen = run.n;
    free(run.points);
    return AP_OK;
}

static void begin(struct work *w, int64_t expected)
{
    struct ap_error err;
    int64_t step;
    check_ok(ap_stage_begin(&w->stage, 10, load, w, &step, &err), err);
    assert_int_equal(step, expected);
}

static void do_step(struct work *w, int64_t step)
{
    struct ap_error err;
    check_ok(ap_stage_metric(&w->stage, step, "reward", (double)step / 4, &err), err);
    check_ok(ap_stage_metric(&w->stage, step, "kl", step == 1 ? NAN : 0.5, &err), err);
    check_ok(ap_stage_step(&w->stage, step, 0, 0, 0, 1, save, w, &err), err);
}

static ap_status count_row(void *context, const char *stage, int64_t step, const char *name,
                           double value)
{
    (void)stage, (void)step, (void)name, (void)value;
    ++*(int *)context;
    return AP_OK;
}

static int rows_of(struct work *w)
{
    struct ap_error err;
    int n = 0;
    check_ok(ap_database_each_metric(w->db, count_row, &n, &err), err);
    return n;
}

static void test_a_checkpoint_finds_its_steps_there(void **state)
{
    (void)state;
    struct work w;
    open_work(&w);
    begin(&w, 0);
    for (int i = 0; i < 5; i++)
        do_step(&w, i);
    assert_int_equal(w.n_seen, 7); /* steps 0 to 3; a kl was NaN */
    begin(&w, 4);                  /* without an end, as after a kill: goes on in a second file */
    struct event_run run = events_of(&w);
    assert_int_equal(run.n, 7);
    assert_int_equal(run.n_file, 2);
    assert_int_equal(run.last_start, 4);
    free(run.points);
    do_step(&w, 4);
    run = events_of(&w);
    assert_int_equal(run.n, rows_of(&w));
    assert_int_equal(w.n_warn, 0);
    free(run.points);
    close_work(&w);
}

static void test_one_warning_and_on_without_it(void **state)
{
    (void)state;
    static const int codes[] = {ENOSPC, EIO};
    for (int i = 0; i < 2; i++) {
        struct work w;
        open_work(&w);
        w.stage.checkpoint_every = 0; /* whose files would fail as well, and are not forgiven */
        begin(&w, 0);
        do_step(&w, 0);
        faults.write = (struct fault){0, codes[i]};
        for (int step = 1; step < 5; step++)
            do_step(&w, step);
        faults.write.after = -1;
        do_step(&w, 5);
        ap_stage_end(&w.stage);
        assert_int_equal(w.n_warn, 1);
        check_holds(w.warning, "/tb/align/events.out.tfevents.");
        check_holds(w.warning, strerror(codes[i]));
        check_holds(w.warning, "run.db goes on");
        assert_int_equal(rows_of(&w), 11);
        struct event_run run = events_of(&w);
        assert_int_equal(run.n, 2);
        free(run.points);
        begin(&w, 0); /* the next time it is tried again */
        do_step(&w, 0);
        run = events_of(&w);
        assert_int_equal(run.n, 2);
        assert_int_equal(run.n_file, 2);
        free(run.points);
        close_work(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_checkpoint_finds_its_steps_there),
        cmocka_unit_test(test_one_warning_and_on_without_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
