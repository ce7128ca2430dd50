/* Bodies and replies of OpenAI's API: what is asked with, what the servers that speak it answer,
 * what is no answer, and what is a refusal. */
#include "align/chat_api.h"

#include "base/memory.h"
#include "check.h"

/* ---- requests ---- */

static const struct ap_message turns[] = {{.role = "system", .content = "Be kind."},
                                          {.role = "user", .content = "Hi"},
                                          {.role = "assistant", .content = "Hello \"you\""}};

static struct ap_api_request plain(void)
{
    return (struct ap_api_request){.model = "m",
                                   .prompt = "naïve\n\"?\"",
                                   .max_new_tokens = 16,
                                   .sampling = {.temperature = 1, .top_p = 1}};
}

static void check_body(const struct ap_api_request *request, const char *expected)
{
    struct ap_error err;
    json_t *body;
    check_ok(ap_api_body(request, &body, &err), err);
    char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, expected);
    free(text);
    json_decref(body);
}

static void test_bodies(void **state)
{
    struct ap_api_request r = plain();
    (void)state;
    check_body(&r, "{\"max_tokens\":16,\"messages\":[{\"content\":\"naïve\\n\\\"?\\\"\",\"role\":"
                   "\"user\"}],\"model\":\"m\",\"temperature\":1.0,\"top_p\":1.0}");
    r.model = "";
    r.prompt = "";
    r.context = turns;
    r.n_context = AP_LEN(turns);
    check_body(&r, "{\"max_tokens\":16,\"messages\":[{\"content\":\"Be kind.\",\"role\":\"system\"}"
                   ",{\"content\":\"Hi\",\"role\":\"user\"},{\"content\":\"Hello \\\"you\\\"\","
                   "\"role\":\"assistant\"},{\"content\":\"\",\"role\":\"user\"}],\"temperature\":"
                   "1.0,\"top_p\":1.0}");
    r.completions = true;
    r.prompt = "then";
    check_body(&r, "{\"max_tokens\":16,\"prompt\":\"Be kind.\\nHi\\nHello \\\"you\\\"\\nthen\","
                   "\"temperature\":1.0,\"top_p\":1.0}");
    r.n_context = 0;
    r.prompt = "";
    check_body(&r, "{\"max_tokens\":16,\"prompt\":\"\",\"temperature\":1.0,\"top_p\":1.0}");
    assert_string_equal(ap_api_path(false), "/chat/completions");
    assert_string_equal(ap_api_path(true), "/completions");
}

/* What is off is not said: a server that does not know it would refuse the request. */
static void test_sampling(void **state)
{
    char *stop[] = {(char *)"\n\n", (char *)"</s>"};
    struct ap_api_request r = plain();
    (void)state;
    r.prompt = "x";
    r.sampling = (struct ap_sampling){0.5, 40, 0.25, 0.125, 1.5};
    r.stop = stop;
    r.n_stop = 2;
    check_body(&r, "{\"max_tokens\":16,\"messages\":[{\"content\":\"x\",\"role\":\"user\"}],"
                   "\"min_p\":0.125,\"model\":\"m\",\"repetition_penalty\":1.5,\"stop\":[\"\\n\\n\""
                   ",\"</s>\"],\"temperature\":0.5,\"top_k\":40,\"top_p\":0.25}");
    r.sampling = (struct ap_sampling){0, 0, 1, 0, 1};
    r.n_stop = 0;
    check_body(&r, "{\"max_tokens\":16,\"messages\":[{\"content\":\"x\",\"role\":\"user\"}],"
                   "\"model\":\"m\",\"temperature\":0.0,\"top_p\":1.0}");
}

