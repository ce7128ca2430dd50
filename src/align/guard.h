/* Guards at inference: whether a rewrite x' may stand for x. Pure functions of the two texts and
 * the settings; what is done when one fires (x is sent) is the caller's. Training is never guarded:
 * there the reward judges a rewrite, and the method rewrites freely. */
#ifndef AP_ALIGN_GUARD_H
#define AP_ALIGN_GUARD_H

#include "base/error.h"
#include "store/settings.h"

#include <stdbool.h>
#include <stddef.h>

/* In the order in which they are tried; the first that fires is told. */
typedef enum ap_guard {
    AP_GUARD_NONE,
    AP_GUARD_EMPTY, /* there is no rewrite; always on */
    AP_GUARD_CODE,  /* a span of x (text/spans.h) is not in x' */
    AP_GUARD_QUOTE,
    AP_GUARD_URL,
    AP_GUARD_NUMBER,
    AP_GUARD_BRACKET,
    AP_GUARD_SIMILARITY, /* below the floor */
    AP_GUARD_LENGTH,     /* above the ceiling */
    AP_GUARD_COUNT,
} ap_guard;

/* "" for NONE; else "empty", "code" … "similarity", "length". */
const char *ap_guard_name(ap_guard guard);
/* The guard of that name; NONE for any other text. */
ap_guard ap_guard_find(const char *name);
/* Whether the settings ask for more than the guard that is always on. */
bool ap_guard_is_on(const struct ap_guard_settings *s);

/* Which guard fires, and in why what it saw, in one line of valid UTF-8 ("" for none). x' = x never
 * fires, nor does a span that is somewhere in x'. Texts are any bytes that end in NUL. Time is
 * linear in both but for spans that changed their order, for which a fixed number of bytes is
 * looked through; a span that was not found within it counts as lost. AP_MEMORY alone can fail. */
#define AP_GUARD_WHY_MAX 200
ap_status ap_guard_check(const struct ap_guard_settings *s, const char *x, const char *rewrite,
                         ap_guard *guard, char why[AP_GUARD_WHY_MAX], struct ap_error *err);

/* Dice's coefficient of the two texts' character trigrams, counted with their multiplicity, in
 * [0, 1]: 2·|common| / (|a| + |b|). ASCII letters are compared without case, white space of any
 * length is one space, and a space stands before and after each text; what is no UTF-8 is U+FFFD.
 * Of each text the first 1 MiB counts. */
ap_status ap_guard_similarity(const char *a, const char *b, double *out, struct ap_error *err);

#endif
