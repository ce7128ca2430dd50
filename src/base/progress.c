/* Texts on their way to a sink. Entry points: ap_sink_note, ap_sink_warn. */
#include "base/progress.h"

#include "base/error.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* The text may hold a file's name or a line of data: ap_fail makes one clean line of it. */
static void send_text(const struct ap_sink *sink, ap_event_kind kind, const char *stage,
                      const char *fmt, va_list args)
{
    char draft[AP_ERROR_TEXT_MAX];
    struct ap_error line;
    vsnprintf(draft, sizeof(draft), fmt, args);
    ap_fail(&line, AP_OK, "%s", draft);
    struct ap_event event = {
        .kind = kind, .stage = stage, .text = line.text, .loss = NAN, .reward = NAN, .kl = NAN};
    ap_sink_event(sink, &event);
}

void ap_sink_note(const struct ap_sink *sink, const char *stage, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    send_text(sink, AP_EVENT_NOTE, stage, fmt, args);
    va_end(args);
}

void ap_sink_warn(const struct ap_sink *sink, const char *stage, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    send_text(sink, AP_EVENT_WARN, stage, fmt, args);
    va_end(args);
}