/* Keys of the user's stand over ours, null takes one out, and the user's object stays as it is. */
static void test_extra(void **state)
{
    json_t *extra =
        json_pack("{s:n, s:i, s:{s:b}, s:f, s:n}", "max_tokens", "max_completion_tokens", 9,
                  "chat_template_kwargs", "enable_thinking", 0, "temperature", 0.25, "nothing");
    json_t *before = json_deep_copy(extra);
    struct ap_api_request r = plain();
    (void)state;
    r.prompt = "x";
    r.extra = extra;
    check_body(&r, "{\"chat_template_kwargs\":{\"enable_thinking\":false},"
                   "\"max_completion_tokens\":9,\"messages\":[{\"content\":\"x\",\"role\":\"user\"}"
                   "],\"model\":\"m\",\"temperature\":0.25,\"top_p\":1.0}");
    assert_true(json_equal(extra, before));
    json_decref(before);
    json_decref(extra);
}

static void test_no_utf8(void **state)
{
    static const char *const bad[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf"};
    struct ap_message turn = {.role = "user"};
    (void)state;
    for (size_t i = 0; i < AP_LEN(bad); i++)
        for (int in_context = 0; in_context < 2; in_context++)
            for (int completions = 0; completions < 2; completions++) {
                struct ap_error err;
                struct ap_api_request r = plain();
                json_t *body = (json_t *)1;
                turn.content = bad[i];
                r.completions = completions;
                if (in_context) {
                    r.context = &turn;
                    r.n_context = 1;
                } else {
                    r.prompt = bad[i];
                }
                assert_int_equal(ap_api_body(&r, &body, &err), AP_FORMAT);
                check_holds(err.text, "no UTF-8");
                assert_null(body);
            }
}

/* ---- replies ---- */

enum { N_MOST = 3 };

struct reply {
    const char *who, *body;
    bool completions;
    int n;
    struct ap_ledger_answer expected[N_MOST];
};

#define ANSWER(t, f, prompt, written)                                                              \
    {                                                                                              \
        .text = (char *)t, .finish = (char *)f, .n_prompt = prompt, .n_token = written             \
    }
#define REFUSAL(t, f, prompt, written)                                                             \
    {                                                                                              \
        .text = (char *)t, .finish = (char *)f, .n_prompt = prompt, .n_token = written,            \
        .refused = true                                                                            \
    }
#define CHAT(message, finish)                                                                      \
    "{\"choices\":[{\"index\":0,\"message\":" message ",\"finish_reason\":" finish "}]}"
#define USAGE(usage)                                                                               \
    "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\"usage\":" usage \
    "}"

static void check_reply(const struct reply *r)
{
    struct ap_ledger_answer out[N_MOST];
    const char *why = ap_api_read(r->body, strlen(r->body), r->completions, r->n, out);
    if (why)
        fail_msg("%s: %s", r->who, why);
    for (int i = 0; i < r->n; i++) {
        const struct ap_ledger_answer *e = &r->expected[i];
        if (strcmp(out[i].text, e->text) != 0 || strcmp(out[i].finish, e->finish) != 0 ||
            out[i].refused != e->refused || out[i].n_prompt != e->n_prompt ||
            out[i].n_token != e->n_token || out[i].usd != 0)
            fail_msg("%s, answer %d: '%s' %s %s %lld %lld", r->who, i, out[i].text, out[i].finish,
                     out[i].refused ? "refused" : "given", (long long)out[i].n_prompt,
                     (long long)out[i].n_token);
        ap_ledger_answer_free(&out[i]);
    }
}

/* With all that these servers put around an answer. */
static const struct reply servers[] = {
    {"openai",
     "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1741569952,\"model\":"
     "\"gpt-4.1\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
     "\"Hello!\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\""
     "}],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29,"
     "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":0}},\"service_tier\":\"default\","
     "\"system_fingerprint\":null}",
     false,
     1,
     {ANSWER("Hello!", "stop", 19, 10)}},
    {"vllm",
     "{\"id\":\"chatcmpl-2\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\","
     "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi\",\"refusal\":"
     "null,\"annotations\":null,\"audio\":null,\"function_call\":null,\"tool_calls\":[],"
     "\"reasoning_content\":null},\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":"
     "null,\"token_ids\":null}],\"service_tier\":null,\"usage\":{\"prompt_tokens\":5,"
     "\"total_tokens\":8,\"completion_tokens\":3,\"prompt_tokens_details\":null},"
     "\"prompt_logprobs\":null,\"kv_transfer_params\":null}",
     false,
     1,
     {ANSWER("Hi", "length", 5, 3)}},
    {"llama.cpp",
     "{\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"message\":{\"role\":\"assistant\","
     "\"content\":\" Hi\"}}],\"created\":1,\"model\":\"gpt-3.5-turbo\",\"system_fingerprint\":"
     "\"b1-2\",\"object\":\"chat.completion\",\"usage\":{\"completion_tokens\":2,\"prompt_tokens\":"
     "7,\"total_tokens\":9},\"id\":\"c\",\"timings\":{\"prompt_n\":7,\"prompt_ms\":1.5}}",
     false,
     1,
     {ANSWER(" Hi", "stop", 7, 2)}},
    {"llama.cpp's completions",
     "{\"choices\":[{\"text\":\" world\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"length\""
     "}],\"object\":\"text_completion\",\"usage\":{\"completion_tokens\":1,\"prompt_tokens\":1,"
     "\"total_tokens\":2}}",
     true,
     1,
     {ANSWER(" world", "length", 1, 1)}},
    {"llama-cpp-python",
     "{\"id\": \"cmpl-3\", \"object\": \"text_completion\", \"created\": 1, \"model\": \"./m.gguf\""
     ", \"choices\": [{\"text\": \"one\", \"index\": 0, \"logprobs\": null, \"finish_reason\": "
     "\"stop\"}], \"usage\": {\"prompt_tokens\": 4, \"completion_tokens\": 6, \"total_tokens\": 10}"
     "}\n",
     true,
     1,
     {ANSWER("one", "stop", 4, 6)}},
    {"several, out of order",
     "{\"choices\":[{\"index\":2,\"message\":{\"content\":\"c\"},\"finish_reason\":\"stop\"},"
     "{\"index\":0,\"message\":{\"content\":\"a\"},\"finish_reason\":\"length\"},"
     "{\"index\":1,\"message\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}],"
     "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":11}}",
     false,
     3,
     {ANSWER("a", "length", 3, 4), ANSWER("b", "stop", 0, 4), ANSWER("c", "stop", 0, 3)}},
    {"more than were asked for, without numbers",
     "{\"choices\":[{\"text\":\"a\"},{\"text\":\"b\"},{\"text\":\"c\"}]}",
     true,
     2,
     {ANSWER("a", "", -1, -1), ANSWER("b", "", -1, -1)}},
    {"a limit that came before the answer",
     CHAT("{\"content\":null,\"reasoning_content\":\"hm\"}", "\"length\""),
     false,
     1,
     {ANSWER("", "length", -1, -1)}},
    {"parts",
     CHAT("{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"no\"}]"
          "},{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"\\u00e4\"}]}",
          "\"stop\""),
     false,
     1,
     {ANSWER("aä", "stop", -1, -1)}},
    {"a call of a tool",
     CHAT("{\"content\":null,\"tool_calls\":[{\"id\":\"t\",\"type\":\"function\"}]}",
          "\"tool_calls\""),
     false,
     1,
     {ANSWER("", "tool_calls", -1, -1)}},
    {"an empty text",
     CHAT("{\"content\":\"\"}", "\"stop\""),
     false,
     1,
     {ANSWER("", "stop", -1, -1)}},
    {"no reason to end", CHAT("{\"content\":\"a\"}", "null"), false, 1, {ANSWER("a", "", -1, -1)}},
    {"a NUL",
     CHAT("{\"content\":\"a\\u0000b\\u0000\"}", "\"st\\u0000op\""),
     false,
     1,
     {ANSWER("a\xEF\xBF\xBD"
             "b\xEF\xBF\xBD",
             "st", -1, -1)}},
    {"a surrogate pair",
     CHAT("{\"content\":\"\\ud83d\\ude00\"}", "\"stop\""),
     false,
     1,
     {ANSWER("\xF0\x9F\x98\x80", "stop", -1, -1)}},
    {"a byte order mark",
     "\xEF\xBB\xBF{\"choices\":[{\"text\":\"a\"}]}",
     true,
     1,
     {ANSWER("a", "", -1, -1)}},
};

