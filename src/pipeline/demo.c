/* The demo's folder: recipe, configs and tokenizer from examples/demo, and the world's data. Entry
 * points: ap_demo_check, ap_demo_write. */
#include "alignpro/demo.h"

#include "base/file.h"
#include "base/memory.h"
#include "pipeline/demo_files.h"
#include "store/recipe.h"
#include "store/run_dir.h"
#include "world/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what is there already ---- */

/* Where a recipe in dir would say that it is; also where dir is not there yet. */
static ap_status absolute(const char *dir, char **out, struct ap_error *err)
{
    char *real = realpath(dir, NULL), *here = real ? NULL : getcwd(NULL, 0);
    *out = real ? ap_strdup(real) : here ? ap_path_join(here, dir) : NULL;
    ap_status status = *out ? AP_OK : ap_fail_errno(err, errno, "%s: cannot be found", dir);
    free(real);
    free(here);
    return status;
}

static ap_status parse_recipe(const char *dir, const char *const *overrides, size_t n_overrides,
                              struct ap_recipe **out, struct ap_error *err)
{
    const struct ap_embedded *file = ap_demo_files;
    char *folder = NULL;
    ap_status status;
    while (strcmp(file->name, "recipe.yaml") != 0)
        file++;
    AP_TRY(absolute(dir, &folder, err));
    status = ap_recipe_parse(out, (const char *)file->data, file->n, file->name, folder, overrides,
                             n_overrides, err);
out:
    ap_free(folder);
    return status;
}

/* A run whose data are replaced would go on with others than it began with. */
static ap_status check_data(const char *dir, const char *run, const struct ap_demo_data *data,
                            struct ap_error *err)
{
    ap_status status;
    struct ap_buffer differences = {0};
    char *folder = ap_path_join(dir, "data"), *recipe = ap_path_join(run, "recipe.yaml");
    if (!folder || !recipe)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: out of memory", run));
    AP_TRY(ap_world_differences(folder, data, &differences, err));
    if (differences.len && ap_file_exists(recipe))
        status = ap_fail(err, AP_INVALID,
                         "%s: was made from other data: %s (%s/world.json); choose another --dir, "
                         "or remove this run to start afresh",
                         run, differences.data, folder);
out:
    ap_buffer_free(&differences);
    ap_free(folder);
    ap_free(recipe);
    return status;
}

ap_status ap_demo_check(const char *dir, const struct ap_demo_data *data,
                        const char *const *overrides, size_t n_overrides, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_recipe *recipe = NULL;
    struct ap_run_dir run = {.path = ap_path_join(dir, "run")};
    if (!run.path)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: out of memory", dir));
    AP_TRY(check_data(dir, run.path, data, err));
    if (!overrides)
        goto out;
    AP_TRY(parse_recipe(dir, overrides, n_overrides, &recipe, err));
    ap_free(run.path);
    if (!(run.path = ap_strdup(ap_recipe_settings(recipe)->run.dir)))
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: out of memory", dir));
    AP_TRY(check_data(dir, run.path, data, err));
    AP_TRY(ap_run_dir_check(&run, recipe, err));
out:
    ap_free(run.path);
    ap_recipe_close(recipe);
    return status;
}

/* ---- writing ---- */

ap_status ap_demo_write(const char *dir, const struct ap_demo_data *what, struct ap_error *err)
{
    ap_status status = ap_dir_make(dir, err);
    for (int i = 0; status == AP_OK && i < ap_n_demo_files; i++)
        status = ap_file_write_in(dir, ap_demo_files[i].name, ap_demo_files[i].data,
                                  ap_demo_files[i].n, err);
    if (status != AP_OK)
        return status;
    char *data = ap_path_join(dir, "data");
    if (!data)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    status = ap_demo_write_data(data, what, err);
    ap_free(data);
    return status;
}
