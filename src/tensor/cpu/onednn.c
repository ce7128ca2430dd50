/* Forward products by oneDNN 2.x: the weight reordered once into the layout that oneDNN asks for,
 * one primitive a number of rows. The only file that includes its headers. Entry points: onednn.h.
 *
 * oneDNN allocates inside execute; its errors have nowhere to go from an operation, so the output
 * becomes NaN, which the guards of training and generation report. */
#include "tensor/cpu/onednn.h"

#include "base/memory.h"
#include "tensor/ops.h"

#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>

#define EXACT_ROWS 64 /* below, a primitive for each number of rows */
#define N_SIZES (EXACT_ROWS + 3)
#define LAYOUT_ROWS 64 /* the layout of the weight is the one asked for at so many rows */

struct product {
    dnnl_primitive_t primitive;
    dnnl_memory_t x, y;
};

struct ap_onednn {
    int n_out, n_in;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_memory_desc_t layout;
    float *data;                /* owned: the weight in that layout */
    dnnl_memory_t weight, rows; /* rows: the caller's w[N, K] while packing */
    dnnl_primitive_t reorder;
    struct product products[2][N_SIZES]; /* [accumulate][size_index]; made on first use */
};

static bool ok(dnnl_status_t status)
{
    return status == dnnl_success;
}

/* The most rows, of n, that one primitive takes, and where that primitive is. */
static int chunk_rows(int n)
{
    return n >= 512 ? 512 : n >= 256 ? 256 : n >= 128 ? 128 : n < EXACT_ROWS ? n : EXACT_ROWS;
}

static int size_index(int rows)
{
    return rows <= EXACT_ROWS ? rows - 1 : EXACT_ROWS + (rows == 512 ? 2 : rows == 256 ? 1 : 0);
}

static bool describe_rows(dnnl_memory_desc_t *md, int n_row, int n_column)
{
    dnnl_dims_t dims = {n_row, n_column};
    return ok(dnnl_memory_desc_init_by_tag(md, 2, dims, dnnl_f32, dnnl_ab));
}

/* y[m, N] (+)= x[m, K] w, w in `layout`. */
static bool describe_product(dnnl_primitive_desc_t *out, const struct ap_onednn *o,
                             const dnnl_memory_desc_t *layout, int n_row, bool accumulate)
{
    dnnl_memory_desc_t x, y;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    bool done = describe_rows(&x, n_row, o->n_in) && describe_rows(&y, n_row, o->n_out) &&
                ok(dnnl_matmul_desc_init(&desc, &x, layout, NULL, &y)) &&
                ok(dnnl_primitive_attr_create(&attr)) && ok(dnnl_post_ops_create(&post));
    if (done && accumulate)
        done = ok(dnnl_post_ops_append_sum(post, 1.0f)) &&
               ok(dnnl_primitive_attr_set_post_ops(attr, post));
    done = done && ok(dnnl_primitive_desc_create(out, &desc, attr, o->engine, NULL));
    if (post)
        dnnl_post_ops_destroy(post);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return done;
}

static void product_free(struct product *p)
{
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    if (p->x)
        dnnl_memory_destroy(p->x);
    if (p->y)
        dnnl_memory_destroy(p->y);
    *p = (struct product){0};
}

static struct product *product_of(struct ap_onednn *o, int n_row, bool accumulate)
{
    struct product *p = &o->products[accumulate][size_index(n_row)];
    dnnl_primitive_desc_t desc = NULL;
    dnnl_memory_desc_t x, y;
    if (p->primitive)
        return p;
    bool done = describe_rows(&x, n_row, o->n_in) && describe_rows(&y, n_row, o->n_out) &&
                describe_product(&desc, o, &o->layout, n_row, accumulate) &&
                ok(dnnl_primitive_create(&p->primitive, desc)) &&
                ok(dnnl_memory_create(&p->x, &x, o->engine, DNNL_MEMORY_NONE)) &&
                ok(dnnl_memory_create(&p->y, &y, o->engine, DNNL_MEMORY_NONE));
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    if (!done)
        product_free(p);
    return done ? p : NULL;
}

