/* A target over HTTP: what is sent for each sample, in what order answers come back, what the
 * ledger saves, how answers end, what refusals are worth. Through faults: test_target_faults.c. */
#include "align/reward.h"
#include "align/target_http.h"

#include "base/random.h"
#include "base/scratch.h"
#include "net/local_server.h"

#include <inttypes.h>

enum { N_LOGP = 6, N_SEEN = 64 };

struct seen { /* of a request, as the server saw it */
    char stream[96], key[128], path[64];
    json_int_t seed, n;
    json_t *body; /* owned */
};

struct far { /* a server, what it saw, and a target before it */
    struct local_server server;
    struct seen seen[N_SEEN];
    const char *finish, *refuse; /* refuse: a prompt that is refused by status 400 */
    struct ap_target_settings settings;
    struct ap_ledger *ledger;
    struct ap_remote *remote;
    struct ap_target target;
    bool gives_one;    /* whatever n asks for */
    const char *reply; /* in place of an answer; NULL: none */
    struct ap_sink sink;
    char warned[512]; /* the last warning */
    int n_warning;
};

static void copy_header(const char *head, const char *name, char *out, size_t n_out)
{
    const char *at = strcasestr(head, name);
    out[0] = '\0';
    if (at)
        snprintf(out, n_out, "%.*s", (int)strcspn(at + strlen(name), "\r\n"), at + strlen(name));
}

