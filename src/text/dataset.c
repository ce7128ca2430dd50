/* Reading a data set line by line, whatever its schema; the count of what is malformed. Entry
 * points: ap_dataset_read, ap_dataset_free. Schemas: dataset_formats.c and its neighbours; splits:
 * dataset_split.c. */
#include "text/dataset_reader.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/utf8.h"
#include "text/space.h"

#include <stdio.h>
#include <string.h>

#define LINE_BYTES_MAX ((size_t)16 << 20)

/* ---- examples ---- */

ap_status ap_dataset_keep(struct ap_dataset_reader *r, const char *text, size_t n, char **out,
                          struct ap_error *err)
{
    *out = ap_text_pool_copy(r->d->storage, text, n);
    return *out ? AP_OK
                : ap_fail(err, AP_MEMORY, "%s: no memory for its texts; set data.limit", r->path);
}

/* Of the prompt alone where there is no context; so that no prompt is in two splits. */
static ap_status hash_example(struct ap_example *e, struct ap_error *err)
{
    struct ap_buffer all = {0};
    ap_status status = AP_OK;
    for (size_t i = 0; i < e->n_context; i++) {
        AP_TRY(ap_buffer_puts(&all, e->context[i].role, err));
        AP_TRY(ap_buffer_append(&all, "\x1F", 1, err));
        AP_TRY(ap_buffer_puts(&all, e->context[i].content, err));
        AP_TRY(ap_buffer_append(&all, "\x1E", 1, err));
    }
    AP_TRY(ap_buffer_puts(&all, e->prompt, err));
    e->hash = ap_hash(all.len ? all.data : "", all.len);
out:
    ap_buffer_free(&all);
    return status;
}

ap_status ap_dataset_add(struct ap_dataset_reader *r, struct ap_example *e, struct ap_error *err)
{
    struct ap_dataset *d = r->d;
    if (e->chosen && !strcmp(e->chosen, e->rejected))
        return ap_dataset_drop(r, AP_DROP_SAME);
    if (r->options->limit && d->n >= r->options->limit)
        return ap_dataset_drop(r, AP_DROP_LIMIT);
    e->record = d->n;
    ap_status status = hash_example(e, err);
    if (status != AP_OK)
        return status;
    if (r->options->on_example) {
        d->n++;
        return r->options->on_example(r->options->on_example_context, e, err);
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 64;
        struct ap_example *grown =
            cap <= INT32_MAX ? ap_realloc(d->examples, d->n, cap, sizeof(*grown)) : NULL;
        if (!grown)
            return ap_fail(err, AP_MEMORY, "%s: no memory for %zu examples; set data.limit",
                           r->path, cap);
        d->examples = grown;
        d->cap = cap;
    }
    d->examples[d->n++] = *e;
    return AP_OK;
}

struct ap_dataset_mark ap_dataset_mark(const struct ap_dataset_reader *r)
{
    return (struct ap_dataset_mark){ap_text_pool_mark(r->d->storage), r->d->n, r->n_scored,
                                    r->n_documents};
}

void ap_dataset_rewind(struct ap_dataset_reader *r, const struct ap_dataset_mark *mark)
{
    bool kept = r->d->n > mark->n && !r->options->on_example;
    if (!kept && r->n_scored == mark->n_scored && r->n_documents == mark->n_documents)
        ap_text_pool_rewind(r->d->storage, mark->pool);
}

ap_status ap_dataset_drop(struct ap_dataset_reader *r, ap_drop why)
{
    r->d->n_dropped[why]++;
    return AP_OK;
}

const char *ap_drop_text(ap_drop drop)
{
    static const char *const text[] = {
        [AP_DROP_TIE] = "equal scores",
        [AP_DROP_SAME] = "identical answers",
        [AP_DROP_UNPAIRED] = "fewer than two scored answers",
        [AP_DROP_CONTEXT] = "answers to different chats",
        [AP_DROP_TURNS] = "no user turn and answer at the end",
        [AP_DROP_LIMIT] = "past data.limit",
    };
    return text[drop];
}

void ap_dataset_counts(const struct ap_dataset *d, char *out, size_t n_out)
{
    const char *lead = "; dropped: ";
    size_t n = 0;
    n += (size_t)snprintf(out, n_out, "%zu examples of %llu records", d->n,
                          (unsigned long long)d->n_lines);
    for (int i = 0; i < AP_DROP_N && n < n_out; i++) {
        if (!d->n_dropped[i])
            continue;
        n += (size_t)snprintf(out + n, n_out - n, "%s%llu %s", lead,
                              (unsigned long long)d->n_dropped[i], ap_drop_text((ap_drop)i));
        lead = ", ";
    }
    if (d->n_bad && n < n_out)
        snprintf(out + n, n_out - n, "; %llu malformed", (unsigned long long)d->n_bad);
}

void ap_dataset_free(struct ap_dataset *d)
{
    if (d->storage)
        ap_text_pool_free(d->storage);
    ap_free(d->storage);
    ap_free(d->examples);
    *d = (struct ap_dataset){0};
}

/* ---- lines ---- */

