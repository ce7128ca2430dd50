/* What the forward and the backward pass of attention share: the scratch of a thread, and who does
 * which sequence. */
#ifndef AP_TENSOR_CPU_ATTENTION_H
#define AP_TENSOR_CPU_ATTENTION_H

#include "tensor/cpu/gemm.h"
#include "tensor/cpu/threads.h"

#define AP_QUERY_BLOCK 32 /* query rows that backward takes at once */

/* A thread's part of the scratch, for sequences of up to `pitch` positions. */
struct ap_attention_room {
    size_t pitch;
    float *kt,
        *vt;       /* keys and values as panels [pitch/16][D][16]: sixteen positions side by side */
    float *p, *ds; /* [AP_QUERY_BLOCK, pitch]: probabilities, gradients of scores */
};

/* n rounded up to whole panels. */
static inline int ap_attention_padded(int n)
{
    return (n + AP_PANEL - 1) / AP_PANEL * AP_PANEL;
}

/* An odd number of panels, so that rows of p and ds do not fall into the same lines of a cache. */
static inline size_t ap_attention_pitch(int longest)
{
    return (size_t)(ap_attention_padded(longest) / AP_PANEL | 1) * AP_PANEL;
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

/* The first position that a row of n positions sees. */
static inline int ap_attention_first(const struct ap_attention_shape *s, int n)
{
    return s->window > 0 && n > s->window ? n - s->window : 0;
}

/* x[n, D] with rows `row` apart to panels; positions past n in the last one are zero. */
void ap_attention_panels(float *out, const float *x, size_t row, int n, int head_dim);

#endif
