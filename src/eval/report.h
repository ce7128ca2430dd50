/* From what run.db holds to what a reader sees: statistics of arms, sentences, table, JSON, CSV,
 * report.html. Pure reading: runs no model. The arithmetic is in statistics.h. */
#ifndef AP_EVAL_REPORT_H
#define AP_EVAL_REPORT_H

#include "align/guard.h"
#include "align/monitor.h"
#include "base/buffer.h"
#include "eval/statistics.h"
#include "store/database.h"

#define AP_JUDGES_MAX 8

/* How the texts of an arm look: means over its answers that count; NaN where there are none. */
struct ap_arm_texts {
    double monitors[AP_MONITOR_COUNT]; /* missing_end: of rewrites, else of answers; gap: NaN */
    double answer_missing_end;
};

/* An arm's answers against another's, by a judge that compares (align/judge.h). */
#define AP_VERDICT_ROWS_MAX 128
struct ap_verdict_row {
    char judge[32], arm[32], against[32];
    int64_t n;                /* pairs */
    struct ap_interval win;   /* ties one half, over prompts; NaN: too few pairs have a verdict */
    double contradicted, bad; /* shares of all pairs; bad: without verdict */
};

struct ap_evaluation {
    char judges[AP_JUDGES_MAX][32];
    int n_judge, n_arm;
    int n_run; /* that are its seeds; 1: one run, whose own seeds they are */
    /* [judge][arm] in the order asked for; the arms' names as run.db has them */
    struct ap_arm_statistics arms[AP_JUDGES_MAX][AP_ARMS_MAX];
    /* Arms that are asked for and cannot be had, because nobody trains a target that answers over
     * HTTP: n/a. The caller's texts, filled by it. */
    const char *absent[AP_ARMS_MAX];
    int n_absent;
    int64_t n_dropped[AP_JUDGES_MAX]; /* (prompt, seed) left out: some arm has no score there */
    /* By arm: rewrites that count, and of them those in whose place x was sent, by guard. */
    int64_t n_rewrite[AP_ARMS_MAX], n_guarded[AP_ARMS_MAX][AP_GUARD_COUNT];
    int64_t seeds[AP_SEEDS_MAX]; /* in run.db, ascending */
    int n_seed;
    int n_bootstrap;
    /* ap_evaluate_noise: strengths, and the mean scores there by judge and arm. */
    double noise[AP_LIST_MAX];
    int n_noise;
    struct ap_interval noisy[AP_LIST_MAX][AP_JUDGES_MAX][AP_ARMS_MAX];
    /* ap_evaluate_texts */
    struct ap_verdict_row verdicts[AP_VERDICT_ROWS_MAX]; /* ap_evaluate_verdicts */
    int n_verdict;
    bool has_texts;
    struct ap_arm_texts texts[AP_ARMS_MAX];
};

/* Arms and judges in the order to show; n_bootstrap resamples of prompts and seeds, the same for
 * every arm (statistics.h). Only answers with sample −1 count. An arm or judge without rows is
 * AP_NOT_FOUND by name. Deterministic in what run.db holds and seed. */
ap_status ap_evaluate(struct ap_evaluation *out, struct ap_database *db, char *const *arms,
                      int n_arms, char *const *judges, int n_judges, int n_bootstrap, uint64_t seed,
                      struct ap_error *err);

/* A run among those that are one cell of a comparison. */
struct ap_evaluated_run {
    const char *name; /* for messages */
    struct ap_database *db;
};
/* The same over runs that differ in their training seeds: a run is drawn whole, with all of its
 * sampling seeds. Other test prompts, or another number of sampling seeds, are AP_INVALID.
 * samples: NULL, or what ap_arm_statistics_of gives, by judge. */
ap_status ap_evaluate_runs(struct ap_evaluation *out, const struct ap_evaluated_run *runs,
                           int n_runs, char *const *arms, int n_arms, char *const *judges,
                           int n_judges, int n_bootstrap, uint64_t seed, double *const *samples,
                           struct ap_error *err);

/* The same arms, judges and resamples on noisy prompts, after ap_evaluate: fills noise and noisy. A
 * strength without rows is AP_NOT_FOUND. */
ap_status ap_evaluate_noise(struct ap_evaluation *e, struct ap_database *db, const double *noise,
                            int n_noise, uint64_t seed, struct ap_error *err);

