/* Decoding with a cache of keys and values: any mix of prefill rows and single tokens of many
 * sequences at once (transformer.h). The layers are block.c's, so that log-probabilities are the
 * training forward's, bit for bit. Entry points: ap_kv_open, ap_kv_close, ap_decode,
 * ap_decode_logits, ap_kv_copy. */
#include "model/tape.h"

#include <assert.h>

struct ap_kv {
    struct ap_config config;
    const struct ap_ops *ops;
    int n_slot, capacity, max_row, max_rank, n_thread;
    int n_row; /* of the last decode */
    struct ap_arena arena, room;
    struct ap_kv_layer *layers; /* [n_layer] */
    struct ap_acts acts;        /* of the layer at work */
    float *hidden;              /* [M,C] */
    float *picked;              /* [M,C] rows that logits are asked for */
    float *attention;           /* scratch */
};

static void take_caches(struct ap_kv *kv, struct ap_layout *l)
{
    const struct ap_config *c = &kv->config;
    size_t row = (size_t)c->n_kv_head * (size_t)c->head_dim * (size_t)kv->capacity;
    struct ap_kv_layer *layers = ap_layout_take(l, (size_t)c->n_layer, sizeof(*layers));
    for (int i = 0; i < c->n_layer; i++) {
        struct ap_kv_layer layer = {.k = ap_layout_floats(l, (size_t)kv->n_slot, row),
                                    .v = ap_layout_floats(l, (size_t)kv->n_slot, row),
                                    .n_kv_head = c->n_kv_head,
                                    .head_dim = c->head_dim,
                                    .capacity = kv->capacity};
        if (layers)
            layers[i] = layer;
    }
    kv->layers = layers;
}

static void lay_out(struct ap_kv *kv, struct ap_layout *l)
{
    struct ap_attention_shape shape = ap_attention_shape_of(&kv->config, 0);
    size_t m = (size_t)kv->max_row, width = (size_t)kv->config.width;
    take_caches(kv, l);
    kv->acts = (struct ap_acts){.x_in = ap_layout_floats(l, m, width)};
    kv->acts.x_mid = kv->acts.x_in;
    ap_acts_take(&kv->acts, l, &kv->config, kv->max_row);
    kv->hidden = ap_layout_floats(l, m, width);
    kv->picked = ap_layout_floats(l, m, width);
    kv->attention =
        ap_layout_floats(l, kv->ops->attention_scratch(&shape, kv->capacity, kv->n_thread), 1);
}

static ap_status check_sizes(const struct ap_config *c, int n_slot, int capacity, int max_row,
                             int max_rank, struct ap_error *err)
{
    if (n_slot < 1 || max_row < 1 || max_rank < 0)
        return ap_fail(err, AP_INVALID,
                       "cache: %d slots, %d rows, rank %d, expected 1, 1, 0 or more", n_slot,
                       max_row, max_rank);
    if (capacity < 1 || capacity > c->max_position)
        return ap_fail(err, AP_LIMIT,
                       "cache: %d positions, expected 1 to %d "
                       "(max_position_embeddings)",
                       capacity, c->max_position);
    return AP_OK;
}

/* A cache without memory, and the sizes of its two arenas. */
static ap_status describe(struct ap_kv *kv, const struct ap_config *config, int n_slot,
                          int capacity, int max_row, int max_rank, struct ap_layout *all,
                          struct ap_layout *room, struct ap_error *err)
{
    ap_status status = check_sizes(config, n_slot, capacity, max_row, max_rank, err);
    if (status != AP_OK)
        return status;
    *kv = (struct ap_kv){.config = *config,
                         .n_slot = n_slot,
                         .capacity = (capacity + 15) / 16 * 16, /* ap_kv_layer asks for it */
                         .max_row = max_row,
                         .max_rank = max_rank,
                         .n_thread = ap_threads()};
    status = ap_ops_cpu(&kv->ops, err);
    if (status != AP_OK)
        return status;
    lay_out(kv, all);
    ap_block_room(room, config, max_row, max_rank, false);
    return AP_OK;
}

ap_status ap_kv_bytes(size_t *out, const struct ap_config *config, int n_slot, int capacity,
                      int max_row, int max_rank, struct ap_error *err)
{
    struct ap_kv kv;
    struct ap_layout all = {0}, room = {0};
    ap_status status = describe(&kv, config, n_slot, capacity, max_row, max_rank, &all, &room, err);
    *out = ap_sum_bytes(ap_layout_bytes(&all), ap_layout_bytes(&room));
    return status;
}

