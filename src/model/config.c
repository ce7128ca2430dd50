/* Reading config.json as transformers 4 and 5 write it, and generation_config.json's special
 * tokens. Only what the code implements gets through. Entry points: ap_config_read,
 * ap_config_read_file. */
#include "model/config.h"

#include "base/file.h"
#include "base/memory.h"
#include "model/config_inner.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_SIZE (1 << 24) /* of a vocabulary, a context: their products fit in 64 bits */
#define MAX_WIDTH (1 << 20)
#define MAX_COUNT (1 << 12)

/* Keys that would change what the model computes; transformers' own defaults do nothing. */
static const struct ap_inert_key must_be_inert[] = {
    {"quantization_config", AP_INERT_NULL},
    {"pretraining_tp", AP_INERT_ONE},
    {"attention_dropout", AP_INERT_ZERO},
    {"sliding_window", AP_INERT_NULL},
    {"partial_rotary_factor", AP_INERT_ONE},
    {"attention_chunk_size", AP_INERT_NULL},
    {"attn_logit_softcapping", AP_INERT_NULL},
    {"final_logit_softcapping", AP_INERT_NULL},
    {"logit_scale", AP_INERT_ONE},
    {"logits_scaling", AP_INERT_ONE},
    {"embedding_multiplier", AP_INERT_ONE},
    {"residual_multiplier", AP_INERT_ONE},
    {"attention_multiplier", AP_INERT_NULL},
    {"clip_qkv", AP_INERT_NULL},
    {"use_qk_norm", AP_INERT_FALSE},
    {"no_rope_layers", AP_INERT_EMPTY},
    {"num_local_experts", AP_INERT_NULL},
    {"num_experts", AP_INERT_NULL},
    {"pruned_heads", AP_INERT_EMPTY},
    {"add_cross_attention", AP_INERT_FALSE},
    {"tie_encoder_decoder", AP_INERT_FALSE},
    {"chunk_size_feed_forward", AP_INERT_ZERO},
};

static ap_status expect_text(const json_t *o, const char *path, const char *key, const char *a,
                             const char *b, struct ap_error *err)
{
    const json_t *value = json_object_get(o, key);
    const char *text = json_string_value(value);
    char expected[64];
    if (text && (!strcmp(text, a) || !strcmp(text, b)))
        return AP_OK;
    snprintf(expected, sizeof(expected), "\"%s\"", a);
    return ap_config_unsupported(path, key, value, expected, err);
}

static ap_status read_sizes(struct ap_config *c, const json_t *o, const char *path,
                            struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_config_int(o, "vocab_size", path, true, 1, MAX_SIZE, &c->n_vocab, err));
    AP_TRY(ap_config_int(o, "hidden_size", path, true, 1, MAX_WIDTH, &c->width, err));
    AP_TRY(ap_config_int(o, "intermediate_size", path, true, 1, MAX_WIDTH, &c->n_ffn, err));
    AP_TRY(ap_config_int(o, "num_hidden_layers", path, true, 1, MAX_COUNT, &c->n_layer, err));
    AP_TRY(ap_config_int(o, "num_attention_heads", path, true, 1, MAX_COUNT, &c->n_head, err));
    c->n_kv_head = c->n_head;
    AP_TRY(ap_config_int(o, "num_key_value_heads", path, false, 1, MAX_COUNT, &c->n_kv_head, err));
    AP_TRY(ap_config_int(o, "head_dim", path, false, 1, MAX_COUNT, &c->head_dim, err));
    AP_TRY(ap_config_int(o, "max_position_embeddings", path, false, 1, MAX_SIZE, &c->max_position,
                         err));
out:
    return status;
}

static ap_status check_sizes(struct ap_config *c, const char *path, struct ap_error *err)
{
    if (c->n_head % c->n_kv_head)
        return ap_fail(err, AP_FORMAT,
                       "%s: num_attention_heads is %d, expected a multiple of "
                       "num_key_value_heads %d",
                       path, c->n_head, c->n_kv_head);
    if (!c->head_dim && c->width % c->n_head)
        return ap_fail(err, AP_FORMAT,
                       "%s: hidden_size is %d, expected a multiple of num_attention_heads %d, or "
                       "head_dim",
                       path, c->width, c->n_head);
    if (!c->head_dim)
        c->head_dim = c->width / c->n_head;
    if (c->head_dim % 2)
        return ap_fail(err, AP_FORMAT, "%s: head_dim is %d, expected an even number", path,
                       c->head_dim);
    return AP_OK;
}

static ap_status positive(const json_t *o, const char *key, const char *path, bool required,
                          double *out, struct ap_error *err)
{
    ap_status status = ap_json_real(o, key, path, required, out, err);
    if (status == AP_OK && !((float)*out > 0 && isfinite((float)*out)))
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is %g, expected a positive number", path, key,
                       *out);
    return status;
}

