/* Products of a fixed order: blocking for the caches, threads. An element's chain over k starts at
 * 0 (or at C) and is continued, through C, from one block of k to the next, so nothing here touches
 * its bits. Not here: the tiles (gemm_base.c, gemm_avx512.c, gemm_bf16_*.c) and packing (panels.c).
 * Entry points: ap_gemm_linear, ap_gemm_linear_dx, ap_gemm_across. */
#include "tensor/cpu/gemm.h"

#include "tensor/cpu/threads.h"

#include <assert.h>
#include <string.h>

#define K_BLOCK 384           /* a tile's rows of so much of A stay in the first cache */
#define PAIR_BLOCK 256        /* the same in bf16, in pairs */
#define FREE_K_BLOCK 256      /* whole panels: where B, and A across its rows, are copied */
#define FREE_ROW_BLOCK 192    /* whole tiles of any table */
#define FREE_COLUMN_BLOCK 128 /* whole panels */
#define FREE_ROW_PITCH                                                                             \
    (FREE_ROW_BLOCK + AP_PANEL) /* no power of two: its lines fall into all sets */
#define FLOPS_PARALLEL 4e5      /* below, waking the threads costs more than they save */

#define ROUNDED_PITCH (2 * PAIR_BLOCK + AP_PANEL)

/* The most rows and columns of a task, and how many tasks a thread should find: few where each
 * copies its operands. */
struct cut {
    int row_block, column_block, tasks_per_thread;
};

#define PACKED_ROW_BLOCK 96
static const struct cut packed_cut = {PACKED_ROW_BLOCK, 256, 4};
static const struct cut free_cut = {FREE_ROW_BLOCK, FREE_COLUMN_BLOCK, 2};

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

/* Where part i of n begins, parts as even as can be. */
static int part(int n, int i, int n_part)
{
    return (int)((int64_t)n * i / n_part);
}

/* A tile whose last columns do not exist goes through a copy of C. */
static void edge_tile(ap_tile_fn tile, const struct operands *o, int rows, int columns, int k,
                      bool accumulate)
{
    float edge[AP_TILE_ROWS * AP_PANEL] = {0};
    size_t bytes = (size_t)columns * sizeof(float);
    if (accumulate)
        for (int r = 0; r < rows; r++)
            memcpy(edge + r * AP_PANEL, o->c + (size_t)r * o->c_row, bytes);
    tile(edge, AP_PANEL, o->a, o->a_row, o->a_k, o->b, o->b_k, o->b_panel, (size_t)k, accumulate);
    for (int r = 0; r < rows; r++)
        memcpy(o->c + (size_t)r * o->c_row, edge + r * AP_PANEL, bytes);
}

/* One tile as wide as rows and columns allow; returns the columns covered. */
static int wide_tile(const struct ap_tiles *t, const struct operands *o, int rows, int columns,
                     int k, bool accumulate)
{
    int panels = t->n_panel[rows];
    while (panels > 1 && panels * AP_PANEL > columns)
        panels /= 2;
    ap_tile_fn tile = panels == 4 ? t->by_4[rows] : panels == 2 ? t->by_2[rows] : t->by_1[rows];
    int width = panels * AP_PANEL;
    if (columns <= AP_PANEL / 2 && t->by_half[rows]) {
        tile = t->by_half[rows];
        width = AP_PANEL / 2;
    }
    if (columns < width)
        edge_tile(tile, o, rows, columns, k, accumulate);
    else
        tile(o->c, o->c_row, o->a, o->a_row, o->a_k, o->b, o->b_k, o->b_panel, (size_t)k,
             accumulate);
    return width;
}

/* C's block: a tile's rows of A stay near while the panels of B pass. */
static void block(const struct ap_tiles *t, const struct operands *o, int m, int n, int k,
                  bool accumulate)
{
    int n_tile = n_blocks(m, t->n_row);
    for (int i = 0; i < n_tile; i++) {
        int from = part(m, i, n_tile), rows = part(m, i + 1, n_tile) - from;
        struct operands at = *o;
        at.a += (size_t)from * o->a_row;
        for (int j = 0; j < n;) {
            at.c = o->c + (size_t)from * o->c_row + j;
            at.b = o->b + (size_t)(j / AP_PANEL) * o->b_panel;
            j += wide_tile(t, &at, rows, n - j, k, accumulate);
        }
    }
}

/* How C is cut into tasks: rows between tiles, columns between panels. */
struct grid {
    int m, n, tile_rows, n_tile, n_panel;
    int n_row_task, n_task;
    bool parallel;
};

