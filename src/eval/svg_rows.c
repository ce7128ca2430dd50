/* Plots with a row an arm: intervals, and distributions on common bins.
 *
 *     bare       ──────┼──●──┼──────   text          bare      ▁▂▅▇▅▂▁
 *     Align-Pro        ┊     ┼──●──┼   text                     ├─●─┤
 *
 * Entry points: ap_svg_intervals, ap_svg_distributions. */
#include "base/memory.h"
#include "eval/svg_inner.h"

#include <math.h>
#include <stdlib.h>

#define LABELS 88.0 /* width of the names */
#define TEXTS 112.0 /* width of what is written at the right */
#define INTERVAL_ROW 28.0
#define BARS 32.0 /* height of the tallest bar */
#define DISTRIBUTION_ROW 54.0
#define BINS_MAX 120

static void put_mark(struct ap_page *page, const struct ap_svg_row *row, const struct ap_axis *axis,
                     double left, double right, double y, double size)
{
    if (isnan(row->mark.value))
        return;
    if (!isnan(row->mark.low) && !isnan(row->mark.high)) {
        double low = ap_axis_place(axis, row->mark.low, left, right),
               high = ap_axis_place(axis, row->mark.high, left, right);
        ap_page_printf(
            page, "<path class=\"whisker arm-%s\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8\"/>",
            ap_svg_class(row->name), low, y, high, low, y - 4, high, y - 4);
    }
    ap_svg_marker(page, row->name, ap_axis_place(axis, row->mark.value, left, right), y, size);
}

