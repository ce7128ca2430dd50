/* A LoRA adapter alone as a GGUF file (gguf_model.h): for each adapted matrix NAME.lora_a, A, and
 * NAME.lora_b, B, which llama.cpp scales by adapter.lora.alpha over the rank. Entry point:
 * ap_gguf_write_adapter. */
#include "base/memory.h"
#include "model/config_inner.h"
#include "model/gguf_model.h"

#include <stdio.h>
#include <string.h>

/* The alpha that gives a matrix its scale. */
static double alpha_of(const struct ap_adapter *a, int at)
{
    return (double)a->scales[at] * a->table.rows[a->a[at]].shape[0];
}

static int first_of(const struct ap_adapter *a)
{
    int at = 0;
    while (a->a[at] < 0)
        at++;
    return at;
}

static ap_status put_metadata(struct ap_gguf_values *v, const struct ap_adapter *a,
                              const struct ap_gguf_options *o, struct ap_error *err)
{
    const char *arch = ap_families[a->config.family].model_type;
    ap_status status;
    AP_TRY(ap_gguf_put_string(v, "general.architecture", arch, err));
    AP_TRY(ap_gguf_put_string(v, "general.type", "adapter", err));
    AP_TRY(ap_gguf_put_string(v, "general.name", o->name, err));
    AP_TRY(ap_gguf_put_u32(v, "general.file_type", ap_gguf_file_type(o->dtype), err));
    AP_TRY(ap_gguf_put_string(v, "adapter.type", "lora", err));
    AP_TRY(ap_gguf_put_f32(v, "adapter.lora.alpha", (float)alpha_of(a, first_of(a)), err));
    for (int i = 0; i < o->n_keys; i++)
        AP_TRY(ap_gguf_put_string(v, o->keys[i].key, o->keys[i].value, err));
out:
    return status;
}

static struct ap_gguf_tensor_out describe(const struct ap_param *p, int at, char matrix,
                                          ap_dtype dtype)
{
    struct ap_gguf_tensor_out t = {
        .type = ap_gguf_tensor_type(dtype), .n_dim = 2, .shape = {p->shape[1], p->shape[0]}};
    snprintf(t.name, sizeof(t.name), "blk.%d.%s.weight.lora_%c", at / AP_LORA_N,
             ap_gguf_module_name(at % AP_LORA_N), matrix);
    return t;
}

/* B in llama.cpp's order of rows, at the scale that the file's one alpha asks for. */
static ap_status append_b(const struct ap_adapter *a, int at, const char *name, ap_dtype dtype,
                          struct ap_writer *w, struct ap_error *err)
{
    const struct ap_param *b = &a->table.rows[a->b[at]];
    size_t rank = (size_t)b->shape[1];
    int pair = ap_gguf_pair(&a->config, at % AP_LORA_N);
    float factor = (float)(alpha_of(a, at) / alpha_of(a, first_of(a)));
    float *x = ap_calloc(b->n, sizeof(*x));
    if (!x)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", name);
    for (int i = 0; i < b->shape[0]; i++) {
        const float *from = b->data + (size_t)(pair ? ap_unpaired_row(i, pair) : i) * rank;
        for (size_t k = 0; k < rank; k++)
            x[(size_t)i * rank + k] = factor * from[k];
    }
    ap_status status = ap_merged_append_floats(name, x, b->n, dtype, w, err);
    ap_free(x);
    return status;
}

static ap_status append_pair(const struct ap_adapter *a, int at,
                             const struct ap_gguf_tensor_out names[2], ap_dtype dtype,
                             struct ap_writer *w, struct ap_error *err)
{
    const struct ap_param *p = &a->table.rows[a->a[at]];
    ap_status status;
    AP_TRY(ap_merged_append_floats(names[0].name, p->data, p->n, dtype, w, err));
    AP_TRY(ap_gguf_pad(w, err));
    AP_TRY(append_b(a, at, names[1].name, dtype, w, err));
    AP_TRY(ap_gguf_pad(w, err));
out:
    return status;
}

ap_status ap_gguf_write_adapter(const struct ap_adapter *a, const char *path,
                                const struct ap_gguf_options *options, struct ap_error *err)
{
    int n_place = a->config.n_layer * AP_LORA_N, n = 0;
    struct ap_gguf_values v = {0};
    struct ap_writer w = {0};
    struct ap_gguf_tensor_out *tensors = ap_calloc((size_t)a->table.n, sizeof(*tensors));
    ap_status status = AP_OK;
    if (!tensors)
        return ap_fail(err, AP_MEMORY, "gguf: out of memory");
    if (a->score >= 0 || a->config.n_label)
        AP_TRY(ap_fail(err, AP_UNSUPPORTED,
                       "gguf: the adapter is a sequence classifier's, expected a language "
                       "model's: llama.cpp has no such head; use --format peft"));
    for (int at = 0; at < n_place; at++)
        if (a->a[at] >= 0) {
            tensors[n++] = describe(&a->table.rows[a->a[at]], at, 'a', options->dtype);
            tensors[n++] = describe(&a->table.rows[a->b[at]], at, 'b', options->dtype);
        }
    AP_TRY(put_metadata(&v, a, options, err));
    AP_TRY(ap_gguf_begin(&w, path, &v, tensors, (size_t)n, err));
    n = 0;
    for (int at = 0; at < n_place; at++)
        if (a->a[at] >= 0) {
            AP_TRY(append_pair(a, at, &tensors[n], options->dtype, &w, err));
            n += 2;
        }
    status = ap_writer_commit(&w, err);
out:
    ap_writer_abort(&w);
    ap_buffer_free(&v.bytes);
    ap_free(tensors);
    return status;
}