ap_status ap_kv_open(struct ap_kv **out, const struct ap_config *config, int n_slot, int capacity,
                     int max_row, int max_rank, struct ap_error *err)
{
    struct ap_layout all = {0}, room = {0};
    struct ap_kv *kv = ap_calloc(1, sizeof(*kv));
    ap_status status;
    *out = NULL;
    if (!kv)
        return ap_fail(err, AP_MEMORY, "cache: out of memory");
    AP_TRY(describe(kv, config, n_slot, capacity, max_row, max_rank, &all, &room, err));
    AP_TRY(ap_layout_commit(&all, &kv->arena, "cache of keys and values", err));
    lay_out(kv, &all);
    AP_TRY(ap_layout_commit(&room, &kv->room, "scratch of a layer", err));
    *out = kv;
    kv = NULL;
out:
    ap_kv_close(kv);
    return status;
}

void ap_kv_close(struct ap_kv *kv)
{
    if (!kv)
        return;
    ap_arena_free(&kv->arena);
    ap_arena_free(&kv->room);
    ap_free(kv);
}

static ap_status check_rows(const struct ap_kv *kv, const struct ap_role *role, const int32_t *ids,
                            const int32_t *slot, const int32_t *pos, int n_row,
                            struct ap_error *err)
{
    int context = role->weights->context;
    int end = kv->capacity < context ? kv->capacity : context;
    if (n_row < 1 || n_row > kv->max_row)
        return ap_fail(err, AP_LIMIT, "%d rows, expected 1 to %d", n_row, kv->max_row);
    for (int i = 0; i < n_row; i++) {
        if (ids[i] < 0 || ids[i] >= kv->config.n_vocab)
            return ap_fail(err, AP_INVALID, "token id %d, expected 0 to %d (vocab_size)",
                           (int)ids[i], kv->config.n_vocab - 1);
        if (slot[i] < 0 || slot[i] >= kv->n_slot)
            return ap_fail(err, AP_INVALID, "slot %d, expected 0 to %d", (int)slot[i],
                           kv->n_slot - 1);
        if (pos[i] < 0 || pos[i] >= end)
            return ap_fail(err, AP_LIMIT, "position %d, expected 0 to %d (the context)",
                           (int)pos[i], end - 1);
    }
    return AP_OK;
}

static void layers_forward(struct ap_kv *kv, const struct ap_role *role, const int32_t *slot,
                           const int32_t *pos, int n_row)
{
    const struct ap_acts *a = &kv->acts;
    for (int l = 0; l < kv->config.n_layer; l++) {
        struct ap_block b = ap_block_view(role, l);
        ap_block_qkv(&b, a, pos, n_row, &kv->room);
        kv->ops->kv_store(&kv->layers[l], a->k, a->v, slot, pos, n_row);
        kv->ops->attention_cached(a->att, a->q, &kv->layers[l], slot, pos, n_row, &b.attention,
                                  kv->attention);
        ap_block_rest(&b, a, a->x_in, n_row, &kv->room);
    }
}

ap_status ap_decode(struct ap_kv *kv, const struct ap_role *role, const int32_t *ids,
                    const int32_t *slot, const int32_t *pos, int n_row, struct ap_error *err)
{
    const struct ap_weights *w = role->weights;
    ap_status status = ap_role_check(role, &kv->config, kv->max_rank, kv->n_thread, err);
    if (status == AP_OK)
        status = check_rows(kv, role, ids, slot, pos, n_row, err);
    if (status != AP_OK)
        return status;
    kv->n_row = n_row;
    ap_embedding_forward(w, kv->acts.x_in, ids, n_row);
    layers_forward(kv, role, slot, pos, n_row);
    kv->ops->rmsnorm(kv->hidden, NULL, kv->acts.x_in, w->table.rows[w->norm].data, n_row,
                     kv->config.width, w->config.rms_eps);
    return AP_OK;
}

void ap_decode_logits(struct ap_kv *kv, const struct ap_role *role, const int32_t *row, int n,
                      float *logits)
{
    assert(n <= kv->max_row);
    for (int i = 0; i < n; i++)
        assert(row[i] >= 0 && row[i] < kv->n_row);
    kv->ops->gather(kv->picked, kv->hidden, row, n, kv->config.width);
    kv->ops->linear(logits, kv->picked, ap_head_of(role)->part[0].packed, n, false);
}

void ap_kv_copy(struct ap_kv *kv, int from, int to, int n_pos)
{
    assert(from >= 0 && from < kv->n_slot && to >= 0 && to < kv->n_slot && n_pos <= kv->capacity);
    for (int l = 0; l < kv->config.n_layer; l++)
        kv->ops->kv_copy(&kv->layers[l], from, to, n_pos);
}