/* Ask for the layout, then reserve the weight and the reorder into it. */
static bool open_layout(struct ap_onednn *o)
{
    dnnl_dims_t dims = {o->n_in, o->n_out};
    dnnl_memory_desc_t any, rows;
    dnnl_primitive_desc_t desc = NULL, reorder = NULL;
    bool done = ok(dnnl_memory_desc_init_by_tag(&any, 2, dims, dnnl_f32, dnnl_format_tag_any)) &&
                ok(dnnl_memory_desc_init_by_tag(&rows, 2, dims, dnnl_f32, dnnl_ba)) &&
                describe_product(&desc, o, &any, LAYOUT_ROWS, false);
    if (done) {
        o->layout = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
        o->data = ap_calloc(dnnl_memory_desc_get_size(&o->layout), 1);
        done = o->data && ok(dnnl_memory_create(&o->weight, &o->layout, o->engine, o->data)) &&
               ok(dnnl_memory_create(&o->rows, &rows, o->engine, DNNL_MEMORY_NONE)) &&
               ok(dnnl_reorder_primitive_desc_create(&reorder, &rows, o->engine, &o->layout,
                                                     o->engine, NULL)) &&
               ok(dnnl_primitive_create(&o->reorder, reorder));
    }
    if (reorder)
        dnnl_primitive_desc_destroy(reorder);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    return done;
}

struct ap_onednn *ap_onednn_new(int n_out, int n_in)
{
    struct ap_onednn *o = ap_calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    o->n_out = n_out;
    o->n_in = n_in;
    if (!ok(dnnl_engine_create(&o->engine, dnnl_cpu, 0)) ||
        !ok(dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags)) ||
        !open_layout(o) || !product_of(o, 1, false) || !product_of(o, 1, true)) {
        ap_onednn_free(o);
        return NULL;
    }
    return o;
}

void ap_onednn_free(struct ap_onednn *o)
{
    if (!o)
        return;
    for (int i = 0; i < N_SIZES; i++) {
        product_free(&o->products[0][i]);
        product_free(&o->products[1][i]);
    }
    if (o->reorder)
        dnnl_primitive_destroy(o->reorder);
    if (o->weight)
        dnnl_memory_destroy(o->weight);
    if (o->rows)
        dnnl_memory_destroy(o->rows);
    if (o->stream)
        dnnl_stream_destroy(o->stream);
    if (o->engine)
        dnnl_engine_destroy(o->engine);
    ap_free(o->data);
    ap_free(o);
}

static void spoil(float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = NAN;
}

void ap_onednn_pack(struct ap_onednn *o, const float *w)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, o->rows}, {DNNL_ARG_TO, o->weight}};
    if (!ok(dnnl_memory_set_data_handle(o->rows, (void *)(uintptr_t)w)) ||
        !ok(dnnl_primitive_execute(o->reorder, o->stream, 2, args)) ||
        !ok(dnnl_stream_wait(o->stream)))
        spoil(o->data, dnnl_memory_desc_get_size(&o->layout) / sizeof(float));
}

static bool run(struct ap_onednn *o, const struct product *p, float *y, const float *x)
{
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, p->x}, {DNNL_ARG_WEIGHTS, o->weight}, {DNNL_ARG_DST, p->y}};
    return ok(dnnl_memory_set_data_handle(p->x, (void *)(uintptr_t)x)) &&
           ok(dnnl_memory_set_data_handle(p->y, y)) &&
           ok(dnnl_primitive_execute(p->primitive, o->stream, 3, args)) &&
           ok(dnnl_stream_wait(o->stream));
}

void ap_onednn_linear(float *y, const float *x, struct ap_onednn *o, int n_row, bool accumulate)
{
    for (int i = 0; i < n_row;) {
        int rows = chunk_rows(n_row - i);
        const struct product *p = product_of(o, rows, accumulate);
        if (!p) { /* no memory for a new primitive: the one for a single row is always there */
            rows = 1;
            p = product_of(o, 1, accumulate);
        }
        float *yi = y + (size_t)i * o->n_out;
        if (!run(o, p, yi, x + (size_t)i * o->n_in))
            spoil(yi, (size_t)rows * o->n_out);
        i += rows;
    }
}
