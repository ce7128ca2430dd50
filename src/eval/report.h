/* From what run.db holds to what a reader sees: statistics of arms, sentences, table, JSON, CSV, report.html. Pure
 * reading: runs no model. Statistics: math.md section 3 ("Metrics per arm"). */
#ifndef AP_EVAL_REPORT_H
#define AP_EVAL_REPORT_H

#include "base/buffer.h"
#include "store/database.h"

#define AP_ARMS_MAX 16
#define AP_JUDGES_MAX 8

struct ap_interval {
    double value, low, high; /* estimate and 95% bootstrap interval; NaN where it does not exist */
};

/* One arm under one judge, over the prompts and seeds that every arm has. */
struct ap_arm_statistics {
    char name[32];
    int64_t n_prompt;            /* distinct test prompts */
    int n_seed;
    struct ap_interval mean, variance;       /* of the judge's score; variance n−1 over prompts, mean over seeds */
    struct ap_interval delta_bare;           /* paired difference of means against bare */
    struct ap_interval win_bare, win_instruct; /* ties one half; NaN without that arm */
    struct ap_interval share_bare, share_instruct; /* of the gap to rlhf closed; NaN without rlhf or a gap */
    double kl;                               /* mean Σ k3; NaN for none */
    double n_rewrite_tokens, n_answer_tokens; /* means; rewrite NaN for none */
    double rewrite_ended, answer_ended;      /* shares */
};

struct ap_evaluation {
    char judges[AP_JUDGES_MAX][32];
    int n_judge, n_arm;
    struct ap_arm_statistics arms[AP_JUDGES_MAX][AP_ARMS_MAX]; /* [judge][arm] in the order asked for */
};

/* Arms and judges in the order to show; n_bootstrap resamples of prompts (all seeds of a prompt together), the same resample for
 * every arm. An arm or judge without rows is AP_NOT_FOUND by name. */
ap_status ap_evaluate(struct ap_evaluation *out, struct ap_database *db, char *const *arms,
                      int n_arms, char *const *judges, int n_judges, int n_bootstrap, uint64_t seed,
                      struct ap_error *err);

/* Plain sentences, one a line: "align beats bare by 1.44 [1.29, 1.59] on the reward; …". */
ap_status ap_evaluation_sentences(const struct ap_evaluation *e, struct ap_buffer *out,
                                  struct ap_error *err);
/* A fixed-width table for a terminal of 100 columns. */
ap_status ap_evaluation_table(const struct ap_evaluation *e, struct ap_buffer *out,
                              struct ap_error *err);
ap_status ap_evaluation_json(const struct ap_evaluation *e, struct ap_buffer *out,
                             struct ap_error *err);
ap_status ap_evaluation_csv(const struct ap_evaluation *e, struct ap_buffer *out,
                            struct ap_error *err);

struct ap_report_source {
    struct ap_database *db;
    const struct ap_evaluation *evaluation; /* NULL: training curves only */
    const char *title;
    const char *recipe;   /* resolved recipe text */
    const char *version;  /* of the program */
};
/* One self-contained HTML page (no script or font from elsewhere), readable at 390 and 1280 pixels. */
ap_status ap_report_html(const struct ap_report_source *source, struct ap_buffer *out,
                         struct ap_error *err);

#endif
