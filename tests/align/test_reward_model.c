/* Rewards that a model learns: a scalar head on an adapter, a whole classifier, the implicit
 * reward. They learn a toy preference, say the same after saving and loading, and read what they
 * should. math.md (9), (9a). And rules. */
#include "align/dpo.h"
#include "align/loss.h"
#include "align/reward.h"
#include "align/reward_train.h"
#include "align/tiny_lm.h"

enum { N_PAIR = 24, N_VALID = 8 };
enum kind { HEAD, WHOLE, IMPLICIT, N_KIND };

struct fixture {
    enum kind kind;
    struct ap_lm *lm;
    struct ap_adapter *adapter;
    struct ap_weights *weights; /* WHOLE */
    struct ap_pair pairs[N_PAIR], valid[N_VALID];
    struct ap_reward_train_settings settings;
    struct ap_reward_train_options options;
    struct ap_dpo_options dpo; /* IMPLICIT */
    struct ap_reward reward;
};

/* Whoever names the sea is better, whatever the prompt. */
static void make_pair(const struct fixture *f, struct ap_pair *pair, int i)
{
    static const char *const animals[] = {"otter", "fox", "bear", "wolf", "deer", "goat", "duck"};
    char x[64], good[64], bad[64];
    struct ap_error err;
    bool fits;
    snprintf(x, sizeof(x), "Tell me about the %s %d.", animals[i % 7], i);
    snprintf(good, sizeof(good), "The %s is in the sea.", animals[(i + 2) % 7]);
    snprintf(bad, sizeof(bad), "The %s is a lion.", animals[(i + 3) % 7]);
    const char *y[] = {good, bad};
    for (int k = 0; k < 2; k++) {
        struct ap_sequence *s = k ? &pair->rejected : &pair->chosen;
        check_ok(
            (f->kind == IMPLICIT ? ap_sequence_make : ap_sequence_chat)(
                s, f->lm->chat, NULL, 0, x, y[k], TINY_CONTEXT, AP_TOO_LONG_ERROR, &fits, &err),
            err);
        assert_true(fits);
    }
}

static void open_role(struct fixture *f)
{
    struct ap_error err;
    f->options.role = (struct ap_role){f->lm->weights, NULL};
    if (f->kind == WHOLE) {
        check_ok(ap_weights_as_classifier(&f->weights, f->lm->weights, 9, &err), err);
        f->options.role.weights = f->weights;
        return;
    }
    f->adapter = tiny_adapter(f->lm, f->kind == HEAD, false, 4);
    f->options.role.adapter = f->adapter;
    if (f->kind == IMPLICIT)
        f->dpo = (struct ap_dpo_options){.lm = f->lm,
                                         .role = f->options.role,
                                         .reference = {f->lm->weights, NULL},
                                         .weights = {.beta = 0.5},
                                         .pairs = f->pairs,
                                         .n = N_PAIR,
                                         .valid = f->valid,
                                         .n_valid = N_VALID,
                                         .batch = 6,
                                         .optimiser = &f->settings.optimiser};
}

static void open_with(struct fixture *f, enum kind kind)
{
    *f = (struct fixture){.kind = kind, .lm = tiny_lm_new(3)};
    for (int i = 0; i < N_PAIR; i++)
        make_pair(f, &f->pairs[i], i);
    for (int i = 0; i < N_VALID; i++)
        make_pair(f, &f->valid[i], 100 + i);
    f->settings = (struct ap_reward_train_settings){.epochs = 4,
                                                    .batch = 6,
                                                    .centre = 0.01,
                                                    .optimiser = {.lr = 1e-2,
                                                                  .schedule = (char *)"cosine",
                                                                  .lr_end = 0.1,
                                                                  .beta1 = 0.9,
                                                                  .beta2 = 0.95,
                                                                  .eps = 1e-8,
                                                                  .clip = 1,
                                                                  .batch_tokens = 128}};
    f->options = (struct ap_reward_train_options){.lm = f->lm,
                                                  .pairs = f->pairs,
                                                  .n = N_PAIR,
                                                  .valid = f->valid,
                                                  .n_valid = N_VALID,
                                                  .settings = &f->settings};
    open_role(f);
}

