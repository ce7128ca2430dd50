/* run.db: rows out and in, rewinding, other readers, being killed, a full disk, files that are no
 * run.db. */
#include "store/database.h"
#include "store_recipes.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct place {
    char *folder, *path;
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    p->folder = fresh_folder();
    p->path = ap_path_join(p->folder, "run.db");
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    ap_free(p->path);
    remove_folder(p->folder);
    free(p);
    return 0;
}

static struct ap_database *must_open(const struct place *p)
{
    struct ap_error err;
    struct ap_database *db;
    check_ok(ap_database_open(&db, p->path, &err), err);
    return db;
}

/* Rows as text, for comparing. */
static ap_status note_metric(void *context, const char *stage, int64_t step, const char *name,
                             double value)
{
    return ap_buffer_printf(context, NULL, "%s %lld %s %g;", stage, (long long)step, name, value);
}

static void check_metrics(struct ap_database *db, const char *expected)
{
    struct ap_error err;
    struct ap_buffer text = {0};
    check_ok(ap_buffer_puts(&text, "", &err), err);
    check_ok(ap_database_each_metric(db, note_metric, &text, &err), err);
    assert_string_equal(text.data, expected);
    ap_buffer_free(&text);
}

static void put_metric(struct ap_database *db, const char *stage, int64_t step, const char *name,
                       double value)
{
    struct ap_error err;
    check_ok(ap_database_metric(db, stage, step, name, value, &err), err);
}

/* What a user would type, on a connection of their own. */
static int64_t query(const struct place *p, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return value;
}