/* Fills texts of the same arms, after ap_evaluate. */
ap_status ap_evaluate_texts(struct ap_evaluation *e, struct ap_database *db, struct ap_error *err);

/* What a reader should be careful about, one sentence a line, appended to out; nothing where there
 * is nothing: an arm beyond a warning of monitor (NULL: none), and a trained arm that gains clearly
 * under reward and not under one of the judges that training did not ask. */
ap_status ap_evaluation_cautions(const struct ap_evaluation *e,
                                 const struct ap_monitor_settings *monitor,
                                 const char *const *unasked, int n_unasked, struct ap_buffer *out,
                                 struct ap_error *err);

/* Appends the rows of a judge that compares; nothing without verdicts. Its win rate is NaN where
 * more than max_bad of the pairs have no verdict. */
ap_status ap_evaluate_verdicts(struct ap_evaluation *e, struct ap_database *db, const char *judge,
                               double max_bad, uint64_t seed, struct ap_error *err);

/* How an arm is called in what people read ("Align-Pro" for align), and what it is, in one line
 * without a full stop; what a judge is, "" for one of the user's own. Never NULL; static text. */
const char *ap_arm_shown(const char *arm);
const char *ap_arm_meaning(const char *arm);
const char *ap_judge_meaning(const char *judge);

/* Texts are appended to out, which the caller frees. Numbers that do not exist are "-" in the
 * table, null in JSON, empty in CSV. */

/* Plain sentences, one a line: "Align-Pro beats bare: … 1.44 [1.29, 1.59] …". */
ap_status ap_evaluation_sentences(const struct ap_evaluation *e, struct ap_buffer *out,
                                  struct ap_error *err);
/* A fixed-width table for a terminal of 100 columns, one a judge, and what its columns are. */
ap_status ap_evaluation_table(const struct ap_evaluation *e, struct ap_buffer *out,
                              struct ap_error *err);
/* {"bootstrap", "seeds", "texts": [{"arm", MONITOR: mean …, "answer_missing_end"}], "guards":
 * [{"arm", "rewrites", "fired": {GUARD: n}}] of the arms that rewrite, "noise": [{"strength",
 * "judges": {JUDGE: {ARM: {"value", "low", "high"}}}}], "judges":
 * [{"judge", "dropped", "arms": [{"arm", "shown", "prompts", "seeds", METRIC: {"value", "low",
 * "high"} …}]}]}, METRIC as in AP_STATISTIC_LIST. */
ap_status ap_evaluation_json(const struct ap_evaluation *e, struct ap_buffer *out,
                             struct ap_error *err);
/* A header line, then one line an arm and judge: METRIC, METRIC_low, METRIC_high … */
ap_status ap_evaluation_csv(const struct ap_evaluation *e, struct ap_buffer *out,
                            struct ap_error *err);

/* A file that the run was made of, or made, and what it held. */
#define AP_REPORT_HASH_MAX 72
struct ap_report_hash {
    char what[64], *path;
    char hash[AP_REPORT_HASH_MAX]; /* SHA-256, or why there is none */
};

struct ap_comparison; /* compare.h */
struct ap_bound_told;
struct ap_report_source {
    struct ap_database *db;
    const struct ap_evaluation *evaluation; /* NULL: training curves only */
    const struct ap_bound_told *bound;      /* bound_told.h; NULL: none */
    const struct ap_comparison *alone;      /* the run as one cell; NULL: no table in that layout */
    const char *title;
    const char *recipe;                        /* resolved recipe text; NULL for none */
    const char *version;                       /* of the program; NULL for none */
    const struct ap_monitor_settings *monitor; /* NULL for none */
    const char *const *unasked;                /* judges of the evaluation that no training asked */
    int n_unasked;
    const char *bought;   /* of servers, in words; NULL for nothing */
    const char *seeds;    /* of training: "run.seed 1"; NULL for none */
    uint64_t fingerprint; /* of the recipe; 0 for none */
    const struct ap_report_hash *hashes;
    int n_hash;
};
/* One self-contained HTML page (nothing from elsewhere; one script, which searches the prompts and
 * without which they are all there), readable at 390 and 1280 pixels, light and dark. What comes
 * from data is escaped. */
ap_status ap_report_html(const struct ap_report_source *source, struct ap_buffer *out,
                         struct ap_error *err);

#endif
