/* Which tensors a Llama has: names as Hugging Face spells them, shapes, what is packed
 * (weights_table.h). Another architecture brings another table of kinds. */
#include "model/weights_table.h"

#include "base/memory.h"
#include "model/param.h"

#include <stddef.h>
#include <stdio.h>

enum dim { NONE, WIDTH, QUERY, KEY, FFN };
enum when { ALWAYS, ATTENTION_BIAS, MLP_BIAS };

struct layer_tensor {
    const char *suffix; /* after "model.layers.N." */
    const char *keys;
    enum dim n_out, n_in;
    enum when when;
    size_t field; /* of struct ap_layer_index */
};

#define Q_KEYS "num_attention_heads·head_dim"
#define KV_KEYS "num_key_value_heads·head_dim"
#define AT(field) offsetof(struct ap_layer_index, field)

static const struct layer_tensor layer_tensors[] = {
    {"input_layernorm.weight", "hidden_size", WIDTH, NONE, ALWAYS, AT(norm1)},
    {"self_attn.q_proj.weight", Q_KEYS ", hidden_size", QUERY, WIDTH, ALWAYS, AT(q)},
    {"self_attn.q_proj.bias", Q_KEYS, QUERY, NONE, ATTENTION_BIAS, AT(q_bias)},
    {"self_attn.k_proj.weight", KV_KEYS ", hidden_size", KEY, WIDTH, ALWAYS, AT(k)},
    {"self_attn.k_proj.bias", KV_KEYS, KEY, NONE, ATTENTION_BIAS, AT(k_bias)},
    {"self_attn.v_proj.weight", KV_KEYS ", hidden_size", KEY, WIDTH, ALWAYS, AT(v)},
    {"self_attn.v_proj.bias", KV_KEYS, KEY, NONE, ATTENTION_BIAS, AT(v_bias)},
    {"self_attn.o_proj.weight", "hidden_size, " Q_KEYS, WIDTH, QUERY, ALWAYS, AT(o)},
    {"self_attn.o_proj.bias", "hidden_size", WIDTH, NONE, ATTENTION_BIAS, AT(o_bias)},
    {"post_attention_layernorm.weight", "hidden_size", WIDTH, NONE, ALWAYS, AT(norm2)},
    {"mlp.gate_proj.weight", "intermediate_size, hidden_size", FFN, WIDTH, ALWAYS, AT(gate)},
    {"mlp.gate_proj.bias", "intermediate_size", FFN, NONE, MLP_BIAS, AT(gate_bias)},
    {"mlp.up_proj.weight", "intermediate_size, hidden_size", FFN, WIDTH, ALWAYS, AT(up)},
    {"mlp.up_proj.bias", "intermediate_size", FFN, NONE, MLP_BIAS, AT(up_bias)},
    {"mlp.down_proj.weight", "hidden_size, intermediate_size", WIDTH, FFN, ALWAYS, AT(down)},
    {"mlp.down_proj.bias", "hidden_size", WIDTH, NONE, MLP_BIAS, AT(down_bias)},
};

static int size_of(const struct ap_config *c, enum dim dim)
{
    switch (dim) {
    case WIDTH:
        return c->width;
    case QUERY:
        return c->n_head * c->head_dim;
    case KEY:
        return c->n_kv_head * c->head_dim;
    case FFN:
        return c->n_ffn;
    case NONE:
        break;
    }
    return 0;
}

static bool is_there(const struct ap_config *c, enum when when)
{
    return when == ALWAYS || (when == ATTENTION_BIAS ? c->attention_bias : c->mlp_bias);
}

static int *index_of(struct ap_layer_index *layer, size_t field)
{
    return (int *)((char *)layer + field);
}

static int count_rows(const struct ap_config *c)
{
    int n = 0;
    for (size_t i = 0; i < AP_LEN(layer_tensors); i++)
        n += is_there(c, layer_tensors[i].when);
    return n * c->n_layer + 2 + (c->n_label || !c->tied); /* embedding, last norm, a head */
}

