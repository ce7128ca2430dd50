/* Text from files as a terminal may have it (inspect_text.h). */
#include "pipeline/inspect_text.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS AP_INSPECT_COLUMNS
#define INDENT AP_INSPECT_INDENT

/* Columns that a character takes; 0 for one that is to be escaped: controls, and the marks that
 * turn the direction of writing. */
static int columns_of(uint32_t cp)
{
    if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || (cp >= 0x200B && cp <= 0x200F) ||
        (cp >= 0x2028 && cp <= 0x202E) || (cp >= 0x2060 && cp <= 0x206F) || cp == 0xFEFF)
        return 0;
    return cp >= 0x1100 ? 2 : 1;
}

/* How a character is shown; returns its columns. */
static int spell(const char *text, size_t n, uint32_t cp, char out[16])
{
    int columns = columns_of(cp);
    if (cp == AP_UTF8_REPLACEMENT && !ap_utf8_valid(text, n)) /* bytes that are no UTF-8 */
        return snprintf(out, 16, "\\x{%02x}", (unsigned char)text[0]);
    if (columns > 0) {
        memcpy(out, text, n);
        out[n] = '\0';
        return columns;
    }
    if (cp == '\n' || cp == '\t')
        return snprintf(out, 16, "%s", cp == '\n' ? "\\n" : "\\t");
    return snprintf(out, 16, "\\u{%x}", cp);
}

/* Columns of the word at text, with the space that follows it not counted. */
static int word_columns(const char *text, size_t n)
{
    int columns = 0;
    char shown[16];
    uint32_t cp;
    for (size_t i = 0; i < n && text[i] != ' ' && columns <= COLUMNS;) {
        size_t used = ap_utf8_decode(text + i, n - i, &cp);
        columns += spell(text + i, used, cp, shown);
        i += used;
    }
    return columns;
}

ap_status ap_inspect_put(struct ap_buffer *out, int margin, const char *label, const char *text,
                         size_t n, int lines, struct ap_error *err)
{
    enum { ROOM = 30 }; /* for the words about what was cut off */
    size_t i = 0;
    int column = INDENT, line = 1;
    char shown[16];
    uint32_t cp;
    ap_status status;
    AP_TRY(ap_buffer_printf(out, err, "%*s%-*.*s", margin, "", INDENT - margin, INDENT - margin - 1,
                            label));
    while (i < n) {
        int limit = line == lines ? COLUMNS - ROOM : COLUMNS;
        size_t used = ap_utf8_decode(text + i, n - i, &cp);
        int columns = spell(text + i, used, cp, shown);
        bool word = i > 0 && text[i - 1] == ' ' && word_columns(text + i, n - i) <= limit - INDENT;
        if (column + (word ? word_columns(text + i, n - i) : columns) > limit) {
            if (line == lines)
                break;
            if (out->data[out->len - 1] == ' ' && i > 0 && text[i - 1] == ' ')
                out->data[--out->len] = '\0';
            AP_TRY(ap_buffer_printf(out, err, "\n%*s", INDENT, ""));
            column = INDENT;
            line++;
            if (cp == ' ') {
                i += used;
                continue;
            }
        }
        AP_TRY(ap_buffer_puts(out, shown, err));
        column += columns;
        i += used;
    }
    if (i < n)
        AP_TRY(ap_buffer_printf(out, err, " [... %zu more bytes]", n - i));
    AP_TRY(ap_buffer_puts(out, n ? "\n" : "(empty)\n", err));
out:
    return status;
}

ap_status ap_inspect_put_cell(struct ap_buffer *out, const char *text, size_t n, int columns,
                              struct ap_error *err)
{
    int column = 0;
    char shown[16];
    uint32_t cp;
    ap_status status = AP_OK;
    for (size_t i = 0, used; i < n && status == AP_OK; i += used) {
        used = ap_utf8_decode(text + i, n - i, &cp);
        column += spell(text + i, used, cp, shown);
        if (column > columns - 3 && (column > columns || i + used < n))
            return ap_buffer_puts(out, "...", err);
        status = ap_buffer_puts(out, shown, err);
    }
    return status;
}

json_t *ap_inspect_string(const char *text, size_t n, size_t most)
{
    struct ap_buffer clean = {0};
    ap_status status = AP_OK;
    uint32_t cp;
    char bytes[4];
    for (size_t i = 0, used; i < n && status == AP_OK; i += used) {
        used = ap_utf8_decode(text + i, n - i, &cp);
        if (i + used > most) {
            status = ap_buffer_puts(&clean, "...", NULL);
            break;
        }
        status = ap_buffer_append(&clean, bytes, ap_utf8_encode(cp, bytes), NULL);
    }
    json_t *out = status == AP_OK ? json_stringn(clean.len ? clean.data : "", clean.len) : NULL;
    ap_buffer_free(&clean);
    return out;
}

const char *ap_inspect_number(uint64_t n, char out[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%" PRIu64, n), at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *ap_inspect_size(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double size = (double)bytes / 1024;
    size_t unit = 0;
    if (bytes < 1024) {
        snprintf(out, 32, "%" PRIu64 " bytes", bytes);
        return out;
    }
    while (size >= 1023.95 && unit + 1 < AP_LEN(units)) {
        size /= 1024;
        unit++;
    }
    snprintf(out, 32, "%.1f %s", size, units[unit]);
    return out;
}
