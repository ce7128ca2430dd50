/* 1,000 samples whose tokens and log-probabilities no batching changes, bit for bit; and log-
 * probabilities of decoding against the training forward's. */
#include "check.h"

#include "gen/tiny.h"

enum { N_REQUEST = 200, N_SAMPLE = 5, N_NEW = 24, LONGEST = 20, N_END = 6 };

struct fixture {
    struct ap_weights *weights;
    int32_t prompt[N_REQUEST][LONGEST];
    struct ap_gen_request requests[N_REQUEST];
    struct tiny_result *reference; /* 7 slots, in order, one thread */
};

/* Some six in 300 tokens end a sample, so that lengths differ. */
static const int32_t end[N_END] = {2, 50, 100, 150, 200, 250};
static const struct ap_sampling plain = {1, 0, 1, 0, 0};

static struct tiny_result *generate(const struct ap_role *role, int n_slot,
                                    const struct ap_sampling *sampling,
                                    const struct ap_gen_request *requests)
{
    struct ap_error err;
    struct tiny_result *r = tiny_result_new(N_REQUEST, N_SAMPLE, N_NEW);
    struct ap_generator_options options = {.n_slot = n_slot,
                                           .context = LONGEST + N_NEW,
                                           .end = end,
                                           .n_end = N_END,
                                           .max_rank = role->adapter ? role->adapter->rank : 0};
    struct ap_generator *g = tiny_generator(&options);
    check_ok(ap_generate(g, role, sampling, requests, N_REQUEST, tiny_take, r, &err), err);
    ap_generator_close(g);
    return r;
}

static int setup(void **state)
{
    struct fixture *f = ap_calloc(1, sizeof(*f));
    f->weights = tiny_weights(21);
    for (int i = 0; i < N_REQUEST; i++) {
        f->requests[i] = (struct ap_gen_request){.prompt = f->prompt[i],
                                                 .n_samples = N_SAMPLE,
                                                 .max_new_tokens = N_NEW,
                                                 .stream = {.seed = 12, .record = (uint64_t)i}};
        tiny_prompt(f->prompt[i], &f->requests[i].n_prompt, LONGEST, (uint64_t)i);
    }
    ap_threads_set(1);
    f->reference = generate(&(struct ap_role){f->weights, NULL}, 7, &plain, f->requests);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tiny_result_free(f->reference);
    ap_weights_free(f->weights);
    ap_free(f);
    return 0;
}

static void compare(const struct tiny_result *a, const struct tiny_result *b, bool reversed)
{
    for (int i = 0; i < N_REQUEST; i++)
        for (int k = 0; k < N_SAMPLE; k++)
            tiny_same_cell(&a->cells[i * N_SAMPLE + k],
                           &b->cells[(reversed ? N_REQUEST - 1 - i : i) * N_SAMPLE + k]);
}

static void test_batch_size(void **state)
{
    struct fixture *f = *state;
    const int slots[] = {1, 64};
    for (size_t i = 0; i < AP_LEN(slots); i++) {
        struct tiny_result *r =
            generate(&(struct ap_role){f->weights, NULL}, slots[i], &plain, f->requests);
        compare(f->reference, r, false);
        tiny_result_free(r);
    }
}

/* What stands in a slot from an earlier request is nobody's repetition. */
static void test_batch_size_under_a_penalty(void **state)
{
    struct fixture *f = *state;
    const struct ap_role role = {f->weights, NULL};
    const struct ap_sampling s = {0.9, 0, 1, 0.05, 1.5};
    struct tiny_result *a = generate(&role, 1, &s, f->requests),
                       *b = generate(&role, 33, &s, f->requests);
    compare(a, b, false);
    tiny_result_free(a);
    tiny_result_free(b);
}

static void test_order_of_requests(void **state)
{
    struct fixture *f = *state;
    struct ap_gen_request reversed[N_REQUEST];
    for (int i = 0; i < N_REQUEST; i++)
        reversed[i] = f->requests[N_REQUEST - 1 - i];
    struct tiny_result *r = generate(&(struct ap_role){f->weights, NULL}, 7, &plain, reversed);
    compare(f->reference, r, true);
    tiny_result_free(r);
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    ap_threads_set(2);
    struct tiny_result *r = generate(&(struct ap_role){f->weights, NULL}, 33, &plain, f->requests);
    ap_threads_set(1);
    compare(f->reference, r, false);
    tiny_result_free(r);
}

