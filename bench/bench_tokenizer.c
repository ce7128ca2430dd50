/* Encoding speed: bench_tokenizer TOKENIZER_DIR [--dump FILE] [--runs N] FILE...
 *
 * The texts of a .jsonl file (.gz too) are all strings of its records, keys and empty ones left
 * out; of another file its lines, each with its newline. Each text is encoded by itself, on one
 * thread, without special tokens. --dump writes the texts, NUL between them, and encodes nothing:
 * what bench/peer_tokenizers.py reads. Prints the time that opening the tokenizer takes, and of the
 * runs the best: the first one has met no word before, the later ones all. */
#include "alignpro/text.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Texts one after another, each with its end. */
struct texts {
    struct ap_buffer bytes;
    size_t *ends, n, cap;
};

static ap_status add(struct texts *t, const char *text, size_t n, struct ap_error *err)
{
    if (!n)
        return AP_OK;
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 1024;
        t->ends = realloc(t->ends, t->cap * sizeof(*t->ends));
        if (!t->ends)
            return ap_fail(err, AP_MEMORY, "texts: out of memory");
    }
    ap_status status = ap_buffer_append(&t->bytes, text, n, err);
    t->ends[t->n++] = t->bytes.len;
    return status;
}

static ap_status add_json(struct texts *t, const json_t *value, struct ap_error *err)
{
    ap_status status = AP_OK;
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_string(value))
        return add(t, json_string_value(value), json_string_length(value), err);
    json_array_foreach(value, i, member) AP_TRY(add_json(t, member, err));
    json_object_foreach((json_t *)value, key, member) AP_TRY(add_json(t, member, err));
out:
    return status;
}

static ap_status add_file(struct texts *t, const char *path, struct ap_error *err)
{
    struct ap_lines *lines = NULL;
    const char *line;
    size_t n;
    uint64_t number;
    bool more = true, json = strstr(path, ".jsonl") != NULL;
    ap_status status = ap_lines_open(&lines, path, (size_t)16 << 20, err);
    while (status == AP_OK && more) {
        json_t *o = NULL;
        status = ap_lines_next(lines, &line, &n, &number, &more, err);
        if (status != AP_OK || !more || !n)
            continue;
        if (!json) {
            status = add(t, line, n, err);
            if (status == AP_OK)
                status = add(t, "\n", 1, err);
            continue;
        }
        status = ap_json_parse(line, n, path, &o, err);
        if (status == AP_OK)
            status = add_json(t, o, err);
        json_decref(o);
    }
    ap_lines_close(lines);
    return status;
}

static ap_status dump(const struct texts *t, const char *path, struct ap_error *err)
{
    struct ap_writer w = {0};
    size_t from = 0;
    ap_status status = ap_writer_open(&w, path, err);
    for (size_t i = 0; i < t->n && status == AP_OK; from = t->ends[i++]) {
        if (i)
            status = ap_writer_append(&w, "", 1, err);
        if (status == AP_OK)
            status = ap_writer_append(&w, t->bytes.data + from, t->ends[i] - from, err);
    }
    if (status == AP_OK)
        status = ap_writer_commit(&w, err);
    ap_writer_abort(&w);
    return status;
}

static ap_status encode(const struct ap_tokenizer *t, const struct texts *texts, size_t *n_tokens,
                        struct ap_error *err)
{
    struct ap_ids ids = {0};
    ap_status status = AP_OK;
    size_t from = 0;
    *n_tokens = 0;
    for (size_t i = 0; i < texts->n && status == AP_OK; from = texts->ends[i++]) {
        struct ap_segment segment = {texts->bytes.data + from, texts->ends[i] - from,
                                     AP_SEGMENT_MARKUP};
        ids.n = 0;
        status = ap_tokenizer_encode(t, &segment, 1, false, &ids, err);
        *n_tokens += ids.n;
    }
    ap_ids_free(&ids);
    return status;
}

static ap_status measure(const char *dir, const struct texts *texts, int runs, struct ap_error *err)
{
    struct ap_tokenizer *t = NULL;
    double start = ap_clock_seconds(), first = 0, best = 1e30;
    size_t n_tokens = 0;
    ap_status status = ap_tokenizer_open(&t, dir, err);
    double load = ap_clock_seconds() - start;
    for (int i = 0; i < runs && status == AP_OK; i++) {
        start = ap_clock_seconds();
        status = encode(t, texts, &n_tokens, err);
        double seconds = ap_clock_seconds() - start;
        first = i ? first : seconds;
        best = seconds < best ? seconds : best;
    }
    if (status == AP_OK)
        printf("load_s %.3f first_MB_per_s %.2f MB_per_s %.2f texts %zu bytes %zu tokens %zu\n",
               load, (double)texts->bytes.len / first / 1e6, (double)texts->bytes.len / best / 1e6,
               texts->n, texts->bytes.len, n_tokens);
    ap_tokenizer_close(t);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option rows[] = {
        {"dump", required_argument, NULL, 'd'}, {"runs", required_argument, NULL, 'r'}, {0}};
    struct ap_error err = {0};
    struct texts texts = {0};
    const char *dump_path = NULL;
    int option, runs = 5;
    ap_status status = AP_OK;
    while ((option = getopt_long(argc, argv, "", rows, NULL)) != -1) {
        if (option == 'd')
            dump_path = optarg;
        else if (option == 'r')
            runs = atoi(optarg);
        else
            optind = argc;
    }
    if (argc - optind < 2 || runs < 1) {
        fprintf(stderr, "usage: %s TOKENIZER_DIR [--dump FILE] [--runs N] FILE...\n", argv[0]);
        return 2;
    }
    for (int i = optind + 1; i < argc && status == AP_OK; i++)
        status = add_file(&texts, argv[i], &err);
    if (status == AP_OK)
        status =
            dump_path ? dump(&texts, dump_path, &err) : measure(argv[optind], &texts, runs, &err);
    if (status != AP_OK)
        fprintf(stderr, "%s\n", err.text);
    ap_buffer_free(&texts.bytes);
    free(texts.ends);
    return status != AP_OK;
}
