/* Plain text: documents between lines <|endoftext|>, cut into an opening and its continuation.
 * Entry points: ap_documents_line, ap_documents_end. */
#include "text/dataset_reader.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/space.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define DOCUMENT_BYTES_MAX ((size_t)64 << 20)
#define PARTNERS_TRIED 16

static const char separator[] = "<|endoftext|>";

struct ap_document {
    char *opening, *continuation; /* in storage */
    bool preferred;               /* the continuation matches data.prefer */
};

/* Bytes of what may close a sentence after its full stop: quotes and a bracket. */
static size_t closing_bytes(const char *text, size_t n)
{
    static const char *const closing[] = {"\"", "'", ")", "\xE2\x80\x9D", "\xE2\x80\x99"};
    for (size_t i = 0; i < AP_LEN(closing); i++) {
        size_t size = strlen(closing[i]);
        if (size <= n && !memcmp(text, closing[i], size))
            return size;
    }
    return 0;
}

/* End of the first `count` sentences, 0 when there are not that many before the end. A sentence
 * ends in . ! or ?, closing quotes, and white space that no small letter follows ("Hi!" said Tom.).
 */
static size_t opening_end(const char *text, size_t n, int count)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '.' && text[i] != '!' && text[i] != '?')
            continue;
        size_t end = i + 1, used;
        while ((used = closing_bytes(text + end, n - end)) > 0)
            end += used;
        size_t gap = ap_space_prefix(text + end, n - end), next = end + gap;
        if (gap == 0 || next >= n || (text[next] >= 'a' && text[next] <= 'z'))
            continue;
        if (--count == 0)
            return end;
        i = next - 1;
    }
    return 0;
}

static ap_status grow(struct ap_dataset_reader *r, struct ap_error *err)
{
    if (r->n_documents < r->documents_cap)
        return AP_OK;
    size_t cap = r->documents_cap ? 2 * r->documents_cap : 256;
    struct ap_document *grown = ap_realloc(r->document, r->n_documents, cap, sizeof(*grown));
    if (!grown)
        return ap_fail(err, AP_MEMORY, "%s: no memory for %zu documents", r->path, cap);
    r->document = grown;
    r->documents_cap = cap;
    return AP_OK;
}

static bool wants_pairs(const struct ap_dataset_reader *r)
{
    return r->options->prefer && *r->options->prefer;
}

static ap_status cut_document(struct ap_dataset_reader *r, const char *text, size_t n,
                              struct ap_error *err)
{
    struct ap_document doc = {0};
    struct ap_example e = {0};
    int opening = r->options->opening;
    ap_status status;
    if (memchr(text, '\0', n) || !ap_utf8_valid(text, n))
        return ap_fail(err, AP_FORMAT, "%s:%llu: this document is not UTF-8 text; convert it",
                       r->path, (unsigned long long)r->pending_line);
    size_t end = opening_end(text, n, opening);
    if (end == 0)
        return ap_fail(err, AP_FORMAT,
                       "%s:%llu: this document has too few sentences, expected more than "
                       "data.opening %d",
                       r->path, (unsigned long long)r->pending_line, opening);
    size_t from = end + ap_space_prefix(text + end, n - end);
    AP_TRY(ap_dataset_keep(r, text, end, &doc.opening, err));
    AP_TRY(ap_dataset_keep(r, text + from, n - from, &doc.continuation, err));
    if (wants_pairs(r)) {
        AP_TRY(grow(r, err));
        r->document[r->n_documents++] = doc;
        return AP_OK;
    }
    e.prompt = doc.opening;
    e.answer = doc.continuation;
    AP_TRY(ap_dataset_add(r, &e, err));
out:
    return status;
}

