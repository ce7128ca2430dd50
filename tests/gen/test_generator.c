/* The continuous batcher on a tiny random model: what it computes, when slots are given away, and
 * what it refuses. That batching changes nothing: test_generator_exact.c. */
#include "check.h"

#include "gen/tiny.h"

static const struct ap_sampling greedy = {0, 0, 1, 0, 0}, plain = {1, 0, 1, 0, 0};

static int setup(void **state)
{
    *state = tiny_weights(5);
    return 0;
}

static int teardown(void **state)
{
    ap_weights_free(*state);
    return 0;
}

/* Greedy, step by step through the training forward. */
static void naive_greedy(const struct ap_role *role, const int32_t *prompt, int n_prompt, int n,
                         int32_t *out)
{
    int32_t candidate[1];
    for (int t = 0; t < n; t++) {
        int32_t so_far[64];
        float best = -INFINITY, logp;
        memcpy(so_far, prompt, (size_t)n_prompt * sizeof(*prompt));
        memcpy(so_far + n_prompt, out, (size_t)t * sizeof(*out));
        for (int v = 0; v < tiny_config.n_vocab; v++) {
            candidate[0] = v;
            tiny_forward_logp(role, so_far, n_prompt + t, candidate, 1, 1, &logp);
            if (logp > best) {
                best = logp;
                out[t] = v;
            }
        }
    }
}

static void test_greedy_is_the_likeliest_token(void **state)
{
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    struct ap_generator_options options = {.n_slot = 2, .context = 64};
    struct ap_generator *g = tiny_generator(&options);
    struct tiny_result *r = tiny_result_new(1, 1, 4);
    int32_t prompt[] = {1, 17, 290, 4}, want[4];
    struct ap_gen_request request = {prompt, 4, 1, 4, {0}};
    check_ok(ap_generate(g, &role, &greedy, &request, 1, tiny_take, r, &err), err);
    naive_greedy(&role, prompt, 4, 4, want);
    assert_int_equal(r->cells[0].n, 4);
    assert_int_equal(r->cells[0].stop, AP_STOP_LENGTH);
    assert_memory_equal(r->cells[0].ids, want, sizeof(want));
    tiny_result_free(r);
    ap_generator_close(g);
}

/* The end token is part of the ids, and the sample's last. */
static void test_end_token_ends(void **state)
{
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    struct tiny_result *whole = tiny_result_new(1, 1, 24), *cut = tiny_result_new(1, 1, 24);
    struct ap_generator *g =
        tiny_generator(&(struct ap_generator_options){.n_slot = 1, .context = 64});
    int32_t prompt[] = {9, 8};
    struct ap_gen_request request = {prompt, 2, 1, 24, {.seed = 3}};
    check_ok(ap_generate(g, &role, &plain, &request, 1, tiny_take, whole, &err), err);
    ap_generator_close(g);

    int32_t end[] = {299, whole->cells[0].ids[10]};
    int first = 0;
    while (whole->cells[0].ids[first] != end[0] && whole->cells[0].ids[first] != end[1])
        first++;
    struct ap_generator_options options = {.n_slot = 1, .context = 64, .end = end, .n_end = 2};
    g = tiny_generator(&options);
    check_ok(ap_generate(g, &role, &plain, &request, 1, tiny_take, cut, &err), err);
    assert_int_equal(cut->cells[0].n, first + 1);
    assert_int_equal(cut->cells[0].stop, AP_STOP_END);
    assert_memory_equal(cut->cells[0].ids, whole->cells[0].ids, (size_t)(first + 1) * 4);
    ap_generator_close(g);
    tiny_result_free(whole);
    tiny_result_free(cut);
}

