/* One layer, forward and backward (block.h). */
#include "model/block.h"

#include <assert.h>
#include <math.h>
#include <string.h>

struct ap_block ap_block_view(const struct ap_role *role, int layer)
{
    const struct ap_weights *w = role->weights;
    struct ap_block b = {.weights = w,
                         .ops = w->ops,
                         .attention = ap_attention_shape_of(&w->config, layer),
                         .norm1 = &w->table.rows[w->layers[layer].norm1],
                         .norm2 = &w->table.rows[w->layers[layer].norm2]};
    for (int i = 0; i < AP_MAP_N; i++)
        b.map[i] = ap_linear_view(role, layer, i);
    return b;
}

struct ap_attention_shape ap_attention_shape_of(const struct ap_config *c, int layer)
{
    return (struct ap_attention_shape){.n_head = c->n_head,
                                       .n_kv_head = c->n_kv_head,
                                       .head_dim = c->head_dim,
                                       .scale = (float)(1 / sqrt(c->head_dim)),
                                       .window = ap_config_window(c, layer)};
}

void ap_embedding_forward(const struct ap_weights *w, float *y, const int32_t *ids, int n_row)
{
    const struct ap_param *embed = &w->table.rows[w->embed];
    if (embed->n_part)
        w->ops->embed_packed(y, embed->part[0].packed, ids, n_row);
    else
        w->ops->embed(y, embed->stored, embed->dtype, ids, n_row, w->config.width);
}

static size_t query_width(const struct ap_config *c)
{
    return (size_t)c->n_head * (size_t)c->head_dim;
}

static size_t key_width(const struct ap_config *c)
{
    return (size_t)c->n_kv_head * (size_t)c->head_dim;
}

void ap_acts_take(struct ap_acts *a, struct ap_layout *l, const struct ap_config *c, int n_row)
{
    size_t m = (size_t)n_row;
    a->rstd1 = ap_layout_floats(l, m, 1);
    a->q = ap_layout_floats(l, m, query_width(c));
    a->k = ap_layout_floats(l, m, key_width(c));
    a->v = ap_layout_floats(l, m, key_width(c));
    a->att = ap_layout_floats(l, m, query_width(c));
    a->lse = ap_layout_floats(l, m, (size_t)c->n_head);
    a->rstd2 = ap_layout_floats(l, m, 1);
    a->gate = ap_layout_floats(l, m, (size_t)c->n_ffn);
    a->up = ap_layout_floats(l, m, (size_t)c->n_ffn);
}

void ap_block_room(struct ap_layout *l, const struct ap_config *c, int n_row, int max_rank,
                   bool with_grad)
{
    size_t m = (size_t)n_row, ffn = (size_t)c->n_ffn, width = (size_t)c->width;
    size_t qkv = 2 * (query_width(c) + key_width(c));
    size_t backward = 2 * width + (3 * ffn > qkv ? 3 * ffn : qkv);
    size_t widest = with_grad ? backward : width + ffn;
    ap_layout_floats(l, m, widest);
    ap_layout_floats(l, m, 2 * (size_t)max_rank);
    if (with_grad && max_rank) { /* dropped inputs */
        size_t query = query_width(c), inputs = width > query ? width : query;
        ap_layout_floats(l, AP_DROP_ROWS, ffn > inputs ? ffn : inputs);
    }
    for (int i = 0; i < 8; i++) /* each piece is rounded up to its alignment */
        ap_layout_take(l, 64, 1);
}

static float *room_for(struct ap_arena *room, int n_row, size_t width)
{
    float *p = ap_arena_take(room, (size_t)n_row * width, sizeof(float));
    assert(p);
    return p;
}

static float *normed(const struct ap_block *b, const struct ap_param *norm, const float *x,
                     float *rstd, int n_row, struct ap_arena *room)
{
    const struct ap_config *c = &b->weights->config;
    float *n = room_for(room, n_row, (size_t)c->width);
    b->ops->rmsnorm(n, rstd, x, norm->data, n_row, c->width, c->rms_eps);
    return n;
}

static void rope(const struct ap_block *b, float *q, float *k, const int32_t *pos, int n_row,
                 bool inverse)
{
    const struct ap_weights *w = b->weights;
    const struct ap_config *c = &w->config;
    int n_freq = ap_config_n_freq(c);
    b->ops->rope(q, w->rope_cos, w->rope_sin, pos, n_row, c->n_head, c->head_dim, n_freq, inverse);
    b->ops->rope(k, w->rope_cos, w->rope_sin, pos, n_row, c->n_kv_head, c->head_dim, n_freq,
                 inverse);
}

void ap_block_qkv(const struct ap_block *b, const struct ap_acts *a, const int32_t *pos, int n_row,
                  struct ap_arena *room)
{
    size_t mark = ap_arena_mark(room);
    const float *n = normed(b, b->norm1, a->x_in, a->rstd1, n_row, room);
    ap_linear_forward(&b->map[AP_MAP_Q], a->q, n, n_row, false, room);
    ap_linear_forward(&b->map[AP_MAP_K], a->k, n, n_row, false, room);
    ap_linear_forward(&b->map[AP_MAP_V], a->v, n, n_row, false, room);
    rope(b, a->q, a->k, pos, n_row, false);
    ap_arena_rewind(room, mark);
}

