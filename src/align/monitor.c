/* The monitors (monitor.h): words hashed, triples sorted, trigrams by the guards. */
#include "align/monitor.h"

#include "align/guard.h"
#include "base/memory.h"
#include "base/random.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX ((size_t)1 << 20)

const char *ap_monitor_remedy(ap_monitor monitor)
{
    static const char *const remedies[AP_MONITOR_COUNT] = {
        [AP_MONITOR_REPETITION] = "Look at the rollouts in run.db: a larger kl, or a reward that "
                                  "minds repetition",
        [AP_MONITOR_MISSING_END] = "Raise missing_end_penalty or max_new_tokens",
        [AP_MONITOR_COPY] = "The prompter copies: lower kl, or start it from better rewrites (sft)",
        [AP_MONITOR_DRIFT] = "The prompter leaves the prompt: raise kl, or guard.similarity at "
                             "inference",
        [AP_MONITOR_REWRITE_LENGTH] = "Rewrites grow: raise kl, or lower prompter.max_new_tokens",
        [AP_MONITOR_ANSWER_LENGTH] = "Answers grow: look whether the reward likes length itself",
        [AP_MONITOR_GAP] = "The reward rises without the judge that training does not ask: raise "
                           "kl, lower lr, or train the reward on more pairs",
    };
    return remedies[monitor];
}

/* ---- words ---- */

struct words {
    uint64_t *items; /* owned: a hash each */
    size_t n;
};

static bool in_word(unsigned char c)
{
    return c >= 0x80 || isalnum(c);
}

/* FNV-1a over the word's bytes in lower case. */
static ap_status words_of(struct words *w, const char *text, struct ap_error *err)
{
    const size_t n = strnlen(text, TEXT_BYTES_MAX);
    w->items = ap_calloc(n / 2 + 1, sizeof(*w->items));
    if (!w->items)
        return ap_fail(err, AP_MEMORY, "monitor of a text of %zu bytes: out of memory", n);
    for (size_t i = 0; i < n;) {
        uint64_t hash = UINT64_C(0xcbf29ce484222325);
        size_t first = i;
        for (; i < n && in_word((unsigned char)text[i]); i++)
            hash = (hash ^ (uint64_t)tolower((unsigned char)text[i])) * UINT64_C(0x100000001b3);
        if (i > first)
            w->items[w->n++] = hash;
        else
            i++;
    }
    return AP_OK;
}

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

ap_status ap_monitor_repetition(const char *text, double *out, struct ap_error *err)
{
    struct words w = {0};
    size_t n_repeat = 0;
    ap_status status = words_of(&w, text, err);
    *out = 0;
    if (status == AP_OK && w.n >= 3) {
        const size_t n = w.n - 2;
        for (size_t i = 0; i < n; i++) /* in place: a triple needs no word before its own */
            w.items[i] = ap_hash((const char *)&w.items[i], 3 * sizeof(*w.items));
        qsort(w.items, n, sizeof(*w.items), by_value);
        for (size_t i = 1; i < n; i++)
            n_repeat += w.items[i] == w.items[i - 1];
        *out = (double)n_repeat / (double)n;
    }
    ap_free(w.items);
    return status;
}

ap_status ap_monitor_copy(const char *x, const char *rewrite, double *out, struct ap_error *err)
{
    struct words from = {0}, to = {0};
    size_t n_kept = 0;
    ap_status status = AP_OK;
    AP_TRY(words_of(&from, x, err));
    AP_TRY(words_of(&to, rewrite, err));
    qsort(to.items, to.n, sizeof(*to.items), by_value);
    for (size_t i = 0; i < from.n; i++)
        n_kept += bsearch(&from.items[i], to.items, to.n, sizeof(*to.items), by_value) != NULL;
    *out = from.n ? (double)n_kept / (double)from.n : 0;
out:
    ap_free(from.items);
    ap_free(to.items);
    return status;
}

ap_status ap_monitor_drift(const char *x, const char *rewrite, double *out, struct ap_error *err)
{
    double similarity = 0;
    ap_status status = ap_guard_similarity(x, rewrite, &similarity, err);
    *out = 1 - similarity;
    return status;
}

/* ---- many texts ---- */

static void add(struct ap_monitored *m, ap_monitor monitor, double value)
{
    m->sum[monitor] += value;
    m->n[monitor]++;
}

ap_status ap_monitored_add(struct ap_monitored *m, const struct ap_monitor_text *text,
                           struct ap_error *err)
{
    double value;
    ap_status status = AP_OK;
    AP_TRY(ap_monitor_repetition(text->answer, &value, err));
    add(m, AP_MONITOR_REPETITION, value);
    add(m, AP_MONITOR_MISSING_END, text->ended ? 0 : 1);
    if (text->n_answer >= 0)
        add(m, AP_MONITOR_ANSWER_LENGTH, text->n_answer);
    if (!text->rewrite)
        return AP_OK;
    add(m, AP_MONITOR_REWRITE_LENGTH, text->n_rewrite);
    if (!text->x)
        return AP_OK;
    AP_TRY(ap_monitor_copy(text->x, text->rewrite, &value, err));
    add(m, AP_MONITOR_COPY, value);
    AP_TRY(ap_monitor_drift(text->x, text->rewrite, &value, err));
    add(m, AP_MONITOR_DRIFT, value);
out:
    return status;
}

double ap_monitored_mean(const struct ap_monitored *m, ap_monitor monitor)
{
    return m->n[monitor] ? m->sum[monitor] / m->n[monitor] : (double)NAN;
}
