/* Runs side by side, as the paper sets them: one cell a data set, prompter and target, whose runs
 * are its seeds, and means over cells. Pure reading. */
#ifndef AP_EVAL_COMPARE_H
#define AP_EVAL_COMPARE_H

#include "eval/report.h"

#define AP_CELLS_MAX 64
#define AP_AVERAGES_MAX 64

struct ap_cell_run {
    const char *path;  /* of its directory */
    const char *seeds; /* "run.seed 1, align.seed 2" */
    uint64_t recipe;   /* fingerprint */
};

/* Texts are borrowed from whoever made the cell. */
struct ap_cell {
    const char *data, *prompter, *target;
    const struct ap_cell_run *runs;
    int n_run;
    struct ap_evaluation *evaluation; /* owned */
};

/* The mean over cells of every statistic under one judge. A cell without the number (a share where
 * there is no gap) is left out of that mean alone. */
struct ap_average {
    const char *data; /* over the cells of that data set; NULL: over all */
    char judge[32];
    int n_cell, n_arm; /* cells with this judge */
    int decimals;      /* of scores, as the finest of the cells */
    struct ap_arm_statistics arms[AP_ARMS_MAX];
    int n_of[AP_ARMS_MAX][AP_N_STATISTICS]; /* cells behind each number */
    double *samples; /* owned; [AP_ARMS_MAX][AP_N_STATISTICS][n_bootstrap], sums over cells */
};

struct ap_comparison {
    struct ap_cell cells[AP_CELLS_MAX];
    int n_cell;
    struct ap_average *averages; /* owned; those of two cells and more */
    int n_average;
    int n_bootstrap;
};

/* What a cell is made of, beside its names. */
struct ap_cell_source {
    const struct ap_evaluated_run *runs; /* as many as the cell's */
    char *const *arms, *const *judges;
    int n_arm, n_judge;
};
/* One more cell, which takes `cell` (its evaluation is made here) and adds itself to the averages.
 * Every cell draws from the same stream, so that cells of one test set are resampled together, and
 * so are the k-th runs of all cells: runs of one seed share their random numbers, and often a
 * stage. */
ap_status ap_comparison_add(struct ap_comparison *c, const struct ap_cell *cell,
                            const struct ap_cell_source *source, uint64_t seed,
                            struct ap_error *err);
/* Means and intervals of the averages, after the last cell. */
ap_status ap_comparison_finish(struct ap_comparison *c, struct ap_error *err);
void ap_comparison_free(struct ap_comparison *c);

/* NULL where the cell has no such judge or arm. */
const struct ap_arm_statistics *ap_cell_arm(const struct ap_cell *cell, const char *judge,
                                            const char *arm);
/* The i-th judge's name of all cells, in the order met; NULL past the last. */
const char *ap_comparison_judge(const struct ap_comparison *c, int i);

/* Plain sentences; {"bootstrap", "least_prompts", "cells": [{"data", "prompter", "target", "runs":
 * [{"path", "seeds", "recipe"}], "judges": as in ap_evaluation_json, "paper"}], "averages":
 * [{"data", "judge", "cells", "arms"}]}; one line a cell, judge and arm. */
ap_status ap_comparison_sentences(const struct ap_comparison *c, struct ap_buffer *out,
                                  struct ap_error *err);
/* Those of one judge, one a line, the first a heading. */
struct ap_page;
void ap_comparison_sentences_of(struct ap_page *page, const struct ap_comparison *c,
                                const char *judge);
ap_status ap_comparison_json(const struct ap_comparison *c, struct ap_buffer *out,
                             struct ap_error *err);
ap_status ap_comparison_csv(const struct ap_comparison *c, struct ap_buffer *out,
                            struct ap_error *err);
/* A booktabs table a judge in the paper's layout; LaTeX's own characters are escaped. */
ap_status ap_comparison_tex(const struct ap_comparison *c, struct ap_buffer *out,
                            struct ap_error *err);
ap_status ap_comparison_html(const struct ap_comparison *c, const char *version,
                             struct ap_buffer *out, struct ap_error *err);

#endif
