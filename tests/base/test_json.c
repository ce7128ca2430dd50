/* JSON as the field writes it, and what must be refused with its place. */
#include "base/scratch.h"

#include "base/faults.h"
#include "base/json.h"
#include "base/random.h"

static json_t *parse(const char *text)
{
    struct ap_error err;
    json_t *value;
    check_ok(ap_json_parse(text, strlen(text), "x.json", &value, &err), err);
    return value;
}

static void test_big_integers(void **state)
{
    (void)state;
    /* The number is what transformers writes for "no limit"; the rest must stay as it was. */
    json_t *o =
        parse("{\"model_max_length\": 1000000000000000019884624838656, \"vocab_size\": 512,\n"
              "\"text\": \"9223372036854775808 \\\" 99999999999999999999\", \"eps\": 1e-05,"
              "\"least\": -9223372036854775808, \"most\": 9223372036854775807,"
              "\"over\": 9223372036854775808, \"under\": -9223372036854775809,"
              "\"list\": [1,99999999999999999999,2]}");
    assert_true(json_is_real(json_object_get(o, "model_max_length")));
    check_near(json_real_value(json_object_get(o, "model_max_length")), 1e30, 0, 1e-15);
    assert_int_equal(json_integer_value(json_object_get(o, "vocab_size")), 512);
    assert_string_equal(json_string_value(json_object_get(o, "text")),
                        "9223372036854775808 \" 99999999999999999999");
    check_near(json_real_value(json_object_get(o, "eps")), 1e-5, 0, 1e-15);
    assert_true(json_integer_value(json_object_get(o, "least")) == INT64_MIN);
    assert_true(json_integer_value(json_object_get(o, "most")) == INT64_MAX);
    check_near(json_real_value(json_object_get(o, "over")), 0x1p63, 0, 0);
    check_near(json_real_value(json_object_get(o, "under")), -0x1p63, 0, 0);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(o, "list"), 2)), 2);
    json_decref(o);
}

static void test_nul_and_byte_order_mark(void **state)
{
    (void)state;
    struct ap_error err;
    const char *text = NULL;
    size_t n = 0;
    json_t *o = parse("\xEF\xBB\xBF{\"a\": \"x\\u0000y\", \"b\": \"\\ud83d\\ude00\"}");
    check_ok(ap_json_text(o, "a", "x.json", true, &text, &n, &err), err);
    assert_int_equal(n, 3);
    assert_memory_equal(text, "x\0y", 4);
    assert_int_equal(ap_json_text(o, "a", "x.json", true, &text, NULL, &err), AP_FORMAT);
    check_holds(err.text, "x.json: \"a\" holds a NUL");
    check_ok(ap_json_text(o, "b", "x.json", true, &text, NULL, &err), err);
    assert_string_equal(text, "\xF0\x9F\x98\x80");
    json_decref(o);
}

static void test_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"{\"a\": 1,\n \"a\": 2}", "x.json:2:"},
        {"{\"a\": NaN}", "x.json:1:"},
        {"{\"a\": \"\\ud800\"}", "x.json:1:"},
        {"{\"a\": 1} x", "x.json:1:"},
        {"{\"a\": \"\xFF\"}", "x.json:1:"},
        {"{\"a\": 1e999}", "x.json:1:"},
        {"", "x.json:1:0: is not JSON"},
        {"17", "x.json:1:"},
        {"\"text\"", "x.json:1:"},
        {"[1,\n2,\n", "x.json:3:"},
        {"[99999999999999999999,\n -]", "x.json:2:"},
        {"[99999999999999999999", "x.json:1:"},
        {"\"\\", "x.json:1:"},
        {"[\"a\nb\"]", "x.json:1:"},
    };
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct ap_error err;
        json_t *value = NULL;
        ap_status status =
            ap_json_parse(rows[i].text, strlen(rows[i].text), "x.json", &value, &err);
        if (status != AP_FORMAT)
            fail_msg("%s is not refused", rows[i].text);
        assert_null(value);
        check_holds(err.text, rows[i].part);
        check_holds(err.text, "correct the text there");
    }
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    struct ap_error err;
    json_t *value;
    enum { N = 100000 };
    char *text = ap_calloc(N, 1);
    memset(text, '[', N);
    assert_int_equal(ap_json_parse(text, N, "deep", &value, &err), AP_FORMAT);
    check_holds(err.text, "deep:1:");
    assert_int_equal(ap_json_parse(text, AP_BUFFER_MAX, "long", &value, &err), AP_LIMIT);
    ap_free(text);
}

