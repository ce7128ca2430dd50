/* Writing config.json and generation_config.json. Entry point: ap_config_write. */
#include "model/config.h"

#include "base/file.h"
#include "model/config_inner.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *token_or_null(int32_t id)
{
    return id < 0 ? json_null() : json_integer(id);
}

static json_t *eos_value(const struct ap_config *c)
{
    if (c->n_eos <= 1)
        return c->n_eos ? json_integer(c->eos[0]) : json_null();
    json_t *list = json_array();
    for (int i = 0; i < c->n_eos; i++)
        json_array_append_new(list, json_integer(c->eos[i]));
    return list;
}

/* The shortest decimal that reads back as this float, as Python writes it: 1e-05, not 9.99…e-06. */
static double short_decimal(float value)
{
    char text[32];
    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return strtod(text, NULL);
}

static json_t *float_list(const float *x, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_real(short_decimal(x[i])));
    return list;
}

static json_t *longrope(const struct ap_config *c)
{
    int n = ap_config_n_freq(c);
    json_t *o = json_pack("{s:s, s:o, s:o}", "type", "longrope", "short_factor",
                          float_list(c->rope_short, n), "long_factor", float_list(c->rope_long, n));
    if (c->rope_factor > 0)
        json_object_set_new(o, "factor", json_real(c->rope_factor));
    if (c->rope_attention > 0)
        json_object_set_new(o, "attention_factor", json_real(c->rope_attention));
    /* transformers 4 takes no fourth key from a Phi3, whose own is beside rope_scaling */
    if (c->family != AP_PHI3)
        json_object_set_new(o, "original_max_position_embeddings", json_integer(c->rope_original));
    return o;
}

/* transformers 5 reads the spelling of 4 (rope_theta, rope_scaling, torch_dtype), but not the other
 * way round, so files are written in that one. */
static json_t *rope_scaling(const struct ap_config *c)
{
    switch (c->rope) {
    case AP_ROPE_LINEAR:
    case AP_ROPE_DYNAMIC:
        return json_pack("{s:s, s:f}", "rope_type",
                         c->rope == AP_ROPE_LINEAR ? "linear" : "dynamic", "factor",
                         c->rope_factor);
    case AP_ROPE_LLAMA3:
        return json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor",
                         c->rope_factor, "low_freq_factor", c->rope_low, "high_freq_factor",
                         c->rope_high, "original_max_position_embeddings", c->rope_original);
    case AP_ROPE_LONGROPE:
        return longrope(c);
    case AP_ROPE_DEFAULT:
        break;
    }
    return json_null();
}

static json_t *window_value(const struct ap_config *c)
{
    return c->window ? json_integer(c->window) : json_null();
}

/* transformers 4 knows max_window_layers only, 5 goes by layer_types. */
static void put_qwen2(json_t *o, const struct ap_config *c)
{
    json_t *types = json_array();
    int first = c->n_layer;
    for (int l = c->n_layer - 1; l >= 0 && ap_config_window(c, l); l--)
        first = l;
    for (int l = 0; l < c->n_layer; l++)
        json_array_append_new(
            types, json_string(ap_config_window(c, l) ? "sliding_attention" : "full_attention"));
    json_object_set_new(o, "use_sliding_window", json_boolean(c->window > 0));
    json_object_set_new(o, "sliding_window", window_value(c));
    json_object_set_new(o, "max_window_layers", json_integer(first));
    json_object_set_new(o, "layer_types", types);
}

static void put_phi3(json_t *o, const struct ap_config *c)
{
    int original = c->rope == AP_ROPE_LONGROPE ? c->rope_original : c->max_position;
    json_object_set_new(o, "sliding_window", window_value(c));
    json_object_set_new(o, "original_max_position_embeddings", json_integer(original));
    if (c->rope_partial > 0)
        json_object_set_new(o, "partial_rotary_factor", json_real(c->rope_partial));
}

/* The keys that only this family's configuration has. */
static void put_family(json_t *o, const struct ap_config *c)
{
    if (c->family == AP_LLAMA) {
        json_object_set_new(o, "attention_bias", json_boolean(c->qkv_bias));
        json_object_set_new(o, "mlp_bias", json_boolean(c->mlp_bias));
    } else if (c->family == AP_QWEN2) {
        put_qwen2(o, c);
    } else {
        put_phi3(o, c);
    }
    /* transformers 4 takes a Qwen2's and a Phi3's to be the quotient */
    if (c->family == AP_LLAMA || c->head_dim * c->n_head != c->width)
        json_object_set_new(o, "head_dim", json_integer(c->head_dim));
}

static const char *dtype_name(ap_dtype dtype)
{
    return dtype == AP_F16 ? "float16" : dtype == AP_BF16 ? "bfloat16" : "float32";
}

static json_t *config_object(const struct ap_config *c, ap_dtype dtype)
{
    const struct ap_family_row *family = &ap_families[c->family];
    json_t *o = json_pack(
        "{s:[s], s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:b, s:b}",
        "architectures", c->n_label ? family->classifier : family->causal, "model_type",
        family->model_type, "hidden_act", "silu", "torch_dtype", dtype_name(dtype), "vocab_size",
        c->n_vocab, "hidden_size", c->width, "intermediate_size", c->n_ffn, "num_hidden_layers",
        c->n_layer, "num_attention_heads", c->n_head, "num_key_value_heads", c->n_kv_head,
        "max_position_embeddings", c->max_position, "rms_norm_eps", short_decimal(c->rms_eps),
        "rope_theta", c->rope_theta, "initializer_range", c->initializer_range,
        "tie_word_embeddings", c->tied, "use_cache", true);
    if (!o)
        return NULL;
    put_family(o, c);
    json_object_set_new(o, "rope_scaling", rope_scaling(c));
    json_object_set_new(o, "bos_token_id", token_or_null(c->bos));
    json_object_set_new(o, "pad_token_id", token_or_null(c->pad));
    json_object_set_new(o, "eos_token_id", eos_value(c));
    if (c->n_label) {
        json_object_set_new(o, "id2label", json_pack("{s:s}", "0", "LABEL_0"));
        json_object_set_new(o, "label2id", json_pack("{s:i}", "LABEL_0", 0));
    }
    return o;
}

static json_t *generation_object(const struct ap_config *c)
{
    return json_pack("{s:o, s:o, s:o}", "bos_token_id", token_or_null(c->bos), "eos_token_id",
                     eos_value(c), "pad_token_id", token_or_null(c->pad));
}

ap_status ap_config_write(const struct ap_config *c, ap_dtype dtype, const char *dir,
                          struct ap_error *err)
{
    ap_status status = ap_config_put(dir, "config.json", config_object(c, dtype), err);
    if (status == AP_OK)
        status = ap_config_put(dir, "generation_config.json", generation_object(c), err);
    return status;
}
