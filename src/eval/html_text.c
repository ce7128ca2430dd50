/* Text from data into a page. Everything a model, a user or a file wrote goes through here.
 * Entry points: ap_html_text, ap_html_text_n, ap_html_text_max, ap_html_number. */
#include "base/utf8.h"
#include "eval/html.h"

#include <string.h>

/* Not text of a page: controls but tab and line feed, DEL and the C1 controls, the non-characters,
 * and the marks that turn the direction of what follows them. */
static bool is_text(uint32_t cp)
{
    if (cp < 0x20)
        return cp == '\t' || cp == '\n';
    if ((cp >= 0x7F && cp < 0xA0) || (cp & 0xFFFE) == 0xFFFE || (cp >= 0xFDD0 && cp <= 0xFDEF))
        return false;
    return !((cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069));
}

static const char *entity(uint32_t cp)
{
    switch (cp) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

static void put_character(struct ap_page *page, uint32_t cp)
{
    char text[5] = {0};
    const char *escaped = entity(cp);
    if (!escaped)
        ap_utf8_encode(is_text(cp) ? cp : AP_UTF8_REPLACEMENT, text);
    ap_page_put(page, escaped ? escaped : text);
}

/* Bytes of text up to the last character that fits into max. */
static size_t cut(const char *text, size_t n, size_t max)
{
    size_t at = 0;
    uint32_t cp;
    while (at < n) {
        size_t step = ap_utf8_decode(text + at, n - at, &cp);
        if (at + step > max)
            break;
        at += step;
    }
    return at;
}

void ap_html_text_n(struct ap_page *page, const char *text, size_t n)
{
    uint32_t cp;
    for (size_t at = 0; at < n;) {
        at += ap_utf8_decode(text + at, n - at, &cp);
        put_character(page, cp);
    }
}

void ap_html_text(struct ap_page *page, const char *text)
{
    if (text)
        ap_html_text_n(page, text, strlen(text));
}

void ap_html_text_max(struct ap_page *page, const char *text, size_t max)
{
    size_t n = text ? strlen(text) : 0, shown = cut(text, n, max);
    ap_html_text_n(page, text, shown);
    if (shown < n)
        ap_page_printf(page, " <span class=\"note\">… %zu more bytes</span>", n - shown);
}

void ap_html_number(struct ap_page *page, struct ap_number number)
{
    if (strcmp(number.text, "-") == 0) {
        ap_page_put(page, "<span class=\"none\">–</span>");
        return;
    }
    for (const char *c = number.text; *c; c++)
        ap_page_printf(page, *c == '-' ? "−" : "%c", *c);
}
