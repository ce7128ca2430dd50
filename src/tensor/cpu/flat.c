/* Flat arrays: add, scale, Σx². Entry points: the ap_cpu_* functions below, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"

void ap_cpu_add(float *y, const float *x, size_t n)
{
    bool parallel = ap_worth_threads(n, 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

void ap_cpu_scale(float *x, float a, size_t n)
{
    bool parallel = ap_worth_threads(n, 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (size_t i = 0; i < n; i++)
        x[i] *= a;
}

#define CHUNKS 64 /* of a sum, whatever the number of threads */
#define LANES 16

static double chunk_sum_squares(const float *x, size_t n)
{
    double lane[LANES] = {0}, sum = 0.0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)x[i] * (double)x[i];
    for (int j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

double ap_cpu_sum_squares(const float *x, size_t n)
{
    double part[CHUNKS], sum = 0.0;
    size_t chunk = n / CHUNKS + 1;
    bool parallel = ap_worth_threads(n, 1);
#pragma omp parallel for schedule(static) if (parallel)
    for (int c = 0; c < CHUNKS; c++) {
        size_t from = (size_t)c * chunk < n ? (size_t)c * chunk : n;
        part[c] = chunk_sum_squares(x + from, n - from < chunk ? n - from : chunk);
    }
    for (int c = 0; c < CHUNKS; c++)
        sum += part[c];
    return sum;
}
