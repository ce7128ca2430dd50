/* What a pairwise judge's replies come to (judge.h). */
#include "align/judge.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static const char blank[] = " \t\r\v\f";
static const char emphasis[] = " \t\r\v\f*_`\"'";
static const char closing[] = " \t\r\v\f*_`\"'.!";

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (unsigned char)c >= 0x80;
}

/* The verdict that *p begins with as a whole word, and *p behind it; NONE leaves *p. */
static ap_verdict take_word(const char **p)
{
    static const struct {
        const char *text;
        size_t len;
        ap_verdict verdict;
    } words[] = {{"a", 1, AP_VERDICT_A}, {"b", 1, AP_VERDICT_B}, {"tie", 3, AP_VERDICT_TIE}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strncasecmp(*p, words[i].text, words[i].len) == 0 && !is_word((*p)[words[i].len])) {
            *p += words[i].len;
            return words[i].verdict;
        }
    return AP_VERDICT_NONE;
}

/* "[[A]]" at *p, and *p behind it. */
static ap_verdict take_bracket(const char **p)
{
    if (strncmp(*p, "[[", 2) != 0)
        return AP_VERDICT_NONE;
    const char *at = *p + 2;
    at += strspn(at, emphasis);
    ap_verdict verdict = take_word(&at);
    at += strspn(at, emphasis);
    if (verdict == AP_VERDICT_NONE || strncmp(at, "]]", 2) != 0)
        return AP_VERDICT_NONE;
    *p = at + 2;
    return verdict;
}

/* "Verdict: A" or "**Verdict**: [[A]]" at *p, and *p behind it. */
static ap_verdict take_label(const char **p)
{
    if (strncasecmp(*p, "verdict", 7) != 0)
        return AP_VERDICT_NONE;
    const char *at = *p + 7;
    at += strspn(at, emphasis);
    if (*at++ != ':')
        return AP_VERDICT_NONE;
    at += strspn(at, emphasis);
    ap_verdict verdict = take_bracket(&at);
    if (verdict == AP_VERDICT_NONE)
        verdict = take_word(&at);
    if (verdict != AP_VERDICT_NONE)
        *p = at;
    return verdict;
}

/* What a line says, and in *decides whether it says something well-formed at all. Text may stand
 * before the first verdict; behind one only punctuation or another verdict. */
static ap_verdict parse_line(const char *p, bool *decides)
{
    ap_verdict found = AP_VERDICT_NONE;
    bool differs = false;
    *decides = false;
    for (bool in_word = false; *p != '\0' && *p != '\n';) {
        ap_verdict verdict = in_word ? AP_VERDICT_NONE : take_label(&p);
        if (verdict == AP_VERDICT_NONE)
            verdict = take_bracket(&p);
        if (verdict == AP_VERDICT_NONE) {
            if (found != AP_VERDICT_NONE && strchr(closing, *p) == NULL)
                return AP_VERDICT_NONE;
            in_word = is_word(*p++);
            continue;
        }
        differs = differs || (found != AP_VERDICT_NONE && verdict != found);
        found = verdict;
        in_word = false;
    }
    *decides = found != AP_VERDICT_NONE;
    return differs ? AP_VERDICT_NONE : found;
}

static ap_verdict parse_whole(const char *p)
{
    p += strspn(p, emphasis);
    while (*p == '\n')
        p += 1 + strspn(p + 1, emphasis);
    ap_verdict verdict = take_word(&p);
    p += strspn(p, closing);
    while (*p == '\n')
        p += 1 + strspn(p + 1, blank);
    return *p == '\0' ? verdict : AP_VERDICT_NONE;
}

ap_verdict ap_verdict_parse(const char *reply)
{
    if (reply == NULL)
        return AP_VERDICT_NONE;
    ap_verdict last = parse_whole(reply);
    for (const char *line = reply; line != NULL;) {
        bool decides;
        ap_verdict verdict = parse_line(line, &decides);
        if (decides)
            last = verdict;
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
    return last;
}

const char *ap_outcome_name(ap_outcome outcome)
{
    static const char *const names[] = {"none", "win", "loss", "tie", "contradiction", "same"};
    assert((unsigned)outcome < AP_OUTCOME_COUNT);
    return names[outcome];
}

ap_outcome ap_outcome_of(ap_verdict first, ap_verdict second)
{
    if (first == AP_VERDICT_NONE || second == AP_VERDICT_NONE)
        return AP_OUTCOME_NONE;
    if (first == AP_VERDICT_TIE && second == AP_VERDICT_TIE)
        return AP_OUTCOME_TIE;
    if (first == AP_VERDICT_A && second == AP_VERDICT_B)
        return AP_OUTCOME_WIN;
    if (first == AP_VERDICT_B && second == AP_VERDICT_A)
        return AP_OUTCOME_LOSS;
    return AP_OUTCOME_CONTRADICTION;
}

double ap_outcome_points(ap_outcome outcome)
{
    if (outcome == AP_OUTCOME_NONE)
        return (double)NAN;
    return outcome == AP_OUTCOME_WIN ? 1.0 : outcome == AP_OUTCOME_LOSS ? 0.0 : 0.5;
}

struct ap_outcome_shares ap_outcome_sum(const int64_t counts[AP_OUTCOME_COUNT], double max_bad)
{
    struct ap_outcome_shares s = {
        .win_rate = (double)NAN, .contradicted = (double)NAN, .bad = (double)NAN};
    double points = 0;
    for (int i = 0; i < AP_OUTCOME_COUNT; i++) {
        s.n += counts[i];
        if (i != AP_OUTCOME_NONE)
            points += (double)counts[i] * ap_outcome_points((ap_outcome)i);
    }
    if (s.n == 0)
        return s;
    int64_t n_judged = s.n - counts[AP_OUTCOME_NONE];
    s.contradicted = (double)counts[AP_OUTCOME_CONTRADICTION] / (double)s.n;
    s.bad = (double)counts[AP_OUTCOME_NONE] / (double)s.n;
    if (n_judged > 0 && s.bad <= max_bad)
        s.win_rate = points / (double)n_judged;
    return s;
}
