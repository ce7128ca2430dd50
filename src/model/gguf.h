/* GGUF files: the header read (metadata and the table of tensors, checked before use), and files
 * written whole. Reference: ggml's docs/gguf.md, versions 2 and 3. */
#ifndef AP_MODEL_GGUF_H
#define AP_MODEL_GGUF_H

#include "base/file.h"

#define AP_GGUF_DIMS_MAX 4
#define AP_GGUF_ALIGNMENT 32 /* bytes, where a file says nothing */

/* Types of metadata, by the numbers of the format. */
typedef enum ap_gguf_type {
    AP_GGUF_U8,
    AP_GGUF_I8,
    AP_GGUF_U16,
    AP_GGUF_I16,
    AP_GGUF_U32,
    AP_GGUF_I32,
    AP_GGUF_F32,
    AP_GGUF_BOOL,
    AP_GGUF_STRING,
    AP_GGUF_ARRAY,
    AP_GGUF_U64,
    AP_GGUF_I64,
    AP_GGUF_F64,
    AP_GGUF_TYPE_N
} ap_gguf_type;

/* "u32"; what the format has no such number for is NULL. */
const char *ap_gguf_type_name(uint32_t type);

/* Types of tensors, by the numbers of the format: those that are written. The others are rows of
 * gguf_type.c. */
enum { AP_GGML_F32 = 0, AP_GGML_F16 = 1, AP_GGML_BF16 = 30 };

struct ap_ggml_type {
    uint32_t id;
    const char *name; /* "Q4_K" */
    int block;        /* elements in a block: a row is a multiple */
    int block_bytes;
};
/* NULL for an unknown number. */
const struct ap_ggml_type *ap_ggml_type_find(uint32_t id);

/* A text in the file: n bytes, not terminated, UTF-8 not checked but where said. */
struct ap_gguf_text {
    const char *data;
    size_t n;
};

struct ap_gguf_value {
    struct ap_gguf_text key;   /* UTF-8 without control characters */
    ap_gguf_type type;         /* of the value; of an array AP_GGUF_ARRAY */
    ap_gguf_type element;      /* of an array's elements; else as type */
    uint64_t n;                /* elements; 1 when it is no array */
    const unsigned char *data; /* first element; not aligned */
    size_t size;               /* bytes of all elements */
};

struct ap_gguf_tensor {
    struct ap_gguf_text name;
    const struct ap_ggml_type *type;
    int n_dim;
    int64_t shape[AP_GGUF_DIMS_MAX]; /* as in the file: the fastest first; 1 past n_dim */
    size_t n, size;                  /* elements, bytes */
    uint64_t offset;                 /* from the file's first byte */
};

struct ap_gguf {
    char *path;
    struct ap_map map;
    int version, alignment;
    struct ap_gguf_value *values; /* n_values, in the file's order */
    size_t n_values;
    struct ap_gguf_tensor *tensors; /* n_tensors, in the file's order */
    size_t n_tensors;
};

/* Maps the file and reads its header; the tensors' bytes are not touched. Truncated and lying files
 * are AP_FORMAT, a version, byte order or type that is not read AP_UNSUPPORTED by name. */
ap_status ap_gguf_open(struct ap_gguf *g, const char *path, struct ap_error *err);
ap_status ap_gguf_parse(struct ap_gguf *g, const void *data, size_t n, const char *name,
                        struct ap_error *err); /* from memory: borrowed */
void ap_gguf_close(struct ap_gguf *g);

const struct ap_gguf_value *ap_gguf_find(const struct ap_gguf *g, const char *key); /* or NULL */
/* Element i of a value that is, or holds, numbers or booleans; false for other types. A u64 above
 * the largest int64 is that. */
bool ap_gguf_integer(const struct ap_gguf_value *v, uint64_t i, int64_t *out); /* no reals */
bool ap_gguf_real(const struct ap_gguf_value *v, uint64_t i, double *out);
/* The text of a value that is one; false for others. */
bool ap_gguf_text(const struct ap_gguf_value *v, struct ap_gguf_text *out);
/* Walks the texts of an array of them: *at starts at 0 and is the walk's place. */
bool ap_gguf_next_text(const struct ap_gguf_value *v, size_t *at, struct ap_gguf_text *out);

/* ---- writing: gguf_write.c ---- */

/* Metadata as it is put together: each put adds one value; an array is begun with its length and
 * then gets that many elements. Free `bytes`. */
struct ap_gguf_values {
    struct ap_buffer bytes;
    uint64_t n;
};
ap_status ap_gguf_put_u32(struct ap_gguf_values *v, const char *key, uint32_t value,
                          struct ap_error *err);
ap_status ap_gguf_put_f32(struct ap_gguf_values *v, const char *key, float value,
                          struct ap_error *err);
ap_status ap_gguf_put_bool(struct ap_gguf_values *v, const char *key, bool value,
                           struct ap_error *err);
ap_status ap_gguf_put_text(struct ap_gguf_values *v, const char *key, const char *text, size_t n,
                           struct ap_error *err);
ap_status ap_gguf_begin_array(struct ap_gguf_values *v, const char *key, ap_gguf_type element,
                              uint64_t n, struct ap_error *err);
ap_status ap_gguf_add_text(struct ap_gguf_values *v, const char *text, size_t n,
                           struct ap_error *err);
ap_status ap_gguf_add_i32(struct ap_gguf_values *v, int32_t value, struct ap_error *err);
ap_status ap_gguf_add_f32(struct ap_gguf_values *v, float value, struct ap_error *err);

struct ap_gguf_tensor_out {
    char name[64];
    uint32_t type; /* AP_GGML_… */
    int n_dim;
    int64_t shape[2]; /* the fastest first */
};
/* Version 3. The header; then the caller appends each tensor's bytes in the order given, pads after
 * each, and commits. w must be zeroed, and aborted after an error. */
ap_status ap_gguf_begin(struct ap_writer *w, const char *path, const struct ap_gguf_values *values,
                        const struct ap_gguf_tensor_out *tensors, size_t n, struct ap_error *err);
ap_status ap_gguf_pad(struct ap_writer *w, struct ap_error *err);

#endif
