/* Checkpoints and results of a stage: filled under a temporary name, synced, renamed. A process
 * killed at any moment leaves the old ones, or the old ones and a whole new one.
 *
 *   STAGE/ckpt/new.tmp        being filled           STAGE/final.tmp   being filled
 *   STAGE/ckpt/step-00000040  whole, DONE inside     STAGE/final       whole, DONE inside
 *   STAGE/ckpt/old.tmp        being removed
 *   STAGE/best/…              the same, of the steps that did best on valid prompts
 *
 * Entry points: ap_checkpoint_begin, _commit, _newest, ap_best_begin, _commit, _newest, _folder,
 * ap_final_begin, _commit. */
#include "store/run_dir.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_MOST INT64_C(999999999999)

/* Where a list of steps is kept: "ckpt" or "best". */
static const char ckpt[] = "ckpt", best[] = "best";

static ap_status no_memory(const struct ap_run_dir *dir, struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "%s: no memory for a path; free some", dir->path);
}

static ap_status begin(const struct ap_run_dir *dir, const char *stage, const char *name,
                       char **folder, struct ap_error *err)
{
    ap_status status = AP_OK;
    *folder = ap_run_dir_path(dir, stage, name);
    if (!*folder)
        return no_memory(dir, err);
    AP_TRY(ap_dir_remove(*folder, err));
    AP_TRY(ap_dir_make(*folder, err));
    return AP_OK;
out:
    ap_free(*folder);
    *folder = NULL;
    return status;
}

/* DONE is the last file to be written inside, then the whole is renamed: the one guards against a
 * copy that was cut short by other tools, the other against everything of ours. */
static ap_status commit(const struct ap_run_dir *dir, const char *stage, const char *folder,
                        const char *name, int64_t step, struct ap_error *err)
{
    char text[64];
    ap_status status = AP_OK;
    char *to = ap_run_dir_path(dir, stage, name);
    int n = step >= 0 ? snprintf(text, sizeof(text), "{\"step\": %" PRId64 "}\n", step)
                      : snprintf(text, sizeof(text), "{}\n");
    if (!to)
        AP_TRY(no_memory(dir, err));
    AP_TRY(ap_file_write_in(folder, "DONE", text, (size_t)n, err));
    AP_TRY(ap_dir_commit(folder, to, err));
out:
    ap_free(to);
    return status;
}

/* ---- the list of checkpoints ---- */

struct step_list {
    int64_t *steps; /* ascending once sorted */
    size_t n;
};

static bool read_step(const char *name, int64_t *step)
{
    static const char prefix[] = "step-";
    const char *number = name + sizeof(prefix) - 1;
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return false;
    size_t digits = strspn(number, "0123456789");
    if (digits < 8 || digits > 12 || number[digits])
        return false;
    *step = strtoll(number, NULL, 10);
    return true;
}

static void step_name(const char *list, int64_t step, char out[40])
{
    snprintf(out, 40, "%s/step-%08" PRId64, list, step);
}

static bool is_whole(const struct ap_run_dir *dir, const char *stage, const char *list,
                     int64_t step)
{
    char name[48];
    step_name(list, step, name);
    strcat(name, "/DONE");
    char *path = ap_run_dir_path(dir, stage, name);
    bool whole = path && ap_file_exists(path);
    ap_free(path);
    return whole;
}

