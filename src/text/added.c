/* Search for added tokens. Entry points: ap_added_put, ap_added_begin, ap_added_next. */
#include "text/added.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/space.h"

#include <assert.h>
#include <string.h>

void ap_added_init(struct ap_added *a)
{
    *a = (struct ap_added){0};
    memset(a->root, 0xFF, sizeof(a->root));
}

void ap_added_free(struct ap_added *a)
{
    ap_free(a->node);
    ap_free(a->token);
    ap_pattern_free(&a->word);
    *a = (struct ap_added){0};
}

static int32_t find_child(const struct ap_added *a, int32_t first, unsigned char byte)
{
    while (first >= 0 && a->node[first].byte != byte)
        first = a->node[first].sibling;
    return first;
}

/* A new node before `next` in its list; its index, −1 when memory is out. */
static int32_t add_node(struct ap_added *a, int32_t next, unsigned char byte)
{
    if (a->n_nodes == a->nodes_cap) {
        size_t cap = a->nodes_cap ? 2 * a->nodes_cap : 64;
        struct ap_added_node *grown = ap_realloc(a->node, a->n_nodes, cap, sizeof(*grown));
        if (!grown)
            return -1;
        a->node = grown;
        a->nodes_cap = cap;
    }
    a->node[a->n_nodes] = (struct ap_added_node){-1, next, -1, byte};
    return (int32_t)a->n_nodes++;
}

static bool add_token(struct ap_added *a, struct ap_added_token token)
{
    if (a->n_tokens == a->tokens_cap) {
        size_t cap = a->tokens_cap ? 2 * a->tokens_cap : 16;
        struct ap_added_token *grown = ap_realloc(a->token, a->n_tokens, cap, sizeof(*grown));
        if (!grown)
            return false;
        a->token = grown;
        a->tokens_cap = cap;
    }
    a->token[a->n_tokens++] = token;
    return true;
}

ap_status ap_added_put(struct ap_added *a, const char *text, size_t n, struct ap_added_token token,
                       struct ap_error *err)
{
    static const char word[] = "[" AP_RUST_WORD "]";
    int32_t node = -1;
    ap_status status = AP_OK;
    assert(n > 0 && n < INT32_MAX);
    if (token.single_word && !a->word.code)
        status = ap_pattern_init_regex(&a->word, word, sizeof(word) - 1, "single_word", err);
    if (status != AP_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        int32_t first = i ? a->node[node].child : a->root[byte];
        int32_t next = find_child(a, first, byte);
        if (next < 0) {
            next = add_node(a, first, byte);
            if (next < 0)
                return ap_fail(err, AP_MEMORY, "no memory for the added token \"%.64s\"", text);
            if (i)
                a->node[node].child = next;
            else
                a->root[byte] = next;
        }
        node = next;
    }
    if (!add_token(a, token))
        return ap_fail(err, AP_MEMORY, "no memory for the added token \"%.64s\"", text);
    a->node[node].token = (int32_t)a->n_tokens - 1;
    return AP_OK;
}

/* The longest token that begins at `at`; its end in *end. NULL when there is none. */
static const struct ap_added_token *match_at(const struct ap_added *a, struct ap_span s, size_t at,
                                             size_t *end)
{
    const struct ap_added_token *best = NULL;
    int32_t node = a->root[(unsigned char)s.text[at]];
    for (size_t i = at; node >= 0;) {
        i++;
        if (a->node[node].token >= 0) {
            best = &a->token[a->node[node].token];
            *end = i;
        }
        node = i < s.n ? find_child(a, a->node[node].child, (unsigned char)s.text[i]) : -1;
    }
    return best;
}

/* Whether a character of a word begins n bytes of text. */
static ap_status is_word(struct ap_added_scan *scan, const char *text, size_t n, bool *word,
                         struct ap_error *err)
{
    struct ap_search search;
    uint32_t cp;
    size_t start, end;
    *word = false;
    if (n == 0)
        return AP_OK;
    ap_search_begin(&search, scan->searcher, &scan->added->word, text,
                    ap_utf8_decode(text, n, &cp));
    return ap_search_next(&search, word, &start, &end, err);
}

