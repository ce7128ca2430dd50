/* Supervised training: the loss is the mean over the trained tokens of the whole batch, however it
 * is cut; it learns; stopped and resumed it is undisturbed. math.md (8). */
#include "align/sft.h"

#include "align/tiny_lm.h"

enum { N = 10 };

struct fixture {
    struct ap_lm *lm;
    struct ap_adapter *adapter; /* NULL: the weights train */
    struct ap_sequence sequences[N];
    struct ap_optimiser_settings optimiser;
    struct ap_sft_options options;
};

static void make_sequence(struct fixture *f, int i)
{
    static const char *const x[N] = {"otter", "fox", "bear home", "wolf and goat",  "deer?",
                                     "camel", "owl", "duck food", "a frog, please", "bat"};
    static const char *const y[N] = {
        "Water.", "Dens",   "It lives in caves.", "Both.", "Yes", "Sand and heat.",
        "Trees",  "Bread.", "Ponds are good.",    "No"};
    struct ap_error err;
    bool fits;
    check_ok(ap_sequence_make(&f->sequences[i], f->lm->chat, NULL, 0, x[i], y[i], TINY_CONTEXT,
                              AP_TOO_LONG_ERROR, &fits, &err),
             err);
    assert_true(fits);
}

/* lora 2: with dropout */
static void open_with(struct fixture *f, int lora, int epochs, int batch, int batch_tokens)
{
    *f = (struct fixture){.lm = tiny_lm_new(3)};
    if (lora)
        f->adapter = tiny_adapter(f->lm, false, false, 1);
    if (lora == 2)
        f->adapter->dropout = 0.3;
    for (int i = 0; i < N; i++)
        make_sequence(f, i);
    f->optimiser = (struct ap_optimiser_settings){.lr = 1e-2,
                                                  .schedule = (char *)"cosine",
                                                  .warmup = 0.1,
                                                  .lr_end = 0.1,
                                                  .beta1 = 0.9,
                                                  .beta2 = 0.95,
                                                  .eps = 1e-8,
                                                  .clip = 1,
                                                  .batch_tokens = batch_tokens};
    f->options = (struct ap_sft_options){.lm = f->lm,
                                         .role = {f->lm->weights, f->adapter},
                                         .sequences = f->sequences,
                                         .n = N,
                                         .epochs = epochs,
                                         .batch = batch,
                                         .optimiser = &f->optimiser};
}

static const struct ap_param_table *trained(const struct fixture *f)
{
    return f->adapter ? &f->adapter->table : &f->lm->weights->table;
}

static void close_fixture(struct fixture *f)
{
    for (int i = 0; i < N; i++)
        ap_sequence_free(&f->sequences[i]);
    ap_adapter_free(f->adapter);
    ap_lm_free(f->lm);
}

/* −mean log-probability of the marked tokens of a batch, sequence by sequence. */
static double loss_by_hand(const struct fixture *f, const int32_t *index, int n)
{
    double sum = 0;
    int n_token = 0;
    for (int i = 0; i < n; i++) {
        const struct ap_sequence *q = &f->sequences[index[i]];
        sum += tiny_logp_sum(&f->options.role, q->ids, q->trained, q->n, &n_token);
    }
    assert_true(n_token > n);
    return -sum / n_token;
}

static void test_the_loss_is_a_mean_over_the_tokens_of_the_batch(void **state)
{
    (void)state;
    for (int lora = 0; lora < 2; lora++) {
        struct fixture f;
        struct tiny_stage s;
        struct ap_error err;
        int32_t order[N];
        int64_t epoch = -1;
        int first;
        open_with(&f, lora, 1, 4, 40); /* 40 tokens: a batch takes several forwards */
        tiny_stage_init(&s, "sft", NULL);
        int n = ap_epoch_batch(order, N, 4, 0, s.stage.seed, "sft", &epoch, &first);
        assert_int_equal(n, 4);
        double expected = loss_by_hand(&f, order + first, n);
        check_ok(ap_sft(&s.stage, &f.options, &err), err);
        assert_int_equal(s.n_step, 3);
        check_near(s.loss[0], expected, 1e-6, 1e-6);
        close_fixture(&f);
    }
}

