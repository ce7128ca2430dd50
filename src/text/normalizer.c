/* Normalisers. Entry points: ap_normalizer_init, ap_normalizer_run. */
#include "text/normalizer.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/normal_form.h"
#include "text/space.h"
#include "text/text_json.h"
#include "text/unicode_old.h"

#include <string.h>

#define SEQUENCE_DEPTH_MAX 8
/* A rule may make its text longer, and the next rule that again: what comes out is bounded. */
#define GROWTH_MAX ((size_t)64)
#define GROWTH_SLACK ((size_t)65536)

/* What a step runs with besides its input. */
struct run {
    const struct ap_normalizer_step *step;
    struct ap_searcher *searcher;
    struct ap_marked *out;
};

static ap_status read_value(struct ap_normalizer_step *step, const json_t *o, const char *key,
                            const char *where, struct ap_error *err)
{
    const char *text = NULL;
    ap_status status = ap_json_text(o, key, where, true, &text, &step->n_value, err);
    if (status != AP_OK)
        return status;
    step->value = ap_strndup(text, step->n_value);
    return step->value ? AP_OK : ap_fail(err, AP_MEMORY, "%s: no memory for a normalizer", where);
}

static ap_status read_nothing(struct ap_normalizer_step *step, const json_t *o, const char *where,
                              struct ap_error *err)
{
    (void)step;
    (void)o;
    (void)where;
    (void)err;
    return AP_OK;
}

/* ---- pieces put in, taken out ---- */

static ap_status read_prepend(struct ap_normalizer_step *step, const json_t *o, const char *where,
                              struct ap_error *err)
{
    return read_value(step, o, "prepend", where, err);
}

static ap_status run_prepend(const struct run *r, struct ap_span in, struct ap_error *err)
{
    if (in.n == 0)
        return AP_OK;
    ap_status status = ap_marked_fill(r->out, r->step->value, r->step->n_value, in.kind[0], err);
    return status == AP_OK ? ap_marked_append(r->out, in, err) : status;
}

static ap_status read_replace(struct ap_normalizer_step *step, const json_t *o, const char *where,
                              struct ap_error *err)
{
    ap_status status = read_value(step, o, "content", where, err);
    if (status == AP_OK)
        status = ap_pattern_read(&step->pattern, o, "pattern", where, err);
    if (status == AP_OK && ap_pattern_matches_nothing(&step->pattern))
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: Replace's regular expression matches the empty text, on which the "
                       "reference fails; rewrite it",
                       where);
    return status;
}

static ap_status run_replace(const struct run *r, struct ap_span in, struct ap_error *err)
{
    struct ap_search search;
    size_t from = 0, start, end;
    bool found = true;
    ap_status status = AP_OK;
    ap_search_begin(&search, r->searcher, &r->step->pattern, in.text, in.n);
    while (in.n && found) {
        AP_TRY(ap_search_next(&search, &found, &start, &end, err));
        AP_TRY(ap_marked_append(r->out, ap_span_slice(in, from, start), err));
        bool mixed = memchr(in.kind + start, AP_SEGMENT_TEXT, end - start) != NULL;
        if (found)
            AP_TRY(ap_marked_fill(r->out, r->step->value, r->step->n_value,
                                  mixed ? AP_SEGMENT_TEXT : AP_SEGMENT_MARKUP, err));
        from = end;
    }
out:
    return status;
}

static ap_status read_strip(struct ap_normalizer_step *step, const json_t *o, const char *where,
                            struct ap_error *err)
{
    ap_status status = ap_json_bool(o, "strip_left", where, true, &step->left, err);
    return status == AP_OK ? ap_json_bool(o, "strip_right", where, true, &step->right, err)
                           : status;
}

static ap_status run_strip(const struct run *r, struct ap_span in, struct ap_error *err)
{
    size_t start = r->step->left ? ap_space_prefix(in.text, in.n) : 0;
    size_t end = in.n;
    if (r->step->right)
        end -= ap_space_suffix(in.text + start, in.n - start);
    return ap_marked_append(r->out, ap_span_slice(in, start, end), err);
}

