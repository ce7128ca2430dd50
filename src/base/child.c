/* Child processes (child.h), by posix_spawn: a fork would copy the page tables of a process that
 * holds models, and could be refused for want of memory. */
#include "base/child.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- starting ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Above the standard streams, whose places are filled while it starts. */
static bool lift(int *fd)
{
    int lifted = *fd < 3 ? fcntl(*fd, F_DUPFD_CLOEXEC, 3) : *fd;
    if (lifted != *fd)
        close_fd(fd);
    *fd = lifted;
    return lifted >= 0;
}

/* *ours does not block; a pipe's two ends have flags of their own. */
static bool open_pipe(int *ours, int *theirs, bool we_write)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    *ours = ends[we_write];
    *theirs = ends[!we_write];
    return lift(ours) && lift(theirs) && fcntl(*ours, F_SETFL, O_NONBLOCK) == 0;
}

static int fill_actions(posix_spawn_file_actions_t *actions, const int theirs[3],
                        const char *folder)
{
    int code = posix_spawn_file_actions_addchdir_np(actions, folder);
    for (int i = 0; i < 3 && code == 0; i++)
        code = posix_spawn_file_actions_adddup2(actions, theirs[i], i);
    return code ? code : posix_spawn_file_actions_addclosefrom_np(actions, 3);
}

static int fill_attributes(posix_spawnattr_t *attributes)
{
    static const int defaults[] = {SIGPIPE, SIGXFSZ, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD};
    sigset_t none, set;
    sigemptyset(&none);
    sigemptyset(&set);
    for (size_t i = 0; i < AP_LEN(defaults); i++)
        sigaddset(&set, defaults[i]);
    int code = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETSIGMASK);
    code = code ? code : posix_spawnattr_setpgroup(attributes, 0);
    code = code ? code : posix_spawnattr_setsigmask(attributes, &none);
    return code ? code : posix_spawnattr_setsigdefault(attributes, &set);
}

static int spawn(pid_t *pid, char *const *argv, const int theirs[3], const char *folder)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int code = posix_spawn_file_actions_init(&actions);
    if (code)
        return code;
    if ((code = posix_spawnattr_init(&attributes)) == 0) {
        code = fill_actions(&actions, theirs, folder);
        code = code ? code : fill_attributes(&attributes);
        code = code ? code : posix_spawnp(pid, argv[0], &actions, &attributes, argv, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

ap_status ap_child_start(struct ap_child *c, char *const *argv, const char *folder,
                         struct ap_error *err)
{
    int theirs[3] = {-1, -1, -1}, code = 0;
    *c = AP_CHILD_NONE;
    if (!open_pipe(&c->in, &theirs[0], true) || !open_pipe(&c->out, &theirs[1], false) ||
        !open_pipe(&c->err, &theirs[2], false))
        code = errno;
    if (code == 0)
        code = spawn(&c->pid, argv, theirs, folder);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (code == 0)
        return AP_OK;
    c->pid = 0;
    ap_child_close(c, 0);
    if (code == ENOEXEC)
        return ap_fail(err, AP_IO,
                       "%s: cannot be started: it is no program; a script begins with a line such "
                       "as #!/bin/sh",
                       argv[0]);
    return ap_fail_errno(err, code, "%s: cannot be started in %s", argv[0], folder);
}

/* FOLDER/[PATH/]PROGRAM may be run; errno is set otherwise. */
static bool runs(const char *folder, const char *path, size_t n_path, const char *program)
{
    char file[PATH_MAX];
    const char *root = path[0] == '/' || (n_path == 0 && program[0] == '/') ? "" : folder;
    int n = snprintf(file, sizeof(file), "%s/%.*s/%s", root, (int)n_path, path, program);
    struct stat info;
    if (n < 0 || (size_t)n >= sizeof(file)) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (stat(file, &info) != 0 || access(file, X_OK) != 0)
        return false;
    errno = EACCES; /* as execve says of a folder */
    return S_ISREG(info.st_mode);
}

ap_status ap_child_check(const char *program, const char *folder, struct ap_error *err)
{
    const char *path = getenv("PATH");
    int code = ENOENT;
    if (strchr(program, '/')) {
        if (runs(folder, "", 0, program))
            return AP_OK;
        return ap_fail_errno(err, errno, "%s: cannot be started in %s", program, folder);
    }
    path = path ? path : "/bin:/usr/bin"; /* as posix_spawnp */
    for (;;) {
        size_t n = strcspn(path, ":");
        if (program[0] && runs(folder, path, n, program))
            return AP_OK;
        code = program[0] && errno == EACCES ? EACCES : code;
        if (!path[n])
            return ap_fail_errno(err, code, "%s: cannot be found in PATH", program);
        path += n + 1;
    }
}

/* ---- using ---- */

/* SIGPIPE of a write is sent to the thread that writes: held back here, and taken off unless it was
 * waiting before. */
ssize_t ap_child_write(const struct ap_child *c, const void *data, size_t n)
{
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ssize_t written = write(c->in, data, n);
    int code = errno;
    if (written < 0 && code == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return written;
}

void ap_child_close_in(struct ap_child *c)
{
    close_fd(&c->in);
}

/* ---- ending ---- */

static void describe(const siginfo_t *info, char how[64])
{
    const char *name = info->si_code == CLD_EXITED ? NULL : sigabbrev_np(info->si_status);
    if (info->si_code == CLD_EXITED)
        snprintf(how, 64, "exit status %d", info->si_status);
    else
        snprintf(how, 64, "signal %s", name ? name : "of an unknown kind");
}

bool ap_child_ended(const struct ap_child *c, double seconds, char how[64])
{
    const struct timespec nap = {.tv_nsec = 2000000};
    double until = ap_clock_seconds() + seconds;
    for (;;) {
        siginfo_t info = {0};
        /* WNOWAIT: its number stays taken, so that the group that is killed is still its own */
        int code = waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT);
        if (code == 0 && info.si_pid == c->pid) {
            describe(&info, how);
            return true;
        }
        if (code != 0 && errno != EINTR) { /* whoever holds the library took it: nothing is known */
            snprintf(how, 64, "unknown exit status");
            return true;
        }
        if (ap_clock_seconds() >= until)
            return false;
        nanosleep(&nap, NULL);
    }
}

void ap_child_close(struct ap_child *c, double seconds)
{
    char how[64];
    close_fd(&c->in);
    close_fd(&c->out);
    close_fd(&c->err);
    if (c->pid > 0) {
        ap_child_ended(c, seconds, how);
        kill(-c->pid, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    *c = AP_CHILD_NONE;
}
