/* The run directory: made, locked, tied to its recipe, and checkpoints that survive being killed.
 */
#include "store/database.h"
#include "store/ledger.h"
#include "store/run_dir.h"
#include "store_recipes.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* A recipe whose run.dir is `dir`, with one --set more (or NULL). */
static struct ap_recipe *recipe_for(const char *dir, const char *set)
{
    char run_dir[1200];
    struct ap_error err;
    struct ap_recipe *recipe;
    snprintf(run_dir, sizeof(run_dir), "run.dir=%s", dir);
    const char *const sets[] = {run_dir, set};
    check_ok(parse(&recipe, RECIPE_FULL, sets, set ? 2 : 1, &err), err);
    return recipe;
}

static ap_status try_open(struct ap_run_dir *dir, const char *path, const char *set,
                          struct ap_error *err)
{
    struct ap_recipe *recipe = recipe_for(path, set);
    ap_status status = ap_run_dir_open(dir, recipe, err);
    ap_recipe_close(recipe);
    return status;
}

static void must_open(struct ap_run_dir *dir, const char *path)
{
    struct ap_error err;
    check_ok(try_open(dir, path, NULL, &err), err);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    struct ap_error err;
    char *path = ap_path_join(folder, name);
    check_ok(ap_file_write(path, text, strlen(text), &err), err);
    ap_free(path);
}

static bool exists(const struct ap_run_dir *dir, const char *stage, const char *name)
{
    char *path = ap_run_dir_path(dir, stage, name);
    bool there = ap_file_exists(path);
    ap_free(path);
    return there;
}

static void is_made_and_found_again(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder(), *path = ap_path_join(root, "deep/run");
    must_open(&dir, path);
    assert_true(exists(&dir, "recipe.yaml", ""));
    assert_true(exists(&dir, "lock", ""));
    assert_false(ap_stage_done(&dir, "sft"));
    check_ok(ap_stage_finish(&dir, "sft", "{\"loss\": 1.5}", &err), err);
    assert_true(ap_stage_done(&dir, "sft"));
    assert_false(ap_stage_done(&dir, "align"));
    check_ok(ap_stage_reopen(&dir, "sft", &err), err);
    assert_false(ap_stage_done(&dir, "sft"));
    check_ok(ap_stage_reopen(&dir, "sft", &err), err);
    check_ok(ap_stage_finish(&dir, "sft", "{\"loss\": 1.5}", &err), err);
    ap_run_dir_close(&dir);
    ap_run_dir_close(&dir); /* twice is fine */
    must_open(&dir, path);
    assert_true(ap_stage_done(&dir, "sft"));
    ap_run_dir_close(&dir);
    check_ok(try_open(&dir, path, "run.threads=1", &err), err);
    ap_run_dir_close(&dir);
    ap_free(path);
    remove_folder(root);
}

static void another_recipe_is_refused(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder();
    must_open(&dir, root);
    ap_run_dir_close(&dir);
    assert_int_equal(try_open(&dir, root, "align.kl=0.04", &err), AP_INVALID);
    check_holds(err.text, root);
    check_holds(err.text, "align.kl is 0.03 there and 0.04 here");
    check_holds(err.text, "remove this one to start afresh");
    check_ok(try_open(&dir, root, "models.new.path=x", &err), err); /* which trains nothing */
    ap_run_dir_close(&dir);
    must_open(&dir, root); /* the lock was given back */
    ap_run_dir_close(&dir);
    write_text(root, "recipe.yaml", "align: {klx: 1}\n");
    assert_int_equal(try_open(&dir, root, NULL, &err), AP_INVALID);
    check_holds(err.text, "its recipe cannot be read");
    check_holds(err.text, "recipe.yaml:1:9");
    remove_folder(root);
}

/* ---- a recipe of which nothing was made gives way to another ---- */

static struct ap_database *run_db(const struct ap_run_dir *dir)
{
    struct ap_error err;
    struct ap_database *db;
    char *path = ap_path_join(dir->path, "run.db");
    check_ok(ap_database_open(&db, path, &err), err);
    ap_free(path);
    return db;
}

