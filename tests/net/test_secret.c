/* Keys: where they may come from, who may read the file, what is hidden, and that no core is
 * written. */
#include "net/secret.h"

#include "base/scratch.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define VARIABLE "ALIGNPRO_TEST_SECRET"

static ap_status from_file(const char *path, mode_t mode, const void *data, size_t n,
                           struct ap_secret *out, struct ap_error *err)
{
    scratch_put(path, data, n);
    assert_int_equal(chmod(path, mode), 0);
    ap_status status = ap_secret_open(out, "", path, "target", err);
    assert_true(status == AP_OK || out->text == NULL);
    return status;
}

/* A key where its variable's name should be is not repeated. */
static void test_key_for_name(void **state)
{
    static const char *const keys[] = {"sk-proj-0123456789", "0123456789abcdef",
                                       "abcdefghijklmnopqrstuvwxyz_0123456789"};
    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct ap_error err;
        struct ap_secret s;
        assert_int_equal(ap_secret_open(&s, keys[i], "", "target", &err), AP_INVALID);
        assert_null(strstr(err.text, keys[i]));
        assert_non_null(strstr(err.text, "no name of a variable"));
        assert_null(s.text);
    }
}

static void test_variable(void **state)
{
    static const struct {
        const char *value;
        ap_status status;
        const char *text;
    } rows[] = {{"sk-1234567890", AP_OK, "sk-1234567890"},
                {" \tsk-1\n", AP_OK, "sk-1"},
                {"", AP_INVALID, NULL},
                {"  ", AP_INVALID, NULL},
                {"two words", AP_INVALID, NULL},
                {"one\r\nInjected:header", AP_INVALID, NULL},
                {"schlüssel", AP_INVALID, NULL}};
    struct ap_error err;
    struct ap_secret s;
    (void)state;
    unsetenv(VARIABLE);
    assert_int_equal(ap_secret_open(&s, VARIABLE, "", "reward.help", &err), AP_NOT_FOUND);
    check_holds(err.text, "reward.help");
    check_holds(err.text, VARIABLE);
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        setenv(VARIABLE, rows[i].value, 1);
        assert_int_equal(ap_secret_open(&s, VARIABLE, "", "target", &err), rows[i].status);
        if (rows[i].text)
            assert_string_equal(s.text, rows[i].text);
        else
            assert_null(s.text);
        if (rows[i].status != AP_OK && strlen(rows[i].value) > 2)
            assert_null(strstr(err.text, rows[i].value)); /* it might be nearly right */
        ap_secret_free(&s);
        assert_null(s.text);
    }
    unsetenv(VARIABLE);
    check_ok(ap_secret_open(&s, "", "", "target", &err), err);
    assert_null(s.text);
    ap_secret_free(&s);
}

static void test_file(void **state)
{
    static const mode_t open_modes[] = {0644, 0640, 0604, 0660, 0601, 0610, 0777};
    char big[5000], *path = scratch_path(state, "key"), *fifo = scratch_path(state, "fifo"),
                    *away = scratch_path(state, "away");
    struct ap_error err;
    struct ap_secret s;
    check_ok(from_file(path, 0600, "sk-abc\n", 7, &s, &err), err);
    assert_string_equal(s.text, "sk-abc");
    ap_secret_free(&s);
    check_ok(from_file(path, 0400 | 0200, "\r\n sk-abc \r\n", 12, &s, &err), err);
    assert_string_equal(s.text, "sk-abc");
    ap_secret_free(&s);
    for (size_t i = 0; i < AP_LEN(open_modes); i++) {
        assert_int_equal(from_file(path, open_modes[i], "sk-abc", 6, &s, &err), AP_INVALID);
        check_holds(err.text, "chmod 600");
        assert_null(strstr(err.text, "sk-abc"));
    }
    memset(big, 'a', sizeof(big));
    assert_int_equal(from_file(path, 0600, big, sizeof(big), &s, &err), AP_INVALID);
    assert_int_equal(from_file(path, 0600, "", 0, &s, &err), AP_INVALID);
    assert_int_equal(from_file(path, 0600, "a\0b", 3, &s, &err), AP_INVALID);
    assert_int_equal(from_file(path, 0600, "sk-1\nsk-2\n", 10, &s, &err), AP_INVALID);
    assert_null(strstr(err.text, "sk-1"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(ap_secret_open(&s, "", fifo, "target", &err), AP_INVALID); /* at once */
    assert_int_equal(ap_secret_open(&s, "", *state, "target", &err), AP_INVALID);
    assert_int_equal(ap_secret_open(&s, "", away, "target", &err), AP_NOT_FOUND);
    check_holds(err.text, "away");
    setenv(VARIABLE, "sk-1234567890", 1);
    assert_int_equal(ap_secret_open(&s, VARIABLE, path, "target", &err), AP_INVALID);
    unsetenv(VARIABLE);
    ap_free(path);
    ap_free(fifo);
    ap_free(away);
}

static void test_hide(void **state)
{
    struct ap_secret s = {.text = (char *)"sk-12345678"}, none = {0}, small = {.text = (char *)"x"};
    char text[] = "key sk-12345678, again: sk-12345678sk-12345678.", plain[] = "sk-1234567 x";
    (void)state;
    assert_true(ap_secret_hide(&s, text));
    assert_string_equal(text, "key ***********, again: **********************.");
    assert_false(ap_secret_hide(&s, text));
    assert_false(ap_secret_hide(&s, plain));
    assert_false(ap_secret_hide(&small, plain));
    assert_false(ap_secret_hide(&none, plain));
    assert_false(ap_secret_hide(NULL, plain));
    assert_false(ap_secret_hide(&s, NULL));
    assert_string_equal(plain, "sk-1234567 x");
}

/* In a process of its own: it can never be dumped again. */
static void test_no_core(void **state)
{
    int how;
    (void)state;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = {0, 0};
        struct ap_secret s;
        prctl(PR_SET_DUMPABLE, 1);
        setenv(VARIABLE, "sk-1234567890", 1);
        bool before = prctl(PR_GET_DUMPABLE) == 1;
        ap_status status = ap_secret_open(&s, VARIABLE, "", "target", NULL);
        getrlimit(RLIMIT_CORE, &limit);
        _exit(before && status == AP_OK && limit.rlim_cur == 0 && limit.rlim_max == 0 &&
                      prctl(PR_GET_DUMPABLE) == 0
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variable),
        cmocka_unit_test(test_key_for_name),
        cmocka_unit_test_setup_teardown(test_file, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_hide),
        cmocka_unit_test(test_no_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
