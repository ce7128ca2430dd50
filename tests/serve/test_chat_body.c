/* Bodies: the scanner takes JSON and nothing else, within its limits; what is spliced is the same
 * bytes but for the texts that were exchanged. */
#include "serve/chat_body.h"

#include "check.h"

static const struct ap_tape_limits limits = {8, 200, 1000};

static ap_status read_body(struct ap_chat_body *b, const char *text, struct ap_error *err)
{
    /* no byte behind the text, for the sanitizer to see who reads it */
    char *copy = malloc(strlen(text) ? strlen(text) : 1);
    memcpy(copy, text, strlen(text));
    ap_status status =
        ap_chat_body_read(b, AP_BODY_CHAT, AP_REWRITE_ALL, copy, strlen(text), &limits, err);
    free(copy);
    return status;
}

#define ONE "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]"

static void test_takes(void **state)
{
    static const char *const texts[] = {
        "{" ONE "}",
        " \t\r\n{ " ONE " } \n",
        "{" ONE ",\"a\":[0,-0,1.5,-2e9,3E+2,4e-1,true,false,null,\"\",{},[]]}",
        "{" ONE ",\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00 \xf0\x9f\x98\x80\"}",
        "{" ONE ",\"a\":[[[[[[1]]]]]]}",
        "{" ONE ",\"a\":1,\"a\":2}", /* not ours to look at */
    };
    struct ap_error err;
    struct ap_chat_body b;
    (void)state;
    for (size_t i = 0; i < AP_LEN(texts); i++) {
        check_ok(read_body(&b, texts[i], &err), err);
        assert_int_equal(b.n_text, 1);
        ap_chat_body_free(&b);
    }
}

static void test_refuses(void **state)
{
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"", "cut"},
        {"[]", "no JSON object"},
        {"{" ONE, "cut"},
        {"{" ONE "}x", "the end"},
        {"{" ONE "}{}", "the end"},
        {"{" ONE ",}", "a string"},
        {"{" ONE ",\"a\":[1,]}", "a value"},
        {"{" ONE " \"a\":1}", "',' or '}'"},
        {"{" ONE ",\"a\" 1}", "':'"},
        {"{" ONE ",\"a\":01}", "',' or '}'"},
        {"{" ONE ",\"a\":1.}", "a digit"},
        {"{" ONE ",\"a\":-}", "a value"},
        {"{" ONE ",\"a\":1e}", "a digit"},
        {"{" ONE ",\"a\":.5}", "a value"},
        {"{" ONE ",\"a\":tru}", "true"},
        {"{" ONE ",\"a\":nul", "cut"},
        {"{" ONE ",\"a\":NaN}", "a value"},
        {"{" ONE ",\"a\":\"\\x\"}", "an escape"},
        {"{" ONE ",\"a\":\"\\u12g4\"}", "a hex digit"},
        {"{" ONE ",\"a\":\"\n\"}", "rest of a string"},
        {"{" ONE ",\"a\":\"\xff\"}", "not UTF-8"},
        {"\xef\xbb\xbf{" ONE "}", "a value"},
        {"{" ONE ",'a':1}", "a string"},
        {"{" ONE "," ONE "}", "\"messages\" twice"},
        {"{" ONE ",\"\\u006dessages\":[]}", "\"messages\" twice"},
        {"{" ONE ",\"stream\":true,\"stream\":false}", "\"stream\" twice"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"content\":\"b\"}]}", "twice"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"a\",\"role\":\"user\"}]}", "twice"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}", "NUL"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}", "surrogate"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"\\udc00\\ud800\"}]}", "surrogate"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\\u0041\"}]}", "surrogate"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":3}]}", "content"},
        {"{\"messages\":[{\"content\":\"a\"}]}", "role"},
        {"{\"messages\":[7]}", "no object"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},7]}", "no object"},
        {"{\"messages\":[\"a\"]}", "no object"},
        {"{\"messages\":[]}", "empty"},
        {"{\"messages\":{}}", "no array"},
        {"{}", "messages"},
        {"{" ONE ",\"x-alignpro\":\"maybe\"}", "\"x-alignpro\" is \"maybe\", expected \"off\""},
        {"{" ONE ",\"x-alignpro\":true}", "\"x-alignpro\" is true, expected"},
        {"{" ONE ",\"x-alignpro\":\"\\ud800\"}", "surrogate"},
    };
    struct ap_error err;
    struct ap_chat_body b;
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        if (read_body(&b, rows[i].text, &err) != AP_FORMAT)
            fail_msg("taken: %s", rows[i].text);
        check_holds(err.text, rows[i].part);
    }
}

