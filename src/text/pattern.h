/* What a tokenizer.json looks for in a text: a fixed text, or a regular expression in Oniguruma's
 * syntax, run by PCRE2 (regex_translate.h). Patterns are immutable and may be shared by threads; a
 * search has working memory of its own. */
#ifndef AP_TEXT_PATTERN_H
#define AP_TEXT_PATTERN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buffer.h"
#include "base/json.h"

/* \w of the Rust library `regex`, as elements of a class; it is not that of Oniguruma. */
#define AP_RUST_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}"

struct ap_pattern {
    pcre2_code *code; /* owned; NULL: the text is looked for */
    char *text;       /* owned */
    size_t n;         /* bytes of text */
};

/* regex: n bytes of valid UTF-8. Messages begin with `where`. */
ap_status ap_pattern_init_regex(struct ap_pattern *p, const char *regex, size_t n,
                                const char *where, struct ap_error *err);
ap_status ap_pattern_init_text(struct ap_pattern *p, const char *text, size_t n, const char *where,
                               struct ap_error *err);
/* {"String": TEXT} or {"Regex": TEXT} at o[key]; an empty TEXT is AP_FORMAT. */
ap_status ap_pattern_read(struct ap_pattern *p, const json_t *o, const char *key, const char *where,
                          struct ap_error *err);
/* Whether the empty text is a match. */
bool ap_pattern_matches_nothing(const struct ap_pattern *p);
void ap_pattern_free(struct ap_pattern *p);

/* Working memory of searches. Zero it before first use; it serves one search at a time. */
struct ap_searcher {
    pcre2_match_data *match;     /* owned, made at the first regular expression */
    pcre2_match_context *limits; /* owned */
};
void ap_searcher_free(struct ap_searcher *s);

/* Matches in a text from left to right, as Oniguruma's bindings for Rust give them: an empty match
 * right behind another is passed over. */
struct ap_search {
    struct ap_searcher *searcher;
    const struct ap_pattern *pattern;
    const char *text; /* n bytes of valid UTF-8 */
    size_t n, at;
    size_t last;     /* end of the last match, SIZE_MAX for none */
    uint64_t budget; /* steps of backtracking that hard places may still take */
};

void ap_search_begin(struct ap_search *s, struct ap_searcher *searcher,
                     const struct ap_pattern *pattern, const char *text, size_t n);
/* *found is false at the end. A text that takes a regular expression too many steps is AP_LIMIT. */
ap_status ap_search_next(struct ap_search *s, bool *found, size_t *start, size_t *end,
                         struct ap_error *err);

#endif
