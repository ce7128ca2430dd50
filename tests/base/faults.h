/* Failures of the system, called up at will. Included by one test program, this file's functions
 * stand before libc's: each passes the call on unless the test has said that it must fail. */
#ifndef AP_TESTS_BASE_FAULTS_H
#define AP_TESTS_BASE_FAULTS_H

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fault {
    int after; /* calls that still succeed; -1: all do */
    int code;  /* errno of the one that does not, and of all after it */
};

static struct {
    struct fault memory, write, fsync, rename, exchange;
} faults = {{-1, 0}, {-1, 0}, {-1, 0}, {-1, 0}, {-1, 0}};

static inline bool fault_now(struct fault *f)
{
    if (f->after < 0)
        return false;
    if (f->after > 0) {
        f->after--;
        return false;
    }
    errno = f->code;
    return true;
}

int posix_memalign(void **out, size_t alignment, size_t n)
{
    static int (*real)(void **, size_t, size_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "posix_memalign");
    return fault_now(&faults.memory) ? ENOMEM : real(out, alignment, n);
}

ssize_t write(int fd, const void *data, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "write");
    if (fd <= 2) /* the test's own output */
        return real(fd, data, n);
    return fault_now(&faults.write) ? -1
                                    : real(fd, data, n < 1000 ? n : 1000); /* short writes too */
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    return fault_now(&faults.fsync) ? -1 : real(fd);
}

int rename(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "rename");
    return fault_now(&faults.rename) ? -1 : real(from, to);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    static int (*real)(int, const char *, int, const char *, unsigned);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "renameat2");
    return fault_now(&faults.exchange) ? -1 : real(from_fd, from, to_fd, to, flags);
}

#endif
