/* Reading config.json as transformers 4 and 5 write it, and generation_config.json's special
 * tokens. Only what the code implements gets through. Rotary positions are in config_rope.c,
 * windows in config_window.c. Entry points: ap_config_read,
 * ap_config_read_file. */
#include "model/config.h"

#include "base/file.h"
#include "base/memory.h"
#include "model/config_inner.h"

#include <stdio.h>
#include <string.h>

#define MAX_WIDTH (1 << 20)
#define MAX_COUNT (1 << 12)

/* Keys that would change what the model computes; transformers' own defaults do nothing. */
static const struct ap_inert_key must_be_inert[] = {
    {"quantization_config", AP_INERT_NULL},
    {"pretraining_tp", AP_INERT_ONE},
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

static ap_status read_family(struct ap_config *c, const json_t *o, const char *path,
                             struct ap_error *err)
{
    const json_t *value = json_object_get(o, "model_type");
    const char *text = json_string_value(value);
    for (int f = 0; text && f < AP_FAMILY_N; f++)
        if (!strcmp(text, ap_families[f].model_type)) {
            c->family = (ap_family)f;
            return AP_OK;
        }
    return ap_config_unsupported(path, "model_type", value, "\"llama\", \"qwen2\" or \"phi3\"",
                                 err);
}

static ap_status check_activation(const json_t *o, const char *path, struct ap_error *err)
{
    const json_t *value = json_object_get(o, "hidden_act");
    const char *text = json_string_value(value);
    if (!value || (text && (!strcmp(text, "silu") || !strcmp(text, "swish"))))
        return AP_OK;
    return ap_config_unsupported(path, "hidden_act", value, "\"silu\"", err);
}

static ap_status read_sizes(struct ap_config *c, const json_t *o, const char *path,
                            struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_config_int(o, "vocab_size", path, true, 1, AP_SIZE_MAX, &c->n_vocab, err));
    AP_TRY(ap_config_int(o, "hidden_size", path, true, 1, MAX_WIDTH, &c->width, err));
    AP_TRY(ap_config_int(o, "intermediate_size", path, true, 1, MAX_WIDTH, &c->n_ffn, err));
    AP_TRY(ap_config_int(o, "num_hidden_layers", path, true, 1, AP_LAYERS_MAX, &c->n_layer, err));
    AP_TRY(ap_config_int(o, "num_attention_heads", path, true, 1, MAX_COUNT, &c->n_head, err));
    c->n_kv_head = c->n_head;
    if (!json_object_get(o, "num_key_value_heads") && ap_families[c->family].n_kv_head)
        c->n_kv_head = ap_families[c->family].n_kv_head;
    AP_TRY(ap_config_int(o, "num_key_value_heads", path, false, 1, MAX_COUNT, &c->n_kv_head, err));
    AP_TRY(ap_config_int(o, "head_dim", path, false, 1, MAX_COUNT, &c->head_dim, err));
    AP_TRY(ap_config_int(o, "max_position_embeddings", path, false, 1, AP_SIZE_MAX,
                         &c->max_position, err));
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

/* Causal LM unless architectures says otherwise. save_pretrained spells one label as an id2label
 * of one entry; transformers' default is two. */
static ap_status read_architecture(struct ap_config *c, const json_t *o, const char *path,
                                   struct ap_error *err)
{
    const struct ap_family_row *family = &ap_families[c->family];
    char expected[96];
    const json_t *list = json_object_get(o, "architectures"), *labels;
    const char *name = json_string_value(json_array_get(list, 0));
    int n_label = 2;
    ap_status status = AP_OK;
    if (!list || json_is_null(list) || (name && !strcmp(name, family->causal)))
        return AP_OK;
    if (!name || strcmp(name, family->classifier) || json_array_size(list) != 1) {
        snprintf(expected, sizeof(expected), "[\"%s\"] or [\"%s\"]", family->causal,
                 family->classifier);
        return ap_config_unsupported(path, "architectures", list, expected, err);
    }
    labels = json_object_get(o, "id2label");
    if (json_is_object(labels))
        n_label = (int)json_object_size(labels);
    AP_TRY(ap_config_int(o, "num_labels", path, false, 1, AP_SIZE_MAX, &n_label, err));
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

/* What transformers takes where the file names no id, as far as the vocabulary has it. */
static void default_tokens(struct ap_config *c, const json_t *o)
{
    const struct ap_family_row *f = &ap_families[c->family];
    c->bos = f->bos < c->n_vocab && !json_object_get(o, "bos_token_id") ? f->bos : -1;
    c->pad = f->pad < c->n_vocab && !json_object_get(o, "pad_token_id") ? f->pad : -1;
    if (f->eos >= 0 && f->eos < c->n_vocab && !json_object_get(o, "eos_token_id"))
        c->eos[c->n_eos++] = f->eos;
}

/* Which linear maps have a bias, which are fused: keys of Llama's, fixed elsewhere. */
static ap_status read_maps(struct ap_config *c, const json_t *o, const char *path,
                           struct ap_error *err)
{
    ap_status status = AP_OK;
    c->fused = c->family == AP_PHI3;
    c->qkv_bias = c->family == AP_QWEN2;
    if (c->family == AP_LLAMA) {
        AP_TRY(ap_json_bool(o, "attention_bias", path, false, &c->qkv_bias, err));
        c->o_bias = c->qkv_bias;
        AP_TRY(ap_json_bool(o, "mlp_bias", path, false, &c->mlp_bias, err));
    }
out:
    return status;
}

static ap_status read_object(struct ap_config *c, const json_t *o, const char *path,
                             struct ap_error *err)
{
    double eps;
    ap_status status;
    memset(c, 0, sizeof(*c));
    c->rope_theta = 10000;
    c->initializer_range = 0.02;
    AP_TRY(read_family(c, o, path, err));
    AP_TRY(ap_config_refuse(o, path, must_be_inert, AP_LEN(must_be_inert), err));
    AP_TRY(check_activation(o, path, err));
    c->max_position = ap_families[c->family].max_position;
    AP_TRY(read_sizes(c, o, path, err));
    AP_TRY(check_sizes(c, path, err));
    AP_TRY(read_architecture(c, o, path, err));
    eps = ap_families[c->family].rms_eps;
    AP_TRY(ap_config_positive(o, "rms_norm_eps", path, false, &eps, err));
    c->rms_eps = (float)eps;
    AP_TRY(ap_config_positive(o, "initializer_range", path, false, &c->initializer_range, err));
    AP_TRY(ap_json_bool(o, "tie_word_embeddings", path, false, &c->tied, err));
    AP_TRY(read_maps(c, o, path, err));
    AP_TRY(ap_config_read_windows(c, o, path, err));
    AP_TRY(ap_config_read_rope(c, o, path, err));
    default_tokens(c, o);
    AP_TRY(read_tokens(c, o, path, err));
out:
    return status;
}

ap_status ap_config_read_file(struct ap_config *c, const char *path, struct ap_error *err)
{
    json_t *o = NULL;
    ap_status status = ap_json_load(path, AP_CONFIG_FILE_MAX, &o, err);
    if (status == AP_OK && !json_is_object(o))
        status = ap_fail(err, AP_FORMAT, "%s: is a list, expected an object", path);
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
