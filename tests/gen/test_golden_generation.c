/* Greedy continuations of the reference models, token by token, and of stories260K, character by
 * character. Needs the reference folders; visibly skipped without them. */
#include "check.h"

#include "alignpro/model.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "gen/tiny.h"

#include <dirent.h>
#include <stdlib.h>

static const struct ap_sampling greedy = {0, 0, 1, 0, 0};

static int read_ids(const json_t *array, int32_t *ids, int room)
{
    int n = (int)json_array_size(array);
    assert_in_range(n, 1, room);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, (size_t)i));
    return n;
}

/* The positions that a case's continuations take: longrope's factors go by them. */
static int context_of(const json_t *cases)
{
    size_t most = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        size_t n = json_array_size(json_object_get(c, "prompt")) +
                   json_array_size(json_object_get(c, "new"));
        most = n > most ? n : most;
    }
    return (int)most;
}

static void check_model(const char *dir)
{
    struct ap_error err;
    json_t *expected;
    struct ap_weights *w;
    struct ap_generator *g;
    char *file = ap_path_join(dir, "expected.json");
    printf("  case %s\n", dir);
    check_ok(ap_json_load(file, 1 << 24, &expected, &err), err);
    ap_free(file);
    const json_t *cases = json_object_get(expected, "greedy");
    int context = context_of(cases);
    check_ok(ap_weights_load(&w, dir, context, AP_F32, &err), err);
    struct ap_generator_options options = {.n_slot = 2, .context = context}; /* no end tokens */
    check_ok(ap_generator_open(&g, &w->config, &options, &err), err);

    int n_case = (int)json_array_size(cases);
    assert_in_range(n_case, 1, 8);
    struct tiny_result *r = tiny_result_new(n_case, 1, 64);
    struct ap_gen_request requests[8] = {0};
    int32_t prompt[8][256], want[64];
    for (int i = 0; i < n_case; i++) {
        const json_t *c = json_array_get(cases, (size_t)i);
        requests[i].prompt = prompt[i];
        requests[i].n_prompt = read_ids(json_object_get(c, "prompt"), prompt[i], 256);
        requests[i].max_new_tokens = read_ids(json_object_get(c, "new"), want, 64);
        requests[i].n_samples = 1;
    }
    struct ap_role role = {w, NULL};
    check_ok(ap_generate(g, &role, &greedy, requests, n_case, tiny_take, r, &err), err);
    for (int i = 0; i < n_case; i++) {
        int n = read_ids(json_object_get(json_array_get(cases, (size_t)i), "new"), want, 64);
        assert_int_equal(r->cells[i].n, n);
        assert_memory_equal(r->cells[i].ids, want, (size_t)n * sizeof(*want));
    }
    tiny_result_free(r);
    ap_generator_close(g);
    ap_weights_free(w);
    json_decref(expected);
}

/* Every case of a folder; returns how many there were. */
static int check_models(const char *root)
{
    struct dirent **names = NULL;
    int n = 0, n_names = scandir(root, &names, NULL, alphasort);
    for (int i = 0; i < n_names; i++) {
        char *dir = ap_path_join(root, names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            check_model(dir);
            n++;
        }
        ap_free(dir);
        free(names[i]);
    }
    free(names);
    return n;
}

static void test_committed_cases(void **state)
{
    (void)state;
    assert_true(check_models(AP_SOURCE_DIR "/tests/golden/models") >= 5);
}

/* transformers' own greedy generate under a penalty of repetition: ids of the prompt and of the
 * answer count. */
