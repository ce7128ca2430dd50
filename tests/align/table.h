/* Small rollouts for the tests of losses and loops: rows of given lengths, columns filled by
 * formula. */
#ifndef AP_TESTS_ALIGN_TABLE_H
#define AP_TESTS_ALIGN_TABLE_H

#include "align/loss.h"
#include "base/memory.h"
#include "check.h"

static inline void table_make(struct ap_rollout *r, const int *lens, int n_row, int n_each)
{
    struct ap_error err;
    size_t n_token = 0;
    for (int i = 0; i < n_row; i++)
        n_token += (size_t)lens[i];
    check_ok(ap_rollout_init(r, n_row, n_token, &err), err);
    r->n_each = n_each;
    int32_t ids[64] = {0};
    for (int i = 0; i < n_row; i++) {
        assert_in_range(lens[i], 1, 64);
        check_ok(ap_rollout_add(r, i / n_each, (uint64_t)(i / n_each), i % n_each, ids, lens[i],
                                true, NULL, &err),
                 err);
    }
}

/* A column of numbers in [low, high] that look random and are the same everywhere. */
static inline void table_fill(double *x, size_t n, double low, double high, int salt)
{
    for (size_t i = 0; i < n; i++) {
        double phase = sin(12.9898 * (double)(i + 1) + 78.233 * salt) * 43758.5453;
        x[i] = low + (high - low) * (phase - floor(phase));
    }
}

/* |analytic − central difference| of loss in x[0…n−1]; loss is called with x changed in place. */
typedef double (*table_loss_fn)(void *context);
static inline void table_check_gradient(double *x, const double *dx, size_t n, table_loss_fn loss,
                                        void *context)
{
    const double h = 1e-6;
    for (size_t i = 0; i < n; i++) {
        double kept = x[i];
        x[i] = kept + h;
        double up = loss(context);
        x[i] = kept - h;
        double down = loss(context);
        x[i] = kept;
        check_near((up - down) / (2 * h), dx[i], 1e-8, 1e-6);
    }
}

#endif
