/* The guards (guard.h): spans looked up in order, trigrams sorted and merged, characters counted.
 */
#include "align/guard.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "text/spans.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIMILARITY_BYTES_MAX ((size_t)1 << 20)
#define SEARCH_BYTES_MAX                                                                           \
    ((size_t)64 << 20) /* of searches from the start, for one pair of texts                        \
                        */

static const char *const names[AP_GUARD_COUNT] = {"",       "empty",   "code",       "quote", "url",
                                                  "number", "bracket", "similarity", "length"};

/* Of AP_SPAN_CODE … AP_SPAN_BRACKET. */
static ap_guard guard_of(ap_span_kind kind)
{
    return (ap_guard)(AP_GUARD_CODE + (int)kind);
}

const char *ap_guard_name(ap_guard guard)
{
    return names[guard];
}

ap_guard ap_guard_find(const char *name)
{
    for (int i = AP_GUARD_EMPTY; i < AP_GUARD_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return (ap_guard)i;
    return AP_GUARD_NONE;
}

bool ap_guard_is_on(const struct ap_guard_settings *s)
{
    return s->n_protect > 0 || s->similarity > 0 || s->max_growth > 0 || s->max_length > 0;
}

static unsigned kinds_of(const struct ap_guard_settings *s)
{
    unsigned kinds = 0;
    for (int i = 0; i < s->n_protect; i++)
        for (int k = 0; k < AP_SPAN_KINDS; k++)
            if (strcmp(s->protect[i], ap_span_name((ap_span_kind)k)) == 0)
                kinds |= AP_SPAN_BIT(k);
    return kinds;
}

/* ---- protected spans ---- */

/* The first place from `from` on where the span stands; n when there is none. */
static size_t find_span(const struct ap_span *span, const char *x, const char *text, size_t n,
                        size_t from)
{
    while (from < n) {
        const char *at = memmem(text + from, n - from, x + span->at, span->n);
        if (!at)
            return n;
        from = (size_t)(at - text);
        if (ap_span_stands(span->kind, text, n, from, span->n))
            return from;
        from++;
    }
    return n;
}

/* Most rewrites keep the order of what they keep: each span is looked for behind the one before it,
 * and only when it is not there from the start. */
static bool lost_span(unsigned kinds, const char *x, const char *text, struct ap_span *span)
{
    struct ap_span_scan scan = ap_spans_begin(x, strlen(x), kinds);
    size_t n = strlen(text), from = 0, left = SEARCH_BYTES_MAX;
    while (ap_spans_next(&scan, span)) {
        size_t at = find_span(span, x, text, n, from);
        if (at < n) {
            from = at + span->n;
            continue;
        }
        if (left < n || find_span(span, x, text, n, 0) == n)
            return true;
        left -= n;
    }
    return false;
}

/* At most 60 bytes of a span, cut between characters, control characters as spaces. */
static void quote_span(const char *x, const struct ap_span *span, char out[72])
{
    size_t n = 0, i = 0;
    while (i < span->n && n < 60) {
        uint32_t cp;
        i += ap_utf8_decode(x + span->at + i, span->n - i, &cp);
        n += ap_utf8_encode(cp < ' ' || cp == 0x7F ? ' ' : cp, out + n);
    }
    strcpy(out + n, i < span->n ? "..." : "");
}

/* ---- similarity ---- */

struct trigrams {
    uint64_t *items; /* owned: three code points of 21 bits each */
    size_t n;
};

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static bool is_space(uint32_t cp)
{
    return cp <= ' ' || cp == 0x85 || cp == 0xA0 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

/* One more character; the third and those after it end a trigram. */
static void put_character(struct trigrams *t, uint64_t *last, int *n_seen, uint32_t cp)
{
    if (is_space(cp))
        cp = ' ';
    if (cp == ' ' && (*last & 0x1FFFFF) == ' ')
        return;
    if (cp >= 'A' && cp <= 'Z')
        cp += 'a' - 'A';
    *last = (*last << 21 | cp) & (((uint64_t)1 << 63) - 1);
    if (++*n_seen >= 3)
        t->items[t->n++] = *last;
}

static ap_status trigrams_of(struct trigrams *t, const char *text, struct ap_error *err)
{
    size_t n = strnlen(text, SIMILARITY_BYTES_MAX);
    uint64_t last = 0;
    int n_seen = 0;
    t->items = ap_calloc(n + 2, sizeof(*t->items));
    if (!t->items)
        return ap_fail(err, AP_MEMORY, "similarity of a text of %zu bytes: out of memory", n);
    put_character(t, &last, &n_seen, ' ');
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += ap_utf8_decode(text + i, n - i, &cp);
        put_character(t, &last, &n_seen, cp);
    }
    put_character(t, &last, &n_seen, ' ');
    qsort(t->items, t->n, sizeof(*t->items), by_value);
    return AP_OK;
}

ap_status ap_guard_similarity(const char *a, const char *b, double *out, struct ap_error *err)
{
    ap_status status;
    struct trigrams left = {0}, right = {0};
    size_t common = 0;
    AP_TRY(trigrams_of(&left, a, err));
    AP_TRY(trigrams_of(&right, b, err));
    for (size_t i = 0, k = 0; i < left.n && k < right.n;) {
        int order = by_value(&left.items[i], &right.items[k]);
        common += order == 0;
        i += order <= 0;
        k += order >= 0;
    }
    *out = left.n + right.n == 0 ? 1 : 2 * (double)common / (double)(left.n + right.n);
out:
    ap_free(left.items);
    ap_free(right.items);
    return status;
}

/* ---- all of them ---- */

static size_t characters(const char *text)
{
    size_t n = strlen(text), count = 0;
    for (size_t i = 0; i < n; count++) {
        uint32_t cp;
        i += ap_utf8_decode(text + i, n - i, &cp);
    }
    return count;
}

static bool too_long(const struct ap_guard_settings *s, const char *x, const char *rewrite,
                     char why[AP_GUARD_WHY_MAX])
{
    size_t n_x = characters(x), n = characters(rewrite);
    bool grown = s->max_growth > 0 && (double)n > s->max_growth * (double)n_x;
    if (grown)
        snprintf(why, AP_GUARD_WHY_MAX,
                 "the rewrite has %zu characters, over guard.max_growth %g times the prompt's %zu",
                 n, s->max_growth, n_x);
    else if (s->max_length > 0 && n > (size_t)s->max_length)
        snprintf(why, AP_GUARD_WHY_MAX, "the rewrite has %zu characters, over guard.max_length %d",
                 n, s->max_length);
    else
        return false;
    return true;
}

static ap_status check_similarity(const struct ap_guard_settings *s, const char *x,
                                  const char *rewrite, ap_guard *guard, char why[AP_GUARD_WHY_MAX],
                                  struct ap_error *err)
{
    double similarity;
    ap_status status = ap_guard_similarity(x, rewrite, &similarity, err);
    if (status == AP_OK && similarity < s->similarity) {
        *guard = AP_GUARD_SIMILARITY;
        snprintf(why, AP_GUARD_WHY_MAX, "the similarity is %.3f, under guard.similarity %g",
                 similarity, s->similarity);
    }
    return status;
}

ap_status ap_guard_check(const struct ap_guard_settings *s, const char *x, const char *rewrite,
                         ap_guard *guard, char why[AP_GUARD_WHY_MAX], struct ap_error *err)
{
    struct ap_span span;
    *guard = AP_GUARD_NONE;
    why[0] = '\0';
    if (!rewrite[0]) {
        *guard = AP_GUARD_EMPTY;
        snprintf(why, AP_GUARD_WHY_MAX, "the rewrite is empty");
        return AP_OK;
    }
    if (strcmp(x, rewrite) == 0)
        return AP_OK;
    if (s->n_protect > 0 && lost_span(kinds_of(s), x, rewrite, &span)) {
        char text[72];
        quote_span(x, &span, text);
        *guard = guard_of(span.kind);
        snprintf(why, AP_GUARD_WHY_MAX, "the %s '%s' is not in the rewrite",
                 ap_span_name(span.kind), text);
        return AP_OK;
    }
    if (s->similarity > 0) {
        ap_status status = check_similarity(s, x, rewrite, guard, why, err);
        if (status != AP_OK || *guard != AP_GUARD_NONE)
            return status;
    }
    if (too_long(s, x, rewrite, why))
        *guard = AP_GUARD_LENGTH;
    return AP_OK;
}
