/* Products of a fixed order: blocking for the caches, threads, packing. An element's chain over k
 * starts at 0 (or at C) and is continued, through C, from one block of k to the next, so nothing
 * here touches its bits. Not here: the tiles (gemm_base.c, gemm_avx512.c). Entry points:
 * ap_gemm_linear, ap_gemm_product. */
#include "tensor/cpu/gemm.h"

#include "base/memory.h"
#include "tensor/cpu/threads.h"

#include <assert.h>
#include <string.h>

#define ROW_BLOCK 96       /* rows of A that stay in the second cache; a multiple of both tiles */
#define K_BLOCK 256        /* a panel of so many rows is half of the first cache */
#define COLUMN_BLOCK 512   /* columns of a task, at most */
#define FLOPS_PARALLEL 4e5 /* below, waking the threads costs more than they save */
#define TASKS_PER_THREAD 4

struct operands {
    float *c;
    const float *a, *b;
    size_t c_row, a_row, a_k, b_k, b_panel;
};

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int n_blocks(int n, int block)
{
    return (int)(((int64_t)n + block - 1) / block);
}

static ap_tile_fn tile_of(const struct ap_tiles *t, int rows, int panels)
{
    return panels == 4 ? t->by_4[rows] : panels == 2 ? t->by_2[rows] : t->by_1[rows];
}

/* A tile whose last columns do not exist goes through a copy of C. */
static void edge_tile(ap_tile_fn tile, const struct operands *o, int rows, int columns, int k,
                      bool accumulate)
{
    float edge[AP_TILE_ROWS * AP_PANEL] = {0};
    if (accumulate)
        for (int r = 0; r < rows; r++)
            memcpy(edge + r * AP_PANEL, o->c + (size_t)r * o->c_row,
                   (size_t)columns * sizeof(float));
    tile(edge, AP_PANEL, o->a, o->a_row, o->a_k, o->b, o->b_k, o->b_panel, (size_t)k, accumulate);
    for (int r = 0; r < rows; r++)
        memcpy(o->c + (size_t)r * o->c_row, edge + r * AP_PANEL, (size_t)columns * sizeof(float));
}

/* All rows of C under some panels, in tiles of even height. */
static void strip(const struct ap_tiles *t, const struct operands *o, int m, int panels,
                  int columns, int k, bool accumulate)
{
    int n_tile = n_blocks(m, t->n_row);
    for (int i = 0; i < n_tile; i++) {
        int from = (int)((int64_t)m * i / n_tile), to = (int)((int64_t)m * (i + 1) / n_tile);
        struct operands at = *o;
        at.c += (size_t)from * o->c_row;
        at.a += (size_t)from * o->a_row;
        ap_tile_fn tile = tile_of(t, to - from, panels);
        if (columns < panels * AP_PANEL)
            edge_tile(tile, &at, to - from, columns, k, accumulate);
        else
            tile(at.c, at.c_row, at.a, at.a_row, at.a_k, at.b, at.b_k, at.b_panel, (size_t)k,
                 accumulate);
    }
}

/* The most panels, of what is left, that tiles for m rows can take side by side. */
static int panels_at_once(const struct ap_tiles *t, int m, int columns)
{
    int n_tile = n_blocks(m, t->n_row);
    int panels = t->n_panel[n_blocks(m, n_tile)];
    while (panels > 1 && panels * AP_PANEL > columns)
        panels /= 2;
    return panels;
}

static void strips(const struct ap_tiles *t, const struct operands *o, int m, int n, int k,
                   bool accumulate)
{
    for (int j = 0; j < n;) {
        int panels = panels_at_once(t, m, n - j);
        struct operands at = *o;
        at.c += j;
        at.b += (size_t)(j / AP_PANEL) * o->b_panel;
        strip(t, &at, m, panels, smaller(n - j, panels * AP_PANEL), k, accumulate);
        j += panels * AP_PANEL;
    }
}

/* How C is cut into tasks: every cut is on a panel's edge. */
struct grid {
    int n_row_task, n_column_task, n_panel;
    bool parallel;
};

static struct grid grid_of(int m, int n, int k)
{
    struct grid g = {n_blocks(m, ROW_BLOCK), n_blocks(n, COLUMN_BLOCK), n_blocks(n, AP_PANEL),
                     false};
    g.parallel = 2.0 * m * n * k >= FLOPS_PARALLEL && ap_threads() > 1;
    if (g.parallel) {
        int wanted = n_blocks(TASKS_PER_THREAD * ap_threads(), g.n_row_task);
        if (g.n_column_task < wanted)
            g.n_column_task = smaller(wanted, g.n_panel);
    }
    return g;
}

/* Task t's rows and columns; columns in the end may be less than a panel. */
struct region {
    int row, n_row, column, n_column;
};

static struct region region_of(const struct grid *g, int task, int m, int n)
{
    int i = task / g->n_column_task, j = task % g->n_column_task;
    int row = (int)((int64_t)m * i / g->n_row_task);
    int row_end = (int)((int64_t)m * (i + 1) / g->n_row_task);
    int column = AP_PANEL * (int)((int64_t)g->n_panel * j / g->n_column_task);
    int column_end = AP_PANEL * (int)((int64_t)g->n_panel * (j + 1) / g->n_column_task);
    return (struct region){row, row_end - row, column, smaller(column_end, n) - column};
}

/* -- packed weights -- */

