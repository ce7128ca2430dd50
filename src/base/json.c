/* Reading JSON through jansson, and typed getters. Not here: writing (json_dumps is good enough).
 * Entry points: ap_json_parse, ap_json_load, ap_json_int, _real, _bool, _text. */
#include "base/json.h"

#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

static bool is_number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* An integer literal that does not fit in 64 bits. */
static bool is_big_integer(const char *literal, size_t n)
{
    char digits[32];
    size_t sign = literal[0] == '-';
    for (size_t i = sign; i < n; i++)
        if (literal[i] < '0' || literal[i] > '9')
            return false;
    if (n - sign > 19)
        return true;
    memcpy(digits, literal, n);
    digits[n] = '\0';
    errno = 0;
    (void)strtoll(digits, NULL, 10);
    return errno == ERANGE;
}

/* Copy text to out with ".0" after each integer over 64 bits, so that it and no other number is
 * read as a real. Strings are passed over; what is not JSON stays as it is for the parser to
 * refuse. */
static ap_status mark_big_integers(const char *text, size_t n, struct ap_buffer *out,
                                   struct ap_error *err)
{
    bool quoted = false;
    ap_status status = AP_OK;
    for (size_t i = 0; i < n && status == AP_OK;) {
        size_t run = 1;
        if (quoted && text[i] == '\\' && i + 1 < n)
            run = 2;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted)
            while (i + run < n && is_number_byte(text[i]) && is_number_byte(text[i + run]))
                run++;
        status = ap_buffer_append(out, text + i, run, err);
        if (status == AP_OK && !quoted && is_number_byte(text[i]) && is_big_integer(text + i, run))
            status = ap_buffer_puts(out, ".0", err);
        i += run;
    }
    return status;
}

static ap_status load_with_big_integers(const char *text, size_t n, json_t **value,
                                        json_error_t *why, struct ap_error *err)
{
    struct ap_buffer marked = {0};
    ap_status status = mark_big_integers(text, n, &marked, err);
    if (status == AP_OK)
        *value = json_loadb(marked.data, marked.len, FLAGS, why);
    ap_buffer_free(&marked);
    return status;
}

static ap_status parse_failed(const char *where, const json_error_t *why, struct ap_error *err)
{
    if (json_error_code(why) == json_error_out_of_memory)
        return ap_fail(err, AP_MEMORY, "%s: no memory for its JSON; free some", where);
    if (why->line < 0)
        return ap_fail(err, AP_FORMAT, "%s: is not JSON: %s", where, why->text);
    return ap_fail(err, AP_FORMAT, "%s:%d:%d: is not JSON: %s; correct the text there", where,
                   why->line, why->column, why->text);
}

ap_status ap_json_parse(const char *text, size_t n, const char *where, json_t **out,
                        struct ap_error *err)
{
    json_error_t why;
    *out = NULL;
    if (n > AP_BUFFER_MAX / 2)
        return ap_fail(err, AP_LIMIT, "%s: %zu bytes of JSON are over the limit of %zu", where, n,
                       AP_BUFFER_MAX / 2);
    if (n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) {
        text += 3;
        n -= 3;
    }
    json_t *value = json_loadb(n ? text : "", n, FLAGS, &why);
    if (!value && json_error_code(&why) == json_error_numeric_overflow) {
        ap_status status = load_with_big_integers(text, n, &value, &why, err);
        if (status != AP_OK)
            return ap_fail_prefix(err, status, "%s", where);
    }
    if (!value)
        return parse_failed(where, &why, err);
    *out = value;
    return AP_OK;
}

ap_status ap_json_load(const char *path, size_t max, json_t **out, struct ap_error *err)
{
    struct ap_buffer text = {0};
    *out = NULL;
    ap_status status = ap_file_read(path, max, &text, err);
    if (status == AP_OK)
        status = ap_json_parse(text.data, text.len, path, out, err);
    ap_buffer_free(&text);
    return status;
}

static const char *type_name(const json_t *value)
{
    static const char *const name[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a real",    [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null",
    };
    return value ? name[json_typeof(value)] : "absent";
}

/* The value at key, or NULL in *value where it is absent or null and need not be there. */
static ap_status find(const json_t *o, const char *key, const char *where, bool required,
                      const json_t **value, struct ap_error *err)
{
    *value = NULL;
    if (!json_is_object(o))
        return ap_fail(err, AP_FORMAT, "%s: is %s, expected an object with the key \"%s\"", where,
                       type_name(o), key);
    const json_t *found = json_object_get(o, key);
    if (found && !json_is_null(found))
        *value = found;
    else if (required)
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is %s; add it", where, key,
                       found ? "null" : "missing");
    return AP_OK;
}

static ap_status wrong_type(const json_t *value, const char *key, const char *where,
                            const char *expected, struct ap_error *err)
{
    return ap_fail(err, AP_FORMAT, "%s: \"%s\" is %s, expected %s; correct it", where, key,
                   type_name(value), expected);
}

ap_status ap_json_int(const json_t *o, const char *key, const char *where, bool required,
                      int64_t min, int64_t max, int64_t *out, struct ap_error *err)
{
    const json_t *value;
    ap_status status = find(o, key, where, required, &value, err);
    if (status != AP_OK || !value)
        return status;
    if (!json_is_integer(value))
        return wrong_type(value, key, where, "an integer", err);
    int64_t number = json_integer_value(value);
    if (number < min || number > max)
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" is %lld, expected %lld to %lld; correct it",
                       where, key, (long long)number, (long long)min, (long long)max);
    *out = number;
    return AP_OK;
}

ap_status ap_json_real(const json_t *o, const char *key, const char *where, bool required,
                       double *out, struct ap_error *err)
{
    const json_t *value;
    ap_status status = find(o, key, where, required, &value, err);
    if (status != AP_OK || !value)
        return status;
    if (!json_is_number(value))
        return wrong_type(value, key, where, "a number", err);
    *out = json_number_value(value);
    return AP_OK;
}

ap_status ap_json_bool(const json_t *o, const char *key, const char *where, bool required,
                       bool *out, struct ap_error *err)
{
    const json_t *value;
    ap_status status = find(o, key, where, required, &value, err);
    if (status != AP_OK || !value)
        return status;
    if (!json_is_boolean(value))
        return wrong_type(value, key, where, "true or false", err);
    *out = json_is_true(value);
    return AP_OK;
}

ap_status ap_json_text(const json_t *o, const char *key, const char *where, bool required,
                       const char **out, size_t *n_bytes, struct ap_error *err)
{
    const json_t *value;
    ap_status status = find(o, key, where, required, &value, err);
    if (status != AP_OK || !value)
        return status;
    if (!json_is_string(value))
        return wrong_type(value, key, where, "a string", err);
    size_t n = json_string_length(value);
    if (!n_bytes && memchr(json_string_value(value), '\0', n))
        return ap_fail(err, AP_FORMAT, "%s: \"%s\" holds a NUL character; remove it", where, key);
    *out = json_string_value(value);
    if (n_bytes)
        *n_bytes = n;
    return AP_OK;
}