static void test_limits(void **state)
{
    struct ap_error err;
    struct ap_chat_body b;
    char text[4096] = "{" ONE ",\"a\":\"";
    (void)state;
    assert_int_equal(read_body(&b, "{" ONE ",\"a\":[[[[[[[[1]]]]]]]]}", &err), AP_LIMIT);
    check_holds(err.text, "deeper than 8");
    memset(text + strlen(text), 'x', 1000);
    strcat(text, "\"}");
    assert_int_equal(read_body(&b, text, &err), AP_LIMIT);
    check_holds(err.text, "at most 1000");
    strcpy(text, "{" ONE);
    for (int i = 0; i < 200; i++)
        sprintf(text + strlen(text), ",\"k%d\":1", i);
    strcat(text, "}");
    assert_int_equal(read_body(&b, text, &err), AP_LIMIT);
    check_holds(err.text, "200 fields");
    strcpy(text, "{" ONE ",\"a\":[0"); /* elements that nobody looks at are no fields */
    for (int i = 0; i < 1000; i++)
        strcat(text, ",1");
    strcat(text, "]}");
    check_ok(read_body(&b, text, &err), err);
    ap_chat_body_free(&b);
}

/* ---- what is rewritten ---- */

/* Each text that is chosen is exchanged by its number; NULL in `out`: nothing is. */
static void check_splice(ap_body_kind kind, ap_rewrite_policy policy, const char *in,
                         const char *out, ap_body_pass pass)
{
    static char *const numbers[] = {"<0>", "<1>", "<\"2\">"};
    struct ap_error err;
    struct ap_chat_body b;
    struct ap_buffer made = {0};
    check_ok(ap_chat_body_read(&b, kind, policy, in, strlen(in), &limits, &err), err);
    assert_int_equal(b.pass, pass);
    assert_true(b.n_text <= 3);
    check_ok(ap_chat_body_splice(&b, in, strlen(in), numbers, &made, &err), err);
    assert_string_equal(made.data, out);
    ap_buffer_free(&made);
    ap_chat_body_free(&b);
}

static void check_chat(ap_rewrite_policy policy, const char *in, const char *out)
{
    check_splice(AP_BODY_CHAT, policy, in, out, AP_PASS_NOT);
}

static void test_splice(void **state)
{
    (void)state;
    check_chat(AP_REWRITE_LAST,
               "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"content\" : \"b\\n\", "
               "\"role\":\"user\"}],\"z\":1.0}",
               "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"content\" : \"<0>\", "
               "\"role\":\"user\"}],\"z\":1.0}");
    check_chat(AP_REWRITE_ALL,
               "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
               "\"content\":\"b\"},{\"role\":\"user\",\"content\":\"\"},{\"role\":\"user\","
               "\"content\":\"c\"},{\"role\":\"user\",\"content\":\"d\"}]}",
               "{\"messages\":[{\"role\":\"user\",\"content\":\"<0>\"},{\"role\":\"assistant\","
               "\"content\":\"b\"},{\"role\":\"user\",\"content\":\"\"},{\"role\":\"user\","
               "\"content\":\"<1>\"},{\"role\":\"user\",\"content\":\"<\\\"2\\\">\"}]}");
    check_chat(AP_REWRITE_LAST,
               "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
               "\"image_url\":{\"url\":\"x\"}},{\"text\":\"a\",\"type\":\"text\"}]}]}",
               "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
               "\"image_url\":{\"url\":\"x\"}},{\"text\":\"<0>\",\"type\":\"text\"}]}]}");
    check_splice(AP_BODY_COMPLETION, AP_REWRITE_LAST, "{\"prompt\": [\"a\",3,\"b\"]}",
                 "{\"prompt\": [\"<0>\",3,\"<1>\"]}", AP_PASS_NOT);
}