static const struct reply refusals[] = {
    {"a filter's end",
     CHAT("{\"content\":\"It beg\"}", "\"content_filter\""),
     false,
     1,
     {REFUSAL("It beg", "content_filter", -1, -1)}},
    {"a filter that leaves nothing",
     CHAT("{\"content\":null}", "\"content_filter\""),
     false,
     1,
     {REFUSAL("", "content_filter", -1, -1)}},
    {"a refusal's words",
     CHAT("{\"content\":null,\"refusal\":\"I can't.\"}", "\"stop\""),
     false,
     1,
     {REFUSAL("I can't.", "stop", -1, -1)}},
    {"a completion's",
     "{\"choices\":[{\"text\":\"\",\"finish_reason\":\"content_filter\"}]}",
     true,
     1,
     {REFUSAL("", "content_filter", -1, -1)}},
    {"one of two",
     "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"},"
     "{\"index\":1,\"message\":{\"content\":\"\"},\"finish_reason\":\"content_filter\"}],"
     "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}",
     false,
     2,
     {ANSWER("a", "stop", 3, 1), REFUSAL("", "content_filter", 0, 0)}},
    {"an empty refusal is none",
     CHAT("{\"content\":\"a\",\"refusal\":\"\"}", "\"stop\""),
     false,
     1,
     {ANSWER("a", "stop", -1, -1)}},
};

