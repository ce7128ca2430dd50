/* Status codes and the one error record of alignpro.
 *
 * Every call that can fail for a reason outside the program returns ap_status and, where the caller
 * passes one, fills a struct ap_error with one line: the object, what was expected, what was found,
 * and what to do. Programmer errors assert. */
#ifndef ALIGNPRO_ERROR_H
#define ALIGNPRO_ERROR_H

#include "alignpro/api.h"

AP_API_BEGIN

#define AP_STATUS_LIST(X)                                                                          \
    X(OK, "ok")                                                                                    \
    X(INVALID, "invalid setting or argument")                                                      \
    X(FORMAT, "malformed input")                                                                   \
    X(UNSUPPORTED, "not supported")                                                                \
    X(NOT_FOUND, "not found")                                                                      \
    X(IO, "input or output failed")                                                                \
    X(MEMORY, "out of memory")                                                                     \
    X(BUSY, "in use by another process")                                                           \
    X(NUMERIC, "numbers went wrong")                                                               \
    X(INTERRUPTED, "interrupted")                                                                  \
    X(LIMIT, "limit exceeded")

typedef enum ap_status {
#define X(name, text) AP_##name,
    AP_STATUS_LIST(X)
#undef X
} ap_status;

#define AP_ERROR_TEXT_MAX 1024

struct ap_error {
    ap_status status;
    char text[AP_ERROR_TEXT_MAX]; /* one line, no newline, always terminated */
};

/* Short English text of a status; never NULL. */
const char *ap_status_text(ap_status status);

AP_API_END

#endif
