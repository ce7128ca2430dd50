/* Monitors of reward hacking: what a reward that is fooled does to texts, as numbers that grow with
 * it. Pure functions from texts; what is done beyond a limit (monitor: in the recipe) is
 * rl_common.h's, and report.html shows the same numbers for the test set.
 *
 * A word is a run of ASCII letters and digits and of bytes that are no ASCII, without case; a
 * script without spaces is one long word. Of each text the first 1 MiB counts. */
#ifndef AP_ALIGN_MONITOR_H
#define AP_ALIGN_MONITOR_H

#include "base/error.h"
#include "store/settings.h"

#include <stdbool.h>

/* What to do beyond a limit, in one sentence. Never NULL; static text. */
const char *ap_monitor_remedy(ap_monitor monitor);

/* Share of the text's word triples that stood in it before: 1 − distinct/all; 0 below three words.
 * AP_MEMORY alone can fail, here and below. */
ap_status ap_monitor_repetition(const char *text, double *out, struct ap_error *err);
/* Share of x's words, each time they stand there, that the rewrite has; 0 without words. */
ap_status ap_monitor_copy(const char *x, const char *rewrite, double *out, struct ap_error *err);
/* 1 − ap_guard_similarity. */
ap_status ap_monitor_drift(const char *x, const char *rewrite, double *out, struct ap_error *err);

/* One answer, and what became of its prompt. Borrowed. */
struct ap_monitor_text {
    const char *x, *rewrite, *answer; /* rewrite NULL: there is none */
    int n_rewrite, n_answer;          /* tokens; -1: not known */
    bool ended;                       /* whether what is watched, the rewrite or else the answer,
                                         has an end token */
};

/* Sums over many of them, zero before. */
struct ap_monitored {
    double sum[AP_MONITOR_COUNT];
    int n[AP_MONITOR_COUNT];
};
ap_status ap_monitored_add(struct ap_monitored *m, const struct ap_monitor_text *text,
                           struct ap_error *err);
/* NaN where nothing was measured; the gap never is, here. */
double ap_monitored_mean(const struct ap_monitored *m, ap_monitor monitor);

#endif