static int compare_steps(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static ap_status add_step(struct step_list *list, int64_t step, const struct ap_run_dir *dir,
                          struct ap_error *err)
{
    int64_t *grown = ap_realloc(list->steps, list->n, list->n + 1, sizeof(*grown));
    if (!grown)
        return no_memory(dir, err);
    list->steps = grown;
    list->steps[list->n++] = step;
    return AP_OK;
}

/* Whole checkpoints only. No folder yet is an empty list. */
static ap_status list_steps(const struct ap_run_dir *dir, const char *stage, const char *which,
                            struct step_list *list, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct dirent *entry;
    char *path = ap_run_dir_path(dir, stage, which);
    DIR *files = path ? opendir(path) : NULL;
    int code = errno;
    if (!path)
        return no_memory(dir, err);
    if (!files && code != ENOENT)
        status = ap_fail_errno(err, code, "%s: cannot list", path);
    while (status == AP_OK && files && (entry = readdir(files)) != NULL) {
        int64_t step;
        if (read_step(entry->d_name, &step) && is_whole(dir, stage, which, step))
            status = add_step(list, step, dir, err);
    }
    if (files)
        closedir(files);
    ap_free(path);
    if (list->n)
        qsort(list->steps, list->n, sizeof(*list->steps), compare_steps);
    return status;
}

/* Renamed before it is taken apart, so that no half of it looks whole. */
static ap_status remove_step(const struct ap_run_dir *dir, const char *stage, const char *list,
                             int64_t step, struct ap_error *err)
{
    char name[40];
    ap_status status = AP_OK;
    step_name(list, step, name);
    char *from = ap_run_dir_path(dir, stage, name);
    char *to = ap_run_dir_path(dir, stage, list == best ? AP_BEST_OLD : AP_CHECKPOINT_OLD);
    if (!from || !to)
        AP_TRY(no_memory(dir, err));
    AP_TRY(ap_dir_remove(to, err));
    if (rename(from, to) != 0)
        AP_TRY(ap_fail_errno(err, errno, "%s: cannot be renamed to %s", from, to));
    AP_TRY(ap_dir_remove(to, err));
out:
    ap_free(from);
    ap_free(to);
    return status;
}

/* ---- entry points ---- */

ap_status ap_checkpoint_begin(const struct ap_run_dir *dir, const char *stage, char **folder,
                              struct ap_error *err)
{
    return begin(dir, stage, AP_CHECKPOINT_NEW, folder, err);
}

ap_status ap_checkpoint_commit(const struct ap_run_dir *dir, const char *stage, const char *folder,
                               int64_t step, int keep, struct ap_error *err)
{
    char name[40];
    struct step_list list = {0};
    ap_status status = AP_OK;
    if (step < 0 || step > STEP_MOST || keep < 1)
        return ap_fail(err, AP_INVALID,
                       "%s: step %" PRId64 " with %d kept, expected a step from 0 and 1 kept or "
                       "more",
                       folder, step, keep);
    step_name(ckpt, step, name);
    AP_TRY(commit(dir, stage, folder, name, step, err));
    AP_TRY(list_steps(dir, stage, ckpt, &list, err));
    for (size_t i = 0; i + (size_t)keep < list.n; i++)
        AP_TRY(remove_step(dir, stage, ckpt, list.steps[i], err));
out:
    ap_free(list.steps);
    return status;
}

ap_status ap_checkpoint_newest(const struct ap_run_dir *dir, const char *stage, char **folder,
                               int64_t *step, struct ap_error *err)
{
    char name[40];
    struct step_list list = {0};
    ap_status status;
    *folder = NULL;
    *step = 0;
    AP_TRY(list_steps(dir, stage, ckpt, &list, err));
    if (!list.n)
        goto out;
    *step = list.steps[list.n - 1];
    step_name(ckpt, *step, name);
    *folder = ap_run_dir_path(dir, stage, name);
    if (!*folder)
        AP_TRY(no_memory(dir, err));
out:
    ap_free(list.steps);
    return status;
}

ap_status ap_best_begin(const struct ap_run_dir *dir, const char *stage, char **folder,
                        struct ap_error *err)
{
    return begin(dir, stage, AP_BEST_NEW, folder, err);
}

ap_status ap_best_commit(const struct ap_run_dir *dir, const char *stage, const char *folder,
                         int64_t step, int64_t keep, struct ap_error *err)
{
    char name[40];
    struct step_list list = {0};
    ap_status status = AP_OK;
    if (step < 0 || step > STEP_MOST)
        return ap_fail(err, AP_INVALID, "%s: step %" PRId64 ", expected one from 0", folder, step);
    step_name(best, step, name);
    AP_TRY(commit(dir, stage, folder, name, step, err));
    AP_TRY(list_steps(dir, stage, best, &list, err));
    for (size_t i = 0; i < list.n; i++)
        if (list.steps[i] != step && list.steps[i] != keep)
            AP_TRY(remove_step(dir, stage, best, list.steps[i], err));
out:
    ap_free(list.steps);
    return status;
}

ap_status ap_best_newest(const struct ap_run_dir *dir, const char *stage, int64_t *step,
                         struct ap_error *err)
{
    struct step_list list = {0};
    ap_status status = list_steps(dir, stage, best, &list, err);
    *step = list.n ? list.steps[list.n - 1] : -1;
    ap_free(list.steps);
    return status;
}

ap_status ap_best_folder(const struct ap_run_dir *dir, const char *stage, int64_t step,
                         char **folder, struct ap_error *err)
{
    char name[40];
    step_name(best, step, name);
    *folder = ap_run_dir_path(dir, stage, name);
    if (!*folder)
        return no_memory(dir, err);
    if (is_whole(dir, stage, best, step))
        return AP_OK;
    ap_status status =
        ap_fail(err, AP_NOT_FOUND,
                "%s: is missing or not whole, though the stage kept it as its best; remove %s/%s "
                "and run again",
                *folder, dir->path, stage);
    ap_free(*folder);
    *folder = NULL;
    return status;
}

ap_status ap_final_begin(const struct ap_run_dir *dir, const char *stage, char **folder,
                         struct ap_error *err)
{
    return begin(dir, stage, AP_FINAL_NEW, folder, err);
}

ap_status ap_final_commit(const struct ap_run_dir *dir, const char *stage, const char *folder,
                          struct ap_error *err)
{
    return commit(dir, stage, folder, "final", -1, err);
}
