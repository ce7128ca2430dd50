/* Whole files and directories: what is written is whole or not there, and a failure at any call
 * keeps the old file. */
#include "base/scratch.h"

#include "base/faults.h"
#include "base/process.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int clear_faults(void **state)
{
    faults.memory.after = faults.write.after = faults.fsync.after = -1;
    faults.rename.after = faults.exchange.after = -1;
    return scratch_teardown(state);
}

static void test_write_then_read(void **state)
{
    struct ap_error err;
    char *path = scratch_path(state, "a.bin"), data[5000];
    struct ap_buffer got = {0};
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7);
    assert_false(ap_file_exists(path));
    check_ok(ap_file_write(path, data, sizeof(data), &err), err);
    assert_true(ap_file_exists(path));
    check_ok(ap_file_read(path, sizeof(data), &got, &err), err);
    assert_int_equal(got.len, sizeof(data));
    assert_memory_equal(got.data, data, sizeof(data));
    check_ok(ap_file_write(path, "", 0, &err), err);
    check_ok(ap_file_read(path, 0, &got, &err), err);
    assert_int_equal(got.len, 0);
    assert_string_equal(got.data, "");
    ap_buffer_free(&got);
    ap_free(path);
}

static void test_read_is_bounded(void **state)
{
    struct ap_error err;
    char *path = scratch_path(state, "a"), *absent = scratch_path(state, "absent");
    struct ap_buffer got = {0};
    scratch_put(path, "12345", 5);
    assert_int_equal(ap_file_read(path, 4, &got, &err), AP_LIMIT);
    check_holds(err.text, "limit of 4 bytes");
    assert_int_equal(got.len, 0);
    assert_int_equal(ap_file_read("/proc/self/stat", 10, &got, &err), AP_LIMIT); /* says 0 */
    assert_int_equal(ap_file_read(absent, 4, &got, &err), AP_NOT_FOUND);
    check_holds(err.text, absent);
    check_holds(err.text, "check the path");
    assert_int_equal(ap_file_read(*state, 4, &got, &err), AP_INVALID);
    check_holds(err.text, "is a directory");
    check_ok(ap_file_read("/proc/self/stat", 100000, &got, &err), err); /* says its size is 0 */
    assert_true(got.len > 10);
    got.max = 3;
    assert_int_equal(ap_file_read(path, 100, &got, &err), AP_LIMIT);
    ap_buffer_free(&got);
    ap_free(path);
    ap_free(absent);
}

/* Overwrite a file while one call fails: the old text must stand and nothing lie beside it. */
static void expect_old_kept(const char *path, const char *part)
{
    struct ap_error err;
    char data[3000] = {0};
    assert_int_equal(ap_file_write(path, data, sizeof(data), &err), AP_IO);
    check_holds(err.text, path);
    check_holds(err.text, part);
    assert_null(strchr(err.text, '\n'));
    scratch_expect(path, "old");
    char tmp[256];
    snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    assert_false(ap_file_exists(tmp));
}

static void test_failures_keep_the_old_file(void **state)
{
    char *path = scratch_path(state, "a");
    scratch_put(path, "old", 3);
    faults.write = (struct fault){0, ENOSPC};
    expect_old_kept(path,
                    "cannot write after 0 bytes (the old file is kept): No space left on device; "
                    "free some space or choose another directory");
    faults.write = (struct fault){2, ENOSPC};
    expect_old_kept(path, "after 2000 bytes");
    faults.write = (struct fault){1, EFBIG};
    expect_old_kept(path, "ulimit -f");
    faults.write.after = -1;
    faults.fsync = (struct fault){0, EIO};
    expect_old_kept(path, "check the disk");
    faults.fsync.after = -1;
    faults.rename = (struct fault){0, EACCES};
    expect_old_kept(path, "check the permissions");
    ap_free(path);
}

static void test_new_file_fails_without_a_trace(void **state)
{
    struct ap_error err;
    char *path = scratch_path(state, "new"), *deep = scratch_path(state, "no/such/dir");
    faults.write = (struct fault){0, ENOSPC};
    assert_int_equal(ap_file_write(path, "x", 1, &err), AP_IO);
    assert_null(strstr(err.text, "old file"));
    assert_false(ap_file_exists(path));
    assert_int_equal(ap_file_write(deep, "x", 1, &err), AP_NOT_FOUND);
    check_holds(err.text, "cannot create");
    ap_free(path);
    ap_free(deep);
}

