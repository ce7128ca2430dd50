/* Which plots report.html has, and what is drawn in each. How they are drawn: svg.h.
 * Entry points: ap_html_curves, ap_html_comparison. */
#include "eval/html.h"
#include "eval/svg.h"

#include <math.h>
#include <string.h>

/* Names are escaped for a figure's texts, at most 31 bytes become at most 186. */
struct label {
    char text[256];
};

static struct label escaped(struct ap_page *page, const char *prefix, const char *text,
                            const char *suffix)
{
    struct label out = {""};
    struct ap_buffer buffer = {0};
    struct ap_page inner = {.out = &buffer, .err = page->err};
    ap_page_put(&inner, prefix);
    ap_html_text(&inner, text);
    ap_page_put(&inner, suffix);
    if (inner.status != AP_OK && page->status == AP_OK)
        page->status = inner.status;
    if (buffer.data && buffer.len < sizeof(out.text))
        memcpy(out.text, buffer.data, buffer.len + 1);
    ap_buffer_free(&buffer);
    return out;
}

/* ---- training ---- */

static void put_rl(struct ap_page *page, const struct ap_curves *curves, const char *name,
                   const struct ap_svg_chart *chart)
{
    static const char *const stages[] = {"align", "align-2", "align-3", "align-4", "rlhf"};
    struct ap_svg_series series[AP_LEN(stages)];
    int n = 0;
    for (size_t i = 0; i < AP_LEN(stages); i++) {
        const struct ap_curve *c = ap_curves_find(curves, stages[i], name);
        if (c && c->n > 0)
            series[n++] = (struct ap_svg_series){
                ap_arm_shown(stages[i]), stages[i], c->step, c->value, c->n, NULL};
    }
    if (n > 0)
        ap_svg_lines(page, chart, series, n);
}

void ap_html_curves(struct ap_page *page, const struct ap_curves *curves)
{
    ap_page_put(page, "<div class=\"plots\">\n");
    put_rl(page, curves, "reward",
           &(struct ap_svg_chart){.title = "Reward during reinforcement learning",
                                  .x_label = "step",
                                  .y_label = "mean reward of a step"});
    put_rl(page, curves, "kl",
           &(struct ap_svg_chart){.title = "KL from the starting policy",
                                  .x_label = "step",
                                  .y_label = "KL, nats",
                                  .from_zero = true});
    put_rl(page, curves, "lambda",
           &(struct ap_svg_chart){.title = "KL weight, adapted to the target",
                                  .x_label = "step",
                                  .y_label = "lambda",
                                  .from_zero = true});
    for (size_t i = 0; i < curves->n; i++) {
        const struct ap_curve *c = &curves->items[i];
        if (strcmp(c->name, "loss") != 0 || c->n == 0)
            continue;
        struct label title = escaped(page, "Loss of the stage ", c->stage, "");
        const char *unit = strncmp(c->stage, "reward", strlen("reward")) == 0
                               ? "loss, nats a pair"
                               : "loss, nats a token";
        ap_svg_lines(
            page,
            &(struct ap_svg_chart){
                .title = title.text, .x_label = "step", .y_label = unit, .from_zero = true},
            &(struct ap_svg_series){"loss", c->stage, c->step, c->value, c->n, NULL}, 1);
    }
    ap_page_put(page, "</div>\n");
}

/* ---- arms ---- */

static void put_intervals(struct ap_page *page, const struct ap_evaluation *e, int judge)
{
    struct ap_svg_row rows[AP_ARMS_MAX];
    struct label labels[AP_ARMS_MAX];
    struct ap_number texts[AP_ARMS_MAX];
    int n = 0, decimals = ap_score_decimals(e, judge);
    for (int a = 0; a < e->n_arm; a++) {
        const struct ap_arm_statistics *arm = &e->arms[judge][a];
        struct ap_interval x = arm->delta_bare;
        if (isnan(x.value) || strcmp(arm->name, "bare") == 0)
            continue;
        labels[n] = escaped(page, "", ap_arm_shown(arm->name), "");
        texts[n] = ap_with_range(x, decimals, true);
        rows[n] = (struct ap_svg_row){
            .label = labels[n].text, .name = arm->name, .mark = x, .text = texts[n].text};
        n++;
    }
    if (n == 0)
        return;
    struct label title = escaped(page, "Gain over bare, judged by ", e->judges[judge], "");
    ap_svg_intervals(page,
                     &(struct ap_svg_chart){.title = title.text,
                                            .x_label = "difference of mean scores, 95% interval"},
                     rows, n);
}

static void put_distributions(struct ap_page *page, const struct ap_evaluation *e, int judge,
                              const struct ap_answers_read *read)
{
    struct ap_svg_row rows[AP_ARMS_MAX];
    struct label labels[AP_ARMS_MAX];
    for (int a = 0; a < e->n_arm; a++) {
        const struct ap_arm_statistics *arm = &e->arms[judge][a];
        labels[a] = escaped(page, "", ap_arm_shown(arm->name), "");
        rows[a] = (struct ap_svg_row){.label = labels[a].text,
                                      .name = arm->name,
                                      .mark = arm->mean,
                                      .values = read->scores[judge][a].values,
                                      .n = read->scores[judge][a].n};
    }
    struct label title = escaped(page, "Scores of all answers, judged by ", e->judges[judge], "");
    ap_svg_distributions(
        page,
        &(struct ap_svg_chart){.title = title.text,
                               .x_label = "score (bars: answers; mark: mean, 95% interval)"},
        rows, e->n_arm);
}

void ap_html_comparison(struct ap_page *page, const struct ap_evaluation *e,
                        const struct ap_answers_read *read)
{
    ap_page_put(page, "<div class=\"plots\">\n");
    for (int j = 0; j < e->n_judge; j++)
        put_intervals(page, e, j);
    ap_page_put(page, "</div>\n<div class=\"plots\">\n");
    for (int j = 0; j < e->n_judge; j++)
        put_distributions(page, e, j, read);
    ap_page_put(page, "</div>\n");
}
