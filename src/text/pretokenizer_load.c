/* The "pre_tokenizer" of a tokenizer.json made into steps. Entry points: ap_pretokenizer_init,
 * ap_pretokenizer_free. */
#include "text/pretokenizer.h"

#include "base/utf8.h"
#include "text/text_json.h"

#include <string.h>

#define SEQUENCE_DEPTH_MAX 8

static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char words[] = "[" AP_RUST_WORD "]+|[^" AP_RUST_WORD "\\s]+";
/* Rust's char::is_numeric, by Unicode 17 */
static const char digits[] = "[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]";
/* Punctuation by Unicode 8, and ASCII's symbols */
static const char punctuation[] =
    "(?!["
    "\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B7D}-\\x{1B7E}\\x{2E43}-\\x{2E4F}"
    "\\x{2E52}-\\x{2E5D}\\x{10EAD}\\x{10F55}-\\x{10F59}\\x{10F86}-\\x{10F89}"
    "\\x{1144B}-\\x{1144F}\\x{1145A}-\\x{1145B}\\x{1145D}\\x{11660}-\\x{1166C}\\x{116B9}"
    "\\x{1183B}\\x{11944}-\\x{11946}\\x{119E2}\\x{11A3F}-\\x{11A46}\\x{11A9A}-\\x{11A9C}"
    "\\x{11A9E}-\\x{11AA2}\\x{11B00}-\\x{11B09}\\x{11C41}-\\x{11C45}\\x{11C70}-\\x{11C71}"
    "\\x{11EF7}-\\x{11EF8}\\x{11F43}-\\x{11F4F}\\x{11FFF}\\x{12FF1}-\\x{12FF2}"
    "\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E95E}-\\x{1E95F}"
    "\\x{1B4E}-\\x{1B4F}\\x{1B7F}\\x{10D6E}\\x{113D4}-\\x{113D5}\\x{113D7}-\\x{113D8}\\x{11BE1}"
    "\\x{16D6D}-\\x{16D6F}\\x{1E5FF}])[!-/:-@\\[-`{-~\\p{P}\\x{166D}\\x{111C9}]";

static ap_status add_step(struct ap_pretokenizer *p, enum ap_pretokenizer_kind kind,
                          struct ap_pretokenizer_step **step, const char *where,
                          struct ap_error *err)
{
    *step = NULL;
    if (p->n == AP_PRETOKENIZER_MAX)
        return ap_fail(err, AP_LIMIT, "%s: more than %d steps", where, AP_PRETOKENIZER_MAX);
    *step = &p->step[p->n++];
    **step = (struct ap_pretokenizer_step){.kind = kind, .behavior = AP_SPLIT_ISOLATED};
    return AP_OK;
}

static ap_status add_regex(struct ap_pretokenizer *p, const char *regex,
                           enum ap_split_behavior behavior, bool invert, const char *where,
                           struct ap_error *err)
{
    struct ap_pretokenizer_step *step;
    ap_status status = add_step(p, AP_PRETOKENIZER_SPLIT, &step, where, err);
    if (status != AP_OK)
        return status;
    step->behavior = behavior;
    step->invert = invert;
    return ap_pattern_init_regex(&step->pattern, regex, strlen(regex), where, err);
}

/* One character at o[key]; `fallback` where it is absent and not NULL. */
static ap_status read_mark(char mark[5], const json_t *o, const char *key, const char *where,
                           struct ap_error *err)
{
    const char *text = NULL;
    size_t n = 0;
    uint32_t cp;
    ap_status status = ap_json_text(o, key, where, true, &text, &n, err);
    if (status != AP_OK)
        return status;
    if (n == 0 || ap_utf8_decode(text, n, &cp) != n || cp == 0)
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is \"%.64s\", expected one character", where,
                       key, text);
    memcpy(mark, text, n);
    mark[n] = '\0';
    return AP_OK;
}

static ap_status read_behavior(const json_t *o, const char *where, bool required,
                               enum ap_split_behavior *behavior, struct ap_error *err)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *text = NULL;
    ap_status status = ap_json_text(o, "behavior", where, required, &text, NULL, err);
    if (status != AP_OK || !text)
        return status;
    for (size_t i = 0; i < AP_LEN(names); i++) {
        if (!strcmp(text, names[i])) {
            *behavior = (enum ap_split_behavior)i;
            return AP_OK;
        }
    }
    return ap_fail(err, AP_UNSUPPORTED,
                   "%s: \"behavior\" is \"%.64s\", expected Removed, Isolated, MergedWithPrevious, "
                   "MergedWithNext or Contiguous",
                   where, text);
}