static const char *prompt_of(const json_t *body)
{
    const json_t *messages = json_object_get(body, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    return json_string_value(
        json_object_get(messages ? last : body, messages ? "content" : "prompt"));
}

/* Answer k says prompt, seed and k; the last is written first. */
static int answer(void *context, const struct local_request *r, struct ap_buffer *reply)
{
    struct far *f = context;
    struct seen *s = &f->seen[r->turn % N_SEEN];
    const char *prompt = prompt_of(r->body);
    bool chat = json_object_get(r->body, "messages") != NULL;
    json_decref(s->body);
    *s = (struct seen){.seed = json_integer_value(json_object_get(r->body, "seed")),
                       .n = json_integer_value(json_object_get(r->body, "n")),
                       .body = json_incref(r->body)};
    copy_header(r->head, "\nx-alignpro-stream: ", s->stream, sizeof(s->stream));
    copy_header(r->head, "\nIdempotency-Key: ", s->key, sizeof(s->key));
    snprintf(s->path, sizeof(s->path), "%s", r->path);
    if (f->refuse && strcmp(prompt, f->refuse) == 0) {
        ap_buffer_puts(reply, "{\"error\":{\"code\":\"content_filter\",\"message\":\"No.\"}}",
                       NULL);
        return 400;
    }
    if (f->reply) {
        ap_buffer_puts(reply, f->reply, NULL);
        return 200;
    }
    int n = s->n && !f->gives_one ? (int)s->n : 1;
    json_t *choices = json_array();
    for (int k = n - 1; k >= 0; k--) {
        json_t *text = json_sprintf(" %s %lld %d\n", prompt, (long long)s->seed, k);
        json_array_append_new(choices, chat
                                           ? json_pack("{s:i, s:{s:o}, s:s}", "index", k, "message",
                                                       "content", text, "finish_reason", f->finish)
                                           : json_pack("{s:i, s:o, s:s}", "index", k, "text", text,
                                                       "finish_reason", f->finish));
    }
    json_t *root = json_pack("{s:o, s:{s:i, s:i}}", "choices", choices, "usage", "prompt_tokens", 5,
                             "completion_tokens", 7 * n);
    char *text = json_dumps(root, JSON_COMPACT);
    ap_buffer_puts(reply, text, NULL);
    free(text);
    json_decref(root);
    return 200;
}

static struct ap_target_settings settings_of(void)
{
    struct ap_target_settings s = {.kind = (char *)"http",
                                   .model = (char *)"m",
                                   .timeout = 20,
                                   .api = (char *)"chat",
                                   .name = (char *)"t",
                                   .together = 1,

                                   .refusal = (char *)"scored",
                                   .max_new_tokens = 16,
                                   .temperature = 1,
                                   .top_p = 1};
    s.http.key_env = s.http.key_file = (char *)"";
    s.http.concurrency = 4;
    return s;
}

static void keep_warning(void *context, const struct ap_event *event)
{
    struct far *f = context;
    if (event->kind != AP_EVENT_WARN)
        return;
    snprintf(f->warned, sizeof(f->warned), "%s", event->text);
    f->n_warning++;
}

static void far_start(struct far *f)
{
    *f = (struct far){.finish = "stop", .settings = settings_of()};
    f->sink = (struct ap_sink){.fn = keep_warning, .context = f};
    local_start(&f->server, answer, f);
}

static void far_open(struct far *f, void **state, const char *run)
{
    struct ap_error err;
    char *path = scratch_path(state, "ledger.db");
    f->settings.http.url[0] = f->server.url;
    f->settings.http.n_url = 1;
    check_ok(ap_ledger_open(&f->ledger, path, run, &err), err);
    const struct ap_remote_options options = {.who = "target",
                                              .http = &f->settings.http,
                                              .timeout = f->settings.timeout,
                                              .ledger = f->ledger,
                                              .sink = &f->sink};
    check_ok(ap_remote_open(&f->remote, &options, &err), err);
    check_ok(ap_target_http(&f->target, f->remote, &f->settings, &err), err);
    ap_free(path);
}

static void far_close(struct far *f)
{
    ap_target_free(&f->target);
    ap_remote_close(f->remote);
    ap_ledger_close(f->ledger);
}

static void far_stop(struct far *f)
{
    local_stop(&f->server);
    for (int i = 0; i < N_SEEN; i++)
        json_decref(f->seen[i].body);
}

/* The first n of these are asked. */
static const struct ap_target_request requests[] = {
    {.prompt = "a",
     .stream = {.seed = 0x1234567890abcdef, .stage = 2, .step = 3, .record = 9, .sample = 4}},
    {.prompt = "b", .stream = {.seed = 5, .stage = 0xdeadbeef, .step = 3, .record = 1ull << 40}},
    {.prompt = "a", .stream = {.seed = 5, .stage = 2, .step = 3, .record = 11}}};

static struct ap_stream stream_of(int request, int sample)
{
    struct ap_stream s = requests[request].stream;
    s.sample += (uint32_t)sample;
    return s;
}

static json_int_t seed_of(int request, int sample)
{
    struct ap_stream s = stream_of(request, sample);
    return (json_int_t)ap_stream_seed(&s);
}

/* Answers to the first n; that of sample k is choice k − first of the request for `first`, which
 * firsts[k] says. */
static void ask(struct far *f, int n, int n_samples, const int *firsts)
{
    struct ap_error err;
    struct ap_answer *out = ap_calloc((size_t)(n * n_samples), sizeof(*out));
    check_ok(f->target.answer(f->target.self, requests, n, n_samples, out, &err), err);
    for (int i = 0; i < n * n_samples; i++) {
        char expected[128];
        int k = i % n_samples;
        snprintf(expected, sizeof(expected), "%s %lld %d", requests[i / n_samples].prompt,
                 (long long)seed_of(i / n_samples, firsts[k]), k - firsts[k]);
        assert_string_equal(out[i].text, expected);
        assert_int_equal(out[i].n_token, 7);
        assert_true(out[i].ended && !out[i].scored && !out[i].ids);
    }
    ap_answers_free(out, (size_t)(n * n_samples));
    ap_free(out);
}

static const struct seen *seen_with(const struct far *f, int n, json_int_t seed)
{
    for (int i = 0; i < n; i++)
        if (f->seen[i].seed == seed)
            return &f->seen[i];
    fail_msg("nobody asked with seed %lld", (long long)seed);
    abort();
}

/* One request a sample: seed and header are its stream's, the rest is the same for all. */
static void test_what_is_sent(void **state)
{
    static const int firsts[] = {0, 1, 2};
    struct far f;
    far_start(&f);
    far_open(&f, state, "/a");
    ask(&f, 3, 3, firsts);
    assert_int_equal(local_count(&f.server), 9);
    for (int i = 0; i < 9; i++) {
        char stream[96];
        struct ap_stream s = stream_of(i / 3, i % 3);
        const struct seen *seen = seen_with(&f, 9, seed_of(i / 3, i % 3));
        snprintf(stream, sizeof(stream), "%" PRIx64 "-%x-%x-%" PRIx64 "-%x", s.seed, s.stage,
                 s.step, s.record, s.sample);
        assert_string_equal(seen->stream, stream);
        assert_string_equal(seen->path, "/v1/chat/completions");
        assert_int_equal(strlen(seen->key), AP_LEDGER_KEY - 1);
        assert_true(seen->seed >= 0 && !json_object_get(seen->body, "n"));
        for (int k = 0; k < 9; k++)
            assert_true(seen == &f.seen[k] || strcmp(seen->key, f.seen[k].key) != 0);
    }
    far_close(&f);
    far_stop(&f);
}

/* The same call again, and in another run, buys nothing and says the same. */
static void test_nothing_twice(void **state)
{
    static const int firsts[] = {0, 1, 2};
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct far f;
    far_start(&f);
    far_open(&f, state, "/a");
    ask(&f, 2, 2, firsts);
    assert_int_equal(local_count(&f.server), 4);
    ask(&f, 2, 2, firsts);
    far_close(&f);
    far_open(&f, state, "/b");
    ask(&f, 2, 2, firsts);
    assert_int_equal(local_count(&f.server), 4);
    ask(&f, 3, 3, firsts); /* of each a third, and three of another record */
    assert_int_equal(local_count(&f.server), 9);
    check_ok(ap_ledger_sum(f.ledger, "target", &sums, &err), err);
    assert_true(sums.n_send == 5 && sums.n_answer == 5 && sums.n_prompt == 25 &&
                sums.n_token == 35);
    far_close(&f);
    far_stop(&f);
}

/* Several in one request: as many as are missing side by side, at most `together`. */
static void test_together(void **state)
{
    static const int one[] = {0}, several[] = {0, 1, 1, 1, 4};
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct far f;
    far_start(&f);
    f.settings.together = 3;
    far_open(&f, state, "/a");
    ask(&f, 1, 1, one);
    ask(&f, 1, 5, several); /* the first is there */
    assert_int_equal(local_count(&f.server), 3);
    assert_int_equal(seen_with(&f, 3, seed_of(0, 1))->n, 3);
    assert_int_equal(seen_with(&f, 3, seed_of(0, 4))->n, 0);
    ask(&f, 1, 5, several);
    assert_int_equal(local_count(&f.server), 3);
    check_ok(ap_ledger_sum(f.ledger, "target", &sums, &err), err);
    assert_true(sums.n_key == 5 && sums.n_answer == 5 && sums.n_unknown == 0);
    assert_true(sums.n_prompt == 15 && sums.n_token == 35); /* a prompt is paid once a request */
    far_close(&f);
    far_stop(&f);
}

/* A server that does not know n: what it gave is kept, the rest is asked for one by one. */
static void test_together_ignored(void **state)
{
    static const int each[] = {0, 1, 2, 3};
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct far f;
    far_start(&f);
    f.settings.together = 4;
    f.gives_one = true;
    far_open(&f, state, "/a");
    ask(&f, 1, 4, each);
    assert_int_equal(local_count(&f.server), 1 + 3);
    ask(&f, 2, 4, (const int[]){0, 1, 2, 3, 0, 1, 2, 3}); /* the first four are there */
    assert_int_equal(local_count(&f.server), 1 + 3 + 4);
    check_ok(ap_ledger_sum(f.ledger, "target", &sums, &err), err);
    assert_true(sums.n_key == 8 && sums.n_answer == 8 && sums.n_lost == 0 && sums.n_unknown == 0);
    assert_true(sums.n_send == 11 && sums.n_refused == 3);
    far_close(&f);
    far_stop(&f);
}

/* A server without log-probabilities is not asked again and again for them. */
static void test_no_logprobs(void **state)
{
    struct ap_error err;
    struct ap_ledger_sums sums;
    struct far f;
    double out[N_LOGP];
    struct ap_target_request asked[N_LOGP];
    struct ap_answer answers[N_LOGP] = {0};
    far_start(&f);
    f.settings.logprobs = true;
    f.settings.http.retries = 8;
    far_open(&f, state, "/a");
    for (int i = 0; i < N_LOGP; i++) {
        asked[i] = requests[0];
        answers[i] = (struct ap_answer){.text = (char *)(i % 2 ? "b" : "c"), .ended = true};
    }
    assert_non_null(f.target.logp);
    assert_int_equal(f.target.logp(f.target.self, asked, answers, N_LOGP, out, &err),
                     AP_UNSUPPORTED);
    assert_non_null(strstr(err.text, "set target.logprobs: false"));
    assert_true(local_count(&f.server) <= f.settings.http.concurrency);
    check_ok(ap_ledger_sum(f.ledger, "target", &sums, &err), err);
    assert_true(sums.n_answer == 0 && sums.n_lost == sums.n_send && sums.n_unknown == 0);
    far_close(&f);
    far_stop(&f);
}

/* A gap between what is there is one request; fewer answers have another idempotency key. */
static void test_together_with_gaps(void **state)
{
    static const int firsts[] = {0, 0, 2, 2};
    struct ap_target_request third = {.prompt = "a"};
    struct ap_error err;
    struct ap_answer out;
    struct far f;
    char whole[128];
    far_start(&f);
    f.settings.together = 2;
    far_open(&f, state, "/a");
    third.stream = stream_of(0, 2);
    check_ok(f.target.answer(f.target.self, &third, 1, 1, &out, &err), err);
    ap_answers_free(&out, 1);
    ask(&f, 1, 4, (const int[]){0, 0, 2, 3});
    assert_int_equal(local_count(&f.server), 3);
    snprintf(whole, sizeof(whole), "%s", seen_with(&f, 3, seed_of(0, 2))->key);
    far_close(&f);
    f.settings.name = (char *)"another"; /* so that nothing is there */
    far_open(&f, state, "/a");
    ask(&f, 1, 4, firsts);
    assert_int_equal(local_count(&f.server), 5);
    far_close(&f);
    f.settings.name = (char *)"t";
    char *path = scratch_path(state, "ledger.db");
    assert_int_equal(unlink(path), 0);
    ap_free(path);
    far_open(&f, state, "/a");
    ask(&f, 1, 4, firsts);
    const struct seen *pair = &f.seen[f.seen[5].seed == seed_of(0, 2) ? 5 : 6];
    assert_int_equal(pair->n, 2);
    assert_string_not_equal(pair->key, whole);
    assert_memory_equal(pair->key, whole, AP_LEDGER_KEY - 1);
    far_close(&f);
    far_stop(&f);
}

static void test_endings(void **state)
{
    static const struct {
        const char *finish;
        bool ended;
    } rows[] = {{"stop", true}, {"length", false}, {"", true}, {"tool_calls", true}};
    struct far f;
    far_start(&f);
    for (size_t i = 0; i < AP_LEN(rows); i++)
        for (int again = 0; again < 2; again++) {
            struct ap_error err;
            struct ap_answer out;
            f.finish = rows[i].finish;
            f.settings.name = (char *)rows[i].finish;
            far_open(&f, state, "/a");
            check_ok(f.target.answer(f.target.self, requests, 1, 1, &out, &err), err);
            assert_int_equal(out.ended, rows[i].ended);
            ap_answers_free(&out, 1);
            far_close(&f);
        }
    assert_int_equal(local_count(&f.server), AP_LEN(rows));
    far_stop(&f);
}

/* A number is what a refusal is worth whatever the reward says; "scored": as any answer. */
static void test_refusals(void **state)
{
    struct ap_error err;
    struct ap_reward reward;
    struct far f;
    far_start(&f);
    f.refuse = "b";
    check_ok(ap_reward_rule(&reward, "regex", "No", 0, &err), err);
    for (int k = 0; k < 4; k++) { /* the second time from the ledger */
        struct ap_answer out[2];
        struct ap_scored items[2];
        double scores[2];
        bool worth = k % 2;
        f.settings.refusal = (char *)(worth ? "-2.5" : "scored");
        f.settings.together = 1;
        far_open(&f, state, "/a");
        check_ok(f.target.answer(f.target.self, requests, 2, 1, out, &err), err);
        assert_string_equal(out[1].text, "No.");
        assert_true(out[1].ended && out[1].scored == worth && !out[0].scored);
        for (int i = 0; i < 2; i++)
            items[i] = ap_scored_answer(NULL, 0, requests[i].prompt, &out[i]);
        check_ok(ap_reward_score(&reward, items, 2, scores, &err), err);
        assert_true(scores[0] == 0 && scores[1] == (worth ? -2.5 : 1));
        ap_answers_free(out, 2);
        struct ap_buffer told = {0};
        check_ok(ap_remote_tell(f.ledger, "target", &told, &err), err);
        assert_non_null(
            strstr(told.data, "2 answers bought so far, 1 of them refusals by a content"));
        ap_buffer_free(&told);
        far_close(&f);
        assert_int_equal(local_count(&f.server), 2);
    }
    ap_reward_free(&reward);
    far_stop(&f);
}

/* The i-th call of n_samples answers to one prompt. */
static void ask_more(struct far *f, int i, int n_samples)
{
    struct ap_error err;
    struct ap_answer out[16];
    struct ap_target_request request = {.prompt = "a", .stream = {.record = (uint64_t)i}};
    check_ok(f->target.answer(f->target.self, &request, 1, n_samples, out, &err), err);
    ap_answers_free(out, (size_t)n_samples);
}

#define REPLY(message, finish)                                                                     \
    "{\"choices\":[{\"message\":{" message "},\"finish_reason\":\"" finish "\"}]}"

/* No tokens are a number, too. */
static void test_tokens_of_answers(void **state)
{
    static const struct {
        const char *reply;
        int n_token;
    } rows[] = {{REPLY("\"content\":\"\"", "stop"), -1},
                {"{\"choices\":[{\"message\":{\"content\":\"\"},\"finish_reason\":\"stop\"}],"
                 "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0}}",
                 0}};
    struct far f;
    far_start(&f);
    far_open(&f, state, "/a");
    for (size_t i = 0; i < AP_LEN(rows); i++)
        for (int again = 0; again < 2; again++) {
            struct ap_error err;
            struct ap_answer out;
            struct ap_target_request request = {.prompt = "a", .stream = {.record = i}};
            f.reply = rows[i].reply;
            check_ok(f.target.answer(f.target.self, &request, 1, 1, &out, &err), err);
            assert_int_equal(out.n_token, rows[i].n_token);
            ap_answers_free(&out, 1);
        }
    far_close(&f);
    far_stop(&f);
}

/* Answers that say nothing are told of once a run, and why, from the eighth on; one that says
 * something among them makes them any answers. */
static void test_empty_answers(void **state)
{
    static const struct {
        const char *reply, *words;
    } rows[] = {
        {REPLY("\"content\":null,\"reasoning_content\":\"Hm\"", "length"), "(reasoning_content)"},
        {REPLY("\"content\":\"\",\"reasoning\":\"Hm\"", "stop"), "target.max_new_tokens"},
        {REPLY("\"content\":null", "length"), "(finish_reason length)"},
        {REPLY("\"content\":null,\"tool_calls\":[{}]", "tool_calls"), "(tool_calls)"},
        {REPLY("\"content\":\" \\n\",\"reasoning_content\":\"\"", "stop"), "does not say why"},
        {REPLY("\"content\":\"\"", "content_filter"), "refusals by a content filter"},
        {REPLY("\"content\":null,\"refusal\":\"No\"", "stop"), "target.refusal (scored)"}};
    (void)state;
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct far f;
        far_start(&f);
        f.reply = rows[i].reply;
        f.settings.name = (char *)rows[i].words;
        far_open(&f, state, "/a");
        ask_more(&f, 0, 7);
        assert_int_equal(f.n_warning, 0);
        ask_more(&f, 1, 1);
        ask_more(&f, 2, 8);
        assert_int_equal(f.n_warning, 1);
        check_holds(f.warned, "all of 8 answers are ");
        check_holds(f.warned, rows[i].words);
        far_close(&f);
        far_stop(&f);
    }
}

