/* Noise (noise.h): one pass over the words, one random decision a word. */
#include "text/noise.h"

#include "base/utf8.h"
#include "text/spans.h"

#include <stdbool.h>
#include <string.h>

static const char *const neighbours[26] = {
    "qwsz",   "vghn",  "xdfv", "serfcx", "wrsd", "drtgvc", "ftyhbv", "gyujnb", "uojk",
    "huikmn", "jiolm", "kop",  "njk",    "bhjm", "ipkl",   "ol",     "wa",     "etdf",
    "awedxz", "ryfg",  "yihj", "cfgb",   "qeas", "zsdc",   "tugh",   "asx"};

static const char *const distractors[] = {
    "By the way, it has been raining here all day.",
    "My neighbour has a new bicycle.",
    "Anyway, I had soup for lunch.",
    "Sorry, the phone rang just now.",
    "The bus was late again this morning.",
    "I still have to water the plants.",
    "My sister says hello.",
    "It is almost the weekend.",
};

struct word {
    size_t at, core, core_end, end; /* bytes; punctuation stands outside of the core */
    bool open;                      /* may be touched */
};

struct walk {
    const char *text;
    size_t n, at;
    struct ap_span_scan scan;
    struct ap_span span; /* the first that ends behind `at` */
    bool has_span;
};

struct noise {
    struct walk walk;
    struct ap_random random;
    double strength;
    size_t copied; /* bytes of the text that are dealt with */
    bool begun;    /* a word is written */
    struct ap_noise_counts counts;
    struct ap_buffer *out;
};

/* ---- words ---- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_punctuation(char c)
{
    return c && strchr(".,;:!?\"'()", c);
}

static bool is_core(const char *text, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (!is_letter(text[i]) && (unsigned char)text[i] < 0x80 && text[i] != '\'' &&
            text[i] != '-')
            return false;
    return from < to;
}

static bool next_word(struct walk *w, struct word *out)
{
    while (w->at < w->n && is_space(w->text[w->at]))
        w->at++;
    if (w->at == w->n)
        return false;
    *out = (struct word){.at = w->at};
    while (w->at < w->n && !is_space(w->text[w->at]))
        w->at++;
    out->end = out->core_end = w->at;
    out->core = out->at;
    while (out->core < out->end && is_punctuation(w->text[out->core]))
        out->core++;
    while (out->core_end > out->core && is_punctuation(w->text[out->core_end - 1]))
        out->core_end--;
    while (w->has_span && w->span.past <= out->at)
        w->has_span = ap_spans_next(&w->scan, &w->span);
    out->open =
        is_core(w->text, out->core, out->core_end) && !(w->has_span && w->span.whole < out->end);
    return true;
}

/* ---- what is done to a word ---- */

static ap_status put(struct noise *z, size_t from, size_t to, struct ap_error *err)
{
    return ap_buffer_append(z->out, z->walk.text + from, to - from, err);
}

