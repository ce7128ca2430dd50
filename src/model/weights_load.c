/* Loading a Hugging Face folder, whose files are found by weights_files.c. Matrices are packed
 * straight from the map. Entry points: ap_weights_load, ap_weights_load_bytes. */
#include "model/weights.h"

#include "base/memory.h"
#include "model/param.h"
#include "model/weights_files.h"
#include "model/weights_table.h"

/* Matrices do; norms and biases are read as floats, in place where the file's alignment allows. */
static bool stays_mapped(const struct ap_param *p, const struct ap_tensor_view *v)
{
    return p->n_dim == 2 || (v->dtype == AP_F32 && (uintptr_t)v->data % sizeof(float) == 0);
}

static ap_status take_values(struct ap_param *p, const struct ap_tensor_view *v, const char *path,
                             struct ap_error *err)
{
    if (v && stays_mapped(p, v))
        return ap_param_borrow(p, v, path, "config.json", err);
    return ap_param_read(p, v, path, "config.json", err);
}

static ap_status take_row(const struct ap_weights_files *s, struct ap_param *p,
                          struct ap_error *err)
{
    const char *path;
    const struct ap_tensor_view *v = ap_weights_files_find(s, p->name, &path);
    return take_values(p, v, path, err);
}

/* Rows are found already; views are gone through one by one only when there are more. */
static ap_status check_no_more(const struct ap_weights *w, const struct ap_weights_files *s,
                               struct ap_error *err)
{
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->files[i].n;
    for (int i = 0; n != w->table.n && i < s->n; i++)
        for (int k = 0; k < s->files[i].n; k++) {
            ap_status status =
                ap_weights_files_check(s, w, &s->files[i], &s->files[i].views[k], true, err);
            if (status != AP_OK)
                return status;
        }
    return AP_OK;
}

/* What was read to be packed or compared need not stay in memory; an embedding that is looked up in
 * the file does, and is there from the start: how much memory a run has does not depend on how many
 * words it has seen. */
static void pack_rows(struct ap_weights *w)
{
    for (int i = 0; i < w->table.n; i++) {
        struct ap_param_table row = {.rows = &w->table.rows[i], .n = 1};
        ap_params_repack(w->ops, &row);
        if (row.rows->n_part)
            ap_map_release(row.rows->stored, row.rows->n * ap_dtype_size(row.rows->dtype));
    }
    for (int i = 0; i < w->n_files; i++)
        ap_map_release(w->files[i].map.data, w->files[i].map.size);
    for (int i = 0; i < w->table.n; i++) {
        const struct ap_param *p = &w->table.rows[i];
        if (!p->n_part && p->stored != p->own)
            ap_map_fetch(p->stored, p->n * ap_dtype_size(p->dtype));
    }
}

/* A context below 0: nothing to compute with. */
static ap_status load(struct ap_weights **out, const char *dir, int context, ap_dtype dtype,
                      struct ap_error *err)
{
    struct ap_weights_files s = {0};
    struct ap_config config;
    struct ap_weights *w = NULL;
    ap_status status;
    *out = NULL;
    AP_TRY(ap_config_read(&config, dir, err));
    status = context < 0 ? ap_weights_describe(&w, &config, 0, dtype, err)
                         : ap_weights_new(&w, &config, context, dtype, err);
    if (status != AP_OK) {
        ap_fail_prefix(err, status, "%s", dir);
        goto out;
    }
    AP_TRY(ap_weights_files_open(&s, dir, err));
    for (int i = 0; i < w->table.n; i++)
        AP_TRY(take_row(&s, &w->table.rows[i], err));
    AP_TRY(check_no_more(w, &s, err));
    w->files = s.files; /* rows point into them */
    w->n_files = s.n;
    s.files = NULL;
    s.n = 0;
    if (context >= 0)
        pack_rows(w);
    *out = w;
    w = NULL;
out:
    ap_weights_files_close(&s);
    ap_weights_free(w);
    return status;
}

ap_status ap_weights_load(struct ap_weights **out, const char *dir, int context, ap_dtype dtype,
                          struct ap_error *err)
{
    return load(out, dir, context > 0 ? context : 0, dtype, err);
}

ap_status ap_weights_open(struct ap_weights **out, const char *dir, struct ap_error *err)
{
    return load(out, dir, -1, AP_F32, err);
}

ap_status ap_weights_load_bytes(const struct ap_weights *w, const char *dir, size_t *own,
                                size_t *mapped, struct ap_error *err)
{
    struct ap_weights_files s;
    ap_status status = ap_weights_files_open(&s, dir, err);
    *own = *mapped = 0;
    for (int i = 0; status == AP_OK && i < w->table.n; i++) {
        const struct ap_param *p = &w->table.rows[i];
        const char *path;
        const struct ap_tensor_view *v = ap_weights_files_find(&s, p->name, &path);
        status = ap_param_check(p, v, path, "config.json", err);
        if (status == AP_OK && stays_mapped(p, v))
            *mapped += p->n_part ? 0 : p->n * ap_dtype_size(v->dtype);
        else
            *own += ap_calloc_bytes(p->n, sizeof(float));
    }
    ap_weights_files_close(&s);
    return status;
}