static void ask(const struct ap_run_dir *dir, bool answered)
{
    struct ap_error err;
    struct ap_ledger *l;
    struct ap_ledger_answer answer = {.text = (char[]){"x"}, .finish = (char[]){"stop"}};
    char *path = ap_path_join(dir->path, "run.db");
    check_ok(ap_ledger_open(&l, path, ".", &err), err);
    check_ok(ap_ledger_intend(l, "key", "target", "{}", 8, 0, &err), err);
    check_ok(answered ? ap_ledger_answer(l, "key", &answer, &err)
                      : ap_ledger_miss(l, "key", true, &err),
             err);
    ap_ledger_close(l);
    ap_free(path);
}

static void make_nothing(const struct ap_run_dir *dir)
{
    (void)dir;
}

static void make_no_database(const struct ap_run_dir *dir)
{
    char *path = ap_path_join(dir->path, "run.db");
    assert_int_equal(unlink(path), 0);
    ap_free(path);
}

static void make_refusal(const struct ap_run_dir *dir)
{
    ask(dir, false);
}

static void make_beginnings(const struct ap_run_dir *dir)
{
    struct ap_error err;
    static const char *const names[] = {"inputs.json", "settings", "prompts", "judge-j"};
    for (size_t i = 0; i < AP_LEN(names); i++)
        check_ok(ap_run_dir_write(dir, "eval", names[i], "x", 1, &err), err);
    check_ok(ap_run_dir_write(dir, "tb/align", "events", "x", 1, &err), err);
    write_text(dir->path, "notes", "the user's");
    ask(dir, false);
}

static void make_answer(const struct ap_run_dir *dir)
{
    ask(dir, true);
}

static void make_done(const struct ap_run_dir *dir)
{
    struct ap_error err;
    check_ok(ap_stage_finish(dir, "align", "{}", &err), err);
}

static void make_checkpoint(const struct ap_run_dir *dir)
{
    struct ap_error err;
    char *folder;
    check_ok(ap_checkpoint_begin(dir, "align", &folder, &err), err);
    check_ok(ap_checkpoint_commit(dir, "align", folder, 1, 1, &err), err);
    ap_free(folder);
}

static void make_best(const struct ap_run_dir *dir)
{
    struct ap_error err;
    check_ok(ap_run_dir_write(dir, "align/best/step-00000001", "DONE", "", 0, &err), err);
}

static void make_linked(const struct ap_run_dir *dir)
{
    struct ap_error err;
    char *link = ap_path_join(dir->path, "align");
    check_ok(ap_run_dir_write(dir, "../elsewhere", "DONE", "", 0, &err), err);
    assert_int_equal(symlink("../elsewhere", link), 0);
    ap_free(link);
}

static void make_file(const struct ap_run_dir *dir)
{
    struct ap_error err;
    check_ok(ap_run_dir_write(dir, "sft", "best-of-n.jsonl", "", 0, &err), err);
}

static void make_metric(const struct ap_run_dir *dir)
{
    struct ap_error err;
    struct ap_database *db = run_db(dir);
    check_ok(ap_database_metric(db, "align", 0, "reward", 1, &err), err);
    ap_database_close(db);
}

static void make_evaluation(const struct ap_run_dir *dir)
{
    struct ap_error err;
    struct ap_database *db = run_db(dir);
    check_ok(ap_database_score(db, "bare", 1, 0, -1, "reward", 1, &err), err);
    ap_database_close(db);
}

static void make_garbage(const struct ap_run_dir *dir)
{
    write_text(dir->path, "run.db", "no database");
}

/* What a plan says first, and that it touches nothing. */
static void check_plan(const char *root, const char *set, bool fine)
{
    struct ap_error err;
    struct ap_buffer before = {0}, after = {0};
    struct ap_run_dir dir = {.path = (char *)(uintptr_t)root, .lock = {.fd = -1}};
    struct ap_recipe *recipe = recipe_for(root, set);
    char *path = ap_path_join(root, "recipe.yaml");
    check_ok(ap_file_read(path, 1 << 20, &before, &err), err);
    assert_int_equal(ap_run_dir_check(&dir, recipe, &err), fine ? AP_OK : AP_INVALID);
    check_ok(ap_file_read(path, 1 << 20, &after, &err), err);
    assert_string_equal(before.data, after.data);
    ap_buffer_free(&before);
    ap_buffer_free(&after);
    ap_recipe_close(recipe);
    ap_free(path);
}

