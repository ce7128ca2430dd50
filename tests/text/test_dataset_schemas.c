/* The field's schemas, each in its makers' shape: what becomes prompt, context and pair, what is
 * dropped and under which name, and what is refused. The real files where they are there. */
#include "dataset_files.h"

#include "text/text_pool.h"

#define AUTO ((struct ap_dataset_options){.format = "auto"})

/* The example's parts as one text: role=content|...|prompt -> chosen > rejected (margin), or
 * prompt -> answer. */
static void check_example(const struct ap_dataset *d, size_t i, const char *want)
{
    static char got[4096];
    assert_true(i < d->n);
    const struct ap_example *e = &d->examples[i];
    int n = 0;
    for (size_t k = 0; k < e->n_context; k++)
        n += snprintf(got + n, sizeof(got) - (size_t)n, "%s=%s|", e->context[k].role,
                      e->context[k].content);
    n += snprintf(got + n, sizeof(got) - (size_t)n, "%s", e->prompt);
    if (e->answer)
        n += snprintf(got + n, sizeof(got) - (size_t)n, " -> %s", e->answer);
    if (e->chosen)
        n += snprintf(got + n, sizeof(got) - (size_t)n, " -> %s > %s (%g)", e->chosen, e->rejected,
                      e->margin);
    assert_string_equal(got, want);
}

/* One record alone: its schema and what comes of it; want NULL: it is dropped for `why`. */
static void check_record(struct scratch *s, const char *format, const char *record,
                         const char *want, ap_drop why)
{
    struct ap_buffer text = {0};
    struct ap_error err = {0};
    /* beside a record that stays, so that the set is never empty */
    check_ok(ap_buffer_printf(&text, &err, "%s\n%s\n", record, record), err);
    struct ap_dataset d;
    ap_status status = read_text(s, &d, text.data, AUTO, &err);
    ap_buffer_free(&text);
    assert_string_equal(d.format, format);
    if (want) {
        check_ok(status, err);
        assert_int_equal(d.n, 2);
        check_example(&d, 1, want);
    } else {
        assert_int_equal(status, AP_FORMAT);
        check_holds(err.text, ap_drop_text(why));
        assert_int_equal(d.n_dropped[why], 2);
    }
    ap_dataset_free(&d);
}

/* A malformed record: its one line of error. */
static void check_bad(struct scratch *s, const char *format, const char *record, const char *part)
{
    struct ap_error err = {0};
    struct ap_dataset d;
    assert_int_equal(read_text(s, &d, record, (struct ap_dataset_options){.format = format}, &err),
                     AP_FORMAT);
    check_holds(err.text, "d.jsonl:1");
    check_holds(err.text, part);
    assert_null(strchr(err.text, '\n'));
    ap_dataset_free(&d);
}

#define RATED(response, a, b, c, d)                                                                \
    "{\"model\": \"m\", \"response\": \"" response                                                 \
    "\", \"annotations\": {\"instruction_following\": {\"Rating\": " a                             \
    ", \"Rationale\": \"r\"}, \"honesty\": {\"Rating\": " b                                        \
    "}, \"truthfulness\": {\"Type\": [\"1\"], \"Rating\": " c                                      \
    "}, \"helpfulness\": {\"Rating\": " d "}}}"
#define RAW(completions)                                                                           \
    "{\"source\": \"s\", \"instruction\": \"i\", \"models\": [], \"completions\": [" completions   \
    "]}"

