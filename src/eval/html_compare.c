/* The page of a comparison: sentences, the table in the paper's layout, every cell's own table, and
 * which runs it was made of. Entry point: ap_comparison_html. */
#include "eval/html_compare.h"

#include <inttypes.h>

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

static void put_layouts(struct ap_page *page, const struct ap_comparison *c)
{
    const char *judge;
    ap_page_put(page, "<h2>The cells side by side</h2>\n");
    for (int i = 0; (judge = ap_comparison_judge(c, i)); i++) {
        ap_page_put(page, "<h3>Judged by ");
        ap_html_text(page, judge);
        ap_page_put(page, "</h3>\n");
        ap_html_layout(page, c, judge);
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
