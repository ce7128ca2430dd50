/* Preference pairs as token sequences, for what learns from them: reward_train.c and dpo.c. */
#ifndef AP_ALIGN_PAIRS_H
#define AP_ALIGN_PAIRS_H

#include "text/sequence.h"

/* One pair: chats for a classifier; prompt ++ answer with the answer's tokens marked for dpo.c. */
struct ap_pair {
    struct ap_sequence chosen, rejected;
};
void ap_pairs_free(struct ap_pair *pairs, int n); /* the sequences and the array */
/* Tokens of the longest pair, both sides together; `least` where none is longer. pairs NULL: none.
 */
int ap_pairs_longest(const struct ap_pair *pairs, int n, int least);

#endif
