/* Unicode white space. Entry points: ap_is_space, ap_space_prefix, ap_space_suffix. */
#include "text/space.h"

#include "base/utf8.h"

bool ap_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 0x09 && cp <= 0x0D);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

size_t ap_space_prefix(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint32_t cp;
        size_t used = ap_utf8_decode(text + i, n - i, &cp);
        if (!ap_is_space(cp))
            break;
        i += used;
    }
    return i;
}

size_t ap_space_suffix(const char *text, size_t n)
{
    size_t end = n;
    while (end > 0) {
        size_t start = end - 1;
        uint32_t cp;
        while (start > 0 && end - start < 4 && ((unsigned char)text[start] & 0xC0) == 0x80)
            start--;
        size_t used = ap_utf8_decode(text + start, end - start, &cp);
        if (!ap_is_space(cp) || used != end - start)
            break;
        end = start;
    }
    return n - end;
}
