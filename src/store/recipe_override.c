/* --set KEY=VALUE. The value is the text as it stands; one that begins with a bracket or a quote is
 * read as YAML, and commas part the elements of a list. Entry point: ap_recipe_override. */
#include "store/recipe_inner.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/* In a text nothing but its own characters counts; elsewhere quotes would be a wrong type. */
static bool as_text(const struct ap_setting *row)
{
    return ap_setting_is_text(row->type) ||
           (row->type == AP_SETTING_CHOICE && !(row->flags & AP_SETTING_AUTO));
}

static ap_status split_list(const char *text, bool quoted, struct ap_raw *raw, struct ap_error *err)
{
    raw->list = true;
    for (;;) {
        size_t n = strcspn(text, ",");
        ap_status status = ap_raw_add(raw, text, n, quoted, err);
        if (status != AP_OK || !text[n])
            return status;
        text += n + 1;
    }
}

static ap_status read_text(const struct ap_setting *row, const char *text, struct ap_raw *raw,
                           struct ap_error *err)
{
    size_t n = strlen(text);
    if (!ap_utf8_valid(text, n))
        return ap_fail(err, AP_FORMAT, "holds bytes that are not UTF-8; write plain text");
    if (text[0] == '[' || text[0] == '"' || text[0] == '\'')
        return ap_recipe_read_value(text, n, raw, err);
    if (ap_setting_is_list(row->type) && !(row->flags & AP_SETTING_WHOLE))
        return split_list(text, as_text(row), raw, err);
    return ap_raw_add(raw, text, n, as_text(row), err);
}

/* The sections above a key: "prompter" and "prompter.adapter" of "prompter.adapter.rank". */
static ap_status enter_sections(struct ap_recipe *recipe, const char *key,
                                const struct ap_origin *origin, struct ap_error *err)
{
    char prefix[AP_KEY_MAX];
    for (const char *dot = strchr(key, '.'); dot; dot = strchr(dot + 1, '.')) {
        snprintf(prefix, sizeof(prefix), "%.*s", (int)(dot - key), key);
        const struct ap_setting_group *group = ap_setting_group_find(prefix);
        if (!group)
            continue;
        ap_status status = ap_recipe_enter(recipe, prefix, group, origin, err);
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

/* group: of the key, which has no value of its own. */
static ap_status refuse_section(const struct ap_recipe *recipe, const char *key,
                                const struct ap_setting_group *group,
                                const struct ap_origin *origin, struct ap_error *err)
{
    bool unnamed = group->named && !strchr(key, '.') && !group->named->numbered;
    ap_fail(err, AP_INVALID,
            "%s is a section; set its keys one by one, as in --set %s.%s%s=VALUE%s (alignpro help "
            "%s lists them)",
            key, key, unnamed ? "NAME." : "", group->rows[0].key,
            group->none ? ", or it is none" : "", key);
    return ap_recipe_fail_at(recipe, origin, AP_INVALID, err);
}

static ap_status put_text(struct ap_recipe *recipe, const char *key, const char *value,
                          const struct ap_origin *origin, struct ap_error *err)
{
    struct ap_raw raw = {0};
    struct ap_setting_ref ref;
    ap_status status;
    if (!ap_setting_find(key, &ref)) {
        const struct ap_setting_group *group = ap_setting_group_find(key);
        return group ? refuse_section(recipe, key, group, origin, err)
                     : ap_recipe_unknown(recipe, key, origin, err);
    }
    AP_TRY(enter_sections(recipe, key, origin, err));
    status = read_text(ref.row, value, &raw, err);
    if (status == AP_OK)
        AP_TRY(ap_recipe_put(recipe, key, &ref, &raw, origin, err));
    else
        ap_recipe_fail_at(recipe, origin, status, err);
out:
    ap_raw_free(&raw);
    return status;
}

ap_status ap_recipe_override(struct ap_recipe *recipe, const char *text, struct ap_error *err)
{
    char key[AP_KEY_MAX];
    const struct ap_origin origin = {.kind = AP_ORIGIN_SET, .override = text};
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : 0;
    if (n == 0 || n >= sizeof(key) - 16) {
        ap_fail(err, AP_INVALID, "is not KEY=VALUE, as in align.kl=0.02");
        return ap_recipe_fail_at(recipe, &origin, AP_INVALID, err);
    }
    snprintf(key, sizeof(key), "%.*s", (int)n, text);
    const struct ap_setting_group *group = ap_setting_group_find(key);
    if (group && group->none && !strcmp(equals + 1, "none")) {
        snprintf(key + n, sizeof(key) - n, ".%s", group->rows[0].key);
        return put_text(recipe, key, "0", &origin, err);
    }
    if (group && group->value)
        snprintf(key + n, sizeof(key) - n, ".%s", group->rows[0].key);
    return put_text(recipe, key, equals + 1, &origin, err);
}