static void test_repetition_penalty(void **state)
{
    (void)state;
    struct ap_error err;
    json_t *root, *c;
    size_t k;
    check_ok(ap_json_load(AP_SOURCE_DIR "/tests/golden/sampling.json", 1 << 20, &root, &err), err);
    json_array_foreach(json_object_get(root, "greedy"), k, c)
    {
        struct ap_weights *w;
        struct ap_generator *g;
        struct ap_generator_options options = {.n_slot = 3, .context = 64};
        struct ap_sampling sampling = greedy;
        int32_t prompt[32], want[64];
        char dir[600];
        snprintf(dir, sizeof(dir), "%s/tests/golden/models/%s", AP_SOURCE_DIR,
                 json_string_value(json_object_get(c, "model")));
        sampling.repetition_penalty = json_number_value(json_object_get(c, "repetition_penalty"));
        check_ok(ap_weights_load(&w, dir, 0, AP_F32, &err), err);
        check_ok(ap_generator_open(&g, &w->config, &options, &err), err);
        struct tiny_result *r = tiny_result_new(1, 2, 64);
        struct ap_gen_request request = {.prompt = prompt, .n_samples = 2};
        request.n_prompt = read_ids(json_object_get(c, "prompt"), prompt, 32);
        request.max_new_tokens = read_ids(json_object_get(c, "new"), want, 64);
        struct ap_role role = {w, NULL};
        check_ok(ap_generate(g, &role, &sampling, &request, 1, tiny_take, r, &err), err);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(r->cells[i].n, request.max_new_tokens);
            assert_memory_equal(r->cells[i].ids, want, (size_t)r->cells[i].n * sizeof(*want));
        }
        tiny_result_free(r);
        ap_generator_close(g);
        ap_weights_free(w);
    }
    assert_true(k >= 3);
    json_decref(root);
}

static void test_reference_cases(void **state)
{
    const char *root = check_golden("models");
    (void)state;
    if (!root)
        skip();
    assert_true(check_models(root) >= 12);
}

static void test_stories_greedy_text(void **state)
{
    (void)state;
    struct ap_error err;
    json_t *golden;
    struct ap_engine *e;
    struct ap_generation g;
    int32_t want[512];
    const char *file = check_data("models/stories260K-hf/golden_greedy.json");
    if (!file)
        skip();
    check_ok(ap_json_load(file, 1 << 24, &golden, &err), err);
    struct ap_engine_options options = {.model = check_data("models/stories260K-hf"), .threads = 1};
    check_ok(ap_engine_open(&e, &options, &err), err);
    int n = read_ids(json_object_get(golden, "input_ids"), want, 512);
    struct ap_generation_options choice = {.max_new_tokens = n - 1};
    check_ok(ap_engine_generate(e, want, 1, &choice, &g, &err), err); /* from the BOS */
    assert_int_equal(g.n, n - 1);
    assert_memory_equal(g.ids, want + 1, g.n * sizeof(*g.ids));
    assert_string_equal(g.text, json_string_value(json_object_get(golden, "text")));
    ap_generation_free(&g);
    ap_engine_close(e);
    json_decref(golden);
}

/* Sampled stories: what decoding says of its tokens is what the training forward says. */
static void test_stories_log_probabilities(void **state)
{
    (void)state;
    enum { N = 40, NEW = 120 };
    struct ap_error err;
    struct ap_weights *w;
    struct ap_generator *g;
    const char *dir = check_data("models/stories260K-hf");
    if (!dir)
        skip();
    check_ok(ap_weights_load(&w, dir, 0, AP_F32, &err), err);
    struct ap_generator_options options = {
        .n_slot = 16, .context = 512, .end = w->config.eos, .n_end = w->config.n_eos};
    check_ok(ap_generator_open(&g, &w->config, &options, &err), err);
    struct tiny_result *r = tiny_result_new(1, N, NEW);
    int32_t bos = 1;
    float logp[NEW];
    struct ap_role role = {w, NULL};
    struct ap_gen_request request = {&bos, 1, N, NEW, {.seed = 1}};
    check_ok(ap_generate(g, &role, &(struct ap_sampling){1, 0, 1, 0, 0}, &request, 1, tiny_take, r,
                         &err),
             err);
    for (int i = 0; i < N; i++) {
        const struct tiny_cell *c = &r->cells[i];
        tiny_forward_logp(&role, &bos, 1, c->ids, c->n, 1, logp);
        for (int t = 0; t < c->n; t++)
            check_near(c->logp[t], logp[t], 1e-4, 0);
        assert_memory_equal(c->logp, logp, (size_t)c->n * sizeof(*logp));
    }
    tiny_result_free(r);
    ap_generator_close(g);
    ap_weights_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_committed_cases),
        cmocka_unit_test(test_repetition_penalty),
        cmocka_unit_test(test_reference_cases),
        cmocka_unit_test(test_stories_greedy_text),
        cmocka_unit_test(test_stories_log_probabilities),
    };
    ap_threads_set(1); /* small products: threads would only wait for each other */
    return cmocka_run_group_tests_name("golden_generation", tests, NULL, NULL);
}
