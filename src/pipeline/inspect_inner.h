/* Inside of inspect: the kinds of things, a row each in inspect.c, a file inspect_KIND.c each. */
#ifndef AP_PIPELINE_INSPECT_INNER_H
#define AP_PIPELINE_INSPECT_INNER_H

#include "alignpro/inspect.h"

#include "base/buffer.h"

/* What a path is, looked at once for all kinds. */
struct ap_inspected {
    const char *path;
    bool is_folder;
    char magic[8]; /* a file's first bytes; zeroes past its end */
};

/* Append the report to out: JSON when options->json, else text. */
typedef ap_status (*ap_inspect_fn)(const struct ap_inspected *p,
                                   const struct ap_inspect_options *options, struct ap_buffer *out,
                                   struct ap_error *err);

ap_status ap_inspect_data(const struct ap_inspected *p, const struct ap_inspect_options *options,
                          struct ap_buffer *out, struct ap_error *err);

#endif
