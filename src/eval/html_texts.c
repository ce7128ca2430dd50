/* How the texts look: a table of the arms on the test set with what to be careful about, and the
 * courses of validations and monitors during training. Entry points: ap_html_texts, ap_html_watch.
 */
#include "eval/html.h"
#include "eval/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the table ---- */

/* Columns of the table: a monitor, or the answers' own missing ends. */
enum { ANSWER_MISSING_END = AP_MONITOR_COUNT };
static const struct {
    int monitor;
    const char *title;
    bool share;
} columns[] = {
    {AP_MONITOR_REWRITE_LENGTH, "rewrite, tokens", false},
    {AP_MONITOR_ANSWER_LENGTH, "answer, tokens", false},
    {AP_MONITOR_REPETITION, "repetition", true},
    {AP_MONITOR_MISSING_END, "rewrite without end", true},
    {ANSWER_MISSING_END, "answer without end", true},
    {AP_MONITOR_COPY, "copied words", true},
    {AP_MONITOR_DRIFT, "drift", true},
};

static double cell(const struct ap_arm_texts *texts, int monitor)
{
    if (monitor == ANSWER_MISSING_END)
        return texts->answer_missing_end;
    if (monitor == AP_MONITOR_MISSING_END && isnan(texts->monitors[AP_MONITOR_REWRITE_LENGTH]))
        return NAN; /* there are no rewrites: it is the answers' */
    return texts->monitors[monitor];
}

static void put_arm(struct ap_page *page, const struct ap_evaluation *e, int arm)
{
    ap_page_put(page, "<tr><th scope=\"row\">");
    ap_html_text(page, ap_arm_shown(e->arms[0][arm].name));
    ap_page_put(page, "</th>");
    for (size_t k = 0; k < AP_LEN(columns); k++) {
        const double value = cell(&e->texts[arm], columns[k].monitor);
        ap_page_put(page, "<td>");
        ap_html_number(page, columns[k].share && !isnan(value)
                                 ? ap_percent(value)
                                 : ap_number(value, columns[k].share ? 2 : 1, false));
        ap_page_put(page, "</td>");
    }
    ap_page_put(page, "</tr>\n");
}

void ap_html_cautions(struct ap_page *page, const struct ap_report_source *source)
{
    struct ap_buffer text = {0};
    ap_status status = ap_evaluation_cautions(source->evaluation, source->monitor, source->unasked,
                                              source->n_unasked, &text, page->err);
    if (status != AP_OK && page->status == AP_OK)
        page->status = status;
    if (page->status == AP_OK && text.data)
        ap_html_lines(page, text.data, false);
    ap_buffer_free(&text);
}

static bool lacks_tokens(const struct ap_evaluation *e)
{
    for (int a = 0; a < e->n_arm; a++)
        if (e->n_judge > 0 && isnan(e->arms[0][a].answer_tokens.value))
            return true;
    return false;
}

static void put_note(struct ap_page *page, const struct ap_evaluation *e)
{
    ap_page_put(page, "</tbody></table></div>\n<p class=\"note\">Means over the test set. ");
    if (lacks_tokens(e))
        ap_page_put(page,
                    "Answers whose tokens the server does not count are left out of the answer "
                    "length; the table of the arms has n/a for them. ");
    ap_page_put(page,
                "<b>repetition</b>: share of an answer's word triples that stood in it before. "
                "<b>copied words</b>: share of the prompt's words that its rewrite has. "
                "<b>drift</b>: how unlike prompt and rewrite are, by their character trigrams. A "
                "reward that is fooled shows here first.</p>\n");
}

void ap_html_texts(struct ap_page *page, const struct ap_report_source *source)
{
    const struct ap_evaluation *e = source->evaluation;
    if (!e->has_texts)
        return;
    ap_page_put(page, "<h2>How the texts look</h2>\n");
    ap_page_put(page, "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>"
                      "<th scope=\"col\">arm</th>");
    for (size_t k = 0; k < AP_LEN(columns); k++)
        ap_page_printf(page, "<th scope=\"col\">%s</th>", columns[k].title);
    ap_page_put(page, "</tr></thead>\n<tbody>\n");
    for (int a = 0; a < e->n_arm; a++)
        put_arm(page, e, a);
    put_note(page, e);
}

/* ---- during training ---- */