/* ---- character by character ---- */

/* At most two code points for one; n 0: the character goes. */
struct mapped {
    uint32_t cp[2];
    size_t n;
};

static ap_status run_map(const struct run *r, struct ap_span in, struct mapped (*map)(uint32_t cp),
                         struct ap_error *err)
{
    ap_status status = AP_OK;
    for (size_t i = 0, used; i < in.n && status == AP_OK; i += used) {
        uint32_t cp;
        char text[4];
        used = ap_utf8_decode(in.text + i, in.n - i, &cp);
        struct mapped m = map(cp);
        for (size_t k = 0; k < m.n && status == AP_OK; k++)
            status = ap_marked_fill(r->out, text, ap_utf8_encode(m.cp[k], text), in.kind[i], err);
    }
    return status;
}

static struct mapped lower(uint32_t cp)
{
    if (cp == 0x130)
        return (struct mapped){{'i', 0x307}, 2};
    return (struct mapped){{ap_unicode_lower(cp)}, 1};
}

static ap_status run_lowercase(const struct run *r, struct ap_span in, struct ap_error *err)
{
    return run_map(r, in, lower, err);
}

static struct mapped no_mark(uint32_t cp)
{
    return (struct mapped){{cp}, !ap_unicode_is_mark(cp)};
}

static ap_status run_strip_accents(const struct run *r, struct ap_span in, struct ap_error *err)
{
    return run_map(r, in, no_mark, err);
}

