/* Opening a GGUF file: everything that its header claims is checked against the file's size before
 * it is believed.
 *
 *   "GGUF" | u32 version | u64 tensors | u64 values
 *   values:  key, u32 type, value        a text is u64 length and bytes;
 *   tensors: name, u32 dimensions, u64 each, u32 type, u64 offset      an array u32 type, u64 count
 *   padding to general.alignment | data, each tensor's at its offset
 *
 * Entry points: ap_gguf_open, _parse, _close, _find. */
#include "model/gguf.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 65536
#define TENSORS_MAX 1000000
#define KEY_MAX 65535 /* the format's own limit */
#define NAME_MAX_BYTES 255
#define ARRAY_DEPTH_MAX 4
#define ALIGNMENT_MAX 65536

/* Where reading stands. */
struct cursor {
    const char *path;
    const unsigned char *data;
    size_t n, at;
};

static ap_status take(struct cursor *c, uint64_t n, const unsigned char **out, const char *what,
                      struct ap_error *err)
{
    if (n > c->n - c->at)
        return ap_fail(err, AP_FORMAT,
                       "%s: %s at byte %zu needs %" PRIu64 " bytes, but the file has %zu: it is "
                       "truncated or damaged",
                       c->path, what, c->at, n, c->n);
    *out = c->data + c->at;
    c->at += (size_t)n;
    return AP_OK;
}

static ap_status take_number(struct cursor *c, int n, uint64_t *out, const char *what,
                             struct ap_error *err)
{
    const unsigned char *bytes = NULL;
    ap_status status = take(c, (uint64_t)n, &bytes, what, err);
    *out = 0;
    for (int i = n - 1; i >= 0 && status == AP_OK; i--)
        *out = *out << 8 | bytes[i];
    return status;
}

static ap_status take_text(struct cursor *c, size_t max, struct ap_gguf_text *out, const char *what,
                           struct ap_error *err)
{
    uint64_t n = 0;
    ap_status status = take_number(c, 8, &n, what, err);
    if (status == AP_OK && n > max)
        return ap_fail(err, AP_FORMAT,
                       "%s: %s at byte %zu is %" PRIu64 " bytes, expected at most %zu", c->path,
                       what, c->at, n, max);
    out->n = (size_t)n;
    return status == AP_OK ? take(c, n, (const unsigned char **)&out->data, what, err) : status;
}

/* Names are printed and compared: text without control characters, and not empty. */
static ap_status take_name(struct cursor *c, size_t max, struct ap_gguf_text *out, const char *what,
                           struct ap_error *err)
{
    size_t at = c->at;
    ap_status status = take_text(c, max, out, what, err);
    if (status != AP_OK)
        return status;
    bool fine = out->n > 0 && ap_utf8_valid(out->data, out->n);
    for (size_t i = 0; i < out->n && fine; i++)
        fine = (unsigned char)out->data[i] >= ' ' && out->data[i] != 127;
    return fine ? AP_OK
                : ap_fail(err, AP_FORMAT, "%s: %s at byte %zu is no text: the file is damaged",
                          c->path, what, at);
}

/* ---- values ---- */

static size_t fixed_bytes(ap_gguf_type type)
{
    static const size_t bytes[AP_GGUF_TYPE_N] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[type];
}

static ap_status take_type(struct cursor *c, ap_gguf_type *out, struct ap_error *err)
{
    uint64_t type = 0;
    ap_status status = take_number(c, 4, &type, "a type", err);
    if (status == AP_OK && type >= AP_GGUF_TYPE_N)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: byte %zu names the type %" PRIu64 " of a value, expected 0 to %d: the "
                       "file is damaged or of a later format",
                       c->path, c->at - 4, type, AP_GGUF_TYPE_N - 1);
    *out = (ap_gguf_type)type;
    return status;
}

static ap_status skip_elements(struct cursor *c, ap_gguf_type type, uint64_t n, int depth,
                               struct ap_error *err);

static ap_status skip_array(struct cursor *c, int depth, struct ap_error *err)
{
    ap_gguf_type type = AP_GGUF_U8;
    uint64_t n = 0;
    if (depth > ARRAY_DEPTH_MAX)
        return ap_fail(err, AP_LIMIT, "%s: arrays within arrays at byte %zu, more than %d deep",
                       c->path, c->at, ARRAY_DEPTH_MAX);
    ap_status status = take_type(c, &type, err);
    if (status == AP_OK)
        status = take_number(c, 8, &n, "an array's length", err);
    return status == AP_OK ? skip_elements(c, type, n, depth, err) : status;
}

