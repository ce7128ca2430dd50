/* Win rates against bare, arms by judges: those that score and those that compare.
 * Entry point: ap_html_verdicts. */
#include "eval/html.h"

#include <math.h>
#include <string.h>

static const struct ap_verdict_row *find(const struct ap_evaluation *e, const char *judge,
                                         const char *arm)
{
    for (int i = 0; i < e->n_verdict; i++)
        if (strcmp(e->verdicts[i].judge, judge) == 0 && strcmp(e->verdicts[i].arm, arm) == 0 &&
            strcmp(e->verdicts[i].against, "bare") == 0)
            return &e->verdicts[i];
    return NULL;
}

/* Whether row i is the first of its judge. */
static bool is_first(const struct ap_evaluation *e, int i)
{
    return i == 0 || strcmp(e->verdicts[i - 1].judge, e->verdicts[i].judge) != 0;
}

static void put_cell(struct ap_page *page, const struct ap_verdict_row *v)
{
    ap_page_put(page, "<td>");
    if (v && isnan(v->win.value))
        ap_page_printf(page, "n/a<br><small>%s of the pairs without verdict</small>",
                       ap_percent(v->bad).text);
    else if (v)
        ap_page_printf(page, "%s<br><small>%s contradicted, %s without verdict</small>",
                       ap_percent_with_range(v->win).text, ap_percent(v->contradicted).text,
                       ap_percent(v->bad).text);
    else
        ap_page_put(page, "-");
    ap_page_put(page, "</td>");
}

void ap_html_verdicts(struct ap_page *page, const struct ap_evaluation *e)
{
    if (e->n_verdict == 0)
        return;
    ap_page_put(page, "<h2>Wins over bare, judge by judge</h2>\n<div class=\"scroll\"><table>\n"
                      "<thead><tr><th>arm</th>");
    for (int j = 0; j < e->n_judge; j++) {
        ap_page_put(page, "<th>");
        ap_html_text(page, e->judges[j]);
        ap_page_put(page, "</th>");
    }
    for (int i = 0; i < e->n_verdict; i++)
        if (is_first(e, i)) {
            ap_page_put(page, "<th>");
            ap_html_text(page, e->verdicts[i].judge);
            ap_page_put(page, "</th>");
        }
    ap_page_put(page, "</tr></thead>\n<tbody>\n");
    for (int a = 0; a < e->n_arm && e->n_judge > 0; a++) {
        const char *arm = e->arms[0][a].name;
        if (strcmp(arm, "bare") == 0)
            continue;
        ap_page_put(page, "<tr><td>");
        ap_html_text(page, ap_arm_shown(arm));
        ap_page_put(page, "</td>");
        for (int j = 0; j < e->n_judge; j++)
            ap_page_printf(page, "<td>%s</td>", ap_percent_with_range(e->arms[j][a].win_bare).text);
        for (int i = 0; i < e->n_verdict; i++)
            if (is_first(e, i))
                put_cell(page, find(e, e->verdicts[i].judge, arm));
        ap_page_put(page, "</tr>\n");
    }
    ap_page_put(page,
                "</tbody>\n</table></div>\n<p class=\"note\">A judge that compares was asked "
                "twice about each pair, with the order swapped: two verdicts that differ are a "
                "contradiction and count as a tie.</p>\n");
}
