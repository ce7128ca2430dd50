/* Splitting a text into words. Entry points: ap_words_split, ap_words_free. Reading the components
 * is in pretokenizer_load.c.
 *
 *     text ─► one piece ─► step 0 ─► pieces ─► step 1 ─► … ─► words     a step may write the text
 * anew
 */
#include "text/pretokenizer.h"

#include "base/memory.h"
#include "text/byte_level.h"

#include <assert.h>
#include <string.h>

void ap_words_free(struct ap_words *w)
{
    ap_free(w->pieces.data);
    ap_free(w->next.data);
    ap_buffer_free(&w->rewritten[0]);
    ap_buffer_free(&w->rewritten[1]);
    ap_searcher_free(&w->searcher);
    *w = (struct ap_words){0};
}

static ap_status push(struct ap_pieces *pieces, size_t start, size_t end, struct ap_error *err)
{
    if (pieces->n == pieces->cap) {
        size_t cap = pieces->cap ? 2 * pieces->cap : 256;
        struct ap_piece *grown = ap_realloc(pieces->data, pieces->n, cap, sizeof(*grown));
        if (!grown)
            return ap_fail(err, AP_MEMORY, "no memory for %zu words; free some", cap);
        pieces->data = grown;
        pieces->cap = cap;
    }
    pieces->data[pieces->n++] = (struct ap_piece){(uint32_t)start, (uint32_t)end};
    return AP_OK;
}

/* ---- splitting ---- */

/* Pieces of one piece, as its matches and the gaps between them come in. */
struct splitter {
    const struct ap_pretokenizer_step *step;
    struct ap_pieces *out;
    size_t n_before; /* pieces in out that belong to others */
    bool previous;   /* the last part was a match */
    bool pending;    /* MERGED_WITH_NEXT: it waits for the next part */
    struct ap_piece held;
};

static ap_status split_merging_next(struct splitter *s, size_t start, size_t end, bool is_match,
                                    struct ap_error *err)
{
    ap_status status = AP_OK;
    if (s->pending && is_match)
        status = push(s->out, s->held.start, s->held.end, err);
    else if (s->pending)
        start = s->held.start;
    s->pending = is_match;
    s->held = (struct ap_piece){(uint32_t)start, (uint32_t)end};
    return status == AP_OK && !is_match ? push(s->out, start, end, err) : status;
}

static ap_status split_part(struct splitter *s, size_t start, size_t end, bool is_match,
                            struct ap_error *err)
{
    bool merge = false;
    is_match = is_match != s->step->invert;
    switch (s->step->behavior) {
    case AP_SPLIT_REMOVED:
        return is_match ? AP_OK : push(s->out, start, end, err);
    case AP_SPLIT_MERGED_WITH_NEXT:
        return split_merging_next(s, start, end, is_match, err);
    case AP_SPLIT_MERGED_WITH_PREVIOUS:
        merge = is_match && !s->previous;
        break;
    case AP_SPLIT_CONTIGUOUS:
        merge = is_match == s->previous;
        break;
    case AP_SPLIT_ISOLATED:
        break;
    }
    s->previous = is_match;
    if (!merge || s->out->n == s->n_before)
        return push(s->out, start, end, err);
    s->out->data[s->out->n - 1].end = (uint32_t)end;
    return AP_OK;
}

static ap_status split_piece(struct ap_words *w, const struct ap_pretokenizer_step *step,
                             struct ap_piece piece, struct ap_error *err)
{
    struct splitter s = {.step = step, .out = &w->next, .n_before = w->next.n};
    struct ap_search search;
    size_t start = 0, end = 0, from = piece.start, last = piece.start;
    bool found = true;
    ap_status status = AP_OK;
    ap_search_begin(&search, &w->searcher, &step->pattern, w->text + from, piece.end - from);
    while (status == AP_OK && found) {
        status = ap_search_next(&search, &found, &start, &end, err);
        if (status == AP_OK && last < from + start)
            status = split_part(&s, last, from + start, false, err);
        if (status == AP_OK && found)
            status = split_part(&s, from + start, from + end, true, err);
        last = from + end;
    }
    return status == AP_OK && s.pending ? push(s.out, s.held.start, s.held.end, err) : status;
}

