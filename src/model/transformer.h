/* The transformer: forward and backward over packed rows, heads, decoding with a cache.
 *
 * A role is a view (weights, adapter or none). Training: forward → heads' forward → the caller's
 * loss → heads' backward → backward. The tape holds what backward needs and is allocated once. */
#ifndef AP_MODEL_TRANSFORMER_H
#define AP_MODEL_TRANSFORMER_H

#include "base/random.h"
#include "model/weights.h"

struct ap_role {
    struct ap_weights *weights; /* borrowed */
    struct ap_adapter *adapter; /* borrowed; NULL: none ("adapter off") */
};

/* Inputs of the adapter's A are dropped with its probability, the rest scaled by 1/(1−p) (peft's
 * lora_dropout): masks are functions of seed, stage, step, record, position, layer and module, so
 * they do not depend on batch, threads or resuming; backward has the forward's. */
struct ap_dropout {
    struct ap_stream stream; /* seed, stage, step; the rest is not read */
    const uint64_t *record;  /* [n_seq] numbers of the sequences; read by the forward only */
};

/* Inputs that are a blend of two embeddings, math.md (21): (1−η) E[id] + η E_frozen[guess]. The
 * gradient of E has the factor (1−η); the frozen one gets none. */
struct ap_mix {
    const int32_t *guess;            /* [n_row], in [0, V); −1: E[id] as it is */
    const struct ap_weights *frozen; /* of the role's shape; borrowed, read by the forward only */
    float eta;
};

/* Sequences one after another: rows start[s] … start[s+1]−1 are sequence s, at positions 0, 1, … */
struct ap_rows {
    const int32_t *ids;   /* n_row token ids, in [0, V) */
    const int32_t *start; /* n_seq + 1 */
    int n_row, n_seq;
    const struct ap_dropout *dropout; /* NULL: none, as everywhere but in supervised training */
    const struct ap_mix *mix;         /* NULL: none, as everywhere but in ift */
};

struct ap_tape; /* opaque: activations, their gradients, scratch */

/* What a tape keeps of a forward. */
enum ap_tape_kind {
    AP_TAPE_FORWARD,   /* nothing: no backward */
    AP_TAPE_BACKWARD,  /* what backward reads */
    AP_TAPE_CHECKPOINT /* each layer's input: backward computes the rest of a layer again, with the
                        * same bits (Chen et al. 2016) */
};
/* For at most max_row rows in one forward of any model of this shape (adapter rank up to max_rank).
 */
ap_status ap_tape_open(struct ap_tape **out, const struct ap_config *config, int max_row,
                       int max_rank, enum ap_tape_kind kind, struct ap_error *err);
/* Bytes of memory that such a tape takes; SIZE_MAX when they are past counting. */
ap_status ap_tape_bytes(size_t *out, const struct ap_config *config, int max_row, int max_rank,
                        enum ap_tape_kind kind, struct ap_error *err);
void ap_tape_close(struct ap_tape *t);
int ap_tape_max_row(const struct ap_tape *t);

/* Hidden states after the final norm, kept in the tape. Ids and positions are checked (AP_INVALID,
 * AP_LIMIT). Allocates nothing. */
ap_status ap_forward(struct ap_tape *t, const struct ap_role *role, const struct ap_rows *rows,
                     struct ap_error *err);
/* [n_row, C], borrowed until the next forward. */
const float *ap_tape_hidden(const struct ap_tape *t);

/* logp[i] = log p(target[i] | row[i]) at a temperature, entropy[i] in nats (NULL: skip). row:
 * indices of rows, ascending. In chunks: never more than a bounded block of [rows, V]. */
void ap_logp_forward(struct ap_tape *t, const struct ap_role *role, const int32_t *row,
                     const int32_t *target, int n, double temperature, float *logp, float *entropy);
/* best[i] = the likeliest token after row[i], the lowest id of equals. */
void ap_greedy_forward(struct ap_tape *t, const struct ap_role *role, const int32_t *row, int n,
                       int32_t *best);
/* Adds to the tape's hidden gradient and, where trainable, the head's. dentropy may be NULL. The
 * first backward call after a forward starts the hidden gradient at zero. */
void ap_logp_backward(struct ap_tape *t, const struct ap_role *role, const int32_t *row,
                      const int32_t *target, int n, double temperature, const float *dlogp,
                      const float *dentropy);
/* Where a classifier's head reads a sequence: its last token that is not config.json's
 * pad_token_id, or 0 where all are, as transformers has it. n ≥ 1. (A chat of Phi-3 ends in that
 * token.) */
int ap_last_real(const struct ap_config *c, const int32_t *ids, int n);
/* The scalar head (the adapter's, else the weights' score) at rows. Asserts that there is one. */
void ap_scalar_forward(struct ap_tape *t, const struct ap_role *role, const int32_t *row, int n,
                       float *value);
void ap_scalar_backward(struct ap_tape *t, const struct ap_role *role, const int32_t *row, int n,
                        const float *dvalue);
/* From the hidden gradient down to the embedding; += on every parameter that has a grad (weights
 * when weights->trainable, adapter when adapter->trainable); gradients of frozen weights are not
 * computed. */
void ap_backward(struct ap_tape *t, const struct ap_role *role);

/* -- decoding -- */
struct ap_kv; /* opaque: caches of all layers for n_slot sequences of up to capacity positions */
ap_status ap_kv_open(struct ap_kv **out, const struct ap_config *config, int n_slot, int capacity,
                     int max_row, int max_rank, struct ap_error *err);
/* Bytes of memory that such caches take; SIZE_MAX when they are past counting. */
ap_status ap_kv_bytes(size_t *out, const struct ap_config *config, int n_slot, int capacity,
                      int max_row, int max_rank, struct ap_error *err);
void ap_kv_close(struct ap_kv *kv);
/* n_row tokens at (slot, pos), stored into the cache; rows of one slot ascend in pos. At most
 * max_row. Hidden states after the final norm stay in kv. Allocates nothing. */
ap_status ap_decode(struct ap_kv *kv, const struct ap_role *role, const int32_t *ids,
                    const int32_t *slot, const int32_t *pos, int n_row, struct ap_error *err);
/* logits[n, V] of the chosen rows of the last decode. */
void ap_decode_logits(struct ap_kv *kv, const struct ap_role *role, const int32_t *row, int n,
                      float *logits);
void ap_kv_copy(struct ap_kv *kv, int from, int to, int n_pos);

#endif
