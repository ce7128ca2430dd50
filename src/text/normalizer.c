/* Normalisers. Entry points: ap_normalizer_init, ap_normalizer_run. */
#include "text/normalizer.h"

#include "base/memory.h"
#include "text/text_json.h"

#include <string.h>

#define SEQUENCE_DEPTH_MAX 8
/* A rule may make its text longer, and the next rule that again: what comes out is bounded. */
#define GROWTH_MAX ((size_t)64)
#define GROWTH_SLACK ((size_t)65536)

static ap_status copy_text(char **out, size_t *n_out, const char *text, size_t n, const char *where,
                           struct ap_error *err)
{
    *out = ap_strndup(text, n);
    *n_out = n;
    return *out ? AP_OK : ap_fail(err, AP_MEMORY, "%s: no memory for a normalizer", where);
}

static ap_status read_prepend(struct ap_normalizer_step *step, const json_t *o, const char *where,
                              struct ap_error *err)
{
    static const char *const known[] = {"type", "prepend"};
    const char *text = NULL;
    size_t n = 0;
    ap_status status;
    AP_TRY(ap_text_json_known(o, where, known, AP_LEN(known), err));
    AP_TRY(ap_json_text(o, "prepend", where, true, &text, &n, err));
    AP_TRY(copy_text(&step->value, &step->n_value, text, n, where, err));
out:
    return status;
}

static ap_status run_prepend(const struct ap_normalizer_step *step, struct ap_span in,
                             struct ap_marked *out, struct ap_error *err)
{
    if (in.n == 0)
        return AP_OK;
    ap_status status = ap_marked_fill(out, step->value, step->n_value, in.kind[0], err);
    return status == AP_OK ? ap_marked_append(out, in, err) : status;
}

static ap_status read_replace(struct ap_normalizer_step *step, const json_t *o, const char *where,
                              struct ap_error *err)
{
    static const char *const known[] = {"type", "pattern", "content"};
    const char *text = NULL;
    size_t n = 0;
    ap_status status;
    AP_TRY(ap_text_json_known(o, where, known, AP_LEN(known), err));
    AP_TRY(ap_text_json_pattern(o, "pattern", where, &text, &n, err));
    AP_TRY(copy_text(&step->pattern, &step->n_pattern, text, n, where, err));
    AP_TRY(ap_json_text(o, "content", where, true, &text, &n, err));
    AP_TRY(copy_text(&step->value, &step->n_value, text, n, where, err));
out:
    return status;
}

static ap_status run_replace(const struct ap_normalizer_step *step, struct ap_span in,
                             struct ap_marked *out, struct ap_error *err)
{
    size_t from = 0;
    ap_status status = AP_OK;
    while (status == AP_OK && from < in.n) {
        const char *hit = memmem(in.text + from, in.n - from, step->pattern, step->n_pattern);
        if (!hit)
            break;
        size_t start = (size_t)(hit - in.text), end = start + step->n_pattern;
        bool mixed = memchr(in.kind + start, AP_SEGMENT_TEXT, step->n_pattern) != NULL;
        status = ap_marked_append(out, ap_span_slice(in, from, start), err);
        if (status == AP_OK)
            status = ap_marked_fill(out, step->value, step->n_value,
                                    mixed ? AP_SEGMENT_TEXT : AP_SEGMENT_MARKUP, err);
        from = end;
    }
    return status == AP_OK ? ap_marked_append(out, ap_span_slice(in, from, in.n), err) : status;
}

enum { KIND_SEQUENCE, KIND_PREPEND, KIND_REPLACE, N_KINDS };
static const char *const kind_name[N_KINDS] = {"Sequence", "Prepend", "Replace"};
static const struct {
    ap_status (*read)(struct ap_normalizer_step *step, const json_t *o, const char *where,
                      struct ap_error *err);
    ap_status (*run)(const struct ap_normalizer_step *step, struct ap_span in,
                     struct ap_marked *out, struct ap_error *err);
} kind_table[N_KINDS] = {
    [KIND_PREPEND] = {read_prepend, run_prepend},
    [KIND_REPLACE] = {read_replace, run_replace},
};

static ap_status read_step(struct ap_normalizer *nz, const json_t *o, int depth, const char *where,
                           struct ap_error *err);

static ap_status read_sequence(struct ap_normalizer *nz, const json_t *o, int depth,
                               const char *where, struct ap_error *err)
{
    static const char *const known[] = {"type", "normalizers"};
    const json_t *list = NULL;
    ap_status status = ap_text_json_known(o, where, known, AP_LEN(known), err);
    if (status == AP_OK)
        status = ap_text_json_array(o, "normalizers", where, true, &list, err);
    for (size_t i = 0; status == AP_OK && i < json_array_size(list); i++)
        status = read_step(nz, json_array_get(list, i), depth + 1, where, err);
    return status;
}

static ap_status read_step(struct ap_normalizer *nz, const json_t *o, int depth, const char *where,
                           struct ap_error *err)
{
    size_t kind = 0;
    ap_status status = ap_text_json_kind(o, where, kind_name, N_KINDS, &kind, err);
    if (status != AP_OK)
        return status;
    if (depth > SEQUENCE_DEPTH_MAX || nz->n == AP_NORMALIZER_MAX)
        return ap_fail(err, AP_LIMIT, "%s: more than %d steps or %d nested Sequences", where,
                       AP_NORMALIZER_MAX, SEQUENCE_DEPTH_MAX);
    if (kind == KIND_SEQUENCE)
        return read_sequence(nz, o, depth, where, err);
    struct ap_normalizer_step *step = &nz->step[nz->n++];
    step->kind = kind;
    return kind_table[kind].read(step, o, where, err);
}

ap_status ap_normalizer_init(struct ap_normalizer *nz, const json_t *config, const char *where,
                             struct ap_error *err)
{
    *nz = (struct ap_normalizer){0};
    return config ? read_step(nz, config, 0, where, err) : AP_OK;
}

void ap_normalizer_free(struct ap_normalizer *nz)
{
    for (int i = 0; i < nz->n; i++) {
        ap_free(nz->step[i].pattern);
        ap_free(nz->step[i].value);
    }
    *nz = (struct ap_normalizer){0};
}

ap_status ap_normalizer_run(const struct ap_normalizer *nz, struct ap_span in,
                            struct ap_marked work[2], struct ap_span *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    size_t max = in.n < AP_BUFFER_MAX / GROWTH_MAX ? GROWTH_MAX * in.n + GROWTH_SLACK : 0;
    *out = in;
    for (int i = 0; i < nz->n && status == AP_OK; i++) {
        struct ap_marked *next = &work[i % 2];
        ap_marked_clear(next);
        next->text.max = next->kind.max = max;
        status = kind_table[nz->step[i].kind].run(&nz->step[i], *out, next, err);
        *out = ap_marked_span(next);
    }
    if (status == AP_LIMIT)
        return ap_fail(err, AP_LIMIT,
                       "the normalizer in tokenizer.json makes over %zu bytes of a text of %zu; "
                       "look at its Replace rules",
                       max ? max : AP_BUFFER_MAX, in.n);
    return status;
}