static void test_ultrafeedback(void **state)
{
    struct scratch *s = *state;
    static const char four[] = RAW(RATED("low", "\"1\"", "\"2\"", "\"N/A\"", "\"3\"") "," RATED(
        "high", "\"5\"", "\"5\"", "\"4\"",
        "4.0") "," RATED("high too", "\"4\"", "\"4\"", "\"5\"",
                         "\"5\"") "," RATED("unrated", "\"N/A\"", "null", "\"N/A\"", "\"N/A\""));
    check_record(s, "ultrafeedback", four, "i -> high > low (2.5)", 0);
    /* what is written down as fine-grained_score is taken before the mean of the ratings */
    check_record(s, "ultrafeedback",
                 RAW("{\"response\": \"a\", \"fine-grained_score\": 3.25, \"overall_score\": 7.5},"
                     "{\"response\": \"b\", \"fine-grained_score\": 4, \"overall_score\": 6}"),
                 "i -> b > a (0.75)", 0);
    check_record(s, "ultrafeedback", RAW(RATED("a", "\"1\"", "\"1\"", "\"1\"", "\"1\"")), NULL,
                 AP_DROP_UNPAIRED);
    check_record(s, "ultrafeedback", RAW(""), NULL, AP_DROP_UNPAIRED);
    check_record(s, "ultrafeedback",
                 RAW(RATED("a", "\"1\"", "\"2\"", "\"3\"", "\"2\"") "," RATED("b", "\"2\"", "\"2\"",
                                                                              "\"2\"", "\"2\"")),
                 NULL, AP_DROP_TIE);
    check_record(s, "ultrafeedback",
                 RAW(RATED("a", "\"1\"", "\"2\"", "\"3\"", "\"2\"") "," RATED("a", "\"3\"", "\"3\"",
                                                                              "\"3\"", "\"3\"")),
                 NULL, AP_DROP_SAME);
    check_bad(s, "auto", RAW(RATED("a", "\"much\"", "1", "1", "1")), "completions[0]");
    check_bad(s, "auto", RAW("{\"response\": null}"), "\"response\" is null");
    check_bad(s, "auto", RAW("3"), "completions[0]");
    check_bad(s, "auto", RAW("{\"response\": \"a\", \"fine-grained_score\": 1e300}"), "1e+300");
    check_bad(s, "ultrafeedback", "{\"instruction\": \"i\", \"completions\": {}}", "completions");
}

static void test_ultrafeedback_scores(void **state)
{
    static const char text[] =
        RAW("{\"response\": \"a\", \"overall_score\": 7, \"fine-grained_score\": 3,"
            " \"annotations\": {\"honesty\": {\"Rating\": \"5\"}}},"
            "{\"response\": \"b\", \"overall_score\": 8.5, \"fine-grained_score\": 4,"
            " \"annotations\": {\"honesty\": {\"Rating\": \"2\"}}}");
    struct ap_dataset d =
        read_good(*state, text, (struct ap_dataset_options){.score = "overall_score"});
    check_example(&d, 0, "i -> b > a (1.5)");
    ap_dataset_free(&d);
    d = read_good(*state, text, (struct ap_dataset_options){.score = "honesty"});
    check_example(&d, 0, "i -> a > b (3)");
    ap_dataset_free(&d);
}

#define SIDE(answer)                                                                               \
    "[{\"content\": \"p\", \"role\": \"user\"}, {\"content\": \"" answer                           \
    "\", \"role\": \"assistant\"}]"