static ap_status split_chunks(struct ap_words *w, const struct ap_pretokenizer_step *step,
                              struct ap_piece piece, struct ap_error *err)
{
    ap_status status = AP_OK;
    size_t start = piece.start;
    int64_t n = 0;
    for (size_t i = start + 1; i <= piece.end && status == AP_OK; i++) {
        if (i < piece.end && ((unsigned char)w->text[i] & 0xC0) == 0x80)
            continue;
        if (++n < step->length && i < piece.end)
            continue;
        status = push(&w->next, start, i, err);
        start = i;
        n = 0;
    }
    return status;
}

/* ---- writing the text anew ---- */

static ap_status mark_piece(const struct ap_pretokenizer_step *step, const char *text, size_t n,
                            bool prefix, struct ap_buffer *out, struct ap_error *err)
{
    size_t n_mark = strlen(step->mark);
    bool marked = n >= n_mark && !memcmp(text, step->mark, n_mark);
    ap_status status = AP_OK;
    if (step->replace && text[0] == ' ')
        marked = true;
    if (prefix && !marked)
        status = ap_buffer_append(out, step->mark, n_mark, err);
    if (!step->replace)
        return status == AP_OK ? ap_buffer_append(out, text, n, err) : status;
    for (size_t i = 0; i < n && status == AP_OK;) {
        const char *space = memchr(text + i, ' ', n - i);
        size_t gap = space ? (size_t)(space - text) - i : n - i;
        status = ap_buffer_append(out, text + i, gap, err);
        if (status == AP_OK && space)
            status = ap_buffer_append(out, step->mark, n_mark, err);
        i += gap + (space != NULL);
    }
    return status;
}

static ap_status rewrite_piece(struct ap_words *w, const struct ap_pretokenizer_step *step,
                               struct ap_piece piece, bool first, struct ap_buffer *out,
                               struct ap_error *err)
{
    size_t start = out->len, n = piece.end - piece.start;
    const char *text = w->text + piece.start;
    ap_status status =
        step->kind == AP_PRETOKENIZER_BYTES
            ? ap_byte_level_encode(out, text, n, err)
            : mark_piece(step, text, n, step->prefix && (first || !step->only_first), out, err);
    return status == AP_OK ? push(&w->next, start, out->len, err) : status;
}

/* ---- all steps ---- */

static ap_status run_step(struct ap_words *w, const struct ap_pretokenizer_step *step, bool first,
                          struct ap_buffer *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    w->next.n = 0;
    ap_buffer_clear(out);
    for (size_t i = 0; i < w->pieces.n && status == AP_OK; i++) {
        struct ap_piece piece = w->pieces.data[i];
        if (piece.start == piece.end)
            continue;
        if (step->kind == AP_PRETOKENIZER_SPLIT)
            status = split_piece(w, step, piece, err);
        else if (step->kind == AP_PRETOKENIZER_CHUNK)
            status = split_chunks(w, step, piece, err);
        else
            status = rewrite_piece(w, step, piece, first && piece.start == 0, out, err);
    }
    if (step->kind == AP_PRETOKENIZER_MARK || step->kind == AP_PRETOKENIZER_BYTES)
        w->text = out->data;
    struct ap_pieces done = w->pieces;
    w->pieces = w->next;
    w->next = done;
    return status;
}

ap_status ap_words_split(struct ap_words *w, const struct ap_pretokenizer *p, const char *text,
                         size_t n, bool first, struct ap_error *err)
{
    size_t n_left = 0;
    assert(n <= AP_BUFFER_MAX);
    w->text = text;
    w->pieces.n = 0;
    ap_status status = push(&w->pieces, 0, n, err);
    for (int i = 0; i < p->n && status == AP_OK; i++) {
        struct ap_buffer *out = &w->rewritten[w->text == w->rewritten[0].data];
        status = run_step(w, &p->step[i], first, out, err);
    }
    for (size_t i = 0; i < w->pieces.n; i++)
        if (w->pieces.data[i].start < w->pieces.data[i].end)
            w->pieces.data[n_left++] = w->pieces.data[i];
    w->pieces.n = n_left;
    return status;
}
