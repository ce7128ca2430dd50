/* The dtypes of safetensors, for reading and writing. */
#ifndef AP_MODEL_SAFETENSORS_INNER_H
#define AP_MODEL_SAFETENSORS_INNER_H

#include "model/safetensors.h"

#define AP_N_DTYPE 7

struct ap_dtype_row {
    const char *name; /* as in the header */
    size_t size;      /* bytes an element */
};

extern const struct ap_dtype_row ap_dtypes[AP_N_DTYPE]; /* by ap_dtype */

#endif
