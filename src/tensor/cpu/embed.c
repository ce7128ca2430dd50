/* Rows by index: embedding, gather, scatter. What adds to rows goes in the order of the indices,
 * a block of columns a thread. Packed tables are read in panels.c. Entry points: the ap_cpu_*
 * functions below, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"

#include <string.h>

#define COLUMNS 64

void ap_cpu_gather(float *y, const float *x, const int32_t *row, int n, int width)
{
    bool parallel = ap_worth_threads(n, width);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n; i++)
        memcpy(y + (size_t)i * width, x + (size_t)row[i] * width, (size_t)width * sizeof(float));
}

void ap_cpu_scatter_add(float *x, const float *y, const int32_t *row, int n, int width)
{
    bool parallel = ap_worth_threads(n, width);
#pragma omp parallel for schedule(static) if (parallel)
    for (int from = 0; from < width; from += COLUMNS) {
        int end = width - from < COLUMNS ? width : from + COLUMNS;
        for (int i = 0; i < n; i++) {
            float *to = x + (size_t)row[i] * width;
            const float *yi = y + (size_t)i * width;
            for (int j = from; j < end; j++)
                to[j] += yi[j];
        }
    }
}

void ap_cpu_embed(float *y, const void *table, ap_dtype stored, const int32_t *ids, int n_row,
                  int width)
{
    bool parallel = ap_worth_threads(n_row, width);
    size_t row = (size_t)width * ap_dtype_size(stored);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++)
        ap_to_f32(y + (size_t)i * width, (const unsigned char *)table + (size_t)ids[i] * row,
                  stored, (size_t)width);
}

void ap_cpu_embed_backward(float *dtable, const float *dy, const int32_t *ids, int n_row, int width)
{
    ap_cpu_scatter_add(dtable, dy, ids, n_row, width);
}