static void test_replies(void **state)
{
    (void)state;
    for (size_t i = 0; i < AP_LEN(servers); i++)
        check_reply(&servers[i]);
    for (size_t i = 0; i < AP_LEN(refusals); i++)
        check_reply(&refusals[i]);
}

/* Counts that are none are as if they were not told. */
static void test_usage(void **state)
{
    static const struct {
        const char *body;
        int64_t n_prompt, n_token;
    } rows[] = {
        {USAGE("{\"prompt_tokens\":0,\"completion_tokens\":0}"), 0, 0},
        {USAGE("{\"prompt_tokens\":1073741823,\"completion_tokens\":1}"), 1073741823, 1},
        {USAGE("{\"prompt_tokens\":1073741824,\"completion_tokens\":1}"), -1, -1},
        {USAGE("{\"prompt_tokens\":3,\"completion_tokens\":99999999999999999999}"), -1, -1},
        {USAGE("{\"prompt_tokens\":-3,\"completion_tokens\":1}"), -1, -1},
        {USAGE("{\"prompt_tokens\":3.0,\"completion_tokens\":1}"), -1, -1},
        {USAGE("{\"prompt_tokens\":\"3\",\"completion_tokens\":1}"), -1, -1},
        {USAGE("{\"prompt_tokens\":3}"), -1, -1},
        {USAGE("{\"prompt_tokens\":3,\"total_tokens\":3}"), 3, 0},
        {USAGE("{\"prompt_tokens\":3,\"total_tokens\":5}"), -1, -1},
        {USAGE("{\"prompt_tokens\":3,\"total_tokens\":3,\"completion_tokens\":null}"), -1, -1},
        {USAGE("{\"completion_tokens\":3}"), -1, -1},
        {USAGE("{}"), -1, -1},
        {USAGE("[]"), -1, -1},
        {USAGE("null"), -1, -1},
        {USAGE("7"), -1, -1}};
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct ap_ledger_answer out;
        assert_null(ap_api_read(rows[i].body, strlen(rows[i].body), false, 1, &out));
        if (out.n_prompt != rows[i].n_prompt || out.n_token != rows[i].n_token)
            fail_msg("%s: %lld, %lld", rows[i].body, (long long)out.n_prompt,
                     (long long)out.n_token);
        ap_ledger_answer_free(&out);
        ap_api_usage(rows[i].body, strlen(rows[i].body), &out);
        assert_true(out.n_prompt == rows[i].n_prompt && out.n_token == rows[i].n_token);
    }
    struct ap_ledger_answer none = {0};
    ap_api_usage("3.5", 3, &none);
    assert_true(none.n_prompt == -1 && none.n_token == -1 && !none.text);
}

