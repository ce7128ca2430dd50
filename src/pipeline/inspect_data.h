/* What is known of a data set once it was read: filled by inspect_data.c, written down by
 * inspect_data_write.c. */
#ifndef AP_PIPELINE_INSPECT_DATA_H
#define AP_PIPELINE_INSPECT_DATA_H

#include "pipeline/inspect_inner.h"
#include "pipeline/inspect_lengths.h"
#include "text/dataset.h"

enum ap_part {
    AP_PART_CONTEXT, /* system prompt and earlier turns together */
    AP_PART_PROMPT,
    AP_PART_ANSWER,
    AP_PART_CHOSEN,
    AP_PART_REJECTED,
    AP_PART_N
};
extern const char *const ap_inspect_parts[AP_PART_N];

struct ap_data_report {
    const char *path, *model;       /* model: NULL where lengths are words */
    struct ap_tokenizer *tokenizer; /* owned; NULL likewise */
    struct ap_ids ids;              /* scratch */
    struct ap_dataset set;          /* its counts; no examples */
    struct ap_lengths lengths[AP_PART_N];
    double margin_min, margin_max, margin_sum; /* of the pairs that have one */
    uint64_t n_margins;
    struct ap_example shown[3]; /* owned copies, by record */
    size_t n_shown;
    char faults[3][512]; /* messages of the first malformed records */
    size_t n_faults;
};

ap_status ap_data_report_text(const struct ap_data_report *r, struct ap_buffer *out,
                              struct ap_error *err);
ap_status ap_data_report_json(const struct ap_data_report *r, struct ap_buffer *out,
                              struct ap_error *err);

#endif
