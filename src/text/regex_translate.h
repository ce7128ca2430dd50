/* Oniguruma's syntax, which regular expressions of a tokenizer.json are in, put into PCRE2's. What
 * the two read differently is written out: classes (Unicode 16, not 14; \s without U+180E; \w, \b
 * by Oniguruma's notion of a word), \h, \uHHHH, {,n}, options in the middle of a group. What has no
 * counterpart is refused by name. Not here: running them (pattern.h). */
#ifndef AP_TEXT_REGEX_TRANSLATE_H
#define AP_TEXT_REGEX_TRANSLATE_H

#include "base/buffer.h"

/* Append the translation of n bytes of valid UTF-8; messages begin with `where`. */
ap_status ap_regex_translate(struct ap_buffer *out, const char *regex, size_t n, const char *where,
                             struct ap_error *err);

#endif
