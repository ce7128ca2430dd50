/* Decoders of a tokenizer.json: Replace, ByteFallback, Fuse, Strip, ByteLevel and Sequences of
 * them, as a chain of stages that a token runs through the moment it is known. What ap_decoder_push
 * (alignpro/text.h) holds back is only what later tokens can still change. Reference: the Rust
 * library `tokenizers`, decoders/. */
#ifndef AP_TEXT_DECODER_H
#define AP_TEXT_DECODER_H

#include "alignpro/text.h"
#include "base/buffer.h"
#include "base/json.h"

#define AP_DECODER_STAGES_MAX 8

struct ap_decoder_stage {
    size_t kind;           /* row of the table in decoder_load.c */
    char *pattern, *value; /* owned; Replace: both; Strip: value is its character */
    size_t n_pattern, n_value;
    int64_t start; /* Strip: most characters taken off the front */
    bool fused;    /* the tokens have become one text before this stage */
};

struct ap_decoder_plan {
    struct ap_decoder_stage stage[AP_DECODER_STAGES_MAX];
    int n;
    bool join; /* no decoder at all: tokens are joined by spaces */
};

enum {
    AP_DECODER_SEQUENCE,
    AP_DECODER_REPLACE,
    AP_DECODER_BYTE_FALLBACK,
    AP_DECODER_FUSE,
    AP_DECODER_STRIP,
    AP_DECODER_BYTE_LEVEL,
    AP_DECODER_N_KINDS
};

/* From the "decoder" of the tokenizer.json, which may be NULL. */
ap_status ap_decoder_plan_init(struct ap_decoder_plan *plan, const json_t *config,
                               const char *where, struct ap_error *err);
void ap_decoder_plan_free(struct ap_decoder_plan *plan);

/* What a stage remembers between tokens. */
struct ap_decoder_state {
    struct ap_buffer held; /* bytes not yet final (ByteFallback, ByteLevel); Replace's output */
    size_t checked;        /* ByteFallback: bytes of held that are whole characters */
    bool broken;           /* ByteFallback: this run of bytes is not UTF-8 */
    bool begun;            /* Strip: a character that stays has been seen */
    int64_t n_stripped;    /* Strip */
};

struct ap_decoder {
    const struct ap_tokenizer *t; /* borrowed */
    bool skip_special, any;       /* any: a token was decoded already */
    struct ap_decoder_state state[AP_DECODER_STAGES_MAX];
    struct ap_buffer out;
};

/* The same as open and close for one that lives on the stack. Zero-cost to begin again. */
void ap_decoder_init(struct ap_decoder *d, const struct ap_tokenizer *t, bool skip_special);
void ap_decoder_free(struct ap_decoder *d);

/* Append what token id makes final to d->out, without emptying it first. */
ap_status ap_decoder_add(struct ap_decoder *d, int32_t id, struct ap_error *err);
/* Append what is still held to d->out. */
ap_status ap_decoder_end(struct ap_decoder *d, struct ap_error *err);

#endif
