/* One value, or one section's name, into a recipe, with the place that it came from.
 * Not here: where keys and values are found (recipe_read.c, recipe_override.c).
 * Entry points: ap_recipe_put, ap_recipe_enter, ap_recipe_unknown, ap_recipe_fail_at. */
#include "store/recipe_inner.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
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

void *ap_recipe_owner(const struct ap_settings *s, const struct ap_setting_ref *ref, int item)
{
    const struct ap_named_section *named = ref->group->named;
    char *owner = named ? ap_named_item(named, s, item) : (char *)s;
    return owner + ref->group->base;
}

/* *item: which one of a named section the key is about. */
static struct ap_origin *origin_slot(struct ap_recipe *recipe, const char *key,
                                     const struct ap_setting_ref *ref, int *item)
{
    size_t n;
    const char *name;
    const struct ap_named_section *named = ap_setting_name(key, &name, &n);
    *item = named ? ap_named_find(named, &recipe->settings, name, n) : 0;
    assert(*item >= 0);
    return named ? &recipe->item_origin[*item][ref->index] : &recipe->origin[ref->index];
}

const struct ap_origin *ap_recipe_origin(const struct ap_recipe *recipe, const char *key)
{
    struct ap_setting_ref ref;
    int item;
    bool found = ap_setting_find(key, &ref);
    assert(found);
    (void)found;
    return origin_slot((struct ap_recipe *)recipe, key, &ref, &item);
}

static size_t group_index(const struct ap_setting_group *group)
{
    size_t n;
    return (size_t)(group - ap_setting_groups(&n));
}

/* *item: −1 for a name that is new, 0 without a name. */
static struct ap_origin *section_slot(struct ap_recipe *recipe, const char *key,
                                      const struct ap_setting_group *group, int *item)
{
    size_t n;
    const char *name;
    const struct ap_named_section *named = ap_setting_name(key, &name, &n);
    *item = named ? ap_named_find(named, &recipe->settings, name, n) : 0;
    if (*item < 0)
        return NULL;
    return named ? &recipe->item_section[*item][group_index(group)]
                 : &recipe->section[group_index(group)];
}

const struct ap_origin *ap_recipe_section(const struct ap_recipe *recipe, const char *prefix)
{
    int item;
    return section_slot((struct ap_recipe *)recipe, prefix, ap_setting_group_find(prefix), &item);
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
                              char variable[AP_VARIABLE_MAX], struct ap_error *err)
{
    bool list = ref->row->type == AP_SETTING_PATH_LIST;
    if (!(list || ref->row->type == AP_SETTING_PATH) || (raw->list && !list) ||
        ap_raw_is(raw, "~") || ap_raw_is(raw, "null"))
        return AP_OK;
    for (int i = 0; i < raw->n; i++) {
        char *path;
        if (!raw->text[i][0])
            continue;
        ap_status status = ap_recipe_expand(recipe->folder, raw->text[i], &path, variable, err);
        if (status != AP_OK)
            return ap_fail_prefix(err, status, "%s", key);
        ap_free(raw->text[i]);
        raw->text[i] = path;
    }
    return AP_OK;
}

ap_status ap_recipe_put(struct ap_recipe *recipe, const char *key, const struct ap_setting_ref *ref,
                        struct ap_raw *raw, const struct ap_origin *origin, struct ap_error *err)
{
    int item;
    struct ap_origin *slot = origin_slot(recipe, key, ref, &item);
    void *owner = ap_recipe_owner(&recipe->settings, ref, item);
    if (slot->kind == AP_ORIGIN_RECIPE && origin->kind == AP_ORIGIN_RECIPE)
        return given_twice(recipe, key, slot, origin, err);
    struct ap_origin made = *origin;
    ap_status status = expand_paths(recipe, key, ref, raw, made.variable, err);
    if (status == AP_OK)
        status = ap_setting_put(ref->row, owner, key, raw, err);
    if (status != AP_OK)
        return ap_recipe_fail_at(recipe, origin, status, err);
    *slot = made;
    if ((ref->row->flags & AP_SETTING_AUTO) && ap_raw_is(raw, "auto"))
        slot->kind = AP_ORIGIN_DEFAULT;
    return AP_OK;
}

/* ---- sections ---- */

static bool good_name(const char *name, size_t n, int most)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    return n > 0 && n <= (size_t)most && strspn(name, letters) == n;
}

static ap_status check_new_item(const struct ap_recipe *recipe,
                                const struct ap_named_section *named, const char *name, size_t n,
                                struct ap_error *err)
{
    if (!good_name(name, n, named->name_max))
        return ap_fail(err, AP_INVALID,
                       "%s: '%.*s' is no name, expected at most %d letters, digits, _ and -",
                       named->prefix, (int)n, name, named->name_max);
    const int count = *ap_named_count(named, &recipe->settings);
    if (count == named->max)
        return ap_fail(err, AP_LIMIT, "%s has more than %d %s; remove those not used",
                       named->prefix, named->max, named->numbered ? "elements" : "names");
    if (named->numbered && atoi(name) != count + 1)
        return ap_fail(err, AP_INVALID, "%s.%.*s: the list has %d elements, expected %d next",
                       named->prefix, (int)n, name, count, count + 1);
    return AP_OK;
}

static ap_status add_item(struct ap_recipe *recipe, const char *key,
                          const struct ap_setting_group *group, const struct ap_origin *origin,
                          struct ap_error *err)
{
    size_t n;
    const char *name;
    struct ap_setting_ref ref;
    struct ap_settings *s = &recipe->settings;
    const struct ap_named_section *named = ap_setting_name(key, &name, &n);
    ap_status status = check_new_item(recipe, named, name, n, err);
    if (status != AP_OK)
        return ap_recipe_fail_at(recipe, origin, status, err);
    int item = *ap_named_count(named, s);
    char **slot = (char **)((char *)ap_named_item(named, s, item) + named->name);
    if (!(*slot = ap_strndup(name, n)))
        return ap_fail(err, AP_MEMORY, "%s: no memory for a name; free some", recipe->name);
    ++*ap_named_count(named, s); /* from here on freed with the recipe */
    recipe->item_section[item][group_index(group)] = *origin;
    for (size_t i = 0; ap_setting_at(i, &ref) && status == AP_OK; i++)
        if (ref.group->named == named)
            status = ap_setting_default(ref.row, ap_recipe_owner(s, &ref, item), err);
    return status;
}

ap_status ap_recipe_enter(struct ap_recipe *recipe, const char *key,
                          const struct ap_setting_group *group, const struct ap_origin *origin,
                          struct ap_error *err)
{
    int item;
    struct ap_origin *slot = section_slot(recipe, key, group, &item);
    if (!slot)
        return add_item(recipe, key, group, origin, err);
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
    ap_fail(err, AP_INVALID, "unknown key %.100s; the nearest is %s (alignpro help keys lists all)",
            key, nearest);
    return ap_recipe_fail_at(recipe, origin, AP_INVALID, err);
}