static void add_layer(struct ap_weights *w, int l, int *row)
{
    for (size_t i = 0; i < AP_LEN(layer_tensors); i++) {
        const struct layer_tensor *t = &layer_tensors[i];
        int *index = index_of(&w->layers[l], t->field);
        *index = -1;
        if (!is_there(&w->config, t->when))
            continue;
        struct ap_param *p = &w->table.rows[*row];
        snprintf(p->name, sizeof(p->name), "model.layers.%d.%s", l, t->suffix);
        *index = (*row)++;
        ap_param_describe(p, t->keys, size_of(&w->config, t->n_out), size_of(&w->config, t->n_in),
                          t->n_in != NONE);
    }
}

/* The row's index goes to *index. */
static void add_outer(struct ap_weights *w, const char *name, const char *keys, int n_out, int n_in,
                      bool linear, int *index, int *row)
{
    struct ap_param *p = &w->table.rows[*row];
    snprintf(p->name, sizeof(p->name), "%s", name);
    *index = (*row)++;
    ap_param_describe(p, keys, n_out, n_in, linear);
}

static void add_rows(struct ap_weights *w)
{
    const struct ap_config *c = &w->config;
    int row = 0;
    w->head = w->score = -1;
    add_outer(w, "model.embed_tokens.weight", "vocab_size, hidden_size", c->n_vocab, c->width,
              c->tied && !c->n_label, &w->embed, &row);
    for (int l = 0; l < c->n_layer; l++)
        add_layer(w, l, &row);
    add_outer(w, "model.norm.weight", "hidden_size", c->width, 0, false, &w->norm, &row);
    if (c->n_label)
        add_outer(w, "score.weight", "one label, hidden_size", 1, c->width, true, &w->score, &row);
    else if (!c->tied)
        add_outer(w, "lm_head.weight", "vocab_size, hidden_size", c->n_vocab, c->width, true,
                  &w->head, &row);
}

/* How many positions the rope tables cover. */
static ap_status set_context(struct ap_weights *w, int context, struct ap_error *err)
{
    if (context > w->config.max_position)
        return ap_fail(err, AP_LIMIT,
                       "context %d, expected at most %d (max_position_embeddings in config.json)",
                       context, w->config.max_position);
    w->context = context > 0 ? context : w->config.max_position;
    return AP_OK;
}

static size_t rope_floats(const struct ap_weights *w)
{
    return (size_t)w->context * ((size_t)w->config.head_dim / 2);
}

size_t ap_weights_rope_bytes(const struct ap_weights *w)
{
    return 2 * ap_calloc_bytes(rope_floats(w), sizeof(float));
}

static ap_status add_rope(struct ap_weights *w, struct ap_error *err)
{
    w->rope_cos = ap_calloc(rope_floats(w), sizeof(float));
    w->rope_sin = ap_calloc(rope_floats(w), sizeof(float));
    if (!w->rope_cos || !w->rope_sin)
        return ap_fail(err, AP_MEMORY, "rope tables of %d positions: out of memory", w->context);
    ap_rope_fill(w->rope_cos, w->rope_sin, &w->config, w->context);
    return AP_OK;
}

ap_status ap_weights_describe(struct ap_weights **out, const struct ap_config *config, int context,
                              struct ap_error *err)
{
    struct ap_weights *w = ap_calloc(1, sizeof(*w));
    ap_status status;
    *out = NULL;
    if (!w)
        return ap_fail(err, AP_MEMORY, "weights: out of memory");
    w->config = *config;
    AP_TRY(ap_ops_cpu(&w->ops, err));
    AP_TRY(ap_params_init(&w->table, count_rows(config), err));
    w->layers = ap_calloc((size_t)config->n_layer, sizeof(*w->layers));
    if (!w->layers) {
        status = ap_fail(err, AP_MEMORY, "weights: out of memory");
        goto out;
    }
    add_rows(w);
    AP_TRY(set_context(w, context, err));
    *out = w;
    w = NULL;
out:
    ap_weights_free(w);
    return status;
}

ap_status ap_weights_new(struct ap_weights **out, const struct ap_config *config, int context,
                         struct ap_error *err)
{
    struct ap_weights *w = NULL;
    ap_status status = ap_weights_describe(&w, config, context, err);
    *out = NULL;
    if (status == AP_OK)
        status = ap_params_pack_new(w->ops, &w->table, err);
    if (status == AP_OK)
        status = add_rope(w, err);
    if (status != AP_OK) {
        ap_weights_free(w);
        return status;
    }
    *out = w;
    return AP_OK;
}
