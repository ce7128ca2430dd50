/* Parameters: one row a tensor drives allocation, initialisation, loading, saving, optimiser and
 * printing. Weights of a model, and LoRA adapters with heads, are both tables of such rows. */
#ifndef AP_MODEL_WEIGHTS_H
#define AP_MODEL_WEIGHTS_H

#include "model/config.h"
#include "model/safetensors.h"
#include "store/settings.h"
#include "tensor/ops.h"

#define AP_NAME_MAX 160

/* Rows of a linear weight that are one map of a layer: all of them or, of a fused weight, a range.
 */
struct ap_part {
    int first, n;
    struct ap_packed *packed; /* of these rows; NULL until the table has memory */
};

#define AP_PARTS_MAX 3

struct ap_param {
    char name[AP_NAME_MAX]; /* as in the Hugging Face file */
    const char *keys;       /* what the shape follows from, for messages; static */
    int n_dim, shape[2];    /* [N, K] or [N] */
    size_t n;               /* elements */
    const void *stored; /* the values, row-major: `own`, or in the mapped file, at any address */
    ap_dtype dtype;     /* of `stored` */
    const float *data;  /* the same as floats; NULL where the file has halves */
    float *own;         /* owned f32 copy; NULL while mapped */
    float *grad;        /* n of them, NULL while frozen; every backward accumulates (+=) */
    struct ap_part part[AP_PARTS_MAX]; /* of a linear weight, in order */
    int n_part;                        /* 0: no linear weight */
    bool decay;                        /* weight decay applies (matrices, not norms and biases) */
};

/* A part's first value, and its gradient's. */
static inline const void *ap_part_stored(const struct ap_param *p, int part)
{
    size_t first = (size_t)p->part[part].first * (size_t)p->shape[1];
    return (const unsigned char *)p->stored + first * ap_dtype_size(p->dtype);
}

static inline float *ap_part_grad(const struct ap_param *p, int part)
{
    return p->grad + (size_t)p->part[part].first * (size_t)p->shape[1];
}

struct ap_param_table {
    struct ap_param *rows;
    int n;
    ap_dtype dtype; /* of the products of linear weights: AP_F32, AP_BF16 (tensor/ops.h) */
};

/* -- a model's weights -- */

/* The linear maps that a layer computes. */
enum ap_layer_map {
    AP_MAP_Q,
    AP_MAP_K,
    AP_MAP_V,
    AP_MAP_O,
    AP_MAP_GATE,
    AP_MAP_UP,
    AP_MAP_DOWN,
    AP_MAP_N
};

/* Where a map is: rows of the table (bias −1: none), and which part of them. */
struct ap_map_index {
    int weight, bias, part;
};

struct ap_layer_index {
    int norm1, norm2; /* rows of the table */
    struct ap_map_index map[AP_MAP_N];
};

struct ap_weights {
    struct ap_config config;
    const struct ap_ops *ops;
    struct ap_param_table table;
    int embed, norm; /* rows */
    int head;        /* −1 when tied (the embedding's part is used) or a classifier */
    int score;       /* −1 for a causal LM */
    struct ap_layer_index *layers; /* n_layer */
    float *rope_cos, *rope_sin;    /* [context, n_freq] */
    int context;                   /* positions the tables cover */
    bool trainable;
    struct ap_safetensors *files; /* kept open while rows are mapped */
    int n_files;
};

/* "f32" (NULL too) or "bf16", the types of a model's products; another is AP_INVALID. */
ap_status ap_weights_dtype(ap_dtype *out, const char *name, struct ap_error *err);
/* From a Hugging Face folder (single or sharded) of f32, f16 or bf16. Linear weights are packed
 * straight from the map, whose memory is then let go; `stored` points there all the same. dtype: of
 * the products. context: positions that will be used, 0 for ap_config_context's; more than
 * max_position_embeddings is AP_LIMIT. It decides, once, which of longrope's factors are used. A
 * tensor that is missing, unknown or of another shape is an error that names it and the key of
 * config.json it disagrees with. */
ap_status ap_weights_load(struct ap_weights **out, const char *dir, int context, ap_dtype dtype,
                          struct ap_error *err);
/* The same for what reads values and computes nothing: they stay in the mapped files. */
ap_status ap_weights_open(struct ap_weights **out, const char *dir, struct ap_error *err);
/* Normal(0, initializer_range), norms 1, biases 0, as transformers does; a function of the seed
 * alone. context, dtype as in load. */
ap_status ap_weights_random(struct ap_weights **out, const struct ap_config *config, int context,
                            ap_dtype dtype, uint64_t seed, struct ap_error *err);
/* Deep copy that owns its values; frozen. */
ap_status ap_weights_copy(struct ap_weights **out, const struct ap_weights *w,
                          struct ap_error *err);
/* A classifier with one label: the body of a causal model, copied, and a fresh head
 * ~ Normal(0, initializer_range), a function of the seed. A classifier stays one with a new head.
 */
ap_status ap_weights_as_classifier(struct ap_weights **out, const struct ap_weights *w,
                                   uint64_t seed, struct ap_error *err);
/* Own copies of mapped rows, gradients zeroed. */
ap_status ap_weights_set_trainable(struct ap_weights *w, struct ap_error *err);
/* config.json, model.safetensors (f32, or as it was stored), generation_config.json into dir
 * (made).
 */