static void put_zero(struct ap_page *page, const struct ap_axis *axis, double left, double right,
                     double top, double bottom)
{
    if (axis->low > 0 || axis->high < 0)
        return;
    double x = ap_axis_place(axis, 0, left, right);
    ap_page_printf(page, "<line class=\"zero\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                   x, top, x, bottom);
}

void ap_svg_intervals(struct ap_page *page, const struct ap_svg_chart *chart,
                      const struct ap_svg_row *rows, int n_rows)
{
    double low = 0, high = 0, top = 8, bottom = top + n_rows * INTERVAL_ROW, left = LABELS,
           right = AP_SVG_WIDTH - TEXTS;
    for (int i = 0; i < n_rows; i++) {
        struct ap_interval x = rows[i].mark;
        low = fmin(low, fmin(x.value, x.low)); /* fmin passes over NaN */
        high = fmax(high, fmax(x.value, x.high));
    }
    struct ap_axis axis = ap_axis_nice(low, high, 4);
    ap_svg_begin(page, chart, bottom + AP_SVG_BOTTOM);
    ap_svg_x_axis(page, &axis, left, right, top, bottom, chart->x_label);
    put_zero(page, &axis, left, right, top, bottom);
    for (int i = 0; i < n_rows; i++) {
        double y = top + (i + 0.5) * INTERVAL_ROW;
        ap_page_printf(page, "<text class=\"name\" x=\"2\" y=\"%.1f\">%s</text>\n", y + 4,
                       rows[i].label);
        put_mark(page, &rows[i], &axis, left, right, y, 1);
        ap_page_printf(page, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", AP_SVG_WIDTH - 2,
                       y + 4);
        ap_page_put(page, rows[i].text ? rows[i].text : "");
        ap_page_put(page, "</text>\n");
    }
    ap_svg_end(page);
}

/* ---- distributions ---- */

struct bins {
    double start, width;
    int n;
    double most; /* largest share of an arm's values in a bin */
};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* All values of all rows, sorted. NULL when memory is out or there are none. */
static double *sorted_values(const struct ap_svg_row *rows, int n_rows, size_t *n)
{
    size_t at = 0;
    *n = 0;
    for (int i = 0; i < n_rows; i++)
        *n += rows[i].n;
    double *all = *n > 0 ? ap_calloc(*n, sizeof(*all)) : NULL;
    for (int i = 0; i < n_rows && all; i++)
        for (size_t k = 0; k < rows[i].n; k++)
            all[at++] = rows[i].values[k];
    if (all)
        qsort(all, *n, sizeof(*all), ascending);
    return all;
}

/* The grid on which scores lie when they are counts or halves; 0 when they lie on none. A bin that
 * is no multiple of it would show a comb that is not in the data. */
static double grid_of(const double *sorted, size_t n)
{
    double gap = INFINITY, range = sorted[n - 1] - sorted[0];
    for (size_t i = 1; i < n; i++)
        if (sorted[i] - sorted[i - 1] > 1e-9 * (1 + range))
            gap = fmin(gap, sorted[i] - sorted[i - 1]);
    return isfinite(gap) && gap >= range / 100 ? gap : 0;
}

static struct bins make_bins(const double *sorted, size_t n, struct ap_axis *axis)
{
    double grid = grid_of(sorted, n), low = sorted[0], high = sorted[n - 1];
    *axis = ap_axis_nice(low - grid / 2, high + grid / 2, 5);
    struct bins bins = {.start = axis->low, .width = axis->step / 8};
    if (grid > 0) {
        bins.width = grid * ceil(bins.width / grid - 1e-9);
        bins.start = low - grid / 2;
    }
    bins.n = 1 + (int)fmin(BINS_MAX - 1, (high - bins.start) / bins.width);
    return bins;
}

static void count(const struct bins *bins, const struct ap_svg_row *row, double shares[BINS_MAX])
{
    for (int i = 0; i < bins->n; i++)
        shares[i] = 0;
    for (size_t k = 0; k < row->n; k++) {
        int i = (int)((row->values[k] - bins->start) / bins->width);
        shares[i < 0 ? 0 : i >= bins->n ? bins->n - 1 : i] += 1.0 / (double)row->n;
    }
}

static void put_bars(struct ap_page *page, const struct bins *bins, const struct ap_svg_row *row,
                     const struct ap_axis *axis, double y)
{
    double shares[BINS_MAX], left = LABELS, right = AP_SVG_WIDTH - AP_SVG_RIGHT;
    if (row->n == 0)
        return;
    count(bins, row, shares);
    ap_page_printf(page, "<path class=\"bars arm-%s\" d=\"M%.1f %.1f", ap_svg_class(row->name),
                   ap_axis_place(axis, bins->start, left, right), y);
    for (int i = 0; i < bins->n; i++)
        ap_page_printf(page, "V%.1fH%.1f", y - BARS * shares[i] / bins->most,
                       ap_axis_place(axis, bins->start + (i + 1) * bins->width, left, right));
    ap_page_printf(page, "V%.1fz\"/>\n", y);
}

static void find_most(struct bins *bins, const struct ap_svg_row *rows, int n_rows)
{
    double shares[BINS_MAX];
    for (int i = 0; i < n_rows; i++) {
        count(bins, &rows[i], shares);
        for (int k = 0; k < bins->n; k++)
            bins->most = fmax(bins->most, shares[k]);
    }
}

void ap_svg_distributions(struct ap_page *page, const struct ap_svg_chart *chart,
                          const struct ap_svg_row *rows, int n_rows)
{
    size_t n;
    struct ap_axis axis;
    double left = LABELS, right = AP_SVG_WIDTH - AP_SVG_RIGHT, top = 4,
           bottom = top + n_rows * DISTRIBUTION_ROW;
    double *sorted = sorted_values(rows, n_rows, &n);
    if (!sorted)
        return;
    struct bins bins = make_bins(sorted, n, &axis);
    find_most(&bins, rows, n_rows);
    ap_svg_begin(page, chart, bottom + AP_SVG_BOTTOM);
    ap_svg_x_axis(page, &axis, left, right, top, bottom, chart->x_label);
    put_zero(page, &axis, left, right, top, bottom);
    for (int i = 0; i < n_rows; i++) {
        double base = top + i * DISTRIBUTION_ROW + BARS + 4;
        ap_page_printf(page, "<text class=\"name\" x=\"2\" y=\"%.1f\">%s</text>\n", base,
                       rows[i].label);
        put_bars(page, &bins, &rows[i], &axis, base);
        put_mark(page, &rows[i], &axis, left, right, base + 8, 0.7);
    }
    ap_svg_end(page);
    ap_free(sorted);
}
