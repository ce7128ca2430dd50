/* Folding an adapter into weights (merge.h). Hu et al. 2021, section 4.1: W' = W + s·B·A.
 * Reference: peft's merge_and_unload. */
#include "model/merge.h"

#include "base/memory.h"
#include "model/adapter.h"
#include "model/module.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PIECE ((size_t)1 << 18) /* numbers that are in memory at a time, or one row */

struct ap_merged_row {
    const struct ap_param *from; /* of the base, or the adapter's head */
    int lora;                    /* place in the adapter's a and b, −1: not adapted */
};

/* ---- which tensor comes from where ---- */

static int find_row(const struct ap_merged *m, const char *name)
{
    int i = 0;
    while (i < m->model->table.n && strcmp(m->model->table.rows[i].name, name) != 0)
        i++;
    return i < m->model->table.n ? i : -1;
}

static void place_adapter(struct ap_merged *m)
{
    const struct ap_adapter *a = m->adapter;
    char module[AP_MODULE_NAME_MAX], name[AP_MODULE_NAME_MAX + 8];
    for (int i = 0; a && i < a->config.n_layer * AP_LORA_N; i++) {
        if (a->a[i] < 0)
            continue;
        snprintf(name, sizeof(name), "%s.weight",
                 ap_lora_module(module, i / AP_LORA_N, i % AP_LORA_N));
        m->rows[find_row(m, name)].lora = i;
    }
    if (a && a->score >= 0)
        m->rows[m->model->score].from = &a->table.rows[a->score];
}

ap_status ap_merged_open(struct ap_merged *m, const struct ap_weights *base,
                         const struct ap_adapter *adapter, const struct ap_sink *sink,
                         struct ap_error *err)
{
    struct ap_config config = base->config;
    ap_status status;
    *m = (struct ap_merged){.adapter = adapter, .sink = sink};
    if (adapter && adapter->score >= 0)
        config.n_label = 1;
    AP_TRY(ap_weights_describe(&m->model, &config, 0, AP_F32, err));
    m->rows = ap_calloc((size_t)m->model->table.n, sizeof(*m->rows));
    if (!m->rows)
        AP_TRY(ap_fail(err, AP_MEMORY, "merged weights: out of memory"));
    for (int i = 0; i < m->model->table.n; i++)
        m->rows[i] = (struct ap_merged_row){
            .from = ap_params_find(&base->table, m->model->table.rows[i].name), .lora = -1};
    place_adapter(m);
out:
    if (status != AP_OK)
        ap_merged_close(m);
    return status;
}

void ap_merged_close(struct ap_merged *m)
{
    ap_weights_free(m->model);
    ap_free(m->rows);
    *m = (struct ap_merged){0};
}

/* ---- values ---- */

static size_t row_width(const struct ap_param *p)
{
    return p->n_dim == 2 ? (size_t)p->shape[1] : 1;
}

/* out += s · B[row] · A, with `sum` for the product, which is rounded before it meets W, as the
 * reference has it. */
static void add_product(const struct ap_adapter *a, int lora, int row, float *sum, float *out)
{
    const struct ap_param *matrix = &a->table.rows[a->a[lora]];
    int rank = matrix->shape[0], width = matrix->shape[1];
    const float *b = a->table.rows[a->b[lora]].data + (size_t)row * (size_t)rank;
    memset(sum, 0, (size_t)width * sizeof(*sum));
    for (int k = 0; k < rank; k++)
        for (int j = 0; j < width; j++)
            sum[j] += b[k] * matrix->data[(size_t)k * (size_t)width + (size_t)j];
    for (int j = 0; j < width; j++)
        out[j] += a->scales[lora] * sum[j];
}

/* Rows first … first + n − 1 of the tensor as it is written; sum: as many numbers as out. */
static void make_rows(const struct ap_merged *m, int row, int first, int n, int pair, float *sum,
                      float *out)
{
    const struct ap_merged_row *r = &m->rows[row];
    size_t width = row_width(r->from), size = ap_dtype_size(r->from->dtype);
#pragma omp parallel for schedule(static) if (r->lora >= 0)
    for (int i = 0; i < n; i++) {
        int from = pair ? ap_unpaired_row(first + i, pair) : first + i;
        size_t at = (size_t)i * width;
        ap_to_f32(out + at, (const char *)r->from->stored + (size_t)from * width * size,
                  r->from->dtype, width);
        if (r->lora >= 0)
            add_product(m->adapter, r->lora, from, sum + at, out + at);
    }
}