static void execute(const struct place *p, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void metrics(void **state)
{
    struct ap_error err;
    struct ap_database *db = must_open(*state);
    put_metric(db, "sft", 1, "loss", 2.5);
    put_metric(db, "align", 2, "kl", 0.25);
    put_metric(db, "align", 1, "reward", NAN);
    put_metric(db, "align", 1, "kl", 9);
    put_metric(db, "align", 1, "kl", 0.5); /* replaces */
    check_metrics(db, "align 1 kl 0.5;align 1 reward nan;align 2 kl 0.25;sft 1 loss 2.5;");
    check_ok(ap_database_rewind(db, "align", 2, &err), err);
    check_metrics(db, "align 1 kl 0.5;align 1 reward nan;sft 1 loss 2.5;");
    ap_database_close(db);
    db = must_open(*state);
    check_metrics(db, "align 1 kl 0.5;align 1 reward nan;sft 1 loss 2.5;");
    ap_database_close(db);
}

static void rollouts(void **state)
{
    struct ap_error err;
    struct ap_database *db = must_open(*state);
    struct ap_rollout_record r = {.stage = "align",
                                  .step = 3,
                                  .record = 7,
                                  .sample = 1,
                                  .prompt = "x",
                                  .rewrite = "x'",
                                  .answer = "y",
                                  .reward = 0.5,
                                  .kl = 0.01,
                                  .ended = true};
    check_ok(ap_database_begin(db, &err), err);
    check_ok(ap_database_rollout(db, &r, &err), err);
    r.stage = "rlhf";
    r.rewrite = NULL;
    check_ok(ap_database_rollout(db, &r, &err), err);
    r.step = 4;
    check_ok(ap_database_rollout(db, &r, &err), err);
    assert_int_equal(query(*state, "SELECT count(*) FROM rollouts"), 0); /* not committed */
    check_ok(ap_database_commit(db, &err), err);
    assert_int_equal(query(*state, "SELECT count(*) FROM rollouts"), 3);
    assert_int_equal(query(*state, "SELECT count(*) FROM rollouts WHERE rewrite IS NULL"), 2);
    assert_int_equal(query(*state, "SELECT sum(ended) FROM rollouts WHERE reward = 0.5"), 3);
    check_ok(ap_database_rewind(db, "rlhf", 4, &err), err);
    assert_int_equal(query(*state, "SELECT count(*) FROM rollouts WHERE stage = 'rlhf'"), 1);
    ap_database_close(db);
}

static ap_status note_evaluation(void *context, const struct ap_evaluation_record *r)
{
    return ap_buffer_printf(context, NULL, "%s %lld %llu %d %s|%s|%s %d %d %d%d %g %s;", r->arm,
                            (long long)r->seed, (unsigned long long)r->record, r->sample, r->prompt,
                            r->rewrite ? r->rewrite : "NULL", r->answer, r->n_rewrite_tokens,
                            r->n_answer_tokens, r->rewrite_ended, r->answer_ended, r->kl,
                            r->meta ? r->meta : "NULL");
}

static ap_status note_score(void *context, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *judge, double value)
{
    return ap_buffer_printf(context, NULL, "%s %lld %llu %d %s %g;", arm, (long long)seed,
                            (unsigned long long)record, sample, judge, value);
}

static ap_status stop_at_once(void *context, const char *arm, int64_t seed, uint64_t record,
                              int sample, const char *judge, double value)
{
    (void)arm, (void)seed, (void)record, (void)sample, (void)judge, (void)value;
    ++*(int *)context;
    return AP_INTERRUPTED;
}

static void evaluations_and_scores(void **state)
{
    struct ap_error err;
    struct ap_database *db = must_open(*state);
    struct ap_buffer text = {0};
    struct ap_evaluation_record r = {.arm = "bare",
                                     .seed = 1,
                                     .record = 12,
                                     .sample = -1,
                                     .prompt = "x",
                                     .answer = "y\xff",
                                     .n_answer_tokens = 5,
                                     .answer_ended = true,
                                     .kl = NAN};
    check_ok(ap_database_evaluation(db, &r, &err), err);
    r.arm = "align";
    r.rewrite = "x'";
    r.n_rewrite_tokens = 4;
    r.rewrite_ended = true;
    r.kl = 1.5;
    r.meta = "{\"a\": 1}";
    r.record = 3;
    check_ok(ap_database_evaluation(db, &r, &err), err);
    check_ok(ap_database_each_evaluation(db, note_evaluation, &text, &err), err);
    assert_string_equal(text.data, "align 1 3 -1 x|x'|y\xff 4 5 11 1.5 {\"a\": 1};"
                                   "bare 1 12 -1 x|NULL|y\xff 0 5 01 nan NULL;");
    check_ok(ap_database_score(db, "bare", 1, 12, -1, "world", 2.5, &err), err);
    check_ok(ap_database_score(db, "align", 1, 3, -1, "world", 3, &err), err);
    check_ok(ap_database_score(db, "align", 1, 3, -1, "reward", 3.5, &err), err);
    check_ok(ap_database_score(db, "align", 2, 3, -1, "reward", 4, &err), err);
    ap_buffer_clear(&text);
    check_ok(ap_database_each_score(db, note_score, &text, &err), err);
    assert_string_equal(text.data, "align 1 3 -1 reward 3.5;align 1 3 -1 world 3;"
                                   "align 2 3 -1 reward 4;bare 1 12 -1 world 2.5;");
    int calls = 0;
    assert_int_equal(ap_database_each_score(db, stop_at_once, &calls, &err), AP_INTERRUPTED);
    assert_int_equal(calls, 1);
    check_ok(ap_database_forget(db, "align", 1, &err), err);
    ap_buffer_clear(&text);
    check_ok(ap_database_each_score(db, note_score, &text, &err), err);
    assert_string_equal(text.data, "align 2 3 -1 reward 4;bare 1 12 -1 world 2.5;");
    ap_buffer_clear(&text);
    check_ok(ap_database_each_evaluation(db, note_evaluation, &text, &err), err);
    assert_string_equal(text.data, "bare 1 12 -1 x|NULL|y\xff 0 5 01 nan NULL;");
    ap_buffer_free(&text);
    ap_database_close(db);
}

static ap_status note_guard(void *context, const char *arm, int64_t seed, uint64_t record,
                            int sample, const char *guard)
{
    return ap_buffer_printf(context, NULL, "%s %d %d %d %s;", arm, (int)seed, (int)record, sample,
                            guard);
}

static void check_guards(struct ap_database *db, const char *expected)
{
    struct ap_error err;
    struct ap_buffer text = {0};
    check_ok(ap_buffer_puts(&text, "", &err), err);
    check_ok(ap_database_each_guard(db, note_guard, &text, &err), err);
    assert_string_equal(text.data, expected);
    ap_buffer_free(&text);
}

/* The table is younger than its schema's version: a file without it can be read, and gets it when
 * it is opened to be written. */
static void guards(void **state)
{
    struct place *p = *state;
    struct ap_error err;
    struct ap_database *db = must_open(p);
    check_ok(ap_database_guard(db, "align", 1, 3, -1, "number", "the number '5'", &err), err);
    check_ok(ap_database_guard(db, "align", 2, 3, 0, "empty", NULL, &err), err);
    check_guards(db, "align 1 3 -1 number;align 2 3 0 empty;");
    check_ok(ap_database_forget(db, "align", 1, &err), err);
    check_guards(db, "align 2 3 0 empty;");
    ap_database_close(db);
    execute(p, "DROP TABLE guards");
    check_ok(ap_database_open_read(&db, p->path, &err), err);
    check_guards(db, "");
    ap_database_close(db);
    db = must_open(p);
    check_ok(ap_database_guard(db, "align", 1, 3, -1, "url", "the url", &err), err);
    check_guards(db, "align 1 3 -1 url;");
    ap_database_close(db);
}

static void readers_while_it_is_written(void **state)
{
    struct ap_error err;
    struct ap_database *db = must_open(*state);
    put_metric(db, "sft", 1, "loss", 1);
    check_ok(ap_database_begin(db, &err), err);
    put_metric(db, "sft", 2, "loss", 1);
    assert_int_equal(query(*state, "SELECT max(step) FROM metrics"), 1);
    put_metric(db, "sft", 3, "loss", 1);
    check_ok(ap_database_commit(db, &err), err);
    assert_int_equal(query(*state, "SELECT max(step) FROM metrics"), 3);
    assert_int_equal(query(*state, "PRAGMA user_version"), 1);
    check_ok(ap_database_begin(db, &err), err);
    put_metric(db, "sft", 4, "loss", 1);
    ap_database_close(db); /* what was not committed is not there */
    assert_int_equal(query(*state, "SELECT max(step) FROM metrics"), 3);
}

static void killed_in_the_middle(void **state)
{
    struct ap_error err;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct ap_database *db;
        const struct place *p = *state;
        if (ap_database_open(&db, p->path, &err) != AP_OK ||
            ap_database_metric(db, "sft", 1, "loss", 1, &err) != AP_OK ||
            ap_database_begin(db, &err) != AP_OK)
            _exit(1);
        for (int i = 2; i < 500; i++)
            if (ap_database_metric(db, "sft", i, "loss", 1, &err) != AP_OK)
                _exit(1);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    struct ap_database *db = must_open(*state);
    check_metrics(db, "sft 1 loss 1;");
    put_metric(db, "sft", 2, "loss", 3);
    ap_database_close(db);
    close(ready[0]);
}

static void full_disk(void **state)
{
    struct ap_error err;
    struct rlimit old;
    struct ap_database *db = must_open(*state);
    put_metric(db, "sft", 1, "loss", 1);
    char *big = calloc(1, 1 << 20);
    memset(big, 'x', (1 << 20) - 1);
    struct ap_rollout_record r = {.stage = "align", .prompt = big, .reward = 1};
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {.rlim_cur = 200000, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    ap_status status = ap_database_rollout(db, &r, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(status, AP_IO);
    check_holds(err.text, "run.db: cannot write a rollout");
    check_holds(err.text, "free");
    check_ok(ap_database_rollout(db, &r, &err), err); /* with room again it goes on */
    assert_int_equal(query(*state, "SELECT count(*) FROM rollouts"), 1);
    check_metrics(db, "sft 1 loss 1;");
    free(big);
    ap_database_close(db);
}

static void refuse_open(const struct place *p, ap_status expected, const char *part)
{
    struct ap_error err;
    struct ap_database *db;
    assert_int_equal(ap_database_open(&db, p->path, &err), expected);
    assert_null(db);
    check_holds(err.text, "run.db");
    check_holds(err.text, part);
}

static void files_that_are_no_run_db(void **state)
{
    struct place *p = *state;
    struct ap_error err;
    char junk[8192];
    memset(junk, 'j', sizeof(junk));
    check_ok(ap_file_write(p->path, junk, sizeof(junk), &err), err);
    refuse_open(p, AP_FORMAT, "not a database");
    unlink(p->path);
    execute(p, "PRAGMA user_version = 9");
    refuse_open(p, AP_UNSUPPORTED, "schema version 9, expected 1");
    unlink(p->path);
    execute(p, "CREATE TABLE metrics(a)");
    refuse_open(p, AP_IO, "cannot make its tables");
    unlink(p->path);
    execute(p, "CREATE TABLE metrics(a); PRAGMA user_version = 1");
    refuse_open(p, AP_IO, "other tables");
    struct place nowhere = {.path = "/proc/alignpro/run.db"};
    refuse_open(&nowhere, AP_IO, "cannot open");
}

/* The metrics as they can be read now, with nothing made or changed beside the file. */
static void check_read(const struct place *p, const char *expected)
{
    struct ap_error err;
    struct ap_database *db;
    uint64_t bytes, n, bytes_after, n_after;
    check_ok(ap_dir_size(p->folder, &bytes, &n, &err), err);
    check_ok(ap_database_open_read(&db, p->path, &err), err);
    check_metrics(db, expected);
    assert_int_not_equal(ap_database_metric(db, "align", 9, "kl", 1, &err), AP_OK);
    ap_database_close(db);
    check_ok(ap_dir_size(p->folder, &bytes_after, &n_after, &err), err);
    assert_int_equal(bytes, bytes_after);
    assert_int_equal(n, n_after);
}

/* While the file is open, after it was closed, after its process was killed; and of what is no
 * run's database the error. */
static void test_reading_only(void **state)
{
    const struct place *p = *state;
    struct ap_error err;
    struct ap_database *db;
    assert_int_equal(ap_database_open_read(&db, p->path, &err), AP_NOT_FOUND);
    assert_int_equal(mkfifo(p->path, 0600), 0); /* not waited for */
    assert_int_equal(ap_database_open_read(&db, p->path, &err), AP_INVALID);
    assert_int_equal(unlink(p->path), 0);
    pid_t child = fork();
    if (child == 0) {
        db = must_open(p);
        put_metric(db, "align", 1, "kl", 0.5);
        check_read(p, "align 1 kl 0.5;");
        kill(getpid(), SIGKILL);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    check_read(p, "align 1 kl 0.5;");
    ap_database_close(must_open(p));
    check_read(p, "align 1 kl 0.5;");
    sqlite3 *other;
    assert_int_equal(sqlite3_open(p->path, &other), SQLITE_OK);
    sqlite3_exec(other, "PRAGMA user_version = 7", NULL, NULL, NULL);
    sqlite3_close(other);
    assert_int_equal(ap_database_open_read(&db, p->path, &err), AP_UNSUPPORTED);
    check_holds(err.text, "schema version 7, expected 1");
    assert_null(db);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_reading_only),      TEST(metrics),   TEST(rollouts),
        TEST(evaluations_and_scores), TEST(guards),    TEST(readers_while_it_is_written),
        TEST(killed_in_the_middle),   TEST(full_disk), TEST(files_that_are_no_run_db),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
