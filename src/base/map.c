/* Read-only mapping of a whole file. Entry points: ap_map_open, ap_map_close,
 * ap_map_fetch, ap_map_release. */
#include "base/file.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static ap_status map_fd(struct ap_map *map, int fd, const char *path, struct ap_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return ap_fail_errno(err, errno, "%s: cannot be examined", path);
    if (info.st_size == 0)
        return AP_OK;
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return ap_fail_errno(err, errno, "%s: cannot map %lld bytes", path,
                             (long long)info.st_size);
    map->data = data;
    map->size = (size_t)info.st_size;
    return AP_OK;
}

ap_status ap_map_open(struct ap_map *map, const char *path, struct ap_error *err)
{
    *map = (struct ap_map){0};
    int fd;
    ap_status status = ap_file_open(&fd, path, err);
    if (status != AP_OK)
        return status;
    status = map_fd(map, fd, path, err);
    close(fd);
    return status;
}

void ap_map_close(struct ap_map *map)
{
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (struct ap_map){0};
}

void ap_map_fetch(const void *data, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data / page * page;
    if (n)
        madvise((void *)at, (uintptr_t)data + n - at,
                MADV_WILLNEED); /* one long read of the file */
    for (size_t i = 0; i < n; i += page)
        (void)((const volatile unsigned char *)data)[i];
    if (n)
        (void)((const volatile unsigned char *)data)[n - 1];
}

void ap_map_release(const void *data, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data / page * page;
    if (n)
        madvise((void *)at, (uintptr_t)data + n - at, MADV_DONTNEED); /* advice: may do nothing */
}