static void check_none(const char *body, size_t n_body, bool completions, int n)
{
    struct ap_ledger_answer out[N_MOST];
    const char *why = ap_api_read(body, n_body, completions, n, out);
    if (!why)
        fail_msg("taken: %s", body);
    for (int i = 0; i < n; i++)
        assert_true(!out[i].text && !out[i].finish);
}

static void test_no_answers(void **state)
{
    static const char *const chats[] = {
        "",
        " ",
        "null",
        "\"a\"",
        "7",
        "{",
        "not JSON",
        "[]",
        "{}",
        "<html><body>502</body></html>",
        "{\"error\":{\"message\":\"overloaded\"}}",
        "{\"choices\":null}",
        "{\"choices\":{}}",
        "{\"choices\":[]}",
        "{\"choices\":[null]}",
        "{\"choices\":[\"a\"]}",
        "{\"choices\":[[]]}",
        "{\"choices\":[{}]}",
        "{\"choices\":[{\"text\":\"a\"}]}",
        "{\"choices\":[{\"index\":1,\"message\":{\"content\":\"a\"}}]}",
        "{\"choices\":[{\"index\":null,\"message\":{\"content\":\"a\"}}]}",
        "{\"choices\":[{\"index\":\"0\",\"message\":{\"content\":\"a\"}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}",
        CHAT("null", "\"length\""),
        CHAT("\"a\"", "\"stop\""),
        CHAT("[]", "\"content_filter\""),
        CHAT("{}", "\"stop\""),
        CHAT("{\"content\":null}", "\"stop\""),
        CHAT("{\"content\":7}", "\"stop\""),
        CHAT("{\"content\":{}}", "\"stop\""),
        CHAT("{\"content\":[]}", "\"stop\""),
        CHAT("{\"content\":[7,null,\"a\"]}", "\"stop\""),
        CHAT("{\"content\":[{\"type\":\"text\",\"text\":7}]}", "\"stop\""),
        CHAT("{\"content\":\"a\",\"content\":\"b\"}", "\"stop\""),
        CHAT("{\"content\":\"a\xff\"}", "\"stop\""),
        CHAT("{\"content\":\"\\ud800\"}", "\"stop\""),
        CHAT("{\"content\":\"a\"}", "\"stop\"") "{}"};
    static const char nul[] = CHAT("{\"content\":\"a\0b\"}", "\"stop\"");
    static const char one[] = CHAT("{\"content\":\"a\"}", "\"stop\"");
    (void)state;
    for (size_t i = 0; i < AP_LEN(chats); i++)
        check_none(chats[i], strlen(chats[i]), false, 1);
    check_none(nul, sizeof(nul) - 1, false, 1);
    check_none(one, sizeof(one) - 2, false, 1); /* cut */
    struct ap_ledger_answer two[2]; /* fewer than were asked for are taken, the rest is empty */
    assert_null(ap_api_read(one, sizeof(one) - 1, false, 2, two));
    assert_string_equal(two[0].text, "a");
    assert_true(!two[1].text && !two[1].finish);
    ap_ledger_answer_free(&two[0]);
    check_none(one, sizeof(one) - 1, true, 1);
    /* the second is none, and the first does not stay */
    static const char half[] = "{\"choices\":[{\"text\":\"a\"},{\"text\":null}]}";
    check_none(half, sizeof(half) - 1, true, 2);
    static const char twice[] = "{\"choices\":[{\"index\":0,\"text\":\"a\"},{\"index\":0,\"text\":"
                                "\"b\"}]}";
    check_none(twice, sizeof(twice) - 1, true, 2);
}