static ap_status read_llama3(struct ap_config *c, const json_t *rope, const char *path,
                             struct ap_error *err)
{
    ap_status status;
    c->rope = AP_ROPE_LLAMA3;
    AP_TRY(positive(rope, "factor", path, true, &c->rope_factor, err));
    AP_TRY(positive(rope, "low_freq_factor", path, true, &c->rope_low, err));
    AP_TRY(positive(rope, "high_freq_factor", path, true, &c->rope_high, err));
    AP_TRY(ap_config_int(rope, "original_max_position_embeddings", path, true, 1, MAX_SIZE,
                         &c->rope_original, err));
    if (c->rope_high <= c->rope_low)
        status = ap_fail(err, AP_FORMAT,
                         "%s: high_freq_factor is %g, expected more than low_freq_factor %g", path,
                         c->rope_high, c->rope_low);
out:
    return status;
}

/* One object of either spelling: rope_parameters (5) holds rope_theta too, rope_scaling (4) has its
 * kind under rope_type or type. */
static ap_status read_rope_object(struct ap_config *c, const json_t *rope, const char *where,
                                  struct ap_error *err)
{
    static const struct ap_inert_key whole = {"partial_rotary_factor", AP_INERT_ONE};
    if (!json_is_object(rope))
        return ap_config_unsupported(where, "rope", rope, "an object", err);
    const char *key = json_object_get(rope, "rope_type") ? "rope_type" : "type";
    const json_t *kind = json_object_get(rope, key);
    const char *text = json_string_value(kind);
    ap_status status = positive(rope, "rope_theta", where, false, &c->rope_theta, err);
    if (status == AP_OK)
        status = ap_config_refuse(rope, where, &whole, 1, err);
    if (status != AP_OK || !kind || (text && !strcmp(text, "default")))
        return status;
    if (text && !strcmp(text, "llama3"))
        return read_llama3(c, rope, where, err);
    return ap_config_unsupported(where, key, kind, "\"default\" or \"llama3\"", err);
}

static ap_status read_rope(struct ap_config *c, const json_t *o, const char *path,
                           struct ap_error *err)
{
    const json_t *now = json_object_get(o, "rope_parameters");
    const json_t *old = json_object_get(o, "rope_scaling");
    char where[AP_ERROR_TEXT_MAX / 2];
    ap_status status = positive(o, "rope_theta", path, false, &c->rope_theta, err);
    now = json_is_null(now) ? NULL : now;
    old = json_is_null(old) ? NULL : old;
    if (status != AP_OK || (!now && !old))
        return status;
    if (now && old && !json_equal(now, old))
        return ap_fail(err, AP_FORMAT,
                       "%s: rope_parameters and rope_scaling differ, expected one of the two; "
                       "remove the wrong one",
                       path);
    snprintf(where, sizeof(where), "%s: %s", path, now ? "rope_parameters" : "rope_scaling");
    return read_rope_object(c, now ? now : old, where, err);
}

/* Causal LM unless architectures says otherwise. save_pretrained spells one label as an id2label
 * of one entry; transformers' default is two. */
static ap_status read_architecture(struct ap_config *c, const json_t *o, const char *path,
                                   struct ap_error *err)
{
    const json_t *list = json_object_get(o, "architectures"), *labels;
    const char *name = json_string_value(json_array_get(list, 0));
    int n_label = 2;
    ap_status status = AP_OK;
    if (!list || json_is_null(list) || (name && !strcmp(name, "LlamaForCausalLM")))
        return AP_OK;
    if (!name || strcmp(name, "LlamaForSequenceClassification") || json_array_size(list) != 1)
        return ap_config_unsupported(
            path, "architectures", list,
            "[\"LlamaForCausalLM\"] or [\"LlamaForSequenceClassification\"]", err);
    labels = json_object_get(o, "id2label");
    if (json_is_object(labels))
        n_label = (int)json_object_size(labels);
    AP_TRY(ap_config_int(o, "num_labels", path, false, 1, MAX_SIZE, &n_label, err));
    if (n_label != 1)
        status = ap_fail(err, AP_UNSUPPORTED,
                         "%s: %d labels (id2label or num_labels), expected 1: a classifier of more "
                         "is not implemented",
                         path, n_label);
    c->n_label = 1;
out:
    return status;
}

static ap_status token_id(const struct ap_config *c, const json_t *value, const char *key,
                          const char *path, int32_t *out, struct ap_error *err)
{
    json_int_t id = json_integer_value(value);
    if (!json_is_integer(value) || id < 0 || id >= c->n_vocab)
        return ap_fail(err, AP_FORMAT,
                       "%s: \"%s\" holds no token id of 0 to %d (vocab_size in config.json)", path,
                       key, c->n_vocab - 1);
    *out = (int32_t)id;
    return AP_OK;
}