static void open_reward(struct fixture *f, const struct ap_role *role, int batch_tokens)
{
    struct ap_error err;
    ap_reward_free(&f->reward);
    if (f->kind == IMPLICIT)
        check_ok(ap_reward_implicit(&f->reward, f->lm, role, &f->dpo.reference, 0.5, 0.002,
                                    batch_tokens, &err),
                 err);
    else
        check_ok(ap_reward_classifier(&f->reward, f->lm, role, batch_tokens, &err), err);
}

static void close_fixture(struct fixture *f)
{
    ap_reward_free(&f->reward);
    for (int i = 0; i < N_PAIR; i++) {
        ap_sequence_free(&f->pairs[i].chosen);
        ap_sequence_free(&f->pairs[i].rejected);
    }
    for (int i = 0; i < N_VALID; i++) {
        ap_sequence_free(&f->valid[i].chosen);
        ap_sequence_free(&f->valid[i].rejected);
    }
    ap_adapter_free(f->adapter);
    ap_weights_free(f->weights);
    ap_lm_free(f->lm);
}

static const struct ap_param_table *trained(const struct fixture *f)
{
    return f->adapter ? &f->adapter->table : &f->weights->table;
}

static ap_status train_stage(struct fixture *f, struct tiny_stage *s, double *accuracy,
                             struct ap_error *err)
{
    f->dpo.epochs = f->settings.epochs;
    return f->kind == IMPLICIT ? ap_dpo(&s->stage, &f->dpo, accuracy, err)
                               : ap_reward_train(&s->stage, &f->options, accuracy, err);
}

static double train(struct fixture *f, struct tiny_stage *s)
{
    struct ap_error err;
    double accuracy = -1;
    tiny_stage_init(s, "reward", NULL);
    check_ok(train_stage(f, s, &accuracy, &err), err);
    return accuracy;
}

static const struct ap_scored answers[] = {
    {.x = "Tell me about the fox 7.", .y = "The otter is in the sea.", .ended = true},
    {.x = "Tell me about the fox 7.", .y = "The otter is a lion.", .ended = true},
    {.x = "bear", .y = "It is in the sea.", .ended = true},
    {.x = "bear", .y = "", .ended = true},
    {.x = "What of a long prompt about wolf and deer and duck?", .y = "The sea, the sea."},
};
enum { N_ANSWER = AP_LEN(answers) };

static void test_a_toy_preference_is_learned(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_KIND; kind++) {
        struct fixture f;
        struct tiny_stage s;
        struct ap_error err;
        double score[N_ANSWER];
        open_with(&f, (enum kind)kind);
        float *base = tiny_values(&f.lm->weights->table);
        double accuracy = train(&f, &s);
        assert_int_equal(s.n_step, 16);
        if (kind != WHOLE) /* a head of zeros, or a policy that is its own reference: log 2 */
            check_near(s.loss[0], log(2), 1e-6, 0);
        assert_true(s.loss[15] < 0.5 * s.loss[0]);
        assert_true(accuracy >= 0.75);
        open_reward(&f, &f.options.role, 256);
        check_ok(ap_reward_score(&f.reward, answers, N_ANSWER, score, &err), err);
        assert_true(score[0] > score[1] + 0.2);
        float *base_after = tiny_values(&f.lm->weights->table);
        assert_memory_equal(base, base_after,
                            tiny_table_size(&f.lm->weights->table) * sizeof(float));
        ap_free(base);
        ap_free(base_after);
        close_fixture(&f);
    }
}

static void test_micro_batches_change_nothing(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_KIND; kind++) {
        struct fixture a, b;
        struct tiny_stage s, t;
        open_with(&a, (enum kind)kind);
        open_with(&b, (enum kind)kind);
        a.settings.epochs = b.settings.epochs = 1;
        a.settings.optimiser.eps = b.settings.optimiser.eps = 1e-3;
        b.settings.optimiser.batch_tokens = 1;
        train(&a, &s);
        train(&b, &t);
        for (int i = 0; i < s.n_step; i++)
            check_near(s.loss[i], t.loss[i], 1e-6, 1e-6);
        close_fixture(&a);
        close_fixture(&b);
    }
}

/* -- scores -- */

static ap_status save_role(const struct fixture *f, const char *folder, struct ap_error *err)
{
    return f->adapter ? ap_adapter_save(f->adapter, folder, "tiny", err)
                      : ap_weights_save(f->weights, folder, err);
}

