/* A language model as a judge: its replies are the greedy answers to the questions, whatever was
 * asked before; a question that does not fit has an empty reply; positions of its memory. */
#include "align/asker_model.h"
#include "align/target.h"

#include "tiny_lm.h"

#include <stdlib.h>

enum { N = 5, NEW = 12 };
static const struct ap_asker_model_options options = {NEW, 3};

struct warnings {
    int n;
    char last[300];
};

static void on_event(void *context, const struct ap_event *event)
{
    struct warnings *w = context;
    if (event->kind != AP_EVENT_WARN)
        return;
    w->n++;
    snprintf(w->last, sizeof(w->last), "%s", event->text);
}

static char *repeat(const char *word, int n)
{
    char *text = calloc((size_t)n + 1, strlen(word));
    assert_non_null(text);
    for (int i = 0; i < n; i++)
        strcat(text, word);
    return text;
}

/* What the model says of itself, one question at a time and with all of its context. */
static char *greedy(const struct ap_lm *lm, const char *question)
{
    struct ap_error err;
    struct ap_target target;
    struct ap_answer answer;
    const struct ap_role role = {.weights = lm->weights};
    const struct ap_target_options how = {
        .max_new_tokens = NEW, .sampling = {.top_p = 1}, .n_slot = 1};
    const struct ap_target_request request = {.prompt = question};
    check_ok(ap_target_local(&target, lm, &role, &how, &err), err);
    check_ok(target.answer(target.self, &request, 1, 1, &answer, &err), err);
    char *text = strdup(answer.text);
    ap_answers_free(&answer, 1);
    ap_target_free(&target);
    return text;
}

static void check_asked(const struct ap_asker *asker, const struct ap_lm *lm, char **questions,
                        int n)
{
    struct ap_error err;
    char *replies[N] = {NULL};
    check_ok(asker->ask(asker->self, questions, n, replies, &err), err);
    for (int i = 0; i < n; i++) {
        char *expected = greedy(lm, questions[i]);
        assert_non_null(replies[i]);
        assert_string_equal(replies[i], expected);
        free(expected);
        ap_free(replies[i]);
    }
}

static void test_replies_are_the_model_s(void **state)
{
    struct ap_lm *lm = tiny_lm_new(5);
    struct ap_asker asker;
    struct ap_error err;
    char *questions[N] = {repeat("otter ", 2), repeat("fox, ", 15), repeat("duck? ", 4),
                          repeat("wolf ", 1), repeat("bear and ", 6)};
    (void)state;
    check_ok(ap_asker_model(&asker, lm, &options, NULL, &err), err);
    check_asked(&asker, lm, questions, 1); /* short, then longer, then short again */
    check_asked(&asker, lm, questions, N);
    check_asked(&asker, lm, questions + 2, 2);
    ap_asker_free(&asker);
    for (int i = 0; i < N; i++)
        free(questions[i]);
    ap_lm_free(lm);
}

static void test_too_long_is_no_verdict(void **state)
{
    struct ap_lm *lm = tiny_lm_new(6);
    struct ap_asker asker;
    struct ap_error err;
    struct warnings warnings = {0};
    const struct ap_sink sink = {.fn = on_event, .context = &warnings};
    char *questions[3] = {repeat("otter ", 2), repeat("otter ", 400), repeat("fox ", 3)};
    char *replies[3] = {NULL};
    (void)state;
    check_ok(ap_asker_model(&asker, lm, &options, &sink, &err), err);
    check_ok(asker.ask(asker.self, questions, 3, replies, &err), err);
    assert_string_equal(replies[1], "");
    assert_int_equal(ap_verdict_parse(replies[1]), AP_VERDICT_NONE);
    for (int i = 0; i < 3; i += 2) {
        char *expected = greedy(lm, questions[i]);
        assert_string_equal(replies[i], expected);
        free(expected);
    }
    assert_int_equal(warnings.n, 1);
    check_holds(warnings.last, "1 of 3 questions leave no room for a reply of 12 tokens in tiny's "
                               "context of 160");
    for (int i = 0; i < 3; i++)
        ap_free(replies[i]);
    memset(replies, 0, sizeof(replies));
    check_ok(asker.ask(asker.self, questions + 1, 1, replies, &err), err); /* none that fits */
    assert_string_equal(replies[0], "");
    assert_int_equal(warnings.n, 1);
    ap_free(replies[0]);
    ap_asker_free(&asker);
    for (int i = 0; i < 3; i++)
        free(questions[i]);
    ap_lm_free(lm);
}

static void test_positions(void **state)
{
    (void)state;
    assert_int_equal(ap_asker_model_positions(&options, 4096, 1), 64 + NEW);
    assert_int_equal(ap_asker_model_positions(&options, 4096, 64), 64 + NEW);
    assert_int_equal(ap_asker_model_positions(&options, 4096, 65), 128 + NEW);
    assert_int_equal(ap_asker_model_positions(&options, 100, 65), 100);
    assert_int_equal(ap_asker_model_positions(&options, 4096, 2147483647), 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies_are_the_model_s),
        cmocka_unit_test(test_too_long_is_no_verdict),
        cmocka_unit_test(test_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
