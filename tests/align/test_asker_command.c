/* Judges that are programs: good, partial, silent, dying, and one that breaks the protocol. The
 * programs are lines for /bin/sh. */
#include "align/asker_command.h"

#include "check.h"

#include <stdlib.h>

#define TAKES "s/^{\"id\":\\([0-9]*\\),.*/{\"id\": \\1, \"reply\": "

enum { N_PAIRS = 2 };
static const struct ap_pair pairs[N_PAIRS] = {{.x = "q", .arm = "good", .baseline = "poor"},
                                              {.x = "q", .arm = "poor", .baseline = "good"}};

static ap_status judge(const char *line, double timeout, int n_calls, ap_outcome outcomes[N_PAIRS],
                       struct ap_error *err)
{
    char *copy = strdup(line);
    struct ap_asker asker;
    struct ap_judged out[N_PAIRS] = {0};
    ap_status status =
        ap_asker_command(&asker, &(struct ap_command){&copy, 1, "/", timeout, NULL}, NULL, err);
    for (int k = 0; k < n_calls && status == AP_OK; k++) {
        status = ap_judge_pairs(&asker, "{a}|{b}", pairs, N_PAIRS, out, err);
        for (int i = 0; i < N_PAIRS; i++)
            outcomes[i] = out[i].outcome;
        ap_judged_free(out, N_PAIRS);
    }
    ap_asker_free(&asker);
    free(copy);
    return status;
}

static void test_outcomes(void **state)
{
    static const struct {
        const char *line;
        double timeout;
        ap_outcome expected[N_PAIRS];
    } rows[] = {
        {"sed -u -e '/good|poor/" TAKES "\"Verdict: A\"}/;t' -e '" TAKES "\"Verdict: B\"}/'",
         20,
         {AP_OUTCOME_WIN, AP_OUTCOME_LOSS}},
        {"sed -u '" TAKES "\"A\"}/'", 20, {AP_OUTCOME_CONTRADICTION, AP_OUTCOME_CONTRADICTION}},
        {"sed -u '" TAKES "\"both are fine\"}/'", 20, {AP_OUTCOME_NONE, AP_OUTCOME_NONE}},
        {"exec sleep 100", 0.2, {AP_OUTCOME_NONE, AP_OUTCOME_NONE}},
        {"exit 3", 20, {AP_OUTCOME_NONE, AP_OUTCOME_NONE}},
        {"sed -u '2q;" TAKES "\"A\"}/' | head -n 1; exec sleep 100",
         1,
         {AP_OUTCOME_NONE, AP_OUTCOME_NONE}}};
    (void)state;
    for (size_t k = 0; k < AP_LEN(rows); k++) {
        struct ap_error err;
        ap_outcome outcomes[N_PAIRS];
        check_ok(judge(rows[k].line, rows[k].timeout, 1, outcomes, &err), err);
        for (int i = 0; i < N_PAIRS; i++)
            assert_int_equal(outcomes[i], rows[k].expected[i]);
    }
}

/* Twenty calls end, though each would wait. */
static void test_asked_no_more(void **state)
{
    struct ap_error err;
    ap_outcome outcomes[N_PAIRS];
    (void)state;
    check_ok(judge("exec sleep 100", 0.1, 20, outcomes, &err), err);
    assert_int_equal(outcomes[0], AP_OUTCOME_NONE);
}

static void test_refuses(void **state)
{
    static const char *const lines[] = {"while read q; do echo nonsense; done",
                                        "sed -u '" TAKES "7}/'", "sed -u 's/question/reply/'; cat"};
    struct ap_error err;
    ap_outcome outcomes[N_PAIRS];
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(judge(lines[k], 20, 1, outcomes, &err), AP_FORMAT);
        check_holds(err.text, "judge command");
        check_holds(err.text, "{\"id\": n, \"reply\": text}");
    }
    check_ok(judge(lines[2], 20, 1, outcomes, &err), err); /* its own question: no verdict */
    assert_int_equal(outcomes[0], AP_OUTCOME_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_outcomes),
                                       cmocka_unit_test(test_asked_no_more),
                                       cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
