/* The ledger: what is on the disk when a call returns, what other handles, runs and processes find,
 * sums, kills, files that are none. */
#include "store/ledger.h"

#include "base/scratch.h"

#include <dlfcn.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Stand before libc's, for SQLite's library too: how often somebody waited for the disk. */
static int n_synced;
#pragma GCC visibility push(default)

int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    n_synced++;
    return real(fd);
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    n_synced++;
    return real(fd);
}

#pragma GCC visibility pop

#define RUN "/runs/a"

static struct ap_ledger *must_open(void **state, const char *run)
{
    struct ap_error err;
    struct ap_ledger *l;
    char *path = scratch_path(state, "ledger.db");
    check_ok(ap_ledger_open(&l, path, run, &err), err);
    ap_free(path);
    return l;
}

static void intend(struct ap_ledger *l, const char *key, const char *who, int64_t tokens)
{
    struct ap_error err;
    check_ok(ap_ledger_intend(l, key, who, "[{\"role\":\"user\"}]", tokens, 0.25, &err), err);
}

static void must_miss(struct ap_ledger *l, const char *key, bool refused)
{
    struct ap_error err;
    check_ok(ap_ledger_miss(l, key, refused, &err), err);
}

static void must_answer(struct ap_ledger *l, const char *key, const char *text)
{
    struct ap_error err;
    struct ap_ledger_answer a = {.text = (char *)text,
                                 .finish = (char *)"stop",
                                 .n_prompt = 7,
                                 .n_token = 5,
                                 .usd = 0.125,
                                 .seconds = 1.5};
    check_ok(ap_ledger_answer(l, key, &a, &err), err);
}

static void must_begin(struct ap_ledger *l)
{
    struct ap_error err;
    check_ok(ap_ledger_begin(l, &err), err);
}

static void must_commit(struct ap_ledger *l)
{
    struct ap_error err;
    check_ok(ap_ledger_commit(l, &err), err);
}

static struct ap_ledger_sums sums_of(struct ap_ledger *l, const char *who)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    check_ok(ap_ledger_sum(l, who, &sums, &err), err);
    return sums;
}

/* The text under a key, "" without an answer; to be freed with ap_free. */
static char *text_of(struct ap_ledger *l, const char *key)
{
    struct ap_error err;
    struct ap_ledger_answer a = {0};
    bool found;
    check_ok(ap_ledger_find(l, key, &a, &found, &err), err);
    char *text = ap_strdup(found ? a.text : "");
    ap_ledger_answer_free(&a);
    return text;
}

static void check_text(struct ap_ledger *l, const char *key, const char *expected)
{
    char *text = text_of(l, key);
    assert_string_equal(text, expected);
    ap_free(text);
}

/* A process of its own does that with a handle of its own; returns how it ended. */
static int in_child(void **state, void (*act)(struct ap_ledger *l))
{
    int how;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct ap_ledger *l = must_open(state, RUN);
        act(l);
        ap_ledger_close(l);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return how;
}

