/* Writing safetensors files, and f32 copies of what is stored. Entry points: ap_safetensors_write,
 * ap_tensor_to_f32, ap_tensor_text, ap_dtype_name. */
#include "model/safetensors.h"

#include "base/json.h"
#include "model/safetensors_inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const ap_dtype_names[AP_N_DTYPE] = {
    [AP_F32] = "F32", [AP_F16] = "F16", [AP_BF16] = "BF16", [AP_I32] = "I32",
    [AP_I64] = "I64", [AP_F64] = "F64", [AP_U8] = "U8",
};

const char *ap_dtype_name(ap_dtype dtype)
{
    return ap_dtype_names[dtype];
}

const char *ap_tensor_text(const struct ap_tensor_view *v, char *out, size_t size)
{
    int at = snprintf(out, size, "%s [", ap_dtype_name(v->dtype));
    for (int k = 0; k < v->n_dim && at > 0 && (size_t)at < size; k++)
        at += snprintf(out + at, size - (size_t)at, "%s%" PRId64, k ? "," : "", v->shape[k]);
    if (at > 0 && (size_t)at < size)
        snprintf(out + at, size - (size_t)at, "]");
    return out;
}

ap_status ap_tensor_check_real(const struct ap_tensor_view *v, struct ap_error *err)
{
    if (v->dtype == AP_F32 || v->dtype == AP_F16 || v->dtype == AP_BF16)
        return AP_OK;
    return ap_fail(err, AP_UNSUPPORTED, "%s is %s, expected F32, F16 or BF16; convert it", v->name,
                   ap_dtype_name(v->dtype));
}

ap_status ap_tensor_to_f32(const struct ap_tensor_view *v, float *out, struct ap_error *err)
{
    ap_status status = ap_tensor_check_real(v, err);
    if (status == AP_OK)
        ap_to_f32(out, v->data, v->dtype, v->n);
    return status;
}

static size_t size_of(const struct ap_tensor_out *t)
{
    size_t n = ap_dtype_size(t->dtype);
    for (int k = 0; k < t->n_dim; k++)
        n *= (size_t)t->shape[k];
    return n;
}

static ap_status put_entry(struct ap_buffer *b, const struct ap_tensor_out *t, size_t begin,
                           struct ap_error *err)
{
    ap_status status = AP_OK;
    json_t *name = json_string(t->name);
    char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    json_decref(name);
    if (!quoted)
        return ap_fail(err, AP_MEMORY, "out of memory, or a tensor's name is not UTF-8");
    AP_TRY(ap_buffer_printf(b, err, ",%s:{\"dtype\":\"%s\",\"shape\":[", quoted,
                            ap_dtype_name(t->dtype)));
    for (int k = 0; k < t->n_dim; k++)
        AP_TRY(ap_buffer_printf(b, err, "%s%" PRId64, k ? "," : "", t->shape[k]));
    AP_TRY(ap_buffer_printf(b, err, "],\"data_offsets\":[%zu,%zu]}", begin, begin + size_of(t)));
out:
    free(quoted);
    return status;
}

static ap_status make_header(struct ap_buffer *b, const struct ap_tensor_out *tensors, int n,
                             struct ap_error *err)
{
    size_t end = 0;
    ap_status status = ap_buffer_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}", err);
    for (int i = 0; i < n && status == AP_OK; i++) {
        status = put_entry(b, &tensors[i], end, err);
        end += size_of(&tensors[i]);
    }
    if (status == AP_OK)
        status = ap_buffer_puts(b, "}", err);
    while (status == AP_OK && b->len % 8) /* so that the data is aligned in a map */
        status = ap_buffer_puts(b, " ", err);
    return status;
}

ap_status ap_safetensors_begin(struct ap_writer *w, const char *path,
                               const struct ap_tensor_out *tensors, int n, struct ap_error *err)
{
    struct ap_buffer header = {0};
    unsigned char length[8];
    ap_status status;
    AP_TRY(make_header(&header, tensors, n, err));
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)header.len >> 8 * i);
    AP_TRY(ap_writer_open(w, path, err));
    AP_TRY(ap_writer_append(w, length, sizeof(length), err));
    AP_TRY(ap_writer_append(w, header.data, header.len, err));
out:
    ap_buffer_free(&header);
    return status;
}

ap_status ap_safetensors_write(const char *path, const struct ap_tensor_out *tensors, int n,
                               struct ap_error *err)
{
    struct ap_writer w = {0};
    ap_status status;
    AP_TRY(ap_safetensors_begin(&w, path, tensors, n, err));
    for (int i = 0; i < n; i++)
        AP_TRY(ap_writer_append(&w, tensors[i].data, size_of(&tensors[i]), err));
    status = ap_writer_commit(&w, err);
out:
    ap_writer_abort(&w);
    return status;
}
