/* A sweep's page: sentences, reward against KL, the table, how to read them (sweep_report.h). Entry
 * point: ap_sweep_html. */
#include "base/memory.h"
#include "eval/html.h"
#include "eval/svg.h"
#include "eval/sweep_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
    ".frontier{fill:none;stroke:var(--soft);stroke-width:1.8;stroke-dasharray:6 4}\n"
    ".ring{fill:none;stroke:var(--ink);stroke-width:1.6}\n"
    ".whisker.thin{stroke-width:1.2;opacity:.75}\n"
    "svg .point{fill:var(--ink)}\n"
    ".wide figure{max-width:540px}\n";

/* What sets groups of points apart: colour and marker of an arm, whose name is not shown. */
static const char *const looks[] = {"align", "rlhf", "sft", "instruct", "best-of-n", "bare"};
enum { GROUPS_MAX = 6 };

/* ---- texts ---- */

/* Escaped, in a buffer of its own; NULL after a failure, which the page keeps. */
static char *escaped(struct ap_page *page, const char *text)
{
    struct ap_buffer out = {0};
    struct ap_page inner = {.out = &out, .err = page->err};
    ap_html_text(&inner, text);
    ap_page_put(&inner, "");
    if (inner.status != AP_OK && page->status == AP_OK)
        page->status = inner.status;
    return out.data;
}

/* ---- the plot ---- */

struct plot {
    struct ap_svg_point points[AP_SWEEP_MAX]; /* those of a group side by side */
    struct ap_svg_group groups[AP_SWEEP_MAX];
    char *texts[2 * AP_SWEEP_MAX]; /* owned */
    int n_point, n_group, n_text;
};

static void plot_free(struct plot *plot)
{
    for (int i = 0; i < plot->n_text; i++)
        ap_free(plot->texts[i]);
}

static const char *keep(struct plot *plot, char *text)
{
    if (text)
        plot->texts[plot->n_text++] = text;
    return text ? text : "";
}

/* Whether two points differ in the first key alone. */
static bool same_group(const struct ap_sweep_results *r, int a, int b)
{
    for (int k = 1; k < r->n_keys; k++)
        if (strcmp(r->points[a].values[k], r->points[b].values[k]) != 0)
            return false;
    return true;
}

static int first_of_group(const struct ap_sweep_results *r, int point)
{
    int first = 0;
    while (!same_group(r, first, point))
        first++;
    return first;
}

static int count_groups(const struct ap_sweep_results *r)
{
    int n = 0;
    for (int i = 0; i < r->n; i++)
        n += first_of_group(r, i) == i;
    return n;
}

/* "align.steps=100": the other keys of a group. */
static char *group_label(struct ap_page *page, const struct ap_sweep_results *r, int point)
{
    struct ap_sweep_results rest = *r;
    struct ap_sweep_point shifted = r->points[point];
    struct ap_buffer label = {0};
    char *text = NULL;
    for (int k = 1; k < r->n_keys; k++)
        shifted.values[k - 1] = r->points[point].values[k];
    rest.keys = r->keys + 1;
    rest.n_keys = r->n_keys - 1;
    rest.points = &shifted;
    if (rest.n_keys > 0 && page->status == AP_OK)
        page->status = ap_sweep_label(&rest, 0, &label, page->err);
    if (page->status == AP_OK)
        text = escaped(page, label.data);
    ap_buffer_free(&label);
    return text;
}

static void add_point(struct ap_page *page, const struct ap_sweep_results *r, int judge, int point,
                      bool ring, bool whole, struct plot *plot)
{
    const struct ap_arm_statistics *arm = &r->points[point].judged[judge];
    struct ap_buffer label = {0};
    if (whole && page->status == AP_OK)
        page->status = ap_buffer_printf(&label, page->err, "%d", point + 1);
    plot->points[plot->n_point++] = (struct ap_svg_point){
        .x = arm->kl,
        .y = arm->mean,
        .ring = ring,
        .label = keep(plot, escaped(page, whole ? label.data : r->points[point].values[0]))};
    ap_buffer_free(&label);
}

/* A group for each value of the other keys, or, of too many, one whose points have the numbers of
 * the table's rows. */
