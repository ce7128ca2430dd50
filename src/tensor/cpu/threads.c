/* The number of threads, kept by OpenMP. Entry points: ap_threads_set, ap_threads. */
#include "tensor/cpu/threads.h"

#include <omp.h>

int ap_threads_set(int n)
{
    omp_set_num_threads(n > 0 ? n : omp_get_num_procs());
    return omp_get_max_threads();
}

int ap_threads(void)
{
    return omp_get_max_threads();
}
