/* Language models one after another: what the second is given, whose log-probabilities a row's
 * columns hold, and that a chain of one is its policy. */
#include "align/pass_text.h"
#include "align/policy_lm.h"
#include "align/target.h"

#include "align/tiny_lm.h"

enum { EACH = 3, NEW = 7, ROWS = TINY_PROMPTS * EACH };

static const char meta[] = "again: {prompt}";

struct fixture {
    struct ap_lm *lm;
    struct tiny_prompts prompts;
    struct ap_prompts given; /* of the second pass */
    struct ap_text_pass text;
    struct ap_adapter *adapter[2], *reference[2];
    struct ap_rl_settings settings;
    struct ap_lm_policy *lm_policy[2];
    struct ap_policy_chain *chain;
    struct ap_policy policy;
    struct ap_rollout rollout;
};

/* n_pass 1: the first alone. */
static void open_fixture(struct fixture *f, int n_pass, int n_frozen, int n_slot)
{
    struct ap_error err;
    struct ap_chain_pass passes[2];
    *f = (struct fixture){.lm = tiny_lm_new(3)};
    tiny_prompts_open(&f->prompts, f->lm);
    f->settings = (struct ap_rl_settings){.optimiser = {.lr = 1e-3,
                                                        .schedule = (char *)"constant",
                                                        .beta1 = 0.9,
                                                        .beta2 = 0.95,
                                                        .eps = 1e-8,
                                                        .clip = 1,
                                                        .batch_tokens = 200}};
    f->text =
        (struct ap_text_pass){&f->prompts.prompts, &f->given, f->lm, meta, TINY_CONTEXT - NEW};
    for (int k = 0; k < n_pass; k++) {
        f->adapter[k] = tiny_adapter(f->lm, false, true, 1 + (uint64_t)k);
        check_ok(ap_adapter_copy(&f->reference[k], f->adapter[k], &err), err);
        struct ap_lm_policy_options options = {.lm = f->lm,
                                               .prompts = k ? &f->given : &f->prompts.prompts,
                                               .policy = {f->lm->weights, f->adapter[k]},
                                               .reference = {f->lm->weights, f->reference[k]},
                                               .settings = &f->settings,
                                               .n_updates = 10,
                                               .max_prompt = k ? f->text.max_tokens : 0,
                                               .frozen = k < n_frozen,
                                               .max_new_tokens = NEW,
                                               .n_slot = n_slot,
                                               .temperature = 1,
                                               .seed = 11,
                                               .stage = k ? "align-2" : "align"};
        check_ok(ap_lm_policy_open(&f->lm_policy[k], &options, &err), err);
        passes[k] =
            (struct ap_chain_pass){ap_lm_policy(f->lm_policy[k]), ap_text_pass_see, &f->text};
    }
    check_ok(ap_policy_chain_open(&f->chain, passes, n_pass, n_frozen, ROWS, &err), err);
    f->policy = ap_policy_chain(f->chain);
    check_ok(ap_rollout_init(&f->rollout, ROWS, ROWS * 2 * NEW, &err), err);
}

static void close_fixture(struct fixture *f)
{
    ap_policy_chain_close(f->chain);
    for (int k = 0; k < 2; k++) {
        ap_lm_policy_close(f->lm_policy[k]);
        ap_adapter_free(f->adapter[k]);
        ap_adapter_free(f->reference[k]);
    }
    ap_rollout_free(&f->rollout);
    ap_prompts_free(&f->given);
    ap_prompts_free(&f->prompts.prompts);
    ap_lm_free(f->lm);
}

static void sample_all(struct fixture *f, struct ap_policy *policy, int64_t step)
{
    struct ap_error err;
    const int32_t prompts[TINY_PROMPTS] = {4, 0, 5, 2, 1, 3};
    check_ok(policy->sample(policy->self, prompts, TINY_PROMPTS, EACH, step, &f->rollout, &err),
             err);
    assert_int_equal(f->rollout.n_row, ROWS);
}

