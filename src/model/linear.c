/* The linear seam (linear.h). */
#include "model/linear.h"

#include "model/module.h"

#include <assert.h>

static const struct ap_param *row_or_null(const struct ap_param_table *t, int row)
{
    return row < 0 ? NULL : &t->rows[row];
}

struct ap_linear ap_linear_view(const struct ap_role *role, int layer, int map)
{
    const struct ap_weights *w = role->weights;
    const struct ap_adapter *a = role->adapter;
    const struct ap_map_index *at = &w->layers[layer].map[map];
    struct ap_linear m = {.ops = w->ops,
                          .w = &w->table.rows[at->weight],
                          .bias = row_or_null(&w->table, at->bias),
                          .part = at->part,
                          .train_base = w->trainable};
    int module = layer * AP_LORA_N + ap_module_of(&w->config, map);
    if (a && a->a[module] >= 0) {
        m.lora_a = &a->table.rows[a->a[module]];
        m.lora_b = &a->table.rows[a->b[module]];
        m.scale = a->scales[module];
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
    m->ops->linear(u, x, m->lora_a->part[0].packed, n_row, false);
    m->ops->scale(u, m->scale, (size_t)n_row * (size_t)rank);
    return u;
}

void ap_linear_forward(const struct ap_linear *m, float *y, const float *x, int n_row,
                       bool accumulate, struct ap_arena *room)
{
    const struct ap_part *part = &m->w->part[m->part];
    m->ops->linear(y, x, part->packed, n_row, accumulate);
    if (m->bias)
        m->ops->bias(y, m->bias->data + part->first, n_row, part->n);
    if (m->lora_a) {
        const struct ap_packed *b = m->lora_b->part[m->part].packed;
        size_t mark = ap_arena_mark(room);
        m->ops->linear(y, lora_inner(m, x, n_row, room), b, n_row, true);
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
    int rank = a->shape[0], n_in = a->shape[1], n_out = b->part[m->part].n;
    float *du = ap_arena_take(room, (size_t)n_row * (size_t)rank, sizeof(float));
    assert(du);
    m->ops->linear_dx(du, dy, b->part[m->part].packed, n_row, false);
    m->ops->scale(du, m->scale, (size_t)n_row * (size_t)rank);
    if (m->train_lora) {
        m->ops->linear_dw(ap_part_grad(b, m->part), dy, lora_inner(m, x, n_row, room), n_row, n_out,
                          rank);
        m->ops->linear_dw(a->grad, du, x, n_row, rank, n_in);
    }
    if (dx)
        m->ops->linear_dx(dx, du, a->part[0].packed, n_row, true);
}

void ap_linear_backward(const struct ap_linear *m, float *dx, const float *dy, const float *x,
                        int n_row, bool accumulate, struct ap_arena *room)
{
    int first = m->w->part[m->part].first, n_out = m->w->part[m->part].n, n_in = m->w->shape[1];
    if (dx)
        m->ops->linear_dx(dx, dy, m->w->part[m->part].packed, n_row, accumulate);
    if (m->train_base) {
        m->ops->linear_dw(ap_part_grad(m->w, m->part), dy, x, n_row, n_out, n_in);
        if (m->bias)
            m->ops->bias_db(m->bias->grad + first, dy, n_row, n_out);
    }
    if (m->lora_a && (dx || m->train_lora)) {
        size_t mark = ap_arena_mark(room);
        lora_backward(m, dx, dy, x, n_row, room);
        ap_arena_rewind(room, mark);
    }
}
