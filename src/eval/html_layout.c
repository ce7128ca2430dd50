/* The table in the paper's layout: a row a data set and pair of prompter and target, the paper's
 * own figures beside it. Entry point: ap_html_layout. */
#include "eval/html_compare.h"
#include "eval/paper.h"

#include <math.h>
#include <string.h>

static const char *const layout_arms[] = {"bare", "align", "rlhf"};
enum { N_LAYOUT_ARMS = 3 };

static const char head[] =
    "<div class=\"scroll\" tabindex=\"0\"><table class=\"layout\">\n<thead>\n<tr>"
    "<th scope=\"col\" rowspan=\"2\">data set, prompter and target</th>"
    "<th scope=\"colgroup\" colspan=\"3\">mean</th>"
    "<th scope=\"colgroup\" colspan=\"3\">variance</th>"
    "<th scope=\"col\" rowspan=\"2\">wins over bare</th>"
    "<th scope=\"colgroup\" colspan=\"2\">gap closed from</th></tr>\n<tr>"
    "<th scope=\"col\">no fine-tuning (bare)</th><th scope=\"col\">Align-Pro</th>"
    "<th scope=\"col\">RLHF</th><th scope=\"col\">no fine-tuning (bare)</th>"
    "<th scope=\"col\">Align-Pro</th><th scope=\"col\">RLHF</th>"
    "<th scope=\"col\">bare</th><th scope=\"col\">instruct</th></tr>\n</thead>\n<tbody>\n";

/* "n/a" for an arm, or a number, that is not there. */
static void put_cell(struct ap_page *page, const struct ap_arm_statistics *arm, int which,
                     int decimals, bool percent)
{
    struct ap_interval x = {NAN, NAN, NAN};
    if (arm) {
        struct ap_arm_statistics copy = *arm;
        x = *ap_statistic_at(&copy, which);
    }
    if (isnan(x.value)) {
        ap_page_put(page, "<td><span class=\"none\">n/a</span></td>");
        return;
    }
    struct ap_interval shown =
        percent ? (struct ap_interval){100 * x.value, 100 * x.low, 100 * x.high} : x;
    ap_page_put(page, "<td>");
    ap_html_number(page, percent ? ap_percent(x.value) : ap_number(x.value, decimals, false));
    if (x.low < x.high) {
        ap_page_put(page, "<small>");
        ap_html_number(page, ap_range(shown, percent ? 0 : decimals));
        ap_page_put(page, "</small>");
    }
    ap_page_put(page, "</td>");
}

static void put_shares(struct ap_page *page, const struct ap_arm_statistics *align)
{
    put_cell(page, align, AP_AT_win_bare, 0, true);
    put_cell(page, align, AP_AT_share_bare, 0, true);
    put_cell(page, align, AP_AT_share_instruct, 0, true);
    ap_page_put(page, "</tr>\n");
}

/* number: what plots call the cell; 0 where it is the only one. */
static void put_ours(struct ap_page *page, const struct ap_cell *cell, int number,
                     const char *judge)
{
    int j = ap_judge_find(cell->evaluation, judge),
        decimals = ap_score_decimals(cell->evaluation, j);
    int64_t n_prompt = cell->evaluation->arms[j][0].n_prompt;
    ap_page_put(page, "<tr class=\"main\"><th scope=\"row\">");
    if (number > 0)
        ap_page_printf(page, "<span class=\"number\">%d</span> ", number);
    ap_html_text(page, cell->data);
    ap_page_put(page, "<small>");
    ap_html_text(page, cell->prompter);
    ap_page_put(page, " – ");
    ap_html_text(page, cell->target);
    if (cell->n_run > 1)
        ap_page_printf(page, ", %d runs", cell->n_run);
    if (n_prompt < AP_PROMPTS_LEAST)
        ap_page_printf(page, ", %lld prompt%s: too few for intervals", (long long)n_prompt,
                       n_prompt == 1 ? "" : "s");
    ap_page_put(page, "</small></th>");
    for (int a = 0; a < N_LAYOUT_ARMS; a++)
        put_cell(page, ap_cell_arm(cell, judge, layout_arms[a]), AP_AT_mean, decimals, false);
    for (int a = 0; a < N_LAYOUT_ARMS; a++)
        put_cell(page, ap_cell_arm(cell, judge, layout_arms[a]), AP_AT_variance, decimals, false);
    put_shares(page, ap_cell_arm(cell, judge, "align"));
}

