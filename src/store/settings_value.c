/* Text to value: numbers are read strictly, quotes mean text, and each element is checked against
 * the row's range or choices before the old value goes. Not here: value to text (settings_write.c).
 * Entry points: ap_raw_add, ap_setting_put, ap_setting_default, ap_setting_copy, ap_setting_clear.
 */
#include "store/settings_value.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 65536

ap_status ap_raw_add(struct ap_raw *raw, const char *text, size_t n, bool quoted,
                     struct ap_error *err)
{
    if (raw->n >= AP_LIST_MAX)
        return ap_fail(err, AP_LIMIT, "has more than %d elements; shorten the list", AP_LIST_MAX);
    if (n > TEXT_MAX)
        return ap_fail(err, AP_LIMIT, "has %zu bytes, expected at most %d; shorten it", n,
                       TEXT_MAX);
    if (n && (memchr(text, '\0', n) || !ap_utf8_valid(text, n)))
        return ap_fail(err, AP_FORMAT, "holds a NUL or bytes that are not UTF-8; write plain text");
    char *copy = ap_strndup(n ? text : "", n);
    if (!copy)
        return ap_fail(err, AP_MEMORY, "no memory for its text; free some");
    raw->quoted[raw->n] = quoted;
    raw->text[raw->n++] = copy;
    return AP_OK;
}

void ap_raw_free(struct ap_raw *raw)
{
    for (int i = 0; i < raw->n; i++)
        ap_free(raw->text[i]);
    *raw = (struct ap_raw){0};
}

bool ap_raw_is(const struct ap_raw *raw, const char *word)
{
    return !raw->list && raw->n == 1 && !raw->quoted[0] && !strcmp(raw->text[0], word);
}

/* ---- one element ---- */

static bool read_integer(const char *text, int64_t *out)
{
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    if (!digits[0] || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno == 0;
}

/* 8GiB is 8·2^30; no other spelling. */
static bool read_size(const char *text, int64_t *out)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    char digits[24];
    size_t n = strspn(text, "0123456789");
    if (!n || n >= sizeof(digits))
        return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    if (!read_integer(digits, out))
        return false;
    for (size_t i = 0; i < AP_LEN(units); i++)
        if (strcmp(text + n, units[i]) == 0)
            return !__builtin_mul_overflow(*out, (int64_t)1024 << 10 * i, out);
    return !text[n];
}

/* Neither hexadecimal nor inf nor nan, which strtod would take. */
static bool read_real(const char *text, bool share, double *out)
{
    char *end;
    size_t n = strspn(text, "0123456789+-.eE");
    *out = strtod(text, &end);
    if (n == 0 || end != text + n || !isfinite(*out))
        return false;
    if (share && !strcmp(end, "%")) {
        *out /= 100;
        return true;
    }
    return *end == '\0';
}

static bool in_range(const struct ap_setting *row, double value)
{
    return value >= row->min && value <= row->max;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t n = strlen(text);
    for (const char *at = choices; *at;) {
        size_t m = strcspn(at, "|");
        if (n == m && !strncmp(at, text, n))
            return true;
        at += m + (at[m] == '|');
    }
    return false;
}

static bool is_null(const struct ap_raw *raw, int i)
{
    const char *text = raw->text[i];
    return !raw->quoted[i] && (!text[0] || !strcmp(text, "~") || !strcmp(text, "null"));
}

bool ap_setting_is_text(ap_setting_type type)
{
    return type == AP_SETTING_TEXT || type == AP_SETTING_PATH || type == AP_SETTING_NAMES ||
           type == AP_SETTING_TEXT_LIST || type == AP_SETTING_PATH_LIST;
}

bool ap_setting_is_list(ap_setting_type type)
{
    return type == AP_SETTING_TEXT_LIST || type == AP_SETTING_PATH_LIST ||
           type == AP_SETTING_CHOICE_LIST || type == AP_SETTING_INT64_LIST ||
           type == AP_SETTING_REAL_LIST;
}

static ap_status unexpected(const struct ap_setting *row, const char *key, const char *got,
                            const char *quote, struct ap_error *err)
{
    char expected[512];
    ap_setting_expected(row, expected, sizeof(expected));
    return ap_fail(err, AP_INVALID, "%s is %s%s%s, expected %s", key, quote, got, quote, expected);
}

/* Shape and nulls; what remains is the matter of each element's type. */
static ap_status check_shape(const struct ap_setting *row, const char *key,
                             const struct ap_raw *raw, struct ap_error *err)
{
    if (raw->list && !ap_setting_is_list(row->type) && row->type != AP_SETTING_NAMES)
        return unexpected(row, key, "a list", "", err);
    for (int i = 0; i < raw->n; i++) {
        if (is_null(raw, i))
            return unexpected(row, key, "without a value", "", err);
        if (raw->quoted[i] && !ap_setting_is_text(row->type) && !row->choices)
            return unexpected(row, key, raw->text[i], "\"", err);
    }
    return AP_OK;
}