/* The comparisons above say something only when samples differ in tokens, lengths and ends. */
static void test_samples_are_varied(void **state)
{
    struct fixture *f = *state;
    int n_ended = 0, n_same = 0;
    for (int i = 0; i < N_REQUEST * N_SAMPLE; i++) {
        const struct tiny_cell *c = &f->reference->cells[i], *next = c + 1;
        n_ended += c->stop == AP_STOP_END;
        n_same += i % N_SAMPLE != N_SAMPLE - 1 && c->n == next->n &&
                  memcmp(c->ids, next->ids, (size_t)c->n * 4) == 0;
    }
    assert_in_range(n_ended, 100, 900);
    assert_in_range(n_same, 0, 100);
}

static void check_forward(struct fixture *f, const struct ap_role *role,
                          const struct tiny_result *r, double temperature, int stride)
{
    float logp[N_NEW];
    for (int i = 0; i < N_REQUEST * N_SAMPLE; i += stride) {
        const struct ap_gen_request *q = &f->requests[i / N_SAMPLE];
        const struct tiny_cell *c = &r->cells[i];
        tiny_forward_logp(role, q->prompt, q->n_prompt, c->ids, c->n, temperature, logp);
        for (int t = 0; t < c->n; t++)
            check_near(c->logp[t], logp[t], 1e-4, 0);
        assert_memory_equal(c->logp, logp, (size_t)c->n * sizeof(*logp));
    }
}

static void test_log_probabilities_are_the_forwards(void **state)
{
    struct fixture *f = *state;
    struct ap_role role = {f->weights, NULL};
    check_forward(f, &role, f->reference, 1, 1);
}

static void test_log_probabilities_at_a_temperature(void **state)
{
    struct fixture *f = *state;
    struct ap_role role = {f->weights, NULL};
    struct tiny_result *r =
        generate(&role, 7, &(struct ap_sampling){0.7, 20, 0.9, 0.01, 1.4}, f->requests);
    check_forward(f, &role, r, 0.7, 7);
    tiny_result_free(r);
}

static void test_log_probabilities_of_an_adapter(void **state)
{
    struct fixture *f = *state;
    struct ap_error err;
    struct ap_adapter *adapter;
    struct ap_adapter_settings settings = {
        .rank = 4, .alpha = 8, .targets = (char[]){"all-linear"}};
    check_ok(ap_adapter_new(&adapter, f->weights, &settings, false, 1, &err), err);
    struct ap_random random;
    ap_random_init(&random, &(struct ap_stream){.seed = 4});
    for (int i = 0; i < adapter->table.n; i++)
        for (size_t j = 0; j < adapter->table.rows[i].n; j++)
            adapter->table.rows[i].own[j] = (float)(0.1 * ap_random_normal(&random));
    ap_params_repack(adapter->ops, &adapter->table);
    struct ap_role role = {f->weights, adapter};
    struct tiny_result *r = generate(&role, 7, &plain, f->requests);
    check_forward(f, &role, r, 1, 7);
    int n_changed = 0;
    for (int i = 0; i < N_REQUEST * N_SAMPLE; i++)
        n_changed += memcmp(r->cells[i].logp, f->reference->cells[i].logp, sizeof(float)) != 0;
    assert_true(n_changed > N_REQUEST * N_SAMPLE / 2);
    tiny_result_free(r);
    ap_adapter_free(adapter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_varied),
        cmocka_unit_test(test_batch_size),
        cmocka_unit_test(test_batch_size_under_a_penalty),
        cmocka_unit_test(test_order_of_requests),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_log_probabilities_are_the_forwards),
        cmocka_unit_test(test_log_probabilities_at_a_temperature),
        cmocka_unit_test(test_log_probabilities_of_an_adapter),
    };
    return cmocka_run_group_tests_name("generator_exact", tests, setup, teardown);
}