/* One slot works through a long sample while the other takes five short ones: ten steps in all. */
static void test_a_finished_sequence_makes_room(void **state)
{
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    struct ap_generator *g =
        tiny_generator(&(struct ap_generator_options){.n_slot = 2, .context = 64});
    struct tiny_result *r = tiny_result_new(6, 1, 10);
    struct ap_gen_request requests[6];
    int32_t prompt[] = {4};
    int64_t n_decoded, n_prefilled;
    for (int i = 0; i < 6; i++)
        requests[i] =
            (struct ap_gen_request){prompt, 1, 1, i == 0 ? 10 : 2, {.record = (uint64_t)i}};
    check_ok(ap_generate(g, &role, &plain, requests, 6, tiny_take, r, &err), err);
    assert_int_equal(ap_generator_n_steps(g), 10);
    ap_generator_counts(g, &n_decoded, &n_prefilled);
    assert_int_equal(n_decoded, 20);
    assert_int_equal(n_prefilled, 0);
    assert_int_equal(r->n_order, 6);
    for (int i = 0; i < 5; i++)
        assert_int_equal(r->order[i], i < 4 ? i + 1 : r->order[4]);
    for (int i = 0; i < 6; i++)
        assert_int_equal(r->cells[i].n, i == 0 ? 10 : 2);
    tiny_result_free(r);
    ap_generator_close(g);
}

/* K samples of one prompt prefill it once and give what K requests give. */
static void test_shared_prefill(void **state)
{
    enum { K = 5, N = 30, NEW = 12 };
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    int32_t prompt[N];
    int n_prompt;
    tiny_prompt(prompt, &n_prompt, N, 1);
    for (int i = n_prompt; i < N; i++)
        prompt[i] = i;
    const int slots[] = {1, 2, 3, 8};
    for (size_t k = 0; k < AP_LEN(slots); k++) {
        struct ap_generator_options options = {.n_slot = slots[k], .context = 64};
        struct ap_generator *g = tiny_generator(&options);
        struct tiny_result *shared = tiny_result_new(1, K, NEW), *own = tiny_result_new(K, 1, NEW);
        struct ap_stream stream = {.seed = 1, .stage = 2, .step = 3, .record = 4, .sample = 70};
        struct ap_gen_request one = {prompt, N, K, NEW, stream}, many[K];
        int64_t n_decoded, n_prefilled, before;
        check_ok(ap_generate(g, &role, &plain, &one, 1, tiny_take, shared, &err), err);
        ap_generator_counts(g, &n_decoded, &before);
        assert_int_equal(before, N - 1);
        for (int i = 0; i < K; i++) {
            many[i] = (struct ap_gen_request){prompt, N, 1, NEW, stream};
            many[i].stream.sample += (uint32_t)i;
        }
        check_ok(ap_generate(g, &role, &plain, many, K, tiny_take, own, &err), err);
        ap_generator_counts(g, &n_decoded, &n_prefilled);
        assert_int_equal(n_prefilled - before, K * (N - 1));
        assert_int_equal(n_decoded, 2 * K * NEW);
        for (int i = 0; i < K; i++)
            tiny_same_cell(&shared->cells[i], &own->cells[i]);
        tiny_result_free(shared);
        tiny_result_free(own);
        ap_generator_close(g);
    }
}

/* A prompt of more rows than one forward pass takes. */
static void test_prompt_in_several_passes(void **state)
{
    enum { N = 600, NEW = 40, K = 3 };
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    struct ap_generator *g =
        tiny_generator(&(struct ap_generator_options){.n_slot = 3, .context = 640});
    struct tiny_result *r = tiny_result_new(1, K, NEW);
    int32_t prompt[N];
    float logp[NEW];
    for (int i = 0; i < N; i++)
        prompt[i] = (i * 7) % tiny_config.n_vocab;
    struct ap_gen_request request = {prompt, N, K, NEW + 5, {.seed = 8}};
    check_ok(ap_generate(g, &role, &plain, &request, 1, tiny_take, r, &err), err);
    for (int i = 0; i < K; i++) {
        assert_int_equal(r->cells[i].n, NEW); /* the context leaves no more */
        assert_int_equal(r->cells[i].stop, AP_STOP_LENGTH);
        tiny_forward_logp(&role, prompt, N, r->cells[i].ids, NEW, 1, logp);
        assert_memory_equal(logp, r->cells[i].logp, sizeof(logp));
    }
    assert_int_equal(ap_generator_n_steps(g), 3 + NEW); /* 599 rows by 256, then the samples */
    tiny_result_free(r);
    ap_generator_close(g);
}

