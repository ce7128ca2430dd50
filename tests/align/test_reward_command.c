/* Rewards of a user's own program: the protocol kept, batches larger than any pipe, and every way
 * in which a program can break it, each with one line that names the command and what was expected.
 * The programs are lines for /bin/sh. */
#include "align/reward.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/scratch.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

/* The response, a number, is the score; the answer is long. */
static const char echo_number[] =
    "sed -u 's/^{\"id\":\\([0-9]*\\),.*\"response\":\"\\([0-9.]*\\)\",.*/"
    "{\"id\": \\1, \"score\": \\2, \"why\": \"a word or two, as long as a reason that a program "
    "may "
    "give, so that its answers fill a pipe, too\"}/'";

static struct ap_scored item(const char *x, const char *y)
{
    return (struct ap_scored){.x = x, .y = y, .ended = true};
}

static ap_status try_words(char *const *words, int n_words, const char *folder, double timeout,
                           int n, double *out, struct ap_error *err)
{
    struct ap_command command = {words, n_words, folder, timeout, NULL};
    struct ap_reward r;
    struct ap_scored *items = ap_calloc((size_t)n, sizeof(*items));
    for (int i = 0; i < n; i++)
        items[i] = item("x", "123456789" + i % 9);
    ap_status status = ap_reward_command(&r, &command, NULL, err);
    if (status == AP_OK)
        status = ap_reward_score(&r, items, n, out, err);
    ap_reward_free(&r);
    ap_free(items);
    return status;
}

static ap_status try_line(const char *line, int n, double *out, struct ap_error *err)
{
    char *copy = ap_strdup(line);
    ap_status status = try_words(&copy, 1, "/", 20, n, out, err);
    ap_free(copy);
    return status;
}

/* Refused, in one line that holds these parts. */
static void refuses(const char *line, const char *part, const char *expected)
{
    struct ap_error err = {0};
    double out[4];
    assert_int_not_equal(try_line(line, 4, out, &err), AP_OK);
    check_holds(err.text, "reward command");
    check_holds(err.text, part);
    check_holds(err.text, expected);
    assert_null(strchr(err.text, '\n'));
}

static const char answer_line[] = "one line {\"id\": n, \"score\": number}";

/* ---- the protocol kept ---- */

static void test_scores(void **state)
{
    static const double want[] = {123456789, 23456789, 3456789, 456789, 56789, 6789, 789, 89, 9};
    struct ap_error err;
    double out[9];
    (void)state;
    check_ok(try_line(echo_number, 9, out, &err), err);
    for (int i = 0; i < 9; i++)
        assert_true(out[i] == want[i]);
}

/* Questions as they are written: every field, quotes and newlines escaped, one line. */
static void test_question(void **state)
{
    struct ap_error err;
    char *line = ap_strdup("read -r x; printf '%s\\n' \"$x\" >question; "
                           "echo '{\"id\": 0, \"score\": 2.5, \"why\": [1]}'; read x");
    struct ap_command command = {&line, 1, *state, 20, NULL};
    struct ap_message turns[] = {{"system", "Be \"kind\""}, {"user", "Hi\n"}};
    struct ap_scored one = {.context = turns, .n_context = 2, .x = "a\tb", .y = "\xC3\xA9\\"};
    struct ap_reward r;
    double out;
    check_ok(ap_reward_command(&r, &command, NULL, &err), err);
    check_ok(ap_reward_score(&r, &one, 1, &out, &err), err);
    ap_reward_free(&r);
    assert_true(out == 2.5);
    char *path = scratch_path(state, "question");
    scratch_expect(path,
                   "{\"id\":0,\"prompt\":\"a\\tb\",\"response\":\"\xC3\xA9\\\\\",\"context\":["
                   "{\"role\":\"system\",\"content\":\"Be \\\"kind\\\"\"},"
                   "{\"role\":\"user\",\"content\":\"Hi\\n\"}],\"ended\":false}\n");
    ap_free(path);
    ap_free(line);
}

static void test_any_order(void **state)
{
    struct ap_error err;
    double out[3];
    (void)state;
    check_ok(try_line("read a; read b; read c; for i in 2 0 1; do "
                      "echo \"{\\\"score\\\": 0.$i, \\\"id\\\": $i}\"; done; cat >/dev/null",
                      3, out, &err),
             err);
    for (int i = 0; i < 3; i++)
        check_near(out[i], i / 10.0, 1e-15, 0);
}

/* Far more than two pipes hold, in both directions, of a program that answers at once; and of one
 * that reads everything first. */
