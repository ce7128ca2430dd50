/* The directory of a run: made, locked, tied to one recipe, and cleared of what an interrupted run
 * was still writing. Not here: checkpoints (checkpoint.c), whether anything was made
 * (run_unused.c). Entry points: ap_run_dir_open, ap_run_dir_close, ap_stage_finish,
 * ap_stage_reopen. */
#include "store/run_dir.h"

#include "store/recipe_inner.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *ap_run_dir_path(const struct ap_run_dir *dir, const char *stage, const char *name)
{
    char *folder = ap_path_join(dir->path, stage);
    if (!folder || !name[0])
        return folder;
    char *path = ap_path_join(folder, name);
    ap_free(folder);
    return path;
}

static ap_status no_memory(const struct ap_run_dir *dir, struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "%s: no memory for a path; free some", dir->path);
}

ap_status ap_run_dir_write(const struct ap_run_dir *dir, const char *stage, const char *name,
                           const void *data, size_t n, struct ap_error *err)
{
    char *folder = ap_run_dir_path(dir, stage, "");
    ap_status status = folder ? ap_dir_make(folder, err) : no_memory(dir, err);
    if (status == AP_OK)
        status = ap_file_write_in(folder, name, data, n, err);
    ap_free(folder);
    return status;
}

/* ---- clearing ---- */