static const char *const stages[] = {"align", "rlhf"};

/* One line a stage. */
static void put_monitor(struct ap_page *page, const struct ap_curves *curves, ap_monitor monitor)
{
    static const struct {
        const char *title, *y_label;
    } charts[AP_MONITOR_COUNT] = {
        [AP_MONITOR_REPETITION] = {"Repetition in the answers", "share of word triples"},
        [AP_MONITOR_MISSING_END] = {"Without an end token", "share of what the policy writes"},
        [AP_MONITOR_COPY] = {"Words of the prompt in its rewrite", "share of words"},
        [AP_MONITOR_DRIFT] = {"Drift of the rewrite from the prompt", "1 - likeness"},
        [AP_MONITOR_REWRITE_LENGTH] = {"Length of the rewrites", "mean tokens"},
        [AP_MONITOR_ANSWER_LENGTH] = {"Length of the answers", "mean tokens"},
        [AP_MONITOR_GAP] = {"Reward ahead of the held-out judge", "growth since the first"},
    };
    struct ap_svg_series series[AP_LEN(stages)];
    int n = 0;
    for (size_t i = 0; i < AP_LEN(stages); i++) {
        const struct ap_curve *c = ap_curves_find(curves, stages[i], ap_monitor_name(monitor));
        if (c && c->n > 0)
            series[n++] = (struct ap_svg_series){
                ap_arm_shown(stages[i]), stages[i], c->step, c->value, c->n, NULL};
    }
    if (n > 0)
        ap_svg_lines(page,
                     &(struct ap_svg_chart){.title = charts[monitor].title,
                                            .x_label = "step",
                                            .y_label = charts[monitor].y_label,
                                            .from_zero = monitor != AP_MONITOR_GAP},
                     series, n);
}

/* One line a judge; each takes the colour and the dash of an arm. */
static void put_validation(struct ap_page *page, const struct ap_curves *curves, const char *stage)
{
    static const char *const looks[] = {"align", "bare", "rlhf", "sft", "instruct", "best-of-n"};
    struct ap_svg_series series[AP_LEN(looks)];
    struct ap_buffer labels[AP_LEN(looks)] = {{0}};
    char title[96];
    size_t n = 0;
    for (size_t i = 0; i < curves->n && n < AP_LEN(looks); i++) {
        const struct ap_curve *c = &curves->items[i];
        if (strcmp(c->stage, stage) != 0 || c->n == 0 || strcmp(c->name, "valid_kl") == 0 ||
            strcmp(c->name, AP_VALID_PREFIX) == 0 ||
            strncmp(c->name, AP_VALID_PREFIX, strlen(AP_VALID_PREFIX)) != 0)
            continue;
        struct ap_page label = {.out = &labels[n], .err = page->err};
        ap_html_text(&label, c->name + strlen(AP_VALID_PREFIX));
        if (label.status != AP_OK)
            page->status = label.status;
        else
            series[n] =
                (struct ap_svg_series){labels[n].data, looks[n], c->step, c->value, c->n, NULL};
        n += label.status == AP_OK;
    }
    snprintf(title, sizeof(title), "%s on valid prompts, by judge", ap_arm_shown(stage));
    if (n > 0)
        ap_svg_lines(
            page,
            &(struct ap_svg_chart){.title = title, .x_label = "step", .y_label = "mean score"},
            series, (int)n);
    for (size_t i = 0; i < AP_LEN(looks); i++)
        ap_buffer_free(&labels[i]);
}

static bool has_any(const struct ap_curves *curves)
{
    for (int k = 0; k < AP_MONITOR_COUNT; k++)
        for (size_t i = 0; i < AP_LEN(stages); i++)
            if (ap_curves_find(curves, stages[i], ap_monitor_name((ap_monitor)k)))
                return true;
    return false;
}

void ap_html_watch(struct ap_page *page, const struct ap_curves *curves)
{
    if (!has_any(curves))
        return;
    ap_page_put(page, "<h3>What watches it</h3>\n<div class=\"plots\">\n");
    for (size_t i = 0; i < AP_LEN(stages); i++)
        put_validation(page, curves, stages[i]);
    for (int k = AP_MONITOR_COUNT - 1; k >= 0; k--)
        put_monitor(page, curves, (ap_monitor)k);
    ap_page_put(page, "</div>\n");
}
