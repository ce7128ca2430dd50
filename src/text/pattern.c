/* Patterns and searches. Entry points: ap_pattern_init_regex, _init_text, _read, ap_search_begin,
 * _next.
 *
 * A regular expression may take exponential time. Everywhere it has STEPS steps of backtracking a
 * place; a place where that is not enough is tried again with more, all of them together within a
 * budget that grows with the text: time is linear in the text whatever the expression. */
#include "text/pattern.h"

#include "base/error.h"
#include "base/memory.h"
#include "text/regex_translate.h"
#include "text/text_json.h"

#include <string.h>

#define STEPS 2000u
#define STEPS_MAX 10000000u /* Oniguruma's own limit */
#define BUDGET 20000000u    /* and 100 steps a byte */

ap_status ap_pattern_init_text(struct ap_pattern *p, const char *text, size_t n, const char *where,
                               struct ap_error *err)
{
    *p = (struct ap_pattern){.text = ap_strndup(text, n), .n = n};
    return p->text ? AP_OK : ap_fail(err, AP_MEMORY, "%s: no memory for a pattern", where);
}

static ap_status compile(pcre2_code **out, const struct ap_buffer *regex, const char *where,
                         struct ap_error *err)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR reason[128];
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return ap_fail(err, AP_MEMORY, "%s: no memory for a regular expression", where);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_max_pattern_length(context, (size_t)1 << 20);
    *out = pcre2_compile((PCRE2_SPTR)regex->data, regex->len,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                         &at, context);
    pcre2_compile_context_free(context);
    if (!*out) {
        pcre2_get_error_message(code, reason, sizeof(reason));
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: the regular expression is refused by PCRE2: %s; rewrite it", where,
                       (const char *)reason);
    }
    /* Without the JIT the result is the same, only slower. */
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return AP_OK;
}

ap_status ap_pattern_init_regex(struct ap_pattern *p, const char *regex, size_t n,
                                const char *where, struct ap_error *err)
{
    struct ap_buffer translated = {0};
    *p = (struct ap_pattern){0};
    ap_status status = ap_regex_translate(&translated, regex, n, where, err);
    if (status == AP_OK)
        status = compile(&p->code, &translated, where, err);
    ap_buffer_free(&translated);
    return status;
}

ap_status ap_pattern_read(struct ap_pattern *p, const json_t *o, const char *key, const char *where,
                          struct ap_error *err)
{
    const json_t *pattern;
    const char *text = NULL;
    size_t n = 0;
    ap_status status = ap_text_json_object(o, key, where, true, &pattern, err);
    if (status != AP_OK)
        return status;
    bool regex = json_object_get(pattern, "Regex") != NULL;
    status = ap_json_text(pattern, regex ? "Regex" : "String", where, true, &text, &n, err);
    if (status == AP_OK && n == 0)
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is an empty text; give it one", where, key);
    if (status != AP_OK)
        return status;
    return regex ? ap_pattern_init_regex(p, text, n, where, err)
                 : ap_pattern_init_text(p, text, n, where, err);
}

bool ap_pattern_matches_nothing(const struct ap_pattern *p)
{
    uint32_t empty = 0;
    if (p->code)
        pcre2_pattern_info(p->code, PCRE2_INFO_MATCHEMPTY, &empty);
    return empty;
}

void ap_pattern_free(struct ap_pattern *p)
{
    pcre2_code_free(p->code);
    ap_free(p->text);
    *p = (struct ap_pattern){0};
}

void ap_searcher_free(struct ap_searcher *s)
{
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    *s = (struct ap_searcher){0};
}

static ap_status prepare(struct ap_searcher *s, struct ap_error *err)
{
    if (!s->match)
        s->match = pcre2_match_data_create(1, NULL);
    if (!s->limits)
        s->limits = pcre2_match_context_create(NULL);
    return s->match && s->limits
               ? AP_OK
               : ap_fail(err, AP_MEMORY, "no memory to look for an expression; free some");
}