static void test_full_pipes(void **state)
{
    enum { N = 2000 };
    struct ap_error err;
    char *words[] = {"/bin/sh", "-c", NULL}, x[501], y[N][8];
    struct ap_scored items[N];
    double out[N];
    (void)state;
    memset(x, 'x', sizeof(x));
    x[500] = '\0';
    for (int i = 0; i < N; i++) {
        snprintf(y[i], sizeof(y[i]), "%d", i * 3);
        items[i] = item(x, y[i]);
    }
    for (int k = 0; k < 2; k++) {
        char line[600];
        snprintf(line, sizeof(line), k ? "head -n 2000 >all; %s <all" : "%s", echo_number);
        words[2] = line;
        struct ap_command command = {words, 3, *state, 60, NULL};
        struct ap_reward r;
        check_ok(ap_reward_command(&r, &command, NULL, &err), err);
        check_ok(ap_reward_score(&r, items, N, out, &err), err);
        ap_reward_free(&r);
        for (int i = 0; i < N; i++)
            assert_true(out[i] == i * 3);
    }
}

/* A program stays for many calls, and no number is asked twice. */
static void test_many_calls(void **state)
{
    struct ap_error err;
    char *line = ap_strdup("echo $$ >>started; n=0; while read x; do "
                           "echo \"{\\\"id\\\": $n, \\\"score\\\": $n}\"; n=$((n + 1)); done");
    struct ap_command command = {&line, 1, *state, 20, NULL};
    struct ap_scored two[] = {item("x", "a"), item("x", "b")};
    struct ap_reward r;
    double out[2];
    check_ok(ap_reward_command(&r, &command, NULL, &err), err);
    for (int call = 0; call < 5; call++) {
        check_ok(ap_reward_score(&r, two, 2, out, &err), err);
        assert_true(out[0] == 2 * call && out[1] == 2 * call + 1);
    }
    ap_reward_free(&r);
    struct ap_buffer started = {0};
    char *path = scratch_path(state, "started");
    check_ok(ap_file_read(path, 4096, &started, &err), err);
    assert_ptr_equal(strchr(started.data, '\n'), started.data + started.len - 1);
    ap_buffer_free(&started);
    ap_free(path);
    ap_free(line);
}

static void test_words_and_folder(void **state)
{
    struct ap_error err;
    double out[2];
    char *path = scratch_path(state, "score.sh");
    static const char script[] = "#!/bin/sh\ntest \"$1\" = 'two words' || exit 7\ntest -f score.sh "
                                 "|| exit 8\nwhile read x; do echo \"{\\\"id\\\": ${n:=0}, "
                                 "\\\"score\\\": 1}\"; n=$((n + 1)); done\n";
    char *words[] = {"./score.sh", "two words"};
    scratch_put(path, script, sizeof(script) - 1);
    assert_int_equal(chmod(path, 0755), 0);
    check_ok(try_words(words, 2, *state, 20, 2, out, &err), err);
    ap_free(path);
}

/* ---- a program that ends ---- */

static const char answers_two[] = "for i in 1 2; do read line || exit 3; "
                                  "id=${line#*:}; id=${id%%,*}; "
                                  "echo \"{\\\"id\\\": $id, \\\"score\\\": $id}\"; done; exit 3";

static void test_started_again(void **state)
{
    struct ap_error err = {0};
    double out[5];
    (void)state;
    check_ok(try_line(answers_two, 4, out, &err), err);
    for (int i = 0; i < 4; i++)
        assert_true(out[i] == i);
    assert_int_equal(try_line(answers_two, 5, out, &err), AP_IO);
    check_holds(err.text, "ended twice (last: exit status 3) with 1 of 5 questions open");
}

static void test_dies(void **state)
{
    (void)state;
    refuses("echo some words >&2; echo the reason >&2; exit 5",
            "ended twice (last: exit status 5) with 4 of 4 questions open",
            "it said last: some words | the reason");
    refuses("kill -SEGV $$", "signal SEGV", "answers until its standard input ends");
    refuses("exec 0<&-; exit 0", "exit status 0", "with 4 of 4 questions open");
    refuses("no-such-program --flag",
            "'no-such-program --flag': ended twice (last: exit status 127)", "not found");
}

static void test_not_started(void **state)
{
    struct ap_error err;
    double out[1];
    char *path = scratch_path(state, "plain");
    char *missing[] = {"./no-such-file", "x"}, *plain[] = {"./plain", "x"};
    assert_int_equal(try_words(missing, 2, *state, 5, 1, out, &err), AP_NOT_FOUND);
    check_holds(err.text, "reward command: ./no-such-file: cannot be started");
    scratch_put(path, "echo\n", 5);
    assert_int_equal(try_words(plain, 2, *state, 5, 1, out, &err), AP_IO);
    check_holds(err.text, "Permission denied; check the permissions");
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(try_words(plain, 2, *state, 5, 1, out, &err), AP_IO);
    check_holds(err.text, "a script begins with a line such as #!/bin/sh");
    ap_free(path);
}

/* ---- nonsense ---- */

