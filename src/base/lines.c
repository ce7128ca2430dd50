/* Lines of a text file, plain or gzipped (zlib tells them apart by the first bytes), in bounded
 * memory. Not here: what a line means, or whether it is text at all; elements of a JSON array
 * (elements.c). Entry points: ap_lines_open, ap_lines_peek, ap_lines_next. */
#include "base/lines_inner.h"

#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static ap_status open_stream(struct ap_lines *l, struct ap_error *err)
{
    int fd;
    ap_status status = ap_file_open(&fd, l->path, err);
    if (status != AP_OK)
        return status;
    l->file = gzdopen(fd, "rb");
    if (!l->file) {
        close(fd);
        return ap_fail(err, AP_MEMORY, "%s: no memory to read it; free some", l->path);
    }
    gzbuffer(l->file, (unsigned)AP_LINES_CHUNK);
    return AP_OK;
}

ap_status ap_lines_open(struct ap_lines **lines, const char *path, size_t max_line,
                        struct ap_error *err)
{
    ap_status status;
    *lines = NULL;
    struct ap_lines *l = ap_calloc(1, sizeof(*l));
    if (!l)
        return ap_fail(err, AP_MEMORY, "%s: no memory to read it; free some", path);
    l->max_line = max_line < AP_BUFFER_MAX ? max_line : AP_BUFFER_MAX;
    l->cap = AP_LINES_CHUNK;
    l->path = ap_strdup(path);
    l->buffer = ap_calloc(l->cap + 1, 1);
    if (!l->path || !l->buffer)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory to read it; free some", path));
    AP_TRY(open_stream(l, err));
    *lines = l;
    return AP_OK;
out:
    ap_lines_close(l);
    return status;
}

void ap_lines_close(struct ap_lines *l)
{
    if (!l)
        return;
    if (l->file)
        gzclose_r(l->file);
    ap_free(l->path);
    ap_free(l->buffer);
    ap_free(l);
}

static ap_status read_failed(const struct ap_lines *l, int code, struct ap_error *err)
{
    unsigned long long line = l->number + 1;
    if (code == Z_ERRNO)
        return ap_fail_errno(err, errno, "%s:%llu: cannot read", l->path, line);
    if (code == Z_MEM_ERROR)
        return ap_fail(err, AP_MEMORY, "%s:%llu: no memory to decompress; free some", l->path,
                       line);
    return ap_fail(err, AP_FORMAT,
                   "%s:%llu: the gzip data are %s; fetch the file again (gzip -t checks it)",
                   l->path, line, code == Z_BUF_ERROR ? "cut off" : "damaged");
}

static ap_status make_room(struct ap_lines *l, struct ap_error *err)
{
    if (l->start > 0) {
        memmove(l->buffer, l->buffer + l->start, l->end - l->start);
        l->end -= l->start;
        l->start = 0;
    }
    if (l->end < l->cap)
        return AP_OK;
    char *grown = ap_realloc(l->buffer, l->cap + 1, 2 * l->cap + 1, 1);
    if (!grown)
        return ap_fail(err, AP_MEMORY, "%s:%llu: no memory for a line of over %zu bytes; free some",
                       l->path, (unsigned long long)l->number + 1, l->cap);
    l->buffer = grown;
    l->cap *= 2;
    return AP_OK;
}

ap_status ap_lines_fill(struct ap_lines *l, struct ap_error *err)
{
    ap_status status = make_room(l, err);
    if (status != AP_OK)
        return status;
    size_t room = l->cap - l->end < AP_LINES_CHUNK ? l->cap - l->end : AP_LINES_CHUNK;
    int code = Z_OK, got = gzread(l->file, l->buffer + l->end, (unsigned)room);
    gzerror(l->file, &code);
    if (got < 0 || (got == 0 && code != Z_OK && code != Z_STREAM_END))
        return read_failed(l, code, err);
    l->end += (size_t)got;
    l->eof = got == 0;
    return AP_OK;
}

ap_status ap_lines_peek(struct ap_lines *l, size_t n_most, const char **text, size_t *n,
                        struct ap_error *err)
{
    n_most = n_most < l->cap ? n_most : l->cap;
    while (l->end - l->start < n_most && !l->eof) {
        ap_status status = ap_lines_fill(l, err);
        if (status != AP_OK)
            return status;
    }
    *text = l->buffer + l->start;
    *n = l->end - l->start < n_most ? l->end - l->start : n_most;
    return AP_OK;
}

/* Drop what is left of a line that was too long. */
static ap_status skip_rest(struct ap_lines *l, struct ap_error *err)
{
    while (l->skipping) {
        char *newline = memchr(l->buffer + l->start, '\n', l->end - l->start);
        l->start = newline ? (size_t)(newline - l->buffer) + 1 : l->end;
        l->skipping = !newline && !l->eof;
        ap_status status = l->skipping ? ap_lines_fill(l, err) : AP_OK;
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

/* Read until the line at start is whole: *stop is where its newline is, or the end of the file. One
 * that has passed max_line is not read to its end: it and its "\r" are too long already. */
static ap_status find_stop(struct ap_lines *l, size_t *stop, struct ap_error *err)
{
    size_t seen = 0; /* bytes from start without a newline */
    for (;;) {
        const char *from = l->buffer + l->start + seen;
        const char *newline = memchr(from, '\n', l->end - l->start - seen);
        *stop = newline ? (size_t)(newline - l->buffer) : l->end;
        if (newline || l->eof || *stop - l->start > l->max_line + 1)
            return AP_OK;
        seen = l->end - l->start;
        ap_status status = ap_lines_fill(l, err);
        if (status != AP_OK)
            return status;
    }
}

ap_status ap_lines_next(struct ap_lines *l, const char **text, size_t *n, uint64_t *number,
                        bool *more, struct ap_error *err)
{
    size_t stop = 0;
    *text = "";
    *n = 0;
    *more = false;
    ap_status status = skip_rest(l, err);
    if (status == AP_OK)
        status = find_stop(l, &stop, err);
    *number = l->number;
    if (status != AP_OK || l->start == l->end)
        return status;

    bool newline = stop < l->end && l->buffer[stop] == '\n';
    size_t length = stop - l->start, begin = l->start;
    if (length > 0 && l->buffer[stop - 1] == '\r')
        length--;
    *number = ++l->number;
    l->start = newline ? stop + 1 : stop;
    if (length > l->max_line) {
        l->skipping = !newline;
        return ap_fail(err, AP_LIMIT,
                       "%s:%llu: the line is longer than %zu bytes; shorten or remove it", l->path,
                       (unsigned long long)l->number, l->max_line);
    }
    l->buffer[begin + length] = '\0';
    *text = l->buffer + begin;
    *n = length;
    *more = true;
    return AP_OK;
}
