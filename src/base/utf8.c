/* Strict UTF-8, one character at a time. Entry points: ap_utf8_decode, _valid, _encode. */
#include "base/utf8.h"

/* What may follow a lead byte: the number of continuation bytes and the range of the first of them
 * (Unicode 14, table 3-7), which excludes overlong forms, surrogates and what is above U+10FFFF. */
static int lead_tail(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 1;
    if (lead >= 0xE0 && lead <= 0xEF) {
        *low = lead == 0xE0 ? 0xA0 : 0x80;
        *high = lead == 0xED ? 0x9F : 0xBF;
        return 2;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        *low = lead == 0xF0 ? 0x90 : 0x80;
        *high = lead == 0xF4 ? 0x8F : 0xBF;
        return 3;
    }
    return 0;
}

size_t ap_utf8_decode(const char *s, size_t n, uint32_t *cp)
{
    *cp = AP_UTF8_REPLACEMENT;
    if (n == 0)
        return 0;
    unsigned char lead = (unsigned char)s[0], low, high;
    if (lead < 0x80) {
        *cp = lead;
        return 1;
    }
    int tail = lead_tail(lead, &low, &high);
    if (tail == 0)
        return 1;
    uint32_t value = lead & (0x3Fu >> tail);
    for (int i = 1; i <= tail; i++) {
        if ((size_t)i >= n)
            return (size_t)i;
        unsigned char byte = (unsigned char)s[i];
        if (byte < low || byte > high)
            return (size_t)i;
        value = value << 6 | (byte & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *cp = value;
    return (size_t)tail + 1;
}

bool ap_utf8_valid(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t used = ap_utf8_decode(s + i, n - i, &cp);
        /* A real U+FFFD is three bytes; an invalid sequence never begins with its lead and second
         * byte and has three. */
        if (cp == AP_UTF8_REPLACEMENT && !(used == 3 && (unsigned char)s[i] == 0xEF))
            return false;
        i += used;
    }
    return true;
}

size_t ap_utf8_encode(uint32_t cp, char out[4])
{
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF))
        cp = AP_UTF8_REPLACEMENT;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}
