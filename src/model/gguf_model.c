/* A model's configuration and tensors as llama.cpp names them (gguf_model.h). Entry point:
 * ap_gguf_write_model. */
#include "model/gguf_model.h"

#include "base/memory.h"
#include "model/config_inner.h"
#include "model/module.h"
#include "model/weights_table.h"

#include <stdio.h>
#include <string.h>

#define EXTRA_MAX 2 /* tensors of rope factors */

static const char *const module_names[AP_LORA_N] = {
    [AP_LORA_Q] = "attn_q",     [AP_LORA_K] = "attn_k",       [AP_LORA_V] = "attn_v",
    [AP_LORA_QKV] = "attn_qkv", [AP_LORA_O] = "attn_output",  [AP_LORA_GATE] = "ffn_gate",
    [AP_LORA_UP] = "ffn_up",    [AP_LORA_GATE_UP] = "ffn_up", [AP_LORA_DOWN] = "ffn_down",
};

const char *ap_gguf_module_name(int module)
{
    return module_names[module];
}

/* Its Llama rotates neighbours, where transformers rotates i and i + half. */
int ap_gguf_pair(const struct ap_config *c, int module)
{
    return c->family == AP_LLAMA && (module == AP_LORA_Q || module == AP_LORA_K) ? c->head_dim : 0;
}

uint32_t ap_gguf_tensor_type(ap_dtype dtype)
{
    return dtype == AP_F16 ? AP_GGML_F16 : dtype == AP_BF16 ? AP_GGML_BF16 : AP_GGML_F32;
}

uint32_t ap_gguf_file_type(ap_dtype dtype)
{
    return dtype == AP_F16 ? 1 : dtype == AP_BF16 ? 32 : 0;
}

ap_status ap_gguf_put_string(struct ap_gguf_values *v, const char *key, const char *text,
                             struct ap_error *err)
{
    return ap_gguf_put_text(v, key, text, strlen(text), err);
}

/* ---- what llama.cpp cannot do ---- */

static const char *const rope_names[] = {
    [AP_ROPE_DEFAULT] = "default", [AP_ROPE_LINEAR] = "linear",     [AP_ROPE_DYNAMIC] = "dynamic",
    [AP_ROPE_LLAMA3] = "llama3",   [AP_ROPE_LONGROPE] = "longrope",
};

static ap_status check(const struct ap_config *c, struct ap_error *err)
{
    const char *family = ap_families[c->family].model_type;
    if (c->n_label)
        return ap_fail(err, AP_UNSUPPORTED,
                       "gguf: the model is a sequence classifier, expected a language model: "
                       "llama.cpp has no such head for %s; use --format hf",
                       family);
    if (c->family == AP_QWEN2 && (c->rope == AP_ROPE_LLAMA3 || c->rope == AP_ROPE_LONGROPE))
        return ap_fail(err, AP_UNSUPPORTED,
                       "gguf: rope_type is %s, expected default, linear or dynamic: llama.cpp's "
                       "qwen2 has no factors of frequencies; use --format hf",
                       rope_names[c->rope]);
    if (c->family == AP_PHI3 && c->head_dim * c->n_head != c->width)
        return ap_fail(err, AP_UNSUPPORTED,
                       "gguf: head_dim is %d, expected hidden_size / num_attention_heads, %d: "
                       "llama.cpp's phi3 knows no other; use --format hf",
                       c->head_dim, c->width / c->n_head);
    if (ap_config_rotating(c) % 2)
        return ap_fail(err, AP_UNSUPPORTED,
                       "gguf: %d elements of a head rotate (partial_rotary_factor), expected an "
                       "even number; use --format hf",
                       ap_config_rotating(c));
    return AP_OK;
}

static void warn_window(const struct ap_config *c, const struct ap_sink *sink)
{
    if (c->window > 0 && c->window < c->max_position)
        ap_sink_warn(sink, "export",
                     "llama.cpp has no sliding window for %s: past %d tokens its answers differ",
                     ap_families[c->family].model_type, c->window);
}

/* ---- metadata ---- */

struct keys { /* "llama.KEY" for one architecture */
    struct ap_gguf_values *v;
    const char *arch;
    char key[64];
};

static const char *key_of(struct keys *k, const char *name)
{
    snprintf(k->key, sizeof(k->key), "%s.%s", k->arch, name);
    return k->key;
}

static ap_status put_sizes(struct keys *k, const struct ap_config *c, struct ap_error *err)
{
    const struct {
        const char *key;
        int value;
    } rows[] = {
        {"context_length", c->max_position},
        {"embedding_length", c->width},
        {"block_count", c->n_layer},
        {"feed_forward_length", c->n_ffn},
        {"attention.head_count", c->n_head},
        {"attention.head_count_kv", c->n_kv_head},
        {"attention.key_length", c->head_dim},
        {"attention.value_length", c->head_dim},
        {"rope.dimension_count", ap_config_rotating(c)},
        {"vocab_size", c->n_vocab},
    };
    ap_status status = AP_OK;
    for (size_t i = 0; i < AP_LEN(rows) && status == AP_OK; i++)
        status = ap_gguf_put_u32(k->v, key_of(k, rows[i].key), (uint32_t)rows[i].value, err);
    return status;
}