static void test_binarized(void **state)
{
    struct scratch *s = *state;
    static const char name[] = "ultrafeedback-binarized";
    check_record(
        s, name,
        "{\"prompt\": \"p\", \"prompt_id\": \"1\", \"chosen\": " SIDE("a") ", \"rejected\": " SIDE(
            "b") ", \"messages\": " SIDE("a") ", \"score_chosen\": 8.5, \"score_rejected\": 7.0}",
        "p -> a > b (1.5)", 0);
    check_record(s, name,
                 "{\"prompt\": \"p\", \"chosen\": " SIDE("a") ", \"rejected\": " SIDE(
                     "b") ", \"score_chosen\": 7, \"score_rejected\": 7.0}",
                 NULL, AP_DROP_TIE);
    check_record(s, name,
                 "{\"prompt\": \"p\", \"chosen\": " SIDE("a") ", \"rejected\": " SIDE(
                     "a") ", \"score_chosen\": 8, \"score_rejected\": 7.0}",
                 NULL, AP_DROP_SAME);
    /* without a prompt, without scores; argilla's spelling of them */
    check_record(s, name, "{\"chosen\": " SIDE("a") ", \"rejected\": " SIDE("b") "}",
                 "p -> a > b (0)", 0);
    check_record(s, name,
                 "{\"chosen\": " SIDE("a") ", \"rejected\": " SIDE(
                     "b") ", \"chosen-rating\": 5, \"rejected-rating\": 3.75}",
                 "p -> a > b (1.25)", 0);
    /* the prompt as messages, the answers as one each */
    check_record(
        s, name,
        "{\"prompt\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\","
        " \"content\": \"u\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": \"a\"}],"
        " \"rejected\": [{\"role\": \"assistant\", \"content\": \"b\"}]}",
        "system=s|u -> a > b (0)", 0);
    check_record(s, name,
                 "{\"prompt\": \"u\", \"chosen\": [{\"role\": \"assistant\", \"content\": \"a\"}],"
                 " \"rejected\": [{\"role\": \"assistant\", \"content\": \"b\"}]}",
                 "u -> a > b (0)", 0);
    check_record(
        s, name,
        "{\"chosen\": " SIDE("a") ", \"rejected\": [{\"content\": \"other\", \"role\": \"user\"},"
                                  " {\"content\": \"b\", \"role\": \"assistant\"}]}",
        NULL, AP_DROP_CONTEXT);
    check_bad(s, "auto", "{\"prompt\": \"p\", \"chosen\": [], \"rejected\": []}", "\"chosen\"");
    check_bad(s, "auto",
              "{\"chosen\": " SIDE("a") ", \"rejected\": " SIDE(
                  "b") ", \"score_chosen\": 1, \"score_rejected\": 2}",
              "below");
    check_bad(s, "auto", "{\"prompt\": \"p\", \"chosen\": [3], \"rejected\": " SIDE("b") "}",
              "chosen[0]");
    check_bad(
        s, "auto",
        "{\"chosen\": [{\"role\": \"assistant\", \"content\": \"a\"}, {\"role\": \"assistant\","
        " \"content\": \"a\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"a\"},"
        " {\"role\": \"assistant\", \"content\": \"b\"}]}",
        "no user turn");
}

#define STEER(prompt, response, help)                                                              \
    "{\"prompt\": \"" prompt "\", \"response\": \"" response "\", \"helpfulness\": " help          \
    ", \"correctness\": 1, \"coherence\": 1, \"complexity\": 1, \"verbosity\": 1}\n"

static void test_helpsteer2(void **state)
{
    struct scratch *s = *state;
    static const char turns[] =
        "one\\n<extra_id_1>Assistant\\ntwo\\n\\nmore\\n<extra_id_1>User\\n three";
    struct ap_buffer text = {0};
    struct ap_error err = {0};
    check_ok(ap_buffer_printf(&text, &err,
                              STEER("%s", "a", "1") STEER("%s", "b", "3") STEER("one", "c", "2")
                                  STEER(" three", "d", "0"),
                              turns, turns),
             err);
    struct ap_dataset d = read_good(s, text.data, AUTO);
    assert_int_equal(d.n, 1);
    assert_int_equal(d.n_dropped[AP_DROP_UNPAIRED], 2);
    check_example(&d, 0, "user=one|assistant=two\n\nmore| three -> b > a (2)");
    ap_dataset_free(&d);
    ap_buffer_free(&text);
    check_bad(s, "auto", STEER("one\\n<extra_id_1>Assistant\\n", "a", "1"), "no user turn");

    static const char name[] = "helpsteer2-preference";
    check_record(s, name,
                 "{\"split\": \"train\", \"prompt\": \"p\", \"response_1\": \"a\", \"response_2\":"
                 " \"b\", \"preference_strength\": -2, \"preference_statement\": \"x\"}",
                 "p -> a > b (2)", 0);
    check_record(s, name,
                 "{\"prompt\": \"p\", \"response_1\": \"a\", \"response_2\": \"b\","
                 " \"preference_strength\": 1}",
                 "p -> b > a (1)", 0);
    check_record(s, name,
                 "{\"prompt\": \"p\", \"response_1\": \"a\", \"response_2\": \"b\","
                 " \"preference_strength\": 0}",
                 NULL, AP_DROP_TIE);
    check_bad(s, "auto",
              "{\"prompt\": \"p\", \"response_1\": \"a\", \"response_2\": \"b\","
              " \"preference_strength\": -100}",
              "-3 to 3");
}

