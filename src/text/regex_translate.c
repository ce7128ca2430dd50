/* Oniguruma's syntax into PCRE2's: one pass, left to right. Entry point: ap_regex_translate.
 *
 * A set is gathered as elements of a bracket class and, where a part of it is a complement
 * ([^\S\r\n]), as further classes beside it: [a\P{L}] is (?:[a]|[^\p{L}]). */
#include "text/regex_translate.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode_new.h"

#include <stdbool.h>
#include <string.h>

#define DEPTH_MAX 64
#define SPACES                                                                                     \
    "\\t-\\r "                                                                                     \
    "\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

struct translation {
    struct ap_buffer *out;
    const char *regex, *where;
    size_t n, at;
    int depth, closers[DEPTH_MAX + 1]; /* groups that (?i) opened, to close with the one around */
    struct ap_error *err;
};

static ap_status refuse(const struct translation *t, const char *what)
{
    return ap_fail(t->err, AP_UNSUPPORTED,
                   "%s: the regular expression has %s at byte %zu; not implemented, rewrite it",
                   t->where, what, t->at);
}

static ap_status put(struct translation *t, const char *text)
{
    return ap_buffer_puts(t->out, text, t->err);
}

/* The byte `ahead` of the place, NUL behind the end. */
static char peek(const struct translation *t, size_t ahead)
{
    return t->at + ahead < t->n ? t->regex[t->at + ahead] : '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* ---- sets ---- */

/* What \s, \w, \d, \h or \p{…} stands for, as elements of a class. */
struct set {
    struct ap_buffer elements;
    bool complement;
};

static ap_status put_categories(struct ap_buffer *out, const char *const *names, size_t n,
                                struct ap_error *err)
{
    ap_status status = AP_OK;
    for (size_t i = 0; i < n && status == AP_OK; i++) {
        status = ap_buffer_printf(out, err, "\\p{%s}", names[i]);
        if (status == AP_OK)
            status = ap_unicode_new(out, names[i], err);
    }
    return status;
}

/* Alphabetic, marks, decimal digits, connectors, and Oniguruma's six in Latin-1 besides, which it
 * forgets within a class. */
static ap_status put_word(struct ap_buffer *out, bool in_class, struct ap_error *err)
{
    static const char *const names[] = {"L", "M", "Nd", "Nl", "Pc"};
    ap_status status = put_categories(out, names, AP_LEN(names), err);
    if (status == AP_OK)
        status = ap_buffer_puts(out, "\\p{Alphabetic}", err);
    return status == AP_OK && !in_class
               ? ap_buffer_puts(out, "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}", err)
               : status;
}

/* The short name of a general category, "" for another property. */
static const char *category(const char *name)
{
    static const char *const rows[][2] = {
        {"letter", "L"},
        {"uppercaseletter", "Lu"},
        {"lowercaseletter", "Ll"},
        {"titlecaseletter", "Lt"},
        {"modifierletter", "Lm"},
        {"otherletter", "Lo"},
        {"mark", "M"},
        {"nonspacingmark", "Mn"},
        {"spacingmark", "Mc"},
        {"enclosingmark", "Me"},
        {"number", "N"},
        {"decimalnumber", "Nd"},
        {"letternumber", "Nl"},
        {"othernumber", "No"},
        {"punctuation", "P"},
        {"connectorpunctuation", "Pc"},
        {"dashpunctuation", "Pd"},
        {"openpunctuation", "Ps"},
        {"closepunctuation", "Pe"},
        {"initialpunctuation", "Pi"},
        {"finalpunctuation", "Pf"},
        {"otherpunctuation", "Po"},
        {"symbol", "S"},
        {"mathsymbol", "Sm"},
        {"currencysymbol", "Sc"},
        {"modifiersymbol", "Sk"},
        {"othersymbol", "So"},
        {"separator", "Z"},
        {"spaceseparator", "Zs"},
        {"lineseparator", "Zl"},
        {"paragraphseparator", "Zp"},
        {"control", "Cc"},
        {"format", "Cf"},
        {"privateuse", "Co"},
    };
    for (size_t i = 0; i < AP_LEN(rows); i++)
        if (!strcasecmp(name, rows[i][0]) || !strcasecmp(name, rows[i][1]))
            return rows[i][1];
    return "";
}

/* {NAME} or {^NAME} behind \p: the name without what Oniguruma passes over. */
static ap_status read_property(struct translation *t, char name[32], bool *complement)
{
    size_t n = 0, i = t->at;
    if (peek(t, 0) != '{')
        return refuse(t, "\\p without a {name}");
    for (i++; i < t->n && t->regex[i] != '}'; i++) {
        char c = t->regex[i];
        if (c == '^' && i == t->at + 1)
            *complement = !*complement;
        else if (is_alnum(c) && n < 31)
            name[n++] = c;
        else if (c != ' ' && c != '_' && c != '-')
            return refuse(t, "a property of an odd name");
    }
    if (i == t->n)
        return refuse(t, "\\p{ without its }");
    name[n] = '\0';
    t->at = i + 1;
    return AP_OK;
}

static ap_status read_property_set(struct translation *t, struct set *set)
{
    char name[32];
    size_t start = t->at;
    ap_status status = read_property(t, name, &set->complement);
    if (status != AP_OK)
        return status;
    const char *known = category(name);
    if (*known)
        return put_categories(&set->elements, &known, 1, t->err);
    if (!strcasecmp(name, "Alphabetic")) {
        static const char *const letters[] = {"L", "Nl"};
        ap_status added = put_categories(&set->elements, letters, AP_LEN(letters), t->err);
        return added == AP_OK ? ap_buffer_puts(&set->elements, "\\p{Alphabetic}", t->err) : added;
    }
    if (!strcasecmp(name, "Han"))
        return ap_buffer_puts(&set->elements,
                              "\\p{sc:Han}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}",
                              t->err);
    static const char *const scripts[] = {"Hiragana", "Katakana", "Hangul",     "Latin",
                                          "Cyrillic", "Greek",    "Arabic",     "Hebrew",
                                          "Thai",     "Tibetan",  "Devanagari", "Bengali"};
    for (size_t i = 0; i < AP_LEN(scripts); i++)
        if (!strcasecmp(name, scripts[i]))
            return ap_buffer_printf(&set->elements, t->err, "\\p{sc:%s}", scripts[i]);
    t->at = start;
    return refuse(t, "a property other than general categories and the common scripts");
}

/* A set's letter behind a backslash; *is_set is false, and nothing read, for another escape. */
static ap_status read_set(struct translation *t, struct set *set, bool in_class, bool *is_set)
{
    static const char *const digit = "Nd";
    char c = peek(t, 1);
    *is_set = c && strchr("sSwWdDhHpP", c);
    if (!*is_set)
        return AP_OK;
    set->complement = c < 'a';
    t->at += 2;
    switch (c | 0x20) {
    case 's':
        return ap_buffer_puts(&set->elements, SPACES, t->err);
    case 'w':
        return put_word(&set->elements, in_class, t->err);
    case 'd':
        return put_categories(&set->elements, &digit, 1, t->err);
    case 'h':
        return ap_buffer_puts(&set->elements, "0-9a-fA-F", t->err);
    default:
        return read_property_set(t, set);
    }
}

/* ---- characters ---- */

/* The number that 1 to most hexadecimal digits at the place spell. */
static ap_status read_hex(struct translation *t, size_t least, size_t most, uint32_t *cp)
{
    size_t n = 0;
    *cp = 0;
    for (; n < most && is_alnum(peek(t, 0)) && (peek(t, 0) | 0x20) <= 'f'; n++, t->at++) {
        char c = peek(t, 0);
        *cp = *cp * 16 + (uint32_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return n < least || *cp > 0x10FFFF || (*cp >= 0xD800 && *cp < 0xE000)
               ? refuse(t, "a character that does not exist")
               : AP_OK;
}

/* An escape that stands for one character, in a class and out of it. */
static ap_status read_escape(struct translation *t, uint32_t *cp)
{
    static const char letters[] = "tnrfvae", meaning[] = "\t\n\r\f\v\a\x1B";
    char c = peek(t, 1);
    const char *letter = c ? strchr(letters, c) : NULL;
    ap_status status = AP_OK;
    if (letter)
        *cp = (uint32_t)meaning[letter - letters];
    if (letter || c == 'u' || c == 'x')
        t->at += 2;
    if (letter)
        return AP_OK;
    if (c == 'u')
        return read_hex(t, 4, 4, cp);
    if (c == 'x' && peek(t, 0) == '{') {
        t->at++;
        status = read_hex(t, 1, 6, cp);
        if (status == AP_OK && peek(t, 0) != '}')
            return refuse(t, "\\x{ without its }");
        t->at++;
        return status;
    }
    if (c == 'x') {
        status = read_hex(t, 1, 2, cp);
        return status == AP_OK && *cp > 0x7F ? refuse(t, "a single byte of a character") : status;
    }
    if (is_alnum(c) || t->at + 1 == t->n)
        return refuse(t, "an escape that is not known");
    t->at++;
    t->at += ap_utf8_decode(t->regex + t->at, t->n - t->at, cp);
    return AP_OK;
}

static ap_status read_character(struct translation *t, uint32_t *cp)
{
    if (peek(t, 0) == '\\')
        return read_escape(t, cp);
    t->at += ap_utf8_decode(t->regex + t->at, t->n - t->at, cp);
    return AP_OK;
}

/* ---- bracket classes ---- */

/* One character of a class, or a range of them. */
static ap_status read_range(struct translation *t, struct ap_buffer *elements)
{
    uint32_t first, last;
    ap_status status = read_character(t, &first);
    if (status != AP_OK)
        return status;
    if (peek(t, 0) != '-' || peek(t, 1) == ']' || t->at + 1 >= t->n)
        return ap_buffer_printf(elements, t->err, "\\x{%X}", first);
    t->at++;
    if (peek(t, 0) == '[' || (peek(t, 0) == '\\' && strchr("sSwWdDhHpPb", peek(t, 1))))
        return refuse(t, "a range that ends in a set");
    status = read_character(t, &last);
    if (status == AP_OK && last < first)
        return refuse(t, "a range that runs backwards");
    return status == AP_OK ? ap_buffer_printf(elements, t->err, "\\x{%X}-\\x{%X}", first, last)
                           : status;
}

/* A set within a class: beside the elements, or among them. */
static ap_status add_set(struct translation *t, const struct set *set, struct ap_buffer *elements,
                         struct ap_buffer *beside)
{
    if (set->complement)
        return ap_buffer_printf(beside, t->err, "|[^%s]", set->elements.data);
    return ap_buffer_puts(elements, set->elements.data, t->err);
}

static ap_status read_element(struct translation *t, struct ap_buffer *elements,
                              struct ap_buffer *beside)
{
    struct set set = {0};
    bool is_set = false;
    ap_status status = AP_OK;
    if (peek(t, 0) == '[')
        return refuse(t, "a class within a class");
    if (peek(t, 0) == '&' && peek(t, 1) == '&')
        return refuse(t, "an intersection of classes");
    if (peek(t, 0) == '\\' && peek(t, 1) == 'b') {
        t->at += 2;
        return ap_buffer_puts(elements, "\\x{8}", t->err);
    }
    if (peek(t, 0) == '\\')
        status = read_set(t, &set, true, &is_set);
    if (status == AP_OK && is_set) {
        status = add_set(t, &set, elements, beside);
        if (status == AP_OK && peek(t, 0) == '-' && peek(t, 1) != ']')
            status = refuse(t, "a range that begins with a set");
    } else if (status == AP_OK) {
        status = read_range(t, elements);
    }
    ap_buffer_free(&set.elements);
    return status;
}

static ap_status put_class(struct translation *t, bool complement, const struct ap_buffer *elements,
                           const struct ap_buffer *beside)
{
    const char *in = elements->len ? elements->data : "";
    if (!beside->len)
        return ap_buffer_printf(t->out, t->err, "[%s%s]", complement ? "^" : "", in);
    if (complement) /* any character that is not in it */
        return ap_buffer_printf(t->out, t->err, "(?:(?!%s%s%s%s)(?s:.))", *in ? "[" : "", in,
                                *in ? "]" : "", beside->data + !*in);
    return ap_buffer_printf(t->out, t->err, "(?:%s%s%s%s)", *in ? "[" : "", in, *in ? "]" : "",
                            beside->data + !*in);
}

static ap_status read_class(struct translation *t)
{
    struct ap_buffer elements = {0}, beside = {0};
    ap_status status = AP_OK;
    size_t start = t->at++;
    bool complement = peek(t, 0) == '^';
    t->at += complement;
    for (bool first = true; status == AP_OK && (first || peek(t, 0) != ']'); first = false) {
        if (t->at >= t->n) {
            t->at = start;
            status = refuse(t, "a [ without its ]");
        } else {
            status = read_element(t, &elements, &beside);
        }
    }
    t->at++;
    if (status == AP_OK)
        status = put_class(t, complement, &elements, &beside);
    ap_buffer_free(&elements);
    ap_buffer_free(&beside);
    return status;
}

/* ---- outside of classes ---- */

static ap_status put_boundary(struct translation *t, bool complement)
{
    struct ap_buffer word = {0};
    ap_status status = put_word(&word, false, t->err);
    const char *w = word.data;
    if (status == AP_OK)
        status = ap_buffer_printf(t->out, t->err, "(?:(?<=[%s])(?%c[%s])|(?<![%s])(?%c[%s]))", w,
                                  complement ? '=' : '!', w, w, complement ? '!' : '=', w);
    ap_buffer_free(&word);
    return status;
}

static ap_status read_backslash(struct translation *t)
{
    struct set set = {0};
    bool is_set;
    uint32_t cp;
    char c = peek(t, 1);
    if (c == 'b' || c == 'B' || c == 'A' || c == 'z' || c == 'Z' || (c >= '1' && c <= '9')) {
        if (is_digit(c) && is_digit(peek(t, 2)))
            return refuse(t, "a number of two digits behind a backslash");
        t->at += 2;
        return c == 'b' || c == 'B' ? put_boundary(t, c == 'B')
                                    : ap_buffer_printf(t->out, t->err, "\\%c", c);
    }
    ap_status status = read_set(t, &set, false, &is_set);
    if (status == AP_OK && is_set)
        status = ap_buffer_printf(t->out, t->err, "[%s%s]", set.complement ? "^" : "",
                                  set.elements.data);
    else if (status == AP_OK)
        status = read_escape(t, &cp);
    if (status == AP_OK && !is_set)
        status = ap_buffer_printf(t->out, t->err, "\\x{%X}", cp);
    ap_buffer_free(&set.elements);
    return status;
}

/* (?i), (?i:, (?mi-i:, …: Oniguruma's m is PCRE2's s. (?i) holds to the end of the group around. */
static ap_status read_options(struct translation *t)
{
    size_t i = 2;
    for (; peek(t, i) && strchr("im-", peek(t, i)); i++)
        ;
    if (i == 2 || (peek(t, i) != ':' && peek(t, i) != ')'))
        return refuse(t, "a group of an unknown kind");
    ap_status status = put(t, "(?");
    for (size_t k = 2; k < i && status == AP_OK; k++)
        status = ap_buffer_printf(t->out, t->err, "%c", peek(t, k) == 'm' ? 's' : peek(t, k));
    if (status == AP_OK)
        status = put(t, ":");
    if (peek(t, i) == ')')
        t->closers[t->depth]++;
    else
        t->closers[++t->depth] = 0;
    t->at += i + 1;
    return status;
}

static ap_status read_group(struct translation *t)
{
    static const char *const plain[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    if (t->depth == DEPTH_MAX)
        return refuse(t, "groups over 64 deep");
    if (peek(t, 1) == '*')
        return refuse(t, "(*");
    if (peek(t, 1) != '?') {
        t->closers[++t->depth] = 0;
        t->at++;
        return put(t, "(");
    }
    for (size_t i = 0; i < AP_LEN(plain); i++) {
        size_t n = strlen(plain[i]);
        if (t->n - t->at >= n && !memcmp(t->regex + t->at, plain[i], n)) {
            t->closers[++t->depth] = 0;
            t->at += n;
            return put(t, plain[i]);
        }
    }
    return read_options(t);
}

static ap_status read_group_end(struct translation *t)
{
    ap_status status = AP_OK;
    if (t->depth == 0)
        return refuse(t, "a ) too many");
    for (; t->closers[t->depth] > 0 && status == AP_OK; t->closers[t->depth]--)
        status = put(t, ")");
    t->depth--;
    t->at++;
    return status == AP_OK ? put(t, ")") : status;
}

/* {n}, {n,}, {n,m}, {,m}; any other { is a character. */
static ap_status read_brace(struct translation *t)
{
    size_t i = 1, comma = 0;
    for (; is_digit(peek(t, i)) || (peek(t, i) == ',' && !comma); i++)
        if (peek(t, i) == ',')
            comma = i;
    if (peek(t, i) != '}' || i == 1 || (comma && i == 2)) {
        t->at++;
        return put(t, "\\{");
    }
    if (peek(t, i + 1) == '+' || (peek(t, i + 1) == '?' && !comma))
        return refuse(t, "a sign behind {n}, which PCRE2 reads otherwise");
    ap_status status = put(t, comma == 1 ? "{0" : "{");
    if (status == AP_OK)
        status = ap_buffer_append(t->out, t->regex + t->at + 1, i, t->err);
    t->at += i + 1;
    return status;
}

static ap_status read_one(struct translation *t)
{
    uint32_t cp;
    switch (peek(t, 0)) {
    case '\\':
        return read_backslash(t);
    case '[':
        return read_class(t);
    case '(':
        return read_group(t);
    case ')':
        return read_group_end(t);
    case '{':
        return read_brace(t);
    default: {
        size_t used = ap_utf8_decode(t->regex + t->at, t->n - t->at, &cp);
        t->at += used;
        return ap_buffer_append(t->out, t->regex + t->at - used, used, t->err);
    }
    }
}

ap_status ap_regex_translate(struct ap_buffer *out, const char *regex, size_t n, const char *where,
                             struct ap_error *err)
{
    struct translation t = {.out = out, .regex = regex, .where = where, .n = n, .err = err};
    ap_status status = AP_OK;
    while (t.at < n && status == AP_OK)
        status = read_one(&t);
    if (status == AP_OK && t.depth > 0)
        return refuse(&t, "a ( without its )");
    for (; t.closers[0] > 0 && status == AP_OK; t.closers[0]--)
        status = put(&t, ")");
    return status;
}
