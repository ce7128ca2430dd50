/* Opening a safetensors file: everything that its header claims is checked against the file before
 * a view is handed out.
 *
 *   8 bytes n, little endian | n bytes of JSON {name: {dtype, shape, data_offsets}} | data
 *
 * Not here: writing and conversion (safetensors_write.c). Entry points: ap_safetensors_open,
 * _parse, _close, _find. */
#include "model/safetensors.h"

#include "base/json.h"
#include "base/memory.h"
#include "model/safetensors_inner.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX ((size_t)100000000) /* the format's own limit */
#define TENSORS_MAX 1000000

/* One entry of the header, as it is checked. */
struct entry {
    const char *path; /* of the file, for messages */
    const char *name;
    const json_t *value;
    size_t data_size; /* bytes after the header */
};

static ap_status find_dtype(const struct entry *e, const char *text, ap_dtype *out,
                            struct ap_error *err)
{
    for (int i = 0; i < AP_N_DTYPE; i++)
        if (!strcmp(text, ap_dtype_names[i])) {
            *out = (ap_dtype)i;
            return AP_OK;
        }
    return ap_fail(err, AP_UNSUPPORTED,
                   "%s: %s has dtype %s, expected F32, F16, BF16, F64, I32, I64 or U8; convert the "
                   "file",
                   e->path, e->name, text);
}

static ap_status read_shape(const struct entry *e, struct ap_tensor_view *v, struct ap_error *err)
{
    const json_t *shape = json_object_get(e->value, "shape");
    size_t n_dim = json_array_size(shape);
    if (!json_is_array(shape) || n_dim > AP_SHAPE_MAX)
        return ap_fail(err, AP_FORMAT, "%s: %s: shape is %s, expected a list of at most %d numbers",
                       e->path, e->name, json_is_array(shape) ? "longer" : "no list", AP_SHAPE_MAX);
    v->n_dim = (int)n_dim;
    v->n = 1;
    for (size_t k = 0; k < n_dim; k++) {
        const json_t *d = json_array_get(shape, k);
        v->shape[k] = json_integer_value(d);
        if (!json_is_integer(d) || v->shape[k] < 0 ||
            __builtin_mul_overflow(v->n, (size_t)v->shape[k], &v->n))
            return ap_fail(err, AP_FORMAT,
                           "%s: %s: shape[%zu] is not a number of elements that fits in memory",
                           e->path, e->name, k);
    }
    return AP_OK;
}

static ap_status read_offsets(const struct entry *e, size_t *begin, size_t *end,
                              struct ap_error *err)
{
    const json_t *offsets = json_object_get(e->value, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return ap_fail(err, AP_FORMAT, "%s: %s: data_offsets is not a pair of integers", e->path,
                       e->name);
    int64_t b = json_integer_value(first), n = json_integer_value(last);
    if (b < 0 || n < b || (uint64_t)n > e->data_size)
        return ap_fail(err, AP_FORMAT,
                       "%s: %s: data_offsets are [%" PRId64 ",%" PRId64
                       "], expected a range within the file's %zu bytes of data",
                       e->path, e->name, b, n, e->data_size);
    *begin = (size_t)b;
    *end = (size_t)n;
    return AP_OK;
}

static ap_status read_entry(const struct entry *e, const unsigned char *data,
                            struct ap_tensor_view *v, struct ap_error *err)
{
    const char *dtype = NULL;
    char text[64];
    size_t begin = 0, end = 0, size;
    ap_status status;
    if (!json_is_object(e->value))
        return ap_fail(err, AP_FORMAT, "%s: %s is not an object with dtype, shape, data_offsets",
                       e->path, e->name);
    if (json_object_size(e->value) != 3)
        return ap_fail(err, AP_FORMAT, "%s: %s has %zu keys, expected dtype, shape, data_offsets",
                       e->path, e->name, json_object_size(e->value));
    AP_TRY(ap_json_text(e->value, "dtype", e->path, true, &dtype, NULL, err));
    AP_TRY(find_dtype(e, dtype, &v->dtype, err));
    AP_TRY(read_shape(e, v, err));
    AP_TRY(read_offsets(e, &begin, &end, err));
    if (__builtin_mul_overflow(v->n, ap_dtype_size(v->dtype), &size) || size != end - begin)
        return ap_fail(err, AP_FORMAT,
                       "%s: %s is %s, but data_offsets [%zu,%zu] hold %zu bytes, which do not fit",
                       e->path, e->name, ap_tensor_text(v, text, sizeof(text)), begin, end,
                       end - begin);
    v->data = data + begin;
    v->name = ap_strdup(e->name);
    if (!v->name)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", e->path);
out:
    return status;
}

static size_t view_size(const struct ap_tensor_view *v)
{
    return v->n * ap_dtype_size(v->dtype);
}

static int by_data(const void *a, const void *b)
{
    const struct ap_tensor_view *x = a, *y = b;
    if (x->data != y->data)
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return view_size(x) < view_size(y) ? -1 : view_size(x) > view_size(y); /* empty ones first */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ap_tensor_view *)a)->name,
                  ((const struct ap_tensor_view *)b)->name);
}

