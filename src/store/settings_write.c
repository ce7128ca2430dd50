/* Value to text: YAML that reads back to the same value, and the words for what a key expects.
 * Entry points: ap_setting_write, ap_setting_expected. */
#include "store/settings_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest decimal that reads back to the same double. */
static ap_status write_real(double value, struct ap_buffer *out, struct ap_error *err)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return ap_buffer_puts(out, text, err);
}

/* Double-quoted YAML. Text was checked to be UTF-8 without NULs when it came in. C1 controls, line
 * separators and the byte order mark are escaped too: a YAML reader may fold or refuse them. */
static ap_status write_quoted(const char *text, struct ap_buffer *out, struct ap_error *err)
{
    ap_status status = ap_buffer_puts(out, "\"", err);
    for (size_t i = 0; text[i] && status == AP_OK; i++) {
        unsigned char c = (unsigned char)text[i], next = (unsigned char)text[i + 1];
        if (c == '"' || c == '\\') {
            status = ap_buffer_printf(out, err, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            status = ap_buffer_printf(out, err, "\\x%02x", c);
        } else if (c == 0xc2 && next < 0xa1) {
            status = ap_buffer_printf(out, err, "\\x%02x", next);
            i++;
        } else if (c == 0xe2 && next == 0x80 && ((unsigned char)text[i + 2] | 1) == 0xa9) {
            status = ap_buffer_printf(out, err, "\\u20%02x", (unsigned char)text[i + 2] - 0x80u);
            i += 2;
        } else if (c == 0xef && next == 0xbb && (unsigned char)text[i + 2] == 0xbf) {
            status = ap_buffer_puts(out, "\\ufeff", err);
            i += 2;
        } else {
            status = ap_buffer_append(out, &text[i], 1, err);
        }
    }
    return status == AP_OK ? ap_buffer_puts(out, "\"", err) : status;
}

/* "${" of an expanded path is doubled, so that reading does not expand it again. */
static ap_status write_path(const char *path, struct ap_buffer *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer escaped = {0};
    AP_TRY(ap_buffer_puts(&escaped, "", err));
    for (const char *c = path; *c; c++) {
        if (c[0] == '$' && c[1] == '{')
            AP_TRY(ap_buffer_puts(&escaped, "$", err));
        AP_TRY(ap_buffer_append(&escaped, c, 1, err));
    }
    AP_TRY(write_quoted(escaped.len ? escaped.data : "", out, err));
out:
    ap_buffer_free(&escaped);
    return status;
}

static ap_status write_list(const struct ap_setting *row, const void *at, int n,
                            struct ap_buffer *out, struct ap_error *err)
{
    ap_status status = ap_buffer_puts(out, "[", err);
    for (int i = 0; i < n && status == AP_OK; i++) {
        if (i)
            status = ap_buffer_puts(out, ", ", err);
        if (status != AP_OK)
            break;
        if (row->type == AP_SETTING_INT64_LIST)
            status = ap_buffer_printf(out, err, "%lld", (long long)((const int64_t *)at)[i]);
        else if (row->type == AP_SETTING_REAL_LIST)
            status = write_real(((const double *)at)[i], out, err);
        else if (row->type == AP_SETTING_PATH_LIST)
            status = write_path(((char *const *)at)[i], out, err);
        else
            status = write_quoted(((char *const *)at)[i], out, err);
    }
    return status == AP_OK ? ap_buffer_puts(out, "]", err) : status;
}

static ap_status write_number(const struct ap_setting *row, const void *at, struct ap_buffer *out,
                              struct ap_error *err)
{
    double real = row->type == AP_SETTING_REAL ? *(const double *)at : 0;
    int64_t integer = row->type == AP_SETTING_INT     ? *(const int *)at
                      : row->type == AP_SETTING_INT64 ? *(const int64_t *)at
                                                      : 0;
    if ((row->flags & AP_SETTING_AUTO) && real == 0 && integer == 0)
        return ap_buffer_puts(out, "auto", err);
    if (row->type == AP_SETTING_REAL)
        return write_real(real, out, err);
    return ap_buffer_printf(out, err, "%lld", (long long)integer);
}

ap_status ap_setting_write(const struct ap_setting *row, const void *owner, struct ap_buffer *out,
                           struct ap_error *err)
{
    const void *at = (const char *)owner + row->offset;
    switch (row->type) {
    case AP_SETTING_INT:
    case AP_SETTING_INT64:
    case AP_SETTING_REAL:
        return write_number(row, at, out, err);
    case AP_SETTING_BOOL:
        return ap_buffer_puts(out, *(const bool *)at ? "true" : "false", err);
    case AP_SETTING_PATH:
        return write_path(*(char *const *)at, out, err);
    case AP_SETTING_TEXT:
    case AP_SETTING_NAMES:
    case AP_SETTING_CHOICE:
        return write_quoted(*(char *const *)at, out, err);
    case AP_SETTING_TEXT_LIST:
    case AP_SETTING_PATH_LIST:
    case AP_SETTING_CHOICE_LIST:
    case AP_SETTING_INT64_LIST:
    case AP_SETTING_REAL_LIST:
        return write_list(row, at, *(const int *)((const char *)owner + row->offset_n), out, err);
    }
    return ap_fail(err, AP_INVALID, "%s is of no known type", row->key);
}

static void join_choices(const char *choices, char *out, size_t size)
{
    size_t n = 0;
    for (const char *c = choices; *c && n + 3 < size; c++) {
        if (*c == '|') {
            out[n++] = ',';
            out[n++] = ' ';
        } else {
            out[n++] = *c;
        }
    }
    out[n] = '\0';
}

void ap_setting_expected(const struct ap_setting *row, char *out, size_t size)
{
    char choices[256];
    const char *automatic = row->flags & AP_SETTING_AUTO ? ", or auto" : "";
    const char *share = row->flags & AP_SETTING_SHARE ? ", or a percentage" : "";
    join_choices(row->choices ? row->choices : "", choices, sizeof(choices));
    switch (row->type) {
    case AP_SETTING_INT:
    case AP_SETTING_INT64:
        if (row->flags & AP_SETTING_SIZE) {
            snprintf(out, size, "a size such as 8GiB or 500MiB%s", automatic);
            return;
        }
        snprintf(out, size, "a whole number from %.0f to %.0f%s", row->min, row->max, automatic);
        return;
    case AP_SETTING_REAL:
        snprintf(out, size, "a number from %.10g to %.10g%s%s", row->min, row->max, share,
                 automatic);
        return;
    case AP_SETTING_BOOL:
        snprintf(out, size, "true or false%s", automatic);
        return;
    case AP_SETTING_TEXT:
        snprintf(out, size, "%s", row->flags & AP_SETTING_JSON ? AP_JSON_OBJECT : "a text");
        return;
    case AP_SETTING_PATH:
        snprintf(out, size, "a path");
        return;
    case AP_SETTING_CHOICE:
        snprintf(out, size, "%s%s%s", strchr(choices, ',') ? "one of " : "", choices, automatic);
        return;
    case AP_SETTING_NAMES:
        snprintf(out, size, "a name or a list of names");
        return;
    case AP_SETTING_TEXT_LIST:
        snprintf(out, size, "%sa list of at most %d texts",
                 row->flags & AP_SETTING_WHOLE ? "a text, or " : "", AP_LIST_MAX);
        return;
    case AP_SETTING_PATH_LIST:
        snprintf(out, size, "a list of at most %d paths", AP_LIST_MAX);
        return;
    case AP_SETTING_CHOICE_LIST:
        snprintf(out, size, "a list of: %s", choices);
        return;
    case AP_SETTING_INT64_LIST:
        snprintf(out, size, "a list of at most %d whole numbers from %.0f to %.0f", AP_LIST_MAX,
                 row->min, row->max);
        return;
    case AP_SETTING_REAL_LIST:
        snprintf(out, size, "a list of at most %d numbers from %.10g to %.10g%s", AP_LIST_MAX,
                 row->min, row->max, row->flags & AP_SETTING_SHARE ? ", or percentages" : "");
        return;
    }
}
