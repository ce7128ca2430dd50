/* Reading (memory-mapped, checked before use) and writing safetensors files. */
#ifndef AP_MODEL_SAFETENSORS_H
#define AP_MODEL_SAFETENSORS_H

#include "base/file.h"
#include "tensor/dtype.h"

#include <jansson.h>

#define AP_SHAPE_MAX 4

struct ap_tensor_view {
    char *name; /* owned by the file */
    ap_dtype dtype;
    int n_dim; /* 0 … AP_SHAPE_MAX */
    int64_t shape[AP_SHAPE_MAX];
    size_t n;         /* elements */
    const void *data; /* into the map; not aligned where the file's header is not */
};

struct ap_safetensors {
    char *path;
    struct ap_map map;
    struct ap_tensor_view *views; /* sorted by name */
    int n;
    json_t *metadata; /* the header's __metadata__, unchecked; owned; NULL for none */
};

/* Truncated files, lying headers (length, offsets, overlap, holes, dtype, shape) are AP_FORMAT. */
ap_status ap_safetensors_open(struct ap_safetensors *f, const char *path, struct ap_error *err);
ap_status ap_safetensors_parse(struct ap_safetensors *f, const void *data, size_t n,
                               const char *name, struct ap_error *err); /* from memory: borrowed */
void ap_safetensors_close(struct ap_safetensors *f);
const struct ap_tensor_view *ap_safetensors_find(const struct ap_safetensors *f, const char *name);
/* "F32", as the header spells it. */
const char *ap_dtype_name(ap_dtype dtype);
/* "F32 [512,64]", for messages; returns out. */
const char *ap_tensor_text(const struct ap_tensor_view *v, char *out, size_t size);
/* AP_UNSUPPORTED unless f32, f16 or bf16. */
ap_status ap_tensor_check_real(const struct ap_tensor_view *v, struct ap_error *err);
/* f32 copy of f32, f16 or bf16 data into out[v->n]; another dtype is AP_UNSUPPORTED. */
ap_status ap_tensor_to_f32(const struct ap_tensor_view *v, float *out, struct ap_error *err);

/* n floats as F32, F16 or BF16 into out, rounded to nearest, ties to even. false: a finite number
 * is too large for the type and became infinite. */
bool ap_tensor_from_f32(ap_dtype dtype, const float *in, void *out, size_t n);

struct ap_tensor_out {
    const char *name;
    ap_dtype dtype;
    int n_dim;
    int64_t shape[AP_SHAPE_MAX];
    const void *data; /* row-major, little endian */
};
/* The same in pieces: the header; then the caller appends every tensor's bytes in the order given
 * (`data` is not read) and commits. w must be zeroed, and aborted after an error. */
ap_status ap_safetensors_begin(struct ap_writer *w, const char *path,
                               const struct ap_tensor_out *tensors, int n, struct ap_error *err);
/* In the order given, each name once. Atomic (base/file.h); __metadata__ {"format": "pt"}, which
 * transformers asks for. */
ap_status ap_safetensors_write(const char *path, const struct ap_tensor_out *tensors, int n,
                               struct ap_error *err);

#endif
