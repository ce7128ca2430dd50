/* The linear seam (linear.h). */
#include "model/linear.h"

#include <assert.h>

static const struct ap_param *row_or_null(const struct ap_param_table *t, int row)
{
    return row < 0 ? NULL : &t->rows[row];
}

struct ap_linear ap_linear_view(const struct ap_role *role, int layer, int index)
{
    const struct ap_weights *w = role->weights;
    const struct ap_adapter *a = role->adapter;
    const struct ap_layer_index *l = &w->layers[layer];
    const int weight[AP_LORA_N] = {l->q, l->k, l->v, l->o, l->gate, l->up, l->down};
    const int bias[AP_LORA_N] = {l->q_bias,    l->k_bias,  l->v_bias,   l->o_bias,
                                 l->gate_bias, l->up_bias, l->down_bias};
    struct ap_linear m = {.ops = w->ops,
                          .w = row_or_null(&w->table, weight[index]),
                          .bias = row_or_null(&w->table, bias[index]),
                          .train_base = w->trainable};
    int at = layer * AP_LORA_N + index;
    if (a && a->a[at] >= 0) {
        m.lora_a = &a->table.rows[a->a[at]];
        m.lora_b = &a->table.rows[a->b[at]];
        m.scale = a->scale;
        m.train_lora = a->trainable;
    }
    return m;
}

/* u = s·(x Aᵀ), [M, r] */
static float *lora_inner(const struct ap_linear *m, const float *x, int n_row,
                         struct ap_arena *room)
{
    int rank = m->lora_a->shape[0];
    float *u = ap_arena_take(room, (size_t)n_row * (size_t)rank, sizeof(float));
    assert(u);
    m->ops->linear(u, x, m->lora_a->packed, n_row, false);
    m->ops->scale(u, m->scale, (size_t)n_row * (size_t)rank);
    return u;
}

void ap_linear_forward(const struct ap_linear *m, float *y, const float *x, int n_row,
                       bool accumulate, struct ap_arena *room)
{
    m->ops->linear(y, x, m->w->packed, n_row, accumulate);
    if (m->bias)
        m->ops->bias(y, m->bias->data, n_row, m->w->shape[0]);
    if (m->lora_a) {
        size_t mark = ap_arena_mark(room);
        m->ops->linear(y, lora_inner(m, x, n_row, room), m->lora_b->packed, n_row, true);
        ap_arena_rewind(room, mark);
    }
}

bool ap_linear_reads_x(const struct ap_linear *m)
{
    return m->train_base || m->train_lora;
}

static void lora_backward(const struct ap_linear *m, float *dx, const float *dy, const float *x,
                          int n_row, struct ap_arena *room)
{
    const struct ap_param *a = m->lora_a, *b = m->lora_b;
    int rank = a->shape[0], n_in = a->shape[1], n_out = b->shape[0];
    float *du = ap_arena_take(room, (size_t)n_row * (size_t)rank, sizeof(float));
    assert(du);
    m->ops->linear_dx(du, dy, b->data, n_row, n_out, rank, false);
    m->ops->scale(du, m->scale, (size_t)n_row * (size_t)rank);
    if (m->train_lora) {
        m->ops->linear_dw(b->grad, dy, lora_inner(m, x, n_row, room), n_row, n_out, rank);
        m->ops->linear_dw(a->grad, du, x, n_row, rank, n_in);
    }
    if (dx)
        m->ops->linear_dx(dx, du, a->data, n_row, rank, n_in, true);
}

void ap_linear_backward(const struct ap_linear *m, float *dx, const float *dy, const float *x,
                        int n_row, bool accumulate, struct ap_arena *room)
{
    int n_out = m->w->shape[0], n_in = m->w->shape[1];
    if (dx)
        m->ops->linear_dx(dx, dy, m->w->data, n_row, n_out, n_in, accumulate);
    if (m->train_base) {
        m->ops->linear_dw(m->w->grad, dy, x, n_row, n_out, n_in);
        if (m->bias)
            m->ops->bias_db(m->bias->grad, dy, n_row, n_out);
    }
    if (m->lora_a && (dx || m->train_lora)) {
        size_t mark = ap_arena_mark(room);
        lora_backward(m, dx, dy, x, n_row, room);
        ap_arena_rewind(room, mark);
    }
}