static void test_steps_allocate_nothing(void **state)
{
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    struct ap_generator *g =
        tiny_generator(&(struct ap_generator_options){.n_slot = 3, .context = 64});
    struct tiny_result *r = tiny_result_new(7, 2, 20);
    struct ap_gen_request requests[7];
    int32_t prompt[7][16];
    const struct ap_sampling settings[] = {greedy, plain, {0.7, 9, 0.9, 0.02, 1.3}};
    for (int i = 0; i < 7; i++) {
        requests[i] =
            (struct ap_gen_request){.prompt = prompt[i], .n_samples = 2, .max_new_tokens = 20};
        tiny_prompt(prompt[i], &requests[i].n_prompt, 16, (uint64_t)i);
    }
    for (size_t i = 0; i < AP_LEN(settings); i++) {
        uint64_t before = ap_memory_n_allocations();
        check_ok(ap_generate(g, &role, &settings[i], requests, 7, tiny_take, r, &err), err);
        assert_int_equal(ap_memory_n_allocations(), before);
    }
    tiny_result_free(r);
    ap_generator_close(g);
}

static void refuse(struct ap_generator *g, const struct ap_role *role,
                   const struct ap_sampling *sampling, const struct ap_gen_request *request,
                   ap_status want, const char *part)
{
    struct ap_error err;
    struct tiny_result *r = tiny_result_new(1, 1, 64);
    assert_int_equal(ap_generate(g, role, sampling, request, 1, tiny_take, r, &err), want);
    check_holds(err.text, part);
    assert_int_equal(r->n_order, 0);
    tiny_result_free(r);
}

static void test_bad_requests(void **state)
{
    struct ap_role role = {*state, NULL};
    struct ap_generator *g =
        tiny_generator(&(struct ap_generator_options){.n_slot = 2, .context = 16});
    int32_t prompt[16] = {1, 2, 3}, low[] = {1, -1}, high[] = {300};
    refuse(g, &role, &plain, &(struct ap_gen_request){prompt, 0, 1, 1, {0}}, AP_INVALID, "empty");
    refuse(g, &role, &plain, &(struct ap_gen_request){prompt, 1, 0, 1, {0}}, AP_INVALID,
           "0 samples");
    refuse(g, &role, &plain, &(struct ap_gen_request){prompt, 1, 1, 0, {0}}, AP_INVALID,
           "0 tokens");
    refuse(g, &role, &plain, &(struct ap_gen_request){prompt, 16, 1, 1, {0}}, AP_LIMIT,
           "has 16 tokens and leaves no room for an answer in a context of 16");
    refuse(g, &role, &plain, &(struct ap_gen_request){low, 2, 1, 1, {0}}, AP_INVALID,
           "token id -1 at position 1");
    refuse(g, &role, &plain, &(struct ap_gen_request){high, 1, 1, 1, {0}}, AP_INVALID,
           "expected 0 to 299");
    refuse(g, &role, &(struct ap_sampling){-1, 0, 1, 0, 0},
           &(struct ap_gen_request){prompt, 1, 1, 1, {0}}, AP_INVALID, "temperature");
    ap_generator_close(g);
}

static void test_bad_options(void **state)
{
    (void)state;
    struct ap_error err;
    struct ap_generator *g;
    char *stop[] = {""};
    const struct ap_generator_options bad[] = {
        {.n_slot = 0, .context = 8},
        {.n_slot = 1, .context = 1},
        {.n_slot = 1, .context = 8, .stop = stop, .n_stop = 1},
        {.n_slot = 1, .context = 8, .n_end = 65},
    };
    const char *parts[] = {"batch of 0", "context of 1", "need a tokenizer", "65 end tokens"};
    for (size_t i = 0; i < AP_LEN(bad); i++) {
        assert_int_equal(ap_generator_open(&g, &tiny_config, &bad[i], &err), AP_INVALID);
        check_holds(err.text, parts[i]);
        assert_null(g);
    }
}