static void test_out_of_memory(void **state)
{
    struct ap_error err;
    struct ap_buffer got = {0};
    char *path = scratch_path(state, "a");
    scratch_put(path, "old", 3);
    ap_status status = AP_MEMORY;
    int n = 0;
    for (; status != AP_OK && n < 20; n++) {
        faults.memory = (struct fault){n, 0};
        status = ap_file_write(path, "new", 3, &err);
        faults.memory.after = -1;
        assert_true(status == AP_OK || status == AP_MEMORY);
    }
    assert_in_range(n, 3, 19);
    faults.memory = (struct fault){0, 0};
    assert_int_equal(ap_file_read(path, 10, &got, &err), AP_MEMORY);
    check_holds(err.text, path);
    ap_free(path);
}

static void test_writer_in_pieces(void **state)
{
    struct ap_error err;
    struct ap_writer w;
    char *path = scratch_path(state, "a");
    scratch_put(path, "old", 3);
    check_ok(ap_writer_open(&w, path, &err), err);
    check_ok(ap_writer_append(&w, "ne", 2, &err), err);
    check_ok(ap_writer_append(&w, "w", 1, &err), err);
    assert_int_equal(w.size, 3);
    scratch_expect(path, "old");
    ap_writer_abort(&w);
    ap_writer_abort(&w);
    scratch_expect(path, "old");
    check_ok(ap_writer_open(&w, path, &err), err);
    check_ok(ap_writer_append(&w, "new", 3, &err), err);
    check_ok(ap_writer_commit(&w, &err), err);
    ap_writer_abort(&w);
    scratch_expect(path, "new");
    ap_writer_abort(&(struct ap_writer){0});
    ap_free(path);
}

/* A temporary file that is there is somebody's: of another process, or of a user. */
static void test_writer_claims_its_name(void **state)
{
    struct ap_error err = {0};
    struct ap_writer first = {.fd = -1}, second = {.fd = -1};
    struct ap_buffer text = {0};
    char path[512], tmp[520];
    snprintf(path, sizeof(path), "%s/claimed", (const char *)*state);
    snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    check_ok(ap_writer_open_new(&first, path, &err), err);
    check_ok(ap_writer_append(&first, "one", 3, &err), err);
    assert_int_equal(ap_writer_open_new(&second, path, &err), AP_INVALID);
    check_holds(err.text, "claimed.tmp: is there");
    ap_writer_abort(&second);
    assert_true(ap_file_exists(tmp));
    check_ok(ap_writer_commit(&first, &err), err);
    check_ok(ap_file_read(path, 16, &text, &err), err);
    assert_string_equal(text.data, "one");
    assert_int_equal(symlink(path, tmp), 0);
    assert_int_equal(ap_writer_open_new(&second, path, &err), AP_INVALID);
    assert_int_equal(unlink(tmp), 0);
    assert_int_equal(mkfifo(tmp, 0600), 0); /* nor is it waited for */
    assert_int_equal(ap_writer_open(&second, path, &err), AP_IO);
    assert_true(ap_file_exists(tmp));
    ap_buffer_free(&text);
}

static void test_map(void **state)
{
    struct ap_error err;
    struct ap_map map;
    char *path = scratch_path(state, "a"), *empty = scratch_path(state, "e");
    scratch_put(path, "mapped", 6);
    scratch_put(empty, "", 0);
    check_ok(ap_map_open(&map, path, &err), err);
    assert_int_equal(map.size, 6);
    assert_memory_equal(map.data, "mapped", 6);
    ap_map_close(&map);
    ap_map_close(&map);
    check_ok(ap_map_open(&map, empty, &err), err);
    assert_null(map.data);
    assert_int_equal(map.size, 0);
    ap_map_close(&map);
    assert_int_equal(ap_map_open(&map, *state, &err), AP_INVALID);
    check_holds(err.text, "is a directory, expected a regular file");
    assert_int_equal(ap_map_open(&map, "/dev/null", &err), AP_INVALID);
    assert_int_equal(ap_map_open(&map, "/no/such", &err), AP_NOT_FOUND);
    ap_free(path);
    ap_free(empty);
}

