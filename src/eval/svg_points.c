/* Points with whiskers both ways and a curve beside them: what one thing costs in another.
 *
 *     y label
 *     6 ┤              ┆┼┆ 0.01      each point has its name beside it, where there is room
 *     4 ┤      ┼●┼ 0.1
 *       └──────┬──────┬─────
 *
 * Entry point: ap_svg_points. */
#include "eval/svg_inner.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HEIGHT 250.0
#define BOTTOM (HEIGHT - AP_SVG_BOTTOM)
#define RIGHT (AP_SVG_WIDTH - AP_SVG_RIGHT)
#define LEGEND_ROW 20.0

/* ---- axes ---- */

struct reach {
    double low, high;
};

static void widen(struct reach *r, double value)
{
    r->low = fmin(r->low, value); /* fmin passes over NaN */
    r->high = fmax(r->high, value);
}

static void widen_interval(struct reach *r, struct ap_interval x)
{
    widen(r, x.value);
    widen(r, x.low);
    widen(r, x.high);
}

/* The curve counts as far as the points reach in x. */
static void find_axes(const struct ap_svg_group *groups, int n_groups,
                      const struct ap_svg_curve *curve, bool from_zero, struct ap_axis axes[2])
{
    struct reach x = {from_zero ? 0 : INFINITY, -INFINITY}, y = {INFINITY, -INFINITY};
    for (int g = 0; g < n_groups; g++)
        for (int i = 0; i < groups[g].n; i++) {
            widen_interval(&x, groups[g].points[i].x);
            widen_interval(&y, groups[g].points[i].y);
        }
    axes[0] = ap_axis_nice(x.low, x.high, 5);
    for (int i = 0; i < curve->n; i++)
        if (curve->x[i] >= axes[0].low && curve->x[i] <= axes[0].high)
            widen(&y, curve->y[i]);
    axes[1] = ap_axis_nice(y.low, y.high, 5);
}

static double at_x(const struct ap_axis axes[2], double value)
{
    return ap_axis_place(&axes[0], value, AP_SVG_LEFT, RIGHT);
}

static double at_y(const struct ap_axis axes[2], double value)
{
    return ap_axis_place(&axes[1], value, BOTTOM, AP_SVG_TOP);
}

/* ---- lines ---- */

static void put_whisker(struct ap_page *page, const char *name, double x1, double y1, double x2,
                        double y2)
{
    ap_page_printf(
        page,
        "<line class=\"whisker thin arm-%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
        ap_svg_class(name), x1, y1, x2, y2);
}

static bool is_there(const struct ap_svg_point *p)
{
    return isfinite(p->x.value) && isfinite(p->y.value);
}

static void put_whiskers(struct ap_page *page, const struct ap_svg_group *group,
                         const struct ap_axis axes[2])
{
    for (int i = 0; i < group->n; i++) {
        const struct ap_svg_point *p = &group->points[i];
        double x = at_x(axes, p->x.value), y = at_y(axes, p->y.value);
        if (!is_there(p))
            continue;
        if (isfinite(p->x.low) && isfinite(p->x.high))
            put_whisker(page, group->name, at_x(axes, p->x.low), y, at_x(axes, p->x.high), y);
        if (isfinite(p->y.low) && isfinite(p->y.high))
            put_whisker(page, group->name, x, at_y(axes, p->y.low), x, at_y(axes, p->y.high));
    }
}

static void put_joined(struct ap_page *page, const struct ap_svg_group *group,
                       const struct ap_axis axes[2])
{
    ap_page_printf(page, "<polyline class=\"raw arm-%s\" points=\"", ap_svg_class(group->name));
    for (int i = 0; i < group->n; i++)
        if (is_there(&group->points[i]))
            ap_page_printf(page, " %.1f,%.1f", at_x(axes, group->points[i].x.value),
                           at_y(axes, group->points[i].y.value));
    ap_page_put(page, "\"/>\n");
}

static void put_curve(struct ap_page *page, const struct ap_svg_curve *curve,
                      const struct ap_axis axes[2])
{
    ap_page_put(page, "<polyline class=\"frontier\" points=\"");
    for (int i = 0; i < curve->n; i++)
        if (curve->x[i] >= axes[0].low && curve->x[i] <= axes[0].high)
            ap_page_printf(page, " %.1f,%.1f", at_x(axes, curve->x[i]), at_y(axes, curve->y[i]));
    ap_page_put(page, "\"/>\n");
}

/* ---- names beside the points ---- */

struct box {
    double left, right, top, bottom;
};

enum { BOXES_MAX = 128 };

struct taken {
    struct box boxes[BOXES_MAX]; /* first those of the points, then those of names */
    int n, n_point;
};

static void take(struct taken *t, struct box box)
{
    if (t->n < BOXES_MAX)
        t->boxes[t->n++] = box;
}

static bool is_free(const struct taken *t, struct box box)
{
    if (box.left < AP_SVG_LEFT - 6 || box.right > AP_SVG_WIDTH || box.top < AP_SVG_TOP - 12 ||
        box.bottom > BOTTOM)
        return false;
    for (int i = 0; i < t->n; i++)
        if (box.left < t->boxes[i].right && t->boxes[i].left < box.right &&
            box.top < t->boxes[i].bottom && t->boxes[i].top < box.bottom)
            return false;
    return true;
}

/* Squared, from a box to the middle of a point's; 0 inside. */
static double gap(struct box box, struct box point)
{
    double x = (point.left + point.right) / 2, y = (point.top + point.bottom) / 2;
    double dx = fmax(0, fmax(box.left - x, x - box.right));
    double dy = fmax(0, fmax(box.top - y, y - box.bottom));
    return dx * dx + dy * dy;
}