static ap_status skip_elements(struct cursor *c, ap_gguf_type type, uint64_t n, int depth,
                               struct ap_error *err)
{
    const unsigned char *unused;
    struct ap_gguf_text text;
    uint64_t bytes;
    ap_status status = AP_OK;
    if (fixed_bytes(type)) {
        if (__builtin_mul_overflow(n, fixed_bytes(type), &bytes))
            bytes = UINT64_MAX;
        return take(c, bytes, &unused, "a value", err);
    }
    for (uint64_t i = 0; i < n && status == AP_OK;
         i++) /* each takes bytes: it ends with the file */
        status = type == AP_GGUF_STRING ? take_text(c, SIZE_MAX, &text, "a text", err)
                                        : skip_array(c, depth + 1, err);
    return status;
}

static ap_status take_value(struct cursor *c, struct ap_gguf_value *v, struct ap_error *err)
{
    ap_status status;
    AP_TRY(take_name(c, KEY_MAX, &v->key, "a key", err));
    AP_TRY(take_type(c, &v->type, err));
    v->element = v->type;
    v->n = 1;
    if (v->type == AP_GGUF_ARRAY) {
        AP_TRY(take_type(c, &v->element, err));
        AP_TRY(take_number(c, 8, &v->n, "an array's length", err));
    }
    v->data = c->data + c->at;
    AP_TRY(skip_elements(c, v->element, v->n, 1, err));
    v->size = (size_t)(c->data + c->at - v->data);
out:
    return status;
}

static int compare(const struct ap_gguf_text *a, const struct ap_gguf_text *b)
{
    int order = memcmp(a->data, b->data, a->n < b->n ? a->n : b->n);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static int by_text(const void *a, const void *b)
{
    return compare(*(const struct ap_gguf_text *const *)a, *(const struct ap_gguf_text *const *)b);
}

/* Names at the front of structs of `stride` bytes: none twice. */
static ap_status check_unique(const struct cursor *c, const void *first, size_t n, size_t stride,
                              const char *what, struct ap_error *err)
{
    const struct ap_gguf_text **sorted = ap_calloc(n, sizeof(*sorted));
    ap_status status = AP_OK;
    if (!sorted)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", c->path);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (const struct ap_gguf_text *)(const void *)((const char *)first + i * stride);
    qsort((void *)sorted, n, sizeof(*sorted), by_text);
    for (size_t i = 1; i < n && status == AP_OK; i++)
        if (!compare(sorted[i - 1], sorted[i]))
            status = ap_fail(err, AP_FORMAT, "%s: %s %.*s is there twice", c->path, what,
                             (int)sorted[i]->n, sorted[i]->data);
    ap_free((void *)sorted);
    return status;
}

static ap_status take_values(struct cursor *c, struct ap_gguf *g, uint64_t n, struct ap_error *err)
{
    ap_status status = AP_OK;
    if (n > VALUES_MAX || n > (c->n - c->at) / 13)
        return ap_fail(err, AP_FORMAT,
                       "%s: %" PRIu64 " values, which the file of %zu bytes cannot hold", c->path,
                       n, c->n);
    g->values = ap_calloc((size_t)n, sizeof(*g->values));
    if (!g->values)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", c->path);
    for (; g->n_values < n && status == AP_OK; g->n_values++)
        status = take_value(c, &g->values[g->n_values], err);
    return status == AP_OK
               ? check_unique(c, g->values, g->n_values, sizeof(*g->values), "the key", err)
               : status;
}

/* ---- tensors ---- */

static ap_status take_shape(struct cursor *c, struct ap_gguf_tensor *t, struct ap_error *err)
{
    uint64_t n_dim = 0, d = 0;
    ap_status status = take_number(c, 4, &n_dim, "a tensor's dimensions", err);
    if (status == AP_OK && (n_dim < 1 || n_dim > AP_GGUF_DIMS_MAX))
        return ap_fail(err, AP_FORMAT, "%s: %.*s has %" PRIu64 " dimensions, expected 1 to %d",
                       c->path, (int)t->name.n, t->name.data, n_dim, AP_GGUF_DIMS_MAX);
    t->n_dim = (int)n_dim;
    t->n = 1;
    for (int k = 0; k < AP_GGUF_DIMS_MAX && status == AP_OK; k++) {
        d = 1;
        if (k < t->n_dim)
            status = take_number(c, 8, &d, "a tensor's dimensions", err);
        t->shape[k] = (int64_t)d;
        if (status == AP_OK && (d < 1 || d > INT64_MAX || __builtin_mul_overflow(t->n, d, &t->n)))
            return ap_fail(err, AP_FORMAT,
                           "%s: dimension %d of %.*s is %" PRIu64 ", which is no size of a tensor",
                           c->path, k, (int)t->name.n, t->name.data, d);
    }
    return status;
}

static ap_status take_tensor(struct cursor *c, struct ap_gguf_tensor *t, struct ap_error *err)
{
    uint64_t type = 0;
    ap_status status;
    AP_TRY(take_name(c, NAME_MAX_BYTES, &t->name, "a tensor's name", err));
    AP_TRY(take_shape(c, t, err));
    AP_TRY(take_number(c, 4, &type, "a tensor's type", err));
    AP_TRY(take_number(c, 8, &t->offset, "a tensor's offset", err));
    t->type = ap_ggml_type_find((uint32_t)type);
    if (!t->type)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: %.*s has the type %" PRIu64 ", which is none that is known", c->path,
                       (int)t->name.n, t->name.data, type);
    if (t->shape[0] % t->type->block)
        return ap_fail(
            err, AP_FORMAT, "%s: %.*s is %s with rows of %" PRId64 ", expected a multiple of %d",
            c->path, (int)t->name.n, t->name.data, t->type->name, t->shape[0], t->type->block);
    if (__builtin_mul_overflow(t->n / (size_t)t->type->block, (size_t)t->type->block_bytes,
                               &t->size))
        return ap_fail(err, AP_FORMAT, "%s: %.*s is larger than any file: the header is damaged",
                       c->path, (int)t->name.n, t->name.data);
out:
    return status;
}