static void test_micro_batches_change_nothing(void **state)
{
    (void)state;
    for (int lora = 0; lora < 3; lora++) {
        struct fixture many, one;
        struct tiny_stage a, b;
        struct ap_error err;
        open_with(&many, lora, 2, 5, 1); /* 1 token: every sequence alone */
        open_with(&one, lora, 2, 5, 4096);
        one.optimiser.gradient_checkpointing = lora == 2; /* nor does computing layers again */
        many.optimiser.eps = one.optimiser.eps = 1e-3;    /* a gradient of 0 stays a step of 0 */
        tiny_stage_init(&a, "sft", NULL);
        tiny_stage_init(&b, "sft", NULL);
        check_ok(ap_sft(&a.stage, &many.options, &err), err);
        check_ok(ap_sft(&b.stage, &one.options, &err), err);
        assert_int_equal(a.n_step, 4);
        for (int i = 0; i < a.n_step; i++)
            check_near(a.loss[i], b.loss[i], 1e-6, 1e-6);
        float *x = tiny_values(trained(&many)), *y = tiny_values(trained(&one));
        for (size_t i = 0; i < tiny_table_size(trained(&one)); i++)
            check_near((double)x[i], (double)y[i], 2e-6, 1e-5);
        ap_free(x);
        ap_free(y);
        close_fixture(&many);
        close_fixture(&one);
    }
}

static void test_it_learns_by_heart(void **state)
{
    (void)state;
    for (int lora = 0; lora < 2; lora++) {
        struct fixture f;
        struct tiny_stage s;
        struct ap_error err;
        float *base, *base_after;
        open_with(&f, lora, 30, 5, 512);
        f.optimiser.lr = lora ? 3e-2 : 1e-2;
        base = tiny_values(&f.lm->weights->table);
        tiny_stage_init(&s, "sft", NULL);
        check_ok(ap_sft(&s.stage, &f.options, &err), err);
        assert_int_equal(s.n_step, 60);
        assert_true(s.loss[0] > 4);
        assert_true(s.loss[59] < 0.5 * s.loss[0]);
        base_after = tiny_values(&f.lm->weights->table);
        bool same =
            memcmp(base, base_after, tiny_table_size(&f.lm->weights->table) * sizeof(float)) == 0;
        assert_int_equal(same, lora); /* an adapter leaves its base as it is */
        ap_free(base);
        ap_free(base_after);
        close_fixture(&f);
    }
}

static void test_every_epoch_takes_each_sequence_once(void **state)
{
    (void)state;
    int32_t order[N], first_pass[N];
    int64_t epoch = -1;
    for (int pass = 0; pass < 2; pass++) {
        int seen[N] = {0}, n_seen = 0;
        for (int64_t step = 3 * pass; step < 3 * (pass + 1); step++) {
            int first, n = ap_epoch_batch(order, N, 4, step, 5, "sft", &epoch, &first);
            assert_int_equal(n, step % 3 == 2 ? 2 : 4);
            for (int i = 0; i < n; i++)
                seen[order[first + i]]++, n_seen++;
        }
        assert_int_equal(n_seen, N);
        for (int i = 0; i < N; i++)
            assert_int_equal(seen[i], 1);
        if (pass == 0)
            memcpy(first_pass, order, sizeof(order));
    }
    assert_memory_not_equal(first_pass, order, sizeof(order));
    int32_t again[N]; /* in the middle of a pass, from nothing: the same batch */
    int64_t unknown = -1;
    int first, n = ap_epoch_batch(again, N, 4, 4, 5, "sft", &unknown, &first);
    assert_int_equal(n, 4);
    assert_memory_equal(again, order, sizeof(again));
}

