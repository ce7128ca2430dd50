/* The page of a comparison: sentences, the table in the paper's layout, every cell's own table, and
 * which runs it was made of. Entry point: ap_comparison_html. */
#include "eval/html_compare.h"
#include "eval/svg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void put_sentences(struct ap_page *page, const struct ap_comparison *c)
{
    struct ap_buffer text = {0};
    struct ap_page lines = {.out = &text, .err = page->err};
    const char *judge;
    ap_page_put(page, "<h2>What came out</h2>\n<div class=\"columns\">\n");
    for (int i = 0; (judge = ap_comparison_judge(c, i)) && page->status == AP_OK; i++) {
        ap_buffer_clear(&text);
        ap_comparison_sentences_of(&lines, c, judge);
        if (lines.status != AP_OK)
            page->status = lines.status;
        ap_page_put(page, "<div>\n");
        if (page->status == AP_OK)
            ap_html_lines(page, text.data, true);
        ap_page_put(page, "</div>\n");
    }
    ap_page_put(page, "</div>\n");
    ap_buffer_free(&text);
}

/* ---- plots: a row a cell, by the number that the table has ---- */

struct plot_rows {
    struct ap_svg_row items[AP_CELLS_MAX + 1];
    char labels[AP_CELLS_MAX + 1][16];
    struct ap_number texts[AP_CELLS_MAX + 1];
    int n;
};

static void add_row(struct plot_rows *rows, const char *label, const struct ap_arm_statistics *arm,
                    int which, int decimals)
{
    struct ap_arm_statistics copy = *arm;
    struct ap_interval x = *ap_statistic_at(&copy, which);
    bool percent = which == AP_AT_share_bare;
    int i = rows->n;
    if (isnan(x.value))
        return;
    rows->texts[i] = percent ? ap_percent_with_range(x) : ap_with_range(x, decimals, true);
    if (percent)
        x = (struct ap_interval){100 * x.value, 100 * x.low, 100 * x.high};
    snprintf(rows->labels[i], sizeof(rows->labels[i]), "%s", label);
    rows->items[i] = (struct ap_svg_row){
        .label = rows->labels[i], .name = "align", .mark = x, .text = rows->texts[i].text};
    rows->n++;
}

static void put_plot(struct ap_page *page, const struct ap_comparison *c, const char *judge,
                     int which, const struct ap_svg_chart *chart)
{
    static const char *const all = "mean of all";
    struct plot_rows rows = {.n = 0};
    for (int i = 0; i < c->n_cell; i++) {
        const struct ap_arm_statistics *align = ap_cell_arm(&c->cells[i], judge, "align");
        char label[16];
        snprintf(label, sizeof(label), "cell %d", i + 1);
        if (align)
            add_row(&rows, label, align, which,
                    ap_score_decimals(c->cells[i].evaluation,
                                      ap_judge_find(c->cells[i].evaluation, judge)));
    }
    for (int k = 0; k < c->n_average; k++)
        for (int a = 0; a < c->averages[k].n_arm; a++)
            if (!c->averages[k].data && strcmp(c->averages[k].judge, judge) == 0 &&
                strcmp(c->averages[k].arms[a].name, "align") == 0)
                add_row(&rows, all, &c->averages[k].arms[a], which, c->averages[k].decimals);
    if (rows.n > 1)
        ap_svg_intervals(page, chart, rows.items, rows.n);
}

static void put_plots(struct ap_page *page, const struct ap_comparison *c, const char *judge)
{
    ap_page_put(page, "<div class=\"plots\">\n");
    put_plot(page, c, judge, AP_AT_delta_bare,
             &(struct ap_svg_chart){.title = "Align-Pro's gain over bare",
                                    .x_label = "difference of mean scores, 95% interval"});
    put_plot(page, c, judge, AP_AT_share_bare,
             &(struct ap_svg_chart){.title = "Share of the gap from bare to RLHF that it closes",
                                    .x_label = "%, 95% interval"});
    ap_page_put(page, "</div>\n");
}

static void put_layouts(struct ap_page *page, const struct ap_comparison *c)
{
    const char *judge;
    ap_page_put(page, "<h2>The cells side by side</h2>\n");
    for (int i = 0; (judge = ap_comparison_judge(c, i)); i++) {
        ap_page_put(page, "<h3>Judged by ");
        ap_html_text(page, judge);
        ap_page_put(page, "</h3>\n");
        ap_html_layout(page, c, judge);
        put_plots(page, c, judge);
    }
}

static void put_cells(struct ap_page *page, const struct ap_comparison *c)
{
    ap_page_put(page, "<h2>Every cell with all of its arms</h2>\n");
    for (int i = 0; i < c->n_cell; i++) {
        const struct ap_evaluation *e = c->cells[i].evaluation;
        ap_page_put(page, "<details><summary>");
        ap_html_text(page, c->cells[i].data);
        ap_page_put(page, ": ");
        ap_html_text(page, c->cells[i].prompter);
        ap_page_put(page, " – ");
        ap_html_text(page, c->cells[i].target);
        ap_page_put(page, "</summary>\n");
        for (int j = 0; j < e->n_judge; j++) {
            ap_page_put(page, "<h3>Judged by ");
            ap_html_text(page, e->judges[j]);
            ap_page_put(page, "</h3>\n");
            ap_html_table(page, e, j);
        }
        ap_page_put(page, "</details>\n");
    }
    ap_page_put(page, ap_html_reading);
}

static void put_runs(struct ap_page *page, const struct ap_comparison *c, const char *version)
{
    ap_page_put(page, "<h2>How this was made</h2>\n<p>");
    if (version) {
        ap_page_put(page, "alignpro ");
        ap_html_text(page, version);
        ap_page_put(page, ". ");
    }
    ap_page_printf(page,
                   "Bootstrap resamples: %d; runs of a cell are drawn whole, as its seeds. "
                   "recipe: the hash of every value that changes results.</p>\n",
                   c->n_bootstrap);
    ap_page_put(page, "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>"
                      "<th scope=\"col\">run</th><th scope=\"col\">data set</th>"
                      "<th scope=\"col\">prompter – target</th><th scope=\"col\">seeds</th>"
                      "<th scope=\"col\">recipe</th></tr></thead>\n<tbody>\n");
    for (int i = 0; i < c->n_cell; i++)
        for (int k = 0; k < c->cells[i].n_run; k++) {
            ap_page_put(page, "<tr><th scope=\"row\">");
            ap_html_text(page, c->cells[i].runs[k].path);
            ap_page_put(page, "</th><td>");
            ap_html_text(page, c->cells[i].data);
            ap_page_put(page, "</td><td>");
            ap_html_text(page, c->cells[i].prompter);
            ap_page_put(page, " – ");
            ap_html_text(page, c->cells[i].target);
            ap_page_put(page, "</td><td>");
            ap_html_text(page, c->cells[i].runs[k].seeds);
            ap_page_printf(page, "</td><td>%016" PRIx64 "</td></tr>\n", c->cells[i].runs[k].recipe);
        }
    ap_page_put(page, "</tbody></table></div>\n");
}

ap_status ap_comparison_html(const struct ap_comparison *c, const char *version,
                             struct ap_buffer *out, struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    ap_html_head(&page, "Runs side by side", NULL);
    put_sentences(&page, c);
    put_layouts(&page, c);
    put_cells(&page, c);
    put_runs(&page, c, version);
    ap_html_end(&page, NULL);
    return page.status;
}
