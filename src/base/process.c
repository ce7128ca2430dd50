/* Memory of the process and of what it runs in (process.h), read from /proc and /sys/fs/cgroup.
 * Entry points: ap_process_memory, ap_process_peak, ap_process_room. */
#include "base/process.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { PATH_MAX_HERE = 1024, LINE_MAX_HERE = 512 };

/* The number after "KEY" at the beginning of a line, times unit; false when there is none. */
static bool read_value(const char *path, const char *key, size_t unit, size_t *out)
{
    char line[LINE_MAX_HERE];
    size_t n = strlen(key);
    bool found = false;
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        char *end;
        if (strncmp(line, key, n) != 0)
            continue;
        unsigned long long value = strtoull(line + n, &end, 10);
        found = end != line + n;
        if (__builtin_mul_overflow((size_t)value, unit, out))
            *out = SIZE_MAX;
    }
    if (f)
        fclose(f);
    return found;
}

static size_t status_of(const char *key)
{
    size_t bytes = 0;
    return read_value("/proc/self/status", key, 1024, &bytes) ? bytes : 0;
}

size_t ap_process_memory(void)
{
    return status_of("VmRSS:");
}

size_t ap_process_peak(void)
{
    return status_of("VmHWM:");
}

void ap_process_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static size_t less(size_t limit, size_t used)
{
    return limit > used ? limit - used : 0;
}

static void take_least(struct ap_room *room, size_t bytes, const char *why)
{
    if (bytes < room->bytes)
        *room = (struct ap_room){bytes, why};
}

/* ---- control groups ---- */

struct group_files { /* of one version */
    const char *mount, *limit, *usage, *inactive, *active;
    const char *why;
};

static const struct group_files versions[2] = {
    {"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ", "active_file ",
     "the control group's memory.max"},
    {"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "total_inactive_file ", "total_active_file ", "the control group's memory.limit_in_bytes"},
};

/* root/mount GROUP/name; false when it does not fit. */
static bool group_path(char out[PATH_MAX_HERE], const char *root, const struct group_files *v,
                       const char *group, const char *name)
{
    int n = snprintf(out, PATH_MAX_HERE, "%s/%s%s/%s", root, v->mount, group, name);
    return n > 0 && n < PATH_MAX_HERE;
}

static void look_at_group(struct ap_room *room, const char *root, const struct group_files *v,
                          const char *group)
{
    char path[PATH_MAX_HERE];
    size_t limit, used = 0, part = 0;
    if (!group_path(path, root, v, group, v->limit) || !read_value(path, "", 1, &limit))
        return; /* "max" is no number */
    if (group_path(path, root, v, group, v->usage))
        read_value(path, "", 1, &used);
    if (group_path(path, root, v, group, "memory.stat")) {
        used = read_value(path, v->inactive, 1, &part) ? less(used, part) : used;
        used = read_value(path, v->active, 1, &part) ? less(used, part) : used;
    }
    take_least(room, less(limit, used), v->why);
}

/* The group and all above it, up to the mount's root, which is a container's own group. */
static void walk_up(struct ap_room *room, const char *root, const struct group_files *v,
                    char *group)
{
    char *slash;
    look_at_group(room, root, v, group);
    while ((slash = strrchr(group, '/'))) {
        *slash = '\0';
        look_at_group(room, root, v, group);
    }
}

/* Lines of /proc/self/cgroup: "0::/PATH" (version 2), "4:memory:/PATH" (version 1). */
static void look_at_groups(struct ap_room *room, const char *root)
{
    char path[PATH_MAX_HERE], line[LINE_MAX_HERE];
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        char *kinds = strchr(line, ':'), *group = kinds ? strchr(kinds + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        if (!kinds[1])
            walk_up(room, root, &versions[0], group);
        else if (strstr(kinds + 1, "memory"))
            walk_up(room, root, &versions[1], group);
    }
    if (f)
        fclose(f);
}

/* ---- the room ---- */

static void look_at_limit(struct ap_room *room, int resource, size_t used, const char *why)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        take_least(room, less((size_t)limit.rlim_cur, used), why);
}

struct ap_room ap_process_room(const char *root)
{
    struct ap_room room = {SIZE_MAX, "no limit"};
    char path[PATH_MAX_HERE];
    size_t bytes;
    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    if (read_value(path, "MemAvailable:", 1024, &bytes))
        take_least(&room, bytes, "what this machine has available");
    look_at_groups(&room, root);
    look_at_limit(&room, RLIMIT_AS, status_of("VmSize:"),
                  "the limit of the address space (ulimit -v)");
    look_at_limit(&room, RLIMIT_DATA, status_of("VmData:"), "the limit of data (ulimit -d)");
    return room;
}