/* bos, or pad, which some files give as −1 or one past the vocabulary for "none". */
static ap_status read_token(const struct ap_config *c, const json_t *o, const char *key,
                            const char *path, int32_t *out, struct ap_error *err)
{
    const json_t *value = json_object_get(o, key);
    if (!value || json_is_null(value))
        return AP_OK;
    json_int_t id = json_integer_value(value);
    if (json_is_integer(value) && !strcmp(key, "pad_token_id") && (id < 0 || id >= c->n_vocab)) {
        *out = -1;
        return AP_OK;
    }
    return token_id(c, value, key, path, out, err);
}

static ap_status read_tokens(struct ap_config *c, const json_t *o, const char *path,
                             struct ap_error *err)
{
    const json_t *eos = json_object_get(o, "eos_token_id");
    ap_status status;
    AP_TRY(read_token(c, o, "bos_token_id", path, &c->bos, err));
    AP_TRY(read_token(c, o, "pad_token_id", path, &c->pad, err));
    if (!eos || json_is_null(eos))
        return AP_OK;
    c->n_eos = json_is_array(eos) ? (int)json_array_size(eos) : 1;
    if (c->n_eos > AP_EOS_MAX) {
        c->n_eos = 0;
        return ap_fail(err, AP_LIMIT, "%s: eos_token_id holds more than %d ids", path, AP_EOS_MAX);
    }
    for (int i = 0; i < c->n_eos; i++)
        AP_TRY(token_id(c, json_is_array(eos) ? json_array_get(eos, (size_t)i) : eos,
                        "eos_token_id", path, &c->eos[i], err));
out:
    return status;
}

static ap_status read_object(struct ap_config *c, const json_t *o, const char *path,
                             struct ap_error *err)
{
    double eps = 1e-6;
    ap_status status;
    *c = (struct ap_config){
        .max_position = 2048, .rope_theta = 10000, .initializer_range = 0.02, .bos = -1, .pad = -1};
    AP_TRY(expect_text(o, path, "model_type", "llama", "llama", err));
    AP_TRY(ap_config_refuse(o, path, must_be_inert, AP_LEN(must_be_inert), err));
    if (json_object_get(o, "hidden_act"))
        AP_TRY(expect_text(o, path, "hidden_act", "silu", "swish", err));
    AP_TRY(read_sizes(c, o, path, err));
    AP_TRY(check_sizes(c, path, err));
    AP_TRY(read_architecture(c, o, path, err));
    AP_TRY(positive(o, "rms_norm_eps", path, false, &eps, err));
    c->rms_eps = (float)eps;
    AP_TRY(positive(o, "initializer_range", path, false, &c->initializer_range, err));
    AP_TRY(ap_json_bool(o, "tie_word_embeddings", path, false, &c->tied, err));
    AP_TRY(ap_json_bool(o, "attention_bias", path, false, &c->qkv_bias, err));
    c->o_bias = c->qkv_bias;
    AP_TRY(ap_json_bool(o, "mlp_bias", path, false, &c->mlp_bias, err));
    AP_TRY(read_rope(c, o, path, err));
    AP_TRY(read_tokens(c, o, path, err));
out:
    return status;
}

/* Layers of other kinds than full attention, which transformers 5 lists. */
static ap_status check_layer_types(const json_t *o, const char *path, struct ap_error *err)
{
    const json_t *types = json_object_get(o, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (!type || strcmp(type, "full_attention"))
            return ap_config_unsupported(path, "layer_types", json_array_get(types, i),
                                         "\"full_attention\"", err);
    }
    return AP_OK;
}

ap_status ap_config_read_file(struct ap_config *c, const char *path, struct ap_error *err)
{
    json_t *o = NULL;
    ap_status status = ap_json_load(path, AP_CONFIG_FILE_MAX, &o, err);
    if (status == AP_OK && !json_is_object(o))
        status = ap_fail(err, AP_FORMAT, "%s: is a list, expected an object", path);
    if (status == AP_OK)
        status = check_layer_types(o, path, err);
    if (status == AP_OK)
        status = read_object(c, o, path, err);
    json_decref(o);
    return status;
}

/* transformers' generate stops at these, whatever config.json says. */
static ap_status read_generation(struct ap_config *c, const char *path, struct ap_error *err)
{
    json_t *o = NULL;
    ap_status status = ap_json_load(path, AP_CONFIG_FILE_MAX, &o, err);
    if (status == AP_OK && !json_is_object(o))
        status = ap_fail(err, AP_FORMAT, "%s: is a list, expected an object", path);
    if (status == AP_OK)
        status = read_tokens(c, o, path, err);
    json_decref(o);
    return status;
}

ap_status ap_config_read(struct ap_config *c, const char *dir, struct ap_error *err)
{
    char *path = ap_path_join(dir, "config.json");
    char *generation = ap_path_join(dir, "generation_config.json");
    ap_status status;
    if (!path || !generation)
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    else
        status = ap_config_read_file(c, path, err);
    if (status == AP_OK && ap_file_exists(generation))
        status = read_generation(c, generation, err);
    ap_free(generation);
    ap_free(path);
    return status;
}
