/* The optimiser's state as a safetensors file:
 *
 *   applied      I64 [1]   updates made so far
 *   TABLE.m.NAME, TABLE.v.NAME   F32, the shape of the parameter NAME of table TABLE (0, 1, …)
 *
 * Entry points: ap_optimiser_save, ap_optimiser_load. */
#include "train/optimiser_inner.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define ENTRY_MAX (AP_NAME_MAX + 24)
#define APPLIED_MAX ((int64_t)1 << 40)

static void entry_name(char out[ENTRY_MAX], const struct ap_optimiser_row *row, char kind)
{
    snprintf(out, ENTRY_MAX, "%d.%c.%s", row->table, kind, row->param->name);
}

static char *file_path(const char *folder, const char *name)
{
    char file[256];
    if (snprintf(file, sizeof(file), "%s.safetensors", name) >= (int)sizeof(file))
        return NULL;
    return ap_path_join(folder, file);
}

static struct ap_tensor_out entry_of(char name[ENTRY_MAX], const struct ap_optimiser_row *row,
                                     char kind)
{
    const struct ap_param *p = row->param;
    entry_name(name, row, kind);
    return (struct ap_tensor_out){.name = name,
                                  .dtype = AP_F32,
                                  .n_dim = p->n_dim,
                                  .shape = {p->shape[0], p->shape[1]},
                                  .data = kind == 'm' ? row->m : row->v};
}

ap_status ap_optimiser_save(const struct ap_optimiser *o, const char *folder, const char *name,
                            struct ap_error *err)
{
    const int n = 2 * o->n + 1;
    char(*names)[ENTRY_MAX] = ap_calloc((size_t)n, ENTRY_MAX);
    struct ap_tensor_out *tensors = ap_calloc((size_t)n, sizeof(*tensors));
    char *path = file_path(folder, name);
    ap_status status = AP_OK;
    if (!names || !tensors || !path) {
        status = ap_fail(err, AP_MEMORY, "optimiser of %d tensors: out of memory", o->n);
        goto out;
    }
    tensors[0] = (struct ap_tensor_out){
        .name = "applied", .dtype = AP_I64, .n_dim = 1, .shape = {1}, .data = &o->n_applied};
    for (int i = 0; i < o->n; i++) {
        tensors[2 * i + 1] = entry_of(names[2 * i + 1], &o->rows[i], 'm');
        tensors[2 * i + 2] = entry_of(names[2 * i + 2], &o->rows[i], 'v');
    }
    status = ap_safetensors_write(path, tensors, n, err);
out:
    ap_free(path);
    ap_free(tensors);
    ap_free(names);
    return status;
}

/* The view of that name, or an error: its shape must be the parameter's. */
static ap_status find_entry(const struct ap_safetensors *f, const char *name, ap_dtype dtype,
                            int n_dim, const int *shape, const void **data, struct ap_error *err)
{
    const struct ap_tensor_view *v = ap_safetensors_find(f, name);
    bool same = v && v->dtype == dtype && v->n_dim == n_dim;
    for (int k = 0; same && k < n_dim; k++)
        same = v->shape[k] == shape[k];
    if (!same)
        return ap_fail(err, AP_FORMAT,
                       "%s: %s is %s, expected the state of the tensor that trains now; the file "
                       "belongs to another model or adapter",
                       f->path, name, v ? "of another dtype or shape" : "missing");
    *data = v->data;
    return AP_OK;
}

static ap_status load_entry(const struct ap_safetensors *f, struct ap_optimiser_row *row, char kind,
                            struct ap_error *err)
{
    const struct ap_param *p = row->param;
    const void *data = NULL;
    char name[ENTRY_MAX];
    entry_name(name, row, kind);
    ap_status status = find_entry(f, name, AP_F32, p->n_dim, p->shape, &data, err);
    if (status == AP_OK)
        memcpy(kind == 'm' ? row->m : row->v, data, p->n * sizeof(float));
    return status;
}

ap_status ap_optimiser_load(struct ap_optimiser *o, const char *folder, const char *name,
                            struct ap_error *err)
{
    struct ap_safetensors f = {0};
    const void *applied = NULL;
    int64_t n_applied;
    char *path = file_path(folder, name);
    ap_status status = AP_OK;
    if (!path)
        return ap_fail(err, AP_MEMORY, "optimiser %s: out of memory", name);
    AP_TRY(ap_safetensors_open(&f, path, err));
    if (f.n != 2 * o->n + 1) {
        status =
            ap_fail(err, AP_FORMAT,
                    "%s: %d tensors, expected %d; the file belongs to another model or adapter",
                    path, f.n, 2 * o->n + 1);
        goto out;
    }
    AP_TRY(find_entry(&f, "applied", AP_I64, 1, (int[]){1}, &applied, err));
    for (int i = 0; i < o->n; i++) {
        AP_TRY(load_entry(&f, &o->rows[i], 'm', err));
        AP_TRY(load_entry(&f, &o->rows[i], 'v', err));
    }
    memcpy(&n_applied, applied, sizeof(n_applied));
    if (n_applied < 0 || n_applied > APPLIED_MAX)
        status = ap_fail(err, AP_FORMAT, "%s: applied is %lld, expected 0 to %lld", path,
                         (long long)n_applied, (long long)APPLIED_MAX);
    else
        o->n_applied = n_applied;
out:
    ap_safetensors_close(&f);
    ap_free(path);
    return status;
}
