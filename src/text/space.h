/* Unicode white space, as \s of the Rust regex library and of Oniguruma has it. */
#ifndef AP_TEXT_SPACE_H
#define AP_TEXT_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool ap_is_space(uint32_t cp);
/* Bytes of white space that begin, or that end, n bytes of valid UTF-8. */
size_t ap_space_prefix(const char *text, size_t n);
size_t ap_space_suffix(const char *text, size_t n);

#endif
