/* Normal forms. Entry point: ap_normal_form.
 *
 * Plain characters (below U+0300 for NFC, ASCII for the others) stay what they are unless a
 * character behind them composes with them. So only runs of other characters are worked on, each
 * with the plain character before it. */
#include "text/normal_form.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/unicode_old.h"

#include <string.h>
#include <utf8proc.h>

struct run {
    utf8proc_int32_t *cp; /* owned */
    size_t n, cap;
};

static ap_status no_memory(size_t n, struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "no memory to normalise %zu characters; free some", n);
}

static ap_status reserve(struct run *r, size_t n, struct ap_error *err)
{
    if (r->n + n <= r->cap)
        return AP_OK;
    size_t cap = r->cap ? r->cap : 256;
    while (cap < r->n + n)
        cap *= 2;
    utf8proc_int32_t *grown = ap_realloc(r->cp, r->cap, cap, sizeof(*grown));
    if (!grown)
        return no_memory(cap, err);
    r->cp = grown;
    r->cap = cap;
    return AP_OK;
}

static ap_status decompose(struct run *r, const char *text, size_t n, bool compatible,
                           struct ap_error *err)
{
    enum { MOST = 32 }; /* of one character: U+FDFA has 18 */
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
    ap_status status = AP_OK;
    r->n = 0;
    for (size_t i = 0; i < n && status == AP_OK;) {
        uint32_t cp;
        int last = 0;
        i += ap_utf8_decode(text + i, n - i, &cp);
        status = reserve(r, MOST, err);
        if (status != AP_OK)
            return status;
        utf8proc_ssize_t got =
            utf8proc_decompose_char((utf8proc_int32_t)cp, r->cp + r->n, MOST, options, &last);
        if (got < 0 || got > MOST)
            return ap_fail(err, AP_UNSUPPORTED, "utf8proc cannot normalise U+%04X: %s", cp,
                           utf8proc_errmsg(got < 0 ? got : UTF8PROC_ERROR_OVERFLOW));
        r->n += (size_t)got;
    }
    return status;
}

static int class_of(utf8proc_int32_t cp)
{
    return utf8proc_get_property(cp)->combining_class;
}

static void sort_few(utf8proc_int32_t *cp, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        utf8proc_int32_t c = cp[i];
        size_t k = i;
        for (; k > 0 && class_of(cp[k - 1]) > class_of(c); k--)
            cp[k] = cp[k - 1];
        cp[k] = c;
    }
}

/* By counting, so that a megabyte of marks is no trouble. */
static ap_status sort_many(utf8proc_int32_t *cp, size_t n, struct ap_error *err)
{
    size_t at[257] = {0};
    utf8proc_int32_t *sorted = ap_calloc(n, sizeof(*sorted));
    if (!sorted)
        return no_memory(n, err);
    for (size_t i = 0; i < n; i++)
        at[class_of(cp[i]) + 1]++;
    for (size_t c = 1; c < AP_LEN(at); c++)
        at[c] += at[c - 1];
    for (size_t i = 0; i < n; i++)
        sorted[at[class_of(cp[i])]++] = cp[i];
    memcpy(cp, sorted, n * sizeof(*cp));
    ap_free(sorted);
    return AP_OK;
}

/* Marks between two starters, in the order of their classes. */
static ap_status order(struct run *r, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (size_t i = 0; i < r->n && status == AP_OK;) {
        size_t start = i;
        while (i < r->n && class_of(r->cp[i]))
            i++;
        if (i - start > 32)
            status = sort_many(r->cp + start, i - start, err);
        else
            sort_few(r->cp + start, i - start);
        i += i == start;
    }
    return status;
}

static ap_status put_run(const struct run *r, char kind, struct ap_marked *out,
                         struct ap_error *err)
{
    size_t n = 0;
    ap_status status = ap_buffer_reserve(&out->text, 4 * r->n, err);
    if (status != AP_OK)
        return status;
    for (size_t i = 0; i < r->n; i++)
        n += ap_utf8_encode((uint32_t)r->cp[i], out->text.data + out->text.len + n);
    out->text.len += n;
    out->text.data[out->text.len] = '\0';
    status = ap_buffer_reserve(&out->kind, n, err);
    if (status != AP_OK || n == 0)
        return status;
    memset(out->kind.data + out->kind.len, kind, n);
    out->kind.len += n;
    return AP_OK;
}

static ap_status normalize_run(enum ap_normal_form form, struct run *r, struct ap_span in,
                               struct ap_marked *out, struct ap_error *err)
{
    bool mixed = memchr(in.kind, AP_SEGMENT_TEXT, in.n) != NULL;
    ap_status status = decompose(r, in.text, in.n, form == AP_NFKC || form == AP_NFKD, err);
    if (status == AP_OK)
        status = order(r, err);
    if (status == AP_OK && (form == AP_NFC || form == AP_NFKC)) {
        utf8proc_ssize_t n = utf8proc_normalize_utf32(r->cp, (utf8proc_ssize_t)r->n,
                                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        r->n = n < 0 ? 0 : (size_t)n;
    }
    return status == AP_OK ? put_run(r, mixed ? AP_SEGMENT_TEXT : AP_SEGMENT_MARKUP, out, err)
                           : status;
}

/* Bytes from `at` on that are plain. All plain characters have lead bytes below `limit`. */
static size_t plain_prefix(struct ap_span in, size_t at, unsigned char limit)
{
    size_t i = at;
    while (i < in.n && (unsigned char)in.text[i] < limit)
        i++;
    return i - at;
}

/* End of the run that goes on at `at`; *inert: bytes of the character there that breaks it and
 * stays as it is, or 0. */
static size_t run_end(struct ap_span in, size_t at, unsigned char limit, size_t *inert)
{
    *inert = 0;
    while (at < in.n && (unsigned char)in.text[at] >= limit) {
        uint32_t cp;
        size_t used = ap_utf8_decode(in.text + at, in.n - at, &cp);
        if (ap_unicode_is_inert(cp)) {
            *inert = used;
            break;
        }
        at += used;
    }
    return at;
}

ap_status ap_normal_form(enum ap_normal_form form, struct ap_span in, struct ap_marked *out,
                         struct ap_error *err)
{
    /* U+0300 is CC 80: every byte of a character below it is below CC, and no byte of another
     * one's beginning is */
    unsigned char limit = form == AP_NFC ? 0xCC : 0x80;
    struct run run = {0};
    size_t inert;
    ap_status status = AP_OK;
    for (size_t at = 0; at < in.n && status == AP_OK;) {
        size_t end = at + plain_prefix(in, at, limit), start = end;
        if (end < in.n) /* the run begins with the plain character before it */
            while (start > at && ((unsigned char)in.text[--start] & 0xC0) == 0x80)
                ;
        status = ap_marked_append(out, ap_span_slice(in, at, start), err);
        at = start;
        if (end == in.n)
            break;
        end = run_end(in, end, limit, &inert);
        if (status == AP_OK)
            status = normalize_run(form, &run, ap_span_slice(in, at, end), out, err);
        if (status == AP_OK)
            status = ap_marked_append(out, ap_span_slice(in, end, end + inert), err);
        at = end + inert;
    }
    ap_free(run.cp);
    return status;
}
