/* One value, or one section's name, into a recipe, with the place that it came from.
 * Not here: where keys and values are found (recipe_read.c, recipe_override.c).
 * Entry points: ap_recipe_put, ap_recipe_enter, ap_recipe_unknown, ap_recipe_fail_at. */
#include "store/recipe_inner.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

ap_status ap_recipe_fail_at(const struct ap_recipe *recipe, const struct ap_origin *origin,
                            ap_status status, struct ap_error *err)
{
    if (origin->kind == AP_ORIGIN_SET && origin->override)
        return ap_fail_prefix(err, status, "--set %.100s", origin->override);
    if (origin->kind == AP_ORIGIN_RECIPE)
        return ap_fail_prefix(err, status, "%s:%d:%d", recipe->name, origin->line, origin->column);
    return ap_fail_prefix(err, status, "%s:1:1", recipe->name);
}

void *ap_recipe_owner(struct ap_settings *s, const struct ap_setting_ref *ref, int model)
{
    size_t n;
    if (ref->group == ap_setting_groups(&n))
        return &s->models[model];
    return (char *)s + ref->group->base;
}

static int find_model(const struct ap_settings *s, const char *name, size_t n)
{
    for (int i = 0; i < s->n_models; i++)
        if (!strncmp(s->models[i].name, name, n) && !s->models[i].name[n])
            return i;
    return -1;
}

static struct ap_origin *origin_slot(struct ap_recipe *recipe, const char *key,
                                     const struct ap_setting_ref *ref, int *model)
{
    size_t n;
    const char *name = ap_setting_model_name(key, &n);
    *model = name ? find_model(&recipe->settings, name, n) : 0;
    assert(*model >= 0);
    return name ? &recipe->model_origin[*model][ref->index] : &recipe->origin[ref->index];
}

const struct ap_origin *ap_recipe_origin(const struct ap_recipe *recipe, const char *key)
{
    struct ap_setting_ref ref;
    bool found = ap_setting_find(key, &ref);
    assert(found);
    (void)found;
    return &recipe->origin[ref.index];
}

static size_t group_index(const struct ap_setting_group *group)
{
    size_t n;
    return (size_t)(group - ap_setting_groups(&n));
}

const struct ap_origin *ap_recipe_section(const struct ap_recipe *recipe, const char *prefix)
{
    return &recipe->section[group_index(ap_setting_group_find(prefix))];
}

static ap_status given_twice(const struct ap_recipe *recipe, const char *key,
                             const struct ap_origin *first, const struct ap_origin *again,
                             struct ap_error *err)
{
    ap_fail(err, AP_INVALID, "%s is given twice, first on line %d; keep one", key, first->line);
    return ap_recipe_fail_at(recipe, again, AP_INVALID, err);
}

static ap_status expand_paths(const struct ap_recipe *recipe, const char *key,
                              const struct ap_setting_ref *ref, struct ap_raw *raw,
                              struct ap_error *err)
{
    char *path;
    if (ref->row->type != AP_SETTING_PATH || raw->list || !raw->text[0][0] || ap_raw_is(raw, "~") ||
        ap_raw_is(raw, "null"))
        return AP_OK;
    ap_status status = ap_recipe_expand(recipe->folder, raw->text[0], &path, err);
    if (status != AP_OK)
        return ap_fail_prefix(err, status, "%s", key);
    ap_free(raw->text[0]);
    raw->text[0] = path;
    return AP_OK;
}

ap_status ap_recipe_put(struct ap_recipe *recipe, const char *key, const struct ap_setting_ref *ref,
                        struct ap_raw *raw, const struct ap_origin *origin, struct ap_error *err)
{
    int model;
    struct ap_origin *slot = origin_slot(recipe, key, ref, &model);
    void *owner = ap_recipe_owner(&recipe->settings, ref, model);
    if (slot->kind == AP_ORIGIN_RECIPE && origin->kind == AP_ORIGIN_RECIPE)
        return given_twice(recipe, key, slot, origin, err);
    ap_status status = expand_paths(recipe, key, ref, raw, err);
    if (status == AP_OK)
        status = ap_setting_put(ref->row, owner, key, raw, err);
    if (status != AP_OK)
        return ap_recipe_fail_at(recipe, origin, status, err);
    *slot = *origin;
    if ((ref->row->flags & AP_SETTING_AUTO) && ap_raw_is(raw, "auto"))
        slot->kind = AP_ORIGIN_DEFAULT;
    return AP_OK;
}

/* ---- sections ---- */

static bool good_name(const char *name, size_t n)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    return n > 0 && n <= 64 && strspn(name, letters) == n;
}

static ap_status check_new_model(const struct ap_recipe *recipe, const char *name, size_t n,
                                 struct ap_error *err)
{
    if (!good_name(name, n))
        return ap_fail(err, AP_INVALID,
                       "models: '%.*s' is no name, expected at most 64 letters, digits, _ and -",
                       (int)n, name);
    if (recipe->settings.n_models == AP_MODELS_MAX)
        return ap_fail(err, AP_LIMIT, "models has more than %d names; remove those not used",
                       AP_MODELS_MAX);
    return AP_OK;
}

static ap_status add_model(struct ap_recipe *recipe, const char *name, size_t n,
                           const struct ap_setting_group *group, const struct ap_origin *origin,
                           struct ap_error *err)
{
    ap_status status = check_new_model(recipe, name, n, err);
    if (status != AP_OK)
        return ap_recipe_fail_at(recipe, origin, status, err);
    int index = recipe->settings.n_models;
    struct ap_model_settings *model = &recipe->settings.models[index];
    model->name = ap_strndup(name, n);
    if (!model->name)
        return ap_fail(err, AP_MEMORY, "%s: no memory for a model's name; free some", recipe->name);
    recipe->settings.n_models++; /* from here on freed with the recipe */
    recipe->model[index] = *origin;
    for (size_t i = 0; i < group->n && status == AP_OK; i++)
        status = ap_setting_default(&group->rows[i], model, err);
    return status;
}

ap_status ap_recipe_enter(struct ap_recipe *recipe, const char *key,
                          const struct ap_setting_group *group, const struct ap_origin *origin,
                          struct ap_error *err)
{
    size_t n;
    const char *name = ap_setting_model_name(key, &n);
    int model = name ? find_model(&recipe->settings, name, n) : -1;
    if (name && model < 0)
        return add_model(recipe, name, n, group, origin, err);
    struct ap_origin *slot = name ? &recipe->model[model] : &recipe->section[group_index(group)];
    if (slot->kind == AP_ORIGIN_RECIPE && origin->kind == AP_ORIGIN_RECIPE)
        return given_twice(recipe, key, slot, origin, err);
    if (slot->kind == AP_ORIGIN_DEFAULT)
        *slot = *origin;
    return AP_OK;
}

ap_status ap_recipe_unknown(const struct ap_recipe *recipe, const char *key,
                            const struct ap_origin *origin, struct ap_error *err)
{
    char nearest[AP_KEY_MAX];
    ap_setting_nearest(key, nearest);
    ap_fail(err, AP_INVALID, "unknown key %.100s; the nearest is %s (alignpro help keys lists all)", key,
            nearest);
    return ap_recipe_fail_at(recipe, origin, AP_INVALID, err);
}
