/* Plots as inline SVG. A plot is 380 units wide, so that its text is about as large as the page's
 * at any width that the style sheet gives it.
 *
 *     y label                     legend (in the figure's caption)
 *     6 ┤                ____●
 *     4 ┤        ___----/          LEFT = 46, RIGHT = 14
 *     2 ┤___----/                  TOP = 24, BOTTOM = 38
 *       └──────┬──────┬─────
 *             10     20   x label
 *
 * Entry points: ap_svg_lines here; rows in svg_rows.c, points in svg_points.c. */
#include "eval/svg.h"

#include "base/memory.h"
#include "eval/svg_inner.h"

#include <math.h>
#include <string.h>

#define HEIGHT 236.0
#define LEFT AP_SVG_LEFT
#define BINS_MAX 240
#define LEGEND_ROW 20.0

/* ---- axes ---- */

struct ap_axis ap_axis_nice(double low, double high, int n_ticks)
{
    static const double steps[] = {1, 2, 2.5, 5, 10};
    struct ap_axis axis = {0};
    if (!isfinite(low) || !isfinite(high) || low > high)
        low = 0, high = 1;
    if (high - low < 1e-9 * fmax(fabs(low), fabs(high)) || high - low < 1e-12) {
        double pad = fmax(0.5 * fabs(high), 0.5);
        low -= pad, high += pad;
    }
    double raw = (high - low) / n_ticks, power = pow(10, floor(log10(raw)));
    axis.step = 10 * power;
    for (size_t i = 0; i < AP_LEN(steps); i++)
        if (steps[i] * power >= raw * 0.999) {
            axis.step = steps[i] * power;
            break;
        }
    axis.low = floor(low / axis.step + 1e-9) * axis.step;
    axis.high = ceil(high / axis.step - 1e-9) * axis.step;
    for (double s = axis.step; axis.decimals < 9 && fabs(s - round(s)) > 1e-6 * s; s *= 10)
        axis.decimals++;
    return axis;
}

double ap_axis_place(const struct ap_axis *axis, double value, double from, double to)
{
    double share = (value - axis->low) / (axis->high - axis->low);
    return from + (to - from) * fmin(1, fmax(0, share));
}

int ap_axis_n_ticks(const struct ap_axis *axis)
{
    return 1 + (int)((axis->high - axis->low) / axis->step + 1e-6);
}

void ap_svg_tick_text(struct ap_page *page, const struct ap_axis *axis, int tick)
{
    double value = axis->low + tick * axis->step;
    if (fabs(axis->high) >= 1e5 || fabs(axis->low) >= 1e5)
        ap_page_printf(page, "%.3g", value);
    else
        ap_html_number(page, ap_number(value, axis->decimals, false));
}

