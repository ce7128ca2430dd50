/* Rewards behind a server: the numbers in replies of each shape, what is posted, what is asked
 * once. Through faults: test_target_faults.c. */
#include "align/reward_http.h"

#include "far_remote.h"

#include <limits.h>

/* ---- numbers ---- */

struct number {
    const char *shape, *body;
    double expected; /* NaN: there is none */
};

static const struct number numbers[] = {
    {"scalar", "3.5", 3.5},
    {"scalar", " -2\n", -2},
    {"scalar", "{\"score\": 0.25}", 0.25},
    {"scalar", "{\"reward\": -1e-3, \"model\": \"r\"}", -1e-3},
    {"scalar", "{\"score\": 1, \"reward\": 2}", 1},
    {"scalar", "1e308", 1e308},
    {"scalar", "{\"score\": \"1\"}", NAN},
    {"scalar", "{\"score\": null, \"reward\": 2}", NAN}, /* what it calls its score is none */
    {"scalar", "{\"scores\": [1]}", NAN},
    {"scalar", "{}", NAN},
    {"scalar", "[1]", NAN},
    {"scalar", "true", NAN},
    {"scalar", "\"1\"", NAN},
    {"scalar", "1e999", NAN},
    {"scalar", "NaN", NAN},
    {"scalar", "-Infinity", NAN},
    {"scalar", "1 2", NAN},
    {"scalar", "", NAN},
    {"scalar", "{\"score\": 1, \"score\": 2}", NAN},
    /* vLLM's ClassificationResponse */
    {"classify",
     "{\"id\":\"classify-1\",\"object\":\"list\",\"created\":1,\"model\":\"m\",\"data\":[{"
     "\"index\":"
     "0,\"label\":\"LABEL_0\",\"probs\":[0.75,0.25],\"num_classes\":2}],\"usage\":{"
     "\"prompt_tokens\":7,\"total_tokens\":7,\"completion_tokens\":0,\"prompt_tokens_details\":null"
     "}}",
     0.75},
    {"classify", "{\"data\":[{\"label\":null,\"probs\":[-3],\"num_classes\":1}]}", -3},
    {"classify", "{\"data\":[{\"probs\":[]}]}", NAN},
    {"classify", "{\"data\":[{\"probs\":[[1]]}]}", NAN},
    {"classify", "{\"data\":[{\"probs\":0.5}]}", NAN},
    {"classify", "{\"data\":[{\"label\":\"a\"}]}", NAN},
    {"classify", "{\"data\":[]}", NAN},
    {"classify", "{\"data\":{\"probs\":[1]}}", NAN},
    {"classify", "0.5", NAN},
    /* vLLM's PoolingResponse: a vector, or one for each token */
    {"pooling",
     "{\"id\":\"pool-1\",\"object\":\"list\",\"created\":1,\"model\":\"m\",\"data\":[{\"index\":0,"
     "\"object\":\"pooling\",\"data\":[1.5]}],\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}",
     1.5},
    {"pooling", "{\"data\":[{\"data\":[[0.5],[0.25],[-4]]}]}", -4},
    {"pooling", "{\"data\":[{\"data\":[0.5,2]}]}", 2},
    {"pooling", "{\"data\":[{\"data\":3}]}", 3},
    {"pooling", "{\"data\":[{\"data\":[]}]}", NAN},
    {"pooling", "{\"data\":[{\"data\":[[1],[]]}]}", NAN},
    {"pooling", "{\"data\":[{\"data\":\"AAAAAA==\"}]}", NAN},
    {"pooling", "{\"data\":[{}]}", NAN},
    {"pooling", "{\"data\":7}", NAN},
    {"pooling", "null", NAN}};

static void test_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < AP_LEN(numbers); i++) {
        const struct number *n = &numbers[i];
        double got = NAN;
        const char *why = ap_reward_http_read(n->body, strlen(n->body), n->shape, &got);
        if ((why != NULL) != isnan(n->expected) || (!why && got != n->expected))
            fail_msg("%s %s: %g, %s", n->shape, n->body, got, why ? why : "taken");
    }
}

/* ---- end to end ---- */

struct judge { /* the server: it scores by the length of the answer */
    struct local_server server;
    char path[64];
    json_t *body;       /* owned: the last */
    int n_bad;          /* so many replies hold no number first */
    const char *answer; /* instead of a number; NULL: a number */
};