static void make_plot(struct ap_page *page, const struct ap_sweep_results *r, int judge,
                      struct plot *plot)
{
    int n_corner, knee = ap_sweep_knee(r, judge, &n_corner);
    bool many = count_groups(r) > GROUPS_MAX;
    for (int first = 0; first < r->n; first++) {
        if (many ? first > 0 : first_of_group(r, first) != first)
            continue;
        struct ap_svg_group *group = &plot->groups[plot->n_group];
        *group =
            (struct ap_svg_group){.name = looks[plot->n_group++],
                                  .points = &plot->points[plot->n_point],
                                  .label = many ? "" : keep(plot, group_label(page, r, first))};
        for (int i = first; i < r->n; i++)
            if (r->points[i].done && (many || same_group(r, first, i))) {
                add_point(page, r, judge, i, i == knee, many, plot);
                group->n++;
            }
        group->joined = !many;
    }
}

static void put_plot(struct ap_page *page, const struct ap_sweep_results *r, int judge)
{
    double x[AP_FRONTIER_MAX], y[AP_FRONTIER_MAX];
    struct ap_svg_curve curve = {.label = "closed-form frontier, math.md (4)", .x = x, .y = y};
    struct plot plot = {.n_point = 0};
    struct ap_buffer title = {0};
    for (int i = 0; judge == 0 && i < r->n_frontier; i++, curve.n++) {
        x[i] = r->frontier[i].kl.value;
        y[i] = r->frontier[i].reward.value;
    }
    make_plot(page, r, judge, &plot);
    char *name = escaped(page, r->judges[judge]);
    if (page->status == AP_OK)
        page->status = ap_buffer_printf(&title, page->err, "Reward against KL, judged by %s", name);
    if (page->status == AP_OK)
        ap_svg_points(page,
                      &(struct ap_svg_chart){.title = title.data,
                                             .x_label = "KL from the start, nats (95% intervals)",
                                             .y_label = "mean score",
                                             .from_zero = true},
                      plot.groups, plot.n_group, &curve);
    ap_buffer_free(&title);
    ap_free(name);
    plot_free(&plot);
}

/* ---- the table ---- */

static void put_cell(struct ap_page *page, struct ap_interval x, int decimals, bool sign)
{
    ap_page_put(page, "<td>");
    ap_html_number(page, ap_number(x.value, decimals, sign));
    ap_page_put(page, "<small>");
    ap_html_number(page, ap_range(x, decimals));
    ap_page_put(page, "</small></td>");
}

static void put_table(struct ap_page *page, const struct ap_sweep_results *r, int judge)
{
    double scale = 0;
    int n_corner, knee = ap_sweep_knee(r, judge, &n_corner);
    for (int i = 0; i < r->n; i++)
        if (r->points[i].done)
            scale = fmax(scale, fabs(r->points[i].judged[judge].mean.value));
    int decimals = ap_scale_decimals(scale);
    ap_page_put(page, "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>");
    for (int k = 0; k < r->n_keys; k++) {
        ap_page_put(page, "<th scope=\"col\">");
        ap_html_text(page, r->keys[k]);
        ap_page_put(page, "</th>");
    }
    ap_page_put(page, "<th scope=\"col\">mean score</th>"
                      "<th scope=\"col\">over bare</th><th scope=\"col\">KL, nats</th>"
                      "<th scope=\"col\"></th></tr></thead>\n<tbody>\n");
    for (int i = 0; i < r->n; i++) {
        const struct ap_arm_statistics *arm = &r->points[i].judged[judge];
        ap_page_printf(page, "<tr%s><th scope=\"row\">", i == knee ? " class=\"main\"" : "");
        if (r->n_keys > 1)
            ap_page_printf(page, "%d. ", i + 1);
        ap_html_text(page, r->points[i].values[0]);
        ap_page_put(page, "</th>");
        for (int k = 1; k < r->n_keys; k++) {
            ap_page_put(page, "<td>");
            ap_html_text(page, r->points[i].values[k]);
            ap_page_put(page, "</td>");
        }
        if (r->points[i].done) {
            put_cell(page, arm->mean, decimals, false);
            put_cell(page, arm->delta_bare, decimals, true);
            put_cell(page, arm->kl, 2, false);
            ap_page_printf(page, "<td>%s</td>", i == knee ? "knee" : "");
        } else {
            ap_page_put(page, "<td colspan=\"4\" class=\"none\">not done</td>");
        }
        ap_page_put(page, "</tr>\n");
    }
    ap_page_put(page, "</tbody></table></div>\n");
}

