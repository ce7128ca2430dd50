/* What a path is, and who tells about it. Entry point: ap_inspect (include/alignpro/inspect.h). */
#include "pipeline/inspect_inner.h"

#include "base/error.h"
#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_file(const struct ap_inspected *p)
{
    return !p->is_folder;
}

/* In the order of asking: a row before those that its paths would fit as well. */
static const struct {
    const char *name;
    bool (*fits)(const struct ap_inspected *p);
    ap_inspect_fn tell;
} kinds[] = {
    {"data set", is_file, ap_inspect_data},
};

static ap_status look(struct ap_inspected *p, struct ap_error *err)
{
    struct stat st;
    int fd;
    if (stat(p->path, &st) != 0)
        return ap_fail_errno(err, errno, "%s: cannot look at it", p->path);
    p->is_folder = S_ISDIR(st.st_mode);
    if (p->is_folder)
        return AP_OK;
    ap_status status = ap_file_open(&fd, p->path, err);
    if (status != AP_OK)
        return status;
    if (read(fd, p->magic, sizeof(p->magic)) < 0)
        status = ap_fail_errno(err, errno, "%s: cannot read", p->path);
    close(fd);
    return status;
}

ap_status ap_inspect(const char *path, const struct ap_inspect_options *options, char **text,
                     struct ap_error *err)
{
    struct ap_inspected p = {.path = path};
    struct ap_buffer out = {0};
    *text = NULL;
    ap_status status = look(&p, err);
    if (status != AP_OK)
        return status;
    size_t i = 0;
    while (i < AP_LEN(kinds) && !kinds[i].fits(&p))
        i++;
    if (i == AP_LEN(kinds))
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: a folder of no known kind, expected a file of data", path);
    status = kinds[i].tell(&p, options, &out, err);
    if (status == AP_OK)
        *text = out.data;
    else
        ap_buffer_free(&out);
    return status;
}
