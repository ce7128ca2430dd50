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

/* ---- events while the answer is made ---- */

#define STREAM_A                                                                                   \
    "{\"stream\":true,\"seed\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"n\":"

struct script { /* what the engine does, and when */
    sem_t seen; /* the client has read what came so far */
    ap_work_end end;
    bool goes_on;          /* with text, until it is cancelled */
    struct ap_work *first; /* of two answers */
};

static struct world *begin_script(struct script *s,
                                  bool (*grow)(struct fake_engine *f, struct ap_work *w))
{
    struct world *w = world_new(true, false);
    w->options.rewrite = AP_REWRITE_NONE;
    w->engine.grow = grow;
    w->engine.context = s;
    sem_init(&s->seen, 0, 0);
    world_start(w);
    return w;
}

static void end_script(struct world *w, struct script *s)
{
    world_end(w);
    sem_destroy(&s->seen);
}

static void give(struct ap_work *w, const char *text)
{
    w->grew(w, text, strlen(text));
}

/* Until the server closes. */
static void read_rest(int fd, char *text, size_t room)
{
    size_t n = strlen(text);
    for (ssize_t got; (got = recv(fd, text + n, room - n - 1, 0)) > 0; text[n] = '\0')
        n += (size_t)got;
    close(fd);
}

static bool grow_slowly(struct fake_engine *f, struct ap_work *w)
{
    struct script *s = f->context;
    give(w, "to ");
    wire_await(&s->seen);
    give(w, "a: ");
    wire_await(&s->seen);
    fake_end(f, w, strlen("to a: "));
    return true;
}

static void test_events_before_the_end(void **state)
{
    static const char *const bodies[] = {STREAM_A "1}",
                                         "{\"stream\":true,\"seed\":1,\"prompt\":\"a\"}"};
    static const char *const parts[][3] = {
        {"\"delta\":{\"role\":\"assistant\",\"content\":\"to \"}",
         "\"delta\":{\"content\":\"a: \"}", "\"delta\":{\"content\":\"1-"},
        {"\"text\":\"to \"", "\"text\":\"a: \"", "\"text\":\"1-"}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct script s = {0};
        struct world *w = begin_script(&s, grow_slowly);
        char text[8192] = "";
        int fd = wire_begin(w->port, "POST", i ? COMPLETION : CHAT, "", bodies[i]);
        for (int k = 0; k < 2; k++) {
            wire_read_until(fd, text, sizeof(text), parts[i][k]);
            assert_null(strstr(text, parts[i][k + 1]));
            sem_post(&s.seen);
        }
        read_rest(fd, text, sizeof(text));
        check_holds(text, parts[i][2]);
        check_holds(text, "data: [DONE]\n\n\r\n0\r\n\r\n");
        end_script(w, &s);
    }
}

/* The first answer waits for the second; then they grow in turn. */
static bool grow_in_turn(struct fake_engine *f, struct ap_work *w)
{
    struct script *s = f->context;
    struct ap_work *first = s->first;
    s->first = w;
    if (!first)
        return true;
    give(first, "to");
    wire_await(&s->seen);
    give(w, "to a");
    wire_await(&s->seen);
    fake_end(f, first, strlen("to"));
    wire_await(&s->seen);
    fake_end(f, w, strlen("to a"));
    return true;
}

static void test_events_of_several_answers(void **state)
{
    static const char *const parts[] = {
        "\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"to\"}",
        "\"index\":1,\"delta\":{\"role\":\"assistant\",\"content\":\"to a\"}",
        "\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"",
        "\"index\":1,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\""};
    struct script s = {0};
    struct world *w = begin_script(&s, grow_in_turn);
    char text[8192] = "";
    (void)state;
    int fd = wire_begin(w->port, "POST", CHAT, "",
                        STREAM_A "2,\"stream_options\":{\"include_usage\":true}}");
    for (int k = 0; k < 3; k++) {
        wire_read_until(fd, text, sizeof(text), parts[k]);
        assert_null(strstr(text, parts[k + 1]));
        sem_post(&s.seen);
    }
    read_rest(fd, text, sizeof(text));
    check_holds(text, parts[3]);
    check_holds(text, "\"index\":0,\"delta\":{\"content\":\" a: 1-");
    check_holds(text, "\"index\":1,\"delta\":{\"content\":\": 1-");
    char *usage =
        strstr(text, "\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":6");
    assert_true(usage && usage > strstr(text, parts[3]));
    end_script(w, &s);
}

static bool grow_and_fail(struct fake_engine *f, struct ap_work *w)
{
    struct script *s = f->context;
    give(w, "to ");
    wire_await(&s->seen);
    w->end = s->end;
    snprintf(w->why, sizeof(w->why), "it \"broke\"");
    fake_end(f, w, 0);
    return true;
}

/* What has gone out is an answer: the error comes in it, and the client sees that it is cut. */
static void test_events_that_fail_midway(void **state)
{
    static const struct {
        ap_work_end end;
        const char *part;
    } ends[] = {{AP_WORK_FAILED, "data: {\"error\": {\"message\": \"it \\\"broke\\\"\""},
                {AP_WORK_LATE, "\"code\": \"over_time\"}}\n\n"},
                {AP_WORK_DROPPED, "\"code\": \"closing\"}}\n\n"}};
    (void)state;
    for (size_t i = 0; i < AP_LEN(ends); i++) {
        struct script s = {.end = ends[i].end};
        struct world *w = begin_script(&s, grow_and_fail);
        char text[8192] = "";
        int fd = wire_begin(w->port, "POST", CHAT, "", STREAM_A "1}");
        wire_read_until(fd, text, sizeof(text), "\"content\":\"to \"");
        check_holds(text, "HTTP/1.1 200 OK");
        sem_post(&s.seen);
        read_rest(fd, text, sizeof(text));
        check_holds(text, ends[i].part);
        assert_null(strstr(text, "[DONE]"));
        assert_null(strstr(text, "\r\n0\r\n\r\n"));
        end_script(w, &s);
    }
}

static bool grow_until_cancelled(struct fake_engine *f, struct ap_work *w)
{
    struct script *s = f->context;
    give(w, "to ");
    for (int i = 0; i < WIRE_SECONDS * 1000 && fake_get(f, &f->n_cancelled) == 0; i++) {
        wire_pause(1);
        if (s->goes_on)
            give(w, "a ");
    }
    w->end = AP_WORK_DROPPED;
    fake_end(f, w, 0);
    return true;
}

/* While its connection sleeps, and while it is written to. */
static void test_events_whose_client_leaves(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct script s = {.goes_on = i};
        struct world *w = begin_script(&s, grow_until_cancelled);
        char text[8192] = "";
        int fd = wire_begin(w->port, "POST", CHAT, "", STREAM_A "1}");
        wire_read_until(fd, text, sizeof(text), "\"content\":\"to ");
        close(fd);
        wire_until(fake_get(&w->engine, &w->engine.n_cancelled) > 0);
        end_script(w, &s);
    }
}