void ap_dataset_bad(struct ap_dataset_reader *r, const struct ap_error *err)
{
    if (r->d->n_bad++ == 0)
        memcpy(r->first_bad, err->text, sizeof(r->first_bad));
    if (r->options->on_bad)
        r->options->on_bad(r->options->on_bad_context, err->text);
}

static bool is_line_fault(ap_status status)
{
    return status == AP_FORMAT || status == AP_LIMIT || status == AP_UNSUPPORTED ||
           status == AP_INVALID;
}

static ap_status binary(const char *path, struct ap_error *err)
{
    return ap_fail(err, AP_FORMAT,
                   "%s: is binary, expected text, one JSON object a line (.gz is fine); convert it "
                   "to JSONL",
                   path);
}

/* What the first line tells of a file that is not JSON lines at all. */
static ap_status check_first_line(const char *path, const char *text, size_t n,
                                  struct ap_error *err)
{
    size_t skip = ap_space_prefix(text, n);
    if (memchr(text, '\0', n) || !ap_utf8_valid(text, n))
        return binary(path, err);
    size_t left = n - skip - ap_space_suffix(text + skip, n - skip);
    return left == 1 && text[skip] == '{'
               ? ap_fail(err, AP_FORMAT,
                         "%s: is JSON over many lines, expected one JSON object a line or one "
                         "array of them; convert it with jq -c .",
                         path)
               : AP_OK;
}

/* A line of JSON: its object, and by the first of them the format. */
static ap_status read_record(struct ap_dataset_reader *r, const char *text, size_t n,
                             uint64_t number, bool *fatal, struct ap_error *err)
{
    char where[1200];
    struct ap_dataset_mark mark = ap_dataset_mark(r);
    json_t *o = NULL;
    ap_status status;
    *fatal = false;
    snprintf(where, sizeof(where), "%.1100s:%llu", r->path, (unsigned long long)number);
    AP_TRY(ap_json_parse(text, n, where, &o, err));
    if (!json_is_object(o))
        AP_TRY(ap_fail(err, AP_FORMAT, "%s: is an array, expected an object", where));
    if (!r->format) {
        *fatal = true;
        AP_TRY(ap_dataset_format_detect(&r->format, o, where, err));
        AP_TRY(ap_dataset_check_score(r->format, r->options->score, err));
        *fatal = false;
    }
    r->d->format = r->format->name;
    AP_TRY(r->format->record(r, o, where, number, err));
out:
    json_decref(o);
    ap_dataset_rewind(r, &mark);
    return status;
}

ap_status ap_dataset_reader_line(struct ap_dataset_reader *r, const char *text, size_t n,
                                 uint64_t number, struct ap_error *err)
{
    struct ap_error line_err = {0};
    bool fatal = false;
    if (r->n_seen++ == 0) {
        ap_status status = check_first_line(r->path, text, n, err);
        if (status != AP_OK)
            return status;
    }
    if (r->format && !r->format->record)
        return ap_documents_line(r, text, n, number, err);
    if (ap_space_prefix(text, n) == n)
        return AP_OK;
    r->d->n_lines++;
    ap_status status = read_record(r, text, n, number, &fatal, &line_err);
    if (status == AP_OK)
        return AP_OK;
    if (fatal || !is_line_fault(status)) {
        if (err)
            *err = line_err;
        return status;
    }
    ap_dataset_bad(r, &line_err);
    return AP_OK;
}

/* ---- the whole ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && !strcmp(text + n - n_end, end);
}

ap_status ap_dataset_reader_init(struct ap_dataset_reader *r, struct ap_dataset *d,
                                 const char *path, const struct ap_dataset_options *options,
                                 struct ap_error *err)
{
    const char *name = options->format ? options->format : "auto";
    *d = (struct ap_dataset){0};
    *r = (struct ap_dataset_reader){.d = d, .path = path, .options = options};
    if (!(options->bad_lines >= 0 && options->bad_lines <= 1))
        return ap_fail(err, AP_INVALID, "data.bad_lines is %g, expected a share from 0 to 1",
                       options->bad_lines);
    if (!strcmp(name, "auto") && (ends_with(path, ".txt") || ends_with(path, ".txt.gz")))
        name = "text";
    if (strcmp(name, "auto") != 0) {
        r->format = ap_dataset_format_named(name);
        if (!r->format) {
            char names[256];
            ap_dataset_format_names(names, sizeof(names));
            return ap_fail(err, AP_INVALID, "data.format is \"%.64s\", expected %s", name, names);
        }
        ap_status status = ap_dataset_check_score(r->format, options->score, err);
        if (status != AP_OK)
            return status;
    }
    if (r->format && !r->format->record && options->opening < 1)
        return ap_fail(err, AP_INVALID, "data.opening is %d, expected at least 1 sentence",
                       options->opening);
    d->format = r->format ? r->format->name : NULL;
    d->storage = ap_calloc(1, sizeof(*d->storage));
    return d->storage ? AP_OK : ap_fail(err, AP_MEMORY, "%s: no memory to read it", path);
}

ap_status ap_dataset_reader_end(struct ap_dataset_reader *r, struct ap_error *err)
{
    const struct ap_dataset *d = r->d;
    if (r->format && r->format->end) {
        ap_status status = r->format->end(r, err);
        if (status != AP_OK)
            return status;
    }
    if (d->n_lines == 0)
        return ap_fail(err, AP_FORMAT, "%s: is empty, expected one record a line; check data.path",
                       r->path);
    if ((double)d->n_bad > r->options->bad_lines * (double)d->n_lines)
        return ap_fail(err, AP_FORMAT,
                       "%.200s: %llu of %llu records are malformed, more than data.bad_lines %g%%; "
                       "the first: %s",
                       r->path, (unsigned long long)d->n_bad, (unsigned long long)d->n_lines,
                       100 * r->options->bad_lines, r->first_bad);
    if (d->n > 0 || r->options->on_example) /* whoever takes them sees that there is none */
        return AP_OK;
    char counts[400];
    ap_dataset_counts(d, counts, sizeof(counts));
    return ap_fail(err, AP_FORMAT,
                   "%.500s: no example is left: %s; check data.format and data.score", r->path,
                   counts);
}

