/* The language model behind the narrow waist: what it samples and what the training forward says of
 * it are one, roles are views, gradients are right, critic and policy do not touch each other. */
#include "align/policy_lm.h"

#include "align/tiny_lm.h"

enum { EACH = 3, NEW = 10 };

struct fixture {
    struct ap_lm *lm;
    struct tiny_prompts prompts;
    struct ap_adapter *adapter, *reference, *critic;
    struct ap_rl_settings settings;
    struct ap_lm_policy *lm_policy;
    struct ap_policy policy;
    struct ap_rollout rollout;
};

static void open_with(struct fixture *f, bool filled, int n_slot, double temperature)
{
    struct ap_error err;
    *f = (struct fixture){.lm = tiny_lm_new(3)};
    tiny_prompts_open(&f->prompts, f->lm);
    f->adapter = tiny_adapter(f->lm, false, filled, 1);
    check_ok(ap_adapter_copy(&f->reference, f->adapter, &err), err);
    f->critic = tiny_adapter(f->lm, true, false, 2);
    f->settings = (struct ap_rl_settings){.value_lr = 2e-3,
                                          .optimiser = {.lr = 1e-3,
                                                        .schedule = (char *)"constant",
                                                        .beta1 = 0.9,
                                                        .beta2 = 0.95,
                                                        .eps = 1e-8,
                                                        .clip = 1,
                                                        .batch_tokens = 200}};
    struct ap_lm_policy_options options = {.lm = f->lm,
                                           .prompts = &f->prompts.prompts,
                                           .policy = {f->lm->weights, f->adapter},
                                           .reference = {f->lm->weights, f->reference},
                                           .critic = {f->lm->weights, f->critic},
                                           .settings = &f->settings,
                                           .n_updates = 10,
                                           .max_new_tokens = NEW,
                                           .n_slot = n_slot,
                                           .temperature = temperature,
                                           .seed = 11,
                                           .stage = "align"};
    check_ok(ap_lm_policy_open(&f->lm_policy, &options, &err), err);
    f->policy = ap_lm_policy(f->lm_policy);
    check_ok(ap_rollout_init(&f->rollout, TINY_PROMPTS * EACH, TINY_PROMPTS * EACH * NEW, &err),
             err);
}

static void close_fixture(struct fixture *f)
{
    ap_rollout_free(&f->rollout);
    ap_lm_policy_close(f->lm_policy);
    ap_adapter_free(f->adapter);
    ap_adapter_free(f->reference);
    ap_adapter_free(f->critic);
    ap_prompts_free(&f->prompts.prompts);
    ap_lm_free(f->lm);
}

static void sample_all(struct fixture *f, int64_t step)
{
    struct ap_error err;
    const int32_t prompts[TINY_PROMPTS] = {4, 0, 5, 2, 1, 3};
    check_ok(f->policy.sample(f->policy.self, prompts, TINY_PROMPTS, EACH, step, &f->rollout, &err),
             err);
    assert_int_equal(f->rollout.n_row, TINY_PROMPTS * EACH);
}

/* Log-probabilities of all rows, `most` of them in one forward. */
static void forward_all(struct fixture *f, ap_policy_role role, int most, double *logp,
                        double *entropy)
{
    struct ap_error err;
    int32_t rows[TINY_PROMPTS * EACH];
    for (int i = 0; i < f->rollout.n_row; i++)
        rows[i] = most > 1 ? f->rollout.n_row - 1 - i : i; /* another order in larger batches */
    for (int i = 0, n; i < f->rollout.n_row; i += n) {
        n = f->policy.fit(f->policy.self, &f->rollout, rows + i, f->rollout.n_row - i);
        assert_in_range(n, 1, f->rollout.n_row - i);
        n = n > most ? most : n;
        check_ok(
            f->policy.forward(f->policy.self, role, &f->rollout, rows + i, n, logp, entropy, &err),
            err);
    }
}

/* -- sampling -- */

struct decoded {
    const struct ap_rollout *rollout;
    double *logp; /* a column */
    int n_seen;
};

