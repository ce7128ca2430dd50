/* Rotary positions (Su et al. 2021), pairs (i, i + n_freq) as in Hugging Face. Entry point:
 * ap_cpu_rope, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"

/* sign +1 rotates by the angle, −1 back. */
static void rotate_head(float *x, const float *c, const float *s, int n_freq, float sign)
{
    float *restrict lo = x, *restrict hi = x + n_freq;
    for (int i = 0; i < n_freq; i++) {
        float a = lo[i], b = hi[i], sine = sign * s[i];
        lo[i] = a * c[i] - b * sine;
        hi[i] = b * c[i] + a * sine;
    }
}

void ap_cpu_rope(float *x, const float *cos_table, const float *sin_table, const int32_t *pos,
                 int n_row, int n_head, int head_dim, int n_freq, bool inverse)
{
    float sign = inverse ? -1.0f : 1.0f;
    bool parallel = ap_worth_threads(n_row, (size_t)n_head * head_dim);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++) {
        const float *c = cos_table + (size_t)pos[i] * n_freq;
        const float *s = sin_table + (size_t)pos[i] * n_freq;
        for (int h = 0; h < n_head; h++)
            rotate_head(x + ((size_t)i * n_head + h) * head_dim, c, s, n_freq, sign);
    }
}