static void test_scores_are_the_same_after_saving_and_in_any_batch(void **state)
{
    for (int kind = 0; kind < N_KIND; kind++) {
        struct fixture f;
        struct tiny_stage s;
        struct ap_error err;
        double score[N_ANSWER], again[N_ANSWER];
        char folder[512];
        struct ap_role loaded;
        snprintf(folder, sizeof(folder), "%s/%d", (const char *)*state, kind);
        open_with(&f, (enum kind)kind);
        f.settings.epochs = 1;
        train(&f, &s);
        open_reward(&f, &f.options.role, 256);
        check_ok(ap_reward_score(&f.reward, answers, N_ANSWER, score, &err), err);
        check_ok(save_role(&f, folder, &err), err);
        loaded = (struct ap_role){f.lm->weights, NULL};
        if (f.adapter)
            check_ok(ap_adapter_load(&loaded.adapter, f.lm->weights, folder, &err), err);
        else
            check_ok(ap_weights_load(&loaded.weights, folder, 0, AP_F32, &err), err);
        open_reward(&f, &loaded, 1); /* and one answer at a time */
        check_ok(ap_reward_score(&f.reward, answers, N_ANSWER, again, &err), err);
        assert_memory_equal(score, again, sizeof(score));
        ap_reward_free(&f.reward);
        ap_adapter_free(loaded.adapter);
        if (!f.adapter)
            ap_weights_free(loaded.weights);
        close_fixture(&f);
    }
}

/* β Σ log((π_ψ + ε)/(π_ref + ε)) over the marked tokens, token by token. */
static double implicit_by_hand(const struct fixture *f, const struct ap_scored *a, bool with_end)
{
    struct ap_error err;
    struct ap_sequence s;
    bool fits;
    double sum = 0;
    check_ok(ap_sequence_make(&s, f->lm->chat, NULL, 0, a->x, a->y, TINY_CONTEXT, AP_TOO_LONG_ERROR,
                              &fits, &err),
             err);
    for (int32_t t = s.n_prompt; t < s.n - !with_end; t++) {
        uint8_t only[TINY_CONTEXT] = {0};
        int n = 0;
        only[t] = 1;
        double p = exp(tiny_logp_sum(&f->options.role, s.ids, only, s.n, &n));
        double q = exp(tiny_logp_sum(&f->dpo.reference, s.ids, only, s.n, &n));
        assert_int_equal(n, 2);
        sum += 0.5 * log((p + 0.002) / (q + 0.002));
    }
    ap_sequence_free(&s);
    return sum;
}

static void test_an_answer_without_an_end_is_not_paid_for_one(void **state)
{
    (void)state;
    struct fixture f;
    struct tiny_stage s;
    struct ap_error err;
    struct ap_scored items[2] = {answers[0], answers[0]};
    double score[2];
    open_with(&f, IMPLICIT);
    train(&f, &s);
    open_reward(&f, &f.options.role, 256);
    items[1].ended = false;
    check_ok(ap_reward_score(&f.reward, items, 2, score, &err), err);
    check_near(score[0], implicit_by_hand(&f, &items[0], true), 1e-5, 1e-5);
    check_near(score[1], implicit_by_hand(&f, &items[1], false), 1e-5, 1e-5);
    assert_true(fabs(score[0] - score[1]) > 1e-3);
    close_fixture(&f);
}

static void test_the_context_is_read(void **state)
{
    (void)state;
    const struct ap_message system = {"system", "Be kind."};
    for (int kind = 0; kind < N_KIND; kind++) {
        struct fixture f;
        struct tiny_stage s;
        struct ap_error err;
        struct ap_scored items[2] = {answers[0], answers[0]};
        double score[2];
        open_with(&f, (enum kind)kind);
        f.settings.epochs = 1;
        train(&f, &s);
        open_reward(&f, &f.options.role, 256);
        items[1].context = &system;
        items[1].n_context = 1;
        check_ok(ap_reward_score(&f.reward, items, 2, score, &err), err);
        assert_true(score[0] != score[1]);
        close_fixture(&f);
    }
}

