/* Help on recipe keys, written from the table. Entry point: ap_recipe_help. */
#include "store/recipe_inner.h"

#include "base/memory.h"

#include <string.h>

static ap_status help_row(const struct ap_setting_ref *ref, struct ap_buffer *out,
                          struct ap_error *err)
{
    char expected[512];
    ap_setting_expected(ref->row, expected, sizeof(expected));
    const char *fallback = ref->row->fallback;
    return ap_buffer_printf(out, err, "%s.%s: %s (%s; default %s)\n", ref->group->prefix,
                            ref->row->key, ref->row->help, expected,
                            fallback[0] ? fallback : "empty");
}

static bool is_below(const char *prefix, const char *section)
{
    size_t n = strlen(section);
    return !strncmp(prefix, section, n) && (prefix[n] == '\0' || prefix[n] == '.');
}

/* Every group of a section, those below it too; all of them for NULL. */
static ap_status help_section(const char *section, struct ap_buffer *out, struct ap_error *err)
{
    struct ap_setting_ref ref;
    const struct ap_setting_group *before = NULL;
    ap_status status = AP_OK;
    for (size_t i = 0; ap_setting_at(i, &ref) && status == AP_OK; i++) {
        if (section && !is_below(ref.group->prefix, section))
            continue;
        if (ref.group != before && ref.group->help)
            status = ap_buffer_printf(out, err, "%s%s: %s\n", out->len ? "\n" : "",
                                      ref.group->prefix, ref.group->help);
        before = ref.group;
        if (status == AP_OK)
            status = ap_buffer_puts(out, "  ", err);
        if (status == AP_OK)
            status = help_row(&ref, out, err);
    }
    return status;
}

ap_status ap_recipe_help(const char *key, char **text, struct ap_error *err)
{
    struct ap_buffer out = {0};
    struct ap_setting_ref ref;
    const struct ap_setting_group *group = key ? ap_setting_group_find(key) : NULL;
    ap_status status;
    *text = NULL;
    if (key && ap_setting_find(key, &ref)) {
        AP_TRY(help_row(&ref, &out, err));
    } else if (!key || group) {
        AP_TRY(help_section(key ? group->prefix : NULL, &out, err));
    } else {
        char nearest[AP_KEY_MAX];
        ap_setting_nearest(key, nearest);
        AP_TRY(ap_fail(
            err, AP_NOT_FOUND,
            "no recipe key is called %.100s; the nearest is %s (alignpro help keys lists all)", key,
            nearest));
    }
    *text = ap_strndup(out.data, out.len);
    if (!*text)
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory for the help; free some"));
out:
    ap_buffer_free(&out);
    return status;
}