ap_status ap_merged_read(const struct ap_merged *m, int row, int first, int n, float *out,
                         struct ap_error *err)
{
    float *sum = ap_calloc((size_t)n * row_width(m->rows[row].from), sizeof(*sum));
    if (!sum)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", m->model->table.rows[row].name);
    make_rows(m, row, first, n, 0, sum, out);
    ap_free(sum);
    return AP_OK;
}

/* ---- writing ---- */

static ap_status append_rounded(const char *name, const float *x, size_t n, ap_dtype dtype,
                                void *bytes, struct ap_writer *w, struct ap_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return ap_fail(err, AP_NUMERIC,
                           "%s: holds NaN or an infinite number; the weights or the adapter's "
                           "scale are broken",
                           name);
    if (!ap_tensor_from_f32(dtype, x, bytes, n))
        return ap_fail(err, AP_NUMERIC,
                       "%s: holds a number that is too large for %s; choose another type, f32 say",
                       name, ap_dtype_name(dtype));
    return ap_writer_append(w, bytes, n * ap_dtype_size(dtype), err);
}

ap_status ap_merged_append_floats(const char *name, const float *x, size_t n, ap_dtype dtype,
                                  struct ap_writer *w, struct ap_error *err)
{
    void *bytes = ap_calloc(n, ap_dtype_size(dtype));
    if (!bytes)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", name);
    ap_status status = append_rounded(name, x, n, dtype, bytes, w, err);
    ap_free(bytes);
    return status;
}

ap_status ap_merged_append(const struct ap_merged *m, int row, ap_dtype dtype, int pair,
                           struct ap_writer *w, struct ap_error *err)
{
    const struct ap_param *p = &m->model->table.rows[row], *from = m->rows[row].from;
    size_t width = row_width(p), size = ap_dtype_size(from->dtype);
    int n_piece = PIECE / width > 1 ? (int)(PIECE / width) : 1;
    n_piece = n_piece < p->shape[0] ? n_piece : p->shape[0];
    float *x = ap_calloc((size_t)n_piece * width, 2 * sizeof(*x));
    void *bytes = ap_calloc((size_t)n_piece * width, ap_dtype_size(dtype));
    ap_status status = AP_OK;
    if (!x || !bytes)
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", p->name);
    for (int first = 0; status == AP_OK && first < p->shape[0]; first += n_piece) {
        int n = p->shape[0] - first < n_piece ? p->shape[0] - first : n_piece;
        if (ap_sink_stopped(m->sink))
            AP_TRY(ap_fail(err, AP_INTERRUPTED, "interrupted; %s was not written", w->path));
        make_rows(m, row, first, n, pair, x + (size_t)n_piece * width, x);
        status = append_rounded(p->name, x, (size_t)n * width, dtype, bytes, w, err);
        if (!from->own)
            ap_map_release((const char *)from->stored + (size_t)first * width * size,
                           (size_t)n * width * size);
    }
out:
    ap_free(x);
    ap_free(bytes);
    return status;
}

static ap_status write_tensors(const struct ap_merged *m, const char *path, ap_dtype dtype,
                               struct ap_error *err)
{
    const struct ap_param_table *t = &m->model->table;
    struct ap_tensor_out *tensors = ap_calloc((size_t)t->n, sizeof(*tensors));
    struct ap_writer w = {0};
    ap_status status;
    if (!tensors)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", path);
    for (int i = 0; i < t->n; i++)
        tensors[i] = (struct ap_tensor_out){.name = t->rows[i].name,
                                            .dtype = dtype,
                                            .n_dim = t->rows[i].n_dim,
                                            .shape = {t->rows[i].shape[0], t->rows[i].shape[1]}};
    AP_TRY(ap_safetensors_begin(&w, path, tensors, t->n, err));
    for (int i = 0; i < t->n; i++)
        AP_TRY(ap_merged_append(m, i, dtype, 0, &w, err));
    status = ap_writer_commit(&w, err);
out:
    ap_writer_abort(&w);
    ap_free(tensors);
    return status;
}

ap_status ap_merged_save(const struct ap_merged *m, const char *dir, ap_dtype dtype,
                         struct ap_error *err)
{
    char *path = ap_path_join(dir, "model.safetensors");
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    ap_status status = ap_config_write(&m->model->config, dtype, dir, err);
    if (status == AP_OK)
        status = write_tensors(m, path, dtype, err);
    ap_free(path);
    return status;
}
