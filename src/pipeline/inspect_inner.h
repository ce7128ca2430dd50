/* Inside of inspect: the kinds of things, a row each in inspect.c, a file inspect_KIND.c each. */
#ifndef AP_PIPELINE_INSPECT_INNER_H
#define AP_PIPELINE_INSPECT_INNER_H

#include "alignpro/inspect.h"

#include "base/buffer.h"

#include <stdint.h>

/* What a path is, looked at once for all kinds. */
struct ap_inspected {
    const char *path;
    bool is_folder;
    uint64_t size;  /* of a file, bytes */
    char magic[16]; /* a file's first bytes; zeroes past its end */
};

/* Whether the folder has a file or folder of that name. */
bool ap_inspected_has(const struct ap_inspected *p, const char *name);

/* Append the report to out: JSON when options->json, else text. It is there also after AP_FORMAT
 * where what it tells of is damaged in part. */
typedef ap_status (*ap_inspect_fn)(const struct ap_inspected *p,
                                   const struct ap_inspect_options *options, struct ap_buffer *out,
                                   struct ap_error *err);

ap_status ap_inspect_data(const struct ap_inspected *p, const struct ap_inspect_options *options,
                          struct ap_buffer *out, struct ap_error *err);
ap_status ap_inspect_safetensors(const struct ap_inspected *p,
                                 const struct ap_inspect_options *options, struct ap_buffer *out,
                                 struct ap_error *err);
ap_status ap_inspect_gguf(const struct ap_inspected *p, const struct ap_inspect_options *options,
                          struct ap_buffer *out, struct ap_error *err);
ap_status ap_inspect_model(const struct ap_inspected *p, const struct ap_inspect_options *options,
                           struct ap_buffer *out, struct ap_error *err);
ap_status ap_inspect_tokenizer(const struct ap_inspected *p,
                               const struct ap_inspect_options *options, struct ap_buffer *out,
                               struct ap_error *err);
ap_status ap_inspect_adapter(const struct ap_inspected *p, const struct ap_inspect_options *options,
                             struct ap_buffer *out, struct ap_error *err);
ap_status ap_inspect_run(const struct ap_inspected *p, const struct ap_inspect_options *options,
                         struct ap_buffer *out, struct ap_error *err);
ap_status ap_inspect_checkpoint(const struct ap_inspected *p,
                                const struct ap_inspect_options *options, struct ap_buffer *out,
                                struct ap_error *err);
ap_status ap_inspect_stage(const struct ap_inspected *p, const struct ap_inspect_options *options,
                           struct ap_buffer *out, struct ap_error *err);

#endif
