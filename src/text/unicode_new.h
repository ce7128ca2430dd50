/* Code points that PCRE2's tables (Unicode 14) lack and Oniguruma's (Unicode 16), which the
 * reference splits with, have: so that \p{L} is the same set in both. */
#ifndef AP_TEXT_UNICODE_NEW_H
#define AP_TEXT_UNICODE_NEW_H

#include "base/buffer.h"

/* Append the ranges of a general category ("L", "Nd") as elements of a bracket class. */
ap_status ap_unicode_new(struct ap_buffer *out, const char *category, struct ap_error *err);

#endif
