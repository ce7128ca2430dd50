/* model.vocab and model.merges, found in a tokenizer.json's text and read there. Entry points:
 * ap_model_text_open, ap_model_text_close; ap_json_take, _more, _string, _integer. */
#include "text/model_text.h"

#include "base/error.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading at a cursor ---- */

static void skip_space(struct ap_json_cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t'))
        c->at++;
}

bool ap_json_take(struct ap_json_cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

bool ap_json_more(struct ap_json_cursor *c, char close, bool first)
{
    if (ap_json_take(c, close))
        return false;
    if (!first && !ap_json_take(c, ','))
        c->broken = true;
    return !c->broken;
}

bool ap_json_integer(struct ap_json_cursor *c, int64_t *out)
{
    skip_space(c);
    const char *at = c->at;
    bool negative = at < c->end && *at == '-';
    int64_t value = 0;
    at += negative;
    const char *digits = at;
    for (; at < c->end && *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *at - '0', &value))
            return false;
    bool leading_zero = at - digits > 1 && *digits == '0';
    bool real = at < c->end && (*at == '.' || *at == 'e' || *at == 'E');
    if (at == digits || leading_zero || real || (!negative && value == INT64_MIN))
        return false;
    *out = negative ? value : -value;
    c->at = at;
    return true;
}

static bool hex(const char *at, const char *end, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, at++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = at < end && *at ? strchr(digits, *at) : NULL;
        if (!digit)
            return false;
        *out = *out << 4 | (uint32_t)((digit - digits) & 15);
    }
    return true;
}

/* The character that an escape at *at, behind its backslash, stands for. */
static bool unescape(const char **at, const char *end, char out[4], size_t *n)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    uint32_t cp, low;
    const char *name = *at < end && **at ? strchr(names, **at) : NULL;
    *n = 1;
    if (name) {
        out[0] = meant[name - names];
        *at += 1;
        return true;
    }
    if (*at == end || **at != 'u' || !hex(*at + 1, end, &cp))
        return false;
    *at += 5;
    if (cp >= 0xD800 && cp < 0xDC00) {
        if (end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u' || !hex(*at + 2, end, &low) ||
            low < 0xDC00 || low > 0xDFFF)
            return false;
        cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
        *at += 6;
    } else if (cp >= 0xDC00 && cp <= 0xDFFF) {
        return false;
    }
    *n = ap_utf8_encode(cp, out);
    return true;
}

/* The first byte from `at` that is not of a string's plain text: a quotation mark, a backslash or a
 * control character. */
static const char *plain_end(const char *at, const char *end, bool *ascii)
{
    unsigned char seen = 0;
    for (; at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20; at++)
        seen |= (unsigned char)*at;
    *ascii = *ascii && seen < 0x80;
    return at;
}

static ap_status read_string(struct ap_json_cursor *c, struct ap_buffer *out, bool *whole,
                             struct ap_error *err)
{
    ap_status status = AP_OK;
    const char *at = c->at;
    bool ascii = true;
    char text[4];
    size_t n;
    *whole = false;
    ap_buffer_clear(out);
    for (;;) {
        const char *to = plain_end(at, c->end, &ascii);
        AP_TRY(ap_buffer_append(out, at, (size_t)(to - at), err));
        at = to + 1;
        if (to == c->end || (*to != '"' && *to != '\\'))
            break;
        if (*to == '"') {
            *whole = ascii || ap_utf8_valid(out->data, out->len);
            c->at = at;
            break;
        }
        if (!unescape(&at, c->end, text, &n))
            break;
        AP_TRY(ap_buffer_append(out, text, n, err));
    }
out:
    return status;
}

bool ap_json_string(struct ap_json_cursor *c, struct ap_buffer *out, ap_status *status,
                    struct ap_error *err)
{
    bool whole = false;
    *status = AP_OK;
    if (!ap_json_take(c, '"'))
        return false;
    *status = read_string(c, out, &whole, err);
    c->broken = c->broken || (*status == AP_OK && !whole);
    return *status == AP_OK && whole;
}

/* ---- finding the two members ---- */

/* Past a string whose first quotation mark was taken; its contents are not looked at. */
static void skip_string(struct ap_json_cursor *c)
{
    while (c->at < c->end && *c->at != '"')
        c->at += *c->at == '\\' && c->at + 1 < c->end ? 2 : 1;
    if (c->at == c->end)
        c->broken = true;
    else
        c->at++;
}