void ap_svg_x_axis(struct ap_page *page, const struct ap_axis *axis, double left, double right,
                   double top, double bottom, const char *label)
{
    for (int i = 0; i < ap_axis_n_ticks(axis); i++) {
        double x = ap_axis_place(axis, axis->low + i * axis->step, left, right);
        ap_page_printf(page,
                       "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", x,
                       top, x, bottom + 4);
        ap_page_printf(page, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", x, bottom + 16);
        ap_svg_tick_text(page, axis, i);
        ap_page_put(page, "</text>\n");
    }
    ap_page_printf(page, "<line class=\"axis\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
                   left, bottom, right, bottom);
    ap_page_printf(page,
                   "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
                   (left + right) / 2, bottom + 32, label);
}

void ap_svg_y_axis(struct ap_page *page, const struct ap_axis *axis, double top, double bottom,
                   const char *label)
{
    for (int i = 0; i < ap_axis_n_ticks(axis); i++) {
        double y = ap_axis_place(axis, axis->low + i * axis->step, bottom, top);
        ap_page_printf(page,
                       "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
                       LEFT - 4, y, AP_SVG_WIDTH - AP_SVG_RIGHT, y);
        ap_page_printf(page, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 7, y + 4);
        ap_svg_tick_text(page, axis, i);
        ap_page_put(page, "</text>\n");
    }
    ap_page_printf(page, "<text class=\"label\" x=\"4\" y=\"12\">%s</text>\n", label);
}

/* ---- marks ---- */

void ap_svg_marker(struct ap_page *page, const char *name, double x, double y, double size)
{
    static const char *const square[] = {"rlhf", "dpo", "ift", "pretrain"};
    static const char *const diamond[] = {"best-of-n", "best-of-n-answers", "sft"};
    const char *shape = "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z";
    for (size_t i = 0; i < AP_LEN(square); i++)
        if (strcmp(name, square[i]) == 0)
            shape = "M-4 -4h8v8h-8z";
    for (size_t i = 0; i < AP_LEN(diamond); i++)
        if (strcmp(name, diamond[i]) == 0)
            shape = "M0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z";
    ap_page_printf(
        page, "<path class=\"dot arm-%s\" transform=\"translate(%.1f %.1f) scale(%g)\" d=\"%s\"/>",
        ap_svg_class(name), x, y, size, shape);
}

/* Names from data become classes only when they are ours. */
const char *ap_svg_class(const char *name)
{
    static const char *const known[] = {
        "bare",   "instruct", "sft",      "align",     "rlhf",
        "dpo",    "ift",      "pretrain", "best-of-n", "best-of-n-answers",
        "reward", "align-1",  "align-2",  "align-3",   "align-4"};
    for (size_t i = 0; i < AP_LEN(known); i++)
        if (strcmp(name, known[i]) == 0)
            return known[i];
    return "other";
}

void ap_svg_begin(struct ap_page *page, const struct ap_svg_chart *chart, double height)
{
    ap_page_printf(page, "<figure>\n<figcaption>%s</figcaption>\n", chart->title);
    ap_page_printf(page, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n",
                   AP_SVG_WIDTH, height, chart->title);
}

void ap_svg_end(struct ap_page *page)
{
    ap_page_put(page, "</svg>\n</figure>\n");
}

/* ---- lines ---- */

/* A series as it is drawn. */
struct line {
    double *x, *raw, *smooth; /* one block, owned by x */
    size_t n;
    bool is_binned;
};

/* A line fitted to the points within n / 24 to each side, read off at i: a moving average that does
 * not lag where it is cut, at the ends. */
static double smoothed(const double *y, size_t n, size_t i)
{
    size_t half = n / 24, first = i > half ? i - half : 0, last = i + half < n ? i + half : n - 1;
    double m = 0, x1 = 0, x2 = 0, y0 = 0, y1 = 0;
    for (size_t k = first; k <= last; k++) {
        double x = (double)k - (double)i;
        m += 1;
        x1 += x;
        x2 += x * x;
        y0 += y[k];
        y1 += x * y[k];
    }
    return x2 > 0 ? (y0 * x2 - y1 * x1) / (m * x2 - x1 * x1) : y0 / m;
}

static bool make_line(struct line *line, const struct ap_svg_series *s)
{
    size_t per = (s->n + BINS_MAX - 1) / BINS_MAX, n = per ? (s->n + per - 1) / per : 0;
    *line = (struct line){.n = n, .is_binned = per > 1, .x = ap_calloc(n, 3 * sizeof(double))};
    if (!line->x)
        return false;
    line->raw = line->x + n;
    line->smooth = line->raw + n;
    for (size_t i = 0; i < n; i++) {
        size_t first = i * per, last = first + per < s->n ? first + per : s->n;
        for (size_t k = first; k < last; k++) {
            line->x[i] += s->x[k] / (double)(last - first);
            line->raw[i] += s->y[k] / (double)(last - first);
        }
    }
    for (size_t i = 0; i < n; i++)
        line->smooth[i] = smoothed(line->raw, n, i);
    return true;
}

static void put_line(struct ap_page *page, const struct line *line, const double *y,
                     const struct ap_axis axes[2], const char *class, const char *name)
{
    ap_page_printf(page, "<polyline class=\"%s arm-%s\" points=\"", class, ap_svg_class(name));
    for (size_t i = 0; i < line->n; i++)
        ap_page_printf(page, "%s%.1f,%.1f", i ? " " : "",
                       ap_axis_place(&axes[0], line->x[i], LEFT, AP_SVG_WIDTH - AP_SVG_RIGHT),
                       ap_axis_place(&axes[1], y[i], HEIGHT - AP_SVG_BOTTOM, AP_SVG_TOP));
    ap_page_put(page, "\"/>\n");
}

static void put_series(struct ap_page *page, const struct line *line, const struct ap_axis axes[2],
                       const char *name)
{
    if (line->n == 0)
        return;
    size_t last = line->n - 1;
    if (line->n >= 24) /* below that the two are the same */
        put_line(page, line, line->raw, axes, "raw", name);
    put_line(page, line, line->smooth, axes, "line", name);
    ap_svg_marker(
        page, name, ap_axis_place(&axes[0], line->x[last], LEFT, AP_SVG_WIDTH - AP_SVG_RIGHT),
        ap_axis_place(&axes[1], line->smooth[last], HEIGHT - AP_SVG_BOTTOM, AP_SVG_TOP), 1);
}

/* Whiskers of several series stand side by side, not one upon the other. */
static void put_whiskers(struct ap_page *page, const struct ap_svg_series *s, double aside,
                         const struct ap_axis axes[2])
{
    for (size_t i = 0; i < s->n && s->marks; i++) {
        if (isnan(s->marks[i].low) || isnan(s->marks[i].high))
            continue;
        double x = aside + ap_axis_place(&axes[0], s->x[i], LEFT, AP_SVG_WIDTH - AP_SVG_RIGHT);
        ap_page_printf(
            page,
            "<line class=\"whisker arm-%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            ap_svg_class(s->name), x,
            ap_axis_place(&axes[1], s->marks[i].low, HEIGHT - AP_SVG_BOTTOM, AP_SVG_TOP), x,
            ap_axis_place(&axes[1], s->marks[i].high, HEIGHT - AP_SVG_BOTTOM, AP_SVG_TOP));
    }
}

/* Axes that hold what is drawn. */
static void ranges(const struct line *lines, const struct ap_svg_series *series, int n,
                   bool from_zero, struct ap_axis axes[2])
{
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < lines[i].n; k++) {
            double at[2] = {lines[i].x[k], lines[i].raw[k]};
            for (int d = 0; d < 2; d++) {
                low[d] = fmin(low[d], at[d]);
                high[d] = fmax(high[d], at[d]);
            }
        }
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < series[i].n && series[i].marks; k++) {
            low[1] = fmin(low[1], series[i].marks[k].low);
            high[1] = fmax(high[1], series[i].marks[k].high);
        }
    if (from_zero && low[1] >= 0)
        low[1] = 0;
    axes[0] = ap_axis_nice(low[0], high[0], 5);
    axes[1] = ap_axis_nice(low[1], high[1], 5);
    if (isfinite(high[0]) && high[0] > low[0]) /* steps end where the run ends */
        axes[0].high = fmax(high[0], axes[0].low + axes[0].step);
}

