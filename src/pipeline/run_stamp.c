/* Under which settings rows of run.db were made: a text beside the stage that made them, so that
 * rows of other settings are known and dropped. Entry points: ap_run_stamp_agrees,
 * ap_run_stamp_put; of the prompts ap_run_prompts_agree, ap_run_prompts_put.
 */
#include "pipeline/run_inner.h"

#include "base/memory.h"

#include <jansson.h>
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
    return ap_run_dir_write(&run->dir, stage, name, now->data, now->len, err);
}

/* ---- of which prompts ---- */

/* What the test file held when it was read, as a text; empty where nothing is known of it. */
static ap_status prompts_stamp(const struct ap_run *run, struct ap_buffer *out,
                               struct ap_error *err)
{
    char *text = run->test_mark ? json_dumps(run->test_mark, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    ap_status status = text ? ap_buffer_puts(out, text, err) : AP_OK;
    free(text);
    return status;
}

static const char prompts_name[] = "prompts";

bool ap_run_prompts_agree(const struct ap_run *run, const char *stage)
{
    struct ap_buffer now = {0};
    char *path = ap_run_dir_path(&run->dir, stage, prompts_name);
    bool known = path && ap_file_exists(path) && prompts_stamp(run, &now, NULL) == AP_OK && now.len;
    bool agree = !known || ap_run_stamp_agrees(run, stage, prompts_name, &now);
    ap_buffer_free(&now);
    ap_free(path);
    return agree;
}

ap_status ap_run_prompts_put(const struct ap_run *run, const char *stage, struct ap_error *err)
{
    struct ap_buffer now = {0};
    ap_status status = prompts_stamp(run, &now, err);
    if (status == AP_OK && now.len)
        status = ap_run_stamp_put(run, stage, prompts_name, &now, err);
    ap_buffer_free(&now);
    return status;
}
