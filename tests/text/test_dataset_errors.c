/* Data files that are missing, empty, binary, of another schema, or malformed here and there. */
#include "dataset_files.h"

#define AUTO ((struct ap_dataset_options){.format = "auto"})

static void check_refused(struct scratch *s, const char *text, struct ap_dataset_options options,
                          ap_status want, const char *part, const char *part2)
{
    struct ap_error err = {0};
    struct ap_dataset d;
    ap_status status = read_text(s, &d, text, options, &err);
    if (status != want)
        fail_msg("'%.60s': status %d, expected %d (%s)", text, (int)status, (int)want, err.text);
    assert_null(strchr(err.text, '\n'));
    check_holds(err.text, part);
    check_holds(err.text, part2);
    ap_dataset_free(&d);
}

static void test_missing_and_empty(void **state)
{
    struct ap_error err = {0};
    struct ap_dataset d;
    assert_int_equal(ap_dataset_read(&d, "/no/such.jsonl", &AUTO, &err), AP_NOT_FOUND);
    check_holds(err.text, "/no/such.jsonl");
    ap_dataset_free(&d);
    check_refused(*state, "", AUTO, AP_FORMAT, "d.jsonl: is empty", "data.path");
    check_refused(*state, "\n  \n\n", AUTO, AP_FORMAT, "d.jsonl: is empty", "");
    check_refused(*state, "\n", (struct ap_dataset_options){.format = "text", .opening = 1},
                  AP_FORMAT, "d.jsonl: is empty", "");
}

static void test_directory(void **state)
{
    struct scratch *s = *state;
    struct ap_error err = {0};
    struct ap_dataset d;
    assert_true(ap_dataset_read(&d, s->dir, &AUTO, &err) != AP_OK);
    check_holds(err.text, s->dir);
    ap_dataset_free(&d);
}

static void check_bytes(struct scratch *s, const char *bytes, size_t n, const char *part)
{
    struct ap_error err = {0};
    struct ap_dataset d;
    put_file(s, "d.jsonl", bytes, n);
    assert_int_equal(ap_dataset_read(&d, s->path, &AUTO, &err), AP_FORMAT);
    check_holds(err.text, "d.jsonl");
    check_holds(err.text, part);
    ap_dataset_free(&d);
}

static void test_binary(void **state)
{
    static const char parquet[] = "PAR1\x15\x04\x15\x00\x15\xFE";
    check_bytes(*state, parquet, sizeof(parquet) - 1, "is Parquet");
    check_bytes(*state, "\x28\xB5\x2F\xFD....", 8, "zstd -d");
    check_bytes(*state, "{\"a\"\0}", 6, "is binary");
    check_bytes(*state, "\xFF\xFEg\n", 4, "is binary");
    check_bytes(*state, "\x1F\x8B\x08 broken", 10, "");
}

static void test_other_shapes(void **state)
{
    check_refused(*state, "{\n \"prompt\": \"p\"\n}\n", AUTO, AP_FORMAT, "JSON over many lines",
                  "jq -c");
    check_refused(*state, "{\"instruction\": \"i\", \"answer\": \"o\"}\n", AUTO, AP_FORMAT,
                  "d.jsonl:1", "{instruction, answer} is of no known schema");
    check_refused(*state, "prompt,chosen,rejected\na,b,c\n", AUTO, AP_FORMAT, "2 of 2",
                  "d.jsonl:1");
    check_refused(*state, "{\"prompt\": \"p\"}\n", (struct ap_dataset_options){.format = "pairs"},
                  AP_FORMAT, "d.jsonl:1", "\"chosen\" is missing");
}

static void test_options(void **state)
{
    check_refused(*state, "{}", (struct ap_dataset_options){.format = "parquet"}, AP_INVALID,
                  "data.format", "helpsteer");
    static const char steer[] =
        "{\"prompt\": \"p\", \"response\": \"r\", \"helpfulness\": 1, \"correctness\": 1, "
        "\"coherence\": 1, \"complexity\": 1, \"verbosity\": 1}\n";
    check_refused(*state, steer, (struct ap_dataset_options){.score = "beauty"}, AP_INVALID,
                  "data.score", "verbosity");
    check_refused(*state, "{}",
                  (struct ap_dataset_options){.score = "beauty", .format = "ultrafeedback"},
                  AP_INVALID, "data.score", "fine-grained_score");
    check_refused(*state, "{}", (struct ap_dataset_options){.bad_lines = 2}, AP_INVALID,
                  "data.bad_lines", "0 to 1");
    check_refused(*state, "A. B. C.", (struct ap_dataset_options){.format = "text"}, AP_INVALID,
                  "data.opening", "at least 1");
    check_refused(*state, "A. B. C.\n",
                  (struct ap_dataset_options){.format = "text", .opening = 1, .prefer = "("},
                  AP_INVALID, "data.prefer", "PCRE2");
}

