/* What run.db holds, summed up: the last metrics of every stage, the mean scores of every arm; and
 * what the ledger, there or elsewhere, says of each server. */
#ifndef AP_PIPELINE_INSPECT_ROWS_H
#define AP_PIPELINE_INSPECT_ROWS_H

#include "pipeline/inspect_tell.h"
#include "store/recipe.h"

#define AP_ROWS_STAGES 16
#define AP_ROWS_METRICS 48
#define AP_ROWS_ARMS 16
#define AP_ROWS_JUDGES 9

struct ap_last_metrics {
    char stage[64];
    int64_t step; /* the last at which anything was measured */
    int n;
    struct { /* each the last of its name */
        char name[32];
        double value;
    } values[AP_ROWS_METRICS];
};

struct ap_mean_score {
    double sum;
    uint64_t n;
};

struct ap_run_rows {
    struct ap_last_metrics stages[AP_ROWS_STAGES];
    int n_stage;
    char arms[AP_ROWS_ARMS][32], judges[AP_ROWS_JUDGES][32];
    int n_arm, n_judge;
    struct ap_mean_score scores[AP_ROWS_ARMS][AP_ROWS_JUDGES]; /* answers that count: sample −1 */
};

/* Reads only (store/database.h); a file that is damaged or of another schema is an error. */
ap_status ap_run_rows_read(struct ap_run_rows *r, const char *path, struct ap_error *err);
void ap_tell_run_rows(struct ap_tell *t, const struct ap_run_rows *r);
/* Nothing where the run asks no server, or there is no ledger yet. run: its folder. */
void ap_tell_spent(struct ap_tell *t, const struct ap_settings *s, const char *run);

#endif