static void a_recipe_that_made_nothing_gives_way(void **state)
{
    static const char set[] = "align.kl=0.04";
    static const struct {
        void (*make)(const struct ap_run_dir *dir);
        bool gives_way;
    } rows[] = {{make_nothing, true},     {make_refusal, true},     {make_beginnings, true},
                {make_answer, false},     {make_done, false},       {make_checkpoint, false},
                {make_best, false},       {make_linked, false},     {make_file, false},
                {make_metric, false},     {make_evaluation, false}, {make_garbage, false},
                {make_no_database, false}};
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct ap_error err;
        struct ap_run_dir dir;
        char *root = fresh_folder(), *path = ap_path_join(root, "run");
        must_open(&dir, path);
        ap_database_close(run_db(&dir));
        rows[i].make(&dir);
        ap_run_dir_close(&dir);
        check_plan(path, set, rows[i].gives_way);
        ap_status status = try_open(&dir, path, set, &err);
        assert_int_equal(status, rows[i].gives_way ? AP_OK : AP_INVALID);
        if (rows[i].gives_way)
            check_holds(dir.moved.data, "align.kl is 0.03 there and 0.04 here");
        ap_run_dir_close(&dir);
        check_plan(path, rows[i].gives_way ? set : NULL, true); /* whose it is now */
        ap_free(path);
        remove_folder(root);
    }
}

/* Addresses are in no fingerprint: they may be others, and are told of. */
static void other_addresses_are_told(void **state)
{
    static const char text[] = "models: {small: {path: m}}\nprompter: {model: small}\n"
                               "target: {url: [http://a/v1, http://b/v1], model: x}\n"
                               "judges: {j: {url: http://c/v1}}\nrun: {dir: out}\n";
    static const struct {
        const char *set, *moved;
    } rows[] = {
        {NULL, ""},
        {NULL, ""},
        {"target.concurrency=3", ""},
        {"target.url=http://d/v1",
         "target.url was http://a/v1, http://b/v1, is now http://d/v1: it must serve the same "
         "model; target.name was http://a/v1, is now http://d/v1: no answer that was bought under "
         "the other name is found in the ledger"},
        {"target.url=http://d/v1", ""},
        {"target.name=http://d/v1", "target.url was http://d/v1, is now http://a/v1, http://b/v1: "
                                    "it must serve the same model"},
        {"judges.j.url=http://d/v1",
         "judges.j.url was http://c/v1, is now http://d/v1: it must serve the same model; "
         "target.name was http://d/v1, is now http://a/v1: no answer that was bought under the "
         "other name is found in the ledger"}};
    char *root = fresh_folder(), run_dir[1200];
    (void)state;
    snprintf(run_dir, sizeof(run_dir), "run.dir=%s", root);
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct ap_error err;
        struct ap_recipe *recipe;
        struct ap_run_dir dir;
        const char *const sets[] = {run_dir, rows[i].set};
        check_ok(parse(&recipe, text, sets, rows[i].set ? 2 : 1, &err), err);
        check_ok(ap_run_dir_open(&dir, recipe, &err), err);
        assert_string_equal(dir.moved.len ? dir.moved.data : "", rows[i].moved);
        ap_run_dir_close(&dir);
        ap_recipe_close(recipe);
    }
    remove_folder(root);
}

static void leftovers_go_and_other_files_stay(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder(), *folder;
    must_open(&dir, root);
    check_ok(ap_checkpoint_begin(&dir, "align", &folder, &err), err);
    write_text(folder, "half", "x");
    ap_free(folder);
    check_ok(ap_final_begin(&dir, "align", &folder, &err), err);
    write_text(folder, "half", "x");
    ap_free(folder);
    char *stage = ap_run_dir_path(&dir, "align", "");
    write_text(stage, "DONE.tmp", "x");
    write_text(stage, "mine.tmp", "x");
    assert_true(exists(&dir, "align", AP_CHECKPOINT_NEW "/half"));
    ap_run_dir_close(&dir);
    must_open(&dir, root);
    assert_false(exists(&dir, "align", AP_CHECKPOINT_NEW));
    assert_false(exists(&dir, "align", AP_FINAL_NEW));
    assert_false(exists(&dir, "align", "DONE.tmp"));
    assert_true(exists(&dir, "align", "mine.tmp"));
    ap_run_dir_close(&dir);
    ap_free(stage);
    remove_folder(root);
}

