/* The demo's folder: recipe, configs and tokenizer from examples/demo, and the world's data. */
#include "alignpro/demo.h"

#include "base/file.h"
#include "base/memory.h"
#include "pipeline/demo_files.h"

static ap_status write_file(const char *dir, const struct ap_demo_file *file, struct ap_error *err)
{
    char *path = ap_path_join(dir, file->name);
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", file->name);
    ap_status status = ap_file_write(path, file->data, file->n, err);
    ap_free(path);
    return status;
}

ap_status ap_demo_write(const char *dir, const struct ap_demo_data *what, struct ap_error *err)
{
    ap_status status = ap_dir_make(dir, err);
    for (int i = 0; status == AP_OK && i < ap_n_demo_files; i++)
        status = write_file(dir, &ap_demo_files[i], err);
    if (status != AP_OK)
        return status;
    char *data = ap_path_join(dir, "data");
    if (!data)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    status = ap_demo_write_data(data, what, err);
    ap_free(data);
    return status;
}
