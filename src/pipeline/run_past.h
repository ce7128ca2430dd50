/* A run directory opened for what it made: its recipe and the path, no lock, no database. */
#ifndef AP_PIPELINE_RUN_PAST_H
#define AP_PIPELINE_RUN_PAST_H

#include "pipeline/run_inner.h"

struct ap_past_run {
    struct ap_recipe *recipe;
    struct ap_run run; /* only its directory's path, settings and models */
};

/* p must be closed, also after an error; run_dir is copied, the overrides are
 * borrowed for the call. AP_NOT_FOUND for what is no run. */
ap_status ap_past_run_open(struct ap_past_run *p, const char *run_dir, const char *const *overrides,
                           size_t n_overrides, struct ap_error *err);
void ap_past_run_close(struct ap_past_run *p);
/* The newest stage of the prompter that is finished, of several of all of them: "align" or "sft";
 * NULL before. */
const char *ap_past_run_stage(const struct ap_past_run *p);

#endif