/* What is fetched is memory of the process at once, what is released is not; both read the same. */
static void test_map_fetch_and_release(void **state)
{
    enum { SIZE = 24 << 20 };
    struct ap_error err;
    struct ap_map map;
    char *path = scratch_path(state, "large"), *data = ap_calloc(SIZE, 1);
    size_t before, fetched;
    assert_non_null(data);
    data[SIZE - 1] = 7;
    scratch_put(path, data, SIZE);
    ap_free(data);
    check_ok(ap_map_open(&map, path, &err), err);
    before = ap_process_memory();
    ap_map_fetch(map.data, 0);
    ap_map_fetch((const char *)map.data + 3, SIZE - 3); /* from any address */
    fetched = ap_process_memory();
    assert_true(fetched > before + SIZE / 2);
    ap_map_release(map.data, SIZE);
    assert_true(ap_process_memory() < fetched - SIZE / 2);
    assert_int_equal(((const char *)map.data)[SIZE - 1], 7);
    ap_map_close(&map);
    ap_free(path);
}

static void expect_path(char *got, const char *want)
{
    assert_non_null(got);
    assert_string_equal(got, want);
    ap_free(got);
}

static void test_paths(void **state)
{
    (void)state;
    expect_path(ap_path_join("a/b", "c"), "a/b/c");
    expect_path(ap_path_join("a/", "c"), "a/c");
    expect_path(ap_path_join("a", "/c"), "/c");
    expect_path(ap_path_join("", "c"), "c");
    expect_path(ap_path_join(NULL, "c"), "c");
    expect_path(ap_path_dir("a/b/c"), "a/b");
    expect_path(ap_path_dir("a/b//"), "a");
    expect_path(ap_path_dir("c"), ".");
    expect_path(ap_path_dir(""), ".");
    expect_path(ap_path_dir("/c"), "/");
    expect_path(ap_path_dir("/"), "/");
    expect_path(ap_path_dir("a//b"), "a");
}

static void test_make_and_remove(void **state)
{
    struct ap_error err;
    char *top = scratch_path(state, "x"), *deep = scratch_path(state, "x/y//z/");
    char *file = scratch_path(state, "x/y/f"), *outside = scratch_path(state, "kept");
    char *link = scratch_path(state, "x/y/link"), *below = scratch_path(state, "x/y/f/g");
    check_ok(ap_dir_make(deep, &err), err);
    check_ok(ap_dir_make(deep, &err), err); /* there already */
    scratch_put(file, "1", 1);
    check_ok(ap_dir_make(outside, &err), err);
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(ap_dir_make(file, &err), AP_INVALID);
    check_holds(err.text, "is a file, expected a directory");
    assert_int_equal(ap_dir_make(below, &err), AP_INVALID);
    assert_int_equal(ap_dir_make("", &err), AP_INVALID);
    assert_int_equal(ap_dir_make("/proc/none/such", &err), AP_NOT_FOUND);
    check_ok(ap_dir_remove(top, &err), err);
    check_ok(ap_dir_remove(top, &err), err); /* absent is fine */
    assert_false(ap_file_exists(top));
    assert_true(ap_file_exists(outside)); /* a link is removed, not followed */
    ap_free(top);
    ap_free(deep);
    ap_free(file);
    ap_free(outside);
    ap_free(link);
    ap_free(below);
}

static void test_remove_has_a_floor(void **state)
{
    struct ap_error err;
    char *path = scratch_path(state, "d");
    for (int i = 0; i < 70; i++) {
        check_ok(ap_dir_make(path, &err), err);
        char *deeper = ap_path_join(path, "d");
        ap_free(path);
        path = deeper;
    }
    ap_free(path);
    path = scratch_path(state, "d");
    assert_int_equal(ap_dir_remove(path, &err), AP_LIMIT);
    check_holds(err.text, "64 directories deep");
    /* take the upper part away, so that the teardown can remove the rest */
    char *middle = scratch_path(state, "d/d/d/d/d/d/d/d/d/d"), *aside = scratch_path(state, "e");
    assert_int_equal(rename(middle, aside), 0);
    ap_free(path);
    ap_free(middle);
    ap_free(aside);
}

