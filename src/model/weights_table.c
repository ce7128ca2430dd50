/* Which tensors a model has: names as Hugging Face spells them, shapes, what is packed
 * (weights_table.h). A layer's linear modules are module.c's. */
#include "model/weights_table.h"

#include "base/memory.h"
#include "model/module.h"
#include "model/param.h"

#include <stdio.h>
#include <string.h>

static int count_rows(const struct ap_config *c)
{
    int n = 2; /* norms */
    for (int m = 0; m < AP_LORA_N; m++)
        if (ap_module_is_there(c, m))
            n += 1 + ap_module_has_bias(c, m);
    return n * c->n_layer + 2 + (c->n_label || !c->tied); /* embedding, last norm, a head */
}

/* The next row of the table; its index goes to *index. */
static struct ap_param *next_row(struct ap_weights *w, int *row, int *index)
{
    *index = (*row)++;
    return &w->table.rows[*index];
}

static void add_norm(struct ap_weights *w, int layer, const char *name, int *index, int *row)
{
    struct ap_param *p = next_row(w, row, index);
    snprintf(p->name, sizeof(p->name), "model.layers.%d.%s.weight", layer, name);
    ap_param_describe(p, "hidden_size", w->config.width, 0);
}

static void add_module(struct ap_weights *w, int layer, int module, int *row)
{
    const struct ap_module *m = &ap_modules[module];
    struct ap_map_index index = {.bias = -1};
    int n_out, n_in;
    ap_module_shape(&w->config, module, &n_out, &n_in);
    struct ap_param *p = next_row(w, row, &index.weight);
    snprintf(p->name, sizeof(p->name), "model.layers.%d.%s.%s.weight", layer, m->parent, m->name);
    ap_param_describe(p, m->weight_keys, n_out, n_in);
    ap_module_add_parts(p, &w->config, module);
    if (ap_module_has_bias(&w->config, module)) {
        p = next_row(w, row, &index.bias);
        snprintf(p->name, sizeof(p->name), "model.layers.%d.%s.%s.bias", layer, m->parent, m->name);
        ap_param_describe(p, m->bias_keys, n_out, 0);
    }
    for (int k = 0; k < m->n; k++) {
        index.part = k;
        w->layers[layer].map[m->first + k] = index;
    }
}

static void add_layer(struct ap_weights *w, int l, int *row)
{
    add_norm(w, l, "input_layernorm", &w->layers[l].norm1, row);
    for (int m = 0; m < AP_LORA_N; m++) {
        if (m == AP_LORA_GATE)
            add_norm(w, l, "post_attention_layernorm", &w->layers[l].norm2, row);
        if (ap_module_is_there(&w->config, m))
            add_module(w, l, m, row);
    }
}

/* The row's index goes to *index. */
static void add_outer(struct ap_weights *w, const char *name, const char *keys, int n_out, int n_in,
                      bool linear, int *index, int *row)
{
    struct ap_param *p = next_row(w, row, index);
    snprintf(p->name, sizeof(p->name), "%s", name);
    ap_param_describe(p, keys, n_out, n_in);
    if (linear)
        ap_param_add_part(p, n_out);
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
    w->context = context > 0 ? context : ap_config_context(&w->config);
    return AP_OK;
}

static size_t rope_floats(const struct ap_weights *w)
{
    return (size_t)w->context * (size_t)ap_config_n_freq(&w->config);
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

ap_status ap_weights_dtype(ap_dtype *out, const char *name, struct ap_error *err)
{
    bool bf16 = name && !strcmp(name, "bf16");
    if (name && !bf16 && strcmp(name, "f32") != 0)
        return ap_fail(err, AP_INVALID, "dtype: expected f32 or bf16, found %.40s", name);
    *out = bf16 ? AP_BF16 : AP_F32;
    return AP_OK;
}

ap_status ap_weights_describe(struct ap_weights **out, const struct ap_config *config, int context,
                              ap_dtype dtype, struct ap_error *err)
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
    w->table.dtype = dtype;
    add_rows(w);
    AP_TRY(set_context(w, context, err));
    *out = w;
    w = NULL;
out:
    ap_weights_free(w);
    return status;
}

ap_status ap_weights_new(struct ap_weights **out, const struct ap_config *config, int context,
                         ap_dtype dtype, struct ap_error *err)
{
    struct ap_weights *w = NULL;
    ap_status status = ap_weights_describe(&w, config, context, dtype, err);
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
