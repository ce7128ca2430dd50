/* The paper's table in LaTeX, a table a judge: rows are data sets and pairs of prompter and target,
 * columns mean and variance of three arms, win rate and share of the gap. Needs
 * \usepackage{booktabs}. Entry point: ap_comparison_tex. */
#include "base/utf8.h"
#include "eval/compare.h"
#include "eval/report_page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *escape_of(uint32_t cp)
{
    switch (cp) {
    case '&':
        return "\\&";
    case '%':
        return "\\%";
    case '$':
        return "\\$";
    case '#':
        return "\\#";
    case '_':
        return "\\_";
    case '{':
        return "\\{";
    case '}':
        return "\\}";
    case '~':
        return "\\textasciitilde{}";
    case '^':
        return "\\textasciicircum{}";
    case '\\':
        return "\\textbackslash{}";
    case '<':
        return "\\textless{}";
    case '>':
        return "\\textgreater{}";
    case '|':
        return "\\textbar{}";
    case '"':
        return "''"; /* \textquotedbl would need another font encoding */
    default:
        return NULL;
    }
}

/* Controls and what is no UTF-8 become a question mark: a line that breaks would end a comment. */
static void put_text(struct ap_page *page, const char *text)
{
    size_t n = strlen(text);
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t step = ap_utf8_decode(text + at, n - at, &cp);
        const char *escaped = escape_of(cp);
        char plain[5] = {0};
        if (!escaped && (cp < 0x20 || cp == 0x7F || cp == AP_UTF8_REPLACEMENT))
            escaped = "?";
        if (!escaped)
            ap_utf8_encode(cp, plain);
        ap_page_put(page, escaped ? escaped : plain);
        at += step;
    }
}

/* "$-0.70$", "n/a". */
static void put_number(struct ap_page *page, const struct ap_arm_statistics *arm, int which,
                       int decimals, bool percent)
{
    struct ap_arm_statistics copy;
    double x = NAN;
    if (arm) {
        copy = *arm;
        x = ap_statistic_at(&copy, which)->value;
    }
    if (isnan(x))
        ap_page_put(page, " & n/a");
    else if (percent)
        ap_page_printf(page, " & $%s\\%%$", ap_number(100 * x, 0, false).text);
    else
        ap_page_printf(page, " & $%s$", ap_number(x, decimals, false).text);
}

/* Mean and variance of three arms, then what Align-Pro wins and closes. */
static void put_numbers(struct ap_page *page, const struct ap_arm_statistics *const arms[3],
                        int decimals)
{
    for (int a = 0; a < 3; a++)
        put_number(page, arms[a], AP_AT_mean, decimals, false);
    for (int a = 0; a < 3; a++)
        put_number(page, arms[a], AP_AT_variance, decimals, false);
    put_number(page, arms[1], AP_AT_win_bare, 0, true);
    put_number(page, arms[1], AP_AT_share_bare, 0, true);
    put_number(page, arms[1], AP_AT_share_instruct, 0, true);
    ap_page_put(page, " \\\\\n");
}

static const char *const shown_arms[] = {"bare", "align", "rlhf"};

static void put_row(struct ap_page *page, const struct ap_cell *cell, const char *judge)
{
    const struct ap_arm_statistics *arms[3];
    int j = ap_judge_find(cell->evaluation, judge);
    if (j < 0)
        return;
    put_text(page, cell->data);
    ap_page_put(page, " & ");
    put_text(page, cell->prompter);
    ap_page_put(page, " -- ");
    put_text(page, cell->target);
    for (int a = 0; a < 3; a++)
        arms[a] = ap_cell_arm(cell, judge, shown_arms[a]);
    put_numbers(page, arms, ap_score_decimals(cell->evaluation, j));
}

static void put_average(struct ap_page *page, const struct ap_average *average)
{
    const struct ap_arm_statistics *arms[3] = {NULL};
    for (int a = 0; a < average->n_arm; a++)
        for (int k = 0; k < 3; k++)
            if (strcmp(average->arms[a].name, shown_arms[k]) == 0)
                arms[k] = &average->arms[a];
    ap_page_put(page, "mean of ");
    put_text(page, average->data ? average->data : "all");
    ap_page_printf(page, " & %d cells", average->n_cell);
    put_numbers(page, arms, average->decimals);
}

/* Those of data sets, then the one of all. */
static void put_averages(struct ap_page *page, const struct ap_comparison *c, const char *judge)
{
    bool first = true;
    for (int all = 0; all < 2; all++)
        for (int k = 0; k < c->n_average; k++) {
            const struct ap_average *average = &c->averages[k];
            if ((average->data == NULL) != (all == 1) || strcmp(average->judge, judge) != 0)
                continue;
            ap_page_put(page, first ? "\\midrule\n" : "");
            first = false;
            put_average(page, average);
        }
}

static const char head[] =
    "\\begingroup\\small\\setlength{\\tabcolsep}{4pt}\n\\begin{tabular}{llrrrrrrrrr}\n\\toprule\n"
    " & & \\multicolumn{3}{c}{mean} & \\multicolumn{3}{c}{variance} & wins & "
    "\\multicolumn{2}{c}{gap closed from} \\\\\n"
    "\\cmidrule(lr){3-5}\\cmidrule(lr){6-8}\\cmidrule(lr){10-11}\n"
    "data & prompter -- target & none & Align-Pro & RLHF & none & Align-Pro & RLHF & "
    "over bare & "
    "bare & instruct \\\\\n\\midrule\n";

ap_status ap_comparison_tex(const struct ap_comparison *c, struct ap_buffer *out,
                            struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    const char *judge;
    ap_page_put(&page, "% needs \\usepackage{booktabs}; the intervals are in the JSON and CSV "
                       "beside this file\n");
    for (int i = 0; (judge = ap_comparison_judge(c, i)); i++) {
        ap_page_put(&page, i > 0 ? "\n\\medskip\n\n" : "");
        ap_page_put(&page, "\\noindent Judged by ");
        put_text(&page, judge);
        ap_page_put(&page, ".\n\n\\noindent\n");
        ap_page_put(&page, head);
        for (int k = 0; k < c->n_cell; k++)
            put_row(&page, &c->cells[k], judge);
        put_averages(&page, c, judge);
        ap_page_put(&page, "\\bottomrule\n\\end{tabular}\n\\endgroup\n");
    }
    return page.status;
}
