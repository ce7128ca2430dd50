/* The lock between processes: refused while another holds it, free again when that one is killed.
 */
#include "base/scratch.h"

#include <signal.h>
#include <sys/wait.h>

/* A process that takes the lock, writes a byte to `ready`, and waits to be killed. */
static pid_t hold_in_child(const char *path, int ready)
{
    pid_t child = fork();
    if (child == 0) {
        struct ap_lock lock;
        if (ap_lock_take(&lock, path, NULL) != AP_OK || write(ready, "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    return child;
}

static void test_other_process(void **state)
{
    struct ap_error err;
    struct ap_lock lock = {-1};
    char *path = scratch_path(state, "lock"), byte, number[32];
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = hold_in_child(path, ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(ap_lock_take(&lock, path, &err), AP_BUSY);
    assert_int_equal(lock.fd, -1);
    snprintf(number, sizeof(number), "in use by process %d;", (int)child);
    check_holds(err.text, path);
    check_holds(err.text, number);
    ap_lock_release(&lock);
    long holder = 0;
    if (access("/proc/locks", R_OK) == 0) {
        assert_true(ap_lock_holder(path, &holder));
        assert_int_equal(holder, child);
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(ap_lock_holder(path, &holder));    /* its number still stands in the file */
    check_ok(ap_lock_take(&lock, path, &err), err); /* kill -9 leaves no lock behind */
    ap_lock_release(&lock);
    close(ready[0]);
    close(ready[1]);
    ap_free(path);
}

/* A child that was being started when its parent was killed has the lock for a moment. */
static void test_what_a_killed_parent_left_is_waited_for(void **state)
{
    struct ap_error err;
    struct ap_lock lock = {-1};
    char *path = scratch_path(state, "lock"), byte;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (ap_lock_take(&lock, path, NULL) == AP_OK && fork() == 0) {
            (void)!write(ready[1], "x", 1);
            usleep(300000);
            _exit(0);
        }
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    check_ok(ap_lock_take(&lock, path, &err), err);
    ap_lock_release(&lock);
    assert_int_equal(read(ready[0], &byte, 1), 0); /* it is gone */
    close(ready[0]);
    ap_free(path);
}

static void test_same_process_and_unknown_holder(void **state)
{
    struct ap_error err;
    struct ap_lock first, second;
    char *path = scratch_path(state, "lock");
    check_ok(ap_lock_take(&first, path, &err), err);
    assert_int_equal(ap_lock_take(&second, path, &err), AP_BUSY);
    scratch_put(path, "", 0); /* the number could not be written */
    assert_int_equal(ap_lock_take(&second, path, &err), AP_BUSY);
    check_holds(err.text, "another process");
    ap_lock_release(&first);
    ap_lock_release(&first);
    check_ok(ap_lock_take(&second, path, &err), err);
    ap_lock_release(&second);
    ap_free(path);
}

/* Of another machine, or another namespace of processes: nobody here has its number. */
static void test_a_holder_that_is_not_seen_is_busy_all_the_same(void **state)
{
    static const char nobody[] = "2147483646\n";
    struct ap_error err;
    struct ap_lock first, second;
    char *path = scratch_path(state, "lock");
    check_ok(ap_lock_take(&first, path, &err), err);
    scratch_put(path, nobody, strlen(nobody));
    assert_int_equal(ap_lock_take(&second, path, &err), AP_BUSY);
    check_holds(err.text, "in use by process 2147483646;");
    ap_lock_release(&first);
    ap_free(path);
}

static void test_no_directory(void **state)
{
    struct ap_error err;
    struct ap_lock lock;
    char *path = scratch_path(state, "absent/lock");
    long holder;
    assert_false(ap_lock_holder(path, &holder));
    assert_int_equal(ap_lock_take(&lock, path, &err), AP_NOT_FOUND);
    check_holds(err.text, "cannot open the lock");
    ap_lock_release(&lock);
    ap_free(path);
}

#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_other_process),
        T(test_what_a_killed_parent_left_is_waited_for),
        T(test_same_process_and_unknown_holder),
        T(test_a_holder_that_is_not_seen_is_busy_all_the_same),
        T(test_no_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