ap_status ap_weights_save(const struct ap_weights *w, const char *dir, struct ap_error *err);
/* Values back from a folder written by save: names and shapes must agree. After an error the values
 * are undefined. */
ap_status ap_weights_restore(struct ap_weights *w, const char *dir, struct ap_error *err);
void ap_weights_free(struct ap_weights *w); /* NULL is fine */

/* The table of such weights without any memory for values: what the queries of bytes read. Not to
 * be computed with. */
ap_status ap_weights_describe(struct ap_weights **out, const struct ap_config *config, int context,
                              ap_dtype dtype, struct ap_error *err);
/* Bytes of its rope tables. */
size_t ap_weights_rope_bytes(const struct ap_weights *w);
/* Of the bytes that ap_weights_load takes for values, beside packed ones: in own memory, and read
 * from the mapped files as the model runs. Reads config.json and the files' headers; `w` is the
 * description of that config. */
ap_status ap_weights_load_bytes(const struct ap_weights *w, const char *dir, size_t *own,
                                size_t *mapped, struct ap_error *err);

/* -- LoRA (Hu et al. 2021): y = x Wᵀ + s·(x Aᵀ) Bᵀ, s = alpha/r, rsLoRA alpha/√r -- */

/* The linear modules of a layer, as files name them (module.h). A family has some of them: a fused
 * one, or the maps in it. */
enum ap_lora_target {
    AP_LORA_Q,
    AP_LORA_K,
    AP_LORA_V,
    AP_LORA_QKV,
    AP_LORA_O,
    AP_LORA_GATE,
    AP_LORA_UP,
    AP_LORA_GATE_UP,
    AP_LORA_DOWN,
    AP_LORA_N
};

struct ap_adapter {
    struct ap_config config; /* of its base */
    const struct ap_ops *ops;
    struct ap_param_table table;
    int *a, *b;     /* [n_layer·AP_LORA_N] rows of A [r,K] and B [N,r]; −1 where not adapted */
    int score;      /* row of a scalar head [1, C], −1 without */
    int rank;       /* the largest of its matrices */
    int r;          /* r and lora_alpha of its file, which rank_pattern and alpha_pattern */
    double alpha;   /* depart from */
    double *alphas; /* [n_layer·AP_LORA_N], as a and b */
    float *scales;  /* s of each */
    bool rslora;
    double dropout; /* of inputs, where rows drop (transformer.h) */
    bool trainable;
};

/* targets[t]: whether the text, "all-linear" or names separated by commas, has it. A name that is
 * none of the model's is AP_INVALID and lists those that are. */
ap_status ap_lora_targets_parse(bool targets[AP_LORA_N], const struct ap_config *config,
                                const char *text, struct ap_error *err);
/* A ~ kaiming-uniform(√5) as peft does, B = 0; with_head: a scalar head, zero. A target that is no
 * linear map of a layer is AP_INVALID by name. */
ap_status ap_adapter_new(struct ap_adapter **out, const struct ap_weights *base,
                         const struct ap_adapter_settings *settings, bool with_head, uint64_t seed,
                         struct ap_error *err);
/* PEFT's folder: adapter_config.json, adapter_model.safetensors. Which linear maps it has, and with
 * which rank and alpha, goes by PEFT's own rules (adapter_match.c). Checked against the base; a
 * feature of PEFT that is not implemented is AP_UNSUPPORTED by key and value. lora_dropout acts
 * where rows drop (transformer.h). */
ap_status ap_adapter_load(struct ap_adapter **out, const struct ap_weights *base, const char *dir,
                          struct ap_error *err);
/* base_name: base_model_name_or_path of the file, NULL for none. With a head the task is SEQ_CLS.
 */
ap_status ap_adapter_save(const struct ap_adapter *a, const char *dir, const char *base_name,
                          struct ap_error *err);
ap_status ap_adapter_copy(struct ap_adapter **out, const struct ap_adapter *a,
                          struct ap_error *err);
ap_status ap_adapter_set_trainable(struct ap_adapter *a, struct ap_error *err);
ap_status ap_adapter_restore(struct ap_adapter *a, const char *dir, struct ap_error *err);
void ap_adapter_free(struct ap_adapter *a); /* NULL is fine */

/* Its table without any memory for values, for the queries below. */
ap_status ap_adapter_describe(struct ap_adapter **out, const struct ap_weights *base,
                              const struct ap_adapter_settings *settings, bool with_head,
                              struct ap_error *err);

/* -- bytes that the rows of a table take, described or whole -- */
size_t ap_params_own_bytes(const struct ap_param_table *t); /* values, and again a gradient */
size_t ap_params_packed_bytes(const struct ap_ops *ops, const struct ap_param_table *t);
/* What stays mapped of a file of such rows in f32: those that have no packed form. */
size_t ap_params_mapped_bytes(const struct ap_param_table *t);

/* -- on any table -- */
struct ap_param *ap_params_find(const struct ap_param_table *t, const char *name); /* or NULL */
void ap_params_zero_grad(struct ap_param_table *t);
/* Pack the parts of linear weights again, after their data changed. */
void ap_params_repack(const struct ap_ops *ops, struct ap_param_table *t);

#endif
