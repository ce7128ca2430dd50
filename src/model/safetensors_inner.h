/* The dtypes of safetensors, for reading and writing. */
#ifndef AP_MODEL_SAFETENSORS_INNER_H
#define AP_MODEL_SAFETENSORS_INNER_H

#include "model/safetensors.h"

#define AP_N_DTYPE 7

extern const char *const ap_dtype_names[AP_N_DTYPE]; /* by ap_dtype, as in the header */

#endif
