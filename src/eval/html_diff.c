/* A text as a change of another: words that went struck out, words that came marked, by the longest
 * common subsequence of words. Entry point: ap_html_diff. */
#include "base/memory.h"
#include "eval/html.h"

#include <ctype.h>
#include <string.h>

/* What is left of two texts between their common ends; longer ones are shown as replaced whole. */
#define WORDS_MAX 600
#define TEXT_MAX ((size_t)16 << 10)

/* A word with the white space behind it, which is no part of the comparison. */
struct word {
    const char *at;
    size_t n, n_all;
};

struct words {
    struct word *items; /* owned */
    int n;
};

static bool is_space(char c)
{
    return isspace((unsigned char)c);
}

static bool split(struct words *out, const char *text, size_t n)
{
    if (!(out->items = ap_calloc(n / 2 + 2, sizeof(*out->items))))
        return false;
    for (size_t at = 0; at < n;) {
        struct word *w = &out->items[out->n++];
        w->at = text + at;
        while (at < n && is_space(text[at]) && out->n == 1) /* before the first word */
            at++;
        while (at < n && !is_space(text[at]))
            at++;
        w->n = (size_t)(text + at - w->at);
        while (at < n && is_space(text[at]))
            at++;
        w->n_all = (size_t)(text + at - w->at);
    }
    return true;
}

static bool same(const struct word *a, const struct word *b)
{
    return a->n == b->n && memcmp(a->at, b->at, a->n) == 0;
}

/* ---- writing ---- */

typedef enum { KEPT, GONE, CAME } fate;

struct writer {
    struct ap_page *page;
    fate now; /* of the element that is open */
};

static void turn_to(struct writer *w, fate next)
{
    static const char *const opens[] = {"", "<del>", "<ins>"}, *const closes[] = {"", "</del>",
                                                                                  "</ins>"};
    if (w->now == next)
        return;
    ap_page_put(w->page, closes[w->now]);
    /* a word that came where one went needs room between them */
    ap_page_put(w->page, w->now == GONE && next == CAME ? " " : "");
    ap_page_put(w->page, opens[next]);
    w->now = next;
}

static void put_words(struct writer *w, fate next, const struct word *from, int n)
{
    if (n <= 0)
        return;
    turn_to(w, next);
    const struct word *last = from + n - 1;
    ap_html_text_n(w->page, from->at, (size_t)(last->at + last->n_all - from->at));
}

/* ---- the subsequence ---- */

/* length[i][j]: of the longest common subsequence of x from i on and y from j on. */
static void fill(uint16_t *length, const struct word *x, int n, const struct word *y, int m)
{
    for (int i = n - 1; i >= 0; i--)
        for (int j = m - 1; j >= 0; j--) {
            uint16_t *at = length + i * (m + 1) + j, down = at[m + 1], right = at[1];
            *at = same(&x[i], &y[j]) ? (uint16_t)(at[m + 2] + 1) : down > right ? down : right;
        }
}

static void put_between(struct writer *w, const struct word *x, int n, const struct word *y, int m)
{
    uint16_t *length = n > 0 && m > 0 && n <= WORDS_MAX && m <= WORDS_MAX
                           ? ap_calloc((size_t)(n + 1) * (size_t)(m + 1), sizeof(*length))
                           : NULL;
    int i = 0, j = 0;
    if (length)
        fill(length, x, n, y, m);
    while (length && i < n && j < m) {
        const uint16_t *at = length + i * (m + 1) + j;
        if (same(&x[i], &y[j])) {
            put_words(w, KEPT, &y[j], 1);
            i++, j++;
        } else if (at[m + 1] >= at[1]) {
            put_words(w, GONE, &x[i++], 1);
        } else {
            put_words(w, CAME, &y[j++], 1);
        }
    }
    put_words(w, GONE, x + i, n - i);
    put_words(w, CAME, y + j, m - j);
    ap_free(length);
}

static void put_diff(struct writer *w, const struct words *a, const struct words *b)
{
    int head = 0, tail = 0;
    while (head < a->n && head < b->n && same(&a->items[head], &b->items[head]))
        head++;
    while (tail < a->n - head && tail < b->n - head &&
           same(&a->items[a->n - 1 - tail], &b->items[b->n - 1 - tail]))
        tail++;
    put_words(w, KEPT, b->items, head);
    put_between(w, a->items + head, a->n - head - tail, b->items + head, b->n - head - tail);
    put_words(w, KEPT, b->items + b->n - tail, tail);
    turn_to(w, KEPT);
}

void ap_html_diff(struct ap_page *page, const char *from, const char *to)
{
    struct words a = {0}, b = {0};
    struct writer w = {.page = page, .now = KEPT};
    if (split(&a, from, strnlen(from, TEXT_MAX)) && split(&b, to, strnlen(to, TEXT_MAX)))
        put_diff(&w, &a, &b);
    else if (page->status == AP_OK)
        page->status = ap_fail(page->err, AP_MEMORY, "report.html: out of memory for a diff");
    ap_free(a.items);
    ap_free(b.items);
}
