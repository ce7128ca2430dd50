/* What a long job tells its caller: events to a sink, and a flag that asks it to stop. Printing is
 * the caller's business. */
#ifndef AP_BASE_PROGRESS_H
#define AP_BASE_PROGRESS_H

#include "alignpro/progress.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* NULL-safe. */
static inline void ap_sink_event(const struct ap_sink *sink, const struct ap_event *event)
{
    if (sink && sink->fn)
        sink->fn(sink->context, event);
}

static inline bool ap_sink_stopped(const struct ap_sink *sink)
{
    return sink && sink->stop && *sink->stop;
}

/* A line of text for the user (AP_EVENT_NOTE). */
void ap_sink_note(const struct ap_sink *sink, const char *stage, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Something the user should look at (AP_EVENT_WARN). */
void ap_sink_warn(const struct ap_sink *sink, const char *stage, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
