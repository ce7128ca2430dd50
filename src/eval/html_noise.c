/* Reward against the strength of noise in the prompts: a plot and a table a judge.
 * Entry point: ap_html_noise. */
#include "eval/html.h"
#include "eval/svg.h"

#include <math.h>

/* A strength at which an arm has no mean (every pair was dropped) is no point of its line. */
struct course {
    double x[AP_LIST_MAX], y[AP_LIST_MAX];
    struct ap_interval marks[AP_LIST_MAX];
    size_t n;
};

static void put_plot(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    struct ap_svg_series series[AP_ARMS_MAX];
    struct course courses[AP_ARMS_MAX] = {0};
    for (int a = 0; a < e->n_arm; a++) {
        const char *name = e->arms[judge][a].name;
        struct course *c = &courses[a];
        for (int k = 0; k < e->n_noise; k++) {
            c->x[c->n] = 100 * e->noise[k];
            c->marks[c->n] = e->noisy[k][judge][a];
            c->y[c->n] = c->marks[c->n].value;
            c->n += !isnan(c->y[c->n]);
        }
        series[a] = (struct ap_svg_series){ap_arm_shown(name), name, c->x, c->y, c->n, c->marks};
    }
    ap_svg_lines(page,
                 &(struct ap_svg_chart){.title = "Mean score against noise in the prompts",
                                        .x_label = "words touched, % (bars: 95% intervals)",
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
