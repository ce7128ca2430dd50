/* What config.json says, in the spellings of transformers 4 and 5, checked; and written back. */
#ifndef AP_MODEL_CONFIG_H
#define AP_MODEL_CONFIG_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* How files spell configuration and tensors; what a layer computes is in the members below. */
typedef enum ap_family { AP_LLAMA, AP_QWEN2, AP_PHI3, AP_FAMILY_N } ap_family;

typedef enum ap_rope_kind { AP_ROPE_DEFAULT, AP_ROPE_LLAMA3 } ap_rope_kind;

#define AP_EOS_MAX 8

struct ap_config {
    ap_family family;
    int n_vocab, width, n_layer, n_head, n_kv_head, head_dim, n_ffn;
    int max_position;
    float rms_eps;
    bool tied;
    bool fused;                      /* qkv_proj and gate_up_proj hold what others keep apart */
    bool qkv_bias, o_bias, mlp_bias; /* which linear maps have one */
    ap_rope_kind rope;
    double rope_theta;
    double rope_factor, rope_low, rope_high; /* llama3 */
    int rope_original;                       /* llama3: original_max_position_embeddings */
    int n_label; /* 0: causal LM; 1: sequence classifier with one label */
    double initializer_range;
    int32_t bos, pad;        /* −1: none; a pad id outside the vocabulary counts as none */
    int32_t eos[AP_EOS_MAX]; /* config.json's; generation_config.json's where it is there */
    int n_eos;
};

/* dir: a Hugging Face folder. What the code does not implement is AP_UNSUPPORTED by key and value.
 */
ap_status ap_config_read(struct ap_config *c, const char *dir, struct ap_error *err);
/* The same from one config.json. */
ap_status ap_config_read_file(struct ap_config *c, const char *path, struct ap_error *err);
/* config.json and generation_config.json, in the spelling that transformers 4 and 5 both read. */
ap_status ap_config_write(const struct ap_config *c, const char *dir, struct ap_error *err);

#endif
