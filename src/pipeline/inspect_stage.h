/* One stage of a run directory, looked at without its lock: a run may be at work in it. */
#ifndef AP_PIPELINE_INSPECT_STAGE_H
#define AP_PIPELINE_INSPECT_STAGE_H

#include "pipeline/inspect_folder.h"

struct ap_stage_view {
    char name[64];
    bool there, done, filling; /* its folder is; DONE is; a checkpoint or result is being filled,
                                  or was when its process was killed */
    int64_t step;              /* of the newest whole checkpoint, −1: none */
    int64_t best;              /* the step in best/, −1: none */
    int64_t n_steps;           /* of the whole stage; 0: not known from the recipe */
    char result[96];           /* "adapter of rank 8", "" */
    char facts[256];           /* the line in DONE; "" */
    bool normalised;           /* a reward's normaliser is fixed: */
    double gain, bias;
    uint64_t bytes;
};

ap_status ap_stage_look(struct ap_stage_view *v, const char *run_dir, const char *stage,
                        struct ap_error *err);
/* "done", "at step 40 of 300" …; returns out. */
const char *ap_stage_state(const struct ap_stage_view *v, char out[96]);
/* New reference; NULL when out of memory. */
json_t *ap_stage_json(const struct ap_stage_view *v);

#endif
