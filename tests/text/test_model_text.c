/* Strings and numbers at a cursor mean what jansson makes of them; a vocabulary and merges are read
 * wherever and however a tokenizer.json spells them. */
#include "small_tokenizer.h"

#include "base/random.h"
#include "text/model_text.h"

/* What jansson reads of one string in brackets; NULL where it refuses it. Free with json_decref. */
static json_t *read_by_library(const char *text, size_t n)
{
    char all[256];
    int size = snprintf(all, sizeof(all), "[");
    memcpy(all + size, text, n);
    all[n + 1] = ']';
    json_t *list = json_loadb(all, n + 2, JSON_ALLOW_NUL, NULL);
    if (list && (json_array_size(list) != 1 || !json_is_string(json_array_get(list, 0)))) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* A string from pieces, some of them wrong: escapes, surrogates, bytes of UTF-8, control bytes. */
static size_t draw_string(struct ap_random *r, char *out)
{
    static const char *const pieces[] = {
        "a",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\b\\f\\r\\t",
        "\\u00e9",
        "\\u0000",
        "\\uD83D\\uDE00",
        "\\uD83D",
        "\\uDE00",
        "\\uD83Dx",
        "\\u12G4",
        "\\u1",
        "\\x",
        "\xC3\xA9",
        "\xC3",
        "\xF0\x9F\x98\x80",
        "\x80",
        "\t",
        "\x01",
        "\xED\xA0\x80",
        " ",
        "\xE2\x96\x81",
        "\\",
        "\x7F",
        "\\uFFFF",
        "\xF5",
        "{[,:]}",
        "\\u005A",
    };
    size_t n = 0;
    out[n++] = '"';
    for (uint32_t i = ap_random_below(r, 5); i > 0; i--) {
        const char *piece = pieces[ap_random_below(r, (uint32_t)AP_LEN(pieces))];
        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
    }
    if (ap_random_below(r, 16))
        out[n++] = '"';
    return n;
}

static void test_strings_are_the_library_s(void **state)
{
    (void)state;
    struct ap_random r;
    struct ap_buffer out = {0};
    int n_good = 0, n_bad = 0;
    ap_random_init(&r, &(struct ap_stream){.seed = 1});
    for (int i = 0; i < 200000; i++) {
        struct ap_error err = {0};
        ap_status status;
        char text[128];
        size_t n = draw_string(&r, text);
        struct ap_json_cursor at = {.at = text, .end = text + n};
        json_t *want = read_by_library(text, n);
        bool whole = ap_json_string(&at, &out, &status, &err);
        whole = whole && !ap_json_take(&at, ',') && at.at == text + n; /* but for white space */
        check_ok(status, err);
        if (whole != (want != NULL))
            fail_msg("%.*s: %s, but the library has it the other way", (int)n, text,
                     whole ? "read" : "refused");
        if (whole) {
            const json_t *value = json_array_get(want, 0);
            assert_int_equal(out.len, json_string_length(value));
            if (out.len)
                assert_memory_equal(out.data, json_string_value(value), out.len);
        }
        n_good += whole;
        n_bad += !whole;
        json_decref(want);
    }
    assert_true(n_good > 20000 && n_bad > 20000);
    ap_buffer_free(&out);
}

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {" -7,", true, -7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"01", false, 0},
        {"-", false, 0},
        {"", false, 0},
        {"\"1\"", false, 0},
    };
    for (size_t i = 0; i < AP_LEN(cases); i++) {
        int64_t value = 0;
        struct ap_json_cursor at = {.at = cases[i].text,
                                    .end = cases[i].text + strlen(cases[i].text)};
        bool good = ap_json_integer(&at, &value);
        if (good != cases[i].good || value != cases[i].value)
            fail_msg("%s: %d, %lld", cases[i].text, good, (long long)value);
    }
}

