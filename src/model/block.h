/* One layer: norm, attention, norm, gated feed-forward, each with its residual. Split where the
 * keys and values come in, so that training and decoding share every other line and give the same
 * bits. */
#ifndef AP_MODEL_BLOCK_H
#define AP_MODEL_BLOCK_H

#include "model/layout.h"
#include "model/linear.h"

/* Activations of one layer, rows M. Backward reads all of them; normed rows, the feed-forward's
 * product and LoRA's inner rows are computed again. Without gradients the three x are one buffer.
 */
struct ap_acts {
    float *x_in;      /* [M,C] */
    float *rstd1;     /* [M] */
    float *q, *k, *v; /* [M,H·D] [M,Hkv·D] ×2; q and k after rope */
    float *att;       /* [M,H·D] */
    float *lse;       /* [M,H] */
    float *x_mid;     /* [M,C] */
    float *rstd2;     /* [M] */
    float *gate, *up; /* [M,F] */
};

struct ap_block {
    const struct ap_weights *weights;
    const struct ap_ops *ops;
    struct ap_attention_shape attention;
    const struct ap_param *norm1, *norm2;
    struct ap_linear map[AP_MAP_N];
};

/* Where a step's rows are. */
struct ap_place {
    const int32_t *pos;   /* [n_row] */
    const int32_t *start; /* [n_seq + 1] */
    int n_row, n_seq;
};

struct ap_block ap_block_view(const struct ap_role *role, int layer);
/* Layers differ in their windows only. */
struct ap_attention_shape ap_attention_shape_of(const struct ap_config *c, int layer);

/* y[n_row, C] = rows of the embedding. */
void ap_embedding_forward(const struct ap_weights *w, float *y, const int32_t *ids, int n_row);

/* Buffers of one layer for n_row rows; the three x are not among them. */
void ap_acts_take(struct ap_acts *a, struct ap_layout *l, const struct ap_config *c, int n_row);
/* Scratch that the functions below need. */
void ap_block_room(struct ap_layout *l, const struct ap_config *c, int n_row, int max_rank,
                   bool with_grad);

/* Saves rstd1, q, k, v of x_in. */
void ap_block_qkv(const struct ap_block *b, const struct ap_acts *a, const int32_t *pos, int n_row,
                  struct ap_arena *room);
/* From att on: saves x_mid, rstd2, gate, up; writes x_out (= x_mid is fine; NULL: skip). */
void ap_block_rest(const struct ap_block *b, const struct ap_acts *a, float *x_out, int n_row,
                   struct ap_arena *room);
/* dx[M,C]: the gradient of x_out on entry, of x_in on return (unless !down: the lowest layer that
 * trains has no use for it). += on the gradients of what trains. */
void ap_block_backward(const struct ap_block *b, const struct ap_acts *a, float *dx,
                       const struct ap_place *place, bool down, struct ap_arena *room,
                       float *attention_scratch);

#endif