static ap_status put_byte(struct noise *z, char byte, struct ap_error *err)
{
    return ap_buffer_append(z->out, &byte, 1, err);
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static char to_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static int n_letters(const struct noise *z, const struct word *word)
{
    int n = 0;
    for (size_t i = word->core; i < word->core_end; i++)
        n += is_letter(z->walk.text[i]);
    return n;
}

/* The character at `at` twice, the rest once. */
static ap_status put_doubled(struct noise *z, const struct word *word, size_t at,
                             struct ap_error *err)
{
    uint32_t cp;
    size_t n = ap_utf8_decode(z->walk.text + at, word->core_end - at, &cp);
    ap_status status = put(z, word->at, at + n, err);
    return status == AP_OK ? put(z, at, word->end, err) : status;
}

static ap_status put_typo(struct noise *z, const struct word *word, struct ap_error *err)
{
    const char *text = z->walk.text;
    int n = n_letters(z, word);
    ap_status status;
    if (n == 0)
        return put_doubled(z, word, word->core, err);
    size_t at = word->core;
    for (int left = (int)ap_random_below(&z->random, (uint32_t)n);; at++)
        if (is_letter(text[at]) && left-- == 0)
            break;
    const char *near = neighbours[to_lower(text[at]) - 'a'];
    char typed = near[ap_random_below(&z->random, (uint32_t)strlen(near))];
    AP_TRY(put(z, word->at, at, err));
    AP_TRY(put_byte(z, to_lower(text[at]) == text[at] ? typed : to_upper(typed), err));
    AP_TRY(put(z, at + 1, word->end, err));
out:
    return status;
}

static ap_status put_other_case(struct noise *z, const struct word *word, struct ap_error *err)
{
    const char *text = z->walk.text;
    ap_status status = AP_OK;
    bool has_capital = false;
    for (size_t i = word->at; i < word->end; i++)
        has_capital = has_capital || to_lower(text[i]) != text[i];
    for (size_t i = word->at; i < word->end && status == AP_OK; i++)
        status = put_byte(z, has_capital ? to_lower(text[i]) : to_upper(text[i]), err);
    return status;
}

static ap_status put_punctuation(struct noise *z, const struct word *word, struct ap_error *err)
{
    ap_status status = put(z, word->at, word->core_end, err);
    if (ap_random_below(&z->random, 2) == 0)
        return status;
    for (uint32_t n = 2 + ap_random_below(&z->random, 3); n > 0 && status == AP_OK; n--)
        status = put(z, word->core_end, word->end, err);
    return status;
}

/* ---- which ---- */

/* Drawn by share, then made possible: next is the word behind it, if that may be moved. */
static ap_noise_kind draw_kind(struct noise *z, const struct word *word, const struct word *next)
{
    static const double shares[] = {0.4, 0.15, 0.15, 0.15, 0.15};
    double u = ap_random_uniform(&z->random);
    int kind = 0;
    while (kind < AP_NOISE_PUNCTUATION && u >= shares[kind])
        u -= shares[kind++];
    bool possible = kind == AP_NOISE_DROP          ? z->begun
                    : kind == AP_NOISE_SWAP        ? next->open
                    : kind == AP_NOISE_CASE        ? n_letters(z, word) > 0
                    : kind == AP_NOISE_PUNCTUATION ? word->core_end < word->end
                                                   : true;
    return possible ? (ap_noise_kind)kind : AP_NOISE_TYPO;
}

static ap_status touch(struct noise *z, const struct word *word, struct ap_error *err)
{
    struct walk behind = z->walk;
    struct word next = {0};
    ap_status status = AP_OK;
    if (!next_word(&behind, &next))
        next.open = false;
    ap_noise_kind kind = draw_kind(z, word, &next);
    z->counts.touched[kind]++;
    if (kind == AP_NOISE_DROP)
        return AP_OK;
    AP_TRY(put(z, z->copied, word->at, err));
    switch (kind) {
    case AP_NOISE_SWAP:
        AP_TRY(put(z, next.at, next.end, err));
        AP_TRY(put(z, word->end, next.at, err));
        AP_TRY(put(z, word->at, word->end, err));
        z->walk = behind;
        z->counts.n_word++;
        break;
    case AP_NOISE_CASE:
        AP_TRY(put_other_case(z, word, err));
        break;
    case AP_NOISE_PUNCTUATION:
        AP_TRY(put_punctuation(z, word, err));
        break;
    default:
        AP_TRY(put_typo(z, word, err));
    }
out:
    return status;
}

static ap_status put_distractor(struct noise *z, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct walk *w = &z->walk;
    if (!z->begun || ap_random_uniform(&z->random) >= z->strength)
        return AP_OK;
    z->counts.touched[AP_NOISE_DISTRACTOR]++;
    if (!is_space(w->text[w->n - 1]))
        AP_TRY(ap_buffer_puts(z->out, " ", err));
    AP_TRY(ap_buffer_puts(
        z->out, distractors[ap_random_below(&z->random, (uint32_t)AP_LEN(distractors))], err));
out:
    return status;
}

ap_status ap_noise(const char *text, size_t n, double strength, const struct ap_stream *stream,
                   struct ap_buffer *out, struct ap_noise_counts *counts, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct word word;
    struct noise z = {.strength = strength, .out = out};

    z.walk = (struct walk){.text = text, .n = n, .scan = ap_spans_begin(text, n, AP_SPAN_ALL)};
    z.walk.has_span = ap_spans_next(&z.walk.scan, &z.walk.span);
    ap_random_init(&z.random, stream);
    while (strength > 0 && next_word(&z.walk, &word)) {
        z.counts.n_word += word.open;
        if (word.open && ap_random_uniform(&z.random) < strength)
            AP_TRY(touch(&z, &word, err));
        else
            AP_TRY(put(&z, z.copied, word.end, err));
        z.copied = z.walk.at;
        z.begun = true;
    }
    AP_TRY(put(&z, z.copied, n, err));
    if (strength > 0)
        AP_TRY(put_distractor(&z, err));
    if (counts)
        *counts = z.counts;
out:
    return status;
}
