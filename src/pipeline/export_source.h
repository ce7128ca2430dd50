/* What is exported: folders of weights, adapter and tokenizer, of a run's stage or as named. */
#ifndef AP_PIPELINE_EXPORT_SOURCE_H
#define AP_PIPELINE_EXPORT_SOURCE_H

#include "alignpro/export.h"

#include "pipeline/run_past.h"

struct ap_export_source {
    struct ap_past_run past;
    char *name;              /* "small-align", for people */
    char *weights;           /* folder of the base, or of the whole model; NULL: the run made it at
                              * random and it is in no folder */
    char *adapter;           /* PEFT's folder; NULL: a whole model */
    char *tokenizer;         /* its folder */
    const char *stage;       /* of the run; NULL without one */
    const char *meta_prompt; /* what a prompter's prompts stand in; NULL: no prompter */
    int pass, n_pass;        /* which of how many prompters, from 1; 0: there are no several */
    /* opened by ap_export_source_load */
    const struct ap_weights *base;
    struct ap_weights *own; /* of `weights` */
    struct ap_adapter *lora;
};

/* s must be closed, also after an error. */
ap_status ap_export_source_find(struct ap_export_source *s, const struct ap_export_options *o,
                                struct ap_error *err);
ap_status ap_export_source_load(struct ap_export_source *s, struct ap_error *err);
void ap_export_source_close(struct ap_export_source *s);

#endif
