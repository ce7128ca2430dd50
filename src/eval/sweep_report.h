/* What a sweep found, told: table, JSON, CSV, one page with reward against KL. Pure text: no
 * database, no model. */
#ifndef AP_EVAL_SWEEP_REPORT_H
#define AP_EVAL_SWEEP_REPORT_H

#include "eval/frontier.h"
#include "eval/report.h"

#define AP_SWEEP_MAX 32     /* points */
#define AP_SWEEP_KEYS_MAX 4 /* keys of a grid */

/* One run: the values of the swept keys, and its arm under each judge. */
struct ap_sweep_point {
    char *values[AP_SWEEP_KEYS_MAX];                /* as the resolved recipe writes them */
    char *folder;                                   /* its run's name beside the report */
    bool done;                                      /* the rest is filled */
    struct ap_arm_statistics judged[AP_JUDGES_MAX]; /* by judge */
};

/* Everything borrowed. */
struct ap_sweep_results {
    const char *title;
    const char *arm; /* whose reward and KL it is */
    char *const *keys;
    int n_keys;
    char judges[AP_JUDGES_MAX][32]; /* filled once a point is done */
    int n_judge;
    const struct ap_sweep_point *points; /* in their order; undone ones are told as such */
    int n;
    int n_bootstrap;
    /* The closed-form frontier in the first judge's units, where it is known; NULL without. */
    const struct ap_frontier_point *frontier;
    int n_frontier;
    int frontier_rewrites, frontier_answers; /* n and K behind it; 0: exact */
    const char *version;
};

/* "align.kl=0.05", or "align.kl=0.05, align.steps=100". */
ap_status ap_sweep_label(const struct ap_sweep_results *r, int point, struct ap_buffer *out,
                         struct ap_error *err);
/* Index of the knee under a judge (frontier.h); −1 for none, *n_corner: of the frontier. */
int ap_sweep_knee(const struct ap_sweep_results *r, int judge, int *n_corner);

/* Appended to out, which the caller frees. Sentences: the knee of each judge, or why there is none.
 */
ap_status ap_sweep_sentences(const struct ap_sweep_results *r, struct ap_buffer *out,
                             struct ap_error *err);
ap_status ap_sweep_table(const struct ap_sweep_results *r, struct ap_buffer *out,
                         struct ap_error *err);
/* {"arm", "keys", "points": [{"values": {KEY: text}, "folder", "done", "judges": {JUDGE: {"mean",
 * "delta_bare", "kl": {"value", "low", "high"}}}}], "knees": {JUDGE: index of points or null},
 * "frontier": null or {"exact", "rewrites", "answers", "points": [{"lambda", "kl", "reward"}]}} */
ap_status ap_sweep_json(const struct ap_sweep_results *r, struct ap_buffer *out,
                        struct ap_error *err);
/* A header line, then a line for each point that is done and judge. */
ap_status ap_sweep_csv(const struct ap_sweep_results *r, struct ap_buffer *out,
                       struct ap_error *err);
/* Self-contained, as report.html. */
ap_status ap_sweep_html(const struct ap_sweep_results *r, struct ap_buffer *out,
                        struct ap_error *err);

#endif
