/* Writing config.json and generation_config.json. Entry point: ap_config_write. */
#include "model/config.h"

#include "base/file.h"
#include "model/config_inner.h"

#include <stdio.h>
#include <stdlib.h>

/* transformers 5 reads the spelling of 4 (rope_theta, rope_scaling, torch_dtype), but not the other
 * way round, so files are written in that one. */
static json_t *rope_scaling(const struct ap_config *c)
{
    if (c->rope == AP_ROPE_DEFAULT)
        return json_null();
    return json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor", c->rope_factor,
                     "low_freq_factor", c->rope_low, "high_freq_factor", c->rope_high,
                     "original_max_position_embeddings", c->rope_original);
}

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

static json_t *config_object(const struct ap_config *c)
{
    json_t *o = json_pack(
        "{s:[s], s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:b, s:b, "
        "s:b, s:b}",
        "architectures", c->n_label ? "LlamaForSequenceClassification" : "LlamaForCausalLM",
        "model_type", "llama", "hidden_act", "silu", "torch_dtype", "float32", "vocab_size",
        c->n_vocab, "hidden_size", c->width, "intermediate_size", c->n_ffn, "num_hidden_layers",
        c->n_layer, "num_attention_heads", c->n_head, "num_key_value_heads", c->n_kv_head,
        "head_dim", c->head_dim, "max_position_embeddings", c->max_position, "rms_norm_eps",
        short_decimal(c->rms_eps), "rope_theta", c->rope_theta, "initializer_range",
        c->initializer_range, "tie_word_embeddings", c->tied, "attention_bias", c->qkv_bias,
        "mlp_bias", c->mlp_bias, "use_cache", true);
    if (!o)
        return NULL;
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

ap_status ap_config_write(const struct ap_config *c, const char *dir, struct ap_error *err)
{
    ap_status status = ap_config_put(dir, "config.json", config_object(c), err);
    if (status == AP_OK)
        status = ap_config_put(dir, "generation_config.json", generation_object(c), err);
    return status;
}
