/* What config.json says, in the spellings of transformers 4 and 5, checked; and written back. */
#ifndef AP_MODEL_CONFIG_H
#define AP_MODEL_CONFIG_H

#include "base/error.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>

/* How files spell configuration and tensors; what a layer computes is in the members below. */
typedef enum ap_family { AP_LLAMA, AP_QWEN2, AP_PHI3, AP_FAMILY_N } ap_family;

/* How frequencies of rotary positions are made (transformers' modeling_rope_utils). */
typedef enum ap_rope_kind {
    AP_ROPE_DEFAULT,
    AP_ROPE_LINEAR,
    AP_ROPE_DYNAMIC, /* the default's within max_position, and nothing goes past that */
    AP_ROPE_LLAMA3,
    AP_ROPE_LONGROPE
} ap_rope_kind;

#define AP_EOS_MAX 8
#define AP_LAYERS_MAX 4096
#define AP_FREQ_MAX 256 /* factors of longrope */

struct ap_config {
    ap_family family;
    int n_vocab, width, n_layer, n_head, n_kv_head, head_dim, n_ffn;
    int max_position;
    float rms_eps;
    bool tied;
    bool fused;                      /* qkv_proj and gate_up_proj hold what others keep apart */
    bool qkv_bias, o_bias, mlp_bias; /* which linear maps have one */
    int window; /* positions that a row of a sliding layer attends to, its own the last; 0: none */
    uint64_t sliding[AP_LAYERS_MAX / 64]; /* bit l: layer l has the window */
    ap_rope_kind rope;
    double rope_theta;
    double rope_partial; /* share of a head that rotates; 0: all of it */
    double rope_factor;  /* linear, dynamic, llama3; longrope: 0 for max_position / rope_original */
    double rope_low, rope_high; /* llama3 */
    int rope_original;          /* llama3, longrope: original_max_position_embeddings */
    double rope_attention; /* longrope: of cosines and sines; 0: by rope_factor (rope_table.c) */
    float rope_short[AP_FREQ_MAX], rope_long[AP_FREQ_MAX]; /* longrope: [n_freq] */
    int n_label; /* 0: causal LM; 1: sequence classifier with one label */
    double initializer_range;
    int32_t bos, pad;        /* −1: none; a pad id outside the vocabulary counts as none */
    int32_t eos[AP_EOS_MAX]; /* config.json's; generation_config.json's where it is there */
    int n_eos;
};

/* Elements of a head that rotate, and pairs of them, n_freq: an odd number is rounded up. */
int ap_config_rotating(const struct ap_config *c);
int ap_config_n_freq(const struct ap_config *c);
/* The window of a layer, 0: none. */
int ap_config_window(const struct ap_config *c, int layer);
/* Positions that a model is used with unless told otherwise: max_position, but longrope's original
 * length. A longrope model takes its long factors where it is loaded for more than that. */
int ap_config_context(const struct ap_config *c);

/* dir: a Hugging Face folder. What the code does not implement is AP_UNSUPPORTED by key and value.
 */
ap_status ap_config_read(struct ap_config *c, const char *dir, struct ap_error *err);
/* The same from one config.json. */
ap_status ap_config_read_file(struct ap_config *c, const char *path, struct ap_error *err);
/* config.json and generation_config.json, in the spelling that transformers 4 and 5 both read.
 * dtype: what the weights beside them are stored in. */
ap_status ap_config_write(const struct ap_config *c, ap_dtype dtype, const char *dir,
                          struct ap_error *err);

#endif
