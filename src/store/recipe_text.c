/* A recipe written out: the resolved text kept with a run, its fingerprint, and what differs in
 * another. Entry points: ap_recipe_resolved, ap_recipe_fingerprint, ap_recipe_differences,
 * ap_recipe_has. */
#include "store/recipe_inner.h"

#include "base/random.h"

#include <stdio.h>
#include <string.h>

const struct ap_settings *ap_recipe_settings(const struct ap_recipe *recipe)
{
    return &recipe->settings;
}

bool ap_recipe_has(const struct ap_recipe *recipe, const char *section)
{
    const struct ap_setting_group *group = ap_setting_group_find(section);
    return group && ap_recipe_section(recipe, section)->kind != AP_ORIGIN_DEFAULT;
}

/* ---- resolved text ---- */

static ap_status write_origin(const struct ap_origin *origin, struct ap_buffer *out,
                              struct ap_error *err)
{
    switch (origin->kind) {
    case AP_ORIGIN_RECIPE:
        return ap_buffer_printf(out, err, "  # recipe:%d\n", origin->line);
    case AP_ORIGIN_SET:
        return ap_buffer_puts(out, "  # --set\n", err);
    case AP_ORIGIN_INHERITED:
        return ap_buffer_puts(out, "  # from align\n", err);
    case AP_ORIGIN_DEFAULT:
        break;
    }
    return ap_buffer_puts(out, "  # default\n", err);
}

static ap_status write_row(const struct ap_setting *row, const void *owner, int indent,
                           const struct ap_origin *origin, struct ap_buffer *out,
                           struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_buffer_printf(out, err, "%*s%s: ", indent, "", row->key));
    AP_TRY(ap_setting_write(row, owner, out, err));
    AP_TRY(write_origin(origin, out, err));
out:
    return status;
}

static ap_status write_models(const struct ap_recipe *recipe, struct ap_buffer *out,
                              struct ap_error *err)
{
    size_t n_groups;
    const struct ap_setting_group *group = ap_setting_groups(&n_groups);
    const struct ap_settings *s = &recipe->settings;
    ap_status status = AP_OK;
    if (s->n_models)
        AP_TRY(ap_buffer_puts(out, "models:\n", err));
    for (int m = 0; m < s->n_models; m++) {
        AP_TRY(ap_buffer_printf(out, err, "  %s:\n", s->models[m].name));
        for (size_t i = 0; i < group->n; i++)
            AP_TRY(write_row(&group->rows[i], &s->models[m], 4, &recipe->model_origin[m][i], out,
                             err));
    }
out:
    return status;
}

/* A section that says something by being there is left out when it is not. */
static bool is_written(const struct ap_recipe *recipe, const struct ap_setting_group *group)
{
    char parent[AP_KEY_MAX];
    snprintf(parent, sizeof(parent), "%.*s", (int)strcspn(group->prefix, "."), group->prefix);
    return !group->optional || ap_recipe_has(recipe, parent);
}

static ap_status write_heading(const struct ap_setting_group *group, const char *before,
                               int *indent, struct ap_buffer *out, struct ap_error *err)
{
    const char *dot = strchr(group->prefix, '.');
    *indent = dot ? 4 : 2;
    if (!strcmp(before, group->prefix))
        return AP_OK;
    return ap_buffer_printf(out, err, "%*s%s:\n", dot ? 2 : 0, "", dot ? dot + 1 : group->prefix);
}

ap_status ap_recipe_resolved(const struct ap_recipe *recipe, struct ap_buffer *out,
                             struct ap_error *err)
{
    size_t n_groups, index;
    ap_status status;
    const char *before = "";
    const struct ap_setting_group *groups = ap_setting_groups(&n_groups);
    AP_TRY(ap_buffer_puts(out,
                          "# The resolved recipe of a run: every value that was used, and where it "
                          "came from.\n",
                          err));
    AP_TRY(write_models(recipe, out, err));
    index = groups[0].n;
    for (size_t g = 1; g < n_groups; index += groups[g].n, g++) {
        int indent;
        const void *owner = (const char *)&recipe->settings + groups[g].base;
        if (!is_written(recipe, &groups[g]))
            continue;
        AP_TRY(write_heading(&groups[g], before, &indent, out, err));
        before = groups[g].prefix;
        for (size_t i = 0; i < groups[g].n; i++)
            AP_TRY(
                write_row(&groups[g].rows[i], owner, indent, &recipe->origin[index + i], out, err));
    }
out:
    return status;
}

/* ---- fingerprint and differences ---- */

/* Text of one value, "" for a key that plays no part; key gets its full name. */
static ap_status value_text(const struct ap_recipe *recipe, const struct ap_setting_ref *ref,
                            int model, char key[AP_KEY_MAX], struct ap_buffer *out,
                            struct ap_error *err)
{
    const struct ap_settings *s = &recipe->settings;
    bool absent = !strcmp(ref->group->prefix, "rlhf") && !s->has_rlhf;
    ap_buffer_clear(out);
    if (model >= 0)
        snprintf(key, AP_KEY_MAX, "models.%s.%s", s->models[model].name, ref->row->key);
    else
        snprintf(key, AP_KEY_MAX, "%s.%s", ref->group->prefix, ref->row->key);
    if (absent || (ref->row->flags & AP_SETTING_HARMLESS))
        return ap_buffer_puts(out, "", err);
    const void *owner =
        model >= 0 ? (const void *)&s->models[model] : (const char *)s + ref->group->base;
    return ap_setting_write(ref->row, owner, out, err);
}

