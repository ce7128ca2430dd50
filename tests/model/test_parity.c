/* Parity with transformers and peft on the reference cases: logits, log-probabilities, entropy,
 * losses, every gradient, LoRA, scores, greedy tokens. */
#include "golden.h"

static void check_logits(const struct golden *g, const float *logits, const char *key)
{
    double worst = golden_logits_distance(g, logits, key);
    printf("    %s: %.2g\n", key, worst);
    assert_true(worst <= 2e-5);
}

static void case_logits(struct golden *g)
{
    struct bench b = bench_open(g, "", NULL);
    bench_forward(&b, g);
    float *logits = golden_logits(&b, g->n_row);
    check_logits(g, logits, "logits");
    ap_free(logits);
    bench_close(&b);
}

static void test_logits(void **state)
{
    (void)state;
    golden_each(case_logits);
}

static void case_logp(struct golden *g)
{
    static struct labelled l;
    const float *want = golden_data(g, "logprob_of_next", AP_F32);
    const float *want_entropy = golden_data(g, "entropy", AP_F32);
    struct bench b = bench_open(g, "", NULL);
    l.n = 0;
    for (int s = 0; s < g->n_seq; s++)
        for (int t = 0; t + 1 < g->start[s + 1] - g->start[s]; t++) {
            l.row[l.n] = g->start[s] + t;
            l.target[l.n++] = g->ids[g->start[s] + t + 1];
        }
    bench_forward(&b, g);
    ap_logp_forward(b.tape, &b.role, l.row, l.target, l.n, 1, l.logp, l.entropy);
    for (int s = 0, i = 0; s < g->n_seq; s++)
        for (int t = 0; t + 1 < g->start[s + 1] - g->start[s]; t++, i++) {
            check_near(l.logp[i], want[s * (g->width - 1) + t], 2e-5, 2e-5);
            check_near(l.entropy[i], want_entropy[s * g->width + t], 2e-5, 2e-5);
        }
    bench_close(&b);
}

static void test_logp(void **state)
{
    (void)state;
    golden_each(case_logp);
}

static void case_gradients(struct golden *g)
{
    static struct labelled l;
    struct ap_error err;
    struct bench b = bench_open(g, "", NULL);
    check_ok(ap_weights_set_trainable(b.w, &err), err);
    labelled_find(&l, g, 0, g->n_seq - 1);
    labelled_forward(&l, &b, g);
    check_near(labelled_loss(&l), golden_number(g, NULL, "loss_mean_over_labelled_tokens"), 0,
               1e-6);
    labelled_backward(&l, &b);
    golden_check_table(g, "grad.", &b.w->table);
    bench_close(&b);
}

static void test_gradients(void **state)
{
    (void)state;
    golden_each(case_gradients);
}

static void case_lora(struct golden *g)
{
    static struct labelled l;
    struct ap_error err;
    if (!golden_has(g, "lora.logits"))
        return;
    struct bench b = bench_open(g, "", "adapter");
    check_ok(ap_adapter_set_trainable(b.adapter, &err), err);
    labelled_find(&l, g, 0, g->n_seq - 1);
    labelled_forward(&l, &b, g);
    float *logits = golden_logits(&b, g->n_row);
    check_logits(g, logits, "lora.logits");
    ap_free(logits);
    check_near(labelled_loss(&l), golden_number(g, NULL, "lora_loss"), 0, 1e-6);
    labelled_backward(&l, &b);
    golden_check_table(g, "lora.grad.", &b.adapter->table);
    bench_close(&b);
}

static void test_lora(void **state)
{
    (void)state;
    golden_each(case_lora);
}

static double log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

static void check_scores(const struct golden *g, struct bench *b, const char *key, float *score,
                         int32_t *last)
{
    const float *want = golden_data(g, key, AP_F32);
    for (int s = 0; s < g->n_seq; s++)
        last[s] = g->start[s + 1] - 1;
    bench_forward(b, g);
    ap_scalar_forward(b->tape, &b->role, last, g->n_seq, score);
    for (int s = 0; s < g->n_seq; s++)
        check_near(score[s], want[s], 2e-5 * golden_largest(want, g->n_seq), 0);
}