static void test_orca(void **state)
{
    struct scratch *s = *state;
    check_record(s, "orca",
                 "{\"system\": \"s\", \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}",
                 "system=s|q -> a > b (0)", 0);
    check_record(s, "orca",
                 "{\"system\": \"\", \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}",
                 "q -> a > b (0)", 0);
    check_record(s, "orca",
                 "{\"system\": null, \"input\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\","
                 " \"rating\": [7.5, 9.0], \"status\": \"swapped\", \"chosen_score\": 9.0}",
                 "q -> a > b (1.5)", 0);
    check_record(s, "orca",
                 "{\"system\": \"\", \"input\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\","
                 " \"rating\": null, \"status\": \"tie\"}",
                 NULL, AP_DROP_TIE);
    check_record(s, "orca",
                 "{\"system\": \"\", \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"a\"}",
                 NULL, AP_DROP_SAME);
    check_bad(s, "auto", "{\"question\": \"\", \"chosen\": \"a\", \"rejected\": \"b\"}",
              "is empty");
    check_bad(s, "auto", "{\"question\": \"q\", \"chosen\": \"a\", \"rejected\": 1}", "rejected");
    check_bad(s, "auto",
              "{\"system\": 3, \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}",
              "\"system\" is an integer");
    check_bad(s, "auto",
              "{\"input\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"rating\": [1]}",
              "two numbers");
}

#define HH(chosen, rejected) "{\"chosen\": \"" chosen "\", \"rejected\": \"" rejected "\"}"
#define H "\\n\\nHuman: "
#define A "\\n\\nAssistant: "

static void test_hh_rlhf(void **state)
{
    struct scratch *s = *state;
    static const char name[] = "hh-rlhf";
    check_record(s, name, HH(H "hi" A "a", H "hi" A "b"), "hi -> a > b (0)", 0);
    check_record(s, name,
                 HH(H "one" A "two\\n\\nHumans: no" H "three" A " a ",
                    H "one" A "two\\n\\nHumans: no" H "three" A "b\\n"),
                 "user=one|assistant=two\n\nHumans: no|three -> a > b (0)", 0);
    check_record(s, name, HH("Human: hi\\n\\nAssistant: a", "Human: hi\\n\\nAssistant:"),
                 "hi -> a >  (0)", 0);
    check_record(s, name, HH(H "hi" A "a", H "ho" A "b"), NULL, AP_DROP_CONTEXT);
    check_record(s, name, HH(H "hi" A "a", H "hi" A "x" H "y" A "b"), NULL, AP_DROP_CONTEXT);
    check_record(s, name, HH(H "hi" A "a", H "hi" A "a  "), NULL, AP_DROP_SAME);
    check_record(s, name, HH(H "hi" A "a" A "b", H "hi" A "c"), NULL, AP_DROP_TURNS);
    check_record(s, name, HH(H "hi", H "hi"), NULL, AP_DROP_TURNS);
    check_record(s, name, HH(A "hi", A "ho"), NULL, AP_DROP_TURNS);
    check_bad(s, "auto", HH("hi", "ho"), "\"chosen\" is no transcript");
    check_bad(s, "auto", HH("", ""), "\"chosen\" is no transcript");
    check_bad(s, "auto", HH(H A "a", H A "b"), "the prompt is empty");
    check_bad(s, "hh-rlhf", "{\"chosen\": \"x\"}", "d.jsonl:1");
}