static void test_a_prompt_without_room_for_an_answer_is_an_error(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_error err;
    char x[4 * TINY_CONTEXT];
    double score = 0;
    struct ap_scored item = {.x = x, .y = "yes", .ended = true}, empty = {.x = "owl", .y = ""};
    memset(x, 'q', sizeof(x) - 1);
    x[sizeof(x) - 1] = '\0';
    open_with(&f, IMPLICIT);
    open_reward(&f, &f.options.role, 256);
    assert_int_equal(ap_reward_score(&f.reward, &item, 1, &score, &err), AP_LIMIT);
    check_holds(err.text, "leaves no room for an answer in a context of 160 tokens");
    check_ok(ap_reward_score(&f.reward, &empty, 1, &score, &err), err); /* not one token */
    assert_true(score == 0);
    close_fixture(&f);
}

static void test_normalised_scores_have_mean_0_and_variance_1(void **state)
{
    (void)state;
    struct ap_reward r = {.gain = 1};
    const double raw[] = {1, 2, 4, 9}, equal[] = {3, 3, 3};
    double mean = 0, square = 0;
    ap_reward_normalise(&r, raw, 4);
    for (int i = 0; i < 4; i++) {
        double z = r.gain * raw[i] + r.bias;
        mean += z / 4;
        square += z * z / 4;
    }
    check_near(mean, 0, 1e-12, 0);
    check_near(square, 1, 1e-12, 0);
    ap_reward_normalise(&r, equal, 3);
    assert_true(r.gain == 1);
    check_near(r.bias, -3, 1e-12, 0);
}

static void test_a_score_that_is_not_finite_is_an_error(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_error err;
    double score[N_ANSWER];
    open_with(&f, HEAD);
    f.adapter->table.rows[f.adapter->score].own[0] = NAN;
    ap_params_repack(f.adapter->ops, &f.adapter->table);
    open_reward(&f, &f.options.role, 256);
    assert_int_equal(ap_reward_score(&f.reward, answers, N_ANSWER, score, &err), AP_NUMERIC);
    check_holds(err.text, "The otter is in the sea.");
    check_holds(err.text, "expected a finite number");
    close_fixture(&f);
}

static void test_a_classifier_is_the_body_with_a_head_of_its_seed(void **state)
{
    (void)state;
    struct ap_lm *lm = tiny_lm_new(3);
    struct ap_weights *a, *b, *again;
    struct ap_error err;
    check_ok(ap_weights_as_classifier(&a, lm->weights, 1, &err), err);
    check_ok(ap_weights_as_classifier(&b, lm->weights, 2, &err), err);
    check_ok(ap_weights_as_classifier(&again, lm->weights, 1, &err), err);
    assert_int_equal(a->config.n_label, 1);
    assert_int_equal(a->table.n, lm->weights->table.n + 1); /* tied: no head is left out */
    tiny_same_tables(&a->table, &again->table);
    for (int i = 0; i < lm->weights->table.n; i++) {
        const struct ap_param *from = &lm->weights->table.rows[i];
        const struct ap_param *to = ap_params_find(&a->table, from->name);
        assert_memory_equal(to->data, from->data, from->n * sizeof(float));
        assert_ptr_not_equal(to->data, from->data);
    }
    const struct ap_param *x = &a->table.rows[a->score], *y = &b->table.rows[b->score];
    assert_memory_not_equal(x->data, y->data, x->n * sizeof(float));
    double square = 0;
    for (size_t k = 0; k < x->n; k++)
        square += (double)x->data[k] * (double)x->data[k] / (double)x->n;
    check_near(sqrt(square), tiny_lm_config.initializer_range, 0, 0.5);
    ap_weights_free(a);
    ap_weights_free(b);
    ap_weights_free(again);
    ap_lm_free(lm);
}

/* -- training that stops -- */

static void test_stopped_and_resumed_is_undisturbed(void **state)
{
    for (int kind = 0; kind < N_KIND; kind++) {
        struct fixture whole, part;
        struct tiny_stage a, b;
        struct ap_error err;
        double accuracy_whole, accuracy;
        char folder[512];
        snprintf(folder, sizeof(folder), "%s/%d", (const char *)*state, kind);
        check_ok(ap_dir_make(folder, &err), err);
        open_with(&whole, (enum kind)kind);
        accuracy_whole = train(&whole, &a);
        for (int64_t stop = 5;; stop = 0) {
            open_with(&part, (enum kind)kind);
            tiny_stage_init(&b, "reward", folder);
            b.stop_at = stop;
            ap_status status = train_stage(&part, &b, &accuracy, &err);
            if (stop == 0) {
                check_ok(status, err);
                break;
            }
            assert_int_equal(status, AP_INTERRUPTED);
            close_fixture(&part);
        }
        assert_int_equal(b.n_step, 11);
        tiny_same_tables(trained(&whole), trained(&part));
        assert_true(accuracy == accuracy_whole);
        close_fixture(&whole);
        close_fixture(&part);
    }
}

