/* Elements of a file that is one JSON array, in bounded memory: cut out here by brackets, quotes
 * and commas, and not looked into. Entry point: ap_elements_next. */
#include "base/lines_inner.h"

#include <string.h>

/* How far into JSON a scan is. */
struct scan {
    size_t depth; /* open brackets */
    bool quoted, escaped;
};

static ap_status fail(const struct ap_lines *l, const char *found, const char *expected,
                      struct ap_error *err)
{
    return ap_fail(err, AP_FORMAT,
                   "%s:%llu: %s in a JSON array, expected %s; correct the text there", l->path,
                   (unsigned long long)l->number + 1, found, expected);
}

/* *at, an offset from start, moves to the first byte that is no white space; *c is that, or 0 at
 * the end of the file. */
static ap_status skip_space(struct ap_lines *l, size_t *at, char *c, struct ap_error *err)
{
    for (;; ++*at) {
        while (l->start + *at == l->end && !l->eof) {
            ap_status status = ap_lines_fill(l, err);
            if (status != AP_OK)
                return status;
        }
        *c = l->start + *at < l->end ? l->buffer[l->start + *at] : '\0';
        if (*c != ' ' && *c != '\n' && *c != '\r' && *c != '\t')
            return AP_OK;
        l->number += *c == '\n';
    }
}

/* One byte further; whether the element ended before it. */
static bool scan_byte(struct scan *s, char c)
{
    if (s->quoted) {
        s->quoted = s->escaped || c != '"';
        s->escaped = !s->escaped && c == '\\';
        return false;
    }
    if (s->depth == 0 && (c == ',' || c == ']' || c == '}'))
        return true;
    s->quoted = c == '"';
    s->depth += c == '{' || c == '[';
    s->depth -= c == '}' || c == ']';
    return false;
}

/* The element at start: *n bytes, white space behind it included. One over max_line is dropped as
 * it is read, *n is then 0. */
static ap_status scan_element(struct ap_lines *l, size_t *n, bool *too_long, struct ap_error *err)
{
    struct scan s = {0};
    *too_long = false;
    for (*n = 0;; ++*n) {
        if (*n > l->max_line) {
            *too_long = true;
            l->start += *n;
            *n = 0;
        }
        while (l->start + *n == l->end && !l->eof) {
            ap_status status = ap_lines_fill(l, err);
            if (status != AP_OK)
                return status;
        }
        if (l->start + *n == l->end)
            return fail(l, "the file ends", "its closing ]", err);
        char c = l->buffer[l->start + *n];
        if (scan_byte(&s, c))
            break;
        l->number += c == '\n';
    }
    if (*too_long) {
        l->start += *n;
        *n = 0;
    }
    return AP_OK;
}

/* The array's bracket, or what stands behind it. */
static ap_status check_outside(struct ap_lines *l, bool *more, struct ap_error *err)
{
    size_t at = 0;
    char c;
    *more = l->array == AP_ARRAY_BEFORE;
    if (*more && l->end - l->start >= 3 && !memcmp(l->buffer + l->start, "\xEF\xBB\xBF", 3))
        l->start += 3;
    ap_status status = skip_space(l, &at, &c, err);
    if (status != AP_OK)
        return status;
    if (*more ? c != '[' : c != '\0' || l->start + at < l->end)
        return *more ? fail(l, "something else", "[ first", err)
                     : fail(l, "text behind the end", "nothing", err);
    l->start += at + *more;
    l->array = *more ? AP_ARRAY_FIRST : AP_ARRAY_ENDED;
    return AP_OK;
}

/* Take the element of n bytes at start and the comma or bracket behind it. */
static ap_status take(struct ap_lines *l, size_t n, const char **text, struct ap_error *err)
{
    char c = l->buffer[l->start + n];
    if (c == '}')
        return fail(l, "a closing } too many", ", or ]", err);
    l->array = c == ',' ? AP_ARRAY_NEXT : AP_ARRAY_ENDED;
    l->buffer[l->start + n] = '\0';
    *text = l->buffer + l->start;
    l->start += n + 1;
    return AP_OK;
}

ap_status ap_elements_next(struct ap_lines *l, const char **text, size_t *n, uint64_t *number,
                           bool *more, struct ap_error *err)
{
    bool too_long = false;
    size_t at = 0;
    char c;
    ap_status status;
    *text = "";
    *n = 0;
    *more = true;
    if (l->array == AP_ARRAY_BEFORE)
        AP_TRY(check_outside(l, more, err));
    if (l->array == AP_ARRAY_ENDED)
        return check_outside(l, more, err);
    AP_TRY(skip_space(l, &at, &c, err));
    l->start += at;
    *number = l->number + 1;
    if (c == ']' && l->array == AP_ARRAY_FIRST) {
        l->start++;
        l->array = AP_ARRAY_ENDED;
        return check_outside(l, more, err);
    }
    if (c == ',' || c == ']' || c == '}')
        AP_TRY(fail(l, "nothing before a , or a bracket", "an element", err));
    AP_TRY(scan_element(l, n, &too_long, err));
    AP_TRY(take(l, *n, text, err));
    if (too_long)
        status = ap_fail(err, AP_LIMIT,
                         "%s:%llu: the element is longer than %zu bytes; shorten or remove it",
                         l->path, (unsigned long long)*number, l->max_line);
out:
    *more = *more && status == AP_OK;
    return status;
}