static void test_alpaca(void **state)
{
    struct scratch *s = *state;
    check_record(s, "alpaca", "{\"instruction\": \"i\", \"input\": \"in\", \"output\": \"o\"}",
                 "i\n\nin -> o", 0);
    check_record(s, "alpaca", "{\"instruction\": \"i\", \"input\": \"\", \"output\": \"o\"}",
                 "i -> o", 0);
    check_record(s, "alpaca", "{\"instruction\": \"i\", \"output\": \"o\", \"text\": \"t\"}",
                 "i -> o", 0);
    check_bad(s, "auto", "{\"instruction\": \"\", \"input\": \"\", \"output\": \"o\"}", "is empty");
    check_bad(s, "auto", "{\"instruction\": \"i\", \"input\": 1, \"output\": \"o\"}", "input");
    check_bad(s, "auto", "{\"instruction\": \"i\", \"output\": null}", "\"output\" is null");
}

#define FROM(who, what) "{\"from\": \"" who "\", \"value\": \"" what "\"}"

static void test_sharegpt(void **state)
{
    struct scratch *s = *state;
    check_record(s, "sharegpt",
                 "{\"id\": \"1\", \"conversations\": [" FROM("system", "s") ", " FROM(
                     "human", "u") ", " FROM("gpt", "a") ", " FROM("user", "v") ", " FROM("chatgpt",
                                                                                          "b") "]}",
                 "system=s|user=u|assistant=a|v -> b", 0);
    check_record(s, "sharegpt", "{\"system\": \"s\", \"conversations\": [" FROM("human", "u") "]}",
                 "system=s|u", 0);
    check_record(s, "sharegpt",
                 "{\"conversations\": [{\"role\": \"user\", \"content\": \"u\"}, {\"role\":"
                 " \"assistant\", \"content\": \"a\"}]}",
                 "u -> a", 0);
    check_record(s, "sharegpt",
                 "{\"conversations\": [" FROM("human", "u") "], \"chosen\": " FROM(
                     "gpt", "a") ", \"rejected\": " FROM("gpt", "b") "}",
                 "u -> a > b (0)", 0);
    check_bad(s, "auto", "{\"conversations\": []}", "no user turn");
    check_bad(s, "auto", "{\"conversations\": [" FROM("gpt", "a") "]}", "no user turn");
    check_bad(s, "auto", "{\"conversations\": [" FROM("tool", "a") "]}", "\"tool\"");
    check_bad(s, "auto", "{\"conversations\": {\"a\": 1}}", "no array");
    check_bad(s, "auto", "{\"conversations\": [{\"from\": \"human\"}]}", "\"value\" is missing");
}

/* A file that is one JSON array is read element by element. */
static void test_arrays(void **state)
{
    struct scratch *s = *state;
    static const char text[] = "\xEF\xBB\xBF [\n  {\n    \"instruction\": \"i, ]}\\\"\",\n"
                               "    \"output\": \"o\"\n  },\n  {\"instruction\": 3, \"output\": "
                               "\"o\"},{\"instruction\":\"k\",\"output\":\"p\"}\n]\n";
    struct ap_dataset d = read_good(s, text, (struct ap_dataset_options){.bad_lines = 0.34});
    assert_int_equal(d.n, 2);
    assert_int_equal(d.n_bad, 1);
    check_example(&d, 0, "i, ]}\" -> o");
    check_example(&d, 1, "k -> p");
    check_holds(s->last_bad, "d.jsonl:6");
    ap_dataset_free(&d);

    static const struct {
        const char *text, *part;
    } broken[] = {
        {"[]", "is empty"},
        {"[{\"prompt\": \"p\"}", "d.jsonl:1: the file ends"},
        {"[{\"prompt\": \"p\"}\n,", "d.jsonl:2: the file ends"},
        {"[{\"prompt\": \"p\"},\n]", "d.jsonl:2: nothing before"},
        {"[{\"prompt\": \"p\"}}]", "a closing } too many"},
        {"[{\"prompt\": \"p\"}]\n{}", "d.jsonl:2: text behind the end"},
        {"[{\"prompt\": \"p\"} {\"prompt\": \"q\"}]", "d.jsonl:1"},
        {"[\"prompt\", 3, null, [], {}]", "d.jsonl:1"},
        {"[,]", "nothing before"},
        {"[\"", "the file ends"},
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct ap_error err = {0};
        assert_int_equal(read_text(s, &d, broken[i].text, AUTO, &err), AP_FORMAT);
        check_holds(err.text, broken[i].part);
        ap_dataset_free(&d);
    }
}