static ap_status take_decoded(void *context, int request, int sample, const struct ap_generated *g)
{
    struct decoded *d = context;
    const struct ap_rollout_row *row = &d->rollout->rows[request * EACH + sample];
    assert_int_equal(row->n, g->n);
    assert_memory_equal(d->rollout->ids + row->first, g->ids, (size_t)g->n * sizeof(*g->ids));
    assert_int_equal(row->ended, g->stop == AP_STOP_END);
    for (int t = 0; t < g->n; t++)
        d->logp[row->first + (size_t)t] = (double)g->logp[t];
    d->n_seen++;
    return AP_OK;
}

/* The same streams through the generator alone. */
static void decode_again(struct fixture *f, double temperature, double *logp)
{
    struct ap_error err;
    struct ap_generator *g;
    struct ap_gen_request requests[TINY_PROMPTS];
    struct decoded decoded = {&f->rollout, logp, 0};
    struct ap_generator_options options = {.n_slot = 5,
                                           .context = TINY_CONTEXT,
                                           .end = f->lm->end,
                                           .n_end = f->lm->n_end,
                                           .max_rank = 4};
    for (int i = 0; i < TINY_PROMPTS; i++) {
        const struct ap_prompt *p = &f->prompts.prompts.items[f->rollout.rows[i * EACH].prompt];
        requests[i] = (struct ap_gen_request){
            .prompt = p->ids,
            .n_prompt = p->n,
            .n_samples = EACH,
            .max_new_tokens = NEW,
            .stream = {
                .seed = 11, .stage = ap_stream_stage("align"), .step = 3, .record = p->record}};
    }
    check_ok(ap_generator_open(&g, &f->lm->weights->config, &options, &err), err);
    check_ok(ap_generate(g, &(struct ap_role){f->lm->weights, f->adapter},
                         &(struct ap_sampling){.temperature = temperature, .top_p = 1}, requests,
                         TINY_PROMPTS, take_decoded, &decoded, &err),
             err);
    assert_int_equal(decoded.n_seen, TINY_PROMPTS * EACH);
    ap_generator_close(g);
}

static void test_log_probabilities_of_decoding_are_those_of_training(void **state)
{
    (void)state;
    const double temperatures[] = {1, 0.7};
    for (size_t k = 0; k < AP_LEN(temperatures); k++) {
        struct fixture f;
        double logp[TINY_PROMPTS * EACH * NEW];
        open_with(&f, true, 4, temperatures[k]);
        sample_all(&f, 3);
        decode_again(&f, temperatures[k], logp);
        forward_all(&f, AP_POLICY, 99, f.rollout.logp, f.rollout.entropy);
        for (size_t t = 0; t < f.rollout.n_token; t++) {
            check_near(f.rollout.logp[t], logp[t], 1e-4, 0);
            assert_true(f.rollout.logp[t] <= 0 && f.rollout.entropy[t] > 0);
        }
        close_fixture(&f);
    }
}

static void test_rows_carry_prompt_record_sample_and_text(void **state)
{
    (void)state;
    struct fixture f;
    int n_ended = 0;
    open_with(&f, true, 4, 1);
    sample_all(&f, 0);
    for (int i = 0; i < f.rollout.n_row; i++) {
        const struct ap_rollout_row *row = &f.rollout.rows[i];
        assert_int_equal(row->record, 100 + row->prompt);
        assert_int_equal(row->sample, i % EACH);
        assert_non_null(row->text);
        assert_true(row->n == NEW || row->ended);
        n_ended += row->ended;
        if (row->text[0])
            assert_true(row->text[0] != ' ' && row->text[strlen(row->text) - 1] != ' ');
    }
    assert_in_range(n_ended, 0, f.rollout.n_row - 1);
    close_fixture(&f);
}

static void test_samples_do_not_depend_on_how_many_are_decoded_at_once(void **state)
{
    (void)state;
    struct fixture a, b;
    open_with(&a, true, 1, 1);
    open_with(&b, true, 16, 1);
    sample_all(&a, 5);
    sample_all(&b, 5);
    assert_int_equal(a.rollout.n_token, b.rollout.n_token);
    assert_memory_equal(a.rollout.ids, b.rollout.ids, a.rollout.n_token * sizeof(int32_t));
    sample_all(&b, 6); /* another step is another stream */
    assert_true(a.rollout.n_token != b.rollout.n_token ||
                memcmp(a.rollout.ids, b.rollout.ids, a.rollout.n_token * sizeof(int32_t)) != 0);
    close_fixture(&a);
    close_fixture(&b);
}