static ap_status end_document(struct ap_dataset_reader *r, struct ap_error *err)
{
    struct ap_error doc_err = {0};
    const char *text = r->pending.len ? r->pending.data : "";
    size_t skip = ap_space_prefix(text, r->pending.len), n = r->pending.len - skip;
    n -= ap_space_suffix(text + skip, n);
    if (n == 0)
        return AP_OK;
    r->d->n_lines++;
    struct ap_dataset_mark mark = ap_dataset_mark(r);
    ap_status status = cut_document(r, text + skip, n, &doc_err);
    ap_dataset_rewind(r, &mark);
    ap_buffer_clear(&r->pending);
    if (status == AP_FORMAT) {
        ap_dataset_bad(r, &doc_err);
        return AP_OK;
    }
    if (status != AP_OK && err)
        *err = doc_err;
    return status;
}

ap_status ap_documents_line(struct ap_dataset_reader *r, const char *text, size_t n,
                            uint64_t number, struct ap_error *err)
{
    ap_status status;
    if (n == sizeof(separator) - 1 && !memcmp(text, separator, n))
        return end_document(r, err);
    if (r->pending.len == 0)
        r->pending_line = number;
    r->pending.max = DOCUMENT_BYTES_MAX;
    AP_TRY(ap_buffer_append(&r->pending, text, n, err));
    AP_TRY(ap_buffer_append(&r->pending, "\n", 1, err));
out:
    return status == AP_LIMIT ? ap_fail_prefix(err, status, "%s:%llu: a document without end",
                                               r->path, (unsigned long long)number)
                              : status;
}

static ap_status compile(pcre2_code **out, const char *pattern, struct ap_error *err)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR reason[128];
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code,
                         &at, NULL);
    if (*out) {
        (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
        return AP_OK;
    }
    pcre2_get_error_message(code, reason, sizeof(reason));
    return ap_fail(err, AP_INVALID, "data.prefer is no PCRE2 pattern, at byte %zu: %s; correct it",
                   (size_t)at, (const char *)reason);
}

static ap_status match_documents(struct ap_dataset_reader *r, struct ap_error *err)
{
    pcre2_code *re = NULL;
    pcre2_match_data *match = NULL;
    ap_status status;
    AP_TRY(compile(&re, r->options->prefer, err));
    match = pcre2_match_data_create_from_pattern(re, NULL);
    if (!match)
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory to match data.prefer"));
    for (size_t i = 0; i < r->n_documents; i++) {
        struct ap_document *doc = &r->document[i];
        int code = pcre2_match(re, (PCRE2_SPTR)doc->continuation, strlen(doc->continuation), 0,
                               PCRE2_NO_UTF_CHECK, match, NULL);
        if (code < 0 && code != PCRE2_ERROR_NOMATCH)
            AP_TRY(ap_fail(err, AP_LIMIT,
                           "data.prefer needs too long on document %zu of %s; make the pattern "
                           "simpler",
                           i + 1, r->path));
        doc->preferred = code >= 0;
    }
out:
    pcre2_match_data_free(match);
    pcre2_code_free(re);
    return status;
}

/* The first of the following documents whose continuation differs in `preferred`; NULL for none. */
static const struct ap_document *find_partner(const struct ap_dataset_reader *r, size_t i)
{
    for (size_t k = 1; k <= PARTNERS_TRIED && k < r->n_documents; k++) {
        const struct ap_document *other = &r->document[(i + k) % r->n_documents];
        if (other->preferred != r->document[i].preferred)
            return other;
    }
    return NULL;
}

ap_status ap_documents_end(struct ap_dataset_reader *r, struct ap_error *err)
{
    ap_status status = end_document(r, err);
    if (status == AP_OK && r->n_documents)
        status = match_documents(r, err);
    for (size_t i = 0; i < r->n_documents && status == AP_OK; i++) {
        const struct ap_document *doc = &r->document[i], *other = find_partner(r, i);
        struct ap_example e = {.prompt = doc->opening, .answer = doc->continuation};
        if (other) {
            e.chosen = doc->preferred ? doc->continuation : other->continuation;
            e.rejected = doc->preferred ? other->continuation : doc->continuation;
        } else {
            ap_dataset_drop(r, AP_DROP_TIE);
        }
        status = ap_dataset_add(r, &e, err);
    }
    return status;
}
