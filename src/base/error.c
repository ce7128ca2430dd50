/* Filling struct ap_error: one line, whatever the arguments hold. Entry points: ap_fail,
 * ap_fail_prefix, ap_fail_errno, ap_status_text. */
#include "base/error.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *ap_status_text(ap_status status)
{
    static const char *const text[] = {
#define X(name, words) words,
        AP_STATUS_LIST(X)
#undef X
    };
    return (size_t)status < AP_LEN(text) ? text[status] : "unknown status";
}

/* Control characters reach the terminal of whoever reads the message: U+0000-1F, U+7F-9F, ends of
 * lines and turns of direction. */
static int is_printable(uint32_t cp, size_t used, const char *at)
{
    if (cp < 0x20 || (cp >= 0x7F && cp <= 0x9F) || (cp >= 0x2028 && cp <= 0x202E) ||
        (cp >= 0x2066 && cp <= 0x2069))
        return 0;
    return cp != AP_UTF8_REPLACEMENT || (used == 3 && ap_utf8_valid(at, used));
}

/* Copy text to out, cleaned; what does not fit ends in "...", never inside a character. */
static void write_line(char out[AP_ERROR_TEXT_MAX], const char *text)
{
    const size_t room = AP_ERROR_TEXT_MAX - sizeof("...");
    size_t n = strlen(text), len = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t used = ap_utf8_decode(text + i, n - i, &cp);
        int keep = is_printable(cp, used, text + i);
        if (len + (keep ? used : 1) > room) {
            memcpy(out + len, "...", 3);
            len += 3;
            break;
        }
        if (keep)
            memcpy(out + len, text + i, used);
        else
            out[len] = '?';
        len += keep ? used : 1;
        i += used;
    }
    out[len] = '\0';
}

/* Longer than the record's text, so that write_line sees that something was cut. */
#define DRAFT_MAX (2 * AP_ERROR_TEXT_MAX)

ap_status ap_fail(struct ap_error *err, ap_status status, const char *fmt, ...)
{
    if (!err)
        return status;
    char draft[DRAFT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(draft, sizeof(draft), fmt, args);
    va_end(args);
    err->status = status;
    write_line(err->text, draft);
    return status;
}

/* Append ": text" at the end of the draft. */
static void draft_join(char draft[DRAFT_MAX], const char *text)
{
    size_t len = strlen(draft);
    snprintf(draft + len, DRAFT_MAX - len, ": %s", text);
}

ap_status ap_fail_prefix(struct ap_error *err, ap_status status, const char *fmt, ...)
{
    if (!err)
        return status;
    char draft[DRAFT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(draft, sizeof(draft), fmt, args);
    va_end(args);
    if (err->status == AP_OK) { /* nobody wrote a text: say at least the kind */
        err->status = status;
        snprintf(err->text, sizeof(err->text), "%s", ap_status_text(status));
    }
    draft_join(draft, err->text);
    write_line(err->text, draft);
    return err->status;
}

static const char *errno_remedy(int code)
{
    switch (code) {
    case ENOENT:
        return "; check the path";
    case EACCES:
    case EPERM:
        return "; check the permissions of the file and of its directories";
    case ENOSPC:
    case EDQUOT:
        return "; free some space or choose another directory";
    case EROFS:
        return "; choose a directory that can be written";
    case EISDIR:
    case ENOTDIR:
        return "; check which part of the path is a directory";
    case EMFILE:
    case ENFILE:
        return "; raise the limit of open files (ulimit -n)";
    case EIO:
        return "; check the disk";
    case EFBIG:
        return "; raise the limit of file sizes (ulimit -f) or choose another file system";
    case ENOMEM:
        return "; free some memory";
    default:
        return "";
    }
}

ap_status ap_fail_errno(struct ap_error *err, int code, const char *fmt, ...)
{
    ap_status status = code == ENOENT ? AP_NOT_FOUND : code == ENOMEM ? AP_MEMORY : AP_IO;
    if (!err)
        return status;
    char draft[DRAFT_MAX], reason[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(draft, sizeof(draft), fmt, args);
    va_end(args);
    const char *words =
        strerror_r(code, reason, sizeof(reason)); /* the GNU one: reason may stay unused */
    draft_join(draft, words);
    return ap_fail(err, status, "%s%s", draft, errno_remedy(code));
}