/* -- roles -- */

static void test_policy_and_reference_are_one_at_the_start(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, true, 4, 1);
    sample_all(&f, 0);
    forward_all(&f, AP_POLICY, 99, f.rollout.logp_old, NULL);
    forward_all(&f, AP_REFERENCE, 99, f.rollout.logp_ref, NULL);
    assert_memory_equal(f.rollout.logp_old, f.rollout.logp_ref, f.rollout.n_token * sizeof(double));
    forward_all(&f, AP_POLICY, 1, f.rollout.logp, NULL); /* ratio 1, whatever the batch */
    assert_memory_equal(f.rollout.logp_old, f.rollout.logp, f.rollout.n_token * sizeof(double));
    close_fixture(&f);
}

static void test_a_fresh_adapter_is_the_base(void **state)
{
    (void)state;
    struct fixture f;
    double n[2] = {0};
    open_with(&f, false, 4, 1);
    sample_all(&f, 0);
    forward_all(&f, AP_POLICY, 99, f.rollout.logp, NULL);
    for (int i = 0; i < f.rollout.n_row; i++) {
        const struct ap_rollout_row *row = &f.rollout.rows[i];
        const struct ap_prompt *p = &f.prompts.prompts.items[row->prompt];
        int32_t ids[TINY_CONTEXT];
        uint8_t trained[TINY_CONTEXT] = {0};
        int n_seen = 0;
        double sum = 0;
        memcpy(ids, p->ids, (size_t)p->n * sizeof(*ids));
        memcpy(ids + p->n, f.rollout.ids + row->first, (size_t)row->n * sizeof(*ids));
        memset(trained + p->n, 1, (size_t)row->n);
        for (int t = 0; t < row->n; t++)
            sum += f.rollout.logp[row->first + (size_t)t];
        n[0] = tiny_logp_sum(&(struct ap_role){f.lm->weights, NULL}, ids, trained, p->n + row->n,
                             &n_seen);
        assert_true(sum == n[0]); /* bit for bit */
        assert_int_equal(n_seen, row->n);
    }
    close_fixture(&f);
}

/* -- gradients -- */

static double weighted(struct fixture *f, const double *c, const double *e)
{
    double sum = 0;
    forward_all(f, AP_POLICY, 99, f->rollout.logp, f->rollout.entropy);
    for (size_t t = 0; t < f->rollout.n_token; t++)
        sum += c[t] * f->rollout.logp[t] + e[t] * f->rollout.entropy[t];
    return sum;
}

static void backward_all(struct fixture *f, const double *dlogp, const double *dentropy)
{
    struct ap_error err;
    int32_t rows[TINY_PROMPTS * EACH];
    for (int i = 0; i < f->rollout.n_row; i++)
        rows[i] = i;
    for (int i = 0, n; i < f->rollout.n_row; i += n) {
        n = f->policy.fit(f->policy.self, &f->rollout, rows + i, f->rollout.n_row - i);
        check_ok(f->policy.forward(f->policy.self, AP_POLICY, &f->rollout, rows + i, n,
                                   f->rollout.logp, f->rollout.entropy, &err),
                 err);
        check_ok(
            f->policy.backward(f->policy.self, &f->rollout, rows + i, n, dlogp, dentropy, &err),
            err);
    }
}

/* One number of the adapter moved by h. */
static double moved(struct fixture *f, struct ap_param *p, size_t k, float h, const double *c,
                    const double *e)
{
    float kept = p->own[k];
    p->own[k] = kept + h;
    ap_params_repack(f->adapter->ops, &f->adapter->table);
    double value = weighted(f, c, e);
    p->own[k] = kept;
    ap_params_repack(f->adapter->ops, &f->adapter->table);
    return value;
}