static ap_status element_number(const struct ap_setting *row, const char *key, const char *text,
                                double *real, int64_t *integer, struct ap_error *err)
{
    bool fine;
    if (row->type == AP_SETTING_REAL || row->type == AP_SETTING_REAL_LIST) {
        fine = read_real(text, row->flags & AP_SETTING_SHARE, real);
    } else {
        fine =
            row->flags & AP_SETTING_SIZE ? read_size(text, integer) : read_integer(text, integer);
        *real = fine ? (double)*integer : 0;
    }
    if (!fine || !in_range(row, *real))
        return unexpected(row, key, text, "'", err);
    return AP_OK;
}

static ap_status element_choice(const struct ap_setting *row, const char *key, const char *text,
                                struct ap_error *err)
{
    if (row->choices && !is_choice(row->choices, text) && (text[0] || row->fallback[0]))
        return unexpected(row, key, text, "'", err);
    return AP_OK;
}

/* ---- values ---- */

ap_status ap_setting_set_text(char **slot, const char *text, struct ap_error *err)
{
    char *copy = ap_strdup(text);
    if (!copy)
        return ap_fail(err, AP_MEMORY, "no memory for a setting; free some");
    ap_free(*slot);
    *slot = copy;
    return AP_OK;
}

static ap_status put_number(const struct ap_setting *row, void *at, const char *key,
                            const struct ap_raw *raw, struct ap_error *err)
{
    double real = 0;
    int64_t integer = 0;
    bool automatic = (row->flags & AP_SETTING_AUTO) && ap_raw_is(raw, "auto");
    ap_status status =
        automatic ? AP_OK : element_number(row, key, raw->text[0], &real, &integer, err);
    if (status != AP_OK)
        return status;
    if (row->type == AP_SETTING_REAL)
        *(double *)at = real;
    else if (row->type == AP_SETTING_INT)
        *(int *)at = (int)integer;
    else
        *(int64_t *)at = integer;
    return AP_OK;
}

static ap_status put_bool(const struct ap_setting *row, bool *at, const char *key,
                          const struct ap_raw *raw, struct ap_error *err)
{
    bool yes = ap_raw_is(raw, "true");
    if (!yes && !ap_raw_is(raw, "false") &&
        !((row->flags & AP_SETTING_AUTO) && ap_raw_is(raw, "auto")))
        return unexpected(row, key, raw->text[0], "'", err);
    *at = yes;
    return AP_OK;
}

static ap_status put_text(const struct ap_setting *row, char **at, const char *key,
                          const struct ap_raw *raw, struct ap_error *err)
{
    if ((row->flags & AP_SETTING_AUTO) && ap_raw_is(raw, "auto"))
        return ap_setting_set_text(at, "", err);
    ap_status status = element_choice(row, key, raw->text[0], err);
    return status == AP_OK ? ap_setting_set_text(at, raw->text[0], err) : status;
}

/* [q_proj, v_proj] and "q_proj, v_proj" are the same: joined by single commas. */
static ap_status put_names(const struct ap_setting *row, char **at, const char *key,
                           const struct ap_raw *raw, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer joined = {0};
    for (int i = 0; i < raw->n; i++) {
        if (i)
            AP_TRY(ap_buffer_append(&joined, ",", 1, err));
        for (const char *c = raw->text[i]; *c; c++)
            if (!strchr(" \t\r\n", *c))
                AP_TRY(ap_buffer_append(&joined, c, 1, err));
    }
    if (!joined.len)
        AP_TRY(unexpected(row, key, "empty", "", err));
    AP_TRY(ap_setting_set_text(at, joined.data, err));
out:
    ap_buffer_free(&joined);
    return status;
}

static void clear_texts(char **texts)
{
    for (int i = 0; i < AP_LIST_MAX; i++) {
        ap_free(texts[i]);
        texts[i] = NULL;
    }
}

static ap_status put_text_list(const struct ap_setting *row, char **at, int *n, const char *key,
                               const struct ap_raw *raw, struct ap_error *err)
{
    ap_status status = AP_OK;
    char *fresh[AP_LIST_MAX] = {0};
    for (int i = 0; i < raw->n; i++) {
        AP_TRY(element_choice(row, key, raw->text[i], err));
        AP_TRY(ap_setting_set_text(&fresh[i], raw->text[i], err));
    }
    clear_texts(at);
    memcpy(at, fresh, sizeof(fresh));
    *n = raw->n;
    return AP_OK;
out:
    clear_texts(fresh);
    return status;
}

