/* Making an adapter's table, for adapter.c and adapter_file.c. */
#ifndef AP_MODEL_ADAPTER_H
#define AP_MODEL_ADAPTER_H

#include "model/weights.h"

struct ap_adapter_plan {
    int rank;
    double alpha;
    bool rslora, with_head;
    bool targets[AP_LORA_N];
};

/* Rows with names, shapes and packings, their values zero. */
ap_status ap_adapter_make(struct ap_adapter **out, const struct ap_config *config,
                          const struct ap_adapter_plan *plan, struct ap_error *err);

#endif