static void put_theirs(struct ap_page *page, const struct ap_paper_cell *p)
{
    ap_page_printf(page,
                   "<tr class=\"theirs\"><th scope=\"row\">the paper: %s<small>%s</small></th>",
                   p->data, p->cell);
    for (int a = 0; a < N_LAYOUT_ARMS; a++)
        ap_page_printf(page, "<td>%.3f</td>", p->mean[a]);
    for (int a = 0; a < N_LAYOUT_ARMS; a++)
        ap_page_printf(page, "<td>%.3f</td>", p->variance[a]);
    ap_page_printf(page,
                   "<td><span class=\"none\">n/a</span></td><td>%.0f%%</td>"
                   "<td><span class=\"none\">n/a</span></td></tr>\n",
                   100 * ap_paper_share(p));
}

/* The paper's cell that the comparison's order says; without one, all of the data set, once, after
 * the last of ours. Returns how many. */
static int put_paper(struct ap_page *page, const struct ap_comparison *c, int cell)
{
    const struct ap_paper_cell *p = ap_comparison_paper(c, cell);
    int n = 0;
    if (p) {
        put_theirs(page, p);
        return 1;
    }
    for (int i = cell + 1; i < c->n_cell; i++)
        if (strcmp(c->cells[i].data, c->cells[cell].data) == 0)
            return 0;
    for (int i = 0; i < ap_n_paper_cells; i++)
        if (ap_paper_find(c->cells[cell].data, -1, -1) &&
            strcmp(ap_paper_find(c->cells[cell].data, -1, -1)->data, ap_paper_cells[i].data) == 0) {
            put_theirs(page, &ap_paper_cells[i]);
            n++;
        }
    return n;
}

static const struct ap_arm_statistics *average_arm(const struct ap_average *average,
                                                   const char *name)
{
    for (int a = 0; a < average->n_arm; a++)
        if (strcmp(average->arms[a].name, name) == 0)
            return &average->arms[a];
    return NULL;
}

static void put_average(struct ap_page *page, const struct ap_average *average)
{
    ap_page_put(page, "<tr><th scope=\"row\">mean of ");
    ap_html_text(page, average->data ? average->data : "all");
    ap_page_printf(page, "<small>%d cells</small></th>", average->n_cell);
    for (int a = 0; a < N_LAYOUT_ARMS; a++)
        put_cell(page, average_arm(average, layout_arms[a]), AP_AT_mean, average->decimals, false);
    for (int a = 0; a < N_LAYOUT_ARMS; a++)
        put_cell(page, average_arm(average, layout_arms[a]), AP_AT_variance, average->decimals,
                 false);
    put_shares(page, average_arm(average, "align"));
}

static const char about_the_paper[] =
    "<p class=\"note\">Rows marked <i>the paper</i> are Align-Pro's own figures, read off the "
    "figure "
    "of arXiv 2501.03486 (±0.005). They come from other models and another reward: their absolute "
    "numbers do not compare with those above them. P1 and P2 are its prompters, F1 and F2 its "
    "targets, matched by the order of prompters and targets here where a data set has two of "
    "each.</p>\n";

void ap_html_layout(struct ap_page *page, const struct ap_comparison *c, const char *judge)
{
    int n_paper = 0;
    ap_page_put(page, head);
    for (int i = 0; i < c->n_cell; i++) {
        if (ap_judge_find(c->cells[i].evaluation, judge) < 0)
            continue;
        put_ours(page, &c->cells[i], c->n_cell > 1 ? i + 1 : 0, judge);
        n_paper += put_paper(page, c, i);
    }
    for (int k = 0; k < c->n_average; k++)
        if (c->averages[k].data && strcmp(c->averages[k].judge, judge) == 0)
            put_average(page, &c->averages[k]);
    for (int k = 0; k < c->n_average; k++)
        if (!c->averages[k].data && strcmp(c->averages[k].judge, judge) == 0)
            put_average(page, &c->averages[k]);
    ap_page_put(page, "</tbody></table></div>\n");
    ap_page_put(page, n_paper > 0 ? about_the_paper : "");
}