/* Files of data that are no text, by how they begin. */
static ap_status check_magic(const char *path, const char *text, size_t n, struct ap_error *err)
{
    static const struct {
        const char *magic, *what, *remedy;
    } known[] = {
        {"PAR1", "Parquet",
         "convert it, with duckdb say: COPY (FROM 'x.parquet') TO 'x.jsonl' (FORMAT json)"},
        {"ARROW1", "Arrow", "convert it to JSONL, with pandas say: to_json(lines=True)"},
        {"\xFF\xFF\xFF\xFF", "Arrow", "convert it to JSONL, with datasets say: to_json"},
        {"\x28\xB5\x2F\xFD", "compressed by zstd", "unpack it with zstd -d"},
        {"\xFD"
         "7zXZ",
         "compressed by xz", "unpack it with xz -d"},
        {"BZh", "compressed by bzip2", "unpack it with bzip2 -d"},
        {"PK\x03\x04", "a zip archive", "unpack it"},
    };
    for (size_t i = 0; i < AP_LEN(known); i++)
        if (n >= strlen(known[i].magic) && !memcmp(text, known[i].magic, strlen(known[i].magic)))
            return ap_fail(err, AP_FORMAT, "%s: is %s, expected JSONL (.gz is fine); %s", path,
                           known[i].what, known[i].remedy);
    return AP_OK;
}

typedef ap_status (*next_fn)(struct ap_lines *lines, const char **text, size_t *n, uint64_t *number,
                             bool *more, struct ap_error *err);

/* Lines, or the elements of a file that begins with a bracket. */
static ap_status choose_next(struct ap_dataset_reader *r, struct ap_lines *lines, next_fn *next,
                             struct ap_error *err)
{
    enum { LOOK = 4096 };
    const char *text;
    size_t n;
    *next = ap_lines_next;
    ap_status status = ap_lines_peek(lines, LOOK, &text, &n, err);
    if (status == AP_OK)
        status = check_magic(r->path, text, n, err);
    if (status != AP_OK || (r->format && !r->format->record))
        return status;
    if (n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) {
        text += 3;
        n -= 3;
    }
    const char *line = memchr(text, '\n', n);
    if (memchr(text, '\0', line ? (size_t)(line - text) : n))
        return binary(r->path, err);
    size_t skip = ap_space_prefix(text, n);
    if (skip < n && text[skip] == '[')
        *next = ap_elements_next;
    return AP_OK;
}

static ap_status read_lines(struct ap_dataset_reader *r, struct ap_lines *lines, next_fn next,
                            struct ap_error *err)
{
    for (;;) {
        struct ap_error line_err = {0};
        const char *text;
        size_t n;
        uint64_t number = 0;
        bool more;
        ap_status status = next(lines, &text, &n, &number, &more, &line_err);
        if (status == AP_LIMIT) {
            r->d->n_lines++;
            ap_dataset_bad(r, &line_err);
            continue;
        }
        if (status != AP_OK) {
            if (err)
                *err = line_err;
            return status;
        }
        if (!more)
            return AP_OK;
        status = ap_dataset_reader_line(r, text, n, number, err);
        if (status != AP_OK)
            return status;
    }
}

ap_status ap_dataset_read(struct ap_dataset *d, const char *path,
                          const struct ap_dataset_options *options, struct ap_error *err)
{
    struct ap_dataset_reader r;
    struct ap_lines *lines = NULL;
    next_fn next;
    ap_status status;
    AP_TRY(ap_dataset_reader_init(&r, d, path, options, err));
    AP_TRY(ap_lines_open(&lines, path, LINE_BYTES_MAX, err));
    AP_TRY(choose_next(&r, lines, &next, err));
    AP_TRY(read_lines(&r, lines, next, err));
    AP_TRY(ap_dataset_reader_end(&r, err));
out:
    if (lines)
        ap_lines_close(lines);
    ap_dataset_reader_free(&r);
    return status;
}

void ap_dataset_reader_free(struct ap_dataset_reader *r)
{
    ap_free(r->scored);
    ap_free(r->document);
    ap_buffer_free(&r->pending);
}
