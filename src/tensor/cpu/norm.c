/* RMSNorm (Zhang & Sennrich 2019) and biases: what works on rows and sums over them. Entry points:
 * the ap_cpu_* functions below, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"
#include "tensor/cpu/vec.h"

#include <math.h>

/* Σ a·b, or Σ a·b·c, in sixteen lanes whatever the vector width. */
static float row_dot(const float *a, const float *b, const float *c, int n)
{
    ap_vf lanes[AP_LANE_VECS] = {{0}};
    for (int i = 0; i < n; i += AP_LANES) {
        for (int v = 0; v < AP_LANE_VECS; v++) {
            int at = i + v * AP_VEC_N, left = n - at;
            if (left <= 0)
                break;
            bool whole = left >= AP_VEC_N;
            ap_vf x = whole ? ap_vload(a + at) : ap_vload_part(a + at, left, 0.0f);
            x *= whole ? ap_vload(b + at) : ap_vload_part(b + at, left, 0.0f);
            if (c)
                x *= whole ? ap_vload(c + at) : ap_vload_part(c + at, left, 0.0f);
            lanes[v] += x;
        }
    }
    return ap_lanes_sum(lanes);
}

void ap_cpu_rmsnorm(float *y, float *rstd, const float *x, const float *w, int n_row, int width,
                    float eps)
{
    bool parallel = ap_worth_threads(n_row, width);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++) {
        const float *xi = x + (size_t)i * width;
        float *yi = y + (size_t)i * width;
        float r = 1.0f / sqrtf(row_dot(xi, xi, NULL, width) / (float)width + eps);
        for (int j = 0; j < width; j++)
            yi[j] = xi[j] * r * w[j];
        if (rstd)
            rstd[i] = r;
    }
}

/* x̂ = x·rstd; dx += rstd·(w·dy − x̂·mean(w·dy·x̂)) */
static void rmsnorm_backward_row(float *dx, const float *dy, const float *x, const float *w,
                                 float rstd, int width)
{
    float back = row_dot(dy, x, w, width) * rstd * rstd / (float)width;
    for (int j = 0; j < width; j++)
        dx[j] += rstd * (w[j] * dy[j] - x[j] * back);
}

#define COLUMNS 64 /* of a task that sums over rows: a few lines of each row */

/* dw[j] += Σ_i dy·x·rstd over the rows in order; one thread a block of columns. */
static void rmsnorm_backward_columns(float *dw, const float *dy, const float *x, const float *rstd,
                                     int n_row, int width, int from)
{
    int n = width - from < COLUMNS ? width - from : COLUMNS;
    float sum[COLUMNS] = {0};
    for (int i = 0; i < n_row; i++) {
        const float *dyi = dy + (size_t)i * width + from, *xi = x + (size_t)i * width + from;
        for (int j = 0; j < n; j++)
            sum[j] += dyi[j] * xi[j] * rstd[i];
    }
    for (int j = 0; j < n; j++)
        dw[from + j] += sum[j];
}

void ap_cpu_rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x, const float *w,
                             const float *rstd, int n_row, int width)
{
    bool parallel = ap_worth_threads(n_row, width);
    if (dw) {
#pragma omp parallel for schedule(static) if (parallel)
        for (int j = 0; j < width; j += COLUMNS)
            rmsnorm_backward_columns(dw, dy, x, rstd, n_row, width, j);
    }
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++) {
        size_t at = (size_t)i * width;
        rmsnorm_backward_row(dx + at, dy + at, x + at, w, rstd[i], width);
    }
}

void ap_cpu_bias(float *y, const float *b, int n_row, int n_out)
{
    bool parallel = ap_worth_threads(n_row, n_out);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++)
        for (int j = 0; j < n_out; j++)
            y[(size_t)i * n_out + j] += b[j];
}

static void bias_db_columns(float *db, const float *dy, int n_row, int n_out, int from)
{
    int n = n_out - from < COLUMNS ? n_out - from : COLUMNS;
    float sum[COLUMNS] = {0};
    for (int i = 0; i < n_row; i++)
        for (int j = 0; j < n; j++)
            sum[j] += dy[(size_t)i * n_out + from + j];
    for (int j = 0; j < n; j++)
        db[from + j] += sum[j];
}

void ap_cpu_bias_db(float *db, const float *dy, int n_row, int n_out)
{
    bool parallel = ap_worth_threads(n_row, n_out);
#pragma omp parallel for schedule(static) if (parallel)
    for (int j = 0; j < n_out; j += COLUMNS)
        bias_db_columns(db, dy, n_row, n_out, j);
}
