/* LoRA dropout in the model: masks belong to sequence, position, layer and module, whatever comes
 * with a sequence; backward and checkpointing have the forward's; gradients by finite differences.
 */
#include "tiny.h"

enum { N_SEQ = 4 };

static const uint64_t records[N_SEQ] = {11, 3, 1 << 20, 7};

static struct ap_dropout drop_at(uint32_t step, const uint64_t *record)
{
    return (struct ap_dropout){.stream = {.seed = 5, .stage = 77, .step = step}, .record = record};
}

struct parts {
    struct ap_config c;
    struct ap_weights *w;
    struct ap_adapter *a;
    struct ap_role role;
    struct ap_tape *t;
    struct tiny_rows r;
};

static void open_parts(struct parts *p, double dropout, enum ap_tape_kind kind)
{
    struct ap_error err;
    p->c = tiny_config();
    p->w = tiny_weights(&p->c);
    p->a = tiny_adapter(p->w, false, true);
    p->a->dropout = dropout;
    p->role = (struct ap_role){p->w, p->a};
    check_ok(ap_adapter_set_trainable(p->a, &err), err);
    check_ok(ap_tape_open(&p->t, &p->c, 128, 3, kind, &err), err);
    tiny_fill(&p->r, &p->c, N_SEQ, 1);
}

static void close_parts(struct parts *p)
{
    ap_tape_close(p->t);
    ap_adapter_free(p->a);
    ap_weights_free(p->w);
}

static void forward(struct parts *p, const struct ap_rows *rows, float *hidden)
{
    struct ap_error err;
    check_ok(ap_forward(p->t, &p->role, rows, &err), err);
    memcpy(hidden, ap_tape_hidden(p->t), (size_t)rows->n_row * (size_t)p->c.width * sizeof(float));
}

static bool same(const float *a, const float *b, int n)
{
    return !memcmp(a, b, (size_t)n * sizeof(float));
}

static void test_by_sequence(void **state)
{
    (void)state;
    static float all[128 * 64], other[128 * 64];
    struct parts p;
    open_parts(&p, 0.3, AP_TAPE_FORWARD);
    int width = p.c.width, n = p.r.rows.n_row * width;
    struct ap_dropout d = drop_at(9, records);
    p.r.rows.dropout = &d;
    forward(&p, &p.r.rows, all);
    for (int s = 0; s < N_SEQ; s++) { /* alone, as in a batch */
        struct ap_dropout alone = drop_at(9, records + s);
        int from = p.r.start[s], m = p.r.start[s + 1] - from;
        struct ap_rows rows = {p.r.ids + from, (int32_t[]){0, m}, m, 1, &alone, NULL};
        forward(&p, &rows, other);
        assert_true(same(other, all + from * width, m * width));
        alone = drop_at(10, records + s);
        forward(&p, &rows, other);
        assert_false(same(other, all + from * width, m * width));
        alone = drop_at(9, &(uint64_t){99});
        forward(&p, &rows, other);
        assert_false(same(other, all + from * width, m * width));
    }
    /* no masks, no dropout: evaluation and RL */
    static float off[128 * 64];
    p.r.rows.dropout = NULL;
    forward(&p, &p.r.rows, other);
    p.a->dropout = 0;
    p.r.rows.dropout = &d;
    forward(&p, &p.r.rows, off);
    assert_true(same(other, off, n));
    assert_false(same(all, off, n));
    close_parts(&p);
}

/* Σ c_i logp_i, and with `back` its gradients. */
static double loss_of(struct parts *p, bool back)
{
    struct ap_error err;
    static int32_t row[128];
    static float logp[128], dlogp[128];
    int n = p->r.rows.n_row;
    double sum = 0;
    for (int i = 0; i < n; i++) {
        row[i] = i;
        dlogp[i] = (float)(i % 5) - 2;
    }
    check_ok(ap_forward(p->t, &p->role, &p->r.rows, &err), err);
    ap_logp_forward(p->t, &p->role, row, p->r.ids, n, 1, logp, NULL);
    for (int i = 0; i < n; i++)
        sum += (double)dlogp[i] * (double)logp[i];
    if (back) {
        ap_params_zero_grad(&p->a->table);
        ap_logp_backward(p->t, &p->role, row, p->r.ids, n, 1, dlogp, NULL);
        ap_backward(p->t, &p->role);
    }
    return sum;
}

static void move(struct parts *p, int row, uint64_t seed, double size)
{
    struct ap_random r = tiny_stream(seed);
    struct ap_param *q = &p->a->table.rows[row];
    for (size_t k = 0; k < q->n; k++)
        q->own[k] += (float)(size * ap_random_normal(&r));
    ap_params_repack(p->a->ops, &p->a->table);
}

/* Every matrix along a random direction, the masks held. */
static void test_gradients(void **state)
{
    (void)state;
    struct parts p;
    open_parts(&p, 0.4, AP_TAPE_BACKWARD);
    struct ap_dropout d = drop_at(1, records);
    p.r.rows.dropout = &d;
    const double step = 2e-3;
    for (int row = 0; row < p.a->table.n; row++) {
        struct ap_random r = tiny_stream(50);
        const struct ap_param *q = &p.a->table.rows[row];
        float *before = ap_calloc(q->n, sizeof(float));
        double want = 0, size = 0;
        memcpy(before, q->own, q->n * sizeof(float));
        loss_of(&p, true);
        for (size_t k = 0; k < q->n; k++) {
            want += (double)q->grad[k] * ap_random_normal(&r);
            size += (double)q->grad[k] * (double)q->grad[k];
        }
        move(&p, row, 50, step);
        double up = loss_of(&p, false);
        memcpy(q->own, before, q->n * sizeof(float));
        move(&p, row, 50, -step);
        double down = loss_of(&p, false);
        memcpy(q->own, before, q->n * sizeof(float));
        ap_params_repack(p.a->ops, &p.a->table);
        check_near((up - down) / (2 * step), want, 2e-2 * sqrt(size) + 2e-2, 0);
        ap_free(before);
    }
    close_parts(&p);
}

static void test_checkpoint(void **state)
{
    (void)state;
    struct parts p[2];
    struct ap_dropout d = drop_at(1, records);
    double loss[2];
    for (int k = 0; k < 2; k++) {
        open_parts(&p[k], 0.4, k ? AP_TAPE_CHECKPOINT : AP_TAPE_BACKWARD);
        p[k].r.rows.dropout = &d;
        loss[k] = loss_of(&p[k], true);
    }
    assert_true(loss[0] == loss[1]);
    for (int i = 0; i < p[0].a->table.n; i++) {
        const struct ap_param *q = &p[0].a->table.rows[i];
        assert_memory_equal(q->grad, p[1].a->table.rows[i].grad, q->n * sizeof(float));
    }
    close_parts(&p[0]);
    close_parts(&p[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_sequence),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
