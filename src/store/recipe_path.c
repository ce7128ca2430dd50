/* Paths in a recipe: ${VAR}, ${VAR:-default}, "$${" for a literal "${", and the folder they are
 * relative to. Entry points: ap_recipe_expand, ap_recipe_tell_variable.
 */
#include "store/recipe_inner.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES_MAX 4096

static size_t name_length(const char *text)
{
    size_t n = 0;
    if (isdigit((unsigned char)text[0]))
        return 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_')
        n++;
    return n;
}

/* text stands after "${"; *used counts the bytes up to and with the "}". */
static ap_status expand_one(const char *text, struct ap_buffer *out, size_t *used,
                            char variable[AP_VARIABLE_MAX], struct ap_error *err)
{
    char name[AP_VARIABLE_MAX];
    size_t n = name_length(text), n_default = 0;
    const char *end = strchr(text, '}');
    bool has_default = !strncmp(text + n, ":-", 2);
    if (!end || n == 0 || n >= sizeof(name) || (!has_default && text + n != end))
        return ap_fail(err, AP_INVALID,
                       "'${%.40s' is not ${VAR} or ${VAR:-default}; write $${ for "
                       "a dollar sign and a brace",
                       text);
    memcpy(name, text, n);
    name[n] = '\0';
    if (!variable[0])
        memcpy(variable, name, n + 1);
    *used = (size_t)(end - text) + 1;
    const char *value = getenv(name);
    if (has_default && (!value || !value[0])) {
        n_default = *used - 1 - n - 2;
        return ap_buffer_append(out, text + n + 2, n_default, err);
    }
    if (!value)
        return ap_fail(err, AP_NOT_FOUND,
                       "the environment variable %s is not set; set it, or write ${%s:-default}",
                       name, name);
    if (!ap_utf8_valid(value, strlen(value)))
        return ap_fail(err, AP_FORMAT, "the environment variable %s is not UTF-8; rename the path",
                       name);
    return ap_buffer_puts(out, value, err);
}

ap_status ap_recipe_expand(const char *folder, const char *text, char **out,
                           char variable[AP_VARIABLE_MAX], struct ap_error *err)
{
    ap_status status;
    struct ap_buffer path = {.max = PATH_BYTES_MAX};
    *out = NULL;
    AP_TRY(ap_buffer_puts(&path, "", err));
    while (*text) {
        size_t used = 1;
        if (!strncmp(text, "$${", 3)) {
            used = 3;
            AP_TRY(ap_buffer_puts(&path, "${", err));
        } else if (!strncmp(text, "${", 2)) {
            AP_TRY(expand_one(text + 2, &path, &used, variable, err));
            used += 2;
        } else {
            AP_TRY(ap_buffer_append(&path, text, 1, err));
        }
        text += used;
    }
    if (!path.len)
        AP_TRY(ap_fail(err, AP_INVALID, "is empty after its variables were put in; set them"));
    *out = ap_path_join(folder, path.data);
    if (!*out)
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory for a path; free some"));
    ap_path_trim(*out);
    if (!ap_utf8_valid(*out, strlen(*out)))
        AP_TRY(
            ap_fail(err, AP_FORMAT,
                    "is in a folder whose name is not UTF-8, as what a run keeps must be; rename "
                    "the folder"));
out:
    if (status != AP_OK) {
        ap_free(*out);
        *out = NULL;
    }
    ap_buffer_free(&path);
    return status;
}

ap_status ap_recipe_tell_variable(const struct ap_recipe *recipe, const char *key, ap_status status,
                                  struct ap_error *err)
{
    const char *name = ap_recipe_origin(recipe, key)->variable;
    const char *value = name[0] ? getenv(name) : NULL;
    if (!err || !name[0])
        return status;
    struct ap_error told = *err;
    return ap_fail(err, status, "%s; the recipe makes this path of %s, which is %s", told.text,
                   name, value && value[0] ? value : "not set");
}