static void unwritable_places(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder(), *file = ap_path_join(root, "file");
    write_text(root, "file", "x");
    assert_int_equal(try_open(&dir, file, NULL, &err), AP_INVALID);
    check_holds(err.text, "run.dir: ");
    check_holds(err.text, "expected a directory");
    assert_int_not_equal(try_open(&dir, "/proc/alignpro/run", NULL, &err), AP_OK);
    check_holds(err.text, "/proc/alignpro");
    check_holds(err.text, "cannot make the directory");
    assert_int_not_equal(try_open(&dir, "/proc", NULL, &err), AP_OK);
    check_holds(err.text, "/proc/lock");
    ap_free(file);
    remove_folder(root);
}

/* ---- checkpoints ---- */

static void put_checkpoint(const struct ap_run_dir *dir, int64_t step, int keep)
{
    char text[32];
    struct ap_error err;
    char *folder;
    snprintf(text, sizeof(text), "%lld", (long long)step);
    check_ok(ap_checkpoint_begin(dir, "align", &folder, &err), err);
    write_text(folder, "weights", text);
    check_ok(ap_checkpoint_commit(dir, "align", folder, step, keep, &err), err);
    ap_free(folder);
}

static int64_t newest(const struct ap_run_dir *dir)
{
    struct ap_error err;
    char *folder;
    int64_t step;
    check_ok(ap_checkpoint_newest(dir, "align", &folder, &step, &err), err);
    bool none = folder == NULL;
    ap_free(folder);
    return none ? -1 : step;
}

static void newest_complete_is_found(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder(), *folder;
    must_open(&dir, root);
    assert_int_equal(newest(&dir), -1);
    put_checkpoint(&dir, 0, 2);
    put_checkpoint(&dir, 40, 2);
    assert_int_equal(newest(&dir), 40);
    assert_true(exists(&dir, "align", "ckpt/step-00000040/DONE"));
    put_checkpoint(&dir, 80, 2);
    assert_int_equal(newest(&dir), 80);
    assert_false(exists(&dir, "align", "ckpt/step-00000000"));
    assert_true(exists(&dir, "align", "ckpt/step-00000040"));
    put_checkpoint(&dir, 80, 1); /* in place of itself */
    assert_false(exists(&dir, "align", "ckpt/step-00000040"));
    assert_false(exists(&dir, "align", AP_CHECKPOINT_NEW));
    char *done = ap_run_dir_path(&dir, "align", "ckpt/step-00000080/DONE");
    put_checkpoint(&dir, 100, 3);
    put_checkpoint(&dir, 123456789, 3);
    assert_int_equal(newest(&dir), 123456789);
    check_ok(ap_checkpoint_begin(&dir, "align", &folder, &err), err);
    assert_int_equal(ap_checkpoint_commit(&dir, "align", folder, -1, 1, &err), AP_INVALID);
    ap_free(folder);
    unlink(done);
    ap_free(done);
    done = ap_run_dir_path(&dir, "align", "ckpt/step-123456789/DONE");
    unlink(done);
    assert_int_equal(newest(&dir), 100); /* those without DONE do not count */
    ap_free(done);
    ap_run_dir_close(&dir);
    remove_folder(root);
}

static void final_is_replaced_whole(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder(), *folder;
    must_open(&dir, root);
    for (int i = 0; i < 2; i++) {
        check_ok(ap_final_begin(&dir, "sft", &folder, &err), err);
        write_text(folder, i ? "second" : "first", "x");
        check_ok(ap_final_commit(&dir, "sft", folder, &err), err);
        ap_free(folder);
    }
    assert_true(exists(&dir, "sft", "final/second"));
    assert_false(exists(&dir, "sft", "final/first"));
    assert_false(exists(&dir, "sft", AP_FINAL_NEW));
    assert_false(ap_stage_done(&dir, "sft"));
    ap_run_dir_close(&dir);
    remove_folder(root);
}

/* ---- full disk ---- */