/* Every byte of the data belongs to exactly one tensor. */
static ap_status check_cover(const struct ap_safetensors *f, const unsigned char *data, size_t size,
                             struct ap_error *err)
{
    size_t end = 0;
    for (int i = 0; i < f->n; i++) {
        const struct ap_tensor_view *v = &f->views[i];
        size_t begin = (size_t)((const unsigned char *)v->data - data);
        if (begin != end)
            return ap_fail(err, AP_FORMAT,
                           "%s: %s begins at byte %zu of the data, expected %zu: tensors %s",
                           f->path, v->name, begin, end, begin < end ? "overlap" : "leave a hole");
        end = begin + view_size(v);
    }
    if (end != size)
        return ap_fail(err, AP_FORMAT,
                       "%s: tensors end at byte %zu of the data, the file at %zu: it is damaged",
                       f->path, end, size);
    return AP_OK;
}

static ap_status read_entries(struct ap_safetensors *f, const json_t *header,
                              const unsigned char *data, size_t size, struct ap_error *err)
{
    const char *name;
    json_t *value;
    if (json_object_size(header) > TENSORS_MAX)
        return ap_fail(err, AP_LIMIT, "%s: %zu tensors, expected at most %d", f->path,
                       json_object_size(header), TENSORS_MAX);
    f->views = ap_calloc(json_object_size(header), sizeof(*f->views));
    if (!f->views)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", f->path);
    json_object_foreach((json_t *)header, name, value)
    {
        struct entry e = {.path = f->path, .name = name, .value = value, .data_size = size};
        if (!strcmp(name, "__metadata__"))
            continue;
        ap_status status = read_entry(&e, data, &f->views[f->n], err);
        if (status != AP_OK)
            return status;
        f->n++;
    }
    qsort(f->views, (size_t)f->n, sizeof(*f->views), by_data);
    ap_status status = check_cover(f, data, size, err);
    if (status == AP_OK)
        qsort(f->views, (size_t)f->n, sizeof(*f->views), by_name);
    return status;
}

static ap_status header_length(const unsigned char *data, size_t n, const char *name, size_t *out,
                               struct ap_error *err)
{
    uint64_t length = 0;
    if (n < 8)
        return ap_fail(err, AP_FORMAT,
                       "%s: %zu bytes, expected a safetensors file of at least 8; it is truncated",
                       name, n);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | data[i];
    if (length > HEADER_MAX || length > n - 8)
        return ap_fail(err, AP_FORMAT,
                       "%s: header length %" PRIu64 ", expected at most %zu: the file is truncated "
                       "or not safetensors",
                       name, length, n - 8 < HEADER_MAX ? n - 8 : HEADER_MAX);
    *out = (size_t)length;
    return AP_OK;
}

ap_status ap_safetensors_parse(struct ap_safetensors *f, const void *data, size_t n,
                               const char *name, struct ap_error *err)
{
    const unsigned char *bytes = data;
    json_t *header = NULL;
    size_t length = 0;
    ap_status status = AP_OK;
    *f = (struct ap_safetensors){.path = ap_strdup(name)};
    if (!f->path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", name);
    AP_TRY(header_length(bytes, n, name, &length, err));
    AP_TRY(ap_json_parse((const char *)bytes + 8, length, name, &header, err));
    if (!json_is_object(header)) {
        status = ap_fail(err, AP_FORMAT, "%s: the header is a list, expected an object", name);
        goto out;
    }
    f->metadata = json_incref(json_object_get(header, "__metadata__"));
    AP_TRY(read_entries(f, header, bytes + 8 + length, n - 8 - length, err));
out:
    json_decref(header);
    if (status != AP_OK)
        ap_safetensors_close(f);
    return status;
}

ap_status ap_safetensors_open(struct ap_safetensors *f, const char *path, struct ap_error *err)
{
    struct ap_map map;
    *f = (struct ap_safetensors){0};
    ap_status status = ap_map_open(&map, path, err);
    if (status != AP_OK)
        return status;
    status = ap_safetensors_parse(f, map.data, map.size, path, err);
    if (status != AP_OK)
        ap_map_close(&map);
    else
        f->map = map;
    return status;
}

void ap_safetensors_close(struct ap_safetensors *f)
{
    for (int i = 0; f->views && i < f->n; i++)
        ap_free(f->views[i].name);
    ap_free(f->views);
    json_decref(f->metadata);
    ap_free(f->path);
    ap_map_close(&f->map);
    *f = (struct ap_safetensors){0};
}

static int name_against(const void *key, const void *element)
{
    return strcmp(key, ((const struct ap_tensor_view *)element)->name);
}

const struct ap_tensor_view *ap_safetensors_find(const struct ap_safetensors *f, const char *name)
{
    return f->n ? bsearch(name, f->views, (size_t)f->n, sizeof(*f->views), name_against) : NULL;
}
