/* Chats and completions that a local target answers. The fake one says what it was asked and the
 * random stream that it was given. */
#include "world.h"

#define CHAT "/v1/chat/completions"
#define COMPLETION "/v1/completions"

static struct world *begin(ap_rewrite_policy policy)
{
    struct world *w = world_new(true, false);
    w->options.rewrite = policy;
    world_start(w);
    return w;
}

static char *stage_text(void)
{
    static char text[16];
    snprintf(text, sizeof(text), "%x", ap_stream_stage("serve"));
    return text;
}

static void test_chat(void **state)
{
    struct world *w = begin(AP_REWRITE_NONE);
    char part[512];
    (void)state;
    struct wire_reply r = wire_post(
        w->port, CHAT, "",
        "{\"model\":\"any\",\"seed\":255,\"n\":2,\"messages\":[{\"role\":\"system\",\"content\":"
        "\"s\"},{\"role\":\"user\",\"content\":\"ab\"}]}");
    assert_string_equal(wire_header(&r, "x-alignpro"), "bypassed");
    check_holds(r.body, "{\"id\":\"chatcmpl-");
    check_holds(r.body, "\"object\":\"chat.completion\"");
    check_holds(r.body, "\"model\":\"any\"");
    for (int k = 0; k < 2; k++) {
        snprintf(part, sizeof(part),
                 "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":\"to ab: "
                 "ff-%s-0-0-%d\"},\"logprobs\":null,\"finish_reason\":\"stop\"}",
                 k, stage_text(), k);
        check_holds(r.body, part);
    }
    check_reply(r, 200,
                "\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":6,\"total_tokens\":8}");
    assert_string_equal(w->engine.last, "system:s|user:ab");
    check_near(w->engine.last_of.temperature, 1, 0, 0);
    check_near(w->engine.last_of.top_p, 1, 0, 0);
    assert_int_equal(w->engine.last_of.max_new_tokens, 0);
    check_reply(wire_get(w->port, "/v1/models"), 200, "\"id\":\"little\"");
    world_end(w);
}

static void test_settings(void **state)
{
    struct world *w = begin(AP_REWRITE_NONE);
    (void)state;
    check_reply(wire_post(w->port, CHAT, "",
                          "{\"temperature\":0.5,\"top_p\":0.25,\"top_k\":7,\"min_p\":0.125,"
                          "\"repetition_penalty\":1.5,\"max_completion_tokens\":1,\"stop\":\"x\","
                          "\"logprobs\":false,\"tools\":[],\"messages\":[{\"role\":\"user\","
                          "\"content\":\"a\"}]}"),
                200, "\"finish_reason\":\"length\"");
    const struct ap_work *got = &w->engine.last_of;
    check_near(got->temperature, 0.5, 0, 0);
    check_near(got->top_p, 0.25, 0, 0);
    check_near(got->min_p, 0.125, 0, 0);
    check_near(got->repetition_penalty, 1.5, 0, 0);
    assert_int_equal(got->top_k, 7);
    assert_int_equal(got->max_new_tokens, 1);
    assert_int_equal(got->n_stop, 1);
    assert_true(got->deadline > 0);
    check_reply(wire_post(w->port, CHAT, "",
                          "{\"stop\":[\"x\",\"yy\"],\"messages\":[{\"role\":\"user\",\"content\":"
                          "\"a\"}]}"),
                200, "stop");
    assert_int_equal(w->engine.last_of.n_stop, 2);
    world_end(w);
}