/* A step's folder takes the place of an older one; `exchange` says how its rename does. */
static void commit_over(void **state, int exchange)
{
    struct ap_error err;
    char *from = scratch_path(state, "step.tmp/sub"), *to = scratch_path(state, "step");
    char *file = scratch_path(state, "step.tmp/sub/w"), *got = scratch_path(state, "step/sub/w");
    char *stale = scratch_path(state, "step/stale"), *tmp = scratch_path(state, "step.tmp");
    check_ok(ap_dir_make(from, &err), err);
    scratch_put(file, "weights", 7);
    check_ok(ap_dir_commit(tmp, to, &err), err); /* nothing there yet */
    scratch_expect(got, "weights");
    assert_false(ap_file_exists(tmp));
    scratch_put(stale, "s", 1);
    check_ok(ap_dir_make(from, &err), err);
    scratch_put(file, "newer", 5);
    faults.exchange = (struct fault){exchange, EINVAL};
    check_ok(ap_dir_commit(tmp, to, &err), err);
    scratch_expect(got, "newer");
    assert_false(ap_file_exists(stale));
    assert_false(ap_file_exists(tmp));
    ap_free(from);
    ap_free(to);
    ap_free(file);
    ap_free(got);
    ap_free(stale);
    ap_free(tmp);
}

static void test_commit_exchanges(void **state)
{
    commit_over(state, -1);
}

static void test_commit_where_exchange_is_not_known(void **state)
{
    commit_over(state, 0);
}

static void test_commit_failures(void **state)
{
    struct ap_error err;
    char *from = scratch_path(state, "f"), *to = scratch_path(state, "t");
    char *file = scratch_path(state, "f/a"), *old = scratch_path(state, "t/a");
    assert_int_equal(ap_dir_commit(from, to, &err), AP_NOT_FOUND);
    check_ok(ap_dir_make(from, &err), err);
    check_ok(ap_dir_make(to, &err), err);
    scratch_put(file, "new", 3);
    scratch_put(old, "old", 3);
    faults.fsync = (struct fault){0, ENOSPC};
    assert_int_equal(ap_dir_commit(from, to, &err), AP_IO);
    check_holds(err.text, "through to the disk");
    scratch_expect(old, "old");
    scratch_expect(file, "new");
    ap_free(from);
    ap_free(to);
    ap_free(file);
    ap_free(old);
}

/* What is no file is refused by each reader, and none waits for a pipe that nobody writes to. */
static void test_only_regular_files(void **state)
{
    char *pipe_path = scratch_path(state, "pipe");
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    const char *paths[] = {*state, pipe_path, "/dev/zero"};
    for (size_t i = 0; i < AP_LEN(paths); i++) {
        const char *what = i ? "a device or pipe" : "is a directory";
        struct ap_error err;
        struct ap_buffer out = {0};
        struct ap_map map;
        struct ap_lines *lines;
        assert_int_equal(ap_file_read(paths[i], 100, &out, &err), AP_INVALID);
        check_holds(err.text, what);
        check_holds(err.text, "expected a regular file");
        assert_int_equal(ap_map_open(&map, paths[i], &err), AP_INVALID);
        check_holds(err.text, what);
        assert_int_equal(ap_lines_open(&lines, paths[i], 100, &err), AP_INVALID);
        check_holds(err.text, what);
        assert_null(lines);
        ap_buffer_free(&out);
    }
    ap_free(pipe_path);
}

/* As another user, where the test runs as root, whom no permission stops. */
static void test_unwritable_directory(void **state)
{
    char *locked = scratch_path(state, "locked"), *file = scratch_path(state, "locked/f");
    assert_int_equal(mkdir(locked, 0555), 0);
    assert_int_equal(chmod(*state, 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        struct ap_error err;
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(2);
        ap_status status = ap_file_write(file, "x", 1, &err);
        _exit(status == AP_IO && strstr(err.text, "check the permissions") ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ap_free(locked);
    ap_free(file);
}

#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, clear_faults)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_write_then_read),
        T(test_read_is_bounded),
        T(test_failures_keep_the_old_file),
        T(test_new_file_fails_without_a_trace),
        T(test_out_of_memory),
        T(test_writer_in_pieces),
        T(test_map),
        T(test_map_fetch_and_release),
        T(test_writer_claims_its_name),
        cmocka_unit_test(test_paths),
        T(test_make_and_remove),
        T(test_remove_has_a_floor),
        T(test_commit_exchanges),
        T(test_commit_where_exchange_is_not_known),
        T(test_commit_failures),
        T(test_only_regular_files),
        T(test_unwritable_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
