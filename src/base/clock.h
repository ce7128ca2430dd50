/* Time for rates and progress, and the date for people: nothing that is computed may depend on
 * either. */
#ifndef AP_BASE_CLOCK_H
#define AP_BASE_CLOCK_H

/* Seconds since an arbitrary moment, monotonic. */
double ap_clock_seconds(void);
/* Seconds since 1970 (UTC). Somebody may set it back. */
double ap_clock_date(void);

#endif