static void test_stopped_and_resumed_is_undisturbed(void **state)
{
    for (int lora = 0; lora < 3; lora++) {
        struct fixture whole, part;
        struct tiny_stage a, b;
        struct ap_error err;
        char folder[512];
        snprintf(folder, sizeof(folder), "%s/%d", (const char *)*state, lora);
        check_ok(ap_dir_make(folder, &err), err);
        open_with(&whole, lora, 3, 4, 64);
        tiny_stage_init(&a, "sft", NULL);
        check_ok(ap_sft(&a.stage, &whole.options, &err), err);
        for (int64_t stop = 2;; stop = stop == 2 ? 7 : 0) {
            open_with(&part, lora, 3, 4, 64);
            tiny_stage_init(&b, "sft", folder);
            b.stop_at = stop;
            ap_status status = ap_sft(&b.stage, &part.options, &err);
            if (stop == 0) {
                check_ok(status, err);
                break;
            }
            assert_int_equal(status, AP_INTERRUPTED);
            check_holds(err.text, "run the same command again");
            close_fixture(&part);
        }
        assert_int_equal(b.n_step, 2); /* 9 steps in all, 7 were there */
        tiny_same_tables(trained(&whole), trained(&part));
        assert_true(a.loss[8] == b.loss[8]);
        close_fixture(&whole);
        close_fixture(&part);
    }
}

static void test_a_gradient_that_is_not_finite_is_skipped_and_then_stops_by_name(void **state)
{
    (void)state;
    struct fixture f;
    struct tiny_stage s;
    struct ap_error err;
    open_with(&f, false, 3, 4, 64);
    struct ap_param *norm = &f.lm->weights->table.rows[f.lm->weights->norm];
    check_ok(ap_weights_set_trainable(f.lm->weights, &err), err);
    norm->own[3] = INFINITY;
    tiny_stage_init(&s, "sft", NULL);
    assert_int_equal(ap_sft(&s.stage, &f.options, &err), AP_NUMERIC);
    assert_int_equal(s.n_warn, 1);
    check_holds(s.warning, "step 0: ");
    check_holds(s.warning, "is not finite; the update is skipped");
    check_holds(err.text, "sft: step 1: model.");
    check_holds(err.text, "2 updates in a row");
    close_fixture(&f);
}

/* An infinite loss whose gradients are numbers: a logit of −∞ is a weight of 0. */
static void test_an_infinite_loss_moves_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_learner l;
    struct ap_update u;
    struct ap_error err;
    open_with(&f, true, 1, 4, 64);
    check_ok(ap_learner_open(&l, f.lm, &f.options.role, &f.optimiser, 4, 64, 4, &err), err);
    float *before = tiny_values(&f.adapter->table);
    for (int i = 0; i < f.adapter->table.n; i++)
        f.adapter->table.rows[i].grad[0] = 1;
    ap_learner_step(&l, 0, INFINITY, &u);
    assert_true(u.skipped);
    assert_string_equal(u.bad, "the loss");
    assert_true(tiny_largest_grad(&f.adapter->table) == 0);
    float *after = tiny_values(&f.adapter->table);
    assert_memory_equal(before, after, tiny_table_size(&f.adapter->table) * sizeof(float));
    ap_free(before);
    ap_free(after);
    ap_learner_close(&l);
    close_fixture(&f);
}

static void test_nothing_to_learn_from_is_an_error(void **state)
{
    (void)state;
    struct fixture f;
    struct tiny_stage s;
    struct ap_error err;
    open_with(&f, true, 1, 4, 64);
    f.options.n = 0;
    tiny_stage_init(&s, "sft", NULL);
    assert_int_equal(ap_sft(&s.stage, &f.options, &err), AP_INVALID);
    check_holds(err.text, "sft: no training examples are left");
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_loss_is_a_mean_over_the_tokens_of_the_batch),
        cmocka_unit_test(test_micro_batches_change_nothing),
        cmocka_unit_test(test_it_learns_by_heart),
        cmocka_unit_test(test_every_epoch_takes_each_sequence_once),
        cmocka_unit_test_setup_teardown(test_stopped_and_resumed_is_undisturbed, tiny_folder_make,
                                        tiny_folder_remove),
        cmocka_unit_test(test_a_gradient_that_is_not_finite_is_skipped_and_then_stops_by_name),
        cmocka_unit_test(test_an_infinite_loss_moves_nothing),
        cmocka_unit_test(test_nothing_to_learn_from_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