struct taken {
    size_t n;
    ap_status answer;
};

static ap_status take(void *context, const struct ap_example *e, struct ap_error *err)
{
    struct taken *t = context;
    (void)err;
    assert_int_equal(e->record, t->n++);
    return t->answer;
}

/* Examples handed over one by one are counted and not kept; the taker can end the reading. */
static void test_taken(void **state)
{
    struct scratch *s = *state;
    struct taken t = {0};
    struct ap_dataset_options options = {.on_example = take, .on_example_context = &t};
    static const char text[] = "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"c\"}\n";
    struct ap_dataset d = read_good(s, text, options);
    assert_int_equal(t.n, 3);
    assert_int_equal(d.n, 3);
    assert_null(d.examples);
    assert_null(d.storage->head);
    ap_dataset_free(&d);
    struct ap_error err = {0};
    t = (struct taken){.answer = AP_INTERRUPTED};
    assert_int_equal(read_text(s, &d, text, options, &err), AP_INTERRUPTED);
    assert_int_equal(t.n, 1);
    ap_dataset_free(&d);
}

/* The real files. */
static void check_file(const char *name, const char *format, size_t n, ap_drop why,
                       uint64_t dropped)
{
    struct ap_error err = {0};
    struct ap_dataset d;
    char counts[400];
    const char *path = check_data(name);
    if (!path)
        skip();
    check_ok(ap_dataset_read(&d, path, &AUTO, &err), err);
    ap_dataset_counts(&d, counts, sizeof(counts));
    printf("%s: %s\n", name, counts);
    assert_string_equal(d.format, format);
    assert_int_equal(d.n, n);
    assert_int_equal(d.n_bad, 0);
    assert_int_equal(d.n_dropped[why], dropped);
    ap_dataset_free(&d);
}

static void test_real_files(void **state)
{
    (void)state;
    check_file("datasets/helpsteer_500.jsonl", "helpsteer", 387, AP_DROP_TIE, 306);
    check_file("datasets/ultrafeedback_binarized_train_1000.jsonl", "ultrafeedback-binarized", 886,
               AP_DROP_TIE, 111);
    check_file("datasets/ultrafeedback_binarized_eval_200.jsonl", "ultrafeedback-binarized", 175,
               AP_DROP_TIE, 25);
    check_file("datasets/orca_dpo_pairs_284.jsonl", "orca", 284, AP_DROP_TIE, 0);
    check_file("datasets/hh-rlhf_harmless-base_test.jsonl.gz", "hh-rlhf", 2307, AP_DROP_TURNS, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH(test_ultrafeedback),
        SCRATCH(test_ultrafeedback_scores),
        SCRATCH(test_binarized),
        SCRATCH(test_helpsteer2),
        SCRATCH(test_orca),
        SCRATCH(test_hh_rlhf),
        SCRATCH(test_alpaca),
        SCRATCH(test_sharegpt),
        SCRATCH(test_arrays),
        SCRATCH(test_taken),
        cmocka_unit_test(test_real_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