/* math.md (9), the pair of rows 0 and 1. */
static void case_reward(struct golden *g)
{
    struct ap_error err;
    float score[64], dscore[64] = {0};
    int32_t last[64];
    if (!golden_has(g, "reward.scores"))
        return;
    struct bench b = bench_open(g, "reward", NULL);
    assert_int_equal(b.w->config.n_label, 1);
    check_ok(ap_weights_set_trainable(b.w, &err), err);
    check_scores(g, &b, "reward.scores", score, last);
    double margin = golden_number(g, "bradley_terry", "margin");
    double centre = golden_number(g, "bradley_terry", "centre");
    double z = (double)score[0] - score[1] - margin, sum = (double)score[0] + score[1];
    check_near(-log_sigmoid(z) + centre * sum * sum, golden_number(g, "bradley_terry", "loss"), 0,
               1e-5);
    double slope = exp(log_sigmoid(-z));
    dscore[0] = (float)(-slope + 2 * centre * sum);
    dscore[1] = (float)(slope + 2 * centre * sum);
    ap_scalar_backward(b.tape, &b.role, last, 2, dscore);
    ap_backward(b.tape, &b.role);
    golden_check_table(g, "reward.grad.", &b.w->table);
    bench_close(&b);
    if (golden_has(g, "reward_adapter.scores")) {
        b = bench_open(g, "reward", "reward_adapter");
        assert_true(b.adapter->score >= 0);
        check_scores(g, &b, "reward_adapter.scores", score, last);
        bench_close(&b);
    }
}

static void test_reward(void **state)
{
    (void)state;
    golden_each(case_reward);
}

static int32_t argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

#define GREEDY_MAX 8
#define PROMPT_MAX 128

/* The positions that a case's continuations take. */
static int greedy_context(const json_t *list)
{
    size_t longest = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        size_t n = json_array_size(json_object_get(o, "prompt")) +
                   json_array_size(json_object_get(o, "new"));
        longest = n > longest ? n : longest;
    }
    return (int)longest;
}

/* All prompts at once, the first forward over all their tokens, then a token each. */
static void case_greedy(struct golden *g)
{
    const json_t *list = json_object_get(g->json, "greedy");
    int context = greedy_context(list);
    struct bench b = bench_open_for(g, "", NULL, context);
    struct ap_error err;
    struct ap_kv *kv;
    int n = (int)json_array_size(list), n_row = 0, n_vocab = b.w->config.n_vocab;
    static int32_t ids[GREEDY_MAX * PROMPT_MAX], slot[GREEDY_MAX * PROMPT_MAX],
        pos[GREEDY_MAX * PROMPT_MAX];
    int32_t last[GREEDY_MAX];
    float *logits = ap_calloc(GREEDY_MAX * (size_t)n_vocab, sizeof(float));
    assert_true(n > 0 && n <= GREEDY_MAX);
    check_ok(ap_kv_open(&kv, &b.w->config, n, context, n * PROMPT_MAX, 0, &err), err);
    for (int s = 0; s < n; s++) {
        const json_t *prompt = json_object_get(json_array_get(list, (size_t)s), "prompt");
        for (size_t t = 0; t < json_array_size(prompt); t++, n_row++) {
            ids[n_row] = (int32_t)json_integer_value(json_array_get(prompt, t));
            slot[n_row] = s;
            pos[n_row] = (int32_t)t;
        }
        last[s] = n_row - 1;
    }
    size_t n_new = json_array_size(json_object_get(json_array_get(list, 0), "new"));
    int32_t at[GREEDY_MAX];
    for (int s = 0; s < n; s++)
        at[s] = pos[last[s]];
    for (size_t step = 0; step < n_new; step++) {
        check_ok(ap_decode(kv, &b.role, ids, slot, pos, n_row, &err), err);
        ap_decode_logits(kv, &b.role, last, n, logits);
        for (int s = 0; s < n; s++) {
            const json_t *want = json_object_get(json_array_get(list, (size_t)s), "new");
            ids[s] = argmax(logits + (size_t)s * (size_t)n_vocab, n_vocab);
            assert_int_equal(ids[s], json_integer_value(json_array_get(want, step)));
            slot[s] = last[s] = s;
            pos[s] = ++at[s];
        }
        n_row = n;
    }
    ap_kv_close(kv);
    ap_free(logits);
    bench_close(&b);
}

static void test_greedy(void **state)
{
    (void)state;
    golden_each(case_greedy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),    cmocka_unit_test(test_logp),
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_lora),
        cmocka_unit_test(test_reward),    cmocka_unit_test(test_greedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
