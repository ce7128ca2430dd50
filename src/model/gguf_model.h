/* A model, or an adapter alone, as a GGUF file that llama.cpp loads: its keys, its names of
 * tensors, its order of rows. Reference: llama.cpp's convert_hf_to_gguf.py and
 * convert_lora_to_gguf.py. What llama.cpp cannot compute as we do is refused by name, or a warning
 * where it computes something near. */
#ifndef AP_MODEL_GGUF_MODEL_H
#define AP_MODEL_GGUF_MODEL_H

#include "model/gguf.h"
#include "model/merge.h"

struct ap_gguf_text_key { /* metadata of our own */
    const char *key, *value;
};

struct ap_gguf_options {
    const char *name;                    /* general.name */
    const char *tokenizer;               /* its folder */
    ap_dtype dtype;                      /* of matrices; vectors stay f32 */
    const struct ap_gguf_text_key *keys; /* n_keys */
    int n_keys;
    const struct ap_sink *sink; /* notes and warnings */
};

/* path: the file, written whole or not at all. */
ap_status ap_gguf_write_model(const struct ap_merged *m, const char *path,
                              const struct ap_gguf_options *options, struct ap_error *err);
/* LoRA: general.type "adapter". Matrices of another scale than the first one's have it folded into
 * B. An adapter with a scalar head is AP_UNSUPPORTED. */
ap_status ap_gguf_write_adapter(const struct ap_adapter *a, const char *path,
                                const struct ap_gguf_options *options, struct ap_error *err);

/* ---- shared by gguf_model.c, gguf_adapter.c, gguf_tokenizer.c ---- */

/* "attn_q" for a module of a layer. */
const char *ap_gguf_module_name(int module);
/* Rows of a head, where llama.cpp's model of this family has the module's rows in its own order; 0
 * elsewhere. */
int ap_gguf_pair(const struct ap_config *c, int module);
/* Their number for a type: AP_GGML_…, and LLAMA_FTYPE_… of general.file_type. */
uint32_t ap_gguf_tensor_type(ap_dtype dtype);
uint32_t ap_gguf_file_type(ap_dtype dtype);
ap_status ap_gguf_put_string(struct ap_gguf_values *v, const char *key, const char *text,
                             struct ap_error *err);
/* tokenizer.ggml.*, tokenizer.chat_template, and general.name: llama.cpp goes by the name where
 * tokens take white space in. */
ap_status ap_gguf_put_tokenizer(struct ap_gguf_values *v, const struct ap_config *c,
                                const struct ap_gguf_options *options, struct ap_error *err);

#endif
