/* Sequences put one after another for a forward, with the (row, target) pairs whose
 * log-probabilities are wanted. Filled until it is full, used, cleared. */
#ifndef AP_ALIGN_PACK_H
#define AP_ALIGN_PACK_H

#include "model/transformer.h"

struct ap_pack {
    int32_t *ids, *start;  /* max_row; max_row + 1 */
    int32_t *row, *target; /* n_target: predict target[i] from row[i] */
    uint64_t *record;      /* n_seq: numbers that dropout goes by; 0 unless given */
    int n_row, n_seq, n_target, max_row;
};

ap_status ap_pack_init(struct ap_pack *p, int max_row, struct ap_error *err);
void ap_pack_free(struct ap_pack *p);
void ap_pack_clear(struct ap_pack *p);
/* Whether n more tokens fit. */
bool ap_pack_fits(const struct ap_pack *p, int n);
/* One sequence: prompt ++ answer; every answer token becomes a target. Must fit; n_prompt ≥ 1. */
void ap_pack_add(struct ap_pack *p, const int32_t *prompt, int n_prompt, const int32_t *answer,
                 int n_answer);
/* One sequence whose targets are marked token by token (trained[0] is ignored; NULL: none).
 * record: the sequence's own number. */
void ap_pack_add_marked(struct ap_pack *p, const int32_t *ids, const uint8_t *trained, int n,
                        uint64_t record);
struct ap_rows ap_pack_rows(const struct ap_pack *p);

#endif