static struct mapped nmt(uint32_t cp)
{
    if ((cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F ||
        cp == 0x8F || cp == 0x9F)
        return (struct mapped){0};
    bool space = cp == '\t' || cp == '\n' || cp == '\f' || cp == '\r' || cp == 0x1680 ||
                 (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
                 cp == 0xFEFF || cp == 0xFFFD;
    return (struct mapped){{space ? ' ' : cp}, 1};
}

static ap_status run_nmt(const struct run *r, struct ap_span in, struct ap_error *err)
{
    return run_map(r, in, nmt, err);
}

static ap_status run_byte_level(const struct run *r, struct ap_span in, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (size_t i = 0; i < in.n && status == AP_OK; i++) {
        size_t before = r->out->text.len;
        status = ap_byte_level_encode(&r->out->text, in.text + i, 1, err);
        for (size_t k = before; k < r->out->text.len && status == AP_OK; k++)
            status = ap_buffer_append(&r->out->kind, in.kind + i, 1, err);
    }
    return status;
}

static ap_status run_nfc(const struct run *r, struct ap_span in, struct ap_error *err)
{
    return ap_normal_form(AP_NFC, in, r->out, err);
}

static ap_status run_nfd(const struct run *r, struct ap_span in, struct ap_error *err)
{
    return ap_normal_form(AP_NFD, in, r->out, err);
}

static ap_status run_nfkc(const struct run *r, struct ap_span in, struct ap_error *err)
{
    return ap_normal_form(AP_NFKC, in, r->out, err);
}

static ap_status run_nfkd(const struct run *r, struct ap_span in, struct ap_error *err)
{
    return ap_normal_form(AP_NFKD, in, r->out, err);
}

/* ---- kinds ---- */

enum { KIND_SEQUENCE };
static const struct {
    const char *name, *keys[4]; /* "type" and others, ended by NULL */
    ap_status (*read)(struct ap_normalizer_step *step, const json_t *o, const char *where,
                      struct ap_error *err);
    ap_status (*run)(const struct run *r, struct ap_span in, struct ap_error *err);
} kinds[] = {
    [KIND_SEQUENCE] = {"Sequence", {"type", "normalizers"}, NULL, NULL},
    {"NFC", {"type"}, read_nothing, run_nfc},
    {"NFD", {"type"}, read_nothing, run_nfd},
    {"NFKC", {"type"}, read_nothing, run_nfkc},
    {"NFKD", {"type"}, read_nothing, run_nfkd},
    {"Prepend", {"type", "prepend"}, read_prepend, run_prepend},
    {"Replace", {"type", "pattern", "content"}, read_replace, run_replace},
    {"Strip", {"type", "strip_left", "strip_right"}, read_strip, run_strip},
    {"StripAccents", {"type"}, read_nothing, run_strip_accents},
    {"Lowercase", {"type"}, read_nothing, run_lowercase},
    {"Nmt", {"type"}, read_nothing, run_nmt},
    {"ByteLevel", {"type"}, read_nothing, run_byte_level},
};

static ap_status read_step(struct ap_normalizer *nz, const json_t *o, int depth, const char *where,
                           struct ap_error *err);

static ap_status read_sequence(struct ap_normalizer *nz, const json_t *o, int depth,
                               const char *where, struct ap_error *err)
{
    const json_t *list = NULL;
    ap_status status = ap_text_json_array(o, "normalizers", where, true, &list, err);
    for (size_t i = 0; status == AP_OK && i < json_array_size(list); i++)
        status = read_step(nz, json_array_get(list, i), depth + 1, where, err);
    return status;
}

static ap_status read_step(struct ap_normalizer *nz, const json_t *o, int depth, const char *where,
                           struct ap_error *err)
{
    const char *names[AP_LEN(kinds)];
    size_t kind = 0, n_keys = 0;
    for (size_t i = 0; i < AP_LEN(kinds); i++)
        names[i] = kinds[i].name;
    ap_status status = ap_text_json_kind(o, where, names, AP_LEN(names), &kind, err);
    if (status != AP_OK)
        return status;
    if (depth > SEQUENCE_DEPTH_MAX || nz->n == AP_NORMALIZER_MAX)
        return ap_fail(err, AP_LIMIT, "%s: more than %d steps or %d nested Sequences", where,
                       AP_NORMALIZER_MAX, SEQUENCE_DEPTH_MAX);
    while (n_keys < AP_LEN(kinds[0].keys) && kinds[kind].keys[n_keys])
        n_keys++;
    status = ap_text_json_known(o, where, kinds[kind].keys, n_keys, err);
    if (status != AP_OK)
        return status;
    if (kind == KIND_SEQUENCE)
        return read_sequence(nz, o, depth, where, err);
    struct ap_normalizer_step *step = &nz->step[nz->n++];
    step->kind = kind;
    return kinds[kind].read(step, o, where, err);
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
        ap_pattern_free(&nz->step[i].pattern);
        ap_free(nz->step[i].value);
    }
    *nz = (struct ap_normalizer){0};
}

void ap_normalizer_work_free(struct ap_normalizer_work *work)
{
    ap_marked_free(&work->text[0]);
    ap_marked_free(&work->text[1]);
    ap_searcher_free(&work->searcher);
}

ap_status ap_normalizer_run(const struct ap_normalizer *nz, struct ap_span in,
                            struct ap_normalizer_work *work, struct ap_span *out,
                            struct ap_error *err)
{
    ap_status status = AP_OK;
    size_t max = in.n < AP_BUFFER_MAX / GROWTH_MAX ? GROWTH_MAX * in.n + GROWTH_SLACK : 0;
    *out = in;
    for (int i = 0; i < nz->n && status == AP_OK; i++) {
        struct ap_marked *next = &work->text[i % 2];
        struct run run = {&nz->step[i], &work->searcher, next};
        ap_marked_clear(next);
        next->text.max = next->kind.max = max;
        status = kinds[nz->step[i].kind].run(&run, *out, err);
        *out = ap_marked_span(next);
    }
    if (status == AP_LIMIT)
        return ap_fail_prefix(err, AP_LIMIT,
                              "the normalizer in tokenizer.json does too much to a text of %zu "
                              "bytes, look at its Replace rules",
                              in.n);
    return status;
}
