/* Under which settings rows of run.db were made: a text beside the stage that made them, so that
 * rows of other settings are known and dropped. Entry points: ap_run_stamp_agrees,
 * ap_run_stamp_put.
 */
#include "pipeline/run_inner.h"

#include "base/memory.h"

#include <string.h>

bool ap_run_stamp_agrees(const struct ap_run *run, const char *stage, const char *name,
                         const struct ap_buffer *now)
{
    struct ap_buffer then = {0};
    char *path = ap_run_dir_path(&run->dir, stage, name);
    bool agrees = path && ap_file_read(path, AP_BUFFER_MAX, &then, NULL) == AP_OK &&
                  now->len == then.len && memcmp(now->data, then.data, now->len) == 0;
    ap_buffer_free(&then);
    ap_free(path);
    return agrees;
}

ap_status ap_run_stamp_put(const struct ap_run *run, const char *stage, const char *name,
                           const struct ap_buffer *now, struct ap_error *err)
{
    ap_status status = AP_OK;
    char *folder = ap_run_dir_path(&run->dir, stage, ""),
         *path = ap_run_dir_path(&run->dir, stage, name);
    if (!path || !folder) {
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", stage);
        goto out;
    }
    AP_TRY(ap_dir_make(folder, err));
    AP_TRY(ap_file_write(path, now->data, now->len, err));
out:
    ap_free(path);
    ap_free(folder);
    return status;
}