static ap_status take_tensors(struct cursor *c, struct ap_gguf *g, uint64_t n, struct ap_error *err)
{
    ap_status status = AP_OK;
    if (n > TENSORS_MAX || n > (c->n - c->at) / 32)
        return ap_fail(err, AP_FORMAT,
                       "%s: %" PRIu64 " tensors, which the file of %zu bytes cannot hold", c->path,
                       n, c->n);
    g->tensors = ap_calloc((size_t)n, sizeof(*g->tensors));
    if (!g->tensors)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", c->path);
    for (; g->n_tensors < n && status == AP_OK; g->n_tensors++)
        status = take_tensor(c, &g->tensors[g->n_tensors], err);
    return status == AP_OK
               ? check_unique(c, g->tensors, g->n_tensors, sizeof(*g->tensors), "the tensor", err)
               : status;
}

static int by_offset(const void *a, const void *b)
{
    const struct ap_gguf_tensor *x = *(const struct ap_gguf_tensor *const *)a,
                                *y = *(const struct ap_gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static ap_status check_range(const struct cursor *c, const struct ap_gguf *g, size_t begin,
                             struct ap_gguf_tensor *t, struct ap_error *err)
{
    size_t room = c->n > begin ? c->n - begin : 0;
    if (t->offset % (uint64_t)g->alignment)
        return ap_fail(err, AP_FORMAT, "%s: %.*s is at %" PRIu64 ", expected a multiple of %d",
                       c->path, (int)t->name.n, t->name.data, t->offset, g->alignment);
    if (t->offset > room || t->size > room - t->offset)
        return ap_fail(err, AP_FORMAT,
                       "%s: %.*s ends past the file's %zu bytes of data: it is truncated", c->path,
                       (int)t->name.n, t->name.data, room);
    t->offset += begin;
    return AP_OK;
}

/* Every tensor within the data, and no byte in two. */
static ap_status place_tensors(const struct cursor *c, struct ap_gguf *g, struct ap_error *err)
{
    size_t align = (size_t)g->alignment, begin = (c->at + align - 1) / align * align;
    const struct ap_gguf_tensor **sorted = ap_calloc(g->n_tensors, sizeof(*sorted));
    ap_status status = AP_OK;
    if (!sorted)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", c->path);
    for (size_t i = 0; i < g->n_tensors && status == AP_OK; i++) {
        status = check_range(c, g, begin, &g->tensors[i], err);
        sorted[i] = &g->tensors[i];
    }
    if (status == AP_OK)
        qsort((void *)sorted, g->n_tensors, sizeof(*sorted), by_offset);
    for (size_t i = 1; i < g->n_tensors && status == AP_OK; i++)
        if (sorted[i - 1]->offset + sorted[i - 1]->size > sorted[i]->offset)
            status = ap_fail(err, AP_FORMAT, "%s: %.*s and %.*s overlap", c->path,
                             (int)sorted[i - 1]->name.n, sorted[i - 1]->name.data,
                             (int)sorted[i]->name.n, sorted[i]->name.data);
    ap_free((void *)sorted);
    return status;
}

/* ---- the file ---- */

static ap_status take_version(struct cursor *c, struct ap_gguf *g, struct ap_error *err)
{
    const unsigned char *magic = NULL;
    uint64_t version = 0;
    ap_status status = take(c, 4, &magic, "the magic", err);
    if (status == AP_OK && memcmp(magic, "GGUF", 4) != 0)
        return ap_fail(err, AP_FORMAT, "%s: does not begin with GGUF: it is no such file", c->path);
    if (status == AP_OK)
        status = take_number(c, 4, &version, "the version", err);
    if (status != AP_OK)
        return status;
    if (version && version % 65536 == 0)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: is a big-endian GGUF file, expected little-endian: convert the model "
                       "again without --bigendian",
                       c->path);
    if (version != 2 && version != 3)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: is GGUF version %" PRIu64 ", expected 2 or 3: convert the model again",
                       c->path, version);
    g->version = (int)version;
    return AP_OK;
}

