/* The memory of a forward and backward pass, for transformer.c and heads.c. */
#ifndef AP_MODEL_TAPE_H
#define AP_MODEL_TAPE_H

#include "model/block.h"

/* Floats in a block of logits: 8 MiB, small enough to stay near the processor, large enough that a
 * product of its rows is worth it. */
#define AP_LOGITS_MAX ((size_t)2 << 20)

struct ap_tape {
    struct ap_config config;
    const struct ap_ops *ops;
    int max_row, max_rank, n_thread;
    enum ap_tape_kind kind;
    bool has_dhidden;       /* a head's backward ran since the last forward */
    struct ap_arena arena;  /* everything below */
    struct ap_arena room;   /* scratch of a block, taken and given back */
    struct ap_acts *layers; /* [n_layer]; what is not kept lies in one place for all */
    int whole;              /* checkpointing: the layer whose activations lie there */
    float *x_out;           /* [M,C] after the last layer */
    float *rstd;            /* [M] of the last norm */
    float *hidden;          /* [M,C] */
    float *dhidden, *dx;    /* [M,C]; NULL without gradients */
    float *attention;       /* scratch */
    /* the step's rows, copied by forward */
    int32_t *ids, *pos; /* [M] */
    uint64_t *record;   /* [M] of the sequence, where rows drop */
    int32_t *guess;     /* [M] of a blend of embeddings, −1 elsewhere */
    float eta;          /* 0: no row is a blend */
    bool drops;
    struct ap_stream dropout;
    int32_t *start; /* [M + 1] */
    int n_row, n_seq;
    /* a block of a head's rows */
    int block;                   /* rows in it, R */
    float *logits;               /* [R,V] */
    float *picked, *dpicked;     /* [R,C] */
    float *logp, *entropy, *lse; /* [R] */
};

/* Same shapes, so that memory for one fits the other. */
bool ap_config_same_shape(const struct ap_config *a, const struct ap_config *b);
/* The role fits the memory of `config` with adapters up to max_rank, and the threads have not grown
 * beyond n_thread. */
ap_status ap_role_check(const struct ap_role *role, const struct ap_config *config, int max_rank,
                        int n_thread, struct ap_error *err);
/* The weight whose packed form gives logits: lm_head, or the embedding it is tied to. Asserts that
 * the model has one. */
const struct ap_param *ap_head_of(const struct ap_role *role);

#endif
