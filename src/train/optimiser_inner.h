/* The optimiser's own state, shared by its files only. */
#ifndef AP_TRAIN_OPTIMISER_INNER_H
#define AP_TRAIN_OPTIMISER_INNER_H

#include "train/optimiser.h"

struct ap_optimiser_row {
    int table;              /* which of the tables: names are unique only within one */
    struct ap_param *param; /* borrowed */
    float *m, *v;           /* owned, param->n numbers */
};

struct ap_optimiser {
    const struct ap_ops *ops;
    struct ap_param_table **tables; /* the array is owned, the tables are borrowed */
    int n_tables;
    struct ap_optimiser_row *rows; /* in the order of the tables */
    int n;
    struct ap_optimiser_settings settings; /* its strings are borrowed */
    int64_t n_steps;                       /* length of the schedule */
    int64_t n_applied;                     /* updates that changed something: Adam's t */
};

#endif
