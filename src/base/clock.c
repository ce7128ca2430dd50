/* The monotonic clock and the date. Entry points: ap_clock_seconds, ap_clock_date. */
#include "base/clock.h"

#include <time.h>

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double ap_clock_seconds(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double ap_clock_date(void)
{
    return seconds_of(CLOCK_REALTIME);
}
