/* Time for rates and progress. Not the date: nothing that is computed may depend on it. */
#ifndef AP_BASE_CLOCK_H
#define AP_BASE_CLOCK_H

/* Seconds since an arbitrary moment, monotonic. */
double ap_clock_seconds(void);

#endif