static int reply_to(void *context, const struct local_request *r, struct ap_buffer *reply)
{
    struct judge *j = context;
    const json_t *messages = json_object_get(r->body, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *y = json_object_get(messages ? last : r->body, messages ? "content" : "response");
    int n = (int)json_string_length(y);
    snprintf(j->path, sizeof(j->path), "%s", r->path);
    json_decref(j->body);
    j->body = json_incref(r->body);
    if (j->n_bad-- > 0)
        ap_buffer_puts(reply, "{\"score\": null}", NULL);
    else if (strstr(r->path, "/classify"))
        ap_buffer_printf(reply, NULL,
                         "{\"data\":[{\"probs\":[%d]}],\"usage\":{\"prompt_tokens\":%d,"
                         "\"total_tokens\":%d}}",
                         n, n, n);
    else if (strstr(r->path, "/pooling"))
        ap_buffer_printf(reply, NULL, "{\"data\":[{\"data\":[[0],[%d.5]]}]}", n);
    else
        ap_buffer_printf(reply, NULL, "{\"reward\": %d}", n);
    return 200;
}

static const struct ap_message turns[] = {{.role = "system", .content = "Be \"kind\""},
                                          {.role = "user", .content = "Hi\n"}};
static const struct ap_scored items[] = {
    {.context = turns, .n_context = 2, .x = "a", .y = "bcd", .ended = true},
    {.x = "a", .y = "bcde"},
    {.context = turns, .n_context = 2, .x = "a", .y = "bcd", .ended = true}, /* the first again */
    {.x = "a", .y = ""},
    {.x = "a", .y = "bcde"}};
enum { N_ITEM = AP_LEN(items), N_DISTINCT = 3 };

static void test_shapes(void **state)
{
    static const struct {
        const char *shape, *path, *body;
        double half;
        int64_t n_prompt;
    } rows[] = {
        {"scalar", "/v1",
         "{\"context\":[{\"content\":\"Be "
         "\\\"kind\\\"\",\"role\":\"system\"},{\"content\":\"Hi\\n\""
         ",\"role\":\"user\"}],\"ended\":true,\"model\":\"r\",\"prompt\":\"a\",\"response\":"
         "\"bcd\"}",
         0, 0},
        {"classify", "/v1/classify",
         "{\"messages\":[{\"content\":\"Be \\\"kind\\\"\",\"role\":\"system\"},{\"content\":\"Hi\\n"
         "\",\"role\":\"user\"},{\"content\":\"a\",\"role\":\"user\"},{\"content\":\"bcd\","
         "\"role\":\"assistant\"}],\"model\":\"r\",\"use_activation\":false}",
         0, 3 + 4 + 0},
        {"pooling", "/v1/pooling", NULL, 0.5, 0}};
    struct judge j = {0};
    struct far_remote f;
    local_start(&j.server, reply_to, &j);
    for (size_t i = 0; i < AP_LEN(rows); i++) {
        struct ap_error err;
        struct ap_reward reward;
        struct ap_reward_settings s = {.shape = (char *)rows[i].shape, .model = (char *)"r"};
        double out[N_ITEM];
        far_remote_init(&f, &s.http, j.server.url);
        far_remote_open(&f, state, rows[i].shape, "/a");
        check_ok(ap_reward_http(&reward, f.remote, &s, &err), err);
        for (int k = 0; k < 3; k++) { /* one alone, then all, then all from the ledger */
            check_ok(ap_reward_score(&reward, items, k == 0 ? 1 : N_ITEM, out, &err), err);
            for (int m = 0; m < (k == 0 ? 1 : N_ITEM); m++)
                check_near(out[m], (double)strlen(items[m].y) + rows[i].half, 0, 0);
            assert_int_equal(local_count(&j.server),
                             (int)i * N_DISTINCT + (k == 0 ? 1 : N_DISTINCT));
            if (k == 0 && rows[i].body) {
                char *text = json_dumps(j.body, JSON_COMPACT | JSON_SORT_KEYS);
                assert_string_equal(text, rows[i].body);
                free(text);
            }
        }
        assert_string_equal(j.path, rows[i].path);
        struct ap_ledger_sums sums = far_remote_sums(&f, rows[i].shape);
        assert_true(sums.n_send == N_DISTINCT && sums.n_answer == N_DISTINCT);
        assert_int_equal(sums.n_prompt, rows[i].n_prompt);
        ap_reward_free(&reward);
        far_remote_close(&f);
    }
    local_stop(&j.server);
    json_decref(j.body);
}

/* reward.body goes into every request and into what its answers are known by. */
static void test_extra(void **state)
{
    static const char *const bodies[] = {"", "{\"use_activation\": true, \"task\": \"classify\"}",
                                         "{\"use_activation\": null}"};
    static const char *const sent[] = {"{\"model\":\"r\",\"use_activation\":false}",
                                       "{\"model\":\"r\",\"task\":\"classify\","
                                       "\"use_activation\":true}",
                                       "{\"model\":\"r\"}"};
    struct judge j = {0};
    struct far_remote f;
    struct ap_reward_settings s = {.shape = (char *)"classify", .model = (char *)"r"};
    local_start(&j.server, reply_to, &j);
    far_remote_init(&f, &s.http, j.server.url);
    far_remote_open(&f, state, "reward", "/a");
    for (size_t i = 0; i < AP_LEN(bodies); i++) {
        struct ap_error err;
        struct ap_reward reward;
        double out[1];
        s.http.body = (char *)(uintptr_t)bodies[i];
        check_ok(ap_reward_http(&reward, f.remote, &s, &err), err);
        check_ok(ap_reward_score(&reward, items, 1, out, &err), err);
        assert_int_equal(local_count(&j.server), (int)i + 1);
        json_object_del(j.body, "messages");
        char *text = json_dumps(j.body, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(text, sent[i]);
        free(text);
        ap_reward_free(&reward);
    }
    far_remote_close(&f);
    local_stop(&j.server);
    json_decref(j.body);
}

/* A reply without a number is asked for again, and the run stops when none comes. */
static void test_no_number(void **state)
{
    struct ap_error err;
    struct ap_reward reward;
    struct ap_reward_settings s = {.shape = (char *)"scalar", .model = (char *)""};
    struct judge j = {.n_bad = 2};
    struct far_remote f;
    double out[N_ITEM];
    local_start(&j.server, reply_to, &j);
    far_remote_init(&f, &s.http, j.server.url);
    far_remote_open(&f, state, "reward", "/a");
    check_ok(ap_reward_http(&reward, f.remote, &s, &err), err);
    check_ok(ap_reward_score(&reward, items, 1, out, &err), err);
    assert_int_equal(local_count(&j.server), 3);
    assert_null(json_object_get(j.body, "model"));
    assert_int_equal(far_remote_sums(&f, "reward").n_lost, 2);
    j.n_bad = INT_MAX;
    assert_int_equal(ap_reward_score(&reward, items, N_ITEM, out, &err), AP_IO);
    check_holds(err.text, "reward");
    check_holds(err.text,
                "the last: its reply holds no answer: it holds no number where its shape "
                "has one, expected a number, {\"score\": n} or {\"reward\": n}; it begins "
                "\"{\"score\": null}\"; look at what the server sends, and at reward.url");
    j.n_bad = 0; /* what came before is there, and the rest comes now */
    check_ok(ap_reward_score(&reward, items, N_ITEM, out, &err), err);
    check_near(out[4], 4, 0, 0);
    ap_reward_free(&reward);
    far_remote_close(&f);
    local_stop(&j.server);
    json_decref(j.body);
}

static void test_no_utf8(void **state)
{
    static const struct ap_scored bad[] = {{.x = "a", .y = "fine"}, {.x = "a", .y = "\xff"}};
    struct ap_error err;
    struct ap_reward reward;
    struct ap_reward_settings s = {.shape = (char *)"classify", .model = (char *)""};
    struct judge j = {0};
    struct far_remote f;
    double out[2];
    local_start(&j.server, reply_to, &j);
    far_remote_init(&f, &s.http, j.server.url);
    far_remote_open(&f, state, "reward", "/a");
    check_ok(ap_reward_http(&reward, f.remote, &s, &err), err);
    assert_int_equal(ap_reward_score(&reward, bad, 2, out, &err), AP_FORMAT);
    check_holds(err.text, "no UTF-8");
    assert_int_equal(local_count(&j.server), 0);
    ap_reward_free(&reward);
    far_remote_close(&f);
    local_stop(&j.server);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers), WITH_FOLDER(test_shapes),
                                       WITH_FOLDER(test_extra), WITH_FOLDER(test_no_number),
                                       WITH_FOLDER(test_no_utf8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