/* ---- the page ---- */

static void put_sentences(struct ap_page *page, const struct ap_sweep_results *r)
{
    struct ap_buffer text = {0};
    if (page->status == AP_OK)
        page->status = ap_sweep_sentences(r, &text, page->err);
    if (page->status == AP_OK && text.data)
        ap_html_lines(page, text.data, false);
    ap_buffer_free(&text);
}

static void put_frontier_note(struct ap_page *page, const struct ap_sweep_results *r)
{
    if (r->n_frontier == 0)
        return;
    ap_page_put(
        page,
        "<p class=\"note\"><b>The dashed curve</b>: the closed-form optimum of each KL weight "
        "lambda, rho* of math.md (4), as lambda goes from large (left) to small: the most "
        "reward that a prompter can have at that KL from its start. ");
    if (r->frontier_rewrites == 0)
        ap_page_put(page, "It is exact: every rewrite of this world is known.</p>\n");
    else
        ap_page_printf(
            page,
            "It is estimated from %d rewrites of the start and %d answers to each, one "
            "half of the answers weighing the rewrites and the other valuing them, so it "
            "lies at or below the true curve but for chance; it ends at KL log %d = %.2f "
            "and says nothing of what lies beyond.</p>\n",
            r->frontier_rewrites, r->frontier_answers, r->frontier_rewrites,
            log(r->frontier_rewrites));
}

static void put_reading(struct ap_page *page, const struct ap_sweep_results *r)
{
    ap_page_put(page,
                "<p class=\"note\">Each point is a whole run of the recipe with that value, its "
                "arm ");
    ap_html_text(page, ap_arm_shown(r->arm));
    ap_page_printf(
        page,
        " on the same test prompts; in brackets, and as bars, 95%% bootstrap intervals "
        "over test prompts (%d resamples). They tell what other prompts would change, not "
        "what another seed of the training would. <b>KL</b>: how far the trained policy "
        "moved from its start. <b>The knee</b> (ringed): the corner of the points' upper "
        "concave frontier that lies farthest above the straight line from its point of "
        "least KL to its point of most reward, both axes stretched to the same length. It "
        "is where more KL begins to buy less, and a choice among these values only. %s, where "
        "there is room.</p>\n",
        r->n_bootstrap,
        r->n_keys > 1 && count_groups(r) > GROUPS_MAX
            ? "The numbers beside the points are those of the rows"
            : "Beside each point stands its value");
}

ap_status ap_sweep_html(const struct ap_sweep_results *r, struct ap_buffer *out,
                        struct ap_error *err)
{
    struct ap_page page = {.out = out, .err = err};
    ap_html_begin(&page, r->title, style, NULL);
    put_sentences(&page, r);
    ap_page_put(&page, "<h2>Reward against KL</h2>\n<div class=\"plots wide\">\n");
    for (int j = 0; j < r->n_judge; j++)
        put_plot(&page, r, j);
    ap_page_put(&page, "</div>\n");
    put_reading(&page, r);
    put_frontier_note(&page, r);
    ap_page_put(&page, "<h2>The numbers</h2>\n");
    for (int j = 0; j < r->n_judge; j++) {
        ap_page_put(&page, "<h3>Judged by ");
        ap_html_text(&page, r->judges[j]);
        ap_page_put(&page, "</h3>\n");
        put_table(&page, r, j);
    }
    ap_page_put(&page, "<p class=\"note\">");
    if (r->version) {
        ap_page_put(&page, "alignpro ");
        ap_html_text(&page, r->version);
        ap_page_put(&page, ". ");
    }
    ap_page_put(&page, "Each run has a folder beside this page, with a report.html of its own; the "
                       "numbers are in sweep.json and sweep.csv.</p>\n");
    ap_html_end(&page, NULL);
    return page.status;
}
