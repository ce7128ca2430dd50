/* The reference cases in bf16 arithmetic: how far rounding the operands of linear maps to eight
 * bits takes logits, losses, gradients and scores from the reference's f32 values. The bounds are
 * about twice the worst that was measured over all cases (docs/decisions/0006-bf16.md, with what
 * PyTorch's own bf16 does on the same models). A lower bound shows that bf16 was computed in at
 * all. */
#include "golden.h"

#define LOGITS_MOST 0.12 /* of the largest logit of the position */
#define LOSS_MOST 0.0012 /* of the loss */
#define GRAD_MOST 0.15   /* norm of the difference over the norm, a tensor */
#define LORA_LOGITS_MOST 0.25
#define LORA_GRAD_MOST 0.25
#define SCORE_MOST 0.1 /* of the largest score */

struct worst {
    double logits, loss, grad, lora_logits, lora_grad, score;
};
static struct worst worst, least = {1, 1, 1, 1, 1, 1};

static void note(double *most, double *fewest, double value)
{
    *most = fmax(*most, value);
    *fewest = fmin(*fewest, value);
}

/* The largest distance of the gradients of a table from the case's. */
static double grads(const struct golden *g, const char *prefix, const struct ap_param_table *t)
{
    double most = 0;
    for (int i = 0; i < t->n; i++) {
        const struct ap_tensor_view *v = golden_view(g, prefix, t->rows[i].name);
        if (v)
            most = fmax(most, golden_distance(t->rows[i].grad, v->data, v->n));
    }
    return most;
}

static double relative(double got, double want)
{
    return fabs(got - want) / fabs(want);
}

static void case_model(struct golden *g)
{
    static struct labelled l;
    struct ap_error err;
    struct bench b = bench_open(g, "", NULL);
    check_ok(ap_weights_set_trainable(b.w, &err), err);
    labelled_find(&l, g, 0, g->n_seq - 1);
    labelled_forward(&l, &b, g);
    float *logits = golden_logits(&b, g->n_row);
    double off = golden_logits_distance(g, logits, "logits");
    ap_free(logits);
    double loss =
        relative(labelled_loss(&l), golden_number(g, NULL, "loss_mean_over_labelled_tokens"));
    labelled_backward(&l, &b);
    double grad = grads(g, "grad.", &b.w->table);
    printf("    logits %.2g  loss %.2g  gradients %.2g\n", off, loss, grad);
    note(&worst.logits, &least.logits, off);
    note(&worst.loss, &least.loss, loss);
    note(&worst.grad, &least.grad, grad);
    bench_close(&b);
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
    note(&worst.lora_logits, &least.lora_logits, golden_logits_distance(g, logits, "lora.logits"));
    ap_free(logits);
    labelled_loss(&l);
    labelled_backward(&l, &b);
    note(&worst.lora_grad, &least.lora_grad, grads(g, "lora.grad.", &b.adapter->table));
    bench_close(&b);
}

static void case_scores(struct golden *g)
{
    int32_t last[64];
    float score[64];
    if (!golden_has(g, "reward.scores"))
        return;
    const float *want = golden_data(g, "reward.scores", AP_F32);
    struct bench b = bench_open(g, "reward", NULL);
    for (int s = 0; s < g->n_seq; s++)
        last[s] = g->start[s + 1] - 1;
    bench_forward(&b, g);
    ap_scalar_forward(b.tape, &b.role, last, g->n_seq, score);
    for (int s = 0; s < g->n_seq; s++)
        note(&worst.score, &least.score,
             fabs((double)score[s] - want[s]) / golden_largest(want, g->n_seq));
    bench_close(&b);
}

static void check_bound(const char *name, double most, double fewest, double bound)
{
    printf("  %s: at most %.2g, bound %g\n", name, most, bound);
    if (!(most <= bound) || !(fewest > 0)) {
        fprintf(stderr, "bf16 %s: from %g to %g, expected above 0 and at most %g\n", name, fewest,
                most, bound);
        fail();
    }
}

static void test_bounds(void **state)
{
    (void)state;
    golden_dtype = AP_BF16;
    golden_each(case_model);
    golden_each(case_lora);
    golden_each(case_scores);
    check_bound("logits", worst.logits, least.logits, LOGITS_MOST);
    check_bound("loss", worst.loss, least.loss, LOSS_MOST);
    check_bound("gradients", worst.grad, least.grad, GRAD_MOST);
    check_bound("logits with LoRA", worst.lora_logits, least.lora_logits, LORA_LOGITS_MOST);
    check_bound("gradients of LoRA", worst.lora_grad, least.lora_grad, LORA_GRAD_MOST);
    check_bound("scores", worst.score, least.score, SCORE_MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
