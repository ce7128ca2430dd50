/* When to wake the threads. Entry point: ap_worth_threads; the number is ap_threads of
 * tensor/ops.h. */
#ifndef AP_TENSOR_CPU_THREADS_H
#define AP_TENSOR_CPU_THREADS_H

#include "tensor/ops.h"

/* Elements of light work (a few operations each) that pay for waking the threads. */
#define AP_LIGHT_WORK 32768

static inline bool ap_worth_threads(size_t n_row, size_t width)
{
    return n_row * width >= AP_LIGHT_WORK;
}

#endif
