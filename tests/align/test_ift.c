/* Intuitive fine-tuning through a model: without blend and decay it is supervised training bit for
 * bit; the loss against one by hand; it learns; micro-batches and stops change nothing. math.md
 * (21). */
#include "align/ift.h"

#include "align/loss.h"
#include "align/sft.h"
#include "align/tiny_lm.h"

enum { N = 9, EPOCHS = 4 };

struct fixture {
    struct ap_lm *lm;
    struct ap_adapter *adapter; /* NULL: a copy of the weights trains */
    struct ap_weights *own;
    struct ap_sequence sequences[N];
    struct ap_ift_settings settings;
    struct ap_ift_options options;
};

static void open_with(struct fixture *f, bool lora, int batch, double eta, double g)
{
    static const char *const x[N] = {"otter", "fox", "bear home", "wolf and goat", "deer?",
                                     "camel", "owl", "duck food", "a frog, please"};
    static const char *const y[N] = {"Water.", "Dens",   "It lives in caves.",
                                     "Both.",  "Yes",    "Sand and heat.",
                                     "Trees",  "Bread.", "Ponds are good."};
    struct ap_error err;
    bool fits;
    *f = (struct fixture){.lm = tiny_lm_new(3)};
    if (lora)
        f->adapter = tiny_adapter(f->lm, false, false, 1);
    else
        check_ok(ap_weights_copy(&f->own, f->lm->weights, &err), err);
    for (int i = 0; i < N; i++)
        check_ok(ap_sequence_make(&f->sequences[i], f->lm->chat, NULL, 0, x[i], y[i], TINY_CONTEXT,
                                  AP_TOO_LONG_ERROR, &fits, &err),
                 err);
    f->settings = (struct ap_ift_settings){.epochs = EPOCHS,
                                           .batch = batch,
                                           .eta = eta,
                                           .g = g,
                                           .optimiser = {.lr = 1e-2,
                                                         .schedule = (char *)"cosine",
                                                         .warmup = 0.1,
                                                         .lr_end = 0.1,
                                                         .beta1 = 0.9,
                                                         .beta2 = 0.95,
                                                         .eps = 1e-8,
                                                         .clip = 1,
                                                         .batch_tokens = 64}};
    f->options = (struct ap_ift_options){.lm = f->lm,
                                         .role = {lora ? f->lm->weights : f->own, f->adapter},
                                         .frozen = f->lm->weights,
                                         .sequences = f->sequences,
                                         .n = N,
                                         .settings = &f->settings};
}

static const struct ap_param_table *trained(const struct fixture *f)
{
    return f->adapter ? &f->adapter->table : &f->own->table;
}

static void close_fixture(struct fixture *f)
{
    for (int i = 0; i < N; i++)
        ap_sequence_free(&f->sequences[i]);
    ap_adapter_free(f->adapter);
    ap_weights_free(f->own);
    ap_lm_free(f->lm);
}

static void train(struct fixture *f, struct tiny_stage *s)
{
    struct ap_error err;
    tiny_stage_init(s, "ift", NULL);
    check_ok(ap_ift(&s->stage, &f->options, &err), err);
}

/* One sequence a step, so that a mean over rows is a mean over tokens. */
static void test_without_blend_and_decay_it_is_sft(void **state)
{
    (void)state;
    for (int lora = 0; lora < 2; lora++) {
        struct fixture ift, sft;
        struct tiny_stage a, b;
        struct ap_error err;
        open_with(&ift, lora, 1, 0, 0);
        open_with(&sft, lora, 1, 0, 0);
        struct ap_sft_options options = {.lm = sft.lm,
                                         .role = sft.options.role,
                                         .sequences = sft.sequences,
                                         .n = N,
                                         .epochs = EPOCHS,
                                         .batch = 1,
                                         .optimiser = &sft.settings.optimiser};
        train(&ift, &a);
        tiny_stage_init(&b, "ift", NULL); /* its name is in the order of the examples */
        check_ok(ap_sft(&b.stage, &options, &err), err);
        assert_int_equal(a.n_step, EPOCHS * N);
        for (int i = 0; i < a.n_step; i++)
            assert_true(a.loss[i] == b.loss[i]);
        tiny_same_tables(trained(&ift), trained(&sft));
        close_fixture(&ift);
        close_fixture(&sft);
    }
}

