/* inspect: what is told of a data set, in text and in JSON; what no report is made of. */
#include "check.h"

#include "alignpro/inspect.h"
#include "alignpro/text.h"
#include "base/file.h"
#include "pipeline/inspect_lengths.h"

#include <jansson.h>

static char dir[64], path[128];

static int open_scratch(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test_inspect_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int close_scratch(void **state)
{
    (void)state;
    return ap_dir_remove(dir, NULL) == AP_OK ? 0 : -1;
}

static struct ap_error said; /* by the last inspection */

static char *inspect_to(ap_status expected, const char *bytes, struct ap_inspect_options options)
{
    char *text;
    snprintf(path, sizeof(path), "%s/d.jsonl", dir);
    check_ok(ap_file_write(path, bytes, strlen(bytes), &said), said);
    assert_int_equal(ap_inspect(path, &options, &text, &said), expected);
    assert_non_null(text);
    return text;
}

static char *inspect(const char *bytes, struct ap_inspect_options options)
{
    return inspect_to(AP_OK, bytes, options);
}

static const char pairs[] =
    "{\"prompt\": \"one two\", \"chosen\": \"a b c\", \"rejected\": \"x\", \"system\": \"s t\"}\n"
    "{\"prompt\": \"one\", \"chosen\": \"same\", \"rejected\": \"same\"}\n"
    "{\"prompt\": 3}\n"
    "{\"prompt\": \"a\\u001b[31m\\nb\\u202ec\", \"chosen\": \"\", \"rejected\": \"x\"}\n";

static void test_text(void **state)
{
    (void)state;
    char *text = inspect(pairs, (struct ap_inspect_options){0});
    check_holds(text, "  schema      pairs\n");
    check_holds(text, "  records     4\n");
    check_holds(text, "  examples    2\n");
    check_holds(text, "  dropped     1 identical answers\n");
    check_holds(text, "  malformed   1\n");
    check_holds(text, "d.jsonl:3: \"prompt\" is an integer, expected a string");
    check_holds(text, "length in words");
    check_holds(text, "    system    s t\n    prompt    one two\n    chosen    a b c\n");
    /* nothing in a record reaches the terminal as a command */
    check_holds(text, "a\\u{1b}[31m\\nb\\u{202e}c");
    check_holds(text, "    chosen    (empty)\n");
    ap_text_free(text);
}

/* A file that gives no example is told about all the same, and is no data set. */
static void test_nothing_left(void **state)
{
    (void)state;
    const struct ap_inspect_options as_pairs = {.format = "pairs"}, as_json = {.json = true};
    char *text = inspect_to(AP_FORMAT, "{\"prompt\": \"p\"}\n", as_pairs);
    check_holds(text, "  examples    0\n  malformed   1\n");
    check_holds(said.text, "d.jsonl: none of its records can be read");
    ap_text_free(text);
    text = inspect_to(AP_FORMAT, "no JSON\n", (struct ap_inspect_options){0});
    check_holds(text, "  schema      unknown\n");
    ap_text_free(text);
    ap_text_free(inspect_to(AP_FORMAT, "no JSON\n", as_json));
}

/* Long text is cut where three lines of 100 columns end, wide characters counted as two. */
static void test_columns(void **state)
{
    (void)state;
    static char line[20000];
    size_t n = (size_t)snprintf(line, sizeof(line), "{\"prompt\": \"");
    for (int i = 0; i < 2000; i++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%s", i % 3 ? "\xE4\xB8\xAD" : "ab ");
    snprintf(line + n, sizeof(line) - n, "\"}\n");
    char *text = inspect(line, (struct ap_inspect_options){0});
    check_holds(text, "more bytes]");
    for (char *s = strtok(text, "\n"); s; s = strtok(NULL, "\n")) {
        size_t columns = 0;
        for (; *s; s++)
            columns += (*s & 0xC0) == 0x80 ? 0 : (*s & 0x80) ? 2 : 1;
        assert_true(columns <= 100);
    }
    ap_text_free(text);
}

static void test_json(void **state)
{
    (void)state;
    char *text = inspect(pairs, (struct ap_inspect_options){.json = true});
    json_t *o = json_loads(text, 0, NULL), *lengths = json_object_get(o, "lengths"),
           *shown = json_object_get(o, "shown");
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "schema")), "pairs");
    assert_int_equal(json_integer_value(json_object_get(o, "examples")), 2);
    json_t *chosen = json_object_get(lengths, "chosen");
    assert_int_equal(json_integer_value(json_object_get(chosen, "texts")), 2);
    assert_int_equal(json_integer_value(json_object_get(chosen, "min")), 0);
    assert_int_equal(json_integer_value(json_object_get(chosen, "max")), 3);
    assert_int_equal(json_array_size(shown), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(shown, 1), "prompt")),
                        "a\x1b[31m\nb\xE2\x80\xAE"
                        "c");
    json_decref(o);
    ap_text_free(text);
}

static void check_refused(const char *where, struct ap_inspect_options options, ap_status want,
                          const char *part)
{
    struct ap_error err = {0};
    char *text;
    assert_int_equal(ap_inspect(where, &options, &text, &err), want);
    assert_null(text);
    check_holds(err.text, part);
}

static void test_refused(void **state)
{
    (void)state;
    ap_text_free(inspect("{\"prompt\": \"p\"}\n", (struct ap_inspect_options){0}));
    check_refused("/no/such", (struct ap_inspect_options){0}, AP_NOT_FOUND, "/no/such");
    check_refused(dir, (struct ap_inspect_options){0}, AP_UNSUPPORTED, dir);
    check_refused("/dev/null", (struct ap_inspect_options){0}, AP_INVALID, "/dev/null");
    check_refused(path, (struct ap_inspect_options){.format = "csv"}, AP_INVALID, "data.format");
    check_refused(path, (struct ap_inspect_options){.model = "/no/such"}, AP_NOT_FOUND, "/no/such");
}

/* Quantiles by nearest rank; exact where they are promised to be, and below by 1/64 at most. */
static void test_lengths(void **state)
{
    (void)state;
    struct ap_error err = {0};
    struct ap_lengths l = {0};
    assert_int_equal(ap_lengths_quantile(&l, 0.5), 0);
    for (uint64_t i = 1; i <= 100; i++)
        check_ok(ap_lengths_add(&l, i * 10, &err), err);
    assert_int_equal(ap_lengths_quantile(&l, 0.5), 500);
    assert_int_equal(ap_lengths_quantile(&l, 0.95), 950);
    assert_int_equal(ap_lengths_quantile(&l, 1), 1000);
    assert_int_equal(l.min, 10);
    assert_int_equal(l.max, 1000);
    ap_lengths_free(&l);
    static const uint64_t big[] = {65535, 65536, 70001, 12345678, UINT64_MAX};
    for (size_t i = 0; i < sizeof(big) / sizeof(big[0]); i++) {
        check_ok(ap_lengths_add(&l, big[i], &err), err);
        uint64_t q = ap_lengths_quantile(&l, 1);
        assert_true(q <= big[i] && big[i] - q <= big[i] / 64);
        ap_lengths_free(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),    cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_columns), cmocka_unit_test(test_json),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
