/* Files: mapped reading, bounded reading, writing that never leaves half a file, locks. */
#ifndef AP_BASE_FILE_H
#define AP_BASE_FILE_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct ap_map {
    const unsigned char *data; /* read-only; NULL for an empty file */
    size_t size;               /* bytes */
};

ap_status ap_map_open(struct ap_map *map, const char *path, struct ap_error *err);
void ap_map_close(struct ap_map *map);
/* n bytes of a map that will be read again and again in no order: they are brought in now, so that
 * the process has at once what it would come to have. */
void ap_map_fetch(const void *data, size_t n);
/* n bytes of a map that have been read and hardly will be again: their memory is let go; who reads
 * them all the same reads the file again. */
void ap_map_release(const void *data, size_t n);

/* A regular file opened for reading, closed over exec; the caller closes it. A directory, device or
 * pipe is AP_INVALID, at once: nothing waits for a pipe's other end. */
ap_status ap_file_open(int *fd, const char *path, struct ap_error *err);
/* Whole file into out; more than max bytes is AP_LIMIT. */
ap_status ap_file_read(const char *path, size_t max, struct ap_buffer *out, struct ap_error *err);
/* Written beside as PATH.tmp, fsynced, renamed over PATH, directory fsynced. */
ap_status ap_file_write(const char *path, const void *data, size_t n, struct ap_error *err);
/* The same of DIR/NAME. */
ap_status ap_file_write_in(const char *dir, const char *name, const void *data, size_t n,
                           struct ap_error *err);

/* The bytes of one file written as another; at most AP_BUFFER_MAX of them. */
ap_status ap_file_copy(const char *from, const char *to, struct ap_error *err);

/* The same for what is written in pieces: nothing is seen at `path` before commit. */
struct ap_writer {
    char *path, *tmp; /* owned; NULL when not open, so that a zeroed struct may be aborted */
    int fd;
    uint64_t size; /* bytes written so far */
};
ap_status ap_writer_open(struct ap_writer *w, const char *path, struct ap_error *err);
/* The same where no lock keeps other processes from the path: a PATH.tmp that is there already is
 * AP_INVALID and stays. */
ap_status ap_writer_open_new(struct ap_writer *w, const char *path, struct ap_error *err);
ap_status ap_writer_append(struct ap_writer *w, const void *data, size_t n, struct ap_error *err);
/* fsync, rename, fsync of the directory. Frees w, also when it fails (the old file then stands). */
ap_status ap_writer_commit(struct ap_writer *w, struct ap_error *err);
void ap_writer_abort(struct ap_writer *w); /* removes PATH.tmp; nothing after a commit */

/* All n bytes to an open file, however few the system takes at once. 0, or the errno with which it
 * ended; *n_written grows by what was written. */
int ap_fd_write(int fd, const void *data, size_t n, uint64_t *n_written);

bool ap_file_exists(const char *path);
ap_status ap_dir_make(const char *path, struct ap_error *err);   /* with parents */
ap_status ap_dir_remove(const char *path, struct ap_error *err); /* with contents; absent is fine */
/* fsync every file below the directory and the directories, then rename it to `to` and fsync the
 * parent. An older `to` is exchanged in one step where the file system can, and then removed. */
ap_status ap_dir_commit(const char *from, const char *to, struct ap_error *err);
/* Bytes and number of the regular files below; links are not followed, and what goes away meanwhile
 * does not count. */
ap_status ap_dir_size(const char *path, uint64_t *bytes, uint64_t *n_files, struct ap_error *err);
/* fsync of the directory itself, so that a rename in it outlives a power cut. */
ap_status ap_dir_sync(const char *path, struct ap_error *err);
/* base/name, or name alone when it is absolute or base is "" or NULL. Allocated; NULL when out of
 * memory. */
char *ap_path_join(const char *base, const char *name);
/* Slashes at its end are cut off; "/" stays. */
void ap_path_trim(char *path);
/* Directory part of path ("." when there is none). Allocated. */
char *ap_path_dir(const char *path);

/* An exclusive advisory lock on PATH, held until unlock or the end of the process (kill -9 too).
 * AP_BUSY with the holder's process id when another process has it. */
struct ap_lock {
    int fd; /* -1 when not held */
};
ap_status ap_lock_take(struct ap_lock *lock, const char *path, struct ap_error *err);
void ap_lock_release(struct ap_lock *lock);
/* Whether a process has it, and which (0 or less: one that cannot be seen from here), without
 * taking it: as /proc/locks has it. */
bool ap_lock_holder(const char *path, long *holder);

/* Lines of a text file or a .gz of one, streamed, each at most max_line bytes, without its newline
 * (a trailing '\r' too). A longer line is AP_LIMIT, a damaged or cut .gz AP_FORMAT; both name
 * file:line. After AP_LIMIT the reader stands at the next line. */
struct ap_lines;
ap_status ap_lines_open(struct ap_lines **lines, const char *path, size_t max_line,
                        struct ap_error *err);
/* *text points into the reader until the next call and has a NUL after its n bytes; *more is false
 * at the end. number counts from 1. */
ap_status ap_lines_next(struct ap_lines *lines, const char **text, size_t *n, uint64_t *number,
                        bool *more, struct ap_error *err);
/* The next n_most bytes at most, which stay to be read; fewer at the end of the file. Borrowed
 * until the next call. n_most: up to 65536. */
ap_status ap_lines_peek(struct ap_lines *lines, size_t n_most, const char **text, size_t *n,
                        struct ap_error *err);
/* Instead of lines, the elements of the one JSON array that the file is, in their own text:
 * brackets are counted, nothing more is checked. Otherwise as ap_lines_next; number is the line on
 * which the element begins. What stands between elements and is wrong is AP_FORMAT, and the end. */
ap_status ap_elements_next(struct ap_lines *lines, const char **text, size_t *n, uint64_t *number,
                           bool *more, struct ap_error *err);
void ap_lines_close(struct ap_lines *lines);

#endif