static void test_stream_header(void **state)
{
    struct world *w = begin(AP_REWRITE_NONE);
    static const char *const wrong[] = {
        "1-2-3-4",   "1-2-3-4-5-6", "1-2-3-4-g",         "A-2-3-4-5",
        "",          "-2-3-4-5",    "1-100000000-3-4-5", "10000000000000000-2-3-4-5",
        "1-2-3-4-5 "};
    char header[128];
    (void)state;
    check_reply(
        wire_post(w->port, CHAT, "x-alignpro-stream: ffffffffffffffff-a-b-c0de-fffffffe\r\n",
                  "{\"seed\":1,\"n\":2,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"),
        200, "to a: ffffffffffffffff-a-b-c0de-ffffffff\"");
    assert_true(w->engine.last_of.cuts); /* as the run's own target does */
    check_reply(wire_post(w->port, CHAT, "",
                          "{\"seed\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"),
                200, "to a");
    assert_false(w->engine.last_of.cuts);
    for (size_t i = 0; i + 1 < AP_LEN(wrong); i++) {
        snprintf(header, sizeof(header), "x-alignpro-stream: %s\r\n", wrong[i]);
        check_reply(wire_post(w->port, CHAT, header,
                              "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"),
                    400, "SEED-STAGE-STEP-RECORD-SAMPLE");
    }
    struct wire_reply a =
        wire_post(w->port, CHAT, "", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
    uint64_t first = w->engine.last_of.stream.seed;
    struct wire_reply b =
        wire_post(w->port, CHAT, "", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
    assert_true(first != w->engine.last_of.stream.seed); /* fresh where none is asked for */
    wire_free(&a);
    wire_free(&b);
    world_end(w);
}

static void test_events(void **state)
{
    struct world *w = begin(AP_REWRITE_NONE);
    (void)state;
    struct wire_reply r =
        wire_post(w->port, CHAT, "",
                  "{\"stream\":true,\"stream_options\":{\"include_usage\":true},\"seed\":1,"
                  "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
    assert_int_equal(r.status, 200);
    assert_string_equal(wire_header(&r, "Content-Type"), "text/event-stream");
    char *text = strstr(r.body, "\"delta\":{\"role\":\"assistant\",\"content\":\"to a: 1-");
    char *last = strstr(r.body, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
    char *usage = strstr(r.body, "\"choices\":[],\"usage\":{\"prompt_tokens\":1,");
    char *done = strstr(r.body, "data: [DONE]\n\n");
    assert_true(text && last && usage && done && text < last && last < usage && usage < done);
    assert_memory_equal(r.body, "data: {\"id\":\"chatcmpl-", 22);
    wire_free(&r);
    r = wire_post(w->port, COMPLETION, "", "{\"stream\":true,\"prompt\":\"a\",\"seed\":1}");
    check_holds(r.body, "\"text\":\"to a: 1-");
    check_holds(r.body, "\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\"");
    wire_free(&r);
    world_end(w);
}

static void test_completion(void **state)
{
    struct world *w = begin(AP_REWRITE_LAST);
    char part[128];
    (void)state;
    struct wire_reply r = wire_post(w->port, COMPLETION, "x-alignpro: show\r\n",
                                    "{\"prompt\":[\"ab\",\"xy\"],\"n\":2,\"seed\":3}");
    assert_string_equal(wire_header(&r, "x-alignpro"), "rewritten");
    snprintf(part, sizeof(part), "\"index\":1,\"text\":\"to ba: 3-%s-0-0-1\"", stage_text());
    check_holds(r.body, part);
    snprintf(part, sizeof(part), "\"index\":2,\"text\":\"to yx: 3-%s-0-1-0\"", stage_text());
    check_holds(r.body, part);
    check_holds(r.body, "\"prompt_tokens\":2,");
    check_reply(r, 200,
                "\"x_alignpro\":{\"rewrites\":[{\"index\":0,\"fate\":\"rewritten\","
                "\"rewrite\":\"ba\"");
    world_end(w);
}

static void test_rewrites_a_chat(void **state)
{
    struct world *w = begin(AP_REWRITE_ALL);
    (void)state;
    check_reply(wire_post(w->port, CHAT, "",
                          "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"},{\"role\":"
                          "\"assistant\",\"content\":\"ok\"},{\"role\":\"user\",\"content\":"
                          "\"xy\"}]}"),
                200, "to yx: ");
    assert_string_equal(w->engine.last, "user:ba|assistant:ok|user:yx");
    world_end(w);
}

static void test_refuses(void **state)
{
    static const char *const fields[] = {
        "\"logprobs\":true",
        "\"logit_bias\":{\"1\":2}",
        "\"tools\":[{}]",
        "\"response_format\":{\"type\":\"json_object\"}",
        "\"presence_penalty\":0.5",
        "\"n\":0",
        "\"n\":1000",
        "\"n\":\"1\"",
        "\"temperature\":-1",
        "\"temperature\":0.0001",
        "\"top_p\":0",
        "\"top_p\":1.5",
        "\"max_tokens\":0",
        "\"max_tokens\":1.5",
        "\"stop\":[\"\"]",
        "\"stop\":[3]",
        "\"seed\":\"x\"",
        "\"stream\":3",
        "\"a\":1,\"a\":2",
    };
    struct world *w = begin(AP_REWRITE_NONE);
    char body[512];
    (void)state;
    for (size_t i = 0; i < AP_LEN(fields); i++) {
        snprintf(body, sizeof(body), "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],%s}",
                 fields[i]);
        check_reply(wire_post(w->port, CHAT, "", body), 400, "invalid_request_error");
    }
    check_reply(
        wire_post(w->port, CHAT, "", "{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}"), 400,
        "roles");
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":[1,2]}"), 400, "roles");
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":[]}"), 400, "no prompt");
    assert_int_equal(w->engine.n_submitted, 0);
    fake_set(&w->engine, &w->engine.failing, true);
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":\"a\"}"), 400, "does not fit");
    fake_set(&w->engine, &w->engine.refusing, true);
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":\"a\"}"), 503, "queue_full");
    world_end(w);
}

