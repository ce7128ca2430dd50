/* What several kinds of folders tell alike. */
#ifndef AP_PIPELINE_INSPECT_FOLDER_H
#define AP_PIPELINE_INSPECT_FOLDER_H

#include "model/config.h"
#include "pipeline/inspect_tensors.h"

/* Lines "tokenizer" and "template". config: of the model that it belongs to, whose vocabulary must
 * hold it; NULL for none. */
void ap_tell_tokenizer(struct ap_tell *t, const struct ap_inspected *p,
                       const struct ap_config *config);
/* Line "on disk": every file below the folder. */
void ap_tell_size(struct ap_tell *t, const char *folder);
/* Line "result": of a stage of a run, whole or not; nothing for a folder that is neither. */
void ap_tell_whole(struct ap_tell *t, const struct ap_inspected *p);
/* A JSON object of the folder: at most 16 MiB. The caller's. */
ap_status ap_inspect_json(const struct ap_inspected *p, const char *name, json_t **out,
                          struct ap_error *err);
/* "adapter of rank 8, with a head" …, "" where the folder has neither; returns out. */
const char *ap_inspect_result(const char *folder, char out[96]);

#endif