void ap_search_begin(struct ap_search *s, struct ap_searcher *searcher,
                     const struct ap_pattern *pattern, const char *text, size_t n)
{
    *s = (struct ap_search){searcher, pattern, text, n, 0, SIZE_MAX, BUDGET + 100 * (uint64_t)n};
}

/* PCRE2's answer for the text from `from` on, or at `from` only. Places that need more stack than
 * the JIT has are left to the interpreter. */
static int match(struct ap_search *s, size_t from, uint32_t steps, uint32_t anchored)
{
    PCRE2_SPTR text = (PCRE2_SPTR)s->text;
    uint32_t options = PCRE2_NO_UTF_CHECK | anchored;
    pcre2_set_match_limit(s->searcher->limits, steps);
    int code = pcre2_match(s->pattern->code, text, s->n, from, options, s->searcher->match,
                           s->searcher->limits);
    if (code == PCRE2_ERROR_JIT_STACKLIMIT)
        code = pcre2_match(s->pattern->code, text, s->n, from, options | PCRE2_NO_JIT,
                           s->searcher->match, s->searcher->limits);
    return code;
}

static size_t next_character(const struct ap_search *s, size_t at)
{
    for (at++; at < s->n && ((unsigned char)s->text[at] & 0xC0) == 0x80; at++)
        ;
    return at;
}

/* A place ran out of steps: place by place, with more for those that need more. */
static int match_hard(struct ap_search *s)
{
    int code = PCRE2_ERROR_NOMATCH;
    for (size_t at = s->at; at <= s->n && code == PCRE2_ERROR_NOMATCH; at = next_character(s, at)) {
        uint32_t steps = STEPS;
        code = match(s, at, steps, PCRE2_ANCHORED);
        while (code == PCRE2_ERROR_MATCHLIMIT && steps < STEPS_MAX && steps < s->budget) {
            s->budget -= steps;
            steps *= 10;
            steps = steps < STEPS_MAX ? steps : STEPS_MAX;
            code = match(s, at, steps, PCRE2_ANCHORED);
        }
    }
    return code;
}

static ap_status search_regex(struct ap_search *s, bool *found, size_t *start, size_t *end,
                              struct ap_error *err)
{
    ap_status status = prepare(s->searcher, err);
    if (status != AP_OK)
        return status;
    int code = match(s, s->at, STEPS, 0);
    if (code == PCRE2_ERROR_MATCHLIMIT)
        code = match_hard(s);
    *found = code >= 0;
    if (code < 0 && code != PCRE2_ERROR_NOMATCH) {
        PCRE2_UCHAR reason[128];
        pcre2_get_error_message(code, reason, sizeof(reason));
        return ap_fail(err, AP_LIMIT,
                       "a regular expression of tokenizer.json takes too long on a text of %zu "
                       "bytes, from byte %zu on: %s; shorten the text",
                       s->n, s->at, (const char *)reason);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(s->searcher->match);
    *start = *found ? span[0] : s->n;
    *end = *found ? span[1] : s->n;
    return AP_OK;
}

ap_status ap_search_next(struct ap_search *s, bool *found, size_t *start, size_t *end,
                         struct ap_error *err)
{
    *found = false;
    if (!s->pattern->code) {
        const char *hit =
            s->pattern->n == 1
                ? memchr(s->text + s->at, s->pattern->text[0], s->n - s->at)
                : memmem(s->text + s->at, s->n - s->at, s->pattern->text, s->pattern->n);
        *found = hit != NULL;
        *start = hit ? (size_t)(hit - s->text) : s->n;
        *end = s->at = hit ? *start + s->pattern->n : s->n;
        return AP_OK;
    }
    while (s->at <= s->n) {
        ap_status status = search_regex(s, found, start, end, err);
        if (status != AP_OK || !*found)
            return status;
        s->at = *end;
        if (*end > *start || *end != s->last)
            break;
        s->at = next_character(s, s->at);
        *found = false;
    }
    if (*found)
        s->last = *end;
    return AP_OK;
}
