/* An exclusive lock on a path by flock, which the kernel drops with the process. The file holds the
 * process id of who has it, only for the message. Entry points: ap_lock_take, ap_lock_release,
 * ap_lock_holder. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* 0 where none is written. */
static long holder_in(int fd)
{
    char text[32] = {0};
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long holder = 0;
    return n > 0 && sscanf(text, "%ld", &holder) == 1 && holder > 0 ? holder : 0;
}

static ap_status lock_busy(int fd, const char *path, struct ap_error *err)
{
    long holder = holder_in(fd);
    if (holder > 0)
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

/* Whether a process with that number is there, be it another user's. */
static bool is_alive(long process)
{
    return kill((pid_t)process, 0) == 0 || errno != ESRCH;
}

/* 0, or flock's errno. A child that was being started when its parent was killed has the lock, too,
 * until it is the program that it was started for: a moment. */
static int lock_file(int fd)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    int code = 0;
    for (int tries = 0; tries < 100; tries++) {
        code = TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB)) == 0 ? 0 : errno;
        long holder = code == EWOULDBLOCK ? holder_in(fd) : 0;
        if (holder == 0 || is_alive(holder))
            break;
        nanosleep(&pause, NULL);
    }
    return code;
}

ap_status ap_lock_take(struct ap_lock *lock, const char *path, struct ap_error *err)
{
    lock->fd = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return ap_fail_errno(err, errno, "%s: cannot open the lock", path);
    int code = lock_file(fd);
    if (code != 0) {
        ap_status status = code == EWOULDBLOCK
                               ? lock_busy(fd, path, err)
                               : ap_fail_errno(err, code, "%s: cannot be locked", path);
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

/* The number in the lock's file; 0 where there is none. */
static long written_holder(const char *path)
{
    struct ap_buffer text = {0};
    long holder = 0;
    if (ap_file_read(path, 64, &text, NULL) == AP_OK && text.len)
        (void)sscanf(text.data, "%ld", &holder);
    ap_buffer_free(&text);
    return holder > 0 ? holder : 0;
}

/* A line of /proc/locks, "3: FLOCK  ADVISORY  WRITE 15118 00:1b:48646 0 EOF", against a file. Some
 * file systems show another device here than stat does: then the holder must be the one written. */
static bool is_its_lock(const char *line, const struct stat *info, long written, long *holder)
{
    unsigned major_number, minor_number;
    unsigned long long inode;
    if (sscanf(line, "%*d: FLOCK %*s %*s %ld %x:%x:%llu", holder, &major_number, &minor_number,
               &inode) != 4 ||
        inode != (unsigned long long)info->st_ino)
        return false;
    return *holder == written ||
           (major_number == major(info->st_dev) && minor_number == minor(info->st_dev));
}

bool ap_lock_holder(const char *path, long *holder)
{
    struct stat info;
    char line[256];
    bool found = false;
    long written = written_holder(path);
    FILE *locks = stat(path, &info) == 0 ? fopen("/proc/locks", "re") : NULL;
    while (locks && !found && fgets(line, sizeof(line), locks))
        found = is_its_lock(line, &info, written, holder);
    if (locks)
        fclose(locks);
    return found;
}
