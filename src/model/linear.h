/* THE linear seam: y = x Wᵀ + b + s·(x Aᵀ) Bᵀ. Every linear map of a layer goes through here, and
 * LoRA lives nowhere else (Hu et al. 2021). */
#ifndef AP_MODEL_LINEAR_H
#define AP_MODEL_LINEAR_H

#include "base/memory.h"
#include "model/transformer.h"

struct ap_linear {
    const struct ap_ops *ops;
    const struct ap_param *w, *bias;        /* bias NULL: none */
    const struct ap_param *lora_a, *lora_b; /* NULL: not adapted */
    int part;                               /* the map's rows of w, bias and lora_b */
    float scale;                            /* s */
    bool train_base, train_lora;
    bool drops; /* x is dropped before A */
    struct ap_mask mask;
};

/* map: enum ap_layer_map. Maps of one fused module share lora_a. */
struct ap_linear ap_linear_view(const struct ap_role *role, int layer, int map);

/* Rows of this step drop: record, pos of each. Nothing where the adapter does not. */
void ap_linear_drop(struct ap_linear *m, const struct ap_role *role, int layer, int map,
                    const struct ap_stream *stream, const uint64_t *record, const int32_t *pos);
/* Rows that are dropped at a time, through a buffer of room. */
#define AP_DROP_ROWS 64

/* y[M,N] = (accumulate: +=) of x[M,K]. room gives [M, r], and [AP_DROP_ROWS, K]
 * where it drops, and has them back. */
void ap_linear_forward(const struct ap_linear *m, float *y, const float *x, int n_row,
                       bool accumulate, struct ap_arena *room);
/* dx[M,K] = (accumulate: +=), NULL: not wanted; += on gradients of W, b, A, B where they train.
 * Reads x only where ap_linear_reads_x. room gives 2·[M, r], and the same. */
void ap_linear_backward(const struct ap_linear *m, float *dx, const float *dy, const float *x,
                        int n_row, bool accumulate, struct ap_arena *room);
bool ap_linear_reads_x(const struct ap_linear *m);

#endif