/* Much of everything ends, too. */
static void test_large(void **state)
{
    struct ap_error err;
    struct ap_buffer b = {0};
    enum { N = 1 << 20, N_CHOICE = 1025 };
    (void)state;
    for (int i = 0; i < N; i++)
        check_ok(ap_buffer_puts(&b, i % 2 ? "[" : "{\"a\":", &err), err);
    check_none(b.data, b.len, false, 1);
    ap_buffer_free(&b);
    check_ok(ap_buffer_puts(&b, "{\"choices\":[", &err), err);
    for (int i = 0; i < N_CHOICE; i++)
        check_ok(ap_buffer_printf(&b, &err, "%s{\"index\":%d,\"text\":\"a\"}", i ? "," : "", i),
                 err);
    check_ok(ap_buffer_puts(&b, "]}", &err), err);
    check_none(b.data, b.len, true, 1);
    ap_buffer_free(&b);
}

/* ---- errors that are refusals ---- */

#define AZURE(code, rest)                                                                          \
    "{\"error\":{\"message\":\"The response was filtered\",\"type\":null,\"param\":\"prompt\","    \
    "\"code\":" code ",\"status\":400" rest "}}"

static void test_refused(void **state)
{
    static const char *const refused[] = {
        AZURE("\"content_filter\"",
              ",\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\","
              "\"content_filter_result\":{\"hate\":{\"filtered\":true,\"severity\":\"high\"}}}"),
        AZURE("\"content_policy_violation\"", ""),
        AZURE("null", ",\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\"}"),
        AZURE("\"400\"", ",\"inner_error\":{\"code\":\"ResponsibleAIPolicyViolation\"}")};
    static const char *const others[] = {
        "",
        "{}",
        "[]",
        "content_filter",
        "{\"error\":null}",
        "{\"error\":\"content_filter\"}",
        "{\"error\":{\"code\":400,\"message\":\"content_filter\"}}",
        "{\"error\":{\"code\":[\"content_filter\"]}}",
        "{\"code\":\"content_filter\"}",
        AZURE("\"invalid_value\"", ""),
        AZURE("\"Content_Filter\"", ",\"innererror\":{\"code\":7}")};
    struct ap_ledger_answer out[N_MOST];
    (void)state;
    for (size_t i = 0; i < AP_LEN(refused); i++) {
        assert_true(ap_api_refused(refused[i], strlen(refused[i]), N_MOST, out));
        for (int k = 0; k < N_MOST; k++) {
            assert_string_equal(out[k].text, "The response was filtered");
            assert_string_equal(out[k].finish, "content_filter");
            assert_true(out[k].refused && out[k].n_prompt == 0 && out[k].n_token == 0);
            ap_ledger_answer_free(&out[k]);
        }
    }
    static const char mute[] = "{\"error\":{\"code\":\"content_filter\",\"message\":{}}}";
    assert_true(ap_api_refused(mute, strlen(mute), 1, out));
    assert_string_equal(out[0].text, "");
    ap_ledger_answer_free(&out[0]);
    for (size_t i = 0; i < AP_LEN(others); i++)
        if (ap_api_refused(others[i], strlen(others[i]), 1, out))
            fail_msg("taken for a refusal: %s", others[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),     cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_extra),      cmocka_unit_test(test_no_utf8),
        cmocka_unit_test(test_replies),    cmocka_unit_test(test_usage),
        cmocka_unit_test(test_no_answers), cmocka_unit_test(test_large),
        cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
