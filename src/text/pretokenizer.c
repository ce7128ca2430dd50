/* Pre-tokenisers. Entry points: ap_pretokenizer_init, ap_words_begin, ap_words_next. */
#include "text/pretokenizer.h"

#include "text/byte_level.h"
#include "text/text_json.h"

/* PCRE2's \s has U+180E, which is no white space since Unicode 6.3; so the class is written out. */
#define SPACES                                                                                     \
    "\\t-\\r "                                                                                     \
    "\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

static const char gpt2_split[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
                                 "| ?[^" SPACES "\\p{L}\\p{N}]+"
                                 "|[" SPACES "]+(?![^" SPACES "])|[" SPACES "]+";

static ap_status compile_split(pcre2_code **out, const char *pattern, const char *where,
                               struct ap_error *err)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR reason[128];
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code,
                         &at, NULL);
    if (!*out) {
        pcre2_get_error_message(code, reason, sizeof(reason));
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: the regular expression is refused by PCRE2 at byte %zu: %s; rewrite it",
                       where, (size_t)at, (const char *)reason);
    }
    /* Without the JIT the result is the same, only slower. */
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return AP_OK;
}

static ap_status read_byte_level(struct ap_pretokenizer *p, const json_t *o, const char *where,
                                 struct ap_error *err)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex"};
    bool use_regex = true;
    ap_status status;
    p->byte_level = true;
    p->add_prefix_space = true;
    AP_TRY(ap_text_json_known(o, where, known, AP_LEN(known), err));
    AP_TRY(ap_json_bool(o, "add_prefix_space", where, false, &p->add_prefix_space, err));
    AP_TRY(ap_json_bool(o, "use_regex", where, false, &use_regex, err));
    if (use_regex)
        AP_TRY(compile_split(&p->split, gpt2_split, where, err));
out:
    return status;
}

static const char *const kind_name[] = {"ByteLevel"};
static ap_status (*const kind_read[])(struct ap_pretokenizer *p, const json_t *o, const char *where,
                                      struct ap_error *err) = {read_byte_level};

ap_status ap_pretokenizer_init(struct ap_pretokenizer *p, const json_t *config, const char *where,
                               struct ap_error *err)
{
    size_t kind = 0;
    *p = (struct ap_pretokenizer){0};
    if (!config)
        return AP_OK;
    ap_status status = ap_text_json_kind(config, where, kind_name, AP_LEN(kind_name), &kind, err);
    return status == AP_OK ? kind_read[kind](p, config, where, err) : status;
}

void ap_pretokenizer_free(struct ap_pretokenizer *p)
{
    pcre2_code_free(p->split);
    *p = (struct ap_pretokenizer){0};
}

ap_status ap_words_init(struct ap_words *w, const struct ap_pretokenizer *p, struct ap_error *err)
{
    *w = (struct ap_words){.pre = p};
    if (p->split) {
        w->match = pcre2_match_data_create_from_pattern(p->split, NULL);
        if (!w->match)
            return ap_fail(err, AP_MEMORY, "no memory to split a text into words; free some");
    }
    return AP_OK;
}

void ap_words_free(struct ap_words *w)
{
    pcre2_match_data_free(w->match);
    ap_buffer_free(&w->prefixed);
    ap_buffer_free(&w->spelled);
    *w = (struct ap_words){0};
}

ap_status ap_words_begin(struct ap_words *w, const char *text, size_t n, struct ap_error *err)
{
    ap_status status = AP_OK;
    w->text = text;
    w->n = n;
    w->from = 0;
    if (!w->pre->add_prefix_space || n == 0 || text[0] == ' ')
        return AP_OK;
    ap_buffer_clear(&w->prefixed);
    AP_TRY(ap_buffer_append(&w->prefixed, " ", 1, err));
    AP_TRY(ap_buffer_append(&w->prefixed, text, n, err));
    w->text = w->prefixed.data;
    w->n = w->prefixed.len;
out:
    return status;
}

/* End of the word at `from`: of the match there, or of the gap before the next one. */
static ap_status find_end(struct ap_words *w, size_t *end, struct ap_error *err)
{
    *end = w->n;
    if (!w->pre->split)
        return AP_OK;
    int code = pcre2_match(w->pre->split, (PCRE2_SPTR)w->text, w->n, w->from,
                           PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, w->match, NULL);
    if (code == PCRE2_ERROR_NOMATCH)
        return AP_OK;
    if (code < 0) {
        PCRE2_UCHAR reason[128];
        pcre2_get_error_message(code, reason, sizeof(reason));
        return ap_fail(err, AP_LIMIT,
                       "a text of %zu bytes cannot be split into words at byte %zu: "
                       "%s; shorten it",
                       w->n, w->from, (const char *)reason);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(w->match);
    *end = span[0] > w->from ? span[0] : span[1];
    return AP_OK;
}

ap_status ap_words_next(struct ap_words *w, const char **word, size_t *n, bool *more,
                        struct ap_error *err)
{
    size_t end = 0;
    *more = w->from < w->n;
    if (!*more)
        return AP_OK;
    ap_status status = find_end(w, &end, err);
    if (status != AP_OK)
        return status;
    *word = w->text + w->from;
    *n = end - w->from;
    w->from = end;
    if (!w->pre->byte_level)
        return AP_OK;
    ap_buffer_clear(&w->spelled);
    status = ap_byte_level_encode(&w->spelled, *word, *n, err);
    *word = w->spelled.data;
    *n = w->spelled.len;
    return status;
}