static ap_status put_original(struct keys *k, int length, struct ap_error *err)
{
    return ap_gguf_put_u32(k->v, key_of(k, "rope.scaling.original_context_length"),
                           (uint32_t)length, err);
}

/* A Llama's longrope goes by the scaling's type; a Phi3 is taken to have it. */
static ap_status put_rope(struct keys *k, const struct ap_config *c, struct ap_error *err)
{
    bool longrope = c->rope == AP_ROPE_LONGROPE, linear = c->rope == AP_ROPE_LINEAR;
    ap_status status;
    AP_TRY(ap_gguf_put_f32(k->v, key_of(k, "rope.freq_base"), (float)c->rope_theta, err));
    if (linear || (longrope && c->family != AP_PHI3))
        AP_TRY(ap_gguf_put_string(k->v, key_of(k, "rope.scaling.type"), rope_names[c->rope], err));
    if (linear)
        AP_TRY(ap_gguf_put_f32(k->v, key_of(k, "rope.scaling.factor"), (float)c->rope_factor, err));
    if (longrope)
        AP_TRY(ap_gguf_put_f32(k->v, key_of(k, "rope.scaling.attn_factor"),
                               (float)ap_rope_attention(c), err));
    if (longrope || c->family == AP_PHI3)
        AP_TRY(put_original(k, longrope ? c->rope_original : c->max_position, err));
    if (c->family ==
        AP_PHI3) /* 0 where there is none: llama.cpp takes an absent key for a window */
        AP_TRY(
            ap_gguf_put_u32(k->v, key_of(k, "attention.sliding_window"), (uint32_t)c->window, err));
out:
    return status;
}

static ap_status put_metadata(struct ap_gguf_values *v, const struct ap_config *c,
                              const struct ap_gguf_options *o, struct ap_error *err)
{
    struct keys k = {.v = v, .arch = ap_families[c->family].model_type};
    ap_status status;
    AP_TRY(ap_gguf_put_string(v, "general.architecture", k.arch, err));
    AP_TRY(ap_gguf_put_string(v, "general.type", "model", err));
    AP_TRY(ap_gguf_put_u32(v, "general.file_type", ap_gguf_file_type(o->dtype), err));
    AP_TRY(ap_gguf_put_u32(v, "general.quantization_version", 2, err));
    AP_TRY(put_sizes(&k, c, err));
    AP_TRY(ap_gguf_put_f32(v, key_of(&k, "attention.layer_norm_rms_epsilon"), c->rms_eps, err));
    AP_TRY(put_rope(&k, c, err));
    for (int i = 0; i < o->n_keys; i++)
        AP_TRY(ap_gguf_put_string(v, o->keys[i].key, o->keys[i].value, err));
    status = ap_gguf_put_tokenizer(v, c, o, err);
out:
    return status;
}

/* ---- tensors ---- */

/* What is written: the table's rows in their order, after the factors of rope. */
struct plan {
    struct ap_gguf_tensor_out *tensors;
    int *pairs;                         /* ap_gguf_pair of each */
    float factors[EXTRA_MAX][4096 / 2]; /* [n_freq] of those in front */
    int n_extra;
};

static void add_factors(struct plan *p, const char *name, int n)
{
    struct ap_gguf_tensor_out *t = &p->tensors[p->n_extra++];
    *t = (struct ap_gguf_tensor_out){.type = AP_GGML_F32, .n_dim = 1, .shape = {n, 1}};
    snprintf(t->name, sizeof(t->name), "%s", name);
}

static ap_status plan_factors(struct plan *p, const struct ap_config *c, struct ap_error *err)
{
    int n = ap_config_n_freq(c);
    if (c->rope == AP_ROPE_LLAMA3 && (size_t)n > AP_LEN(p->factors[0]))
        return ap_fail(err, AP_LIMIT, "gguf: head_dim is %d, expected at most %zu", c->head_dim,
                       2 * AP_LEN(p->factors[0]));
    if (c->rope == AP_ROPE_LLAMA3) {
        for (int i = 0; i < n; i++)
            p->factors[0][i] = ap_rope_slowing(c, i);
        add_factors(p, "rope_freqs.weight", n);
    }
    if (c->rope == AP_ROPE_LONGROPE) {
        memcpy(p->factors[0], c->rope_long, (size_t)n * sizeof(float));
        memcpy(p->factors[1], c->rope_short, (size_t)n * sizeof(float));
        add_factors(p, "rope_factors_long.weight", n);
        add_factors(p, "rope_factors_short.weight", n);
    }
    return AP_OK;
}