/* Whether the token at [start, end) stands for itself there. A special one does in markup only, a
 * single word not beside a character of a word. */
static ap_status counts(struct ap_added_scan *scan, const struct ap_added_token *token,
                        size_t start, size_t end, bool *yes, struct ap_error *err)
{
    struct ap_span s = scan->text;
    size_t before = start;
    bool word = false;
    ap_status status = AP_OK;
    *yes = !token->special || !memchr(s.kind + start, AP_SEGMENT_TEXT, end - start);
    if (!*yes || !token->single_word)
        return AP_OK;
    while (before > 0 && ((unsigned char)s.text[--before] & 0xC0) == 0x80)
        ;
    status = is_word(scan, s.text + before, start - before, &word, err);
    if (status == AP_OK && !word)
        status = is_word(scan, s.text + end, s.n - end, &word, err);
    *yes = !word;
    return status;
}

/* Where the search goes on behind a token that does not count: behind all of it, as in the
 * reference; but text that leads up to markup, or follows it, hides nothing of it. */
static size_t behind(struct ap_span s, const struct ap_added_token *token, size_t start, size_t end)
{
    bool text = memchr(s.kind + start, AP_SEGMENT_TEXT, end - start) != NULL;
    bool markup = memchr(s.kind + start, AP_SEGMENT_MARKUP, end - start) != NULL;
    return token->special && text && markup ? start + 1 : end;
}

void ap_added_begin(struct ap_added_scan *scan, const struct ap_added *added,
                    struct ap_searcher *searcher, struct ap_span text)
{
    *scan = (struct ap_added_scan){.added = added, .searcher = searcher, .text = text};
}

/* The next token that counts, with the white space that it takes in; NULL at the end. */
static ap_status find_token(struct ap_added_scan *scan, const struct ap_added_token **found,
                            size_t *start, size_t *end, struct ap_error *err)
{
    struct ap_span s = scan->text;
    *found = NULL;
    while (scan->from < s.n) {
        bool yes = false;
        *start = scan->from;
        const struct ap_added_token *token = match_at(scan->added, s, *start, end);
        if (!token) {
            scan->from++;
            continue;
        }
        ap_status status = counts(scan, token, *start, *end, &yes, err);
        if (status != AP_OK)
            return status;
        scan->from = yes ? *end : behind(s, token, *start, *end);
        if (!yes)
            continue;
        if (token->lstrip && *start > scan->given)
            *start -= ap_space_suffix(s.text + scan->given, *start - scan->given);
        else if (token->lstrip) /* the token before has taken what this one begins with */
            *start = scan->given;
        if (token->rstrip)
            *end += ap_space_prefix(s.text + *end, s.n - *end);
        if (*start >= *end) { /* and all of it */
            scan->given = *end;
            continue;
        }
        *found = token;
        return AP_OK;
    }
    return AP_OK;
}

ap_status ap_added_next(struct ap_added_scan *scan, struct ap_added_piece *piece, bool *more,
                        struct ap_error *err)
{
    const struct ap_added_token *token;
    struct ap_span s = scan->text;
    size_t start = s.n, end = s.n;
    *more = scan->has_held;
    if (scan->has_held) {
        *piece = scan->held;
        scan->has_held = false;
        return AP_OK;
    }
    ap_status status = find_token(scan, &token, &start, &end, err);
    if (status != AP_OK)
        return status;
    if (!token)
        start = end = s.n;
    *more = token || scan->given < s.n;
    if (token)
        scan->held = (struct ap_added_piece){ap_span_slice(s, start, end), token->id};
    scan->has_held = token && scan->given < start;
    if (!token || scan->has_held)
        *piece = (struct ap_added_piece){ap_span_slice(s, scan->given, start), -1};
    else
        *piece = scan->held;
    scan->given = end;
    return AP_OK;
}
