/* libFuzzer entry for data sets. The first byte picks the format, the second is switches, the rest
 * are the file's lines: any bytes give examples or one line of error, and every example is whole.
 * fuzz: text */
#include "text/dataset_reader.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_bad(void *context, const char *message)
{
    (void)context;
    if (!*message || strchr(message, '\n'))
        abort();
}

static void check_example(const struct ap_example *e)
{
    size_t bytes = 0;
    if (!e->prompt || !*e->prompt || !e->chosen != !e->rejected)
        abort();
    for (size_t k = 0; k < e->n_context; k++)
        bytes += strlen(e->context[k].role) + strlen(e->context[k].content);
    bytes += strlen(e->prompt) + (e->answer ? strlen(e->answer) : 0) +
             (e->chosen ? strlen(e->chosen) + strlen(e->rejected) : 0) +
             (e->meta ? strlen(e->meta) : 0);
    if (bytes == SIZE_MAX || !isfinite(e->margin) || e->margin < 0)
        abort();
}

static ap_status on_example(void *context, const struct ap_example *e, struct ap_error *err)
{
    (void)context;
    (void)err;
    check_example(e);
    return AP_OK;
}

static void check_examples(const struct ap_dataset *d)
{
    for (size_t i = 0; d->examples && i < d->n; i++) {
        if (d->examples[i].record != i)
            abort();
        check_example(&d->examples[i]);
    }
    if (d->n_bad > d->n_lines)
        abort();
}

static ap_status read_all(struct ap_dataset_reader *r, const char *text, size_t n,
                          struct ap_error *err)
{
    ap_status status = AP_OK;
    for (uint64_t number = 1; n && status == AP_OK; number++) {
        const char *end = memchr(text, '\n', n);
        size_t used = end ? (size_t)(end - text) : n;
        status = ap_dataset_reader_line(r, text, used, number, err);
        used += end != NULL;
        text += used;
        n -= used;
    }
    return status == AP_OK ? ap_dataset_reader_end(r, err) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = {"auto",          "pairs",
                                          "rewrites",      "prompts",
                                          "messages",      "text",
                                          "orca",          "hh-rlhf",
                                          "ultrafeedback", "ultrafeedback-binarized",
                                          "alpaca",        "sharegpt",
                                          "helpsteer",     "helpsteer2-preference"};
    static const char *const scores[] = {NULL, "auto", "coherence", "overall_score"};
    struct ap_error err = {0};
    struct ap_dataset d;
    struct ap_dataset_reader r;
    if (size < 2)
        return 0;
    struct ap_dataset_options options = {
        .format = formats[data[0] % AP_LEN(formats)],
        .score = scores[data[1] & 3],
        .bad_lines = 0.5,
        .limit = data[1] & 4 ? 2 : 0,
        .opening = 1 + (data[1] >> 3 & 1),
        .prefer = data[1] & 16 ? "a.?b|\\s{2}" : NULL,
        .on_bad = on_bad,
        .on_example = data[1] & 32 ? on_example : NULL,
    };
    ap_status status = ap_dataset_reader_init(&r, &d, "d.jsonl", &options, &err);
    if (status == AP_OK)
        status = read_all(&r, (const char *)data + 1, size - 1, &err);
    if (status != AP_OK && (!err.text[0] || strchr(err.text, '\n')))
        abort();
    check_examples(&d);
    ap_dataset_reader_free(&r);
    ap_dataset_free(&d);
    return 0;
}
