/* A child process whose three standard streams are pipes of ours, in a process group of its own: a
 * Ctrl-C at the terminal does not reach it, and what it starts ends with it. Nothing but the three
 * streams is open in it, and its signals are as a shell leaves them. */
#ifndef AP_BASE_CHILD_H
#define AP_BASE_CHILD_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ap_child {
    pid_t pid;        /* 0: none */
    int in, out, err; /* our ends of its standard streams, non-blocking; −1: closed */
};
#define AP_CHILD_NONE ((struct ap_child){0, -1, -1, -1})

/* Whether ap_child_start would find argv[0] there and may run it: to be told of it before the
 * program is needed. */
ap_status ap_child_check(const char *program, const char *folder, struct ap_error *err);

/* argv[0] is looked for as a shell does, from the folder (absolute) that the child works in; the
 * environment is ours. What keeps it from starting is an AP_NOT_FOUND, AP_MEMORY or AP_IO that
 * names argv[0]. */
ap_status ap_child_start(struct ap_child *c, char *const *argv, const char *folder,
                         struct ap_error *err);
/* As write(2), but a child that no longer reads is EPIPE and no signal, whatever the program does
 * with SIGPIPE. */
ssize_t ap_child_write(const struct ap_child *c, const void *data, size_t n);
void ap_child_close_in(struct ap_child *c);
/* Whether it ended by itself within that time; `how` gets "exit status 3" or "signal SEGV". It
 * stays to be closed. */
bool ap_child_ended(const struct ap_child *c, double seconds, char how[64]);
/* Closes the pipes, waits that long, then kills its whole group. Leaves *c as AP_CHILD_NONE; for
 * one that never started, too. */
void ap_child_close(struct ap_child *c, double seconds);

#endif
