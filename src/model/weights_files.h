/* The safetensors files of a Hugging Face folder, model.safetensors or the shards that
 * model.safetensors.index.json names: headers read and checked, no value touched. */
#ifndef AP_MODEL_WEIGHTS_FILES_H
#define AP_MODEL_WEIGHTS_FILES_H

#include "model/weights.h"

struct ap_weights_files {
    const char *dir;              /* borrowed */
    char *index;                  /* path of the index; owned */
    json_t *map;                  /* tensor → file name; NULL for a single file */
    char **shards;                /* file names, sorted; they borrow from map */
    int n_shards;                 /* 0 for a single file */
    struct ap_safetensors *files; /* n of them; of shards in their order */
    int n;
};

/* Closed by the caller, also after an error. */
ap_status ap_weights_files_open(struct ap_weights_files *s, const char *dir, struct ap_error *err);
void ap_weights_files_close(struct ap_weights_files *s);
/* The tensor, or NULL; *path: of the file that has it or should have it, or of the index that does
 * not name it. */
const struct ap_tensor_view *ap_weights_files_find(const struct ap_weights_files *s,
                                                   const char *tensor, const char **path);
/* Whether a tensor of one of the files is one that the description w knows, or one that may be
 * there all the same: a rotary buffer, a head's copy of the embedding that it is tied to. values:
 * that copy is compared with the embedding, which reads both. */
ap_status ap_weights_files_check(const struct ap_weights_files *s, const struct ap_weights *w,
                                 const struct ap_safetensors *f, const struct ap_tensor_view *v,
                                 bool values, struct ap_error *err);

#endif
