/* GPT-2's alphabet: every byte as one printable character, so that a vocabulary is plain text. */
#ifndef AP_TEXT_BYTE_LEVEL_H
#define AP_TEXT_BYTE_LEVEL_H

#include "base/buffer.h"

#include <stdint.h>

/* Append the characters of n bytes. */
ap_status ap_byte_level_encode(struct ap_buffer *out, const char *bytes, size_t n,
                               struct ap_error *err);
/* Append the bytes that a token's characters stand for; a token with a character outside the
 * alphabet stands for itself, as in the reference. */
ap_status ap_byte_level_decode(struct ap_buffer *out, const char *token, size_t n,
                               struct ap_error *err);

#endif