/* The new best and the one that a checkpoint goes on with; nothing else. */
static void best_keeps_what_a_checkpoint_needs(void **state)
{
    (void)state;
    static const struct {
        int64_t step, keep;
    } turns[] = {{0, -1}, {20, 0}, {40, 0}, {60, 40}};
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder(), *folder;
    int64_t step;
    must_open(&dir, root);
    check_ok(ap_best_newest(&dir, "align", &step, &err), err);
    assert_int_equal(step, -1);
    for (size_t i = 0; i < AP_LEN(turns); i++) {
        check_ok(ap_best_begin(&dir, "align", &folder, &err), err);
        write_text(folder, "weights", "x");
        check_ok(ap_best_commit(&dir, "align", folder, turns[i].step, turns[i].keep, &err), err);
        ap_free(folder);
        check_ok(ap_best_newest(&dir, "align", &step, &err), err);
        assert_int_equal(step, turns[i].step);
        assert_int_equal(exists(&dir, "align", "best/step-00000000"), i < 3);
        assert_int_equal(exists(&dir, "align", "best/step-00000020"), i == 1);
        assert_int_equal(exists(&dir, "align", "best/step-00000040"), i >= 2);
    }
    check_ok(ap_best_folder(&dir, "align", 40, &folder, &err), err);
    check_holds(folder, "align/best/step-00000040");
    ap_free(folder);
    assert_int_equal(ap_best_folder(&dir, "align", 20, &folder, &err), AP_NOT_FOUND);
    assert_null(folder);
    check_holds(err.text, "is missing or not whole");
    check_ok(ap_best_begin(&dir, "align", &folder, &err), err);
    assert_int_equal(ap_best_commit(&dir, "align", folder, -1, -1, &err), AP_INVALID);
    ap_free(folder);
    ap_run_dir_close(&dir);
    must_open(&dir, root); /* what was being filled is gone, what is whole stays */
    assert_false(exists(&dir, "align", AP_BEST_NEW));
    assert_true(exists(&dir, "align", "best/step-00000060"));
    ap_run_dir_close(&dir);
    remove_folder(root);
}

static void full_disk_keeps_the_old_checkpoint(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder(), *folder;
    must_open(&dir, root);
    put_checkpoint(&dir, 1, 1);
    check_ok(ap_checkpoint_begin(&dir, "align", &folder, &err), err);
    char *done = ap_path_join(folder, "DONE.tmp");
    assert_int_equal(symlink("/dev/full", done), 0);
    assert_int_equal(ap_checkpoint_commit(&dir, "align", folder, 2, 1, &err), AP_IO);
    check_holds(err.text, "No space left");
    assert_int_equal(newest(&dir), 1);
    ap_free(done);
    ap_free(folder);
    ap_run_dir_close(&dir);
    must_open(&dir, root);
    assert_int_equal(newest(&dir), 1);
    put_checkpoint(&dir, 2, 1);
    assert_int_equal(newest(&dir), 2);
    ap_run_dir_close(&dir);
    remove_folder(root);

    root = fresh_folder();
    char *recipe = ap_path_join(root, "recipe.yaml.tmp");
    assert_int_equal(symlink("/dev/full", recipe), 0);
    assert_int_equal(try_open(&dir, root, NULL, &err), AP_IO);
    check_holds(err.text, "recipe.yaml");
    check_holds(err.text, "No space left");
    must_open(&dir, root); /* the failure left nothing behind */
    ap_run_dir_close(&dir);
    ap_free(recipe);
    remove_folder(root);
}

