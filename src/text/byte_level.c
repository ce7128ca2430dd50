/* GPT-2's byte alphabet. Bytes that print in Latin-1 stand for themselves; the 68 others, in order,
 * for U+0100 and on. Entry points: ap_byte_level_encode, ap_byte_level_decode. */
#include "text/byte_level.h"

#include "base/utf8.h"

/* The three runs of bytes that do not print: 0-32, 127-160 and 173. */
static uint32_t byte_character(unsigned char byte)
{
    if (byte <= 32)
        return 256u + byte;
    if (byte >= 127 && byte <= 160)
        return 256u + 33u + (byte - 127u);
    return byte == 173 ? 256u + 67u : byte;
}

/* The byte of a character, −1 outside the alphabet. */
static int character_byte(uint32_t cp)
{
    if (cp < 256)
        return byte_character((unsigned char)cp) == cp ? (int)cp : -1;
    if (cp < 256 + 33)
        return (int)cp - 256;
    if (cp < 256 + 67)
        return (int)cp - 256 - 33 + 127;
    return cp == 256 + 67 ? 173 : -1;
}

ap_status ap_byte_level_encode(struct ap_buffer *out, const char *bytes, size_t n,
                               struct ap_error *err)
{
    ap_status status = ap_buffer_reserve(out, 2 * n, err); /* no character is longer */
    if (status != AP_OK || n == 0)
        return status;
    for (size_t i = 0; i < n; i++) {
        char text[4];
        size_t used = ap_utf8_encode(byte_character((unsigned char)bytes[i]), text);
        for (size_t k = 0; k < used; k++)
            out->data[out->len++] = text[k];
    }
    return AP_OK;
}

ap_status ap_byte_level_decode(struct ap_buffer *out, const char *token, size_t n,
                               struct ap_error *err)
{
    size_t start = out->len;
    ap_status status = ap_buffer_reserve(out, n, err);
    if (status != AP_OK || n == 0)
        return status;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += ap_utf8_decode(token + i, n - i, &cp);
        int byte = character_byte(cp);
        if (byte < 0) {
            out->len = start;
            return ap_buffer_append(out, token, n, err);
        }
        out->data[out->len++] = (char)byte;
    }
    return AP_OK;
}
