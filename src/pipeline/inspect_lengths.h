/* Counts of lengths in fixed memory: exact below 65536, above to within 1/64. */
#ifndef AP_PIPELINE_INSPECT_LENGTHS_H
#define AP_PIPELINE_INSPECT_LENGTHS_H

#include "base/error.h"

#include <stdint.h>

struct ap_lengths {
    uint64_t *count; /* by bucket; owned; NULL before the first length */
    uint64_t n, min, max;
};

ap_status ap_lengths_add(struct ap_lengths *l, uint64_t length, struct ap_error *err);
/* The least length that a share q in (0, 1] of all reaches (nearest rank); 0 when there are none.
 */
uint64_t ap_lengths_quantile(const struct ap_lengths *l, double q);
void ap_lengths_free(struct ap_lengths *l);

#endif