static ap_status read_byte_level(struct ap_pretokenizer *p, const json_t *o, const char *where,
                                 struct ap_error *err)
{
    bool use_regex = true, prefix = true, trim_offsets;
    struct ap_pretokenizer_step *step;
    ap_status status;
    AP_TRY(ap_json_bool(o, "add_prefix_space", where, true, &prefix, err));
    AP_TRY(ap_json_bool(o, "trim_offsets", where, true, &trim_offsets, err));
    AP_TRY(ap_json_bool(o, "use_regex", where, false, &use_regex, err));
    if (prefix) {
        AP_TRY(add_step(p, AP_PRETOKENIZER_MARK, &step, where, err));
        step->prefix = true;
        strcpy(step->mark, " ");
    }
    if (use_regex)
        AP_TRY(add_regex(p, gpt2, AP_SPLIT_ISOLATED, false, where, err));
    AP_TRY(add_step(p, AP_PRETOKENIZER_BYTES, &step, where, err));
out:
    return status;
}

static ap_status read_split(struct ap_pretokenizer *p, const json_t *o, const char *where,
                            struct ap_error *err)
{
    struct ap_pretokenizer_step *step;
    ap_status status;
    AP_TRY(add_step(p, AP_PRETOKENIZER_SPLIT, &step, where, err));
    AP_TRY(read_behavior(o, where, true, &step->behavior, err));
    AP_TRY(ap_json_bool(o, "invert", where, true, &step->invert, err));
    AP_TRY(ap_pattern_read(&step->pattern, o, "pattern", where, err));
out:
    return status;
}

/* "prepend_scheme" since 0.14, "add_prefix_space" before; the two must agree. */
static ap_status read_scheme(struct ap_pretokenizer_step *step, const json_t *o, const char *where,
                             struct ap_error *err)
{
    const char *scheme = "always";
    bool prefix = true;
    ap_status status = ap_json_text(o, "prepend_scheme", where, false, &scheme, NULL, err);
    if (status == AP_OK)
        status = ap_json_bool(o, "add_prefix_space", where, false, &prefix, err);
    if (status != AP_OK)
        return status;
    step->only_first = !strcmp(scheme, "first");
    step->prefix = step->only_first || !strcmp(scheme, "always");
    if (!step->prefix && strcmp(scheme, "never") != 0)
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: \"prepend_scheme\" is \"%.64s\", expected first, never or always",
                       where, scheme);
    if (!prefix && step->prefix)
        return ap_fail(err, AP_FORMAT,
                       "%s: \"add_prefix_space\" is false and \"prepend_scheme\" is \"%.64s\", "
                       "expected \"never\" beside it",
                       where, scheme);
    return AP_OK;
}

static ap_status read_metaspace(struct ap_pretokenizer *p, const json_t *o, const char *where,
                                struct ap_error *err)
{
    struct ap_pretokenizer_step *step;
    const char *mark;
    bool split = true;
    ap_status status;
    AP_TRY(add_step(p, AP_PRETOKENIZER_MARK, &step, where, err));
    step->replace = true;
    AP_TRY(read_mark(step->mark, o, "replacement", where, err));
    AP_TRY(read_scheme(step, o, where, err));
    AP_TRY(ap_json_bool(o, "split", where, false, &split, err));
    if (!split)
        return AP_OK;
    mark = step->mark;
    AP_TRY(add_step(p, AP_PRETOKENIZER_SPLIT, &step, where, err));
    step->behavior = AP_SPLIT_MERGED_WITH_NEXT;
    AP_TRY(ap_pattern_init_text(&step->pattern, mark, strlen(mark), where, err));
out:
    return status;
}

static ap_status read_digits(struct ap_pretokenizer *p, const json_t *o, const char *where,
                             struct ap_error *err)
{
    bool individual = false;
    ap_status status = ap_json_bool(o, "individual_digits", where, true, &individual, err);
    if (status != AP_OK)
        return status;
    return add_regex(p, digits, individual ? AP_SPLIT_ISOLATED : AP_SPLIT_CONTIGUOUS, false, where,
                     err);
}

static ap_status read_punctuation(struct ap_pretokenizer *p, const json_t *o, const char *where,
                                  struct ap_error *err)
{
    enum ap_split_behavior behavior = AP_SPLIT_ISOLATED;
    ap_status status = read_behavior(o, where, false, &behavior, err);
    return status == AP_OK ? add_regex(p, punctuation, behavior, false, where, err) : status;
}

static ap_status read_whitespace(struct ap_pretokenizer *p, const json_t *o, const char *where,
                                 struct ap_error *err)
{
    (void)o;
    return add_regex(p, words, AP_SPLIT_REMOVED, true, where, err);
}

static ap_status read_whitespace_split(struct ap_pretokenizer *p, const json_t *o,
                                       const char *where, struct ap_error *err)
{
    (void)o;
    return add_regex(p, "\\s", AP_SPLIT_REMOVED, false, where, err);
}

