/* Scores of the engine behind `alignpro serve` whose reward, a program of the user's, says nothing
 * for as long as a test wants it to. */
#include "served.h"

#include <unistd.h>

#define PATIENT_RUN "run-patient"

enum { BATCH = 16, SCORES = 40 };

/* Lines of FOLDER/hung: how often it was asked and did not answer. */
static const char reward[] = "while IFS= read -r line; do\n"
                             "  if [ -e hang ]; then echo >>hung; sleep 1000; fi\n"
                             "  id=${line#*:}; echo \"{\\\"id\\\": ${id%%,*}, \\\"score\\\": 3}\"\n"
                             "done\n";

static int hangs_setup(void **state)
{
    if (program_setup(state) != 0)
        return -1;
    put_text(*state, "hangs.sh", reward);
    served_run(*state, SERVED_RUN, "command: [sh, hangs.sh], timeout: 5");
    served_run(*state, PATIENT_RUN, "command: [sh, hangs.sh], timeout: 1000");
    return 0;
}

static struct ap_serve_engine *open_run(const char *folder, const char *dir)
{
    struct ap_serve_engine_options options = served_options(folder);
    options.run_dir = in_folder(folder, dir);
    return served_open(&options);
}

static void init_score(struct asked *a)
{
    asked_init(a, AP_WORK_SCORE, "wolf");
    a->work.answer = "A wolf.";
}

static void check_scored(struct ap_serve_engine *e)
{
    struct asked a;
    init_score(&a);
    asked_go(e, &a);
    check_end(&a, AP_WORK_DONE, "");
    asked_free(&a);
}

static void begin_hanging(const char *folder)
{
    unlink(in_folder(folder, "hung"));
    put_text(folder, "hang", "");
}

static void wait_until_it_hangs(const char *folder)
{
    while (access(in_folder(folder, "hung"), F_OK) != 0)
        program_sleep(1e-3);
}

static int n_hung(const char *folder)
{
    struct ap_buffer lines = get_file(in_folder(folder, "hung"));
    int n = (int)lines.len;
    ap_buffer_free(&lines);
    return n;
}

/* The first is asked about, the others wait. */
static void submit_all(struct ap_serve_engine *e, const char *folder, struct asked *a, int n)
{
    begin_hanging(folder);
    for (int i = 0; i < n; i++) {
        asked_submit(e, &a[i]);
        if (i == 0)
            wait_until_it_hangs(folder);
    }
}

/* In its hands or before it: who does not want it any more is told, and what another asks for later
 * is scored. The engine itself has nothing to do. */
static void test_nobody_waits_for_it(void **state)
{
    struct ap_serve_engine *e = open_run(*state, PATIENT_RUN);
    struct asked a[SCORES];
    for (int i = 0; i < SCORES; i++) {
        init_score(&a[i]);
        a[i].work.deadline = i % 2 && i != 1 ? ap_clock_seconds() + 0.2 : 0;
    }
    submit_all(e, *state, a, SCORES);
    for (int i = 0; i < SCORES; i += 2)
        e->cancel(e->self, &a[i].work);
    for (int i = 0; i < SCORES; i++) {
        if (i == 1)
            continue;
        asked_wait(&a[i]);
        check_end(&a[i], i % 2 ? AP_WORK_LATE : AP_WORK_DROPPED, "");
        asked_free(&a[i]);
    }
    struct ap_serve_counts c;
    e->counts(e->self, &c);
    assert_int_equal(c.n_waiting, 1);
    assert_int_equal(a[1].n_done, 0);
    e->cancel(e->self, &a[1].work);
    asked_wait(&a[1]);
    asked_free(&a[1]);
    e->close(e->self);
    assert_int_equal(n_hung(*state), 1);
}

/* The end does not wait for it. */
static void test_the_end_while_it_hangs(void **state)
{
    struct ap_serve_engine *e = open_run(*state, PATIENT_RUN);
    struct asked a[SCORES];
    for (int i = 0; i < SCORES; i++)
        init_score(&a[i]);
    submit_all(e, *state, a, SCORES);
    e->close(e->self);
    for (int i = 0; i < SCORES; i++) {
        assert_int_equal(a[i].n_done, 1);
        check_end(&a[i], AP_WORK_DROPPED, "");
        asked_free(&a[i]);
    }
    assert_int_equal(n_hung(*state), 1);
}

/* A batch that it is silent about is not asked again one by one. */
static void test_its_timeout_is_once(void **state)
{
    struct ap_serve_engine *e = open_run(*state, SERVED_RUN);
    struct asked a[BATCH];
    for (int i = 0; i < BATCH; i++)
        init_score(&a[i]);
    submit_all(e, *state, a, BATCH);
    for (int i = 0; i < BATCH; i++) {
        asked_wait(&a[i]);
        check_end(&a[i], AP_WORK_FAILED, "gave no answer for 5 seconds");
        asked_free(&a[i]);
    }
    assert_in_range(n_hung(*state), 1, 3); /* what waits may have come in two parts */
    unlink(in_folder(*state, "hang"));
    check_scored(e);
    e->close(e->self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_waits_for_it),
        cmocka_unit_test(test_the_end_while_it_hangs),
        cmocka_unit_test(test_its_timeout_is_once),
    };
    return cmocka_run_group_tests(tests, hangs_setup, program_teardown);
}
