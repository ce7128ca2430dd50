/* Helpers for reading a tokenizer.json. Entry points: ap_text_json_object, _array, _pattern, _kind,
 * _known. */
#include "text/text_json.h"

#include <string.h>

static ap_status child(const json_t *o, const char *key, const char *where, bool required,
                       json_type type, const char *type_text, const json_t **out,
                       struct ap_error *err)
{
    *out = NULL;
    if (!json_is_object(o))
        return ap_fail(err, AP_FORMAT, "%s: expected an object with the key \"%s\"", where, key);
    const json_t *value = json_object_get(o, key);
    if (!value || json_is_null(value)) {
        if (!required)
            return AP_OK;
        return ap_fail(err, AP_FORMAT,
                       "%s: \"%s\" is missing, expected %s; is this the right file?", where, key,
                       type_text);
    }
    if (json_typeof(value) != type)
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is of another type, expected %s; correct it",
                       where, key, type_text);
    *out = value;
    return AP_OK;
}

ap_status ap_text_json_object(const json_t *o, const char *key, const char *where, bool required,
                              const json_t **out, struct ap_error *err)
{
    return child(o, key, where, required, JSON_OBJECT, "an object", out, err);
}

ap_status ap_text_json_array(const json_t *o, const char *key, const char *where, bool required,
                             const json_t **out, struct ap_error *err)
{
    return child(o, key, where, required, JSON_ARRAY, "an array", out, err);
}

ap_status ap_text_json_pattern(const json_t *o, const char *key, const char *where,
                               const char **out, size_t *n, struct ap_error *err)
{
    const json_t *pattern;
    ap_status status = ap_text_json_object(o, key, where, true, &pattern, err);
    if (status != AP_OK)
        return status;
    if (json_object_get(pattern, "Regex"))
        return ap_fail(err, AP_UNSUPPORTED,
                       "%s: \"%s\" is a Regex, expected {\"String\": ...}; a regular expression is "
                       "not implemented there",
                       where, key);
    status = ap_json_text(pattern, "String", where, true, out, n, err);
    if (status == AP_OK && *n == 0)
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is an empty text; give it one", where, key);
    return status;
}

ap_status ap_text_json_kind(const json_t *o, const char *where, const char *const *names,
                            size_t n_names, size_t *kind, struct ap_error *err)
{
    const char *type = NULL;
    char known[256] = "";
    ap_status status = ap_json_text(o, "type", where, true, &type, NULL, err);
    if (status != AP_OK)
        return status;
    for (size_t i = 0; i < n_names; i++) {
        if (!strcmp(type, names[i])) {
            *kind = i;
            return AP_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", names[i]);
    }
    return ap_fail(err, AP_UNSUPPORTED,
                   "%s: \"type\" is \"%.64s\", expected one of %s; use another "
                   "tokenizer",
                   where, type, known);
}

ap_status ap_text_json_known(const json_t *o, const char *where, const char *const *known, size_t n,
                             struct ap_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < n && !found; i++)
            found = !strcmp(key, known[i]);
        if (!found)
            return ap_fail(err, AP_UNSUPPORTED,
                           "%s: the key \"%.64s\" is not implemented; use another tokenizer", where,
                           key);
    }
    return AP_OK;
}