static struct grid grid_of(const struct ap_tiles *t, int m, int n, int k, const struct cut *cut)
{
    struct grid g = {.m = m, .n = n, .tile_rows = t->n_row};
    g.n_tile = n_blocks(m, t->n_row);
    g.n_panel = n_blocks(n, AP_PANEL);
    g.n_row_task = n_blocks(m, cut->row_block);
    int columns = n_blocks(n, cut->column_block);
    g.parallel = 2.0 * m * n * k >= FLOPS_PARALLEL && ap_threads() > 1;
    int wanted = g.parallel ? cut->tasks_per_thread * ap_threads() : 1;
    while (g.n_row_task * columns < wanted) { /* the longer side first */
        if (g.n_row_task < g.n_tile && (m / g.n_row_task >= n / columns || columns == g.n_panel))
            g.n_row_task++;
        else if (columns < g.n_panel)
            columns++;
        else
            break;
    }
    g.n_task = g.n_row_task * columns;
    return g;
}

/* A task's rows and columns; its last panel may be part of one. */
struct region {
    int row, n_row, column, n_column;
};

static struct region region_of(const struct grid *g, int task)
{
    int n_column_task = g->n_task / g->n_row_task;
    int i = task / n_column_task, j = task % n_column_task;
    int row = part(g->n_tile, i, g->n_row_task) * g->tile_rows;
    int row_end = smaller(part(g->n_tile, i + 1, g->n_row_task) * g->tile_rows, g->m);
    int column = part(g->n_panel, j, n_column_task) * AP_PANEL;
    int column_end = smaller(part(g->n_panel, j + 1, n_column_task) * AP_PANEL, g->n);
    return (struct region){row, row_end - row, column, column_end - column};
}

/* -- packed weights, forward -- */

static void f32_region(float *y, const float *x, const struct ap_packed *w, const struct region *at,
                       bool accumulate)
{
    int n = w->n_out, n_k = w->n_in, n_part = n_blocks(n_k, K_BLOCK);
    for (int i = 0; i < n_part; i++) {
        int k = part(n_k, i, n_part), depth = part(n_k, i + 1, n_part) - k;
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
        block(w->tiles, &o, at->n_row, at->n_column, depth, accumulate || i > 0);
    }
}

/* In pairs of inputs; x is rounded on the way in. */
static void bf16_region(float *y, const float *x, const struct ap_packed *w,
                        const struct region *at, bool accumulate)
{
    _Alignas(64) float rounded[PACKED_ROW_BLOCK * ROUNDED_PITCH];
    int n = w->n_out, n_k = w->n_in, n_pair = n_blocks(n_k, 2),
        n_part = n_blocks(n_pair, PAIR_BLOCK);
    for (int i = 0; i < n_part; i++) {
        int k = part(n_pair, i, n_part), depth = part(n_pair, i + 1, n_part) - k;
        struct operands o = {
            .c = y + (size_t)at->row * n + at->column,
            .a = rounded,
            .b = w->panels + (size_t)at->column * n_pair + (size_t)k * AP_PANEL,
            .c_row = n,
            .a_row = ROUNDED_PITCH,
            .a_k = w->tiles->pair_words,
            .b_k = AP_PANEL,
            .b_panel = (size_t)n_pair * AP_PANEL,
        };
        w->tiles->round(rounded, ROUNDED_PITCH, x + (size_t)at->row * n_k + 2 * k, n_k, at->n_row,
                        smaller(2 * depth, n_k - 2 * k));
        block(w->tiles, &o, at->n_row, at->n_column, depth, accumulate || i > 0);
    }
}

void ap_gemm_linear(float *y, const float *x, const struct ap_packed *w, int n_row, bool accumulate)
{
    struct grid g = grid_of(w->tiles, n_row, w->n_out, w->n_in, &packed_cut);
#pragma omp parallel for schedule(dynamic) if (g.parallel)
    for (int task = 0; task < g.n_task; task++) {
        struct region at = region_of(&g, task);
        if (w->dtype == AP_BF16)
            bf16_region(y, x, w, &at, accumulate);
        else
            f32_region(y, x, w, &at, accumulate);
    }
}

/* -- gradients: B is unpacked, or packed the other way round -- */

