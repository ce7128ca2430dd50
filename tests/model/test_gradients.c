/* Finite differences: each tensor's gradient, in its own direction and in a random one, of a loss
 * over log-probabilities, entropies and scalars at once. */
#include "tiny.h"

struct problem {
    struct ap_weights *w;
    struct ap_adapter *a;
    struct ap_tape *t;
    struct ap_role role;
    struct tiny_rows r;
    int32_t row[128], target[128], last[16];
    float dlogp[128], dentropy[128], dvalue[16];
    int n;
};

static void problem_open(struct problem *p, struct ap_config c, bool head)
{
    struct ap_error err;
    struct ap_random r = tiny_stream(21);
    *p = (struct problem){.w = tiny_weights(&c)};
    p->a = tiny_adapter(p->w, head, true);
    p->role = (struct ap_role){p->w, p->a};
    check_ok(ap_tape_open(&p->t, &c, 64, 3, AP_TAPE_BACKWARD, &err), err);
    check_ok(ap_weights_set_trainable(p->w, &err), err);
    check_ok(ap_adapter_set_trainable(p->a, &err), err);
    tiny_fill(&p->r, &c, 3, 8);
    for (int s = 0; s < 3; s++) {
        for (int32_t i = p->r.start[s]; i + 1 < p->r.start[s + 1]; i++) {
            p->row[p->n] = i;
            p->target[p->n] = p->r.ids[i + 1];
            p->dlogp[p->n] = (float)ap_random_normal(&r);
            p->dentropy[p->n++] = (float)ap_random_normal(&r);
        }
        p->last[s] = p->r.start[s + 1] - 1;
        p->dvalue[s] = head ? (float)ap_random_normal(&r) : 0;
    }
}

static void problem_close(struct problem *p)
{
    ap_tape_close(p->t);
    ap_adapter_free(p->a);
    ap_weights_free(p->w);
}

/* Σ dlogp·logp + dentropy·entropy + dvalue·value */
static double loss(struct problem *p)
{
    struct ap_error err;
    float logp[128], entropy[128], value[16];
    double sum = 0;
    bool head = p->a->score >= 0;
    check_ok(ap_forward(p->t, &p->role, &p->r.rows, &err), err);
    ap_logp_forward(p->t, &p->role, p->row, p->target, p->n, 0.7, logp, entropy);
    if (head)
        ap_scalar_forward(p->t, &p->role, p->last, 3, value);
    for (int i = 0; i < p->n; i++)
        sum += (double)p->dlogp[i] * logp[i] + (double)p->dentropy[i] * entropy[i];
    for (int s = 0; s < 3 && head; s++)
        sum += (double)p->dvalue[s] * value[s];
    return sum;
}

static void gradients(struct problem *p)
{
    loss(p);
    ap_logp_backward(p->t, &p->role, p->row, p->target, p->n, 0.7, p->dlogp, p->dentropy);
    if (p->a->score >= 0)
        ap_scalar_backward(p->t, &p->role, p->last, 3, p->dvalue);
    ap_backward(p->t, &p->role);
}

static double moved(struct problem *p, struct ap_param_table *t, struct ap_param *q,
                    const double *direction, double step)
{
    float *kept = ap_calloc(q->n, sizeof(float));
    memcpy(kept, q->own, q->n * sizeof(float));
    for (size_t k = 0; k < q->n; k++)
        q->own[k] += (float)(step * direction[k]);
    ap_params_repack(p->w->ops, t);
    double value = loss(p);
    memcpy(q->own, kept, q->n * sizeof(float));
    ap_params_repack(p->w->ops, t);
    ap_free(kept);
    return value;
}

/* The slope along a unit direction, by a rule of fourth order: f32 allows no small steps. */
static double slope(struct problem *p, struct ap_param_table *t, struct ap_param *q,
                    const double *direction)
{
    const double h = 0.002;
    double near = moved(p, t, q, direction, h) - moved(p, t, q, direction, -h);
    double far = moved(p, t, q, direction, 2 * h) - moved(p, t, q, direction, -2 * h);
    return (8 * near - far) / (12 * h);
}

static double normalise(double *x, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += x[k] * x[k];
    for (size_t k = 0; k < n; k++)
        x[k] /= sqrt(sum);
    return sqrt(sum);
}

