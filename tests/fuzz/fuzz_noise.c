/* libFuzzer entry for spans and noise: a byte of strength, a byte of a record, then a text. Spans
 * come in order, not one within another, and stand where they were found; strength 0 is the
 * identity; noise keeps UTF-8 valid and a text with a word one with a word.
 *
 * fuzz: text */
#include "base/utf8.h"
#include "text/noise.h"
#include "text/spans.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_spans(const char *text, size_t n, unsigned kinds)
{
    struct ap_span span;
    struct ap_span_scan scan = ap_spans_begin(text, n, kinds);
    for (size_t last = 0; ap_spans_next(&scan, &span); last = span.past)
        if (span.whole < last || span.at < span.whole || span.n == 0 ||
            span.at + span.n > span.past || span.past > n || !(kinds & AP_SPAN_BIT(span.kind)) ||
            !ap_span_stands(span.kind, text, n, span.at, span.n))
            abort();
}

static bool has_word(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ' && (text[i] < '\t' || text[i] > '\r'))
            return true;
    return false;
}

static void check_noise(const char *text, size_t n, double strength, uint64_t record)
{
    struct ap_stream stream = {.seed = 1, .record = record};
    struct ap_buffer out = {0};
    struct ap_error err = {0};
    if (ap_buffer_puts(&out, "", &err) != AP_OK ||
        ap_noise(text, n, strength, &stream, &out, NULL, &err) != AP_OK)
        abort();
    if (strength <= 0 && (out.len != n || memcmp(out.data, text, n) != 0))
        abort();
    if (ap_utf8_valid(text, n) && !ap_utf8_valid(out.data, out.len))
        abort();
    if (has_word(text, n) != has_word(out.data, out.len))
        abort();
    ap_buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *text = (const char *)data + 2;
    check_spans(text, size - 2, AP_SPAN_ALL);
    check_spans(text, size - 2, data[1] & AP_SPAN_ALL);
    check_noise(text, size - 2, 0, data[1]);
    check_noise(text, size - 2, data[0] / 255.0, data[1]);
    return 0;
}