struct ap_packed *ap_gemm_pack_new(const struct ap_tiles *tiles, int n_out, int n_in)
{
    assert(n_out > 0 && n_in > 0);
    struct ap_packed *p = ap_calloc(1, sizeof(*p));
    size_t n;
    if (!p)
        return NULL;
    *p = (struct ap_packed){.n_out = n_out, .n_in = n_in, .tiles = tiles};
    if (!__builtin_mul_overflow((size_t)n_blocks(n_out, AP_PANEL) * AP_PANEL, (size_t)n_in, &n))
        p->panels = ap_calloc(n, sizeof(float));
    if (!p->panels) {
        ap_free(p);
        return NULL;
    }
    return p;
}

/* Columns to rows, sixteen inputs at a time so that reads and writes both stay within lines. */
static void pack_panel(float *panel, const float *w, int n_out, int n_in)
{
    for (int k0 = 0; k0 < n_in; k0 += AP_PANEL) {
        int end = smaller(k0 + AP_PANEL, n_in);
        for (int j = 0; j < n_out; j++) {
            const float *row = w + (size_t)j * n_in;
            for (int k = k0; k < end; k++)
                panel[(size_t)k * AP_PANEL + j] = row[k];
        }
    }
}

void ap_gemm_pack(struct ap_packed *p, const float *w)
{
    int n_panel = n_blocks(p->n_out, AP_PANEL);
    bool parallel = (size_t)p->n_out * p->n_in > 65536;
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_panel; i++)
        pack_panel(p->panels + (size_t)i * AP_PANEL * p->n_in, w + (size_t)i * AP_PANEL * p->n_in,
                   smaller(AP_PANEL, p->n_out - i * AP_PANEL), p->n_in);
}

static void linear_region(float *y, const float *x, const struct ap_packed *w,
                          const struct region *at, bool accumulate)
{
    int n = w->n_out, n_k = w->n_in;
    for (int k = 0; k < n_k; k += K_BLOCK) {
        struct operands o = {
            .c = y + (size_t)at->row * n + at->column,
            .a = x + (size_t)at->row * n_k + k,
            .b = w->panels + (size_t)at->column * n_k + (size_t)k * AP_PANEL,
            .c_row = n,
            .a_row = n_k,
            .a_k = 1,
            .b_k = AP_PANEL,
            .b_panel = (size_t)n_k * AP_PANEL,
        };
        strips(w->tiles, &o, at->n_row, at->n_column, smaller(K_BLOCK, n_k - k),
               accumulate || k > 0);
    }
}

void ap_gemm_linear(float *y, const float *x, const struct ap_packed *w, int n_row, bool accumulate)
{
    struct grid g = grid_of(n_row, w->n_out, w->n_in);
    int n_task = g.n_row_task * g.n_column_task;
#pragma omp parallel for schedule(dynamic) if (g.parallel)
    for (int task = 0; task < n_task; task++) {
        struct region at = region_of(&g, task, n_row, w->n_out);
        linear_region(y, x, w, &at, accumulate);
    }
}

/* -- unpacked operands -- */

/* k rows of B's next columns side by side; columns that do not exist are zero. */
static void copy_panels(float *out, const float *b, size_t b_row, int columns, int panels, int k)
{
    for (int p = 0; p < panels; p++) {
        int some = smaller(columns - p * AP_PANEL, AP_PANEL);
        float *panel = out + (size_t)p * K_BLOCK * AP_PANEL;
        for (int l = 0; l < k; l++) {
            const float *row = b + (size_t)l * b_row + p * AP_PANEL;
            if (some == AP_PANEL) {
                memcpy(panel + l * AP_PANEL, row, AP_PANEL * sizeof(float));
                continue;
            }
            for (int j = 0; j < AP_PANEL; j++)
                panel[l * AP_PANEL + j] = j < some ? row[j] : 0.0f;
        }
    }
}

/* One region of C, o at its first element: each block of B is copied once for all its rows. */
static void product_region(const struct ap_tiles *t, const struct operands *o, int m, int n, int k,
                           bool accumulate)
{
    _Alignas(64) float panels[4 * K_BLOCK * AP_PANEL];
    for (int l = 0; l < k; l += K_BLOCK) {
        int depth = smaller(K_BLOCK, k - l);
        for (int j = 0; j < n;) {
            int width = panels_at_once(t, m, n - j);
            int columns = smaller(n - j, width * AP_PANEL);
            copy_panels(panels, o->b + (size_t)l * o->b_k + j, o->b_k, columns, width, depth);
            struct operands at = *o;
            at.c += j;
            at.a += (size_t)l * o->a_k;
            at.b = panels;
            at.b_k = AP_PANEL;
            at.b_panel = K_BLOCK * AP_PANEL;
            strip(t, &at, m, width, columns, depth, accumulate || l > 0);
            j += width * AP_PANEL;
        }
    }
}

void ap_gemm_product(const struct ap_tiles *tiles, float *c, const float *a, size_t a_row,
                     size_t a_k, const float *b, int m, int n, int k, bool accumulate)
{
    struct grid g = grid_of(m, n, k);
    int n_task = g.n_row_task * g.n_column_task;
#pragma omp parallel for schedule(dynamic) if (g.parallel)
    for (int task = 0; task < n_task; task++) {
        struct region at = region_of(&g, task, m, n);
        struct operands o = {
            .c = c + (size_t)at.row * n + at.column,
            .a = a + (size_t)at.row * a_row,
            .b = b + at.column,
            .c_row = n,
            .a_row = a_row,
            .a_k = a_k,
            .b_k = n,
        };
        product_region(tiles, &o, at.n_row, at.n_column, k, accumulate);
    }
}
