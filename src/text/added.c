/* Search for added tokens. Entry points: ap_added_put, ap_added_begin, ap_added_next. */
#include "text/added.h"

#include "base/error.h"
#include "base/memory.h"
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
    int32_t node = -1;
    assert(n > 0 && n < INT32_MAX);
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
    bool markup = true;
    int32_t node = a->root[(unsigned char)s.text[at]];
    for (size_t i = at; node >= 0;) {
        markup = markup && s.kind[i] == AP_SEGMENT_MARKUP;
        i++;
        if (a->node[node].token >= 0) {
            const struct ap_added_token *token = &a->token[a->node[node].token];
            if (markup || !token->special) {
                best = token;
                *end = i;
            }
        }
        node = i < s.n ? find_child(a, a->node[node].child, (unsigned char)s.text[i]) : -1;
    }
    return best;
}

void ap_added_begin(struct ap_added_scan *scan, const struct ap_added *added, struct ap_span text)
{
    *scan = (struct ap_added_scan){.added = added, .text = text};
}

bool ap_added_next(struct ap_added_scan *scan, struct ap_added_piece *piece)
{
    struct ap_span s = scan->text;
    if (scan->has_held) {
        *piece = scan->held;
        scan->has_held = false;
        return true;
    }
    for (; scan->from < s.n; scan->from++) {
        size_t start = scan->from, end = 0;
        const struct ap_added_token *token = match_at(scan->added, s, start, &end);
        if (!token)
            continue;
        scan->from = end;
        if (token->lstrip && start > scan->given)
            start -= ap_space_suffix(s.text + scan->given, start - scan->given);
        if (token->rstrip)
            end += ap_space_prefix(s.text + end, s.n - end);
        bool gap = scan->given < start;
        if (gap) {
            *piece = (struct ap_added_piece){ap_span_slice(s, scan->given, start), -1};
            scan->held = (struct ap_added_piece){ap_span_slice(s, start, end), token->id};
        } else {
            *piece = (struct ap_added_piece){ap_span_slice(s, start, end), token->id};
        }
        scan->has_held = gap;
        scan->given = end;
        return true;
    }
    if (scan->given >= s.n)
        return false;
    *piece = (struct ap_added_piece){ap_span_slice(s, scan->given, s.n), -1};
    scan->given = s.n;
    return true;
}