static void test_some_empty_answers(void **state)
{
    struct far f;
    far_start(&f);
    far_open(&f, state, "/a");
    for (int i = 0; i < 6; i++) {
        f.reply = i % 2 ? NULL : REPLY("\"content\":null", "length");
        ask_more(&f, i, 7);
    }
    assert_int_equal(f.n_warning, 0);
    far_close(&f);
    far_stop(&f);
}

/* target.body goes into every request and into the key; a seed that it takes out is not sent. */
static void test_body(void **state)
{
    static const int firsts[] = {0};
    struct ap_error err;
    struct ap_answer out;
    struct far f;
    far_start(&f);
    far_open(&f, state, "/a");
    ask(&f, 1, 1, firsts);
    far_close(&f);
    f.settings.http.body = (char *)"{\"seed\": null, \"max_tokens\": null, \"user\": \"ä\"}";
    f.settings.stop[0] = (char *)"###";
    f.settings.n_stop = 1;
    far_open(&f, state, "/a");
    for (int k = 0; k < 2; k++) {
        check_ok(f.target.answer(f.target.self, requests, 1, 1, &out, &err), err);
        ap_answers_free(&out, 1);
    }
    assert_int_equal(local_count(&f.server), 2);
    char *text = json_dumps(f.seen[1].body, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text,
                        "{\"messages\":[{\"content\":\"a\",\"role\":\"user\"}],\"model\":\"m\","
                        "\"stop\":[\"###\"],\"temperature\":1.0,\"top_p\":1.0,\"user\":\"ä\"}");
    free(text);
    far_close(&f);
    f.settings.api = (char *)"completions";
    f.settings.http.body = (char *)"";
    far_open(&f, state, "/a");
    ask(&f, 1, 1, firsts);
    assert_string_equal(f.seen[2].path, "/v1/completions");
    far_close(&f);
    f.settings.http.body =
        (char *)"{\"max_completion_tokens\": 1000}"; /* more than max_new_tokens */
    f.settings.http.budget.tokens = 1000;
    far_open(&f, state, "/c");
    assert_int_equal(f.target.answer(f.target.self, requests, 1, 1, &out, &err), AP_LIMIT);
    assert_int_equal(local_count(&f.server), 3);
    far_close(&f);
    f.settings.http.body = (char *)"{";
    assert_int_equal(ap_target_http(&f.target, NULL, &f.settings, &err), AP_FORMAT);
    check_holds(err.text, "target.body");
    far_stop(&f);
}

