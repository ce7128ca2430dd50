/* Claims as locks on the bytes of a file (claims.h). Entry points: ap_claims_take, _release. */
#include "store/claims.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void ap_claims_init(struct ap_claims *c)
{
    *c = (struct ap_claims){.fd = -1};
}

void ap_claims_free(struct ap_claims *c)
{
    if (c->fd >= 0)
        close(c->fd);
    ap_free(c->path);
    ap_free(c->held);
    ap_claims_init(c);
}

/* ---- the file ---- */

/* As SQLite does for what it puts beside a database: who may write there may write here, whatever
 * the umask is. Where that is not allowed, it stays as it is. */
static void take_rights(int fd, const struct stat *database)
{
    struct stat own;
    if (fstat(fd, &own) != 0 || !S_ISREG(own.st_mode) || own.st_size > 0 || own.st_nlink != 1)
        return; /* not one of ours */
    if (own.st_uid != database->st_uid || own.st_gid != database->st_gid)
        (void)!fchown(fd, database->st_uid, database->st_gid);
    if ((own.st_mode ^ database->st_mode) & 0777)
        (void)fchmod(fd, database->st_mode & 0777);
}

static ap_status open_file(struct ap_claims *c, const char *database, struct ap_error *err)
{
    enum { FLAGS = O_RDWR | O_NOFOLLOW | O_CLOEXEC };
    struct stat theirs;
    if (stat(database, &theirs) != 0)
        return ap_fail_errno(err, errno, "%s: cannot be read", database);
    int fd = open(c->path, FLAGS);
    if (fd < 0 && errno == ENOENT) /* else without O_CREAT: /tmp refuses it for others' files */
        fd = open(c->path, FLAGS | O_CREAT, theirs.st_mode & 0666);
    if (fd < 0 && errno == ELOOP)
        return ap_fail(err, AP_INVALID,
                       "%s: is a symbolic link, expected an empty file beside the ledger, or none; "
                       "delete the link and run again",
                       c->path);
    if (fd < 0)
        return ap_fail_errno(err, errno, "%s: cannot be opened", c->path);
    take_rights(fd, &theirs);
    c->fd = fd;
    return AP_OK;
}

/* A file of its own, as closing any descriptor of the database would drop SQLite's locks on it. */
static ap_status open_first(struct ap_claims *c, const char *database, struct ap_error *err)
{
    struct ap_buffer path = {0};
    ap_status status = AP_OK;
    if (!c->path) {
        AP_TRY(ap_buffer_printf(&path, err, "%s-asking", database));
        if (!(c->path = ap_strdup(path.data)))
            AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for a claim", path.data));
    }
    AP_TRY(open_file(c, database, err));
out:
    ap_buffer_free(&path);
    return status;
}

/* Whether the path still leads to what is open: else others claim elsewhere. */
static bool is_current(const struct ap_claims *c)
{
    struct stat own, there;
    return fstat(c->fd, &own) == 0 && lstat(c->path, &there) == 0 && own.st_ino == there.st_ino &&
           own.st_dev == there.st_dev;
}

/* ---- locks ---- */

/* Far behind the end of the file, by the key's first 60 bits. */
static off_t byte_of(const char *key)
{
    enum { DIGITS = 15 };
    char digits[DIGITS + 1] = "";
    memcpy(digits, key, strnlen(key, DIGITS));
    return (off_t)strtoull(digits, NULL, 16);
}

/* The lock is the open file's, not the process's. n 0: all that follow. Returns 0 or an errno. */
static int lock(int fd, short type, off_t at, off_t n)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = n};
    return TEMP_FAILURE_RETRY(fcntl(fd, F_OFD_SETLK, &lock)) == 0 ? 0 : errno;
}

/* Network file systems without a lock daemon, kernels before 3.15. */
static bool is_unlockable(int code)
{
    return code == ENOLCK || code == EINVAL || code == EOPNOTSUPP || code == ENOSYS;
}

/* What is held, in the file that is there now. What another claimed there meanwhile both ask for:
 * nobody could know. */
static ap_status open_again(struct ap_claims *c, const char *database, struct ap_error *err)
{
    int before = c->fd;
    ap_status status = open_file(c, database, err);
    if (status != AP_OK)
        return status;
    for (int i = 0; i < c->n_held; i++)
        (void)lock(c->fd, F_WRLCK, c->held[i], 1);
    close(before);
    c->replaced = true;
    return AP_OK;
}

static ap_status make_room(struct ap_claims *c, struct ap_error *err)
{
    if (c->n_held < c->n_room)
        return AP_OK;
    int n = c->n_room > 0 ? 2 * c->n_room : 64;
    off_t *held = ap_realloc(c->held, (size_t)c->n_room, (size_t)n, sizeof(*held));
    if (!held)
        return ap_fail(err, AP_MEMORY, "%s: no memory for a claim", c->path);
    c->held = held;
    c->n_room = n;
    return AP_OK;
}

ap_status ap_claims_take(struct ap_claims *c, const char *database, const char *key, bool *mine,
                         struct ap_error *err)
{
    ap_status status;
    int code = 0;
    *mine = c->unlockable != 0;
    if (*mine)
        return AP_OK;
    AP_TRY(c->fd < 0 ? open_first(c, database, err) : AP_OK);
    AP_TRY(make_room(c, err));
    while ((code = lock(c->fd, F_WRLCK, byte_of(key), 1)) == 0 && !is_current(c))
        AP_TRY(open_again(c, database, err));
    *mine = code == 0 || is_unlockable(code);
    if (code == 0)
        c->held[c->n_held++] = byte_of(key);
    else if (*mine)
        c->unlockable = code;
    else if (code != EAGAIN && code != EACCES)
        status = ap_fail_errno(err, code, "%s: cannot be locked", c->path);
out:
    return status;
}

static void release_all(struct ap_claims *c)
{
    if (c->n_held > 0)
        (void)lock(c->fd, F_UNLCK, 0, 0);
    c->n_held = 0;
}

void ap_claims_release(struct ap_claims *c, const char *key)
{
    if (!key) {
        release_all(c);
        return;
    }
    off_t at = byte_of(key);
    int i = 0;
    while (i < c->n_held && c->held[i] != at)
        i++;
    if (i == c->n_held)
        return;
    c->held[i] = c->held[--c->n_held];
    (void)lock(c->fd, F_UNLCK, at, 1);
}

bool ap_claims_warns(struct ap_claims *c, struct ap_error *line)
{
    bool replaced = c->replaced, unlockable = c->unlockable && !c->told;
    c->replaced = false;
    c->told = c->told || unlockable;
    if (unlockable) {
        ap_fail_errno(line, c->unlockable, "%s: cannot be locked", c->path);
        ap_fail(line, AP_UNSUPPORTED,
                "%s; runs that share the ledger at the same moment may buy the same answers twice: "
                "let them follow one another, or put it on another file system",
                line->text);
    } else if (replaced) {
        ap_fail(line, AP_BUSY,
                "%s: was deleted or replaced; what runs had in flight then may be bought twice: "
                "leave it there while they ask",
                c->path);
    }
    return unlockable || replaced;
}