/* And of a batch: the mean over rows of each row's own mean. */
static void test_a_batch_without_blend_is_a_mean_of_rows(void **state)
{
    (void)state;
    struct fixture f;
    struct tiny_stage s;
    int32_t order[N];
    int64_t epoch = -1;
    double expected = 0;
    int first;
    open_with(&f, true, 4, 0, 0);
    tiny_stage_init(&s, "ift", NULL);
    int n = ap_epoch_batch(order, N, 4, 0, s.stage.seed, "ift", &epoch, &first);
    for (int i = 0; i < n; i++) {
        const struct ap_sequence *q = &f.sequences[order[first + i]];
        int n_token = 0;
        double sum = tiny_logp_sum(&f.options.role, q->ids, q->trained, q->n, &n_token);
        expected -= sum / n_token / n;
    }
    train(&f, &s);
    check_near(s.loss[0], expected, 1e-6, 1e-6);
    close_fixture(&f);
}

static void test_blend_and_decay_each_change_the_loss(void **state)
{
    (void)state;
    double loss[3];
    const double eta[] = {0, 0.2, 0}, g[] = {0, 0, 0.95};
    for (int i = 0; i < 3; i++) {
        struct fixture f;
        struct tiny_stage s;
        open_with(&f, true, 4, eta[i], g[i]);
        train(&f, &s);
        loss[i] = s.loss[0];
        close_fixture(&f);
    }
    assert_true(fabs(loss[1] - loss[0]) > 1e-4 && fabs(loss[2] - loss[0]) > 1e-4);
}

static void test_it_learns_and_micro_batches_change_nothing(void **state)
{
    (void)state;
    for (int lora = 0; lora < 2; lora++) {
        struct fixture whole, split;
        struct tiny_stage a, b;
        open_with(&whole, lora, 5, 0.2, 0.95);
        open_with(&split, lora, 5, 0.2, 0.95);
        whole.settings.epochs = split.settings.epochs = 10;
        split.settings.optimiser.batch_tokens = 1;
        whole.settings.optimiser.gradient_checkpointing = true;
        whole.settings.optimiser.eps = split.settings.optimiser.eps = 1e-3;
        float *base = tiny_values(&whole.lm->weights->table);
        train(&whole, &a);
        train(&split, &b);
        assert_int_equal(a.n_step, 20);
        for (int i = 0; i < a.n_step; i++)
            check_near(a.loss[i], b.loss[i], 1e-4, 1e-4);
        assert_true(a.loss[19] < 0.9 * a.loss[0]);
        float *after = tiny_values(&whole.lm->weights->table); /* the frozen copy, too */
        assert_memory_equal(base, after,
                            tiny_table_size(&whole.lm->weights->table) * sizeof(float));
        ap_free(base);
        ap_free(after);
        close_fixture(&whole);
        close_fixture(&split);
    }
}

static void test_stopped_and_resumed_is_undisturbed(void **state)
{
    for (int lora = 0; lora < 2; lora++) {
        struct fixture whole, part;
        struct tiny_stage a, b;
        struct ap_error err;
        char folder[512];
        snprintf(folder, sizeof(folder), "%s/%d", (const char *)*state, lora);
        check_ok(ap_dir_make(folder, &err), err);
        open_with(&whole, lora, 4, 0.2, 0.95);
        train(&whole, &a);
        for (int64_t stop = 5;; stop = 0) {
            open_with(&part, lora, 4, 0.2, 0.95);
            tiny_stage_init(&b, "ift", folder);
            b.stop_at = stop;
            ap_status status = ap_ift(&b.stage, &part.options, &err);
            if (stop == 0) {
                check_ok(status, err);
                break;
            }
            assert_int_equal(status, AP_INTERRUPTED);
            close_fixture(&part);
        }
        assert_int_equal(b.n_step, 7); /* of 12 */
        tiny_same_tables(trained(&whole), trained(&part));
        assert_true(a.loss[11] == b.loss[11]);
        close_fixture(&whole);
        close_fixture(&part);
    }
}

static void test_nothing_to_learn_from_is_an_error(void **state)
{
    (void)state;
    struct fixture f;
    struct tiny_stage s;
    struct ap_error err;
    open_with(&f, true, 4, 0.2, 0.95);
    f.options.n = 0;
    tiny_stage_init(&s, "ift", NULL);
    assert_int_equal(ap_ift(&s.stage, &f.options, &err), AP_INVALID);
    check_holds(err.text, "no training examples are left");
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_blend_and_decay_it_is_sft),
        cmocka_unit_test(test_a_batch_without_blend_is_a_mean_of_rows),
        cmocka_unit_test(test_blend_and_decay_each_change_the_loss),
        cmocka_unit_test(test_it_learns_and_micro_batches_change_nothing),
        cmocka_unit_test_setup_teardown(test_stopped_and_resumed_is_undisturbed, tiny_folder_make,
                                        tiny_folder_remove),
        cmocka_unit_test(test_nothing_to_learn_from_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