static ap_status read_bert(struct ap_pretokenizer *p, const json_t *o, const char *where,
                           struct ap_error *err)
{
    ap_status status = read_whitespace_split(p, o, where, err);
    return status == AP_OK ? add_regex(p, punctuation, AP_SPLIT_ISOLATED, false, where, err)
                           : status;
}

static ap_status read_delimiter(struct ap_pretokenizer *p, const json_t *o, const char *where,
                                struct ap_error *err)
{
    struct ap_pretokenizer_step *step;
    ap_status status;
    AP_TRY(add_step(p, AP_PRETOKENIZER_SPLIT, &step, where, err));
    step->behavior = AP_SPLIT_REMOVED;
    AP_TRY(read_mark(step->mark, o, "delimiter", where, err));
    AP_TRY(ap_pattern_init_text(&step->pattern, step->mark, strlen(step->mark), where, err));
out:
    return status;
}

static ap_status read_fixed_length(struct ap_pretokenizer *p, const json_t *o, const char *where,
                                   struct ap_error *err)
{
    struct ap_pretokenizer_step *step;
    ap_status status = add_step(p, AP_PRETOKENIZER_CHUNK, &step, where, err);
    if (status != AP_OK)
        return status;
    step->length = 5;
    return ap_json_int(o, "length", where, false, 1, INT32_MAX, &step->length, err);
}

/* ---- kinds ---- */

enum { KINDS_MAX = 16, KEYS_MAX = 6 };
static const struct {
    const char *name, *keys[KEYS_MAX]; /* besides "type" */
    ap_status (*read)(struct ap_pretokenizer *p, const json_t *o, const char *where,
                      struct ap_error *err);
} kinds[] = {
    {"Sequence", {"pretokenizers"}, NULL},
    {"Split", {"pattern", "behavior", "invert"}, read_split},
    {"ByteLevel", {"add_prefix_space", "trim_offsets", "use_regex"}, read_byte_level},
    {"Metaspace",
     {"replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep"},
     read_metaspace},
    {"Digits", {"individual_digits"}, read_digits},
    {"Punctuation", {"behavior"}, read_punctuation},
    {"Whitespace", {0}, read_whitespace},
    {"WhitespaceSplit", {0}, read_whitespace_split},
    {"CharDelimiterSplit", {"delimiter"}, read_delimiter},
    {"BertPreTokenizer", {0}, read_bert},
    {"FixedLength", {"length"}, read_fixed_length},
};

static ap_status read_one(struct ap_pretokenizer *p, const json_t *o, int depth, const char *where,
                          struct ap_error *err);

static ap_status read_sequence(struct ap_pretokenizer *p, const json_t *o, int depth,
                               const char *where, struct ap_error *err)
{
    const json_t *list = NULL;
    ap_status status = ap_text_json_array(o, "pretokenizers", where, true, &list, err);
    for (size_t i = 0; status == AP_OK && i < json_array_size(list); i++)
        status = read_one(p, json_array_get(list, i), depth + 1, where, err);
    return status;
}

static ap_status read_one(struct ap_pretokenizer *p, const json_t *o, int depth, const char *where,
                          struct ap_error *err)
{
    const char *names[KINDS_MAX], *known[KEYS_MAX + 1] = {"type"};
    size_t kind = 0, n_known = 1;
    for (size_t i = 0; i < AP_LEN(kinds); i++)
        names[i] = kinds[i].name;
    if (depth > SEQUENCE_DEPTH_MAX)
        return ap_fail(err, AP_LIMIT, "%s: more than %d nested Sequences", where,
                       SEQUENCE_DEPTH_MAX);
    ap_status status = ap_text_json_kind(o, where, names, AP_LEN(kinds), &kind, err);
    if (status != AP_OK)
        return status;
    while (n_known <= KEYS_MAX && kinds[kind].keys[n_known - 1]) {
        known[n_known] = kinds[kind].keys[n_known - 1];
        n_known++;
    }
    status = ap_text_json_known(o, where, known, n_known, err);
    if (status != AP_OK)
        return status;
    return kinds[kind].read ? kinds[kind].read(p, o, where, err)
                            : read_sequence(p, o, depth, where, err);
}

ap_status ap_pretokenizer_init(struct ap_pretokenizer *p, const json_t *config, const char *where,
                               struct ap_error *err)
{
    *p = (struct ap_pretokenizer){0};
    if (!config)
        return AP_OK;
    ap_status status = read_one(p, config, 0, where, err);
    if (status == AP_OK && p->n && p->step[p->n - 1].kind == AP_PRETOKENIZER_BYTES) {
        p->byte_level = true;
        p->n--;
    }
    return status;
}

void ap_pretokenizer_free(struct ap_pretokenizer *p)
{
    for (int i = 0; i < p->n; i++)
        ap_pattern_free(&p->step[i].pattern);
    *p = (struct ap_pretokenizer){0};
}
