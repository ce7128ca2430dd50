/* An evaluation as a fixed-width table for terminals. Entry point: ap_evaluation_table. */
#include "eval/report_page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* 9 + 2+20 + 2+20 + 2+4 + 2+5 + 2+6 + 2+15 + 2+5 = 98 columns */

#define ROW "%-9.9s  %-20s  %-20s  %4s  %5s  %6s  %-15s  %5s\n"

/* An interval of no width says nothing: bare against itself, rlhf's share of its own gap. */
static struct ap_number cell(struct ap_number value, int width, struct ap_interval x, int decimals)
{
    struct ap_number out, range = {""};
    if (x.low < x.high)
        range = ap_range(x, decimals);
    snprintf(out.text, sizeof(out.text), "%*.20s%s%.50s", width, value.text,
             range.text[0] ? " " : "", range.text);
    return out;
}

static struct ap_number with_range(struct ap_interval x, int decimals, bool sign)
{
    return cell(ap_number(x.value, decimals, sign), 5, x, decimals);
}

static struct ap_number share_with_range(struct ap_interval x)
{
    struct ap_interval percent = {100 * x.value, 100 * x.low, 100 * x.high};
    return cell(ap_percent(x.value), 4, percent, 0);
}

static void put_arm(struct ap_page *page, const struct ap_arm_statistics *arm, int decimals)
{
    ap_page_printf(page, ROW, ap_arm_shown(arm->name), with_range(arm->mean, decimals, false).text,
                   with_range(arm->delta_bare, decimals, true).text,
                   ap_percent(arm->win_bare.value).text, ap_percent(arm->win_instruct.value).text,
                   ap_number(arm->variance.value, decimals, false).text,
                   share_with_range(arm->share_bare).text, ap_number(arm->kl.value, 2, false).text);
}

static const char notes[] =
    "over bare: paired difference of means. wins: share of comparisons won, ties one half.\n"
    "gap to RLHF closed: the gain over bare as a share of RLHF's. KL: how far the trained policy\n"
    "moved, in nats. In brackets: 95% bootstrap intervals over prompts and, where there are "
    "several,\n"
    "seeds.\n";

ap_status ap_evaluation_table(const struct ap_evaluation *e, struct ap_buffer *out,
                              struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    for (int j = 0; j < e->n_judge; j++) {
        const struct ap_arm_statistics *first = &e->arms[j][0];
        ap_page_printf(&page, "judge: %s (%lld prompts, %d seed%s)\n", e->judges[j],
                       (long long)first->n_prompt, first->n_seed, first->n_seed == 1 ? "" : "s");
        ap_page_printf(&page, "%59s  %5s  %6s   %s\n", "wins", "wins", "vari-", "gap to RLHF");
        ap_page_printf(&page, ROW, "arm", " mean", " over bare", "bare", "instr", "ance", " closed",
                       "KL");
        for (int a = 0; a < e->n_arm; a++)
            put_arm(&page, &e->arms[j][a], ap_score_decimals(e, j));
        for (int a = 0; a < e->n_absent; a++)
            ap_page_printf(&page, "%-9.9s  n/a\n", ap_arm_shown(e->absent[a]));
        ap_page_put(&page, "\n");
    }
    ap_page_put(&page, notes);
    return page.status;
}
