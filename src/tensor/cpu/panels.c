/* Packed weights: their memory, filling them, and reading rows back (gemm.h has the layout). Entry
 * points: ap_panels_bytes, ap_panels_new, ap_panels_fill, ap_panels_rows, ap_cpu_embed_packed. */
#include "tensor/cpu/gemm.h"

#include "base/memory.h"
#include "tensor/cpu/threads.h"
#include "tensor/cpu/vec.h"

#include <assert.h>

#define FILL_INPUTS 64 /* of a panel's rows that are read as f32 at a time */

typedef float v4_any __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t v4i_any __attribute__((vector_size(16), aligned(4), may_alias));

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int n_panels(int n)
{
    return (int)(((int64_t)n + AP_PANEL - 1) / AP_PANEL);
}

/* Words of one panel. */
static size_t panel_words(int n_in, ap_dtype dtype)
{
    return ((size_t)n_in + (dtype == AP_BF16)) / (dtype == AP_BF16 ? 2 : 1) * AP_PANEL;
}

size_t ap_panels_bytes(int n_out, int n_in, ap_dtype dtype)
{
    return ap_calloc_bytes((size_t)n_panels(n_out), panel_words(n_in, dtype) * sizeof(float)) +
           ap_calloc_bytes(1, sizeof(struct ap_packed));
}

struct ap_packed *ap_panels_new(const struct ap_tiles *tiles, const struct ap_tiles *f32, int n_out,
                                int n_in, ap_dtype dtype)
{
    assert(n_out > 0 && n_in > 0 && (dtype == AP_F32 || dtype == AP_BF16));
    struct ap_packed *p = ap_calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    *p = (struct ap_packed){
        .n_out = n_out, .n_in = n_in, .dtype = dtype, .tiles = tiles, .f32 = f32};
    p->panels = ap_calloc((size_t)n_panels(n_out), panel_words(n_in, dtype) * sizeof(float));
    if (!p->panels) {
        ap_free(p);
        return NULL;
    }
    return p;
}

/* -- filling -- */

/* n rows of f32 x, `row` apart, into a panel from input k0 on: columns to rows, sixteen inputs at a
 * time so that reads and writes both stay within lines. */
static void fill_f32(float *panel, const float *x, size_t row, int n, int k0, int n_k)
{
    for (int k1 = 0; k1 < n_k; k1 += AP_PANEL) {
        int end = smaller(k1 + AP_PANEL, n_k);
        for (int j = 0; j < n; j++)
            for (int k = k1; k < end; k++)
                panel[(size_t)(k0 + k) * AP_PANEL + j] = x[(size_t)j * row + k];
    }
}

/* The same in pairs; k0 is even. */
static void fill_bf16(uint32_t *panel, const float *x, size_t row, int n, int k0, int n_k)
{
    panel += (size_t)(k0 / 2) * AP_PANEL;
    for (int j = 0; j < n; j++) {
        const float *from = x + (size_t)j * row;
        for (int k = 0; k + 1 < n_k; k += 2)
            panel[(size_t)(k / 2) * AP_PANEL + j] =
                ap_bf16_of(from[k]) | (uint32_t)ap_bf16_of(from[k + 1]) << 16;
        if (n_k % 2)
            panel[(size_t)(n_k / 2) * AP_PANEL + j] = ap_bf16_of(from[n_k - 1]);
    }
}

/* Outputs j0 … of row-major w[N,K] into their panel, by way of f32. */
static void fill_panel(struct ap_packed *p, int j0, const unsigned char *w, ap_dtype stored)
{
    float some[AP_PANEL][FILL_INPUTS];
    int n = smaller(AP_PANEL, p->n_out - j0), n_in = p->n_in;
    float *panel = p->panels + (size_t)(j0 / AP_PANEL) * panel_words(n_in, p->dtype);
    for (int k = 0; k < n_in; k += FILL_INPUTS) {
        int n_k = smaller(FILL_INPUTS, n_in - k);
        for (int j = 0; j < n; j++)
            ap_to_f32(some[j],
                      w + ((size_t)(j0 + j) * (size_t)n_in + (size_t)k) * ap_dtype_size(stored),
                      stored, (size_t)n_k);
        if (p->dtype == AP_BF16)
            fill_bf16((uint32_t *)panel, some[0], FILL_INPUTS, n, k, n_k);
        else
            fill_f32(panel, some[0], FILL_INPUTS, n, k, n_k);
    }
}

