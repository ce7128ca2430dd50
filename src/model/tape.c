/* Opening and closing a tape: one arena for activations, gradients and blocks of logits, one for
 * scratch (tape.h). Entry points: ap_tape_open, ap_tape_close. */
#include "model/tape.h"

#include <assert.h>

bool ap_config_same_shape(const struct ap_config *a, const struct ap_config *b)
{
    return a->n_vocab == b->n_vocab && a->width == b->width && a->n_layer == b->n_layer &&
           a->n_head == b->n_head && a->n_kv_head == b->n_kv_head && a->head_dim == b->head_dim &&
           a->n_ffn == b->n_ffn && a->fused == b->fused;
}

ap_status ap_role_check(const struct ap_role *role, const struct ap_config *config, int max_rank,
                        int n_thread, struct ap_error *err)
{
    const struct ap_adapter *a = role->adapter;
    if (!ap_config_same_shape(&role->weights->config, config) ||
        (a && !ap_config_same_shape(&a->config, config)))
        return ap_fail(err, AP_INVALID,
                       "the model or its adapter has other sizes than the memory "
                       "was opened for");
    if (a && a->rank > max_rank)
        return ap_fail(err, AP_INVALID, "adapter of rank %d, expected at most %d", a->rank,
                       max_rank);
    if (ap_threads() > n_thread)
        return ap_fail(err, AP_INVALID, "%d threads, expected at most the %d there were at opening",
                       ap_threads(), n_thread);
    return AP_OK;
}

const struct ap_param *ap_head_of(const struct ap_role *role)
{
    const struct ap_weights *w = role->weights;
    const struct ap_param *head = &w->table.rows[w->head >= 0 ? w->head : w->embed];
    assert(head->n_part == 1);
    return head;
}

static int longest_of(const struct ap_config *c, int max_row)
{
    return max_row < c->max_position ? max_row : c->max_position;
}

static void take_layers(struct ap_tape *t, struct ap_layout *l)
{
    const struct ap_config *c = &t->config;
    size_t m = (size_t)t->max_row, width = (size_t)c->width;
    bool with_grad = t->kind != AP_TAPE_FORWARD;
    struct ap_acts *layers = ap_layout_take(l, (size_t)c->n_layer, sizeof(*layers));
    struct ap_acts a = {0};
    for (int i = 0; i < c->n_layer; i++) {
        if (i == 0 || with_grad)
            a.x_in = ap_layout_floats(l, m, width);
        if (i == 0 || t->kind == AP_TAPE_BACKWARD) {
            a.x_mid = with_grad ? ap_layout_floats(l, m, width) : a.x_in;
            ap_acts_take(&a, l, c, t->max_row);
        }
        if (layers)
            layers[i] = a;
    }
    t->layers = layers;
    t->x_out = with_grad || !layers ? ap_layout_floats(l, m, width) : layers[0].x_in;
}

static void take_heads(struct ap_tape *t, struct ap_layout *l)
{
    size_t r = (size_t)t->block, width = (size_t)t->config.width;
    t->logits = ap_layout_floats(l, r, (size_t)t->config.n_vocab);
    t->picked = ap_layout_floats(l, r, width);
    t->dpicked = t->kind != AP_TAPE_FORWARD ? ap_layout_floats(l, r, width) : NULL;
    t->logp = ap_layout_floats(l, r, 1);
    t->entropy = ap_layout_floats(l, r, 1);
    t->lse = ap_layout_floats(l, r, 1);
}

static void lay_out(struct ap_tape *t, struct ap_layout *l)
{
    struct ap_attention_shape shape = ap_attention_shape_of(&t->config, 0);
    size_t m = (size_t)t->max_row, width = (size_t)t->config.width;
    take_layers(t, l);
    t->rstd = ap_layout_floats(l, m, 1);
    t->hidden = ap_layout_floats(l, m, width);
    t->dhidden = t->kind != AP_TAPE_FORWARD ? ap_layout_floats(l, m, width) : NULL;
    t->dx = t->kind != AP_TAPE_FORWARD ? ap_layout_floats(l, m, width) : NULL;
    t->attention = ap_layout_floats(
        l, t->ops->attention_scratch(&shape, longest_of(&t->config, t->max_row), t->n_thread), 1);
    t->ids = ap_layout_take(l, m, sizeof(int32_t));
    t->pos = ap_layout_take(l, m, sizeof(int32_t));
    t->guess = ap_layout_take(l, m, sizeof(int32_t));
    t->record = ap_layout_take(l, m, sizeof(uint64_t));
    t->start = ap_layout_take(l, m + 1, sizeof(int32_t));
    take_heads(t, l);
}

static int block_rows(const struct ap_config *c, int max_row)
{
    size_t rows = AP_LOGITS_MAX / (size_t)c->n_vocab;
    if (rows < 1)
        return 1;
    return rows < (size_t)max_row ? (int)rows : max_row;
}

static struct ap_tape describe(const struct ap_config *config, int max_row, int max_rank,
                               enum ap_tape_kind kind)
{
    return (struct ap_tape){.config = *config,
                            .max_row = max_row,
                            .max_rank = max_rank,
                            .n_thread = ap_threads(),
                            .kind = kind,
                            .block = block_rows(config, max_row)};
}

/* Both arenas as ap_layouts with their sizes added up. */
static ap_status measure(struct ap_tape *t, struct ap_layout *all, struct ap_layout *room,
                         struct ap_error *err)
{
    ap_status status = ap_ops_cpu(&t->ops, err);
    if (status != AP_OK)
        return status;
    if (t->max_row < 1 || t->max_rank < 0)
        return ap_fail(err, AP_INVALID, "tape: %d rows, rank %d, expected at least 1 and 0",
                       t->max_row, t->max_rank);
    lay_out(t, all);
    ap_block_room(room, &t->config, t->max_row, t->max_rank, t->kind != AP_TAPE_FORWARD);
    return AP_OK;
}

ap_status ap_tape_bytes(size_t *out, const struct ap_config *config, int max_row, int max_rank,
                        enum ap_tape_kind kind, struct ap_error *err)
{
    struct ap_tape t = describe(config, max_row, max_rank, kind);
    struct ap_layout all = {0}, room = {0};
    ap_status status = measure(&t, &all, &room, err);
    *out = ap_sum_bytes(ap_layout_bytes(&all), ap_layout_bytes(&room));
    return status;
}

ap_status ap_tape_open(struct ap_tape **out, const struct ap_config *config, int max_row,
                       int max_rank, enum ap_tape_kind kind, struct ap_error *err)
{
    struct ap_layout all = {0}, room = {0};
    struct ap_tape *t = ap_calloc(1, sizeof(*t));
    ap_status status;
    *out = NULL;
    if (!t)
        return ap_fail(err, AP_MEMORY, "tape: out of memory");
    *t = describe(config, max_row, max_rank, kind);
    AP_TRY(measure(t, &all, &room, err));
    AP_TRY(ap_layout_commit(&all, &t->arena, "activations", err));
    lay_out(t, &all);
    AP_TRY(ap_layout_commit(&room, &t->room, "scratch of a layer", err));
    *out = t;
    t = NULL;
out:
    ap_tape_close(t);
    return status;
}

void ap_tape_close(struct ap_tape *t)
{
    if (!t)
        return;
    ap_arena_free(&t->arena);
    ap_arena_free(&t->room);
    ap_free(t);
}

int ap_tape_max_row(const struct ap_tape *t)
{
    return t->max_row;
}

const float *ap_tape_hidden(const struct ap_tape *t)
{
    return t->hidden;
}
