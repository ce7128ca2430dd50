/* An exclusive lock on a path by flock, which the kernel drops with the process. The file holds the
 * process id of who has it, only for the message. Entry points: ap_lock_take, ap_lock_release. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static ap_status lock_busy(int fd, const char *path, struct ap_error *err)
{
    char text[32] = {0};
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long holder = 0;
    if (n > 0 && sscanf(text, "%ld", &holder) == 1 && holder > 0)
        return ap_fail(err, AP_BUSY,
                       "%s: in use by process %ld; wait for it to end or choose another directory",
                       path, holder);
    return ap_fail(err, AP_BUSY,
                   "%s: in use by another process; wait for it to end or choose another directory",
                   path);
}

/* A full disk must not keep anybody from working: without the number the message is only poorer. */
static void write_holder(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return;
}

ap_status ap_lock_take(struct ap_lock *lock, const char *path, struct ap_error *err)
{
    lock->fd = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return ap_fail_errno(err, errno, "%s: cannot open the lock", path);
    if (TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB)) != 0) {
        ap_status status = errno == EWOULDBLOCK
                               ? lock_busy(fd, path, err)
                               : ap_fail_errno(err, errno, "%s: cannot be locked", path);
        close(fd);
        return status;
    }
    write_holder(fd);
    lock->fd = fd;
    return AP_OK;
}

void ap_lock_release(struct ap_lock *lock)
{
    if (lock->fd >= 0) {
        (void)!ftruncate(lock->fd, 0); /* a number that stays is corrected by the next holder */
        close(lock->fd);
    }
    lock->fd = -1;
}