/* Order of the models in the file does not count, hence the sum. */
static uint64_t hash_value(const struct ap_recipe *recipe, const struct ap_setting_ref *ref,
                           int model, struct ap_buffer *line)
{
    char key[AP_KEY_MAX];
    struct ap_buffer value = {0};
    uint64_t hash = 0;
    ap_buffer_clear(line);
    if (value_text(recipe, ref, model, key, &value, NULL) == AP_OK && value.len &&
        ap_buffer_printf(line, NULL, "%s=%s", key, value.data) == AP_OK)
        hash = ap_hash(line->data, line->len);
    ap_buffer_free(&value);
    return hash;
}

uint64_t ap_recipe_fingerprint(const struct ap_recipe *recipe)
{
    struct ap_setting_ref ref;
    struct ap_buffer line = {0};
    size_t n_groups, n_model_rows = ap_setting_groups(&n_groups)->n;
    uint64_t sum = 0;
    for (int m = 0; m < recipe->settings.n_models; m++)
        for (size_t i = 0; i < n_model_rows && ap_setting_at(i, &ref); i++)
            sum += hash_value(recipe, &ref, m, &line);
    for (size_t i = n_model_rows; ap_setting_at(i, &ref); i++)
        sum += hash_value(recipe, &ref, -1, &line);
    ap_buffer_free(&line);
    return sum;
}

static int model_of(const struct ap_settings *s, const char *name)
{
    for (int i = 0; i < s->n_models; i++)
        if (!strcmp(s->models[i].name, name))
            return i;
    return -1;
}

static ap_status add_difference(const char *key, const char *a, const char *b, int *n,
                                struct ap_buffer *out, struct ap_error *err)
{
    if (!strcmp(a, b))
        return AP_OK;
    if (++*n > 4)
        return AP_OK;
    return ap_buffer_printf(out, err, "%s%s is %.60s there and %.60s here", *n > 1 ? ", " : "", key,
                            a[0] ? a : "absent", b[0] ? b : "absent");
}

static ap_status model_differences(const struct ap_recipe *a, const struct ap_recipe *b, int *n,
                                   struct ap_buffer *out, struct ap_error *err)
{
    struct ap_buffer x = {0}, y = {0};
    struct ap_setting_ref ref;
    ap_status status = AP_OK;
    size_t n_groups, n_rows = ap_setting_groups(&n_groups)->n;
    for (int m = 0; m < a->settings.n_models; m++) {
        const char *name = a->settings.models[m].name;
        int other = model_of(&b->settings, name);
        if (other < 0)
            AP_TRY(add_difference("models", name, "", n, out, err));
        for (size_t i = 0; other >= 0 && i < n_rows && ap_setting_at(i, &ref); i++) {
            char key[AP_KEY_MAX];
            AP_TRY(value_text(a, &ref, m, key, &x, err));
            AP_TRY(value_text(b, &ref, other, key, &y, err));
            AP_TRY(add_difference(key, x.data, y.data, n, out, err));
        }
    }
    for (int m = 0; m < b->settings.n_models; m++)
        if (model_of(&a->settings, b->settings.models[m].name) < 0)
            AP_TRY(add_difference("models", "", b->settings.models[m].name, n, out, err));
out:
    ap_buffer_free(&x);
    ap_buffer_free(&y);
    return status;
}

ap_status ap_recipe_differences(const struct ap_recipe *a, const struct ap_recipe *b,
                                struct ap_buffer *out, struct ap_error *err)
{
    struct ap_buffer x = {0}, y = {0};
    struct ap_setting_ref ref;
    size_t n_groups, first = ap_setting_groups(&n_groups)->n;
    int n = 0;
    ap_status status;
    AP_TRY(ap_buffer_puts(out, "", err));
    if (a->settings.has_rlhf != b->settings.has_rlhf)
        AP_TRY(add_difference("rlhf", a->settings.has_rlhf ? "present" : "",
                              b->settings.has_rlhf ? "present" : "", &n, out, err));
    AP_TRY(model_differences(a, b, &n, out, err));
    for (size_t i = first; ap_setting_at(i, &ref); i++) {
        char key[AP_KEY_MAX];
        if (!strcmp(ref.group->prefix, "rlhf") && a->settings.has_rlhf != b->settings.has_rlhf)
            continue;
        AP_TRY(value_text(a, &ref, -1, key, &x, err));
        AP_TRY(value_text(b, &ref, -1, key, &y, err));
        AP_TRY(add_difference(key, x.data, y.data, &n, out, err));
    }
    if (n > 4)
        AP_TRY(ap_buffer_printf(out, err, " and %d more", n - 4));
out:
    ap_buffer_free(&x);
    ap_buffer_free(&y);
    return status;
}
