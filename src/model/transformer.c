/* The pass through all layers, forward and backward (transformer.h). Memory is in tape.c, heads are
 * in heads.c, decoding in decode.c. Entry points: ap_forward, ap_backward. */
#include "model/tape.h"

#include <assert.h>
#include <string.h>

static ap_status check_sequences(const struct ap_rows *rows, int context, struct ap_error *err)
{
    int32_t at = 0;
    for (int s = 0; s < rows->n_seq; s++) {
        int32_t n = rows->start[s + 1] - rows->start[s];
        if (rows->start[s] != at || n < 1)
            return ap_fail(err, AP_INVALID, "sequence %d has no rows, or not the next ones", s);
        if (n > context)
            return ap_fail(err, AP_LIMIT,
                           "sequence of %d tokens, expected at most %d (the context)", (int)n,
                           context);
        at = rows->start[s + 1];
    }
    if (at != rows->n_row)
        return ap_fail(err, AP_INVALID, "sequences end at row %d, expected %d", (int)at,
                       rows->n_row);
    return AP_OK;
}

static ap_status check_rows(const struct ap_tape *t, const struct ap_role *role,
                            const struct ap_rows *rows, struct ap_error *err)
{
    if (rows->n_row < 1 || rows->n_row > t->max_row || rows->n_seq < 1 || rows->n_seq > rows->n_row)
        return ap_fail(err, AP_LIMIT, "%d rows of %d sequences, expected 1 to %d rows", rows->n_row,
                       rows->n_seq, t->max_row);
    for (int i = 0; i < rows->n_row; i++)
        if (rows->ids[i] < 0 || rows->ids[i] >= t->config.n_vocab)
            return ap_fail(err, AP_INVALID, "token id %d, expected 0 to %d (vocab_size)",
                           (int)rows->ids[i], t->config.n_vocab - 1);
    for (int i = 0; rows->mix && i < rows->n_row; i++)
        if (rows->mix->guess[i] < -1 || rows->mix->guess[i] >= t->config.n_vocab)
            return ap_fail(err, AP_INVALID, "guessed token id %d, expected -1 to %d",
                           (int)rows->mix->guess[i], t->config.n_vocab - 1);
    if (rows->mix && !ap_config_same_shape(&rows->mix->frozen->config, &t->config))
        return ap_fail(err, AP_INVALID, "the frozen embedding is of a model of other sizes");
    return check_sequences(rows, role->weights->context, err);
}

/* Kept for backward, so that the caller's arrays may go. */
static void keep_rows(struct ap_tape *t, const struct ap_rows *rows)
{
    t->n_row = rows->n_row;
    t->n_seq = rows->n_seq;
    memcpy(t->ids, rows->ids, (size_t)rows->n_row * sizeof(int32_t));
    memcpy(t->start, rows->start, ((size_t)rows->n_seq + 1) * sizeof(int32_t));
    for (int s = 0; s < rows->n_seq; s++)
        for (int32_t i = rows->start[s]; i < rows->start[s + 1]; i++) {
            t->pos[i] = i - rows->start[s];
            t->record[i] = rows->dropout ? rows->dropout->record[s] : 0;
        }
    t->eta = rows->mix ? rows->mix->eta : 0;
    if (rows->mix)
        memcpy(t->guess, rows->mix->guess, (size_t)rows->n_row * sizeof(int32_t));
    t->drops = rows->dropout != NULL;
    if (rows->dropout)
        t->dropout = rows->dropout->stream;
}

/* A layer's view; where the rows drop, with its masks. */
static struct ap_block view_of(const struct ap_tape *t, const struct ap_role *role, int layer)
{
    struct ap_block b = ap_block_view(role, layer);
    for (int m = 0; t->drops && m < AP_MAP_N; m++)
        ap_linear_drop(&b.map[m], role, layer, m, &t->dropout, t->record, t->pos);
    return b;
}