static ap_status read_alignment(struct ap_gguf *g, struct ap_error *err)
{
    const struct ap_gguf_value *v = ap_gguf_find(g, "general.alignment");
    int64_t n = AP_GGUF_ALIGNMENT;
    if (v && (v->type == AP_GGUF_ARRAY || !ap_gguf_integer(v, 0, &n) || n < 1 ||
              n > ALIGNMENT_MAX || (n & (n - 1))))
        return ap_fail(err, AP_FORMAT, "%s: general.alignment is no power of two from 1 to %d",
                       g->path, ALIGNMENT_MAX);
    g->alignment = (int)n;
    return AP_OK;
}

ap_status ap_gguf_parse(struct ap_gguf *g, const void *data, size_t n, const char *name,
                        struct ap_error *err)
{
    struct cursor c = {.path = name, .data = data, .n = n};
    uint64_t n_tensors = 0, n_values = 0;
    ap_status status = AP_OK;
    *g = (struct ap_gguf){.path = ap_strdup(name)};
    if (!g->path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", name);
    AP_TRY(take_version(&c, g, err));
    AP_TRY(take_number(&c, 8, &n_tensors, "the number of tensors", err));
    AP_TRY(take_number(&c, 8, &n_values, "the number of values", err));
    AP_TRY(take_values(&c, g, n_values, err));
    AP_TRY(read_alignment(g, err));
    AP_TRY(take_tensors(&c, g, n_tensors, err));
    AP_TRY(place_tensors(&c, g, err));
out:
    if (status != AP_OK)
        ap_gguf_close(g);
    return status;
}

ap_status ap_gguf_open(struct ap_gguf *g, const char *path, struct ap_error *err)
{
    struct ap_map map;
    *g = (struct ap_gguf){0};
    ap_status status = ap_map_open(&map, path, err);
    if (status != AP_OK)
        return status;
    status = ap_gguf_parse(g, map.data, map.size, path, err);
    if (status != AP_OK)
        ap_map_close(&map);
    else
        g->map = map;
    return status;
}

void ap_gguf_close(struct ap_gguf *g)
{
    ap_free(g->values);
    ap_free(g->tensors);
    ap_free(g->path);
    ap_map_close(&g->map);
    *g = (struct ap_gguf){0};
}

const struct ap_gguf_value *ap_gguf_find(const struct ap_gguf *g, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].key.n == n && !memcmp(g->values[i].key.data, key, n))
            return &g->values[i];
    return NULL;
}
