/* Plots as inline SVG in a struct ap_page: lines over steps, intervals by row, distributions by
 * row. Colours come from the page's style sheet by class, never from here; what a colour says is
 * also said by a dash, a marker or a name beside it. Labels must be escaped text already. */
#ifndef AP_EVAL_SVG_H
#define AP_EVAL_SVG_H

#include "eval/report_page.h"

/* Round ticks that cover [low, high]; equal or non-finite ends are widened. */
struct ap_axis {
    double low, high, step;
    int decimals;
};
struct ap_axis ap_axis_nice(double low, double high, int n_ticks);

struct ap_svg_series {
    const char *label; /* escaped */
    const char *name;  /* of the arm or stage: its colour, dash and marker */
    const double *x, *y;
    size_t n;
    const struct ap_interval *marks; /* of few points: n whiskers; NULL: none */
};
struct ap_svg_chart {
    const char *title;             /* escaped; read out, and the figure's caption */
    const char *x_label, *y_label; /* with units */
    bool from_zero;                /* y that is never below zero starts there */
};

/* Lines, at most AP_ARMS_MAX. Many points are averaged into bins and drawn faint, their smoothed
 * course strong. */
void ap_svg_lines(struct ap_page *page, const struct ap_svg_chart *chart,
                  const struct ap_svg_series *series, int n_series);

struct ap_svg_row {
    const char *label, *name; /* escaped; arm */
    struct ap_interval mark;  /* a dot and its interval; NaN: no mark */
    const double *values;     /* distributions: n values */
    size_t n;
    const char *text; /* intervals: written at the right end */
};
/* A row an arm: dot, whisker and text, with a line at zero. */
void ap_svg_intervals(struct ap_page *page, const struct ap_svg_chart *chart,
                      const struct ap_svg_row *rows, int n_rows);
/* A row an arm: a histogram on common bins, and dot and whisker of its mean below it. */
void ap_svg_distributions(struct ap_page *page, const struct ap_svg_chart *chart,
                          const struct ap_svg_row *rows, int n_rows);

struct ap_svg_point {
    struct ap_interval x, y; /* low and high NaN: no whisker */
    const char *label;       /* escaped; stands beside it */
    bool ring;               /* set off from the others */
};
struct ap_svg_group {
    const char *label, *name; /* escaped; an arm's: its colour and marker */
    const struct ap_svg_point *points;
    int n;
    bool joined; /* by a thin line in their order */
};
struct ap_svg_curve {
    const char *label; /* escaped */
    const double *x, *y;
    int n; /* 0: none */
};
/* Points with whiskers both ways, and a dashed curve as far as they reach. */
void ap_svg_points(struct ap_page *page, const struct ap_svg_chart *chart,
                   const struct ap_svg_group *groups, int n_groups,
                   const struct ap_svg_curve *curve);

#endif
