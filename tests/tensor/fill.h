/* What the tensor tests share: made-up numbers, the table, comparisons of arrays. */
#ifndef AP_TESTS_TENSOR_FILL_H
#define AP_TESTS_TENSOR_FILL_H

#include "check.h"

#include "base/memory.h"
#include "tensor/ops.h"

static inline const struct ap_ops *test_ops(void)
{
    const struct ap_ops *ops = NULL;
    struct ap_error err = {0};
    check_ok(ap_ops_cpu(&ops, &err), err);
    return ops;
}

/* n floats in (−size, size), the same for the same seed; ap_free. */
static inline float *made_up(size_t n, uint32_t seed, double size)
{
    float *x = ap_calloc(n, sizeof(*x));
    uint64_t state = seed * 2654435761u + 12345u;
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(((double)(state >> 40) / (double)(1 << 24) * 2.0 - 1.0) * size);
    }
    return x;
}

static inline float *zeros(size_t n)
{
    float *x = ap_calloc(n, sizeof(*x));
    assert_non_null(x);
    return x;
}

static inline float *copy_of(const float *x, size_t n)
{
    float *y = zeros(n);
    memcpy(y, x, n * sizeof(*x));
    return y;
}

#define check_same_bits(got, want, n)                                                              \
    check_same_bits_at((got), (want), (n), #got, __FILE__, __LINE__)

static inline void check_same_bits_at(const float *got, const float *want, size_t n,
                                      const char *what, const char *file, int line)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], sizeof(float)) != 0) {
            fprintf(stderr, "%s:%d: %s[%zu] is %.9g, expected the bits of %.9g\n", file, line, what,
                    i, (double)got[i], (double)want[i]);
            _fail(file, line);
        }
    }
}

#define check_array(got, want, n, tolerance)                                                       \
    check_array_at((got), (want), (n), (tolerance), #got, __FILE__, __LINE__)

static inline void check_array_at(const float *got, const double *want, size_t n, double tolerance,
                                  const char *what, const char *file, int line)
{
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)got[i] - want[i]) <= tolerance * (1.0 + fabs(want[i])))) {
            fprintf(stderr, "%s:%d: %s[%zu] is %.9g, expected %.9g\n", file, line, what, i,
                    (double)got[i], want[i]);
            _fail(file, line);
        }
    }
}

#endif
