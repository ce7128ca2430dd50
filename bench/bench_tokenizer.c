/* Encoding speed: bench_tokenizer DIR FILE [RUNS]. Encodes the file as one text, and as its lines,
 * and prints the best of a few runs as MB/s and million tokens/s. */
#include "alignpro/text.h"
#include "base/clock.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ap_status encode(const struct ap_tokenizer *t, const char *text, size_t n, bool lines,
                        struct ap_ids *ids, struct ap_error *err)
{
    ap_status status = AP_OK;
    ids->n = 0;
    for (size_t from = 0; from < n && status == AP_OK;) {
        const char *end = lines ? memchr(text + from, '\n', n - from) : NULL;
        size_t size = end ? (size_t)(end - text) + 1 - from : n - from;
        struct ap_segment segment = {text + from, size, AP_SEGMENT_TEXT};
        status = ap_tokenizer_encode(t, &segment, 1, false, ids, err);
        from += size;
    }
    return status;
}

static ap_status measure(const struct ap_tokenizer *t, const struct ap_buffer *text, bool lines,
                         int runs, struct ap_error *err)
{
    struct ap_ids ids = {0};
    double best = 1e30;
    ap_status status = AP_OK;
    for (int i = 0; i < runs && status == AP_OK; i++) {
        double start = ap_clock_seconds();
        status = encode(t, text->data, text->len, lines, &ids, err);
        double seconds = ap_clock_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    if (status == AP_OK)
        printf("%-12s %8.2f MB/s %8.2f Mtokens/s  (%zu bytes, %zu tokens)\n",
               lines ? "line by line" : "one text", (double)text->len / best / 1e6,
               (double)ids.n / best / 1e6, text->len, ids.n);
    ap_ids_free(&ids);
    return status;
}

int main(int argc, char **argv)
{
    struct ap_error err = {0};
    struct ap_tokenizer *t = NULL;
    struct ap_buffer text = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: %s TOKENIZER_DIR FILE [RUNS]\n", argv[0]);
        return 2;
    }
    int runs = argc > 3 ? atoi(argv[3]) : 5;
    ap_status status = ap_tokenizer_open(&t, argv[1], &err);
    if (status == AP_OK)
        status = ap_file_read(argv[2], (size_t)1 << 29, &text, &err);
    for (int lines = 0; lines < 2 && status == AP_OK && text.len; lines++)
        status = measure(t, &text, lines, runs, &err);
    if (status != AP_OK)
        fprintf(stderr, "%s\n", err.text);
    ap_buffer_free(&text);
    ap_tokenizer_close(t);
    return status != AP_OK;
}
