/* What memory the process has and what it may still take. Not here: allocation (memory.h). */
#ifndef AP_BASE_PROCESS_H
#define AP_BASE_PROCESS_H

#include "base/error.h"

#include <stddef.h>

/* Bytes of memory that the process has now, and the most it has had since it began (VmRSS and
 * VmHWM). 0 where /proc does not tell. */
size_t ap_process_memory(void);
size_t ap_process_peak(void);
/* Gives freed memory back to the system, as far as the C library can. */
void ap_process_trim(void);

/* How much more the process may take, and what sets that limit. */
struct ap_room {
    size_t bytes;    /* SIZE_MAX: no limit is known */
    const char *why; /* "MemAvailable of this machine" …; static */
};
/* The least of: memory that the machine has available, every control group's limit on the way up
 * less what it uses (version 1 and 2, caches of files counted as free), RLIMIT_AS and RLIMIT_DATA
 * less what the process has. root: "" for the machine; a folder with proc/ and sys/ for a test. */
struct ap_room ap_process_room(const char *root);

#endif
