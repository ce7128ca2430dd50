/* Child processes: found as they are started, alone in their group, with nothing of ours but three
 * pipes; how they end. What is said over the pipes: tests/align/test_reward_command.c. */
#include "base/child.h"
#include "base/scratch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *read_all(int fd)
{
    static char text[4096];
    size_t n = 0;
    for (;;) {
        assert_true(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 20000) > 0);
        ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    return text;
}

static struct ap_child start(const char *line, const char *folder)
{
    struct ap_error err;
    struct ap_child c;
    char *argv[] = {"sh", "-c", (char *)line, NULL};
    check_ok(ap_child_start(&c, argv, folder, &err), err);
    return c;
}

static void test_streams_folder_and_group(void **state)
{
    char want[300], *real = realpath(*state, NULL);
    struct ap_child c =
        start("pwd; cat; echo word >&2; ps -o pgid= -p $$ 2>/dev/null || echo $$", *state);
    assert_int_equal(ap_child_write(&c, "line\n", 5), 5);
    ap_child_close_in(&c);
    const char *text = read_all(c.out);
    snprintf(want, sizeof(want), "%s\nline\n", real);
    assert_memory_equal(text, want, strlen(want));
    assert_int_equal(atoi(text + strlen(want)), c.pid);
    assert_string_equal(read_all(c.err), "word\n");
    ap_child_close(&c, 20);
    assert_true(c.pid == 0 && c.in == -1 && c.out == -1 && c.err == -1);
    free(real);
}

static void test_ends(void **state)
{
    static const struct {
        const char *line, *how;
    } cases[] = {{"exit 0", "exit status 0"},
                 {"exit 77", "exit status 77"},
                 {"kill -9 $$", "signal KILL"},
                 {"kill -TERM $$", "signal TERM"}};
    char how[64];
    for (size_t i = 0; i < AP_LEN(cases); i++) {
        struct ap_child c = start(cases[i].line, *state);
        assert_true(ap_child_ended(&c, 20, how));
        assert_string_equal(how, cases[i].how);
        assert_true(ap_child_ended(&c, 0, how)); /* it stays to be closed */
        pid_t pid = c.pid;
        ap_child_close(&c, 0);
        assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* no zombie is left */
    }
    struct ap_child c = start("sleep 1000", *state);
    assert_false(ap_child_ended(&c, 0.05, how));
    ap_child_close(&c, 0);
    ap_child_close(&c, 0); /* twice is fine */
}

/* Ignored and blocked signals are ours, not the child's; a write to one that ended is no signal. */
static void test_signals(void **state)
{
    struct sigaction before, ignore = {.sa_handler = SIG_IGN};
    sigset_t set, old;
    char how[64];
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaction(SIGPIPE, &ignore, &before);
    sigprocmask(SIG_BLOCK, &set, &old);
    struct ap_child c = start("kill -PIPE $$; exit 1", *state),
                    d = start("kill $$; exit 1", *state);
    sigprocmask(SIG_SETMASK, &old, NULL);
    sigaction(SIGPIPE, &before, NULL);
    assert_true(ap_child_ended(&c, 20, how));
    assert_string_equal(how, "signal PIPE");
    assert_true(ap_child_ended(&d, 20, how));
    assert_string_equal(how, "signal TERM");
    assert_int_equal(ap_child_write(&c, "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    ap_child_close(&c, 0);
    ap_child_close(&d, 0);
}

/* What check says is what start does. */
static void test_found_or_not(void **state)
{
    struct ap_error err;
    struct ap_child c;
    char *plain = scratch_path(state, "plain"), *script = scratch_path(state, "script-of-a-test");
    scratch_put(plain, "x", 1);
    scratch_put(script, "#!/bin/sh\nexit 3\n", 17);
    assert_int_equal(chmod(script, 0755), 0);
    const struct {
        const char *program;
        ap_status status;
    } cases[] = {{"sh", AP_OK},
                 {"/bin/sh", AP_OK},
                 {"./script-of-a-test", AP_OK},
                 {script, AP_OK},
                 {"script-of-a-test", AP_NOT_FOUND},
                 {"./none", AP_NOT_FOUND},
                 {"./plain", AP_IO},
                 {"no-such", AP_NOT_FOUND},
                 {"/", AP_IO},
                 {"", AP_NOT_FOUND},
                 {"./plain/x", AP_IO}};
    for (size_t i = 0; i < AP_LEN(cases); i++) {
        char *argv[] = {(char *)cases[i].program, NULL};
        assert_int_equal(ap_child_check(argv[0], *state, &err), cases[i].status);
        assert_int_equal(ap_child_start(&c, argv, *state, &err), cases[i].status);
        if (cases[i].status == AP_OK)
            ap_child_close(&c, 20);
        assert_true(c.pid == 0 && c.in == -1 && c.out == -1 && c.err == -1);
    }
    assert_int_equal(ap_child_check("./script-of-a-test", "/no-such-folder", &err), AP_NOT_FOUND);
    ap_free(plain);
    ap_free(script);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_streams_folder_and_group),
        WITH_FOLDER(test_ends),
        WITH_FOLDER(test_signals),
        WITH_FOLDER(test_found_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