/* The same tokenizer, whatever its file looks like. */
static void test_spellings_of_one_file(void **state)
{
    (void)state;
    static const char vocab[] =
        "\"vocab\": {\"<unk>\": 0, \"_\": 1, \"a\": 2, \"b\": 3, \"ab\": 4, "
        "\"_ab\": 5, \"\\n\": 6},";
    static const char *const edits[][2] = {
        {"\"model\"", "\"mod\\u0065l\""},
        {"\"vocab\"", "\"v\\u006fcab\""},
        {"\"merges\"", "\"m\\u0065rges\""},
        {"[\"a b\", \"_ ab\"]", "[ [\"a\", \"b\"] ,\n[ \"_\",\"ab\" ] ]"},
        {"[\"a b\", \"_ ab\"]", "[\"\\u0061 b\", [\"_\", \"ab\"]]"},
        {"\"_ab\": 5", "\"\\u005F\\u0061b\" : 5"},
        {"{\"version\"", "\xEF\xBB\xBF {\"version\""},
        {"\"version\": \"1.0\"", "\"version\": \"{[\\\"vocab\\\": {\""},
        {vocab, ""}, /* and put behind the merges, below */
    };
    for (size_t i = 0; i < AP_LEN(edits); i++) {
        struct ap_error err = {0};
        struct ap_tokenizer *t = NULL;
        struct ap_ids ids = {0};
        struct ap_segment text = {" ab\nba", 6, AP_SEGMENT_TEXT};
        char *file = edited(small_tokenizer, edits[i][0], edits[i][1]);
        if (edits[i][0] == vocab) {
            char tail[256];
            snprintf(tail, sizeof(tail), "[\"a b\", \"_ ab\"], %.*s}", (int)strlen(vocab) - 1,
                     vocab);
            char *moved = edited(file, "[\"a b\", \"_ ab\"]}", tail);
            free(file);
            file = moved;
        }
        if (parse_small(&t, file, NULL, &err) != AP_OK)
            fail_msg("'%s': %s", edits[i][1], err.text);
        assert_int_equal(ap_tokenizer_n_vocab(t), 8);
        check_ok(ap_tokenizer_encode(t, &text, 1, false, &ids, &err), err);
        check_ids(&ids, (const int32_t[]){5, 6, 3, 2, -1});
        ap_ids_free(&ids);
        ap_tokenizer_close(t);
        free(file);
    }
}

/* What is wrong in the two members is told with its line, as elsewhere in the file. */
static void test_places_of_faults(void **state)
{
    (void)state;
    static const char *const faults[][3] = {
        {"\"a\": 2,", "\n\"a\": 2,,", "dir/tokenizer.json:2:"},
        {"\"a\": 2,", "\n\"a\" 2,", "dir/tokenizer.json:2:"},
        {"\"a\": 2,", "\n\"a\\x\": 2,", "dir/tokenizer.json:2:"},
        {"\"a\": 2,", "\n\"a\xC3\": 2,", "is not JSON"},
        {"[\"a b\",", "[\n\"a b\"", "dir/tokenizer.json:2:"},
        {"[\"a b\",", "[\n\"a \\ud800b\",", "dir/tokenizer.json:2:"},
        {"\"merges\": [", "\"merges\": [[], [], [], ", "\"merges\"[0] is not a pair"},
        {"\"_ ab\"]", "\"_ ab\", [], [], []]", "is not a pair"},
        {"\"a\": 2,", "\"a\": [[[[2]]]],", "the id of \"a\" is no integer"},
    };
    for (size_t i = 0; i < AP_LEN(faults); i++) {
        struct ap_error err = {0};
        struct ap_tokenizer *t = NULL;
        char *file = edited(small_tokenizer, faults[i][0], faults[i][1]);
        assert_int_equal(parse_small(&t, file, NULL, &err), AP_FORMAT);
        check_holds(err.text, faults[i][2]);
        free(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings_are_the_library_s),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_spellings_of_one_file),
        cmocka_unit_test(test_places_of_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