/* One or two names stand above the plot, more of them below it, three a row. */
static int legend_rows(int n)
{
    return n > 2 ? (n + 2) / 3 : 0;
}

static void put_legend(struct ap_page *page, const struct ap_svg_series *series, int n)
{
    bool above = legend_rows(n) == 0;
    for (int i = 0; i < n; i++) {
        double x = above ? AP_SVG_WIDTH - AP_SVG_RIGHT - 92.0 * (n - i) : LEFT + 112.0 * (i % 3),
               y = above ? 8 : HEIGHT + 8 + LEGEND_ROW * (i / 3);
        ap_page_printf(page,
                       "<line class=\"line arm-%s\" x1=\"%.1f\" y1=\"%g\" x2=\"%.1f\" y2=\"%g\"/>",
                       ap_svg_class(series[i].name), x, y, x + 26, y);
        ap_svg_marker(page, series[i].name, x + 13, y, 1);
        ap_page_printf(page, "<text x=\"%.1f\" y=\"%g\">%s</text>\n", x + 32, y + 4,
                       series[i].label);
    }
}

void ap_svg_lines(struct ap_page *page, const struct ap_svg_chart *chart,
                  const struct ap_svg_series *series, int n_series)
{
    struct line lines[AP_ARMS_MAX] = {0};
    struct ap_axis axes[2];
    int n = n_series < AP_ARMS_MAX ? n_series : AP_ARMS_MAX;
    for (int i = 0; i < n; i++)
        if (!make_line(&lines[i], &series[i]) && page->status == AP_OK)
            page->status = ap_fail(page->err, AP_MEMORY, "report: out of memory for a plot");
    if (page->status == AP_OK) {
        ranges(lines, series, n, chart->from_zero, axes);
        ap_svg_begin(page, chart, HEIGHT + LEGEND_ROW * legend_rows(n));
        ap_svg_y_axis(page, &axes[1], AP_SVG_TOP, HEIGHT - AP_SVG_BOTTOM, chart->y_label);
        ap_svg_x_axis(page, &axes[0], LEFT, AP_SVG_WIDTH - AP_SVG_RIGHT, HEIGHT - AP_SVG_BOTTOM,
                      HEIGHT - AP_SVG_BOTTOM, chart->x_label);
        for (int i = 0; i < n; i++)
            put_whiskers(page, &series[i], 2.5 * (i - (n - 1) / 2.0), axes);
        for (int i = 0; i < n; i++)
            put_series(page, &lines[i], axes, series[i].name);
        if (n > 1)
            put_legend(page, series, n);
        ap_svg_end(page);
    }
    for (int i = 0; i < n; i++)
        ap_free(lines[i].x);
}
