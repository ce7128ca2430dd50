/* Writing GGUF files, version 3, little endian (gguf.h; the layout is drawn in gguf.c). Entry
 * points: ap_gguf_put_…, ap_gguf_begin, ap_gguf_pad. */
#include "model/gguf.h"

#include "base/buffer.h"

#include <string.h>

static ap_status add_number(struct ap_buffer *b, uint64_t value, int n, struct ap_error *err)
{
    unsigned char bytes[8];
    for (int i = 0; i < n; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    return ap_buffer_append(b, bytes, (size_t)n, err);
}

static ap_status add_text(struct ap_buffer *b, const char *text, size_t n, struct ap_error *err)
{
    ap_status status = add_number(b, n, 8, err);
    return status == AP_OK && n ? ap_buffer_append(b, text, n, err) : status;
}

static ap_status begin_value(struct ap_gguf_values *v, const char *key, ap_gguf_type type,
                             struct ap_error *err)
{
    v->n++;
    ap_status status = add_text(&v->bytes, key, strlen(key), err);
    return status == AP_OK ? add_number(&v->bytes, type, 4, err) : status;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

ap_status ap_gguf_put_u32(struct ap_gguf_values *v, const char *key, uint32_t value,
                          struct ap_error *err)
{
    ap_status status = begin_value(v, key, AP_GGUF_U32, err);
    return status == AP_OK ? add_number(&v->bytes, value, 4, err) : status;
}

ap_status ap_gguf_put_f32(struct ap_gguf_values *v, const char *key, float value,
                          struct ap_error *err)
{
    ap_status status = begin_value(v, key, AP_GGUF_F32, err);
    return status == AP_OK ? ap_gguf_add_f32(v, value, err) : status;
}

ap_status ap_gguf_put_bool(struct ap_gguf_values *v, const char *key, bool value,
                           struct ap_error *err)
{
    ap_status status = begin_value(v, key, AP_GGUF_BOOL, err);
    return status == AP_OK ? add_number(&v->bytes, value, 1, err) : status;
}

ap_status ap_gguf_put_text(struct ap_gguf_values *v, const char *key, const char *text, size_t n,
                           struct ap_error *err)
{
    ap_status status = begin_value(v, key, AP_GGUF_STRING, err);
    return status == AP_OK ? add_text(&v->bytes, text, n, err) : status;
}

ap_status ap_gguf_begin_array(struct ap_gguf_values *v, const char *key, ap_gguf_type element,
                              uint64_t n, struct ap_error *err)
{
    ap_status status = begin_value(v, key, AP_GGUF_ARRAY, err);
    if (status == AP_OK)
        status = add_number(&v->bytes, element, 4, err);
    return status == AP_OK ? add_number(&v->bytes, n, 8, err) : status;
}

ap_status ap_gguf_add_text(struct ap_gguf_values *v, const char *text, size_t n,
                           struct ap_error *err)
{
    return add_text(&v->bytes, text, n, err);
}

ap_status ap_gguf_add_i32(struct ap_gguf_values *v, int32_t value, struct ap_error *err)
{
    return add_number(&v->bytes, (uint32_t)value, 4, err);
}

ap_status ap_gguf_add_f32(struct ap_gguf_values *v, float value, struct ap_error *err)
{
    return add_number(&v->bytes, bits_of(value), 4, err);
}

/* ---- the file ---- */

static uint64_t padded(uint64_t n)
{
    return (n + AP_GGUF_ALIGNMENT - 1) / AP_GGUF_ALIGNMENT * AP_GGUF_ALIGNMENT;
}

static ap_status add_tensor(struct ap_buffer *b, const struct ap_gguf_tensor_out *t,
                            uint64_t *offset, struct ap_error *err)
{
    uint64_t size = (uint64_t)ap_ggml_type_find(t->type)->block_bytes;
    ap_status status;
    AP_TRY(add_text(b, t->name, strlen(t->name), err));
    AP_TRY(add_number(b, (uint64_t)t->n_dim, 4, err));
    for (int k = 0; k < t->n_dim; k++) {
        size *= (uint64_t)t->shape[k];
        AP_TRY(add_number(b, (uint64_t)t->shape[k], 8, err));
    }
    AP_TRY(add_number(b, t->type, 4, err));
    AP_TRY(add_number(b, *offset, 8, err));
    *offset += padded(size);
out:
    return status;
}

ap_status ap_gguf_begin(struct ap_writer *w, const char *path, const struct ap_gguf_values *values,
                        const struct ap_gguf_tensor_out *tensors, size_t n, struct ap_error *err)
{
    struct ap_buffer head = {0}, table = {0};
    uint64_t offset = 0;
    ap_status status;
    AP_TRY(ap_buffer_append(&head, "GGUF", 4, err));
    AP_TRY(add_number(&head, 3, 4, err));
    AP_TRY(add_number(&head, n, 8, err));
    AP_TRY(add_number(&head, values->n, 8, err));
    for (size_t i = 0; i < n; i++)
        AP_TRY(add_tensor(&table, &tensors[i], &offset, err));
    AP_TRY(ap_writer_open_new(w, path, err));
    AP_TRY(ap_writer_append(w, head.data, head.len, err));
    AP_TRY(ap_writer_append(w, values->bytes.data, values->bytes.len, err));
    AP_TRY(ap_writer_append(w, table.data, table.len, err));
    AP_TRY(ap_gguf_pad(w, err));
out:
    ap_buffer_free(&head);
    ap_buffer_free(&table);
    return status;
}

ap_status ap_gguf_pad(struct ap_writer *w, struct ap_error *err)
{
    static const unsigned char zero[AP_GGUF_ALIGNMENT];
    return ap_writer_append(w, zero, (size_t)(padded(w->size) - w->size), err);
}
