/* Inside of the reader of lines and elements: lines.c, elements.c.
 *
 *     buffer   | done | start ... end | room |      one line is never split over two reads of it
 */
#ifndef AP_BASE_LINES_INNER_H
#define AP_BASE_LINES_INNER_H

#include "base/file.h"

#include <zlib.h>

#define AP_LINES_CHUNK ((size_t)65536)

struct ap_lines {
    gzFile file;
    char *path;             /* owned; for messages */
    char *buffer;           /* cap + 1 bytes, the last for a NUL */
    size_t cap, start, end; /* bytes; start ... end are read and not yet handed out */
    size_t max_line;
    uint64_t number; /* of the line last handed out; elements: newlines passed so far */
    bool eof;        /* the file is at its end; the buffer may still hold lines */
    bool skipping;   /* the line at start was too long: drop the rest of it first */
    enum { AP_ARRAY_BEFORE, AP_ARRAY_FIRST, AP_ARRAY_NEXT, AP_ARRAY_ENDED } array;
};

/* Read some more behind end; start ... end may move to the front of the buffer. */
ap_status ap_lines_fill(struct ap_lines *l, struct ap_error *err);

#endif
