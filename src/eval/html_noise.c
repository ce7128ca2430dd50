/* Reward against the strength of noise in the prompts: a plot and a table a judge.
 * Entry point: ap_html_noise. */
#include "eval/html.h"
#include "eval/svg.h"

#include <math.h>

static void put_plot(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    struct ap_svg_series series[AP_ARMS_MAX];
    double x[AP_LIST_MAX], y[AP_ARMS_MAX][AP_LIST_MAX];
    for (int k = 0; k < e->n_noise; k++)
        x[k] = 100 * e->noise[k];
    for (int a = 0; a < e->n_arm; a++) {
        const char *name = e->arms[judge][a].name;
        for (int k = 0; k < e->n_noise; k++)
            y[a][k] = e->noisy[k][judge][a].value;
        series[a] = (struct ap_svg_series){ap_arm_shown(name), name, x, y[a], (size_t)e->n_noise};
    }
    ap_svg_lines(page,
                 &(struct ap_svg_chart){.title = "Mean score against noise in the prompts",
                                        .x_label = "words touched, %",
                                        .y_label = "mean score"},
                 series, e->n_arm);
}

static void put_table(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    int decimals = ap_score_decimals(e, judge);
    ap_page_put(page, "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>"
                      "<th scope=\"col\">arm</th>");
    for (int k = 0; k < e->n_noise; k++)
        ap_page_printf(page, "<th scope=\"col\">%g%% noise</th>", 100 * e->noise[k]);
    ap_page_put(page, "</tr></thead>\n<tbody>\n");
    for (int a = 0; a < e->n_arm; a++) {
        ap_page_put(page, "<tr><th scope=\"row\">");
        ap_html_text(page, ap_arm_shown(e->arms[judge][a].name));
        ap_page_put(page, "</th>");
        for (int k = 0; k < e->n_noise; k++) {
            struct ap_interval mean = e->noisy[k][judge][a];
            ap_page_put(page, "<td>");
            ap_html_number(page, ap_number(mean.value, decimals, false));
            ap_page_put(page, "<small>");
            ap_html_number(page, ap_range(mean, decimals));
            ap_page_put(page, "</small></td>");
        }
        ap_page_put(page, "</tr>\n");
    }
    ap_page_put(page, "</tbody></table></div>\n");
}

void ap_html_noise(struct ap_page *page, const struct ap_evaluation *e)
{
    if (e->n_noise == 0)
        return;
    ap_page_put(page,
                "<h2>Noise in the prompts</h2>\n"
                "<p class=\"note\">The same test prompts with typing errors, words dropped or "
                "swapped, other case and punctuation, and sentences off the point; judged "
                "against the prompt without them. Below each mean its 95% interval.</p>\n");
    for (int j = 0; j < e->n_judge; j++) {
        ap_page_put(page, "<h3>Judged by ");
        ap_html_text(page, e->judges[j]);
        ap_page_put(page, "</h3>\n<div class=\"plots\">\n");
        put_plot(page, e, j);
        ap_page_put(page, "</div>\n");
        put_table(page, e, j);
    }
}
