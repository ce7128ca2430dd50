/* Directories as units (made, removed, committed) and the two operations on paths that need memory.
 * Not here: listing a directory. Entry points: ap_dir_make, ap_dir_remove, ap_dir_commit,
 * ap_dir_size. */
#include "base/file.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 64 /* directories within directories, before a walk gives up */

char *ap_path_join(const char *base, const char *name)
{
    if (!base || !base[0] || name[0] == '/')
        return ap_strdup(name);
    size_t n = strlen(base), m = strlen(name);
    int slash = base[n - 1] != '/';
    char *path = ap_calloc(n + m + 2, 1);
    if (path)
        snprintf(path, n + m + 2, "%s%s%s", base, slash ? "/" : "", name);
    return path;
}

static size_t without_slashes(const char *path, size_t n)
{
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n;
}

void ap_path_trim(char *path)
{
    size_t n = strlen(path);
    if (n > 0)
        path[without_slashes(path, n)] = '\0';
}

char *ap_path_dir(const char *path)
{
    size_t n = without_slashes(path, strlen(path));
    while (n > 0 && path[n - 1] != '/')
        n--;
    return n ? ap_strndup(path, without_slashes(path, n)) : ap_strdup(".");
}

static ap_status no_memory(const char *path, struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "%s: no memory for a path; free some", path);
}

static ap_status make_one(const char *path, struct ap_error *err)
{
    struct stat info;
    if (mkdir(path, 0777) == 0)
        return AP_OK;
    int code = errno;
    if (stat(path, &info) != 0) /* a parent may exist and forbid mkdir: only absence is a failure */
        return ap_fail_errno(err, code, "%s: cannot make the directory", path);
    if (!S_ISDIR(info.st_mode))
        return ap_fail(err, AP_INVALID,
                       "%s: is a file, expected a directory; remove it or choose another path",
                       path);
    return AP_OK;
}

ap_status ap_dir_make(const char *path, struct ap_error *err)
{
    ap_status status = AP_OK;
    char *copy = ap_strdup(path);
    if (!copy)
        return no_memory(path, err);
    if (!copy[0])
        status = ap_fail(err, AP_INVALID, "a directory's path is empty; give it a name");
    for (char *at = copy + 1; status == AP_OK && copy[0] && *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        status = make_one(copy, err);
        *at = '/';
    }
    if (status == AP_OK)
        status = make_one(copy, err);
    ap_free(copy);
    return status;
}

/* What a walk does to a file or, after all it holds, to a directory. */
typedef ap_status visit_fn(const char *path, const struct stat *info, struct ap_error *err);

static ap_status walk(const char *path, int depth, visit_fn *visit, struct ap_error *err);

static ap_status walk_entries(DIR *dir, const char *path, int depth, visit_fn *visit,
                              struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct dirent *entry;
    while (status == AP_OK && (errno = 0, entry = readdir(dir)) != NULL) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        char *child = ap_path_join(path, entry->d_name);
        status = child ? walk(child, depth + 1, visit, err) : no_memory(path, err);
        ap_free(child);
    }
    if (status == AP_OK && errno)
        status = ap_fail_errno(err, errno, "%s: cannot list", path);
    return status;
}

/* Symbolic links are visited, never followed. */
static ap_status walk(const char *path, int depth, visit_fn *visit, struct ap_error *err)
{
    struct stat info;
    if (depth > DEPTH_MAX)
        return ap_fail(err, AP_LIMIT, "%s: is more than %d directories deep; remove it by hand",
                       path, DEPTH_MAX);
    if (lstat(path, &info) != 0)
        return ap_fail_errno(err, errno, "%s: cannot be examined", path);
    if (S_ISDIR(info.st_mode)) {
        DIR *dir = opendir(path);
        if (!dir)
            return ap_fail_errno(err, errno, "%s: cannot list", path);
        ap_status status = walk_entries(dir, path, depth, visit, err);
        closedir(dir);
        if (status != AP_OK)
            return status;
    }
    return visit(path, &info, err);
}

static ap_status visit_remove(const char *path, const struct stat *info, struct ap_error *err)
{
    if ((S_ISDIR(info->st_mode) ? rmdir(path) : unlink(path)) != 0)
        return ap_fail_errno(err, errno, "%s: cannot remove", path);
    return AP_OK;
}

ap_status ap_dir_remove(const char *path, struct ap_error *err)
{
    struct stat info;
    if (lstat(path, &info) != 0 && errno == ENOENT)
        return AP_OK;
    return walk(path, 0, visit_remove, err);
}

static ap_status sync_path(const char *path, int flags, struct ap_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0)
        return ap_fail_errno(err, errno, "%s: cannot open", path);
    int code = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    if (code && code != EINVAL) /* EINVAL: this file system cannot, and needs not */
        return ap_fail_errno(err, code, "%s: cannot write it through to the disk", path);
    return AP_OK;
}

ap_status ap_dir_sync(const char *path, struct ap_error *err)
{
    return sync_path(path, O_DIRECTORY, err);
}

static ap_status visit_sync(const char *path, const struct stat *info, struct ap_error *err)
{
    if (S_ISDIR(info->st_mode))
        return ap_dir_sync(path, err);
    return S_ISREG(info->st_mode) ? sync_path(path, 0, err) : AP_OK;
}

/* `from` takes the place of an existing `to`. Exchanged in one step there is no moment without a
 * whole `to`; where the file system cannot, `from` is whole and synced before `to` goes. */
static ap_status replace_dir(const char *from, const char *to, struct ap_error *err)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0)
        return ap_dir_remove(from, err);
    ap_status status = ap_dir_remove(to, err);
    if (status == AP_OK && rename(from, to) != 0)
        status = ap_fail_errno(err, errno, "%s: cannot be renamed to %s", from, to);
    return status;
}

ap_status ap_dir_commit(const char *from, const char *to, struct ap_error *err)
{
    ap_status status;
    char *parent = ap_path_dir(to);
    if (!parent)
        return no_memory(to, err);
    AP_TRY(walk(from, 0, visit_sync, err));
    if (ap_file_exists(to))
        AP_TRY(replace_dir(from, to, err));
    else if (rename(from, to) != 0)
        AP_TRY(ap_fail_errno(err, errno, "%s: cannot be renamed to %s", from, to));
    AP_TRY(ap_dir_sync(parent, err));
out:
    ap_free(parent);
    return status;
}

ap_status ap_dir_size(const char *path, uint64_t *bytes, uint64_t *n_files, struct ap_error *err)
{
    char *roots[] = {(char *)(uintptr_t)path, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    *bytes = *n_files = 0;
    if (!tree)
        return ap_fail_errno(err, errno, "%s: cannot list", path);
    for (const FTSENT *e; (e = fts_read(tree)) != NULL;) {
        if (e->fts_level > DEPTH_MAX)
            fts_set(tree, (FTSENT *)(uintptr_t)e, FTS_SKIP);
        if (e->fts_info != FTS_F)
            continue;
        *bytes += (uint64_t)e->fts_statp->st_size;
        ++*n_files;
    }
    fts_close(tree);
    return AP_OK;
}
