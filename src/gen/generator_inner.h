/* Inside of the continuous batcher: its slots and what it keeps between steps (generator.h). */
#ifndef AP_GEN_GENERATOR_INNER_H
#define AP_GEN_GENERATOR_INNER_H

#include "gen/generator.h"
#include "gen/stop_text.h"
#include "model/layout.h"

#define AP_GEN_END_MAX 64

typedef enum ap_slot_state {
    AP_SLOT_FREE,
    AP_SLOT_WAIT,
    AP_SLOT_PREFILL,
    AP_SLOT_RUN
} ap_slot_state;

struct ap_slot {
    ap_slot_state state;
    struct ap_gen_work work;
    int64_t number; /* of the work, in the order in which they came */
    int sample;
    int n_filled; /* positions in the cache */
    int max_new, n_new;
    int32_t next; /* AP_SLOT_RUN: the token to feed */
    struct ap_random random;
    struct ap_stop_text text; /* used with stop strings or text_wanted only */
    int32_t *said;            /* [context], the prompt and the new tokens */
    int32_t *ids;             /* the new ones: said + n_prompt */
    float *logp;              /* [context], of the new ones */
    float *saved;             /* [context], logits before a penalty */
};

struct ap_generator {
    struct ap_config config;
    struct ap_generator_options options; /* .end points to `end` */
    int32_t end[AP_GEN_END_MAX];
    int max_row;
    struct ap_kv *kv;
    struct ap_arena arena; /* everything below */
    struct ap_slot *slots; /* n_slot */
    int32_t *said;         /* [n_slot, context], the slots' */
    float *logp, *saved;
    int32_t *row_id, *row_slot, *row_pos; /* [max_row], of one step */
    int32_t *drawn_slot, *drawn_row;      /* [n_slot]: running slots of the step, their rows */
    int32_t *drawn_id;
    double *uniform;   /* [n_slot] */
    float *drawn_logp; /* [n_slot] */
    float *lse;        /* [n_slot] */
    float *logits;     /* [n_slot, V] */
    double *block;     /* [n_slot, n_block] */
    int32_t *heap;     /* [n_slot, V] */
    int64_t n_decoded, n_prefilled, n_steps;
    struct ap_gen_work next; /* the work whose samples begin: */
    int64_t next_number;
    int next_sample, n_sample; /* the next of how many; equal: another work is asked for */
    int donor;                 /* slot that holds its prompt */
};

ap_status ap_generator_check_stops(char *const *stop, int n_stop,
                                   const struct ap_tokenizer *tokenizer, struct ap_error *err);

#endif