static void a_limit_on_file_size(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    struct rlimit old;
    char *root = fresh_folder(), *folder, big[65536];
    must_open(&dir, root);
    put_checkpoint(&dir, 1, 1);
    check_ok(ap_checkpoint_begin(&dir, "align", &folder, &err), err);
    char *path = ap_path_join(folder, "weights");
    memset(big, 'x', sizeof(big));
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {.rlim_cur = 4096, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    ap_status status = ap_file_write(path, big, sizeof(big), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(status, AP_IO);
    check_holds(err.text, "weights: cannot write");
    assert_int_equal(newest(&dir), 1);
    ap_free(path);
    ap_free(folder);
    ap_run_dir_close(&dir);
    remove_folder(root);
}

/* ---- other processes ---- */

static void in_use_by_another_process(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_run_dir dir;
    char *root = fresh_folder(), byte, pid[32];
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (try_open(&dir, root, NULL, &err) == AP_OK && write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(try_open(&dir, root, NULL, &err), AP_BUSY);
    snprintf(pid, sizeof(pid), "process %ld", (long)child);
    check_holds(err.text, root);
    check_holds(err.text, pid);
    ap_database_close(run_db(&(struct ap_run_dir){.path = root})); /* nothing was made yet */
    assert_int_equal(try_open(&dir, root, "align.kl=0.04", &err), AP_BUSY);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    must_open(&dir, root);              /* the kernel gave the lock back */
    assert_int_equal(dir.moved.len, 0); /* and no other recipe took the place meanwhile */
    ap_run_dir_close(&dir);
    close(ready[0]);
    remove_folder(root);
}

#define N_FILES 3

/* Runs in the child until it is killed: checkpoints one step after the other. No assertion here: it
 * would jump into the child's copy of the test program. */
static void write_checkpoints(const char *root, int progress)
{
    struct ap_error err;
    struct ap_run_dir dir;
    if (try_open(&dir, root, NULL, &err) != AP_OK)
        _exit(1);
    char *folder, name[16], text[64];
    int64_t step;
    if (ap_checkpoint_newest(&dir, "align", &folder, &step, &err) != AP_OK)
        _exit(1);
    ap_free(folder);
    while (++step) {
        if (ap_checkpoint_begin(&dir, "align", &folder, &err) != AP_OK)
            _exit(1);
        snprintf(text, sizeof(text), "step %lld", (long long)step);
        for (int i = 0; i < N_FILES; i++) {
            snprintf(name, sizeof(name), "file%d", i);
            char *path = ap_path_join(folder, name);
            if (!path || ap_file_write(path, text, strlen(text), &err) != AP_OK)
                _exit(1);
            ap_free(path);
        }
        if (ap_checkpoint_commit(&dir, "align", folder, step, 2, &err) != AP_OK ||
            write(progress, "x", 1) != 1)
            _exit(1);
        ap_free(folder);
    }
}

static int64_t check_newest(const struct ap_run_dir *dir)
{
    struct ap_error err;
    struct ap_buffer text = {0};
    char *folder, name[16], expected[64];
    int64_t step;
    check_ok(ap_checkpoint_newest(dir, "align", &folder, &step, &err), err);
    if (!folder)
        return -1;
    snprintf(expected, sizeof(expected), "step %lld", (long long)step);
    for (int i = 0; i < N_FILES; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        char *path = ap_path_join(folder, name);
        check_ok(ap_file_read(path, 100, &text, &err), err);
        assert_string_equal(text.data, expected);
        ap_free(path);
    }
    ap_buffer_free(&text);
    ap_free(folder);
    return step;
}

/* Some commits are waited for, then the moment is any. */
static void kill_one_writer(const char *root, unsigned round)
{
    int status, progress[2];
    char byte;
    assert_int_equal(pipe(progress), 0);
    pid_t child = fork();
    if (child == 0)
        write_checkpoints(root, progress[1]);
    close(progress[1]);
    for (unsigned i = 0; i < round % 3; i++)
        assert_int_equal(read(progress[0], &byte, 1), 1);
    usleep((round * 7919u) % 9000);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status)); /* it did not end by an error of its own */
    close(progress[0]);
}

static void killed_at_any_moment(void **state)
{
    (void)state;
    char *root = fresh_folder();
    struct ap_run_dir dir;
    int64_t last = -1;
    for (unsigned round = 0; round < 24; round++) {
        kill_one_writer(root, round);
        must_open(&dir, root);
        int64_t step = check_newest(&dir);
        assert_true(step >= last + round % 3);
        last = step;
        assert_false(exists(&dir, "align", AP_CHECKPOINT_NEW));
        ap_run_dir_close(&dir);
    }
    remove_folder(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_made_and_found_again),
        cmocka_unit_test(another_recipe_is_refused),
        cmocka_unit_test(a_recipe_that_made_nothing_gives_way),
        cmocka_unit_test(other_addresses_are_told),
        cmocka_unit_test(leftovers_go_and_other_files_stay),
        cmocka_unit_test(unwritable_places),
        cmocka_unit_test(newest_complete_is_found),
        cmocka_unit_test(final_is_replaced_whole),
        cmocka_unit_test(best_keeps_what_a_checkpoint_needs),
        cmocka_unit_test(full_disk_keeps_the_old_checkpoint),
        cmocka_unit_test(a_limit_on_file_size),
        cmocka_unit_test(in_use_by_another_process),
        cmocka_unit_test(killed_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
