/* Whole files: bounded reading, and writing that leaves the old file or the new one, never half.
 * Not here: mapping (map.c), directories and paths (dir.c), lines (lines.c), locks (lock.c).
 * Entry points: ap_file_open, ap_file_read, ap_file_write, ap_file_write_in, ap_writer_open. */
#include "base/file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool ap_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

ap_status ap_file_open(int *fd, const char *path, struct ap_error *err)
{
    struct stat info;
    ap_status status = AP_OK;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return ap_fail_errno(err, errno, "%s: cannot open", path);
    if (fstat(*fd, &info) != 0)
        status = ap_fail_errno(err, errno, "%s: cannot be examined", path);
    else if (!S_ISREG(info.st_mode))
        status = ap_fail(err, AP_INVALID, "%s: is %s, expected a regular file; check the path",
                         path, S_ISDIR(info.st_mode) ? "a directory" : "a device or pipe");
    if (status != AP_OK) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

static ap_status too_large(const char *path, size_t max, struct ap_error *err)
{
    return ap_fail(err, AP_LIMIT,
                   "%s: is larger than the limit of %zu bytes; is it the right file?", path, max);
}

static ap_status read_fd(int fd, const char *path, size_t max, struct ap_buffer *out,
                         struct ap_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return ap_fail_errno(err, errno, "%s: cannot be examined", path);
    if ((uint64_t)info.st_size > max)
        return too_large(path, max, err);
    size_t step = (size_t)info.st_size + 1; /* + 1: the end is seen without growing again */
    for (;;) {
        size_t left = max - out->len; /* one byte more tells "too large" from "just fits" */
        size_t want = step <= left ? step : left + 1;
        ap_status status = ap_buffer_reserve(out, want, err);
        if (status != AP_OK)
            return ap_fail_prefix(err, status, "%s", path);
        ssize_t got = TEMP_FAILURE_RETRY(read(fd, out->data + out->len, want));
        if (got < 0)
            return ap_fail_errno(err, errno, "%s: cannot read", path);
        out->len += (size_t)got;
        out->data[out->len] = '\0';
        if (out->len > max)
            return too_large(path, max, err);
        if (got == 0)
            return AP_OK;
        step = 65536;
    }
}

ap_status ap_file_read(const char *path, size_t max, struct ap_buffer *out, struct ap_error *err)
{
    ap_buffer_clear(out);
    int fd;
    ap_status status = ap_file_open(&fd, path, err);
    if (status != AP_OK)
        return status;
    status = read_fd(fd, path, max, out, err);
    close(fd);
    if (status != AP_OK)
        ap_buffer_clear(out);
    return status;
}

/* A pipe that stands there under the temporary name is not waited for. */
static ap_status open_writer(struct ap_writer *w, const char *path, int claim, struct ap_error *err)
{
    *w = (struct ap_writer){.fd = -1};
    size_t n = strlen(path);
    w->path = ap_strndup(path, n);
    w->tmp = ap_calloc(n + sizeof(".tmp"), 1);
    if (!w->path || !w->tmp) {
        ap_writer_abort(w);
        return ap_fail(err, AP_MEMORY, "%s: no memory for its name; free some", path);
    }
    snprintf(w->tmp, n + sizeof(".tmp"), "%s.tmp", path);
    w->fd = open(w->tmp, O_WRONLY | O_CREAT | claim | O_NONBLOCK | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        ap_status status = errno == EEXIST
                               ? ap_fail(err, AP_INVALID,
                                         "%s: is there: another process writes it, or one was "
                                         "killed; remove it when none does",
                                         w->tmp)
                               : ap_fail_errno(err, errno, "%s: cannot create", w->tmp);
        w->tmp[0] = '\0'; /* not ours to remove */
        ap_writer_abort(w);
        return status;
    }
    return AP_OK;
}

ap_status ap_writer_open(struct ap_writer *w, const char *path, struct ap_error *err)
{
    return open_writer(w, path, O_TRUNC, err);
}

ap_status ap_writer_open_new(struct ap_writer *w, const char *path, struct ap_error *err)
{
    return open_writer(w, path, O_EXCL, err);
}

static ap_status write_failed(const struct ap_writer *w, int code, struct ap_error *err)
{
    return ap_fail_errno(err, code, "%s: cannot write after %llu bytes%s", w->path,
                         (unsigned long long)w->size,
                         ap_file_exists(w->path) ? " (the old file is kept)" : "");
}

int ap_fd_write(int fd, const void *data, size_t n, uint64_t *n_written)
{
    const char *bytes = data;
    while (n > 0) {
        ssize_t wrote = TEMP_FAILURE_RETRY(write(fd, bytes, n));
        if (wrote <= 0)
            return wrote < 0 ? errno : EIO;
        bytes += wrote;
        n -= (size_t)wrote;
        *n_written += (uint64_t)wrote;
    }
    return 0;
}

ap_status ap_writer_append(struct ap_writer *w, const void *data, size_t n, struct ap_error *err)
{
    int code = ap_fd_write(w->fd, data, n, &w->size);
    return code == 0 ? AP_OK : write_failed(w, code, err);
}

static ap_status sync_parent(const char *path, struct ap_error *err)
{
    char *dir = ap_path_dir(path);
    if (!dir)
        return ap_fail(err, AP_MEMORY, "%s: no memory for its directory's name; free some", path);
    ap_status status = ap_dir_sync(dir, err);
    ap_free(dir);
    return status;
}

ap_status ap_writer_commit(struct ap_writer *w, struct ap_error *err)
{
    ap_status status = AP_OK;
    if (fsync(w->fd) != 0) {
        status = write_failed(w, errno, err);
        goto out;
    }
    int closed = close(w->fd);
    w->fd = -1;
    if (closed != 0) {
        status = write_failed(w, errno, err);
        goto out;
    }
    if (rename(w->tmp, w->path) != 0) {
        status = ap_fail_errno(err, errno, "%s: cannot be replaced by %s", w->path, w->tmp);
        goto out;
    }
    w->tmp[0] = '\0'; /* it is the file now: abort must not look for it */
    AP_TRY(sync_parent(w->path, err));
out:
    ap_writer_abort(w);
    return status;
}

void ap_writer_abort(struct ap_writer *w)
{
    bool open = w->path && w->tmp;
    if (open && w->fd >= 0)
        close(w->fd);
    if (open && w->tmp[0])
        unlink(w->tmp);
    ap_free(w->path);
    ap_free(w->tmp);
    *w = (struct ap_writer){.fd = -1};
}

ap_status ap_file_write(const char *path, const void *data, size_t n, struct ap_error *err)
{
    struct ap_writer w;
    ap_status status = ap_writer_open(&w, path, err);
    if (status != AP_OK)
        return status;
    status = ap_writer_append(&w, data, n, err);
    if (status == AP_OK)
        return ap_writer_commit(&w, err);
    ap_writer_abort(&w);
    return status;
}

ap_status ap_file_write_in(const char *dir, const char *name, const void *data, size_t n,
                           struct ap_error *err)
{
    char *path = ap_path_join(dir, name);
    ap_status status =
        path ? ap_file_write(path, data, n, err)
             : ap_fail(err, AP_MEMORY, "%s/%s: no memory for a path; free some", dir, name);
    ap_free(path);
    return status;
}

ap_status ap_file_copy(const char *from, const char *to, struct ap_error *err)
{
    struct ap_buffer bytes = {0};
    ap_status status = ap_file_read(from, AP_BUFFER_MAX, &bytes, err);
    if (status == AP_OK)
        status = ap_file_write(to, bytes.data, bytes.len, err);
    ap_buffer_free(&bytes);
    return status;
}