/* Past one value, by its strings and brackets alone. *n: members of a vocabulary or of merges. */
static void skip_value(struct ap_json_cursor *c, size_t *n)
{
    int64_t depth = 0, n_string = 0, n_list = 0;
    skip_space(c);
    while (c->at < c->end) {
        char ch = *c->at;
        if (depth == 0 && (ch == ',' || ch == '}' || ch == ']'))
            break;
        c->at++;
        if (ch == '"') {
            skip_string(c);
            n_string++;
        } else if (ch == '{' || ch == '[') {
            n_list += depth > 0;
            depth++;
        } else if (ch == '}' || ch == ']') {
            depth--;
        }
        if (depth == 0 && (ch == '"' || ch == '}' || ch == ']'))
            break;
    }
    *n = n_string > n_list ? (size_t)(n_string - n_list) : 0;
}

/* c is at an object: step to the value of that key in it. The key is compared as it is spelled. */
static bool find_member(struct ap_json_cursor *c, const char *key)
{
    size_t n = strlen(key), n_members;
    if (!ap_json_take(c, '{'))
        return false;
    while (ap_json_take(c, '"')) {
        const char *name = c->at;
        skip_string(c);
        bool found = (size_t)(c->at - name) == n + 1 && !memcmp(name, key, n);
        if (c->broken || !ap_json_take(c, ':'))
            return false;
        skip_space(c);
        if (found)
            return true;
        skip_value(c, &n_members);
        if (!ap_json_take(c, ','))
            return false;
    }
    return false;
}

/* The value of model.KEY that begins with `open`, as a cursor of its own. */
static bool find_part(struct ap_json_cursor whole, const char *key, char open,
                      struct ap_json_cursor *found, size_t *n)
{
    if (!find_member(&whole, "model") || !find_member(&whole, key) || whole.at == whole.end ||
        *whole.at != open)
        return false;
    *found = (struct ap_json_cursor){.at = whole.at};
    skip_value(&whole, n);
    found->end = whole.at;
    return !whole.broken;
}

/* The text without what stands between the brackets of the two parts. */
static ap_status shorten(const char *text, size_t n, const struct ap_json_cursor *first,
                         const struct ap_json_cursor *second, struct ap_buffer *out,
                         struct ap_error *err)
{
    ap_status status;
    if (first->at > second->at) {
        const struct ap_json_cursor *other = first;
        first = second;
        second = other;
    }
    AP_TRY(ap_buffer_append(out, text, (size_t)(first->at + 1 - text), err));
    AP_TRY(ap_buffer_append(out, first->end - 1, (size_t)(second->at + 2 - first->end), err));
    AP_TRY(ap_buffer_append(out, second->end - 1, (size_t)(text + n + 1 - second->end), err));
out:
    return status;
}

/* The text of a part that does not stand in the file as a plain member: its key is escaped, say. */
static ap_status dump_part(const json_t *model, const char *key, struct ap_json_cursor *c,
                           size_t *n, char **owned, struct ap_error *err)
{
    const json_t *value = json_object_get(model, key);
    if (!json_is_object(value) && !json_is_array(value))
        return AP_OK; /* who needs it says that it is missing, or what it is */
    *owned = json_dumps(value, JSON_COMPACT);
    if (!*owned)
        return ap_fail(err, AP_MEMORY, "\"%s\": out of memory", key);
    *c = (struct ap_json_cursor){.at = *owned, .end = *owned + strlen(*owned)};
    skip_value(c, n);
    c->at = *owned;
    return AP_OK;
}

ap_status ap_model_text_open(struct ap_model_text *m, json_t **root, const char *text, size_t n,
                             const char *where, struct ap_error *err)
{
    struct ap_buffer rest = {0};
    ap_status status = AP_OK;
    size_t mark = n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
    struct ap_json_cursor whole = {.at = text + mark, .end = text + n};
    *m = (struct ap_model_text){0};
    *root = NULL;
    if (find_part(whole, "vocab", '{', &m->vocab, &m->n_vocab) &&
        find_part(whole, "merges", '[', &m->merges, &m->n_merges)) {
        AP_TRY(shorten(text, n, &m->vocab, &m->merges, &rest, err));
        if (ap_json_parse(rest.data, rest.len, where, root, err) == AP_OK)
            goto out;
    }
    *m = (struct ap_model_text){0};
    AP_TRY(ap_json_parse(text, n, where, root, err)); /* whose message has the true line */
    const json_t *model = json_object_get(*root, "model");
    AP_TRY(dump_part(model, "vocab", &m->vocab, &m->n_vocab, &m->dump[0], err));
    AP_TRY(dump_part(model, "merges", &m->merges, &m->n_merges, &m->dump[1], err));
out:
    ap_buffer_free(&rest);
    return status;
}

void ap_model_text_close(struct ap_model_text *m)
{
    free(m->dump[0]);
    free(m->dump[1]);
    *m = (struct ap_model_text){0};
}