static void name_row(struct plan *p, int row, const char *name)
{
    if (row >= 0)
        snprintf(p->tensors[p->n_extra + row].name, sizeof(p->tensors->name), "%s", name);
}

static void name_module(struct plan *p, const struct ap_weights *w, int layer, int module)
{
    const struct ap_map_index *map = &w->layers[layer].map[ap_modules[module].first];
    char name[48];
    snprintf(name, sizeof(name), "blk.%d.%s.weight", layer, module_names[module]);
    name_row(p, map->weight, name);
    p->pairs[map->weight] = ap_gguf_pair(&w->config, module);
    if (map->bias < 0)
        return;
    snprintf(name, sizeof(name), "blk.%d.%s.bias", layer, module_names[module]);
    name_row(p, map->bias, name);
    p->pairs[map->bias] = ap_gguf_pair(&w->config, module);
}

static void name_rows(struct plan *p, const struct ap_weights *w)
{
    char name[48];
    name_row(p, w->embed, "token_embd.weight");
    name_row(p, w->norm, "output_norm.weight");
    name_row(p, w->head, "output.weight");
    for (int l = 0; l < w->config.n_layer; l++) {
        snprintf(name, sizeof(name), "blk.%d.attn_norm.weight", l);
        name_row(p, w->layers[l].norm1, name);
        snprintf(name, sizeof(name), "blk.%d.ffn_norm.weight", l);
        name_row(p, w->layers[l].norm2, name);
        for (int module = 0; module < AP_LORA_N; module++)
            if (ap_module_is_there(&w->config, module))
                name_module(p, w, l, module);
    }
}

static void shape_rows(struct plan *p, const struct ap_weights *w, ap_dtype dtype)
{
    for (int i = 0; i < w->table.n; i++) {
        const struct ap_param *row = &w->table.rows[i];
        struct ap_gguf_tensor_out *t = &p->tensors[p->n_extra + i];
        bool matrix = row->n_dim == 2;
        t->type = matrix ? ap_gguf_tensor_type(dtype) : AP_GGML_F32;
        t->n_dim = row->n_dim;
        t->shape[0] = matrix ? row->shape[1] : row->shape[0];
        t->shape[1] = matrix ? row->shape[0] : 1;
    }
}

static ap_status plan_tensors(struct plan *p, const struct ap_weights *w, ap_dtype dtype,
                              struct ap_error *err)
{
    p->tensors = ap_calloc((size_t)w->table.n + EXTRA_MAX, sizeof(*p->tensors));
    p->pairs = ap_calloc((size_t)w->table.n, sizeof(*p->pairs));
    if (!p->tensors || !p->pairs)
        return ap_fail(err, AP_MEMORY, "gguf: out of memory");
    ap_status status = plan_factors(p, &w->config, err);
    if (status == AP_OK) {
        name_rows(p, w);
        shape_rows(p, w, dtype);
    }
    return status;
}

static ap_status append_tensors(const struct plan *p, const struct ap_merged *m, ap_dtype dtype,
                                struct ap_writer *w, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < p->n_extra; i++) {
        AP_TRY(ap_merged_append_floats(p->tensors[i].name, p->factors[i],
                                       (size_t)p->tensors[i].shape[0], AP_F32, w, err));
        AP_TRY(ap_gguf_pad(w, err));
    }
    for (int i = 0; i < m->model->table.n; i++) {
        bool matrix = m->model->table.rows[i].n_dim == 2;
        AP_TRY(ap_merged_append(m, i, matrix ? dtype : AP_F32, p->pairs[i], w, err));
        AP_TRY(ap_gguf_pad(w, err));
    }
out:
    return status;
}

ap_status ap_gguf_write_model(const struct ap_merged *m, const char *path,
                              const struct ap_gguf_options *options, struct ap_error *err)
{
    struct ap_gguf_values v = {0};
    struct ap_writer w = {0};
    struct plan *p = ap_calloc(1, sizeof(*p));
    ap_status status;
    if (!p)
        return ap_fail(err, AP_MEMORY, "gguf: out of memory");
    AP_TRY(check(&m->model->config, err));
    warn_window(&m->model->config, options->sink);
    AP_TRY(put_metadata(&v, &m->model->config, options, err));
    AP_TRY(plan_tensors(p, m->model, options->dtype, err));
    AP_TRY(ap_gguf_begin(&w, path, &v, p->tensors, (size_t)(p->n_extra + m->model->table.n), err));
    AP_TRY(append_tensors(p, m, options->dtype, &w, err));
    status = ap_writer_commit(&w, err);
out:
    ap_writer_abort(&w);
    ap_buffer_free(&v.bytes);
    ap_free(p->tensors);
    ap_free(p->pairs);
    ap_free(p);
    return status;
}
