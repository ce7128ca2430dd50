/* Filling struct ap_error. The message is written once, where the error is found. */
#ifndef AP_BASE_ERROR_H
#define AP_BASE_ERROR_H

#include "alignpro/error.h"

#include <stdarg.h>

/* Write the message into err (which may be NULL) and return status, so that
 * `return ap_fail(err, AP_FORMAT, "%s: ...", path)` reads well. Control characters in the
 * formatted text and bytes that are not UTF-8 are replaced by '?', so that hostile input stays on
 * one line; a text over the maximum ends in "...". The arguments may point into err->text. */
ap_status ap_fail(struct ap_error *err, ap_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "prefix: " before the text of an error that is already there. Returns err's status. */
ap_status ap_fail_prefix(struct ap_error *err, ap_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: the formatted text, then the text of errno value `code` and
 * what to do about it, e.g. "run.db: cannot write: No space left on device; free some space, ...".
 * The status follows the code: AP_NOT_FOUND, AP_MEMORY, else AP_IO. */
ap_status ap_fail_errno(struct ap_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Run expr; leave through the label `out` with `status` set when it fails. Needs locals
 * `ap_status status` and the label. */
#define AP_TRY(expr)                                                                               \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != AP_OK)                                                                       \
            goto out;                                                                              \
    } while (0)

#define AP_LEN(array) (sizeof(array) / sizeof((array)[0]))

#endif
