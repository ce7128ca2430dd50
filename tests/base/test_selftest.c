/* A check that fails must fail the process: each check of check.h is made to fail in a child. */
#include "check.h"

#include "base/error.h"

#include <sys/wait.h>

static void near_too_far(void **state)
{
    (void)state;
    check_near(1.0, 1.1, 0.01, 0.01);
}

static void near_nan(void **state)
{
    (void)state;
    check_near(NAN, 1.0, 1e9, 1e9);
}

static void status_not_ok(void **state)
{
    (void)state;
    struct ap_error err;
    check_ok(ap_fail(&err, AP_IO, "as it must"), err);
}

static void part_absent(void **state)
{
    (void)state;
    check_holds("a text", "another");
}

static void plain_cmocka(void **state)
{
    (void)state;
    assert_int_equal(1, 2);
}

static void nothing_wrong(void **state)
{
    (void)state;
    check_near(1.0, 1.0 + 1e-9, 1e-6, 0);
    check_holds("a text", "text");
}

static const struct CMUnitTest must_fail[] = {
    cmocka_unit_test(near_too_far), cmocka_unit_test(near_nan),     cmocka_unit_test(status_not_ok),
    cmocka_unit_test(part_absent),  cmocka_unit_test(plain_cmocka),
};
static const struct CMUnitTest must_pass[] = {cmocka_unit_test(nothing_wrong)};

/* Exit status of a fresh process that runs one group, its output thrown away. */
static int exit_of_child(const char *which)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(99);
        execl("/proc/self/exe", "test_selftest", which, (char *)NULL);
        _exit(98);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_failed_check_fails_the_process(void **state)
{
    (void)state;
    char which[2] = "0";
    for (size_t i = 0; i < AP_LEN(must_fail); i++, which[0]++)
        assert_int_equal(exit_of_child(which), 1);
    assert_int_equal(exit_of_child("pass"), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_failed_check_fails_the_process)};
    if (argc < 2)
        return cmocka_run_group_tests(tests, NULL, NULL);
    if (!strcmp(argv[1], "pass"))
        return cmocka_run_group_tests(must_pass, NULL, NULL);
    const struct CMUnitTest one[] = {must_fail[argv[1][0] - '0']};
    return cmocka_run_group_tests(one, NULL, NULL);
}