/* All that backward reads of a layer; x_out NULL: not that which follows it. */
static void layer_forward(struct ap_tape *t, const struct ap_block *b, const struct ap_acts *a,
                          float *x_out)
{
    ap_block_qkv(b, a, t->pos, t->n_row, &t->room);
    t->ops->attention(a->att, a->lse, a->q, a->k, a->v, t->start, t->n_seq, &b->attention,
                      t->attention);
    ap_block_rest(b, a, x_out, t->n_row, &t->room);
}

static void layers_forward(struct ap_tape *t, const struct ap_role *role)
{
    int n_layer = t->config.n_layer;
    for (int l = 0; l < n_layer; l++) {
        struct ap_block b = view_of(t, role, l);
        layer_forward(t, &b, &t->layers[l], l + 1 < n_layer ? t->layers[l + 1].x_in : t->x_out);
    }
}

static void embed(struct ap_tape *t, const struct ap_weights *w, const struct ap_weights *frozen)
{
    const size_t width = (size_t)t->config.width;
    float *x = t->layers[0].x_in, *other = t->hidden; /* which is not filled yet */
    ap_embedding_forward(w, x, t->ids, t->n_row);
    for (int i = 0; t->eta != 0 && i < t->n_row; i++, x += width) {
        if (t->guess[i] < 0)
            continue;
        ap_embedding_forward(frozen, other, &t->guess[i], 1);
        t->ops->scale(x, 1 - t->eta, width);
        t->ops->scale(other, t->eta, width);
        t->ops->add(x, other, width);
    }
}

/* dx: of the inputs; scaled in place where they are a blend. */
static void embed_backward(struct ap_tape *t, float *dembed)
{
    const size_t width = (size_t)t->config.width;
    for (int i = 0; t->eta != 0 && i < t->n_row; i++)
        if (t->guess[i] >= 0)
            t->ops->scale(t->dx + (size_t)i * width, 1 - t->eta, width);
    t->ops->embed_backward(dembed, t->dx, t->ids, t->n_row, t->config.width);
}

ap_status ap_forward(struct ap_tape *t, const struct ap_role *role, const struct ap_rows *rows,
                     struct ap_error *err)
{
    const struct ap_weights *w = role->weights;
    ap_status status = ap_role_check(role, &t->config, t->max_rank, t->n_thread, err);
    if (status == AP_OK)
        status = check_rows(t, role, rows, err);
    if (status != AP_OK)
        return status;
    keep_rows(t, rows);
    t->has_dhidden = false;
    t->whole = t->config.n_layer - 1;
    embed(t, w, rows->mix ? rows->mix->frozen : NULL);
    layers_forward(t, role);
    t->ops->rmsnorm(t->hidden, t->rstd, t->x_out, w->table.rows[w->norm].data, t->n_row,
                    t->config.width, w->config.rms_eps);
    return AP_OK;
}

static void layers_backward(struct ap_tape *t, const struct ap_role *role)
{
    struct ap_place place = {
        .pos = t->pos, .start = t->start, .n_row = t->n_row, .n_seq = t->n_seq};
    for (int l = t->config.n_layer - 1; l >= 0; l--) {
        struct ap_block b = view_of(t, role, l);
        if (t->kind == AP_TAPE_CHECKPOINT && t->whole != l)
            layer_forward(t, &b, &t->layers[l], NULL);
        t->whole = l;
        ap_block_backward(&b, &t->layers[l], t->dx, &place, l > 0 || role->weights->trainable,
                          &t->room, t->attention);
    }
}

void ap_backward(struct ap_tape *t, const struct ap_role *role)
{
    const struct ap_weights *w = role->weights;
    const struct ap_param *norm = &w->table.rows[w->norm], *table = &w->table.rows[w->embed];
    bool trains = w->trainable || (role->adapter && role->adapter->trainable);
    assert(t->kind != AP_TAPE_FORWARD);
    if (!trains || !t->has_dhidden)
        return;
    memset(t->dx, 0, (size_t)t->n_row * (size_t)t->config.width * sizeof(float));
    t->ops->rmsnorm_backward(t->dx, w->trainable ? norm->grad : NULL, t->dhidden, t->x_out,
                             norm->data, t->rstd, t->n_row, t->config.width);
    layers_backward(t, role);
    if (w->trainable)
        embed_backward(t, table->grad);
}
