/* A recipe from file to checked settings: defaults, the file, --set, what follows, what must hold.
 * The steps are in the recipe_*.c files. Entry points: ap_recipe_open, ap_recipe_parse,
 * ap_recipe_close. */
#include "store/recipe_inner.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static ap_status fill_defaults(struct ap_settings *s, struct ap_error *err)
{
    struct ap_setting_ref ref;
    ap_status status = AP_OK;
    for (size_t i = 0; ap_setting_at(i, &ref) && status == AP_OK; i++)
        if (!ref.group->named)
            status = ap_setting_default(ref.row, ap_recipe_owner(s, &ref, 0), err);
    return status;
}

/* Overrides are named in messages, and only until the recipe is open. */
static void forget_overrides(struct ap_recipe *recipe)
{
    for (size_t i = 0; i < AP_SETTINGS_MAX; i++)
        recipe->origin[i].override = NULL;
    for (size_t i = 0; i < AP_GROUPS_MAX; i++)
        recipe->section[i].override = NULL;
    for (int i = 0; i < AP_NAMED_ITEMS_MAX; i++) {
        for (int k = 0; k < AP_NAMED_KEYS_MAX; k++)
            recipe->item_origin[i][k].override = NULL;
        for (int k = 0; k < AP_NAMED_GROUPS_MAX; k++)
            recipe->item_section[i][k].override = NULL;
    }
}

ap_status ap_recipe_parse(struct ap_recipe **out, const char *text, size_t n, const char *name,
                          const char *folder, const char *const *overrides, size_t n_overrides,
                          struct ap_error *err)
{
    ap_status status;
    struct ap_recipe *recipe = ap_calloc(1, sizeof(*recipe));
    *out = NULL;
    if (!recipe)
        return ap_fail(err, AP_MEMORY, "%s: no memory for a recipe; free some", name);
    recipe->name = ap_strdup(name);
    recipe->folder = ap_strdup(folder);
    if (!recipe->name || !recipe->folder)
        AP_TRY(ap_fail(err, AP_MEMORY, "%s: no memory for its name; free some", name));
    if (n > AP_RECIPE_BYTES_MAX)
        AP_TRY(ap_fail(err, AP_LIMIT, "%s: is larger than the limit of %zu bytes", name,
                       AP_RECIPE_BYTES_MAX));
    AP_TRY(fill_defaults(&recipe->settings, err));
    AP_TRY(ap_recipe_read(recipe, text, n, err));
    for (size_t i = 0; i < n_overrides; i++)
        AP_TRY(ap_recipe_override(recipe, overrides[i], err));
    AP_TRY(ap_recipe_derive(recipe, err));
    AP_TRY(ap_recipe_check(recipe, err));
    forget_overrides(recipe);
    *out = recipe;
    recipe = NULL;
out:
    ap_recipe_close(recipe);
    return status;
}

/* Absolute, because the resolved recipe is kept in another folder. */
static ap_status folder_of(const char *path, char **folder, struct ap_error *err)
{
    char *dir = ap_path_dir(path), *real = dir ? realpath(dir, NULL) : NULL;
    int code = errno;
    *folder = real ? ap_strdup(real) : NULL;
    free(real);
    ap_free(dir);
    if (!real && dir)
        return ap_fail_errno(err, code, "%s: its folder cannot be found", path);
    if (!*folder)
        return ap_fail(err, AP_MEMORY, "%s: no memory for its folder; free some", path);
    return AP_OK;
}

/* A folder in a recipe's place, most often a run directory: the recipe may be in it. */
static ap_status refuse_folder(const char *path, struct ap_error *err)
{
    struct stat info;
    struct ap_buffer inside = {0};
    size_t n = strlen(path);
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return AP_OK;
    while (n > 1 && path[n - 1] == '/')
        n--;
    ap_status status = ap_buffer_printf(&inside, err, "%.*s/recipe.yaml", (int)n, path);
    if (status == AP_OK && ap_file_exists(inside.data))
        status = ap_fail(err, AP_INVALID,
                         "%s: is a directory, expected a recipe; there is one in it, %s", path,
                         inside.data);
    ap_buffer_free(&inside);
    return status;
}

ap_status ap_recipe_open(struct ap_recipe **out, const char *path, const char *const *overrides,
                         size_t n_overrides, struct ap_error *err)
{
    struct ap_buffer text = {0};
    char *folder = NULL;
    ap_status status;
    *out = NULL;
    AP_TRY(refuse_folder(path, err));
    AP_TRY(ap_file_read(path, AP_RECIPE_BYTES_MAX, &text, err));
    AP_TRY(folder_of(path, &folder, err));
    AP_TRY(ap_recipe_parse(out, text.len ? text.data : "", text.len, path, folder, overrides,
                           n_overrides, err));
out:
    ap_buffer_free(&text);
    ap_free(folder);
    return status;
}

void ap_recipe_close(struct ap_recipe *recipe)
{
    struct ap_setting_ref ref;
    size_t n_sections;
    if (!recipe)
        return;
    struct ap_settings *s = &recipe->settings;
    const struct ap_named_section *sections = ap_named_sections(&n_sections);
    for (size_t i = 0; ap_setting_at(i, &ref); i++) {
        int n = ref.group->named ? *ap_named_count(ref.group->named, s) : 1;
        for (int k = 0; k < n; k++)
            ap_setting_clear(ref.row, ap_recipe_owner(s, &ref, k));
    }
    for (size_t i = 0; i < n_sections; i++)
        for (int k = 0; k < *ap_named_count(&sections[i], s); k++)
            ap_free((char *)ap_named_item_name(&sections[i], s, k));
    ap_free(recipe->name);
    ap_free(recipe->folder);
    ap_free(recipe);
}