/* A name belongs to the point that is nearest to it. */
static bool is_nearest(const struct taken *t, struct box box, double x, double y)
{
    double own = gap(box, (struct box){x, x, y, y});
    int n_near = 0;
    for (int i = 0; i < t->n_point; i++)
        n_near += gap(box, t->boxes[i]) <= own;
    return n_near <= 1;
}

/* In the first place about the point that is free and nobody else's; nowhere when none is. */
static void put_label(struct ap_page *page, struct taken *taken, const struct ap_svg_point *point,
                      double x, double y)
{
    static const struct {
        double dx, dy, share; /* of the text's width that stands left of the anchor */
        const char *anchor;
    } places[] = {{8, -7, 0, "start"}, {8, 14, 0, "start"},     {-8, -7, 1, "end"},
                  {-8, 14, 1, "end"},  {0, -16, 0.5, "middle"}, {0, 24, 0.5, "middle"}};
    double width = 6.3 * (double)strlen(point->label);
    size_t best = 0, n = AP_LEN(places);
    struct box box[AP_LEN(places)];
    for (size_t i = 0; i < n; i++) {
        double left = x + places[i].dx - places[i].share * width, base = y + places[i].dy;
        box[i] = (struct box){left, left + width, base - 10, base + 3};
    }
    while (best < n && !(is_free(taken, box[best]) && is_nearest(taken, box[best], x, y)))
        best++;
    if (best == n)
        return;
    take(taken, box[best]);
    ap_page_printf(page,
                   "<text class=\"point\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n",
                   x + places[best].dx, y + places[best].dy, places[best].anchor, point->label);
}

static void put_names(struct ap_page *page, const struct ap_svg_group *groups, int n_groups,
                      const struct ap_axis axes[2])
{
    struct taken taken = {.n = 0};
    for (int g = 0; g < n_groups; g++)
        for (int i = 0; i < groups[g].n; i++) {
            const struct ap_svg_point *p = &groups[g].points[i];
            double x = at_x(axes, p->x.value), y = at_y(axes, p->y.value);
            double half = p->ring ? 9 : 5;
            if (is_there(p))
                take(&taken, (struct box){x - half, x + half, y - half, y + half});
        }
    taken.n_point = taken.n;
    for (int g = 0; g < n_groups; g++)
        for (int i = 0; i < groups[g].n; i++)
            if (is_there(&groups[g].points[i]))
                put_label(page, &taken, &groups[g].points[i],
                          at_x(axes, groups[g].points[i].x.value),
                          at_y(axes, groups[g].points[i].y.value));
}

/* ---- legend ---- */

static int n_legend(int n_groups, const struct ap_svg_curve *curve)
{
    return (n_groups > 1 ? n_groups : 0) + (curve->n > 0);
}

static void put_legend(struct ap_page *page, const struct ap_svg_group *groups, int n_groups,
                       const struct ap_svg_curve *curve)
{
    double y = HEIGHT + 8;
    for (int i = 0; n_groups > 1 && i < n_groups; i++, y += LEGEND_ROW) {
        ap_page_printf(page, "<line class=\"raw arm-%s\" x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\"/>",
                       ap_svg_class(groups[i].name), AP_SVG_LEFT, y, AP_SVG_LEFT + 26, y);
        ap_svg_marker(page, groups[i].name, AP_SVG_LEFT + 13, y, 1);
        ap_page_printf(page, "<text x=\"%g\" y=\"%g\">%s</text>\n", AP_SVG_LEFT + 32, y + 4,
                       groups[i].label);
    }
    if (curve->n > 0)
        ap_page_printf(page,
                       "<line class=\"frontier\" x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\"/>"
                       "<text x=\"%g\" y=\"%g\">%s</text>\n",
                       AP_SVG_LEFT, y, AP_SVG_LEFT + 26, y, AP_SVG_LEFT + 32, y + 4, curve->label);
}

void ap_svg_points(struct ap_page *page, const struct ap_svg_chart *chart,
                   const struct ap_svg_group *groups, int n_groups,
                   const struct ap_svg_curve *curve)
{
    struct ap_axis axes[2];
    find_axes(groups, n_groups, curve, chart->from_zero, axes);
    ap_svg_begin(page, chart, HEIGHT + LEGEND_ROW * n_legend(n_groups, curve));
    ap_svg_y_axis(page, &axes[1], AP_SVG_TOP, BOTTOM, chart->y_label);
    ap_svg_x_axis(page, &axes[0], AP_SVG_LEFT, RIGHT, BOTTOM, BOTTOM, chart->x_label);
    if (curve->n > 0)
        put_curve(page, curve, axes);
    for (int g = 0; g < n_groups; g++) {
        if (groups[g].joined)
            put_joined(page, &groups[g], axes);
        put_whiskers(page, &groups[g], axes);
    }
    for (int g = 0; g < n_groups; g++)
        for (int i = 0; i < groups[g].n; i++) {
            const struct ap_svg_point *p = &groups[g].points[i];
            if (!is_there(p))
                continue;
            double x = at_x(axes, p->x.value), y = at_y(axes, p->y.value);
            ap_svg_marker(page, groups[g].name, x, y, 1);
            if (p->ring)
                ap_page_printf(page, "<circle class=\"ring\" cx=\"%.1f\" cy=\"%.1f\" r=\"9\"/>\n",
                               x, y);
        }
    put_names(page, groups, n_groups, axes);
    put_legend(page, groups, n_groups, curve);
    ap_svg_end(page);
}