static void test_gradients_against_finite_differences(void **state)
{
    (void)state;
    struct fixture f;
    double c[TINY_PROMPTS * EACH * NEW], e[TINY_PROMPTS * EACH * NEW];
    const float h = 4e-3f;
    open_with(&f, true, 4, 0.8);
    sample_all(&f, 0);
    for (size_t t = 0; t < f.rollout.n_token; t++) {
        c[t] = sin(1.0 + 2.3 * (double)t);
        e[t] = 0.3 * cos(0.7 * (double)t);
    }
    backward_all(&f, c, e);
    for (int i = 0; i < f.adapter->table.n; i += 3) {
        struct ap_param *p = &f.adapter->table.rows[i];
        size_t k = (size_t)(i * 31) % p->n;
        double numeric = (moved(&f, p, k, h, c, e) - moved(&f, p, k, -h, c, e)) / (2 * (double)h);
        check_near((double)p->grad[k], numeric, 5e-3, 2e-2);
    }
    assert_true(tiny_largest_grad(&f.adapter->table) > 0.1);
    assert_true(tiny_largest_grad(&f.reference->table) == 0);
    assert_false(f.lm->weights->trainable);
    close_fixture(&f);
}

/* -- the critic -- */

static void value_all(struct fixture *f, double *value, const double *dvalue)
{
    struct ap_error err;
    int32_t rows[TINY_PROMPTS * EACH];
    for (int i = 0; i < f->rollout.n_row; i++)
        rows[i] = i;
    for (int i = 0, n; i < f->rollout.n_row; i += n) {
        n = f->policy.fit(f->policy.self, &f->rollout, rows + i, f->rollout.n_row - i);
        check_ok(f->policy.value(f->policy.self, &f->rollout, rows + i, n, value, &err), err);
        if (dvalue)
            check_ok(
                f->policy.value_backward(f->policy.self, &f->rollout, rows + i, n, dvalue, &err),
                err);
    }
}

static void test_the_critic_starts_at_zero_and_leaves_the_policy_alone(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_policy_update u;
    open_with(&f, true, 4, 1);
    sample_all(&f, 0);
    for (size_t t = 0; t < f.rollout.n_token; t++)
        f.rollout.dvalue[t] = -1;
    value_all(&f, f.rollout.value, f.rollout.dvalue);
    for (size_t t = 0; t < f.rollout.n_token; t++)
        assert_true(f.rollout.value[t] == 0);
    assert_true(tiny_largest_grad(&f.adapter->table) == 0);
    assert_true(tiny_largest_grad(&f.critic->table) > 0);
    float *before = tiny_values(&f.adapter->table);
    f.policy.update(f.policy.self, 0, &u);
    float *after = tiny_values(&f.adapter->table);
    assert_memory_equal(before, after, tiny_table_size(&f.adapter->table) * sizeof(float));
    assert_false(u.skipped);
    assert_true(u.value_grad_norm > 0 && u.grad_norm == 0);
    value_all(&f, f.rollout.value, NULL);
    double mean = 0;
    for (size_t t = 0; t < f.rollout.n_token; t++)
        mean += f.rollout.value[t] / (double)f.rollout.n_token;
    assert_true(mean > 0); /* the loss asked for more */
    ap_free(before);
    ap_free(after);
    close_fixture(&f);
}

static void test_policy_gradients_leave_the_critic_alone(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_policy_update u;
    open_with(&f, true, 4, 1);
    sample_all(&f, 0);
    float *before = tiny_values(&f.critic->table);
    for (size_t t = 0; t < f.rollout.n_token; t++)
        f.rollout.dlogp[t] = 0.1;
    backward_all(&f, f.rollout.dlogp, NULL);
    assert_true(tiny_largest_grad(&f.critic->table) == 0);
    f.policy.update(f.policy.self, 0, &u);
    assert_true(u.grad_norm > 0 && isnan(u.value_grad_norm));
    float *after = tiny_values(&f.critic->table);
    assert_memory_equal(before, after, tiny_table_size(&f.critic->table) * sizeof(float));
    ap_free(before);
    ap_free(after);
    close_fixture(&f);
}