/* A prompt that is no UTF-8 is found before anything is sent. */
static void test_no_utf8(void **state)
{
    struct ap_target_request two[] = {{.prompt = "fine"}, {.prompt = "\xff"}};
    struct ap_error err;
    struct ap_answer out[2];
    struct far f;
    far_start(&f);
    far_open(&f, state, "/a");
    assert_int_equal(f.target.answer(f.target.self, two, 2, 1, out, &err), AP_FORMAT);
    check_holds(err.text, "no UTF-8");
    assert_true(!out[0].text && !out[1].text);
    assert_int_equal(local_count(&f.server), 0);
    far_close(&f);
    far_stop(&f);
}

#define KEY "sk-ab/cd+ef0123"

/* The key as JSON may spell it, so that it is not in the bytes that came. */
static int tell_key(void *context, const struct local_request *r, struct ap_buffer *reply)
{
    (void)context;
    ap_buffer_puts(reply,
                   r->turn == 0
                       ? "{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":"
                         "{\"content\":\"it is sk-ab\\/cd+ef0123.\"}}]}"
                       : "{\"error\":{\"message\":\"no key: s\\u006b-ab\\/cd\\u002bef0123.\"}}",
                   NULL);
    return r->turn == 0 ? 200 : 400;
}

static void test_key_is_hidden(void **state)
{
    struct ap_target_request one = {.prompt = "which?"}, another = {.prompt = "and now?"};
    struct ap_error err;
    struct ap_answer out[1];
    struct far f;
    setenv("ALIGNPRO_TEST_TOLD_KEY", KEY, 1);
    far_start(&f);
    f.server.fn = tell_key;
    f.settings.http.key_env = (char *)"ALIGNPRO_TEST_TOLD_KEY";
    far_open(&f, state, "/a");
    for (int k = 0; k < 2; k++) { /* from the server, from the ledger */
        check_ok(f.target.answer(f.target.self, &one, 1, 1, out, &err), err);
        assert_string_equal(out[0].text, "it is ***************.");
        ap_answers_free(out, 1);
    }
    assert_int_equal(f.target.answer(f.target.self, &another, 1, 1, out, &err), AP_INVALID);
    check_holds(err.text, "no key: ***************.");
    assert_null(strstr(err.text, "ef0123"));
    far_close(&f);
    far_stop(&f);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {WITH_FOLDER(test_what_is_sent),
                                       WITH_FOLDER(test_nothing_twice),
                                       WITH_FOLDER(test_together),
                                       WITH_FOLDER(test_together_ignored),
                                       WITH_FOLDER(test_no_logprobs),
                                       WITH_FOLDER(test_together_with_gaps),
                                       WITH_FOLDER(test_endings),
                                       WITH_FOLDER(test_refusals),
                                       WITH_FOLDER(test_tokens_of_answers),
                                       WITH_FOLDER(test_empty_answers),
                                       WITH_FOLDER(test_some_empty_answers),
                                       WITH_FOLDER(test_body),
                                       WITH_FOLDER(test_no_utf8),
                                       WITH_FOLDER(test_key_is_hidden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
