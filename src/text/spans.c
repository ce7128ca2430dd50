/* The scan for spans (spans.h): one pass; at each place the first row that fits wins. */
#include "text/spans.h"

#include "base/error.h"

#include <string.h>

/* Longer marks first: ``` before `. */
struct marks {
    ap_span_kind kind;
    const char *open, *close;
    bool with_marks;
};
static const struct marks rows[] = {
    {AP_SPAN_CODE, "```", "```", false}, {AP_SPAN_CODE, "`", "`", false},
    {AP_SPAN_BRACKET, "[[", "]]", true}, {AP_SPAN_QUOTE, "\"", "\"", false},
    {AP_SPAN_QUOTE, "“", "”", false},    {AP_SPAN_QUOTE, "„", "“", false},
    {AP_SPAN_QUOTE, "«", "»", false},    {AP_SPAN_QUOTE, "「", "」", false},
};

const char *ap_span_name(ap_span_kind kind)
{
    static const char *const names[AP_SPAN_KINDS] = {"code", "quote", "url", "number", "bracket"};
    return names[kind];
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* ---- numbers and URLs: their length in bytes where one begins at `at`, else 0 ---- */

static size_t number_at(const char *text, size_t n, size_t at)
{
    if (!is_digit(text[at]) || (at > 0 && is_word(text[at - 1])))
        return 0;
    if (at > 1 && strchr(".,:", text[at - 1]) && text[at - 1] && is_digit(text[at - 2]))
        return 0; /* in the middle of one */
    size_t end = at + 1;
    while (end < n && (is_digit(text[end]) || (end + 1 < n && strchr(".,:", text[end]) &&
                                               text[end] && is_digit(text[end + 1]))))
        end++;
    return end - at;
}

static bool ends_url(char c)
{
    return (unsigned char)c <= ' ' || strchr("<>\"`[]{}|\\^", c) != NULL;
}

/* Letters, "://" or "www.", then at least one byte; schemes of more than 16 letters are none. */
static size_t url_head(const char *text, size_t n, size_t at)
{
    size_t i = at;
    if (n - at > 4 && strncmp(text + at, "www.", 4) == 0)
        return 4;
    while (i < n && i - at < 16 && is_word(text[i]))
        i++;
    return i > at && n - i > 3 && memcmp(text + i, "://", 3) == 0 ? i + 3 - at : 0;
}

static size_t url_at(const char *text, size_t n, size_t at)
{
    if (!is_word(text[at]) || (at > 0 && is_word(text[at - 1])))
        return 0;
    size_t head = url_head(text, n, at), end = at + head;
    if (head == 0)
        return 0;
    while (end < n && !ends_url(text[end]))
        end++;
    while (end > at + head && strchr(".,;:!?)'*", text[end - 1]))
        end--;
    return end > at + head ? end - at : 0;
}

bool ap_span_stands(ap_span_kind kind, const char *text, size_t n, size_t at, size_t length)
{
    if (kind == AP_SPAN_NUMBER)
        return number_at(text, n, at) == length;
    if (kind == AP_SPAN_URL)
        return url_at(text, n, at) == length;
    return true;
}

/* ---- the scan ---- */

struct ap_span_scan ap_spans_begin(const char *text, size_t n, unsigned kinds)
{
    return (struct ap_span_scan){.text = text, .n = n, .kinds = kinds};
}

/* Not memmem, which under the sanitizers costs the whole text at each call. */
static const char *find_mark(const char *text, size_t n, const char *mark, size_t n_mark)
{
    const char *end = text + n, *at = text;
    while (end - at >= (ptrdiff_t)n_mark && (at = memchr(at, mark[0], (size_t)(end - at)))) {
        if (end - at >= (ptrdiff_t)n_mark && memcmp(at, mark, n_mark) == 0)
            return at;
        at++;
    }
    return NULL;
}

/* What is between marks must not be empty. A straight quotation mark after a letter or digit closes
 * or stands for inches: it opens nothing. */
static bool marked_at(struct ap_span_scan *s, size_t r, struct ap_span *out)
{
    const struct marks *m = &rows[r];
    size_t n_open = strlen(m->open), n_close = strlen(m->close), from = s->at + n_open;
    if (!(s->kinds & AP_SPAN_BIT(m->kind)) || (s->unclosed & 1u << r) || s->n - s->at < n_open ||
        memcmp(s->text + s->at, m->open, n_open) != 0)
        return false;
    if (m->open[0] == '"' && s->at > 0 && is_word(s->text[s->at - 1]))
        return false;
    const char *close = find_mark(s->text + from, s->n - from, m->close, n_close);
    if (!close) { /* nor will a later one find any: each row looks through the text once in vain */
        s->unclosed |= 1u << r;
        return false;
    }
    size_t end = (size_t)(close - s->text);
    if (end == from)
        return false;
    *out = (struct ap_span){m->kind, from, end - from, s->at, end + n_close};
    if (m->with_marks) {
        out->at = out->whole;
        out->n = out->past - out->whole;
    }
    return true;
}

static bool plain_at(const struct ap_span_scan *s, ap_span_kind kind, struct ap_span *out)
{
    if (!(s->kinds & AP_SPAN_BIT(kind)))
        return false;
    size_t n = kind == AP_SPAN_URL ? url_at(s->text, s->n, s->at) : number_at(s->text, s->n, s->at);
    *out = (struct ap_span){kind, s->at, n, s->at, s->at + n};
    return n > 0;
}

static bool span_at(struct ap_span_scan *s, struct ap_span *out)
{
    for (size_t r = 0; r < AP_LEN(rows); r++)
        if (s->text[s->at] == rows[r].open[0] && marked_at(s, r, out))
            return true;
    return plain_at(s, AP_SPAN_URL, out) || plain_at(s, AP_SPAN_NUMBER, out);
}

bool ap_spans_next(struct ap_span_scan *s, struct ap_span *out)
{
    for (; s->at < s->n; s->at++)
        if (span_at(s, out)) {
            s->at = out->past;
            return true;
        }
    return false;
}
