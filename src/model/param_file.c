/* Tables of parameters in safetensors files (param.h). */
#include "model/param.h"

#include "base/memory.h"

#include <stdio.h>

static const char *shape_text(const struct ap_param *p, char *out, size_t size)
{
    if (p->n_dim == 2)
        snprintf(out, size, "[%d,%d]", p->shape[0], p->shape[1]);
    else
        snprintf(out, size, "[%d]", p->shape[0]);
    return out;
}

ap_status ap_param_check(const struct ap_param *p, const struct ap_tensor_view *v, const char *path,
                         const char *config, struct ap_error *err)
{
    char expected[32], got[128];
    bool same = v && v->n_dim == p->n_dim;
    for (int k = 0; same && k < p->n_dim; k++)
        same = v->shape[k] == p->shape[k];
    if (same)
        return AP_OK;
    return ap_fail(err, AP_FORMAT, "%s: %s is %s, expected %s (%s in %s); %s", path, p->name,
                   v ? ap_tensor_text(v, got, sizeof(got)) : "missing",
                   shape_text(p, expected, sizeof(expected)), p->keys, config,
                   "the two files do not belong together");
}

ap_status ap_param_borrow(struct ap_param *p, const struct ap_tensor_view *v, const char *path,
                          const char *config, struct ap_error *err)
{
    ap_status status = ap_param_check(p, v, path, config, err);
    if (status != AP_OK)
        return status;
    status = ap_tensor_check_real(v, err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "%s", path);
    p->stored = v->data;
    p->dtype = v->dtype;
    p->data = v->dtype == AP_F32 && (uintptr_t)v->data % sizeof(float) == 0 ? v->data : NULL;
    return AP_OK;
}

ap_status ap_param_read(struct ap_param *p, const struct ap_tensor_view *v, const char *path,
                        const char *config, struct ap_error *err)
{
    ap_status status = ap_param_check(p, v, path, config, err);
    if (status == AP_OK && !p->own) {
        p->stored = NULL;
        status = ap_param_own(p, err);
    }
    if (status != AP_OK)
        return status;
    status = ap_tensor_to_f32(v, p->own, err);
    return status == AP_OK ? AP_OK : ap_fail_prefix(err, status, "%s", path);
}

/* Names the first tensor of the file that the table has not. */
static ap_status unknown_tensor(const struct ap_param_table *t, const struct ap_safetensors *f,
                                const char *config, struct ap_error *err)
{
    for (int i = 0; i < f->n; i++)
        if (!ap_params_find(t, f->views[i].name))
            return ap_fail(err, AP_FORMAT,
                           "%s: %s is a tensor too many: %s describes none of that name", f->path,
                           f->views[i].name, config);
    return ap_fail(err, AP_FORMAT, "%s: %d tensors, expected %d", f->path, f->n, t->n);
}

ap_status ap_params_read(struct ap_param_table *t, const char *path, const char *config,
                         struct ap_error *err)
{
    struct ap_safetensors f;
    ap_status status = ap_safetensors_open(&f, path, err);
    if (status != AP_OK)
        return status;
    for (int i = 0; i < t->n && status == AP_OK; i++)
        status =
            ap_param_read(&t->rows[i], ap_safetensors_find(&f, t->rows[i].name), path, config, err);
    if (status == AP_OK && f.n != t->n)
        status = unknown_tensor(t, &f, config, err);
    ap_safetensors_close(&f);
    return status;
}

ap_status ap_params_write(const struct ap_param_table *t, const char *path, struct ap_error *err)
{
    struct ap_tensor_out *tensors = ap_calloc((size_t)t->n, sizeof(*tensors));
    if (!tensors)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", path);
    for (int i = 0; i < t->n; i++) {
        const struct ap_param *p = &t->rows[i];
        tensors[i] = (struct ap_tensor_out){.name = p->name,
                                            .dtype = p->dtype,
                                            .n_dim = p->n_dim,
                                            .shape = {p->shape[0], p->shape[1]},
                                            .data = p->stored};
    }
    ap_status status = ap_safetensors_write(path, tensors, t->n, err);
    ap_free(tensors);
    return status;
}