/* Ten answers, three at once. */
static void test_rounds(void **state)
{
    static const char body[] = "{\"prompt\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"n\":2,\"seed\":1}";
    struct world *w = begin(AP_REWRITE_NONE);
    (void)state;
    w->engine.room = 3;
    fake_set(&w->engine, &w->engine.holding, true);
    int fd = wire_begin(w->port, "POST", COMPLETION, "", body);
    wire_until(fake_get(&w->engine, &w->engine.n_submitted) == 3);
    fake_set(&w->engine, &w->engine.holding, false);
    struct wire_reply r = wire_read(fd);
    check_holds(r.body, "\"index\":0,\"text\":\"to a: 1-");
    check_holds(r.body, "\"completion_tokens\":30,");
    check_reply(r, 200, "\"index\":9,\"text\":\"to e: 1-");
    assert_int_equal(w->engine.n_submitted, 10);
    fake_set(&w->engine, &w->engine.holding, true);
    fake_set(&w->engine, &w->engine.failing, true);
    fd = wire_begin(w->port, "POST", COMPLETION, "", body);
    wire_until(fake_get(&w->engine, &w->engine.n_submitted) == 13);
    fake_set(&w->engine, &w->engine.holding, false);
    check_reply(wire_read(fd), 400, "does not fit");
    assert_int_equal(w->engine.n_submitted, 13); /* no more of it is begun */
    world_end(w);
}

static void test_late(void **state)
{
    struct world *w = world_new(true, false);
    (void)state;
    w->options.rewrite = AP_REWRITE_NONE;
    w->options.request_timeout = 0.05;
    world_start(w);
    fake_set(&w->engine, &w->engine.holding, true);
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":\"a\"}"), 504, "over_time");
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat),          cmocka_unit_test(test_settings),
        cmocka_unit_test(test_stream_header), cmocka_unit_test(test_events),
        cmocka_unit_test(test_completion),    cmocka_unit_test(test_rewrites_a_chat),
        cmocka_unit_test(test_refuses),       cmocka_unit_test(test_late),
        cmocka_unit_test(test_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
