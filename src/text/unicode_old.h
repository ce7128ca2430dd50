/* Where the Rust library `tokenizers` has older or newer tables of characters than utf8proc
 * (Unicode 15): normal forms and marks by Unicode 9, small letters by Unicode 17. */
#ifndef AP_TEXT_UNICODE_OLD_H
#define AP_TEXT_UNICODE_OLD_H

#include <stdbool.h>
#include <stdint.h>

/* A mark, as StripAccents has it. */
bool ap_unicode_is_mark(uint32_t cp);
/* Whether normal forms pass over the character as over one that is not assigned. */
bool ap_unicode_is_inert(uint32_t cp);
/* The small letter of one character, which is never more than one but for U+0130. */
uint32_t ap_unicode_lower(uint32_t cp);

#endif