static ap_status put_int64_list(const struct ap_setting *row, int64_t *at, int *n, const char *key,
                                const struct ap_raw *raw, struct ap_error *err)
{
    int64_t fresh[AP_LIST_MAX] = {0};
    for (int i = 0; i < raw->n; i++) {
        double real;
        ap_status status = element_number(row, key, raw->text[i], &real, &fresh[i], err);
        if (status != AP_OK)
            return status;
    }
    memcpy(at, fresh, sizeof(fresh));
    *n = raw->n;
    return AP_OK;
}

static ap_status put_real_list(const struct ap_setting *row, double *at, int *n, const char *key,
                               const struct ap_raw *raw, struct ap_error *err)
{
    double fresh[AP_LIST_MAX] = {0};
    for (int i = 0; i < raw->n; i++) {
        int64_t integer;
        ap_status status = element_number(row, key, raw->text[i], &fresh[i], &integer, err);
        if (status != AP_OK)
            return status;
    }
    memcpy(at, fresh, sizeof(fresh));
    *n = raw->n;
    return AP_OK;
}

ap_status ap_setting_put(const struct ap_setting *row, void *owner, const char *key,
                         const struct ap_raw *raw, struct ap_error *err)
{
    void *at = (char *)owner + row->offset;
    int *n = (int *)((char *)owner + row->offset_n);
    ap_status status = check_shape(row, key, raw, err);
    if (status != AP_OK)
        return status;
    if (raw->list && raw->n == 0 && row->type != AP_SETTING_TEXT_LIST && row->fallback[0])
        return unexpected(row, key, "an empty list", "", err);
    switch (row->type) {
    case AP_SETTING_INT:
    case AP_SETTING_INT64:
    case AP_SETTING_REAL:
        return put_number(row, at, key, raw, err);
    case AP_SETTING_BOOL:
        return put_bool(row, at, key, raw, err);
    case AP_SETTING_TEXT:
    case AP_SETTING_PATH:
    case AP_SETTING_CHOICE:
        return put_text(row, at, key, raw, err);
    case AP_SETTING_NAMES:
        return put_names(row, at, key, raw, err);
    case AP_SETTING_TEXT_LIST:
    case AP_SETTING_PATH_LIST:
    case AP_SETTING_CHOICE_LIST:
        return put_text_list(row, at, n, key, raw, err);
    case AP_SETTING_INT64_LIST:
        return put_int64_list(row, at, n, key, raw, err);
    case AP_SETTING_REAL_LIST:
        return put_real_list(row, at, n, key, raw, err);
    }
    return ap_fail(err, AP_INVALID, "%s is of no known type", key);
}

ap_status ap_setting_default(const struct ap_setting *row, void *owner, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_raw raw = {.list = ap_setting_is_list(row->type)};
    bool text = ap_setting_is_text(row->type) || row->choices;
    const char *at = row->fallback;
    while (raw.list && *at) {
        size_t n = strcspn(at, ",");
        AP_TRY(ap_raw_add(&raw, at, n, text, err));
        at += n + (at[n] == ',');
    }
    if (!raw.list)
        AP_TRY(ap_raw_add(&raw, at, strlen(at), text && strcmp(at, "auto"), err));
    AP_TRY(ap_setting_put(row, owner, row->key, &raw, err));
out:
    ap_raw_free(&raw);
    return status;
}

void ap_setting_clear(const struct ap_setting *row, void *owner)
{
    void *at = (char *)owner + row->offset;
    if (row->type == AP_SETTING_TEXT_LIST || row->type == AP_SETTING_PATH_LIST ||
        row->type == AP_SETTING_CHOICE_LIST) {
        clear_texts(at);
        *(int *)((char *)owner + row->offset_n) = 0;
    } else if (ap_setting_is_text(row->type) || row->type == AP_SETTING_CHOICE) {
        ap_free(*(char **)at);
        *(char **)at = NULL;
    }
}

ap_status ap_setting_copy(const struct ap_setting *row, void *to, const void *from,
                          struct ap_error *err)
{
    void *at = (char *)to + row->offset;
    const void *source = (const char *)from + row->offset;
    assert(!ap_setting_is_list(row->type)); /* no group that inherits has a list */
    if (ap_setting_is_text(row->type) || row->type == AP_SETTING_CHOICE)
        return ap_setting_set_text(at, *(char *const *)source, err);
    if (row->type == AP_SETTING_INT)
        memcpy(at, source, sizeof(int));
    else if (row->type == AP_SETTING_BOOL)
        memcpy(at, source, sizeof(bool));
    else
        memcpy(at, source, sizeof(double)); /* of the size of int64_t */
    return AP_OK;
}
