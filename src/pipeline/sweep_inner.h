/* A sweep while it is open: sweep.c makes it, sweep_run.c runs it. */
#ifndef AP_PIPELINE_SWEEP_INNER_H
#define AP_PIPELINE_SWEEP_INNER_H

#include "alignpro/sweep.h"

#include "base/file.h"
#include "base/progress.h"
#include "eval/sweep_report.h"
#include "pipeline/run_inner.h"
#include "store/recipe.h"

struct ap_sweep_axis {
    char *key;
    char *values[AP_SWEEP_MAX]; /* as given */
    int n;
};

struct ap_sweep {
    char *recipe; /* path */
    const struct ap_sink *sink;
    char **overrides;
    size_t n_overrides;
    struct ap_sweep_axis axes[AP_SWEEP_KEYS_MAX];
    int n_axis;
    struct ap_sweep_point points[AP_SWEEP_MAX]; /* the last axis goes round fastest */
    int n;
    char *from[AP_LIST_MAX]; /* the recipe's own run.from */
    int n_from;
    char *base;      /* the recipe's run.dir */
    char *directory; /* RUN/sweep */
    char *title;
    uint64_t seed;
    char arm[32];
    struct ap_versions versions;
    /* filled by the runs */
    char judges[AP_JUDGES_MAX][32];
    int n_judge, n_bootstrap;
    struct ap_frontier_point frontier[AP_FRONTIER_MAX]; /* ap_sweep_frontier */
    int n_frontier, frontier_rewrites, frontier_answers;
};

/* Which of an axis's values a point has. */
int ap_sweep_place(const struct ap_sweep *sweep, int point, int axis);
/* The recipe of a point; more: n_more further overrides. */
ap_status ap_sweep_recipe(const struct ap_sweep *sweep, int point, const char *const *more,
                          size_t n_more, struct ap_recipe **out, struct ap_error *err);
/* The closed-form frontier from samples of ρ_sft, drawn beside the points from then on. For sweeps
 * of keys that change neither ρ_sft nor the target or the reward; rewards in the first judge's
 * units. Rewards that are all the same have none. */
ap_status ap_sweep_frontier(struct ap_sweep *sweep, const struct ap_frontier_samples *samples,
                            struct ap_error *err);
/* What is there to tell; borrows from the sweep. keys: room for AP_SWEEP_KEYS_MAX. */
struct ap_sweep_results ap_sweep_results(const struct ap_sweep *sweep, char **keys);

#endif