static void test_a_bad_gradient_of_either_moves_neither(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct fixture f;
        struct ap_policy_update u;
        open_with(&f, true, 4, 1);
        sample_all(&f, 0);
        float *policy = tiny_values(&f.adapter->table), *critic = tiny_values(&f.critic->table);
        for (size_t t = 0; t < f.rollout.n_token; t++)
            f.rollout.dlogp[t] = f.rollout.dvalue[t] = 0.1;
        (which ? f.rollout.dvalue : f.rollout.dlogp)[3] = NAN;
        backward_all(&f, f.rollout.dlogp, NULL);
        value_all(&f, f.rollout.value, f.rollout.dvalue);
        f.policy.update(f.policy.self, 0, &u);
        assert_true(u.skipped);
        check_holds(u.bad, "lora_");
        float *policy_now = tiny_values(&f.adapter->table);
        float *critic_now = tiny_values(&f.critic->table);
        assert_memory_equal(policy, policy_now, tiny_table_size(&f.adapter->table) * sizeof(float));
        assert_memory_equal(critic, critic_now, tiny_table_size(&f.critic->table) * sizeof(float));
        assert_true(tiny_largest_grad(&f.adapter->table) == 0);
        assert_true(tiny_largest_grad(&f.critic->table) == 0);
        ap_free(policy);
        ap_free(critic);
        ap_free(policy_now);
        ap_free(critic_now);
        close_fixture(&f);
    }
}

/* -- state -- */

/* An update whose gradient depends on the number of the update alone. */
static void learn(struct fixture *f, int64_t update)
{
    struct ap_policy_update u;
    for (size_t t = 0; t < f->rollout.n_token; t++) {
        f->rollout.dlogp[t] = sin((double)t + (double)update) / 50;
        f->rollout.dvalue[t] = cos((double)t * (double)(update + 1)) / 50;
    }
    backward_all(f, f->rollout.dlogp, NULL);
    value_all(f, f->rollout.value, f->rollout.dvalue);
    f->policy.update(f->policy.self, update, &u);
    assert_false(u.skipped);
}

static void test_saved_and_loaded_goes_on_bit_for_bit(void **state)
{
    struct fixture a, b;
    struct ap_error err;
    open_with(&a, true, 4, 1);
    open_with(&b, false, 4, 1); /* starts elsewhere: everything must come from the folder */
    sample_all(&a, 0);
    for (int64_t k = 0; k < 3; k++)
        learn(&a, k);
    check_ok(a.policy.save(a.policy.self, *state, &err), err);
    check_ok(b.policy.load(b.policy.self, *state, &err), err);
    tiny_same_tables(&a.adapter->table, &b.adapter->table);
    tiny_same_tables(&a.critic->table, &b.critic->table);
    sample_all(&a, 1);
    sample_all(&b, 1);
    assert_int_equal(a.rollout.n_token, b.rollout.n_token);
    assert_memory_equal(a.rollout.ids, b.rollout.ids, a.rollout.n_token * sizeof(int32_t));
    for (int64_t k = 3; k < 6; k++) {
        learn(&a, k);
        learn(&b, k);
    }
    tiny_same_tables(&a.adapter->table, &b.adapter->table);
    tiny_same_tables(&a.critic->table, &b.critic->table);
    close_fixture(&a);
    close_fixture(&b);
}

static void test_a_checkpoint_that_lacks_a_file_is_an_error_by_name(void **state)
{
    struct fixture f;
    struct ap_error err;
    open_with(&f, true, 4, 1);
    assert_true(f.policy.load(f.policy.self, *state, &err) != AP_OK);
    check_holds(err.text, "adapter");
    check_holds(err.text, (const char *)*state);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_probabilities_of_decoding_are_those_of_training),
        cmocka_unit_test(test_rows_carry_prompt_record_sample_and_text),
        cmocka_unit_test(test_samples_do_not_depend_on_how_many_are_decoded_at_once),
        cmocka_unit_test(test_policy_and_reference_are_one_at_the_start),
        cmocka_unit_test(test_a_fresh_adapter_is_the_base),
        cmocka_unit_test(test_gradients_against_finite_differences),
        cmocka_unit_test(test_the_critic_starts_at_zero_and_leaves_the_policy_alone),
        cmocka_unit_test(test_policy_gradients_leave_the_critic_alone),
        cmocka_unit_test(test_a_bad_gradient_of_either_moves_neither),
        cmocka_unit_test_setup_teardown(test_saved_and_loaded_goes_on_bit_for_bit, tiny_folder_make,
                                        tiny_folder_remove),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_that_lacks_a_file_is_an_error_by_name,
                                        tiny_folder_make, tiny_folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