static void copy_rows(float *to, const float *from, int n_row, int width)
{
    if (to != from)
        memcpy(to, from, (size_t)n_row * (size_t)width * sizeof(float));
}

void ap_block_rest(const struct ap_block *b, const struct ap_acts *a, float *x_out, int n_row,
                   struct ap_arena *room)
{
    const struct ap_config *c = &b->weights->config;
    size_t mark = ap_arena_mark(room), n_ffn = (size_t)n_row * (size_t)c->n_ffn;
    copy_rows(a->x_mid, a->x_in, n_row, c->width);
    ap_linear_forward(&b->map[AP_MAP_O], a->x_mid, a->att, n_row, true, room);
    const float *n = normed(b, b->norm2, a->x_mid, a->rstd2, n_row, room);
    ap_linear_forward(&b->map[AP_MAP_GATE], a->gate, n, n_row, false, room);
    ap_linear_forward(&b->map[AP_MAP_UP], a->up, n, n_row, false, room);
    if (!x_out) {
        ap_arena_rewind(room, mark);
        return;
    }
    float *h = room_for(room, n_row, (size_t)c->n_ffn);
    b->ops->swiglu(h, a->gate, a->up, n_ffn);
    copy_rows(x_out, a->x_mid, n_row, c->width);
    ap_linear_forward(&b->map[AP_MAP_DOWN], x_out, h, n_row, true, room);
    ap_arena_rewind(room, mark);
}

/* dx += the norm's share; += on its weight's gradient. */
static void norm_backward(const struct ap_block *b, const struct ap_param *norm, float *dx,
                          const float *dn, const float *x, const float *rstd, int n_row)
{
    b->ops->rmsnorm_backward(dx, b->weights->trainable ? norm->grad : NULL, dn, x, norm->data, rstd,
                             n_row, b->weights->config.width);
}

/* ap_block_rest's second half: dx is the gradient of x_out, becomes that of x_mid. */
static void ffn_backward(const struct ap_block *b, const struct ap_acts *a, float *dx, int n_row,
                         struct ap_arena *room)
{
    const struct ap_linear *gate = &b->map[AP_MAP_GATE], *up = &b->map[AP_MAP_UP];
    const struct ap_linear *down = &b->map[AP_MAP_DOWN];
    size_t ffn = (size_t)b->weights->config.n_ffn, n_ffn = (size_t)n_row * ffn;
    size_t mark = ap_arena_mark(room);
    float *h = room_for(room, n_row, ffn), *dh = room_for(room, n_row, ffn);
    if (ap_linear_reads_x(down))
        b->ops->swiglu(h, a->gate, a->up, n_ffn);
    ap_linear_backward(down, dh, dx, h, n_row, false, room);
    float *dgate = h, *dup = room_for(room, n_row, ffn);
    b->ops->swiglu_backward(dgate, dup, dh, a->gate, a->up, n_ffn);
    float *n = normed(b, b->norm2, a->x_mid, NULL, n_row, room);
    float *dn = room_for(room, n_row, (size_t)b->weights->config.width);
    ap_linear_backward(gate, dn, dgate, n, n_row, false, room);
    ap_linear_backward(up, dn, dup, n, n_row, true, room);
    norm_backward(b, b->norm2, dx, dn, a->x_mid, a->rstd2, n_row);
    ap_arena_rewind(room, mark);
}

/* ap_block_qkv: gradients of q, k, v after rope on entry. */
static void qkv_backward(const struct ap_block *b, const struct ap_acts *a, float *dx, float *dq,
                         float *dk, const float *dv, const struct ap_place *place, bool down,
                         struct ap_arena *room)
{
    int n_row = place->n_row;
    rope(b, dq, dk, place->pos, n_row, true);
    float *n = normed(b, b->norm1, a->x_in, NULL, n_row, room);
    float *dn = room_for(room, n_row, (size_t)b->weights->config.width);
    ap_linear_backward(&b->map[AP_MAP_Q], down ? dn : NULL, dq, n, n_row, false, room);
    ap_linear_backward(&b->map[AP_MAP_K], down ? dn : NULL, dk, n, n_row, true, room);
    ap_linear_backward(&b->map[AP_MAP_V], down ? dn : NULL, dv, n, n_row, true, room);
    if (down)
        norm_backward(b, b->norm1, dx, dn, a->x_in, a->rstd1, n_row);
}

void ap_block_backward(const struct ap_block *b, const struct ap_acts *a, float *dx,
                       const struct ap_place *place, bool down, struct ap_arena *room,
                       float *attention_scratch)
{
    const struct ap_config *c = &b->weights->config;
    int n_row = place->n_row;
    ffn_backward(b, a, dx, n_row, room);
    size_t mark = ap_arena_mark(room);
    float *datt = room_for(room, n_row, query_width(c)),
          *dq = room_for(room, n_row, query_width(c));
    float *dk = room_for(room, n_row, key_width(c)), *dv = room_for(room, n_row, key_width(c));
    ap_linear_backward(&b->map[AP_MAP_O], datt, dx, a->att, n_row, false, room);
    b->ops->attention_backward(dq, dk, dv, datt, a->q, a->k, a->v, a->att, a->lse, place->start,
                               place->n_seq, &b->attention, attention_scratch);
    qkv_backward(b, a, dx, dq, dk, dv, place, down, room);
    ap_arena_rewind(room, mark);
}
