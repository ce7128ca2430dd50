/* Dropout with masks that are functions of their place: Philox4x32-10 (base/random.h), sixteen
 * blocks side by side. Entry point: ap_cpu_dropout, in cpu.h. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/threads.h"

#define BLOCKS 16       /* of the generator at a time */
#define BLOCK_COLUMNS 8 /* sixteen bits a column */
#define COLUMNS (BLOCKS * BLOCK_COLUMNS)

/* ap_philox of the counters (first + i, c1, c2, c3). */
static void philox_blocks(uint32_t out[4][BLOCKS], uint32_t first, uint32_t c1, uint64_t high,
                          const uint32_t key[2])
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < BLOCKS; i++) {
        out[0][i] = first + (uint32_t)i;
        out[1][i] = c1;
        out[2][i] = (uint32_t)high;
        out[3][i] = (uint32_t)(high >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * out[0][i], p1 = (uint64_t)0xCD9E8D57u * out[2][i];
            out[0][i] = (uint32_t)(p1 >> 32) ^ out[1][i] ^ k0;
            out[2][i] = (uint32_t)(p0 >> 32) ^ out[3][i] ^ k1;
            out[1][i] = (uint32_t)p1;
            out[3][i] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* What n columns from `from` on (a whole number of BLOCKS) are multiplied with. */
static void factors(float f[COLUMNS], const struct ap_mask *m, int row, int from)
{
    uint32_t bits[4][BLOCKS];
    philox_blocks(bits, (uint32_t)(from / BLOCK_COLUMNS), (uint32_t)m->pos[row],
                  m->record[row] ^ m->mix, m->key);
    for (int i = 0; i < BLOCKS; i++)
        for (int word = 0; word < 4; word++) {
            f[i * BLOCK_COLUMNS + 2 * word] = (bits[word][i] & 0xffff) < m->drop ? 0.0f : m->scale;
            f[i * BLOCK_COLUMNS + 2 * word + 1] = bits[word][i] >> 16 < m->drop ? 0.0f : m->scale;
        }
}

void ap_cpu_dropout(float *y, const float *x, const struct ap_mask *m, int n_row, int width,
                    bool accumulate)
{
    bool parallel = ap_worth_threads((size_t)n_row, (size_t)width * 4);
#pragma omp parallel for schedule(static) if (parallel)
    for (int i = 0; i < n_row; i++)
        for (int from = 0; from < width; from += COLUMNS) {
            float f[COLUMNS];
            int n = width - from < COLUMNS ? width - from : COLUMNS;
            float *to = y + (size_t)i * width + from;
            const float *in = x + (size_t)i * width + from;
            factors(f, m, i, from);
            for (int k = 0; k < n; k++)
                to[k] = (accumulate ? to[k] : 0.0f) + in[k] * f[k];
        }
}
