/* Five steps of AdamW, all weights and an adapter, against torch's own losses and norms. */
#include "golden.h"

struct trajectory {
    const struct golden *g;
    const char *section; /* of expected.json */
    const char *prefix;  /* of the first step's gradients in expected.safetensors */
    double lr, beta1, beta2, eps, decay, clip;
    struct ap_param_table *table;
    float *m, *v; /* all rows one after another */
};

static size_t table_size(const struct ap_param_table *t)
{
    size_t n = 0;
    for (int i = 0; i < t->n; i++)
        n += t->rows[i].n;
    return n;
}

static void trajectory_open(struct trajectory *t)
{
    const json_t *o = json_object_get(t->g->json, t->section);
    const json_t *betas = json_object_get(o, "betas");
    t->lr = golden_number(t->g, t->section, "lr");
    t->eps = golden_number(t->g, t->section, "eps");
    t->decay = golden_number(t->g, t->section, "weight_decay");
    t->clip = golden_number(t->g, t->section, "clip");
    t->beta1 = json_number_value(json_array_get(betas, 0));
    t->beta2 = json_number_value(json_array_get(betas, 1));
    t->m = ap_calloc(table_size(t->table), sizeof(float));
    t->v = ap_calloc(table_size(t->table), sizeof(float));
    assert_true(t->m && t->v && t->beta1 > 0 && t->beta2 > 0);
}

static double grad_norm(const struct ap_ops *ops, const struct ap_param_table *t)
{
    double sum = 0;
    for (int i = 0; i < t->n; i++)
        sum += ops->sum_squares(t->rows[i].grad, t->rows[i].n);
    return sqrt(sum);
}

/* torch's clip_grad_norm_ and AdamW; decay on every parameter, as the reference says. */
static void trajectory_step(struct trajectory *t, const struct ap_ops *ops, double norm, int step)
{
    double scale = fmin(1, t->clip / (norm + 1e-6));
    size_t at = 0;
    for (int i = 0; i < t->table->n; i++) {
        struct ap_param *p = &t->table->rows[i];
        ops->adamw(p->own, p->grad, t->m + at, t->v + at, p->n, (float)scale, t->lr, t->beta1,
                   t->beta2, t->eps, t->decay, step);
        at += p->n;
    }
    ap_params_repack(ops, t->table);
    ap_params_zero_grad(t->table);
}

/* Adam's first step moves an element by about lr·sign(g). Where g is below rounding (a float32
 * gradient is some 3e-6 of its tensor's rms away from the float64 one, torch's too; ten times that
 * here) the step is the toss of a coin and the path that follows one of two. There, and only there,
 * the reference's own g is taken; returns how often. */
static int settle_noise(struct trajectory *t)
{
    int n = 0;
    for (int i = 0; i < t->table->n; i++) {
        struct ap_param *p = &t->table->rows[i];
        const float *want = golden_grad(t->g, t->prefix, p->name);
        double sum = 0;
        for (size_t k = 0; k < p->n; k++)
            sum += (double)want[k] * want[k];
        double noise = 3e-5 * sqrt(sum / (double)p->n);
        for (size_t k = 0; k < p->n; k++)
            if (want[k] != 0 && fabs((double)want[k]) < noise) {
                check_near(p->grad[k], want[k], noise, 0);
                p->grad[k] = want[k];
                n++;
            }
    }
    return n;
}

static void follow(struct trajectory *t, struct bench *b)
{
    static struct labelled l;
    const json_t *want =
        json_object_get(json_object_get(t->g->json, t->section), "loss_and_grad_norm");
    int n = (int)json_array_size(want);
    assert_true(n >= 5);
    trajectory_open(t);
    labelled_find(&l, t->g, 0, t->g->n_seq - 1);
    for (int step = 1; step <= n; step++) {
        const json_t *pair = json_array_get(want, (size_t)step - 1);
        labelled_forward(&l, b, t->g);
        check_near(labelled_loss(&l), json_number_value(json_array_get(pair, 0)), 0, 1e-4);
        labelled_backward(&l, b);
        double norm = grad_norm(b->w->ops, t->table);
        check_near(norm, json_number_value(json_array_get(pair, 1)), 0, 1e-4);
        if (step == 1)
            printf("    gradients below rounding: %d of %zu\n", settle_noise(t),
                   table_size(t->table));
        trajectory_step(t, b->w->ops, norm, step);
    }
    ap_free(t->m);
    ap_free(t->v);
}

static void case_full(struct golden *g)
{
    struct ap_error err;
    if (!json_object_get(g->json, "adamw_full"))
        return;
    struct bench b = bench_open(g, "", NULL);
    check_ok(ap_weights_set_trainable(b.w, &err), err);
    struct trajectory t = {
        .g = g, .section = "adamw_full", .prefix = "grad.", .table = &b.w->table};
    check_near(
        golden_number(g, NULL, "grad_norm"),
        json_number_value(json_array_get(
            json_array_get(
                json_object_get(json_object_get(g->json, "adamw_full"), "loss_and_grad_norm"), 0),
            1)),
        0, 1e-5);
    follow(&t, &b);
    bench_close(&b);
}

static void test_full(void **state)
{
    (void)state;
    golden_each(case_full);
}

static void case_lora(struct golden *g)
{
    struct ap_error err;
    if (!json_object_get(g->json, "adamw_lora"))
        return;
    struct bench b = bench_open(g, "", "adapter");
    check_ok(ap_adapter_set_trainable(b.adapter, &err), err);
    struct trajectory t = {
        .g = g, .section = "adamw_lora", .prefix = "lora.grad.", .table = &b.adapter->table};
    follow(&t, &b);
    bench_close(&b);
}

static void test_lora(void **state)
{
    (void)state;
    golden_each(case_lora);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full), cmocka_unit_test(test_lora)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