static void test_a_role_of_another_shape(void **state)
{
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    struct ap_generator *g;
    struct ap_config config = tiny_config;
    struct ap_gen_request request = {(int32_t[]){1}, 1, 1, 1, {0}};
    config.n_ffn = 64;
    struct ap_generator_options options = {.n_slot = 1, .context = 16};
    check_ok(ap_generator_open(&g, &config, &options, &err), err);
    refuse(g, &role, &plain, &request, AP_INVALID, "another shape");
    ap_generator_close(g);

    options.context = 2000;
    config = tiny_config;
    config.max_position = 2000;
    check_ok(ap_generator_open(&g, &config, &options, &err), err);
    refuse(g, &role, &plain, &request, AP_INVALID, "loaded for 640");
    ap_generator_close(g);
}

static void test_broken_weights_are_named(void **state)
{
    (void)state;
    struct ap_weights *w = tiny_weights(6);
    struct ap_role role = {w, NULL};
    struct ap_error err;
    check_ok(ap_weights_set_trainable(w, &err), err);
    struct ap_generator *g =
        tiny_generator(&(struct ap_generator_options){.n_slot = 1, .context = 16});
    struct ap_gen_request request = {(int32_t[]){1}, 1, 1, 4, {0}};
    w->table.rows[w->norm].own[3] = NAN;
    refuse(g, &role, &plain, &request, AP_NUMERIC, "NaN or Inf");
    refuse(g, &role, &greedy, &request, AP_NUMERIC, "NaN or Inf");
    ap_generator_close(g);
    ap_weights_free(w);
}

static ap_status stop_at_third(void *context, int request, int sample, const struct ap_generated *g)
{
    (void)request, (void)sample, (void)g;
    return ++*(int *)context == 3 ? AP_INTERRUPTED : AP_OK;
}

static void test_the_caller_may_stop(void **state)
{
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    struct ap_generator *g =
        tiny_generator(&(struct ap_generator_options){.n_slot = 2, .context = 64});
    struct tiny_result *first = tiny_result_new(1, 8, 10), *again = tiny_result_new(1, 8, 10);
    struct ap_gen_request request = {(int32_t[]){1, 2, 3}, 3, 8, 10, {0}};
    int n = 0;
    check_ok(ap_generate(g, &role, &plain, &request, 1, tiny_take, first, &err), err);
    assert_int_equal(ap_generate(g, &role, &plain, &request, 1, stop_at_third, &n, &err),
                     AP_INTERRUPTED);
    assert_int_equal(n, 3);
    check_ok(ap_generate(g, &role, &plain, &request, 1, tiny_take, again, &err), err);
    for (int i = 0; i < 8; i++)
        tiny_same_cell(&first->cells[i], &again->cells[i]);
    tiny_result_free(first);
    tiny_result_free(again);
    ap_generator_close(g);
}

static void test_no_request(void **state)
{
    struct ap_role role = {*state, NULL};
    struct ap_error err;
    struct ap_generator *g =
        tiny_generator(&(struct ap_generator_options){.n_slot = 2, .context = 64});
    check_ok(ap_generate(g, &role, &plain, NULL, 0, tiny_take, NULL, &err), err);
    assert_int_equal(ap_generator_n_steps(g), 0);
    ap_generator_close(g);
    ap_generator_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_is_the_likeliest_token),
        cmocka_unit_test(test_end_token_ends),
        cmocka_unit_test(test_a_finished_sequence_makes_room),
        cmocka_unit_test(test_shared_prefill),
        cmocka_unit_test(test_prompt_in_several_passes),
        cmocka_unit_test(test_steps_allocate_nothing),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_a_role_of_another_shape),
        cmocka_unit_test(test_broken_weights_are_named),
        cmocka_unit_test(test_the_caller_may_stop),
        cmocka_unit_test(test_no_request),
    };
    return cmocka_run_group_tests_name("generator", tests, setup, teardown);
}