static void forward_all(struct fixture *f, struct ap_policy *policy, ap_policy_role role,
                        double *logp)
{
    struct ap_error err;
    int32_t rows[ROWS];
    for (int i = 0; i < ROWS; i++)
        rows[i] = i;
    for (int i = 0, n; i < ROWS; i += n) {
        n = policy->fit(policy->self, &f->rollout, rows + i, ROWS - i);
        assert_in_range(n, 1, ROWS - i);
        check_ok(policy->forward(policy->self, role, &f->rollout, rows + i, n, logp, NULL, &err),
                 err);
    }
}

/* log ρ of an answer behind a prompt by a plain forward. */
static double logp_of(const struct fixture *f, int pass, const int32_t *prompt, int n_prompt,
                      const int32_t *ids, int n)
{
    int32_t all[TINY_CONTEXT];
    uint8_t marks[TINY_CONTEXT] = {0};
    int n_marked = 0;
    memcpy(all, prompt, (size_t)n_prompt * sizeof(*all));
    memcpy(all + n_prompt, ids, (size_t)n * sizeof(*all));
    memset(marks + n_prompt, 1, (size_t)n);
    return tiny_logp_sum(&(struct ap_role){f->lm->weights, f->adapter[pass]}, all, marks,
                         n_prompt + n, &n_marked);
}

static char *text_of(const struct fixture *f, const int32_t *ids, int n)
{
    struct ap_error err;
    char *text, *copy;
    size_t n_text;
    if (n > 0 && ids[n - 1] == f->lm->end[0])
        n--;
    check_ok(ap_tokenizer_decode(f->lm->tokenizer, ids, (size_t)n, true, &text, &n_text, &err),
             err);
    copy = ap_strndup(text, n_text);
    ap_text_free(text);
    return ap_strip(copy);
}

/* A row is the first pass's tokens and then the second's, to whom the first's text was the prompt:
 * its log-probability is the sum of two models' that know nothing of each other. */
static void test_a_rows_log_probability_is_the_sum_of_its_passes(void **state)
{
    (void)state;
    struct fixture f;
    struct ap_error err;
    int n_long = 0;
    open_fixture(&f, 2, 0, 5);
    sample_all(&f, &f.policy, 3);
    forward_all(&f, &f.policy, AP_POLICY, f.rollout.logp);
    forward_all(&f, &f.policy, AP_REFERENCE, f.rollout.logp_ref);
    assert_memory_equal(f.rollout.logp, f.rollout.logp_ref, f.rollout.n_token * sizeof(double));
    for (int i = 0; i < ROWS; i++) {
        const struct ap_rollout_row *row = &f.rollout.rows[i];
        const struct ap_prompt *x = &f.prompts.prompts.items[row->prompt];
        const int32_t *ids = f.rollout.ids + row->first;
        struct ap_sequence second = {0};
        int n = 0; /* of the first pass: to its end token, or as many as it may write */
        bool fits;
        double sum = 0;
        while (n < NEW && (n == 0 || ids[n - 1] != f.lm->end[0]))
            n++;
        char *text = text_of(&f, ids, n);
        char *wrapped = ap_meta_prompt_apply(meta, text[0] ? text : x->x);
        check_ok(ap_sequence_make(&second, f.lm->chat, NULL, 0, wrapped, NULL, TINY_CONTEXT,
                                  AP_TOO_LONG_ERROR, &fits, &err),
                 err);
        assert_int_equal(f.given.items[i].n, second.n);
        assert_memory_equal(f.given.items[i].ids, second.ids, (size_t)second.n * sizeof(int32_t));
        for (int t = 0; t < row->n; t++)
            sum += f.rollout.logp[row->first + (size_t)t];
        check_near(sum,
                   logp_of(&f, 0, x->ids, x->n, ids, n) +
                       logp_of(&f, 1, second.ids, second.n, ids + n, row->n - n),
                   1e-4, 0);
        n_long += row->n > NEW;
        ap_sequence_free(&second);
        ap_free(wrapped);
        ap_free(text);
    }
    assert_true(n_long > ROWS / 2);
    close_fixture(&f);
}