/* What a reader on a connection of its own sees. */
static int64_t query(void **state, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    char *path = scratch_path(state, "ledger.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    ap_free(path);
    return value;
}

static void execute(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_durable_when_committed(void **state)
{
    struct ap_ledger *l = must_open(state, RUN);
    must_begin(l);
    intend(l, "k1", "target", 10);
    intend(l, "k2", "target", 10);
    assert_int_equal(query(state, "SELECT count(*) FROM ledger"), 0);
    int before = n_synced;
    must_commit(l);
    assert_true(n_synced > before); /* not only with the operating system */
    assert_int_equal(query(state, "SELECT count(*) FROM ledger WHERE sends = 1"), 2);
    assert_int_equal(query(state, "SELECT count(*) FROM ledger WHERE request LIKE '%role%'"), 2);
    before = n_synced;
    must_begin(l);
    must_answer(l, "k1", "text");
    must_commit(l);
    assert_true(n_synced > before);
    ap_ledger_close(l);
}

static void check_found(struct ap_ledger *l)
{
    check_text(l, "k1", "ä\n\"text\"");
    check_text(l, "k2", "");
}

static void test_found_by_others(void **state)
{
    struct ap_error err;
    struct ap_ledger_answer a;
    bool found;
    struct ap_ledger *l = must_open(state, RUN), *other = must_open(state, "/runs/b");
    intend(l, "k1", "target", 10);
    intend(l, "k2", "target", 10);
    check_text(other, "k1", "");
    must_answer(l, "k1", "ä\n\"text\"");
    check_found(l);
    check_found(other); /* of another run, open all the while */
    assert_int_equal(in_child(state, check_found), 0);
    check_ok(ap_ledger_find(other, "k1", &a, &found, &err), err);
    assert_true(found && !a.refused);
    assert_string_equal(a.finish, "stop");
    assert_true(a.n_prompt == 7 && a.n_token == 5);
    check_near(a.usd, 0.125, 0, 0);
    check_near(a.seconds, 1.5, 0, 0);
    ap_ledger_answer_free(&a);
    ap_ledger_close(l);
    ap_ledger_close(other);
    l = must_open(state, RUN);
    check_found(l);
    ap_ledger_close(l);
}

/* Sums are of one run and one asker, though answers are everybody's. */
static void test_sums(void **state)
{
    struct ap_error err;
    struct ap_ledger *l = must_open(state, RUN), *other = must_open(state, "/runs/b");
    bool found;
    struct ap_ledger_answer silent = {
        .text = (char *)"", .finish = (char *)"content_filter", true, -1, -1, 0, 1};
    intend(other, "k1", "target", 1);
    intend(l, "k1", "target", 10); /* refused, lost, answered */
    must_miss(l, "k1", true);
    intend(l, "k1", "target", 10);
    must_miss(l, "k1", false);
    intend(l, "k1", "target", 10);
    must_answer(l, "k1", "one");
    intend(l, "k2", "target", 100); /* lost */
    must_miss(l, "k2", false);
    intend(l, "k3", "target", 1000); /* in flight */
    intend(l, "k4", "target", 5);    /* answered by a server that does not count */
    check_ok(ap_ledger_answer(l, "k4", &silent, &err), err);
    intend(l, "k5", "reward", 7);
    intend(other, "k3", "target", 3);
    struct ap_ledger_sums s = sums_of(l, "target");
    assert_int_equal(s.n_key, 4);
    assert_int_equal(s.n_send, 6);
    assert_int_equal(s.n_answer, 2);
    assert_int_equal(s.n_refused, 1);
    assert_int_equal(s.n_lost, 2);
    assert_int_equal(s.n_unknown, 1);
    assert_int_equal(s.n_prompt, 7);
    assert_int_equal(s.n_token, 5);
    check_near(s.usd, 0.125, 1e-12, 0);
    assert_int_equal(s.reserved_tokens, 10 + 100 + 1000 + 5); /* and what was not counted */
    check_near(s.reserved_usd, 4 * 0.25, 1e-12, 0);
    check_ok(ap_ledger_find(l, "k4", &silent, &found, &err), err);
    assert_true(found && silent.refused && silent.n_prompt == -1 && silent.n_token == -1);
    ap_ledger_answer_free(&silent);
    assert_int_equal(sums_of(l, "reward").n_send, 1);
    s = sums_of(other, "target"); /* what l missed and got is not its */
    assert_true(s.n_send == 2 && s.n_unknown == 2 && s.n_answer == 0);
    assert_int_equal(s.reserved_tokens, 3 + 1);
    assert_int_equal(sums_of(l, "judge").n_key, 0);
    ap_ledger_close(l);
    ap_ledger_close(other);
}

static void test_refusal_is_found(void **state)
{
    struct ap_error err;
    struct ap_ledger *l = must_open(state, RUN);
    struct ap_ledger_answer a = {
        .text = (char *)"", .finish = (char *)"content_filter", .refused = true};
    bool found;
    intend(l, "k1", "target", 1);
    check_ok(ap_ledger_answer(l, "k1", &a, &err), err);
    check_ok(ap_ledger_find(l, "k1", &a, &found, &err), err);
    assert_true(found && a.refused);
    ap_ledger_answer_free(&a);
    assert_true(a.text == NULL && a.finish == NULL);
    ap_ledger_close(l);
}

static void die_in_flight(struct ap_ledger *l)
{
    must_begin(l);
    intend(l, "k1", "target", 10);
    intend(l, "k2", "target", 10);
    intend(l, "k3", "target", 10);
    must_commit(l);
    must_answer(l, "k1", "one");
    must_begin(l);
    must_answer(l, "k2", "never committed");
    intend(l, "k4", "target", 10);
    raise(SIGKILL);
}

static void test_kill(void **state)
{
    int how = in_child(state, die_in_flight);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    struct ap_ledger *l = must_open(state, RUN);
    struct ap_ledger_sums s = sums_of(l, "target");
    assert_int_equal(s.n_key, 3);
    assert_int_equal(s.n_answer, 1);
    assert_int_equal(s.n_unknown, 2);
    assert_int_equal(s.reserved_tokens, 20);
    check_text(l, "k1", "one");
    check_text(l, "k2", "");
    intend(l, "k2", "target", 10); /* asked again: one answer, and still one that nobody knows of */
    must_answer(l, "k2", "two");
    s = sums_of(l, "target");
    assert_true(s.n_send == 4 && s.n_answer == 2 && s.n_unknown == 2);
    assert_int_equal(s.reserved_tokens, 20);
    ap_ledger_close(l);
}

static void test_answer_without_intent(void **state)
{
    struct ap_error err;
    struct ap_ledger *l = must_open(state, RUN);
    struct ap_ledger_answer a = {.text = (char *)"t", .finish = (char *)"stop"};
    assert_int_equal(ap_ledger_answer(l, "k1", &a, &err), AP_FORMAT);
    check_holds(err.text, "never asked");
    check_text(l, "k1", "");
    ap_ledger_close(l);
}

static void check_refused(void **state, const char *name, ap_status expected, const char *part)
{
    struct ap_error err;
    struct ap_ledger *l;
    char *path = scratch_path(state, name);
    assert_int_equal(ap_ledger_open(&l, path, RUN, &err), expected);
    assert_null(l);
    check_holds(err.text, name);
    check_holds(err.text, part);
    ap_free(path);
}

static void put_database(void **state, const char *name, const char *sql)
{
    char *path = scratch_path(state, name);
    execute(path, sql);
    ap_free(path);
}

static void test_other_files(void **state)
{
    char *path = scratch_path(state, "text.db"), *folder = scratch_path(state, "folder.db");
    static const char text[] = "this is no database, though it is long enough to be taken for one: "
                               "its first bytes are not those that SQLite writes";
    scratch_put(path, text, sizeof(text));
    check_refused(state, "text.db", AP_FORMAT, "not a database");
    scratch_expect(path, text); /* as it was */
    put_database(state, "newer.db", "PRAGMA user_version = 7; CREATE TABLE ledger(key TEXT)");
    check_refused(state, "newer.db", AP_UNSUPPORTED, "version 7");
    put_database(state, "music.db", "CREATE TABLE songs(name TEXT)");
    check_refused(state, "music.db", AP_INVALID, "something else");
    put_database(state, "books.db", "CREATE TABLE ledger(account TEXT, amount REAL)");
    check_refused(state, "books.db", AP_UNSUPPORTED, "another table");
    assert_int_equal(mkdir(folder, 0700), 0);
    check_refused(state, "folder.db", AP_IO, "cannot open");
    check_refused(state, "nowhere/ledger.db", AP_IO, "cannot open");
    ap_free(path);
    ap_free(folder);
}

/* Pages that are overwritten are found where they are read, as an error and not as no answer. */
/* ---- reading only ---- */

static struct ap_ledger *must_read(void **state, const char *name)
{
    struct ap_error err;
    struct ap_ledger *l;
    char *path = scratch_path(state, name);
    check_ok(ap_ledger_open_read(&l, path, RUN, &err), err);
    ap_free(path);
    return l;
}

static bool is_there(void **state, const char *name)
{
    char *path = scratch_path(state, name);
    bool there = access(path, F_OK) == 0;
    ap_free(path);
    return there;
}

/* Where there is none, beside one that writes, after a kill, and when all have gone. */
static void test_read(void **state)
{
    struct ap_error err;
    char *path;
    assert_null(must_read(state, "ledger.db"));
    assert_false(is_there(state, "ledger.db"));
    put_database(state, "run.db", "CREATE TABLE metrics(x); PRAGMA user_version = 1");
    assert_null(must_read(state, "run.db"));

    int how = in_child(state, die_in_flight);
    assert_true(WIFSIGNALED(how));
    struct ap_ledger *l = must_read(state, "ledger.db");
    assert_int_equal(sums_of(l, "target").n_unknown, 2);
    check_text(l, "k1", "one");
    assert_int_equal(ap_ledger_intend(l, "k9", "target", "{}", 1, 0, &err), AP_IO);
    ap_ledger_close(l);

    struct ap_ledger *writes = must_open(state, RUN);
    must_begin(writes);
    must_answer(writes, "k2", "not yet");
    l = must_read(state, "ledger.db");
    assert_int_equal(sums_of(l, "target").n_answer, 1);
    must_commit(writes);
    assert_int_equal(sums_of(l, "target").n_answer, 2);
    ap_ledger_close(l);
    ap_ledger_close(writes);

    assert_false(is_there(state, "ledger.db-wal"));
    l = must_read(state, "ledger.db");
    assert_int_equal(sums_of(l, "target").n_answer, 2);
    ap_ledger_close(l);
    assert_false(is_there(state, "ledger.db-shm"));

    put_database(state, "other.db", "CREATE TABLE a(x)");
    path = scratch_path(state, "other.db");
    assert_int_equal(ap_ledger_open_read(&l, path, RUN, &err), AP_INVALID);
    assert_null(l);
    ap_free(path);
}

static void test_damaged(void **state)
{
    struct ap_error err;
    struct ap_ledger_answer a = {0};
    struct ap_ledger *l = must_open(state, RUN);
    bool found = false;
    char key[32], *path = scratch_path(state, "ledger.db");
    must_begin(l);
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        intend(l, key, "target", 1);
        must_answer(l, key, "a text of some length, so that there are pages");
    }
    must_commit(l);
    ap_ledger_close(l); /* the write-ahead log is gone then */
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    for (long at = 4096; at < size; at += 4096) {
        fseek(f, at, SEEK_SET);
        fwrite("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1, 12, f);
    }
    fclose(f);
    ap_status status = ap_ledger_open(&l, path, RUN, &err);
    if (status == AP_OK)
        status = ap_ledger_find(l, "key-250", &a, &found, &err);
    assert_int_equal(status, AP_FORMAT);
    assert_false(found);
    check_holds(err.text, "ledger.db");
    check_holds(err.text, "keep a copy");
    ap_ledger_close(l);
    ap_free(path);
}

enum { N_WRITER = 4, N_ROUND = 40 };

/* Its own keys, and one that all of them ask for. */
static void write_much(struct ap_ledger *l)
{
    char key[64];
    for (int i = 0; i < N_ROUND; i++) {
        snprintf(key, sizeof(key), "key-%d-%d", (int)getpid(), i);
        must_begin(l);
        intend(l, key, "target", 1);
        intend(l, "everybody's", "target", 1);
        must_commit(l);
        must_begin(l);
        must_answer(l, key, key);
        must_miss(l, "everybody's", i % 2);
        must_commit(l);
        check_text(l, key, key);
    }
}

/* Processes that open a new file at the same moment and write to it. */
static void test_several_writers(void **state)
{
    int how, ready[2];
    pid_t pids[N_WRITER];
    assert_int_equal(pipe(ready), 0);
    fflush(NULL);
    for (int k = 0; k < N_WRITER; k++)
        if ((pids[k] = fork()) == 0) {
            char byte;
            close(ready[1]);
            (void)!read(ready[0], &byte, 1); /* until all are there */
            struct ap_ledger *l = must_open(state, RUN);
            write_much(l);
            ap_ledger_close(l);
            _exit(0);
        }
    close(ready[0]);
    close(ready[1]);
    for (int k = 0; k < N_WRITER; k++) {
        assert_int_equal(waitpid(pids[k], &how, 0), pids[k]);
        assert_int_equal(how, 0);
    }
    struct ap_ledger *l = must_open(state, RUN);
    struct ap_ledger_sums s = sums_of(l, "target");
    assert_int_equal(s.n_key, N_WRITER * N_ROUND + 1);
    assert_int_equal(s.n_send, 2 * N_WRITER * N_ROUND);
    assert_int_equal(s.n_answer, N_WRITER * N_ROUND);
    assert_int_equal(s.n_lost, N_WRITER * N_ROUND / 2);
    assert_int_equal(s.n_refused, N_WRITER * N_ROUND / 2);
    assert_int_equal(s.n_unknown, 0);
    ap_ledger_close(l);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_durable_when_committed),
        WITH_FOLDER(test_found_by_others),
        WITH_FOLDER(test_sums),
        WITH_FOLDER(test_refusal_is_found),
        WITH_FOLDER(test_kill),
        WITH_FOLDER(test_read),
        WITH_FOLDER(test_answer_without_intent),
        WITH_FOLDER(test_other_files),
        WITH_FOLDER(test_damaged),
        WITH_FOLDER(test_several_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