/* n columns of k rows of B as panels; columns that do not exist are zero. */
static void copy_panels(float *out, const float *b, size_t b_row, int n, int k)
{
    for (int j = 0; j < n; j += AP_PANEL) {
        int some = smaller(n - j, AP_PANEL);
        float *panel = out + (size_t)j * FREE_K_BLOCK;
        if (some < AP_PANEL)
            memset(panel, 0, (size_t)k * AP_PANEL * sizeof(float));
        for (int l = 0; l < k; l++) {
            const float *row = b + (size_t)l * b_row + j;
            if (some == AP_PANEL)
                memcpy(panel + l * AP_PANEL, row, AP_PANEL * sizeof(float));
            else
                memcpy(panel + l * AP_PANEL, row, (size_t)some * sizeof(float));
        }
    }
}

/* m rows of A whose neighbours in k are far apart: side by side, k by k. */
static void copy_across(float *out, const float *a, size_t a_k, int m, int k)
{
    for (int l = 0; l < k; l++)
        memcpy(out + (size_t)l * FREE_ROW_PITCH, a + (size_t)l * a_k, (size_t)m * sizeof(float));
}

/* B of a region: row-major at o->b, or the rows of a packed weight, from column on. */
struct source {
    const struct ap_packed *packed; /* NULL: row-major */
    int column;
};

/* One region of C, o at its first element. Copies pay where several tiles read them; a packed
 * weight is always copied. */
static void product_region(const struct ap_tiles *t, const struct operands *o,
                           const struct source *source, int m, int n, int k, bool accumulate)
{
    _Alignas(64) float panels[FREE_COLUMN_BLOCK * FREE_K_BLOCK];
    _Alignas(64) float across[FREE_ROW_PITCH * FREE_K_BLOCK];
    bool copy_b = source->packed || m > 2 * t->n_row || n % AP_PANEL != 0;
    bool copy_a = o->a_k != 1 && n > 2 * AP_PANEL;
    int n_panel = n_blocks(k, AP_PANEL), n_part = n_blocks(k, FREE_K_BLOCK);
    for (int i = 0; i < n_part; i++) {
        int from = part(n_panel, i, n_part) * AP_PANEL;
        int depth = smaller(part(n_panel, i + 1, n_part) * AP_PANEL, k) - from;
        struct operands at = *o;
        at.a += (size_t)from * o->a_k;
        at.b += (size_t)from * o->b_k;
        at.b_panel = AP_PANEL;
        if (copy_b) {
            if (source->packed)
                ap_panels_rows(panels, FREE_K_BLOCK * AP_PANEL, source->packed, from, depth,
                               source->column, n);
            else
                copy_panels(panels, at.b, o->b_k, n, depth);
            at.b = panels;
            at.b_k = AP_PANEL;
            at.b_panel = FREE_K_BLOCK * AP_PANEL;
        }
        if (copy_a) {
            copy_across(across, at.a, o->a_k, m, depth);
            at.a = across;
            at.a_k = FREE_ROW_PITCH;
        }
        block(t, &at, m, n, depth, accumulate || i > 0);
    }
}

void ap_gemm_linear_dx(float *dx, const float *dy, const struct ap_packed *w, int n_row,
                       bool accumulate)
{
    int n = w->n_in, k = w->n_out;
    struct grid g = grid_of(w->f32, n_row, n, k, &free_cut);
#pragma omp parallel for schedule(dynamic) if (g.parallel)
    for (int task = 0; task < g.n_task; task++) {
        struct region at = region_of(&g, task);
        struct operands o = {
            .c = dx + (size_t)at.row * n + at.column,
            .a = dy + (size_t)at.row * k,
            .b = w->panels,
            .c_row = n,
            .a_row = k,
            .a_k = 1,
        };
        struct source source = {.packed = w, .column = at.column};
        product_region(w->f32, &o, &source, at.n_row, at.n_column, k, accumulate);
    }
}

void ap_gemm_across(const struct ap_tiles *tiles, float *c, const float *a, const float *b, int m,
                    int n, int k, bool accumulate)
{
    struct grid g = grid_of(tiles, m, n, k, &free_cut);
#pragma omp parallel for schedule(dynamic) if (g.parallel)
    for (int task = 0; task < g.n_task; task++) {
        struct region at = region_of(&g, task);
        struct operands o = {
            .c = c + (size_t)at.row * n + at.column,
            .a = a + at.row,
            .b = b + at.column,
            .c_row = n,
            .a_row = 1,
            .a_k = m,
            .b_k = n,
        };
        product_region(tiles, &o, &(struct source){0}, at.n_row, at.n_column, k, accumulate);
    }
}
