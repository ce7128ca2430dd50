/* Tables of parameters: rows, their memory, their gradients (param.h, weights.h). Files are in
 * param_file.c. */
#include "model/param.h"

#include "base/memory.h"
#include "base/random.h"

#include <assert.h>
#include <string.h>

#define CHUNK ((size_t)1 << 16) /* values of one random stream */

ap_status ap_params_init(struct ap_param_table *t, int n, struct ap_error *err)
{
    t->n = n;
    t->rows = ap_calloc((size_t)n, sizeof(*t->rows));
    return t->rows ? AP_OK : ap_fail(err, AP_MEMORY, "table of %d tensors: out of memory", n);
}

void ap_params_free(const struct ap_ops *ops, struct ap_param_table *t)
{
    for (int i = 0; t->rows && i < t->n; i++) {
        ap_free(t->rows[i].own);
        ap_free(t->rows[i].grad);
        for (int k = 0; ops && k < t->rows[i].n_part; k++)
            ops->pack_free(t->rows[i].part[k].packed);
    }
    ap_free(t->rows);
    *t = (struct ap_param_table){0};
}

struct ap_param *ap_params_find(const struct ap_param_table *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (!strcmp(t->rows[i].name, name))
            return &t->rows[i];
    return NULL;
}

void ap_param_describe(struct ap_param *p, const char *keys, int n_out, int n_in)
{
    p->keys = keys;
    p->n_dim = n_in ? 2 : 1;
    p->shape[0] = n_out;
    p->shape[1] = n_in;
    p->n = (size_t)n_out * (size_t)(n_in ? n_in : 1);
    p->decay = n_in > 0;
}

void ap_param_add_part(struct ap_param *p, int n)
{
    const struct ap_part *last = p->n_part ? &p->part[p->n_part - 1] : NULL;
    int first = last ? last->first + last->n : 0;
    assert(p->n_part < AP_PARTS_MAX && first + n <= p->shape[0]);
    p->part[p->n_part++] = (struct ap_part){.first = first, .n = n};
}

static ap_status pack_parts(const struct ap_ops *ops, struct ap_param *p, ap_dtype dtype,
                            struct ap_error *err)
{
    for (int k = 0; k < p->n_part; k++)
        if (!(p->part[k].packed = ops->pack_new(p->part[k].n, p->shape[1], dtype)))
            return ap_fail(err, AP_MEMORY, "%s [%d,%d]: out of memory", p->name, p->shape[0],
                           p->shape[1]);
    return AP_OK;
}

ap_status ap_params_pack_new(const struct ap_ops *ops, struct ap_param_table *t,
                             struct ap_error *err)
{
    for (int i = 0; i < t->n; i++) {
        ap_status status = pack_parts(ops, &t->rows[i], t->dtype, err);
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

size_t ap_params_packed_bytes(const struct ap_ops *ops, const struct ap_param_table *t)
{
    size_t sum = 0;
    for (int i = 0; i < t->n; i++)
        for (int k = 0; k < t->rows[i].n_part; k++)
            sum += ops->pack_bytes(t->rows[i].part[k].n, t->rows[i].shape[1], t->dtype);
    return sum;
}

size_t ap_params_own_bytes(const struct ap_param_table *t)
{
    size_t sum = 0;
    for (int i = 0; i < t->n; i++)
        sum += ap_calloc_bytes(t->rows[i].n, sizeof(*t->rows[i].own));
    return sum;
}

size_t ap_params_mapped_bytes(const struct ap_param_table *t)
{
    size_t sum = 0;
    for (int i = 0; i < t->n; i++)
        sum += t->rows[i].n_part ? 0 : t->rows[i].n * sizeof(float);
    return sum;
}

ap_status ap_param_own(struct ap_param *p, struct ap_error *err)
{
    if (p->own)
        return AP_OK;
    float *own = ap_calloc(p->n, sizeof(float));
    if (!own)
        return ap_fail(err, AP_MEMORY, "%s: %zu values: out of memory", p->name, p->n);
    if (p->stored)
        ap_to_f32(own, p->stored, p->dtype, p->n);
    p->stored = p->data = p->own = own;
    p->dtype = AP_F32;
    return AP_OK;
}

ap_status ap_param_copy(struct ap_param *to, const struct ap_param *from, struct ap_error *err)
{
    ap_status status = ap_param_own(to, err);
    if (status == AP_OK)
        ap_to_f32(to->own, from->stored, from->dtype, from->n);
    return status;
}

ap_status ap_params_train(struct ap_param_table *t, struct ap_error *err)
{
    for (int i = 0; i < t->n; i++) {
        struct ap_param *p = &t->rows[i];
        ap_status status = ap_param_own(p, err);
        if (status != AP_OK)
            return status;
        if (!p->grad)
            p->grad = ap_calloc(p->n, sizeof(float));
        if (!p->grad)
            return ap_fail(err, AP_MEMORY, "%s: gradient of %zu values: out of memory", p->name,
                           p->n);
    }
    ap_params_zero_grad(t);
    return AP_OK;
}

ap_status ap_params_copy(const struct ap_ops *ops, struct ap_param_table *to,
                         const struct ap_param_table *from, struct ap_error *err)
{
    for (int i = 0; i < to->n; i++) {
        ap_status status = ap_param_copy(&to->rows[i], &from->rows[i], err);
        if (status != AP_OK)
            return status;
    }
    ap_params_repack(ops, to);
    return AP_OK;
}

void ap_params_zero_grad(struct ap_param_table *t)
{
    for (int i = 0; i < t->n; i++)
        if (t->rows[i].grad)
            memset(t->rows[i].grad, 0, t->rows[i].n * sizeof(float));
}

void ap_params_repack(const struct ap_ops *ops, struct ap_param_table *t)
{
    for (int i = 0; i < t->n; i++)
        for (int k = 0; k < t->rows[i].n_part; k++)
            ops->pack(t->rows[i].part[k].packed, ap_part_stored(&t->rows[i], k), t->rows[i].dtype);
}

static struct ap_random stream_of(uint64_t seed, int row, size_t chunk)
{
    struct ap_random r;
    ap_random_init(&r, &(struct ap_stream){.seed = seed,
                                           .stage = ap_stream_stage("init"),
                                           .step = (uint32_t)row,
                                           .record = chunk});
    return r;
}

void ap_param_fill_normal(struct ap_param *p, uint64_t seed, int row, double std)
{
    size_t n_chunk = (p->n + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) if (n_chunk > 1)
    for (size_t c = 0; c < n_chunk; c++) {
        struct ap_random r = stream_of(seed, row, c);
        size_t end = (c + 1) * CHUNK < p->n ? (c + 1) * CHUNK : p->n;
        for (size_t i = c * CHUNK; i < end; i++)
            p->own[i] = (float)(std * ap_random_normal(&r));
    }
}

void ap_param_fill_uniform(struct ap_param *p, uint64_t seed, int row, double bound)
{
    struct ap_random r = stream_of(seed, row, 0);
    for (size_t i = 0; i < p->n; i++)
        p->own[i] = (float)(bound * (2 * ap_random_uniform(&r) - 1));
}