/* Neither the number of sequences decoded at once nor, in a group, what a frozen pass wrote. */
static void test_samples_depend_on_nothing_but_their_streams(void **state)
{
    (void)state;
    for (int n_frozen = 0; n_frozen < 2; n_frozen++) {
        struct fixture a, b;
        open_fixture(&a, 2, n_frozen, 2);
        open_fixture(&b, 2, n_frozen, 9);
        sample_all(&a, &a.policy, 2);
        sample_all(&b, &b.policy, 1); /* another step, which leaves nothing behind */
        assert_true(
            a.rollout.n_token != b.rollout.n_token ||
            memcmp(a.rollout.ids, b.rollout.ids, a.rollout.n_token * sizeof(*a.rollout.ids)) != 0);
        sample_all(&b, &b.policy, 2);
        assert_int_equal(a.rollout.n_token, b.rollout.n_token);
        assert_memory_equal(a.rollout.ids, b.rollout.ids,
                            a.rollout.n_token * sizeof(*a.rollout.ids));
        assert_int_equal(a.given.n, n_frozen ? TINY_PROMPTS : ROWS);
        close_fixture(&a);
        close_fixture(&b);
    }
}

static void test_the_gradient_goes_to_each_pass_and_to_no_frozen_one(void **state)
{
    (void)state;
    for (int n_frozen = 0; n_frozen < 2; n_frozen++) {
        struct fixture f;
        struct ap_error err;
        struct ap_policy_update u;
        int32_t rows[2] = {0, 7};
        open_fixture(&f, 2, n_frozen, 5);
        sample_all(&f, &f.policy, 0);
        float *begun[2] = {tiny_values(&f.adapter[0]->table), tiny_values(&f.adapter[1]->table)};
        check_ok(f.policy.forward(f.policy.self, AP_POLICY, &f.rollout, rows, 2, f.rollout.logp,
                                  NULL, &err),
                 err);
        for (size_t t = 0; t < f.rollout.n_token; t++)
            f.rollout.dlogp[t] = 1;
        check_ok(f.policy.backward(f.policy.self, &f.rollout, rows, 2, f.rollout.dlogp, NULL, &err),
                 err);
        f.policy.update(f.policy.self, 0, &u);
        assert_false(u.skipped);
        for (int k = 0; k < 2; k++) {
            float *after = tiny_values(&f.adapter[k]->table);
            size_t n = tiny_table_size(&f.adapter[k]->table) * sizeof(float);
            assert_int_equal(memcmp(begun[k], after, n) != 0, k >= n_frozen);
            ap_free(after);
            ap_free(begun[k]);
        }
        close_fixture(&f);
    }
}

static void test_a_chain_of_one_is_its_policy(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 1, 0, 5);
    struct ap_policy plain = ap_lm_policy(f.lm_policy[0]);
    int32_t ids[ROWS * NEW];
    sample_all(&f, &plain, 4);
    size_t n = f.rollout.n_token;
    memcpy(ids, f.rollout.ids, n * sizeof(*ids));
    forward_all(&f, &plain, AP_POLICY, f.rollout.logp_old);
    sample_all(&f, &f.policy, 4);
    forward_all(&f, &f.policy, AP_POLICY, f.rollout.logp);
    assert_int_equal(f.rollout.n_token, n);
    assert_memory_equal(f.rollout.ids, ids, n * sizeof(*ids));
    assert_memory_equal(f.rollout.logp, f.rollout.logp_old, n * sizeof(double));
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rows_log_probability_is_the_sum_of_its_passes),
        cmocka_unit_test(test_samples_depend_on_nothing_but_their_streams),
        cmocka_unit_test(test_the_gradient_goes_to_each_pass_and_to_no_frozen_one),
        cmocka_unit_test(test_a_chain_of_one_is_its_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