static void test_nonsense(void **state)
{
    (void)state;
    static const char *const no_object[] = {"hello",
                                            "",
                                            "7",
                                            "[]",
                                            "{",
                                            "{\"id\": 0, \"score\": NaN}",
                                            "{\"id\": 0, \"score\": 1, \"id\": 1}",
                                            "{} {}"};
    static const char *const no_id[] = {"{}", "{\"score\": 1}", "{\"id\": \"0\", \"score\": 1}",
                                        "{\"id\": 0.5, \"score\": 1}", "{\"id\": null}"};
    static const char *const no_score[] = {"{\"id\": 0}", "{\"id\": 0, \"score\": \"1\"}",
                                           "{\"id\": 0, \"score\": null}",
                                           "{\"id\": 0, \"score\": [1]}"};
    const struct {
        const char *const *lines, *why;
        size_t n;
    } kinds[] = {{no_object, "which is no JSON object", AP_LEN(no_object)},
                 {no_id, "which has no \"id\" that is a whole number", AP_LEN(no_id)},
                 {no_score, "which has no \"score\" that is a finite number", AP_LEN(no_score)}};
    for (size_t k = 0; k < AP_LEN(kinds); k++)
        for (size_t i = 0; i < kinds[k].n; i++) {
            char line[256];
            snprintf(line, sizeof(line), "echo '%s'; cat >/dev/null", kinds[k].lines[i]);
            refuses(line, kinds[k].why, answer_line);
        }
    refuses("echo '{\"id\": 0, \"score\": 1e999}'; cat >/dev/null", "1e999", answer_line);
    refuses("echo '{\"id\": 4, \"score\": 1}'; cat >/dev/null", "never asked", answer_line);
    refuses("echo '{\"id\": -1, \"score\": 1}'; cat >/dev/null", "never asked", answer_line);
    refuses("for i in 1 2; do echo '{\"id\": 0, \"score\": 1}'; done; cat >/dev/null",
            "answered already", answer_line);
    refuses("printf '\\377\\n'; cat >/dev/null", "answered '?'", answer_line);
    refuses("printf '{\"id\": 0\\0}\\n'; cat >/dev/null", "answered '{\"id\": 0", answer_line);
}

/* A line too many is found at the latest in the next call, and taken for no other question's. */
static void test_too_many(void **state)
{
    struct ap_error err;
    char *line = ap_strdup("n=0; while read x; do echo \"{\\\"id\\\": $n, \\\"score\\\": 1}\"; "
                           "test $n = 1 && sleep 0.2 && echo '{\"id\": 0, \"score\": 9}'; "
                           "n=$((n + 1)); done");
    struct ap_command command = {&line, 1, "/", 20, NULL};
    struct ap_scored two[] = {item("x", "a"), item("x", "b")};
    struct ap_reward r;
    double out[2];
    (void)state;
    check_ok(ap_reward_command(&r, &command, NULL, &err), err);
    check_ok(ap_reward_score(&r, two, 2, out, &err), err);
    assert_int_equal(ap_reward_score(&r, two, 2, out, &err), AP_FORMAT);
    check_holds(err.text, "whose id was answered already");
    ap_reward_free(&r);
    ap_free(line);
}

static void test_endless(void **state)
{
    (void)state;
    refuses("head -c 100000000 /dev/zero | tr '\\0' a; echo; cat >/dev/null",
            "a line of over 65536 bytes", answer_line);
    refuses("while :; do echo '{\"id\": 0, \"score\": 1}'; done", "answered already", answer_line);
    refuses("while :; do echo words >&2; done & echo nonsense; wait", "nonsense", answer_line);
}

/* ---- silence ---- */

static void silent(const char *line, const char *part)
{
    struct ap_error err;
    double out[4], began = ap_clock_seconds();
    char *copy = ap_strdup(line);
    assert_int_equal(try_words(&copy, 1, "/", 0.3, 4, out, &err), AP_IO);
    check_holds(err.text, part);
    assert_true(ap_clock_seconds() - began < 30);
    ap_free(copy);
}

static void test_silence(void **state)
{
    (void)state;
    silent("sleep 1000", "gave no answer for 0.3 seconds, with 4 of 4 questions open");
    silent("cat >/dev/null", "flush its output after each line");
    silent("trap '' TERM INT HUP; while :; do sleep 1; done", "gave no answer");
    silent("echo '{\"id\": 0, \"score\": 1}'; sleep 1000", "with 3 of 4 questions open");
    silent("printf '{\"id\": 0'; sleep 1000", "gave no answer");
    silent("exec 0<&-; sleep 1000", "gave no answer");
    silent("while :; do echo words >&2; done", "gave no answer");
    silent("while :; do printf ' '; sleep 0.05; done", "gave no answer");
    silent("exec 1>&-; sleep 1000", "closed its standard output and goes on running");
}

