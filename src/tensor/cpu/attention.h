/* What the forward and the backward pass of attention share: the scratch of a thread, and who does
 * which sequence. */
#ifndef AP_TENSOR_CPU_ATTENTION_H
#define AP_TENSOR_CPU_ATTENTION_H

#include "tensor/cpu/gemm.h"
#include "tensor/cpu/threads.h"

#define AP_QUERY_BLOCK 32 /* query rows that backward takes at once */

/* A thread's part of the scratch, for sequences of up to `pitch` positions (a multiple of 16). */
struct ap_attention_room {
    size_t pitch;
    float *kt, *vt; /* [D, pitch]: keys and values, a column a position */
    float *p, *ds;  /* [AP_QUERY_BLOCK, pitch]: probabilities, gradients of scores */
};

static inline size_t ap_attention_pitch(int longest)
{
    return ((size_t)longest + AP_PANEL - 1) / AP_PANEL * AP_PANEL;
}

static inline size_t ap_attention_room_floats(const struct ap_attention_shape *s, size_t pitch)
{
    return pitch * 2 * ((size_t)s->head_dim + AP_QUERY_BLOCK);
}

static inline struct ap_attention_room ap_attention_room_of(const struct ap_attention_shape *s,
                                                            size_t pitch, float *scratch,
                                                            int thread)
{
    float *at = scratch + ap_attention_room_floats(s, pitch) * (size_t)thread;
    size_t keys = pitch * (size_t)s->head_dim, block = pitch * AP_QUERY_BLOCK;
    return (struct ap_attention_room){pitch, at, at + keys, at + 2 * keys, at + 2 * keys + block};
}

static inline int ap_attention_longest(const int32_t *start, int n_seq)
{
    int longest = 0;
    for (int s = 0; s < n_seq; s++)
        if (start[s + 1] - start[s] > longest)
            longest = start[s + 1] - start[s];
    return longest;
}

static inline bool ap_attention_worth_threads(const struct ap_attention_shape *s, int n_row,
                                              int longest)
{
    return ap_worth_threads((size_t)n_row * (size_t)longest, (size_t)s->n_head * s->head_dim / 4);
}

/* x[n, D] with rows `row` apart to columns out[D, pitch]; past n, up to a multiple of 16, zero. */
void ap_attention_columns(float *out, size_t pitch, const float *x, size_t row, int n,
                          int head_dim);

#endif
