/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. Not here: normal
 * forms. */
#ifndef AP_BASE_UTF8_H
#define AP_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AP_UTF8_REPLACEMENT 0xFFFDu

/* Decode the character at s of n > 0 bytes. Returns the bytes consumed, 1 … 4. What is invalid
 * gives U+FFFD and the length of its maximal subpart (Unicode 14, section 3.9, table 3-8), so that
 * a loop over the text puts in as many replacement characters as the field's decoders do. n = 0
 * returns 0. */
size_t ap_utf8_decode(const char *s, size_t n, uint32_t *cp);
bool ap_utf8_valid(const char *s, size_t n);
/* Returns the bytes written, 1 … 4; a surrogate or a number above U+10FFFF is written as U+FFFD. */
size_t ap_utf8_encode(uint32_t cp, char out[4]);

#endif
