/* What the svg*.c files share: sizes in units of the plot, axes, markers. */
#ifndef AP_EVAL_SVG_INNER_H
#define AP_EVAL_SVG_INNER_H

#include "eval/html.h"
#include "eval/svg.h"

#define AP_SVG_WIDTH 380.0
#define AP_SVG_LEFT 46.0 /* of plots with a y axis */
#define AP_SVG_RIGHT 14.0
#define AP_SVG_TOP 26.0
#define AP_SVG_BOTTOM 40.0

/* From an axis to the plot, held inside it. */
double ap_axis_place(const struct ap_axis *axis, double value, double from, double to);
int ap_axis_n_ticks(const struct ap_axis *axis);
void ap_svg_tick_text(struct ap_page *page, const struct ap_axis *axis, int tick);
/* Grid lines from top to bottom, tick texts and the label below. */
void ap_svg_x_axis(struct ap_page *page, const struct ap_axis *axis, double left, double right,
                   double top, double bottom, const char *label);
/* From AP_SVG_LEFT to the right end; the label stands above. */
void ap_svg_y_axis(struct ap_page *page, const struct ap_axis *axis, double top, double bottom,
                   const char *label);
/* Circle, square or diamond by name; size 1 is 9 units wide. */
void ap_svg_marker(struct ap_page *page, const char *name, double x, double y, double size);
const char *ap_svg_class(const char *name);
void ap_svg_begin(struct ap_page *page, const struct ap_svg_chart *chart, double height);
void ap_svg_end(struct ap_page *page);

#endif
