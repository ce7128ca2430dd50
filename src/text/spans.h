/* Parts of a text that a rewrite or a typing error must not touch: code, quotations, URLs, numbers,
 * [[...]]. A scan by hand, in time linear in the text, on any bytes. Not here: what is done when
 * one is lost (align/guard.h). */
#ifndef AP_TEXT_SPANS_H
#define AP_TEXT_SPANS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum ap_span_kind {
    AP_SPAN_CODE, /* between ``` and ```, or ` and `: what stands between them */
    AP_SPAN_QUOTE, /* between double quotation marks, "…" “…” „…“ «…» 「…」: likewise */
    AP_SPAN_URL,     /* scheme://… or www.…, without the punctuation that ends a sentence */
    AP_SPAN_NUMBER,  /* ASCII digits that begin no word; with . , : between digits: 3.14, 12:30 */
    AP_SPAN_BRACKET, /* [[…]] with its brackets */
    AP_SPAN_KINDS,
} ap_span_kind;

#define AP_SPAN_BIT(kind) (1u << (kind))
#define AP_SPAN_ALL (AP_SPAN_BIT(AP_SPAN_KINDS) - 1)

struct ap_span {
    ap_span_kind kind;
    size_t at, n;       /* bytes: what must be found again; n > 0 */
    size_t whole, past; /* the same with its marks: [whole, past) */
};

struct ap_span_scan {
    const char *text; /* borrowed */
    size_t n, at;
    unsigned kinds;    /* AP_SPAN_BIT of what is looked for */
    unsigned unclosed; /* rows of the table of marks that no later closing mark can match */
};

/* "code", "quote", "url", "number", "bracket": the words of the recipe. */
const char *ap_span_name(ap_span_kind kind);

/* Spans in the order of the text, none within another. A mark that is never closed opens nothing;
 * kinds that are not looked for hide nothing: a number in code is a number when code is not asked
 * for. */
struct ap_span_scan ap_spans_begin(const char *text, size_t n, unsigned kinds);
bool ap_spans_next(struct ap_span_scan *scan, struct ap_span *out); /* false at the end */

/* Whether a span's text stands in `text` at `at` as the same span: 5 does not stand in 15, nor
 * http://a in http://a/b. */
bool ap_span_stands(ap_span_kind kind, const char *text, size_t n, size_t at, size_t length);

#endif
