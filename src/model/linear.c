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

void ap_linear_drop(struct ap_linear *m, const struct ap_role *role, int layer, int map,
                    const struct ap_stream *stream, const uint64_t *record, const int32_t *pos)
{
    double p = role->adapter ? role->adapter->dropout : 0;
    struct ap_stream of = *stream;
    struct ap_random r;
    if (!m->lora_a || p <= 0)
        return;
    of.record = 0;
    of.sample = (uint32_t)(layer * AP_LORA_N + ap_module_of(&role->weights->config, map));
    ap_random_init(&r, &of);
    m->drops = true;
    m->mask = (struct ap_mask){.key = {r.key[0], r.key[1]},
                               .mix = (uint64_t)r.counter[3] << 32 | r.counter[2],
                               .record = record,
                               .pos = pos,
                               .drop = (uint32_t)(p * 65536 + 0.5)};
    m->mask.scale = (float)(65536.0 / (65536.0 - m->mask.drop));
}

/* The mask from row i on. */
static struct ap_mask mask_at(const struct ap_linear *m, int i)
{
    struct ap_mask mask = m->mask;
    mask.record += i;
    mask.pos += i;
    return mask;
}

static int drop_rows(int n_row, int i)
{
    return n_row - i < AP_DROP_ROWS ? n_row - i : AP_DROP_ROWS;
}

static float *drop_buffer(const struct ap_linear *m, struct ap_arena *room)
{
    float *x =
        ap_arena_take(room, (size_t)AP_DROP_ROWS * (size_t)m->lora_a->shape[1], sizeof(float));
    assert(x);
    return x;
}

/* u = drop(x) Aᵀ, a block of rows at a time */
static void dropped_forward(const struct ap_linear *m, float *u, const float *x, int n_row,
                            struct ap_arena *room)
{
    int rank = m->lora_a->shape[0], n_in = m->lora_a->shape[1];
    size_t mark = ap_arena_mark(room);
    float *some = drop_buffer(m, room);
    for (int i = 0; i < n_row; i += AP_DROP_ROWS) {
        struct ap_mask mask = mask_at(m, i);
        int n = drop_rows(n_row, i);
        m->ops->dropout(some, x + (size_t)i * n_in, &mask, n, n_in, false);
        m->ops->linear(u + (size_t)i * rank, some, m->lora_a->part[0].packed, n, false);
    }
    ap_arena_rewind(room, mark);
}

/* dA += duᵀ drop(x) where A trains, dx += drop(du A) unless NULL */
static void dropped_backward(const struct ap_linear *m, float *dx, const float *du, const float *x,
                             int n_row, struct ap_arena *room)
{
    const struct ap_param *a = m->lora_a;
    int rank = a->shape[0], n_in = a->shape[1];
    size_t mark = ap_arena_mark(room);
    float *some = drop_buffer(m, room);
    for (int i = 0; i < n_row; i += AP_DROP_ROWS) {
        struct ap_mask mask = mask_at(m, i);
        int n = drop_rows(n_row, i);
        const float *dui = du + (size_t)i * rank;
        if (m->train_lora) {
            m->ops->dropout(some, x + (size_t)i * n_in, &mask, n, n_in, false);
            m->ops->linear_dw(a->grad, dui, some, n, rank, n_in);
        }
        if (dx) {
            m->ops->linear_dx(some, dui, a->part[0].packed, n, false);
            m->ops->dropout(dx + (size_t)i * n_in, some, &mask, n, n_in, true);
        }
    }
    ap_arena_rewind(room, mark);
}

/* u = s·(x Aᵀ), [M, r] */
static float *lora_inner(const struct ap_linear *m, const float *x, int n_row,
                         struct ap_arena *room)
{
    int rank = m->lora_a->shape[0];
    float *u = ap_arena_take(room, (size_t)n_row * (size_t)rank, sizeof(float));
    assert(u);
    if (m->drops)
        dropped_forward(m, u, x, n_row, room);
    else
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
        if (!m->drops)
            m->ops->linear_dw(a->grad, du, x, n_row, rank, n_in);
    }
    if (m->drops)
        dropped_backward(m, dx, du, x, n_row, room);
    else if (dx)
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