/* ---- what is left behind: nothing ---- */

static int count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static bool wait_gone(pid_t pid)
{
    for (int i = 0; i < 2000 && kill(pid, 0) == 0; i++)
        usleep(5000);
    return kill(pid, 0) != 0;
}

/* The program, what it started, its pipes: all gone after free, though none of them listens. */
static void test_leaves_nothing(void **state)
{
    struct ap_error err;
    char *line = ap_strdup("trap '' HUP TERM; sleep 1000 & echo $! >pid; read x; "
                           "echo '{\"id\": 0, \"score\": 1}'; ls /proc/self/fd >fds; sleep 1000");
    struct ap_command command = {&line, 1, *state, 20, NULL};
    struct ap_scored one = item("x", "y");
    struct ap_buffer text = {0};
    struct ap_reward r;
    double out;
    int before = count_fds(), leak = dup(0); /* without O_CLOEXEC */
    assert_true(leak > 2);
    check_ok(ap_reward_command(&r, &command, NULL, &err), err);
    check_ok(ap_reward_score(&r, &one, 1, &out, &err), err);
    char *pid = scratch_path(state, "pid"), *fds = scratch_path(state, "fds");
    for (int i = 0; i < 2000 && (!ap_file_exists(fds) || text.len < 8); i++) {
        usleep(5000);
        ap_buffer_clear(&text);
        if (ap_file_exists(fds))
            check_ok(ap_file_read(fds, 4096, &text, &err), err);
    }
    ap_reward_free(&r);
    assert_string_equal(text.data, "0\n1\n2\n3\n"); /* 3: ls's own */
    ap_buffer_clear(&text);
    check_ok(ap_file_read(pid, 100, &text, &err), err);
    assert_true(wait_gone((pid_t)atoi(text.data)));
    close(leak);
    assert_int_equal(count_fds(), before);
    ap_buffer_free(&text);
    ap_free(pid);
    ap_free(fds);
    ap_free(line);
}

struct patience {
    struct ap_program_watch watch;
    int n_asked;
};

static bool goes_on_twice(void *self)
{
    struct patience *p = self;
    return ++p->n_asked <= 2;
}

/* Whoever waits may end the call; what is asked next is asked of a program that was started again.
 */
static void test_watched(void **state)
{
    struct ap_error err;
    char *line = ap_strdup("if test -e again; then read -r x; echo '{\"id\": 1, \"score\": 3}'; "
                           "read -r x; else : >again; sleep 1000; fi");
    struct patience p = {.watch = {&p, goes_on_twice, false}};
    struct ap_command command = {&line, 1, *state, 1000, &p.watch};
    struct ap_scored one = item("x", "y");
    struct ap_reward r;
    double out;
    check_ok(ap_reward_command(&r, &command, NULL, &err), err);
    char *path = scratch_path(state, "again");
    while (access(path, F_OK) != 0)
        usleep(1000);
    assert_int_equal(ap_reward_score(&r, &one, 1, &out, &err), AP_INTERRUPTED);
    check_holds(err.text, "nobody waits");
    assert_false(p.watch.silent);
    p.n_asked = -1000000;
    check_ok(ap_reward_score(&r, &one, 1, &out, &err), err);
    assert_true(out == 3);
    ap_reward_free(&r);
    ap_free(path);
    ap_free(line);
}

static bool goes_on(void *self)
{
    (void)self;
    return true;
}

static void test_watched_silence(void **state)
{
    struct ap_error err;
    char *line = ap_strdup("sleep 1000");
    struct ap_program_watch watch = {NULL, goes_on, false};
    struct ap_command command = {&line, 1, "/", 0.3, &watch};
    struct ap_scored one = item("x", "y");
    struct ap_reward r;
    double out;
    (void)state;
    check_ok(ap_reward_command(&r, &command, NULL, &err), err);
    assert_int_equal(ap_reward_score(&r, &one, 1, &out, &err), AP_IO);
    check_holds(err.text, "gave no answer for 0.3 seconds");
    assert_true(watch.silent);
    ap_reward_free(&r);
    ap_free(line);
}

/* Written to after its end: an error, no signal, whatever the handler is. */
static void test_no_signal(void **state)
{
    sigset_t pending;
    (void)state;
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    refuses("exec 0<&-; sleep 0.1; exit 4", "exit status 4", "4 of 4");
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores),
        cmocka_unit_test_setup_teardown(test_question, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test_setup_teardown(test_full_pipes, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_many_calls, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_words_and_folder, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_started_again),
        cmocka_unit_test(test_dies),
        cmocka_unit_test_setup_teardown(test_not_started, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_silence),
        cmocka_unit_test_setup_teardown(test_leaves_nothing, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_watched, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_watched_silence),
        cmocka_unit_test(test_no_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