void ap_panels_fill(struct ap_packed *p, const void *w, ap_dtype stored)
{
    bool parallel = ap_worth_threads((size_t)p->n_out, (size_t)p->n_in / 2);
#pragma omp parallel for schedule(static) if (parallel)
    for (int j = 0; j < p->n_out; j += AP_PANEL)
        fill_panel(p, j, w, stored);
}

/* -- reading back -- */

/* w[4 outputs, 4 inputs] of f32 panels at input k, outputs side by side in the rows of x. */
AP_INLINE void load_f32(ap_v4 x[4], const float *at)
{
    for (int k = 0; k < 4; k++)
        x[k] = *(const v4_any *)(at + k * AP_PANEL);
}

AP_INLINE void load_bf16(ap_v4 x[4], const float *at)
{
    for (int k = 0; k < 4; k += 2) {
        ap_v4i pair = *(const v4i_any *)(at + k / 2 * AP_PANEL);
        x[k] = (ap_v4)(pair << 16);
        x[k + 1] = (ap_v4)(pair & (int32_t)0xffff0000);
    }
}

/* Rows to columns, stored AP_PANEL apart. */
AP_INLINE void store_turned(float *to, const ap_v4 x[4])
{
    ap_v4 a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
    ap_v4 b = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
    ap_v4 c = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    ap_v4 d = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    *(v4_any *)to = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    *(v4_any *)(to + AP_PANEL) = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    *(v4_any *)(to + 2 * AP_PANEL) = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    *(v4_any *)(to + 3 * AP_PANEL) = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

/* Sixteen outputs, sixteen inputs from `at` on. */
static void turn_f32(float *out, const float *at)
{
    for (int k = 0; k < AP_PANEL; k += 4)
        for (int j = 0; j < AP_PANEL; j += 4) {
            ap_v4 x[4];
            load_f32(x, at + k * AP_PANEL + j);
            store_turned(out + j * AP_PANEL + k, x);
        }
}

static void turn_bf16(float *out, const float *at)
{
    for (int k = 0; k < AP_PANEL; k += 4)
        for (int j = 0; j < AP_PANEL; j += 4) {
            ap_v4 x[4];
            load_bf16(x, at + k / 2 * AP_PANEL + j);
            store_turned(out + j * AP_PANEL + k, x);
        }
}

/* Element (output j, input k) of a panel. */
static float element(const float *panel, ap_dtype dtype, int k, int j)
{
    if (dtype == AP_F32)
        return panel[(size_t)k * AP_PANEL + j];
    uint32_t pair = ap_f32_bits(panel[(size_t)(k / 2) * AP_PANEL + j]);
    return ap_f32_of_bits(k % 2 ? pair & 0xffff0000 : pair << 16);
}

/* Fewer than sixteen inputs, the others zero. */
static void turn_some(float *out, const float *panel, ap_dtype dtype, int k0, int n_k)
{
    for (int j = 0; j < AP_PANEL; j++)
        for (int k = 0; k < AP_PANEL; k++)
            out[j * AP_PANEL + k] = k < n_k ? element(panel, dtype, k0 + k, j) : 0.0f;
}

void ap_panels_rows(float *out, size_t panel, const struct ap_packed *p, int from_n, int depth,
                    int from_k, int n)
{
    size_t words = panel_words(p->n_in, p->dtype);
    assert(from_n % AP_PANEL == 0 && from_k % AP_PANEL == 0);
    for (int l = 0; l < depth; l += AP_PANEL) {
        const float *in = p->panels + (size_t)((from_n + l) / AP_PANEL) * words;
        for (int k = 0; k < n; k += AP_PANEL) {
            float *to = out + (size_t)(k / AP_PANEL) * panel + (size_t)l * AP_PANEL;
            if (n - k < AP_PANEL)
                turn_some(to, in, p->dtype, from_k + k, n - k);
            else if (p->dtype == AP_BF16)
                turn_bf16(to, in + (size_t)(from_k + k) / 2 * AP_PANEL);
            else
                turn_f32(to, in + (size_t)(from_k + k) * AP_PANEL);
        }
    }
}

void ap_cpu_embed_packed(float *y, const struct ap_packed *table, const int32_t *ids, int n_row)
{
    int width = table->n_in;
    size_t words = panel_words(width, table->dtype);
    bool parallel = ap_worth_threads((size_t)n_row, (size_t)width);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++) {
        const float *panel = table->panels + (size_t)(ids[i] / AP_PANEL) * words;
        for (int k = 0; k < width; k++)
            y[(size_t)i * width + k] = element(panel, table->dtype, k, ids[i] % AP_PANEL);
    }
}