static void test_without_pairs_there_is_an_error(void **state)
{
    (void)state;
    struct fixture f;
    struct tiny_stage s;
    struct ap_error err;
    double accuracy;
    for (int kind = HEAD; kind < N_KIND; kind++) {
        open_with(&f, (enum kind)kind);
        f.options.n = f.dpo.n = 0;
        tiny_stage_init(&s, "reward", NULL);
        assert_int_equal(train_stage(&f, &s, &accuracy, &err), AP_INVALID);
        check_holds(err.text, "no preference pairs are left");
        close_fixture(&f);
    }
}

/* -- rules -- */

static double rule_of(const char *rule, const char *pattern, double length, const char *y)
{
    struct ap_reward r;
    struct ap_error err;
    double score;
    struct ap_scored item = {.x = "x", .y = y, .ended = true};
    check_ok(ap_reward_rule(&r, rule, pattern, length, &err), err);
    check_ok(ap_reward_score(&r, &item, 1, &score, &err), err);
    ap_reward_free(&r);
    return score;
}

static void test_rules(void **state)
{
    (void)state;
    check_near(rule_of("length", NULL, 4, "abcd"), 0, 0, 0);
    check_near(rule_of("length", NULL, 4, ""), -1, 1e-12, 0);
    check_near(rule_of("length", NULL, 4, "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9"), 0, 0, 0);
    check_near(rule_of("length", NULL, 4, "abcdef"), -0.5, 1e-12, 0);
    check_near(rule_of("regex", "^The \\p{L}+", 0, "The \xC3\xA9lan"), 1, 0, 0);
    check_near(rule_of("regex", "^The \\p{L}+", 0, "A fox"), 0, 0, 0);
    check_near(rule_of("regex", "fox", 0, "bad \xFF bytes, then a fox"), 1, 0, 0);
    check_near(rule_of("match", "yes", 0, "yes"), 1, 0, 0);
    check_near(rule_of("match", "yes", 0, "yes."), 0, 0, 0);
}

static void test_a_rule_that_makes_no_sense_is_an_error(void **state)
{
    (void)state;
    struct ap_reward r;
    struct ap_error err;
    assert_int_equal(ap_reward_rule(&r, "regex", "a(b", 0, &err), AP_INVALID);
    check_holds(err.text, "reward.pattern: 'a(b' at character 3");
    assert_int_equal(ap_reward_rule(&r, "length", NULL, 0, &err), AP_INVALID);
    check_holds(err.text, "reward.length > 0");
    assert_int_equal(ap_reward_rule(&r, "magic", NULL, 0, &err), AP_INVALID);
    check_holds(err.text, "got 'magic'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_toy_preference_is_learned),
        cmocka_unit_test(test_micro_batches_change_nothing),
        cmocka_unit_test_setup_teardown(test_scores_are_the_same_after_saving_and_in_any_batch,
                                        tiny_folder_make, tiny_folder_remove),
        cmocka_unit_test(test_an_answer_without_an_end_is_not_paid_for_one),
        cmocka_unit_test(test_the_context_is_read),
        cmocka_unit_test(test_a_prompt_without_room_for_an_answer_is_an_error),
        cmocka_unit_test(test_normalised_scores_have_mean_0_and_variance_1),
        cmocka_unit_test(test_a_classifier_is_the_body_with_a_head_of_its_seed),
        cmocka_unit_test(test_a_score_that_is_not_finite_is_an_error),
        cmocka_unit_test_setup_teardown(test_stopped_and_resumed_is_undisturbed, tiny_folder_make,
                                        tiny_folder_remove),
        cmocka_unit_test(test_without_pairs_there_is_an_error),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_a_rule_that_makes_no_sense_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