static void test_integers(void **state)
{
    (void)state;
    struct ap_error err;
    int64_t got = -7;
    json_t *o = parse("{\"n\": 5, \"r\": 5.0, \"s\": \"5\", \"z\": null}");
    check_ok(ap_json_int(o, "n", "c.json", true, 5, 5, &got, &err), err);
    assert_int_equal(got, 5);
    check_ok(ap_json_int(o, "z", "c.json", false, 0, 1, &got, &err), err);
    check_ok(ap_json_int(o, "absent", "c.json", false, 0, 1, &got, &err), err);
    assert_int_equal(got, 5);
    assert_int_equal(ap_json_int(o, "z", "c.json", true, 0, 1, &got, &err), AP_FORMAT);
    assert_string_equal(err.text, "c.json: \"z\" is null; add it");
    assert_int_equal(ap_json_int(o, "absent", "c.json", true, 0, 1, &got, &err), AP_FORMAT);
    assert_string_equal(err.text, "c.json: \"absent\" is missing; add it");
    assert_int_equal(ap_json_int(o, "n", "c.json", true, 6, 9, &got, &err), AP_FORMAT);
    assert_string_equal(err.text, "c.json: \"n\" is 5, expected 6 to 9; correct it");
    assert_int_equal(ap_json_int(o, "n", "c.json", false, -9, 4, &got, &err), AP_FORMAT);
    assert_int_equal(ap_json_int(o, "r", "c.json", false, 0, 9, &got, &err), AP_FORMAT);
    assert_string_equal(err.text, "c.json: \"r\" is a real, expected an integer; correct it");
    assert_int_equal(ap_json_int(o, "s", "c.json", false, 0, 9, &got, &err), AP_FORMAT);
    assert_int_equal(got, 5);
    json_decref(o);
}

static void test_other_types(void **state)
{
    (void)state;
    struct ap_error err;
    double real = 0;
    bool flag = false;
    const char *text = NULL;
    json_t *o = parse("{\"n\": 5, \"r\": 2.5, \"t\": true, \"s\": \"text\", \"l\": []}");
    check_ok(ap_json_real(o, "n", "c", true, &real, &err), err);
    check_near(real, 5, 0, 0);
    check_ok(ap_json_real(o, "r", "c", true, &real, &err), err);
    check_near(real, 2.5, 0, 0);
    assert_int_equal(ap_json_real(o, "t", "c", true, &real, &err), AP_FORMAT);
    check_holds(err.text, "\"t\" is true, expected a number");
    check_ok(ap_json_bool(o, "t", "c", true, &flag, &err), err);
    assert_true(flag);
    assert_int_equal(ap_json_bool(o, "n", "c", true, &flag, &err), AP_FORMAT);
    check_holds(err.text, "expected true or false");
    check_ok(ap_json_text(o, "s", "c", true, &text, NULL, &err), err);
    assert_string_equal(text, "text");
    assert_int_equal(ap_json_text(o, "l", "c", false, &text, NULL, &err), AP_FORMAT);
    check_holds(err.text, "\"l\" is an array, expected a string");
    assert_int_equal(ap_json_bool(json_object_get(o, "l"), "k", "c", false, &flag, &err),
                     AP_FORMAT);
    check_holds(err.text, "c: is an array, expected an object");
    assert_int_equal(ap_json_bool(NULL, "k", "c", false, &flag, &err), AP_FORMAT);
    json_decref(o);
}

static void test_load(void **state)
{
    struct ap_error err;
    json_t *value;
    char *path = scratch_path(state, "config.json");
    scratch_put(path, "{\"a\":\n1,}", 9);
    assert_int_equal(ap_json_load(path, 100, &value, &err), AP_FORMAT);
    check_holds(err.text, "config.json:2:");
    assert_int_equal(ap_json_load(path, 5, &value, &err), AP_LIMIT);
    scratch_put(path, "", 0);
    assert_int_equal(ap_json_load(path, 5, &value, &err), AP_FORMAT);
    check_holds(err.text, path);
    scratch_put(path, "[1]", 3);
    check_ok(ap_json_load(path, 3, &value, &err), err);
    json_decref(value);
    assert_int_equal(ap_json_load("/no/such", 3, &value, &err), AP_NOT_FOUND);
    assert_null(value);
    ap_free(path);
}

/* Not jansson's own memory: 2.14 aborts when a token's copy fails (lex_unget_unsave). */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct ap_error err;
    json_t *value;
    faults.memory = (struct fault){0, 0};
    ap_status status = ap_json_parse("[99999999999999999999]", 22, "x.json", &value, &err);
    faults.memory.after = -1;
    assert_int_equal(status, AP_MEMORY);
    check_holds(err.text, "x.json: no memory");
}

/* Texts one or two bytes away from a good one: any answer but a crash, and an error on one line. */
static void test_damaged_texts(void **state)
{
    (void)state;
    static const char good[] =
        "{\"a\": [-1.5e3, 99999999999999999999, true, null, \"\\u00e4\\\\\"]}";
    static const char bytes[] = "\"\\{}[],:0123456789eE+-.u \n\xFF\xC3";
    struct ap_random r;
    ap_random_init(&r, &(struct ap_stream){.seed = 1});
    int n_good = 0, n_bad = 0;
    for (int i = 0; i < 20000; i++) {
        struct ap_error err;
        json_t *value;
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        for (int k = 0; k < 2; k++)
            text[ap_random_below(&r, sizeof(good) - 1)] =
                bytes[ap_random_below(&r, sizeof(bytes) - 1)];
        size_t n = sizeof(good) - 1 - ap_random_below(&r, 2) * ap_random_below(&r, 8);
        ap_status status = ap_json_parse(text, n, "x", &value, &err);
        n_good += status == AP_OK;
        n_bad += status == AP_FORMAT && !strchr(err.text, '\n');
        json_decref(value);
    }
    assert_int_equal(n_good + n_bad, 20000);
    assert_true(n_good > 100 && n_bad > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_big_integers),
        cmocka_unit_test(test_nul_and_byte_order_mark),
        cmocka_unit_test(test_refused_with_their_place),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test_setup_teardown(test_load, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_damaged_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