static void test_mark_is_removed(void **state)
{
    (void)state;
    check_chat(AP_REWRITE_LAST, "{\"x-alignpro\":\"show\" , " ONE "}",
               "{\"messages\":[{\"role\":\"user\",\"content\":\"<0>\"}]}");
    check_chat(AP_REWRITE_LAST, "{" ONE " , \"x-alignpro\":\"show\" }",
               "{\"messages\":[{\"role\":\"user\",\"content\":\"<0>\"}]  }");
    check_chat(AP_REWRITE_LAST, "{\"a\":1,\"x-alignpro\":\"show\",\"b\":2," ONE "}",
               "{\"a\":1,\"b\":2,\"messages\":[{\"role\":\"user\",\"content\":\"<0>\"}]}");
    check_splice(AP_BODY_CHAT, AP_REWRITE_LAST, "{" ONE ",\"x\\u002dalignpro\":\"\\u006fff\"}",
                 "{" ONE "}", AP_PASS_OFF);
}

static void test_passes(void **state)
{
    static const struct {
        const char *text;
        ap_body_pass pass;
    } rows[] = {
        {"{" ONE ",\"tools\":[{\"type\":\"function\"}]}", AP_PASS_TOOLS},
        {"{" ONE ",\"functions\":[{}]}", AP_PASS_TOOLS},
        {"{" ONE ",\"response_format\":{\"type\":\"json_schema\"}}", AP_PASS_JSON},
        {"{" ONE ",\"response_format\":{}}", AP_PASS_JSON},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}", AP_PASS_NO_TEXT},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\" \\n\"}]}", AP_PASS_NO_TEXT},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null}]}", AP_PASS_NO_TEXT},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}", AP_PASS_NO_TEXT},
        /* the last user message is an image: no other takes its place */
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":[{"
         "\"type\":\"image_url\"}]}]}",
         AP_PASS_NO_TEXT},
    };
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++)
        check_splice(AP_BODY_CHAT, AP_REWRITE_LAST, rows[i].text, rows[i].text, rows[i].pass);
    check_splice(AP_BODY_CHAT, AP_REWRITE_NONE, "{" ONE "}", "{" ONE "}", AP_PASS_OFF);
    check_chat(AP_REWRITE_LAST, "{" ONE ",\"tools\":[],\"response_format\":{\"type\":\"text\"}}",
               "{\"messages\":[{\"role\":\"user\",\"content\":\"<0>\"}],\"tools\":[],"
               "\"response_format\":{\"type\":\"text\"}}");
}

/* What the prompter is given of a conversation. */
static void test_context(void **state)
{
    static const char text[] =
        "{\"messages\":[{\"role\":\"developer\",\"content\":\"s\"},{\"role\":\"tool\","
        "\"content\":\"t\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9"
        "\\ud83d\\ude00\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]}]}";
    struct ap_error err;
    struct ap_chat_body b;
    (void)state;
    check_ok(
        ap_chat_body_read(&b, AP_BODY_CHAT, AP_REWRITE_LAST, text, strlen(text), &limits, &err),
        err);
    assert_int_equal(b.n_message, 2);
    assert_string_equal(b.messages[0].role, "system");
    assert_string_equal(b.messages[1].content, "\xc3\xa9\xf0\x9f\x98\x80");
    assert_int_equal(b.n_unsaid, 2);
    assert_int_equal(b.texts[0].message, 1);
    assert_int_equal(b.texts[0].at, 2);
    ap_chat_body_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes),           cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_splice),
        cmocka_unit_test(test_mark_is_removed), cmocka_unit_test(test_passes),
        cmocka_unit_test(test_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