/* A bad line is named, counted and passed over, as long as there are few. */
static void test_bad_lines(void **state)
{
    struct scratch *s = *state;
    static const char *const bad[] = {
        "{\"prompt\": 3}",
        "{\"prompt\": \"\"}",
        "{\"prompt\": null}",
        "{\"prompt\"",
        "[\"prompt\"]",
        "\"prompt\"",
        "{\"prompt\": \"a\\u0000b\"}",
        "{\"prompt\": \"a\xFF\"}",
        "{\"prompt\": \"\\ud800\"}",
        "{\"prompt\": \"a\", \"prompt\": \"b\"}",
        "{\"prompt\": \"a\", \"system\": 1}",
        "{\"prompt\": \"a\", \"messages\": {}}",
        "{\"prompt\": \"a\", \"messages\": [{\"role\": \"user\"}]}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), "{\"prompt\": \"p\"}\n%s\n{\"prompt\": \"q\"}\n", bad[i]);
        struct ap_dataset d = read_good(s, text, (struct ap_dataset_options){.bad_lines = 0.34});
        assert_int_equal(d.n, 2);
        assert_int_equal(d.n_lines, 3);
        assert_int_equal(d.n_bad, 1);
        assert_int_equal(s->n_bad, 1);
        check_holds(s->last_bad, "d.jsonl:2");
        assert_null(strchr(s->last_bad, '\n'));
        ap_dataset_free(&d);
        check_refused(s, text, (struct ap_dataset_options){.bad_lines = 0.33}, AP_FORMAT,
                      "1 of 3 records are malformed, more than data.bad_lines 33%", "d.jsonl:2");
    }
}

static void test_long_line(void **state)
{
    struct scratch *s = *state;
    struct ap_buffer text = {0};
    struct ap_error err = {0};
    check_ok(ap_buffer_puts(&text, "{\"prompt\": \"p\"}\n", &err), err);
    check_ok(ap_buffer_reserve(&text, (size_t)17 << 20, &err), err);
    memset(text.data + text.len, 'x', (size_t)17 << 20);
    text.len += (size_t)17 << 20;
    check_ok(ap_buffer_puts(&text, "\n{\"prompt\": \"q\"}\n", &err), err);
    struct ap_dataset d = read_good(s, text.data, (struct ap_dataset_options){.bad_lines = 0.5});
    assert_int_equal(d.n, 2);
    assert_int_equal(d.n_bad, 1);
    check_holds(s->last_bad, "d.jsonl:2");
    ap_dataset_free(&d);
    ap_buffer_free(&text);
}

static void test_short_documents(void **state)
{
    struct scratch *s = *state;
    struct ap_dataset d =
        read_good(s, "Only one.\n<|endoftext|>\nOne here. Two here.\n",
                  (struct ap_dataset_options){.format = "text", .opening = 1, .bad_lines = 0.5});
    assert_int_equal(d.n, 1);
    assert_int_equal(d.n_bad, 1);
    check_holds(s->last_bad, "d.jsonl:1");
    check_holds(s->last_bad, "data.opening");
    ap_dataset_free(&d);
}

static void test_all_ties(void **state)
{
    check_refused(*state, "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"a\"}\n", AUTO,
                  AP_FORMAT, "no example is left", "1 identical answers");
}

static void test_too_many_answers(void **state)
{
    struct ap_buffer text = {0};
    struct ap_error err = {0};
    for (int i = 0; i < 300; i++)
        check_ok(ap_buffer_printf(&text, &err,
                                  "{\"prompt\": \"p\", \"response\": \"%d\", \"helpfulness\": %d,"
                                  " \"correctness\": 1, \"coherence\": 1, \"complexity\": 1,"
                                  " \"verbosity\": 1}\n",
                                  i, i % 5),
                 err);
    check_refused(*state, text.data, AUTO, AP_LIMIT, "300 answers", "d.jsonl:1");
    ap_buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH(test_missing_and_empty), SCRATCH(test_directory),       SCRATCH(test_binary),
        SCRATCH(test_other_shapes),      SCRATCH(test_options),         SCRATCH(test_bad_lines),
        SCRATCH(test_long_line),         SCRATCH(test_short_documents), SCRATCH(test_all_ties),
        SCRATCH(test_too_many_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
