/* Writing with a sticky status; numbers, names and meanings as people read them.
 * Entry points: ap_page_put, ap_number, ap_arm_shown. */
#include "eval/report_page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void ap_page_put(struct ap_page *page, const char *text)
{
    if (page->status == AP_OK)
        page->status = ap_buffer_puts(page->out, text, page->err);
}

void ap_page_printf(struct ap_page *page, const char *fmt, ...)
{
    char text[1024];
    va_list list;
    va_start(list, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, list);
    va_end(list);
    if (n >= (int)sizeof(text) && page->status == AP_OK)
        page->status = ap_fail(page->err, AP_LIMIT,
                               "report: a piece of text of %d bytes, expected "
                               "under %zu; shorten the names of the judges",
                               n, sizeof(text));
    ap_page_put(page, text);
}

/* ---- numbers ---- */

struct ap_number ap_number(double value, int decimals, bool sign)
{
    struct ap_number out;
    if (isnan(value))
        value = NAN; /* either sign */
    if (fabs(value) < 0.5 * pow(10, -decimals))
        value = 0;
    if (isnan(value))
        snprintf(out.text, sizeof(out.text), "-");
    else if (fabs(value) >= 1e7)
        snprintf(out.text, sizeof(out.text), sign ? "%+.2e" : "%.2e", value);
    else
        snprintf(out.text, sizeof(out.text), sign && value != 0 ? "%+.*f" : "%.*f", decimals,
                 value);
    return out;
}

struct ap_number ap_percent(double share)
{
    struct ap_number out = ap_number(100 * share, 0, false);
    if (!isnan(share))
        strncat(out.text, "%", sizeof(out.text) - strlen(out.text) - 1);
    return out;
}

struct ap_number ap_range(struct ap_interval x, int decimals)
{
    struct ap_number out = {""};
    if (!isnan(x.low) && !isnan(x.high))
        snprintf(out.text, sizeof(out.text), "[%.20s, %.20s]",
                 ap_number(x.low, decimals, false).text, ap_number(x.high, decimals, false).text);
    return out;
}

static struct ap_number joined(struct ap_number value, struct ap_number range)
{
    struct ap_number out;
    snprintf(out.text, sizeof(out.text), "%.24s%s%.50s", value.text, range.text[0] ? " " : "",
             range.text);
    return out;
}

struct ap_number ap_with_range(struct ap_interval x, int decimals, bool sign)
{
    return joined(ap_number(x.value, decimals, sign), ap_range(x, decimals));
}

struct ap_number ap_percent_with_range(struct ap_interval x)
{
    struct ap_interval percent = {100 * x.value, 100 * x.low, 100 * x.high};
    return joined(ap_percent(x.value), ap_range(percent, 0));
}

int ap_scale_decimals(double scale)
{
    if (scale >= 1000)
        return 0;
    if (scale >= 100)
        return 1;
    return scale >= 0.1 || scale <= 0 ? 2 : 4;
}

struct ap_number ap_with_margin(struct ap_interval x, int decimals, bool sign)
{
    struct ap_number out = ap_number(x.value, decimals, sign);
    double half = (x.high - x.low) / 2, unit = pow(10, -decimals);
    double value = round(x.value / unit), margin = round(half / unit); /* as they are shown */
    if (isnan(half) || isnan(x.value))
        return out;
    if ((value - margin > 0) != (x.low > 0) || (value + margin < 0) != (x.high < 0))
        return ap_with_range(x, decimals, sign); /* the margin would say another thing of 0 */
    snprintf(out.text, sizeof(out.text), "%.24s ± %.24s", ap_number(x.value, decimals, sign).text,
             ap_number(half, decimals, false).text);
    return out;
}

int ap_score_decimals(const struct ap_evaluation *e, int judge)
{
    double scale = 0;
    for (int a = 0; a < e->n_arm; a++) {
        const struct ap_arm_statistics *s = &e->arms[judge][a];
        scale = fmax(scale, fmax(fabs(s->mean.value), sqrt(fmax(0, s->variance.value))));
    }
    return ap_scale_decimals(scale);
}

/* ---- names ---- */

struct meaning {
    const char *name, *shown, *text;
};

static const struct meaning arm_meanings[] = {
    {"bare", "bare", "the target answers the prompt as the user wrote it"},
    {"instruct", "instruct",
     "the prompter before any training rewrites the prompt, the target answers the rewrite"},
    {"sft", "sft",
     "the prompter after supervised fine-tuning, before reinforcement learning, rewrites"},
    {"align-1", "pass 1", "of several prompters only the first rewrites"},
    {"align-2", "pass 2", "of several prompters only the first two rewrite, one after the other"},
    {"align-3", "pass 3", "of several prompters only the first three rewrite, one after another"},
    {"align", "Align-Pro",
     "the prompter after reinforcement learning rewrites; the target stays untouched"},
    {"rlhf", "RLHF",
     "the target's own weights are trained on the reward, and it answers the prompt itself"},
    {"dpo", "dpo",
     "the target's own weights are trained on preference pairs, and it answers the prompt itself"},
    {"ift", "ift",
     "the target's own weights are trained on given answers by intuitive fine-tuning, and it "
     "answers the prompt itself"},
    {"best-of-n-answers", "n answers",
     "the target answers the prompt itself several times and the answer that the first judge "
     "scores "
     "best is kept"},
    {"best-of-n", "best-of-n",
     "several rewrites are tried and the one whose answer the first judge scores best is kept"},
};

static const struct meaning judge_meanings[] = {
    {"reward", "", "the reward that training maximised"},
    {"world", "", "the true score of the bundled world, which no training step asks"},
};

const char *ap_arm_shown(const char *arm)
{
    for (size_t i = 0; i < AP_LEN(arm_meanings); i++)
        if (strcmp(arm, arm_meanings[i].name) == 0)
            return arm_meanings[i].shown;
    return arm;
}

const char *ap_arm_meaning(const char *arm)
{
    for (size_t i = 0; i < AP_LEN(arm_meanings); i++)
        if (strcmp(arm, arm_meanings[i].name) == 0)
            return arm_meanings[i].text;
    return "an arm of the user's own";
}

const char *ap_judge_meaning(const char *judge)
{
    for (size_t i = 0; i < AP_LEN(judge_meanings); i++)
        if (strcmp(judge, judge_meanings[i].name) == 0)
            return judge_meanings[i].text;
    return "one of the recipe's rewards";
}

int ap_arm_before(const struct ap_evaluation *e, int arm)
{
    const char *name = e->arms[0][arm].name;
    char before[16];
    int first = strcmp(name, "align") == 0        ? 9
                : strncmp(name, "align-", 6) == 0 ? name[6] - '0'
                                                  : 0;
    for (int pass = first - 1; pass > 0; pass--) {
        snprintf(before, sizeof(before), "align-%d", pass);
        if (ap_arm_find(e, before) >= 0)
            return ap_arm_find(e, before);
    }
    return -1;
}

int ap_judge_find(const struct ap_evaluation *e, const char *judge)
{
    for (int j = 0; j < e->n_judge; j++)
        if (strcmp(e->judges[j], judge) == 0)
            return j;
    return -1;
}

int ap_arm_find(const struct ap_evaluation *e, const char *arm)
{
    for (int a = 0; a < e->n_arm; a++)
        if (e->n_judge > 0 && strcmp(e->arms[0][a].name, arm) == 0)
            return a;
    return -1;
}