enum { MANY = 2000 };

static bool grow_often(struct fake_engine *f, struct ap_work *w)
{
    struct script *s = f->context;
    struct ap_buffer all = {0};
    char piece[16];
    for (int i = 0; i < MANY; i++) {
        snprintf(piece, sizeof(piece), "%d,", i);
        ap_buffer_puts(&all, piece, NULL);
        give(w, piece);
    }
    w->text = all.data;
    w->text_ended = true;
    w->done(w);
    sem_post(&s->seen);
    return true;
}

/* The engine waits for no reader; nothing is lost of what came meanwhile. */
static void test_events_read_late(void **state)
{
    struct script s = {0};
    struct world *w = begin_script(&s, grow_often);
    static const char begins[] = "\"content\":\"";
    int n = 0;
    (void)state;
    int fd = wire_begin(w->port, "POST", CHAT, "", STREAM_A "1}");
    wire_await(&s.seen);
    struct wire_reply r = wire_read(fd);
    assert_true(r.whole);
    for (char *at = r.body; (at = strstr(at, begins)) != NULL;)
        for (at += strlen(begins); *at != '"'; at++, n++)
            assert_int_equal(strtol(at, &at, 10), n);
    assert_int_equal(n, MANY);
    wire_free(&r);
    end_script(w, &s);
}

/* As long as nothing has gone out it is a status. */
static void test_events_refused(void **state)
{
    static const char body[] = STREAM_A "3}";
    struct world *w = begin(AP_REWRITE_NONE);
    (void)state;
    fake_set(&w->engine, &w->engine.failing, true);
    check_reply(wire_post(w->port, CHAT, "", body), 400, "does not fit");
    fake_set(&w->engine, &w->engine.refusing, true);
    check_reply(wire_post(w->port, CHAT, "", body), 503, "queue_full");
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
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":[1,2]}"), 400,
                "token ids are not taken; give text");
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":[]}"), 400, "no prompt");
    assert_int_equal(w->engine.n_submitted, 0);
    fake_set(&w->engine, &w->engine.failing, true);
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":\"a\"}"), 400, "does not fit");
    fake_set(&w->engine, &w->engine.refusing, true);
    check_reply(wire_post(w->port, COMPLETION, "", "{\"prompt\":\"a\"}"), 503, "queue_full");
    world_end(w);
}

/* Ten answers where there are three places: a request is taken whole, or not at all. */
static void test_more_than_there_is_room_for(void **state)
{
    static const char body[] = "{\"prompt\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"n\":2,\"seed\":1}";
    struct world *w = begin(AP_REWRITE_NONE);
    (void)state;
    w->engine.room = 3;
    fake_set(&w->engine, &w->engine.holding, true);
    int fd = wire_begin(w->port, "POST", COMPLETION, "", body);
    wire_until(fake_get(&w->engine, &w->engine.n_submitted) == 10);
    check_reply(wire_post(w->port, COMPLETION, "", body), 503, "queue_full");
    check_reply(wire_post(w->port, CHAT, "", STREAM_A "3}"), 503, "queue_full");
    fake_set(&w->engine, &w->engine.holding, false);
    struct wire_reply r = wire_read(fd);
    check_holds(r.body, "\"index\":0,\"text\":\"to a: 1-");
    check_holds(r.body, "\"completion_tokens\":30,");
    check_reply(r, 200, "\"index\":9,\"text\":\"to e: 1-");
    assert_int_equal(w->engine.n_submitted, 10);
    fake_set(&w->engine, &w->engine.failing, true);
    check_reply(wire_post(w->port, COMPLETION, "", body), 400, "prompt[0]: it does not fit");
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
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_stream_header),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_completion),
        cmocka_unit_test(test_rewrites_a_chat),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_events_before_the_end),
        cmocka_unit_test(test_events_of_several_answers),
        cmocka_unit_test(test_events_that_fail_midway),
        cmocka_unit_test(test_events_whose_client_leaves),
        cmocka_unit_test(test_events_read_late),
        cmocka_unit_test(test_events_refused),
        cmocka_unit_test(test_more_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
