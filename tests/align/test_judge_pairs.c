/* The two-order protocol against judges made of a few lines each. */
#include "align/judge_pairs.h"

#include "check.h"

#include <stdlib.h>

struct judge {
    int n_asked;
    enum { LONGER, ALWAYS_A, SILENT, DIES } kind;
};

/* Questions are "{a}|{b}". DIES gives its first two replies. */
static ap_status ask(void *self, char *const *questions, int n, char **replies,
                     struct ap_error *err)
{
    struct judge *j = self;
    j->n_asked += n;
    for (int i = 0; i < n && j->kind != SILENT; i++) {
        if (j->kind == DIES && i == 2)
            return ap_fail(err, AP_IO, "judge: ended");
        size_t a = strcspn(questions[i], "|"), b = strlen(questions[i]) - a - 1;
        replies[i] = strdup(j->kind == ALWAYS_A || a > b ? "Verdict: A" : "Verdict: B");
    }
    return AP_OK;
}

static void test_protocol(void **state)
{
    static const struct ap_pair pairs[] = {{.x = "q", .arm = "longer", .baseline = "short"},
                                           {.x = "q", .arm = "same", .baseline = "same"},
                                           {.x = "q", .arm = "s", .baseline = "long"}};
    static const ap_outcome expected[][3] = {
        {AP_OUTCOME_WIN, AP_OUTCOME_SAME, AP_OUTCOME_LOSS},
        {AP_OUTCOME_CONTRADICTION, AP_OUTCOME_SAME, AP_OUTCOME_CONTRADICTION},
        {AP_OUTCOME_NONE, AP_OUTCOME_SAME, AP_OUTCOME_NONE},
        {AP_OUTCOME_WIN, AP_OUTCOME_SAME, AP_OUTCOME_NONE}};
    (void)state;
    for (int kind = LONGER; kind <= DIES; kind++) {
        struct ap_error err;
        struct ap_judged out[3] = {0};
        struct judge judge = {.kind = kind};
        struct ap_asker asker = {.self = &judge, .ask = ask};
        assert_int_equal(ap_judge_pairs(&asker, "{a}|{b}", pairs, 3, out, &err),
                         kind == DIES ? AP_IO : AP_OK);
        assert_int_equal(judge.n_asked, 4);
        for (int i = 0; i < 3; i++)
            assert_int_equal(out[i].outcome, expected[kind][i]);
        ap_judged_free(out, 3);
    }
}

/* A reply that is there is not asked for again, and what was missing is. */
static void test_what_is_there_is_kept(void **state)
{
    static const struct ap_pair pairs[] = {{.x = "q", .arm = "longer", .baseline = "short"},
                                           {.x = "q", .arm = "s", .baseline = "long"}};
    struct ap_error err;
    struct ap_judged out[2] = {{.first = strdup("Verdict: B")},
                               {.first = strdup("B"), .second = strdup("A")}};
    struct judge judge = {.kind = LONGER};
    struct ap_asker asker = {.self = &judge, .ask = ask};
    (void)state;
    check_ok(ap_judge_pairs(&asker, "{a}|{b}", pairs, 2, out, &err), err);
    assert_int_equal(judge.n_asked, 1);
    assert_string_equal(out[0].first, "Verdict: B");
    assert_int_equal(out[0].outcome, AP_OUTCOME_CONTRADICTION);
    assert_int_equal(out[1].outcome, AP_OUTCOME_LOSS);
    ap_judged_free(out, 2);
}

static void test_render(void **state)
{
    static const struct ap_pair pair = {.x = "{a}", .arm = "{b}", .baseline = "{prompt}"};
    struct ap_error err;
    char *text;
    (void)state;
    check_ok(ap_judge_render("{{x} {prompt} {a} {b}{", &pair, false, &text, &err), err);
    assert_string_equal(text, "{{x} {a} {b} {prompt}{");
    free(text);
    check_ok(ap_judge_render("{context}{a}", &pair, true, &text, &err), err);
    assert_string_equal(text, "{prompt}");
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocol),
        cmocka_unit_test(test_what_is_there_is_kept),
        cmocka_unit_test(test_render),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
