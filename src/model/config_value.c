/* Values of configuration files (config_inner.h). */
#include "model/config_inner.h"

#include "base/file.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

ap_status ap_config_unsupported(const char *path, const char *key, const json_t *value,
                                const char *expected, struct ap_error *err)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    ap_status status = ap_fail(err, AP_UNSUPPORTED,
                               "%s: \"%s\" is %.200s, expected %s: anything else is not "
                               "implemented",
                               path, key, text ? text : "of another kind", expected);
    free(text);
    return status;
}

bool ap_config_is_off(const json_t *value)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    case JSON_OBJECT:
        return json_object_size(value) == 0;
    case JSON_ARRAY:
        return json_array_size(value) == 0;
    case JSON_STRING:
        return json_string_length(value) == 0;
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(value) == 0;
    case JSON_TRUE:
        break;
    }
    return false;
}

static bool is_inert(const json_t *value, enum ap_inert kind)
{
    switch (kind) {
    case AP_INERT_NULL:
        return false;
    case AP_INERT_FALSE:
        return json_is_false(value);
    case AP_INERT_ZERO:
        return json_is_number(value) && json_number_value(value) == 0;
    case AP_INERT_ONE:
        return json_is_number(value) && json_number_value(value) == 1;
    case AP_INERT_EMPTY:
        return (json_is_object(value) || json_is_array(value)) && ap_config_is_off(value);
    }
    return false;
}

ap_status ap_config_refuse(const json_t *o, const char *path, const struct ap_inert_key *keys,
                           size_t n, struct ap_error *err)
{
    static const char *const expected[] = {
        [AP_INERT_NULL] = "null", [AP_INERT_FALSE] = "false",    [AP_INERT_ZERO] = "0",
        [AP_INERT_ONE] = "1",     [AP_INERT_EMPTY] = "{} or []",
    };
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(o, keys[i].key);
        if (value && !json_is_null(value) && !is_inert(value, keys[i].value))
            return ap_config_unsupported(path, keys[i].key, value, expected[keys[i].value], err);
    }
    return AP_OK;
}

ap_status ap_config_int(const json_t *o, const char *key, const char *path, bool required, int min,
                        int max, int *out, struct ap_error *err)
{
    int64_t value = *out;
    ap_status status = ap_json_int(o, key, path, required, min, max, &value, err);
    *out = (int)value;
    return status;
}

ap_status ap_config_positive(const json_t *o, const char *key, const char *path, bool required,
                             double *out, struct ap_error *err)
{
    ap_status status = ap_json_real(o, key, path, required, out, err);
    if (status == AP_OK && json_is_number(json_object_get(o, key)) &&
        !((float)*out > 0 && isfinite((float)*out)))
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is %g, expected a positive number", path, key,
                       *out);
    return status;
}

ap_status ap_config_put(const char *dir, const char *file, json_t *o, struct ap_error *err)
{
    char *text = o ? json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    struct ap_buffer b = {0};
    ap_status status = AP_OK;
    json_decref(o);
    if (!text) {
        status = ap_fail(err, AP_MEMORY, "%s: %s: out of memory", dir, file);
        goto out;
    }
    AP_TRY(ap_buffer_puts(&b, text, err));
    AP_TRY(ap_buffer_puts(&b, "\n", err));
    status = ap_file_write_in(dir, file, b.data, b.len, err);
out:
    ap_buffer_free(&b);
    free(text);
    return status;
}
