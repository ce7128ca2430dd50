/* The limits of the machine that a benchmark runs on, measured in the same run: multiply-adds in
 * registers and a sum over memory, on the threads that the operations use. Not a property of the
 * processor's data sheet. Entry points: machine_fma_peak, machine_bandwidth. */
#ifndef AP_BENCH_MACHINE_H
#define AP_BENCH_MACHINE_H

#include "base/clock.h"
#include "base/memory.h"
#include "tensor/ops.h"

#define MACHINE_CHAINS 12 /* independent ones: latency 4 to 5, two units */
#define MACHINE_STEPS 200000
#define MACHINE_ROUNDS 5

/* One body for two widths of vector; `suffix` names the function. Not inlined: the target differs.
 */
#define MACHINE_CHAIN(suffix, target_name, bytes)                                                  \
    __attribute__((noinline, target(target_name))) static float machine_chain_##suffix(float seed) \
    {                                                                                              \
        typedef float vec __attribute__((vector_size(bytes)));                                     \
        vec acc[MACHINE_CHAINS], x = (vec){0} + seed, y = (vec){0} + 1e-3f;                        \
        for (int i = 0; i < MACHINE_CHAINS; i++)                                                   \
            acc[i] = (vec){0} + (float)i;                                                          \
        for (int s = 0; s < MACHINE_STEPS; s++) {                                                  \
            _Pragma("GCC unroll 12") for (int i = 0; i < MACHINE_CHAINS; i++) acc[i] =             \
                acc[i] * x + y;                                                                    \
            __asm__ volatile("" : "+x"(x)); /* keep the loop */                                    \
        }                                                                                          \
        for (int i = 1; i < MACHINE_CHAINS; i++)                                                   \
            acc[0] += acc[i];                                                                      \
        return acc[0][0];                                                                          \
    }

#if defined(__x86_64__)
MACHINE_CHAIN(wide, "avx512f", 64)
MACHINE_CHAIN(base, "avx2,fma", 32)
static inline int machine_is_wide(void)
{
    return __builtin_cpu_supports("avx512f");
}
#else
MACHINE_CHAIN(base, "default", 16)
#define machine_chain_wide machine_chain_base
static inline int machine_is_wide(void)
{
    return 0;
}
#endif

/* Multiply-adds in f32, in operations (two each) per second. */
static inline double machine_fma_peak(void)
{
    int n = ap_threads(), wide = machine_is_wide();
#if defined(__x86_64__)
    const double lanes = wide ? 16 : 8;
#else
    const double lanes = 4;
#endif
    double best = 1e30;
    volatile float sink = 0;
    for (int round = 0; round < MACHINE_ROUNDS; round++) {
        double begin = ap_clock_seconds();
#pragma omp parallel for num_threads(n) schedule(static)
        for (int t = 0; t < n; t++)
            sink = wide ? machine_chain_wide(0.5f) : machine_chain_base(0.5f);
        double seconds = ap_clock_seconds() - begin;
        best = seconds < best ? seconds : best;
    }
    (void)sink;
    return 2.0 * lanes * MACHINE_CHAINS * MACHINE_STEPS * n / best;
}

/* Bytes per second of a sum over memory that no cache holds; 0 when there is not so much. */
static inline double machine_bandwidth(void)
{
    size_t n = (size_t)64 << 20;
    int n_thread = ap_threads();
    float *x = ap_calloc(n, sizeof(*x)), sink = 0;
    double best = 1e30;
    if (!x)
        return 0;
    for (size_t i = 0; i < n; i += 1024)
        x[i] = 1;
    for (int round = 0; round < 3; round++) {
        double begin = ap_clock_seconds();
        float sum = 0;
#pragma omp parallel for simd num_threads(n_thread) reduction(+ : sum) schedule(static)
        for (size_t i = 0; i < n; i++)
            sum += x[i];
        double seconds = ap_clock_seconds() - begin;
        best = seconds < best ? seconds : best;
        sink += sum;
    }
    ap_free(x);
    return sink > 0 ? (double)(n * sizeof(*x)) / best : 0;
}

#endif
