/* Events of long jobs. */
#ifndef ALIGNPRO_PROGRESS_H
#define ALIGNPRO_PROGRESS_H

#include <signal.h>
#include <stdint.h>

typedef enum ap_event_kind {
    AP_EVENT_BEGIN, /* a stage starts: n_steps */
    AP_EVENT_STEP,  /* a step ended */
    AP_EVENT_END,   /* a stage ended: seconds */
    AP_EVENT_SKIP,  /* a stage's result was there already */
    AP_EVENT_NOTE,  /* text for the user */
    AP_EVENT_WARN   /* text: something the user should look at */
} ap_event_kind;

struct ap_event {
    ap_event_kind kind;
    const char *stage;
    const char *text;      /* NOTE, WARN */
    int64_t step, n_steps; /* steps done so far, and in all */
    double seconds;        /* since the stage began */
    double tokens_per_s;
    double loss, reward, kl; /* NaN where a stage has none */
};

struct ap_sink {
    void (*fn)(void *context, const struct ap_event *event); /* NULL: silent */
    void *context;
    volatile sig_atomic_t
        *stop; /* set to 1 (from a signal handler, say) to stop after the step; NULL: never */
};

#endif