static bool is_folder(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Only names that this layer gives: a user's own files in the folder stay. */
static ap_status clear_stage(const struct ap_run_dir *dir, const char *stage, struct ap_error *err)
{
    static const char *const leftovers[] = {AP_CHECKPOINT_NEW, AP_CHECKPOINT_OLD, AP_BEST_NEW,
                                            AP_BEST_OLD,       AP_FINAL_NEW,      "DONE.tmp"};
    ap_status status = AP_OK;
    for (size_t i = 0; i < AP_LEN(leftovers) && status == AP_OK; i++) {
        char *path = ap_run_dir_path(dir, stage, leftovers[i]);
        status = path ? ap_dir_remove(path, err) : no_memory(dir, err);
        ap_free(path);
    }
    return status;
}

static ap_status clear_leftovers(const struct ap_run_dir *dir, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct dirent *entry;
    DIR *list = opendir(dir->path);
    if (!list)
        return ap_fail_errno(err, errno, "%s: cannot list", dir->path);
    while (status == AP_OK && (errno = 0, entry = readdir(list)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        char *path = ap_path_join(dir->path, entry->d_name);
        if (!path)
            status = no_memory(dir, err);
        else if (is_folder(path))
            status = clear_stage(dir, entry->d_name, err);
        ap_free(path);
    }
    closedir(list);
    return status;
}

/* ---- recipe ---- */

static ap_status write_recipe(const char *path, const struct ap_recipe *recipe,
                              struct ap_error *err)
{
    struct ap_buffer text = {0};
    ap_status status = ap_recipe_resolved(recipe, &text, err);
    if (status == AP_OK)
        status = ap_file_write(path, text.data, text.len, err);
    ap_buffer_free(&text);
    return status;
}

/* Refused, unless nothing was made or bought by the one that is there: that is a recipe to correct,
 * not one to protect. Whoever opens holds the lock, so that nothing is made before the other one is
 * replaced; a crash in between leaves it, and as much to replace. */
static ap_status other_recipe(const struct ap_run_dir *dir, const struct ap_recipe *kept,
                              const struct ap_recipe *recipe, struct ap_buffer *moved,
                              struct ap_error *err)
{
    struct ap_buffer keys = {0};
    ap_status status = ap_recipe_differences(kept, recipe, AP_DIFFER_ANY, &keys, err);
    if (status == AP_OK && !ap_run_dir_unused(dir))
        status = ap_fail(err, AP_INVALID,
                         "%s: was made by another recipe: %s; choose another run.dir, or remove "
                         "this one to start afresh",
                         dir->path, keys.data);
    else if (status == AP_OK && moved)
        status = ap_buffer_printf(moved, err,
                                  "another recipe was there, of which nothing was made: %s; this "
                                  "one takes its place",
                                  keys.data);
    ap_buffer_free(&keys);
    return status;
}

/* moved: filled; NULL: nobody asks. */
static ap_status compare_recipe(const struct ap_run_dir *dir, const char *path,
                                const struct ap_recipe *recipe, struct ap_buffer *moved,
                                struct ap_error *err)
{
    struct ap_recipe *kept;
    ap_status status = ap_recipe_open(&kept, path, NULL, 0, err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status,
                              "%s: its recipe cannot be read; choose another run.dir, or remove "
                              "this one to start afresh",
                              dir->path);
    if (ap_recipe_fingerprint(kept) != ap_recipe_fingerprint(recipe))
        status = other_recipe(dir, kept, recipe, moved, err);
    else if (moved)
        status = ap_recipe_moved(kept, recipe, moved, err);
    ap_recipe_close(kept);
    return status;
}

static ap_status check_recipe(const struct ap_run_dir *dir, const struct ap_recipe *recipe,
                              struct ap_buffer *moved, struct ap_error *err)
{
    char *path = ap_path_join(dir->path, "recipe.yaml");
    if (!path)
        return no_memory(dir, err);
    ap_status status = ap_file_exists(path) ? compare_recipe(dir, path, recipe, moved, err) : AP_OK;
    ap_free(path);
    return status;
}

ap_status ap_run_dir_check(const struct ap_run_dir *dir, const struct ap_recipe *recipe,
                           struct ap_error *err)
{
    return check_recipe(dir, recipe, NULL, err);
}

/* Anew also where one is there: keys outside the fingerprint may have changed. */
static ap_status keep_recipe(const struct ap_run_dir *dir, const struct ap_recipe *recipe,
                             struct ap_error *err)
{
    char *path = ap_path_join(dir->path, "recipe.yaml");
    if (!path)
        return no_memory(dir, err);
    ap_status status = write_recipe(path, recipe, err);
    ap_free(path);
    return status;
}

/* ---- opening ---- */

static ap_status take_lock(struct ap_run_dir *dir, struct ap_error *err)
{
    char *path = ap_path_join(dir->path, "lock");
    if (!path)
        return no_memory(dir, err);
    ap_status status = ap_lock_take(&dir->lock, path, err);
    ap_free(path);
    return status;
}

ap_status ap_run_dir_open(struct ap_run_dir *dir, const struct ap_recipe *recipe,
                          struct ap_error *err)
{
    ap_status status;
    *dir = (struct ap_run_dir){.path = ap_strdup(ap_recipe_settings(recipe)->run.dir),
                               .lock = {.fd = -1}};
    if (!dir->path)
        return ap_fail(err, AP_MEMORY, "run.dir: no memory for a path; free some");
    status = ap_dir_make(dir->path, err);
    if (status != AP_OK) {
        ap_fail_prefix(err, status, "run.dir");
        goto out;
    }
    AP_TRY(take_lock(dir, err));
    AP_TRY(check_recipe(dir, recipe, &dir->moved, err)); /* before a foreign folder is touched */
    AP_TRY(keep_recipe(dir, recipe, err));
    AP_TRY(clear_leftovers(dir, err));
    return AP_OK;
out:
    ap_run_dir_close(dir);
    return status;
}

void ap_run_dir_close(struct ap_run_dir *dir)
{
    if (dir->path)
        ap_lock_release(&dir->lock);
    ap_free(dir->path);
    ap_buffer_free(&dir->moved);
    *dir = (struct ap_run_dir){.lock = {.fd = -1}};
}

/* ---- stages ---- */

ap_status ap_run_dir_events(const struct ap_run_dir *dir, const char *stage, int64_t step,
                            struct ap_event_file *out, struct ap_error *err)
{
    ap_status status;
    struct ap_buffer recipe = {0};
    char *tb = ap_path_join(dir->path, "tb"), *folder = tb ? ap_path_join(tb, stage) : NULL;
    char *path = ap_path_join(dir->path, "recipe.yaml");
    if (!folder || !path)
        AP_TRY(no_memory(dir, err));
    AP_TRY(ap_event_file_open(out, folder, step, err));
    AP_TRY(ap_file_read(path, AP_RECIPE_BYTES_MAX, &recipe, err));
    AP_TRY(ap_event_file_text(out, step, "recipe", recipe.data, err));
    AP_TRY(ap_event_file_flush(out, err));
out:
    if (status != AP_OK)
        ap_event_file_close(out);
    ap_buffer_free(&recipe);
    ap_free(tb);
    ap_free(folder);
    ap_free(path);
    return status;
}

bool ap_stage_done(const struct ap_run_dir *dir, const char *stage)
{
    char *path = ap_run_dir_path(dir, stage, "DONE");
    bool done = path && ap_file_exists(path);
    ap_free(path);
    return done;
}

ap_status ap_stage_finish(const struct ap_run_dir *dir, const char *stage, const char *json,
                          struct ap_error *err)
{
    struct ap_buffer line = {0};
    ap_status status = ap_buffer_printf(&line, err, "%s\n", json);
    if (status == AP_OK)
        status = ap_run_dir_write(dir, stage, "DONE", line.data, line.len, err);
    ap_buffer_free(&line);
    return status;
}

/* Through to the disk before the caller drops a row: a power cut brings back no DONE alone. */
ap_status ap_stage_reopen(const struct ap_run_dir *dir, const char *stage, struct ap_error *err)
{
    char *folder = ap_run_dir_path(dir, stage, ""), *done = ap_run_dir_path(dir, stage, "DONE");
    ap_status status = folder && done ? ap_dir_remove(done, err) : no_memory(dir, err);
    if (status == AP_OK)
        status = ap_dir_sync(folder, err);
    ap_free(done);
    ap_free(folder);
    return status;
}
