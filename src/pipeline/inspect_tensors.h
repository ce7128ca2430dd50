/* Tensors of a file, told in few lines: those whose names differ in numbers only, and that have one
 * type and shape, are a group. */
#ifndef AP_PIPELINE_INSPECT_TENSORS_H
#define AP_PIPELINE_INSPECT_TENSORS_H

#include "model/safetensors.h"
#include "pipeline/inspect_tell.h"

#define AP_TENSOR_NUMBERS 3

struct ap_tensor_group {
    char name[192];   /* with {} in the place of each number; cut */
    const char *type; /* static */
    int n_dim;
    int64_t shape[AP_SHAPE_MAX];
    uint64_t n; /* tensors */
    int n_number;
    int64_t low[AP_TENSOR_NUMBERS], high[AP_TENSOR_NUMBERS]; /* of each number */
};

struct ap_tensor_total {
    const char *type;
    uint64_t n, elements, bytes;
};

/* Zeroed before use. */
struct ap_tensors {
    struct ap_tensor_group *groups; /* owned */
    int n_group;
    uint64_t n_other; /* tensors of further groups */
    struct ap_tensor_total totals[48], all;
    int n_total;
};

/* type: static text. */
ap_status ap_tensors_add(struct ap_tensors *s, const char *name, size_t n_name, const char *type,
                         int n_dim, const int64_t *shape, uint64_t elements, uint64_t bytes,
                         struct ap_error *err);
ap_status ap_tensors_add_file(struct ap_tensors *s, const struct ap_safetensors *f,
                              struct ap_error *err);
/* Lines "parameters" and "stored as"; the table under a heading. */
void ap_tell_totals(struct ap_tell *t, const struct ap_tensors *s);
void ap_tell_tensors(struct ap_tell *t, const struct ap_tensors *s);
void ap_tensors_free(struct ap_tensors *s);

#endif