static void check_table(struct problem *p, struct ap_param_table *t)
{
    struct ap_random r = tiny_stream(33);
    for (int i = 0; i < t->n; i++) {
        struct ap_param *q = &t->rows[i];
        double *d = ap_calloc(q->n, sizeof(double)), dot = 0;
        for (size_t k = 0; k < q->n; k++)
            d[k] = q->grad[k];
        double norm = normalise(d, q->n);
        assert_true(norm > 0);
        double along = slope(p, t, q, d);
        for (size_t k = 0; k < q->n; k++)
            d[k] = ap_random_normal(&r);
        normalise(d, q->n);
        for (size_t k = 0; k < q->n; k++)
            dot += d[k] * q->grad[k];
        double across = slope(p, t, q, d);
        if (!(fabs(along - norm) <= 1e-3 * norm + 5e-3) ||
            !(fabs(across - dot) <= 1e-3 * norm + 5e-3)) {
            fprintf(stderr, "%s: slopes %g and %g, gradient says %g and %g\n", q->name, along,
                    across, norm, dot);
            fail();
        }
        ap_free(d);
    }
}

/* With inputs that are blends: the frozen embedding is another model's, and stays where it is. */
static void test_mixed(void **state)
{
    static struct problem p;
    static int32_t guess[128];
    struct ap_config c = tiny_config();
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        c.tied = tied;
        struct ap_weights *frozen = tiny_weights(&c);
        struct ap_mix mix = {guess, frozen, 0.3f};
        problem_open(&p, c, false);
        for (int i = 0; i < p.r.rows.n_row; i++)
            guess[i] = i % 3 ? (p.r.ids[i] + 7) % c.n_vocab : -1;
        double plain = loss(&p);
        p.r.rows.mix = &mix;
        assert_true(fabs(loss(&p) - plain) > 1e-3);
        gradients(&p);
        check_table(&p, &p.w->table);
        problem_close(&p);
        ap_weights_free(frozen);
    }
}

/* No blend: the same bits; and a guess outside of the vocabulary is refused. */
static void test_a_blend_of_nothing_changes_nothing(void **state)
{
    static struct problem p;
    static int32_t guess[128];
    struct ap_error err;
    (void)state;
    problem_open(&p, tiny_config(), false);
    struct ap_mix mix = {guess, p.w, 0};
    double plain = loss(&p);
    p.r.rows.mix = &mix;
    assert_true(loss(&p) == plain);
    mix.eta = 0.5f;
    for (int i = 0; i < p.r.rows.n_row; i++)
        guess[i] = -1;
    assert_true(loss(&p) == plain);
    guess[2] = tiny_config().n_vocab;
    assert_int_equal(ap_forward(p.t, &p.role, &p.r.rows, &err), AP_INVALID);
    check_holds(err.text, "guessed token id");
    problem_close(&p);
}

static void check_problem(struct ap_config c, bool head)
{
    static struct problem p;
    problem_open(&p, c, head);
    gradients(&p);
    check_table(&p, &p.w->table);
    check_table(&p, &p.a->table);
    problem_close(&p);
}

static void test_untied(void **state)
{
    (void)state;
    check_problem(tiny_config(), true);
}

static void test_tied(void **state)
{
    struct ap_config c = tiny_config();
    (void)state;
    c.tied = true;
    c.qkv_bias = c.o_bias = c.mlp_bias = false;
    c.n_kv_head = 4;
    c.rope = AP_ROPE_LLAMA3;
    c.rope_factor = 4;
    c.rope_low = 1;
    c.rope_high = 4;
    c.rope_original = 16;
    check_problem(c, false);
}

static void test_fused(void **state)
{
    struct ap_config c = tiny_config();
    (void)state;
    c.fused = true; /* with biases, which no family has */
    check_problem(c, true);
    check_problem(tiny_phi3_config(), false);
}

/* Every backward adds: twice the same is exactly double, in the head and below it. */
static void test_accumulation(void **state)
{
    static struct problem p;
    (void)state;
    problem_open(&p, tiny_config(), true);
    gradients(&p);
    struct ap_param *q = &p.w->table.rows[p.w->layers[0].map[AP_MAP_Q].weight];
    float *once = ap_calloc(q->n, sizeof(float));
    memcpy(once, q->grad, q->n * sizeof(float));
    ap_params_zero_grad(&p.w->table);
    gradients(&p);
    assert_memory_equal(once, q->grad, q->n * sizeof(float));
    gradients(&p);
    for (size_t k = 0; k < q->n; k++)
        check_near(q->grad[k], 2 * once[k], 1e-6, 1e-5);
    ap_free(once);
    problem_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_untied),
        cmocka_unit_test(test_tied),
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_a_blend_of_nothing_changes_nothing),
        cmocka_unit_test(test_accumulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
