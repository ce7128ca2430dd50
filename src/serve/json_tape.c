/* JSON as a tape of places (json_tape.h). */
#include "serve/json_tape.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

struct reader {
    struct ap_tape *tape;
    const struct ap_tape_limits *limits;
    const char *text;
    size_t at, n;
    struct ap_error *err;
};

static ap_status wrong(const struct reader *r, const char *expected)
{
    if (r->at >= r->n)
        return ap_fail(r->err, AP_FORMAT, "the body is cut: it ends where %s is expected",
                       expected);
    return ap_fail(r->err, AP_FORMAT, "the body is not JSON: byte %zu is 0x%02x, expected %s",
                   r->at, (unsigned char)r->text[r->at], expected);
}

static bool at_byte(const struct reader *r, char c)
{
    return r->at < r->n && r->text[r->at] == c;
}

static void skip_space(struct reader *r)
{
    while (r->at < r->n && (r->text[r->at] == ' ' || r->text[r->at] == '\n' ||
                            r->text[r->at] == '\r' || r->text[r->at] == '\t'))
        r->at++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind a backslash. */
static ap_status skip_escape(struct reader *r)
{
    if (r->at >= r->n || !memchr("\"\\/bfnrtu", r->text[r->at], 9))
        return wrong(r, "an escape");
    if (r->text[r->at++] != 'u')
        return AP_OK;
    for (int i = 0; i < 4; i++, r->at++)
        if (r->at >= r->n || hex_digit(r->text[r->at]) < 0)
            return wrong(r, "a hex digit");
    return AP_OK;
}

static ap_status read_string(struct reader *r, uint32_t *start, uint32_t *end, bool *escaped)
{
    ap_status status = AP_OK;
    *start = (uint32_t)r->at;
    *escaped = false;
    if (!at_byte(r, '"'))
        return wrong(r, "a string");
    for (r->at++; status == AP_OK && !at_byte(r, '"');) {
        if (r->at >= r->n || (unsigned char)r->text[r->at] < 0x20)
            return wrong(r, "the rest of a string");
        if (r->text[r->at++] == '\\') {
            *escaped = true;
            status = skip_escape(r);
        }
    }
    if (status != AP_OK)
        return status;
    *end = (uint32_t)++r->at;
    if (*end - *start > r->limits->string)
        return ap_fail(r->err, AP_LIMIT,
                       "the body: the string at byte %u has %u bytes, at most %zu are taken",
                       *start, *end - *start, r->limits->string);
    return AP_OK;
}

static size_t skip_digits(struct reader *r)
{
    size_t from = r->at;
    while (r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9')
        r->at++;
    return r->at - from;
}

static ap_status read_number(struct reader *r)
{
    r->at += at_byte(r, '-');
    if (at_byte(r, '0'))
        r->at++;
    else if (skip_digits(r) == 0)
        return wrong(r, "a value");
    if (at_byte(r, '.')) {
        r->at++;
        if (skip_digits(r) == 0)
            return wrong(r, "a digit");
    }
    if (at_byte(r, 'e') || at_byte(r, 'E')) {
        r->at++;
        r->at += at_byte(r, '-') || at_byte(r, '+');
        if (skip_digits(r) == 0)
            return wrong(r, "a digit");
    }
    return AP_OK;
}

static ap_status read_word(struct reader *r, const char *word)
{
    for (const char *c = word; *c; c++, r->at++)
        if (!at_byte(r, *c))
            return wrong(r, word);
    return AP_OK;
}

static ap_status read_scalar(struct reader *r, struct ap_tape_node *node)
{
    char c = r->at < r->n ? r->text[r->at] : '\0';
    node->start = (uint32_t)r->at;
    node->kind = c == 't'   ? AP_TAPE_TRUE
                 : c == 'f' ? AP_TAPE_FALSE
                 : c == 'n' ? AP_TAPE_NULL
                            : AP_TAPE_NUMBER;
    ap_status status = node->kind == AP_TAPE_NUMBER  ? read_number(r)
                       : node->kind == AP_TAPE_TRUE  ? read_word(r, "true")
                       : node->kind == AP_TAPE_FALSE ? read_word(r, "false")
                                                     : read_word(r, "null");
    node->end = (uint32_t)r->at;
    return status;
}

/* A node at the tape's end, and its place. */
static ap_status push(struct reader *r, const struct ap_tape_node *node, uint32_t *index)
{
    struct ap_tape *t = r->tape;
    if (t->n_node >= r->limits->fields)
        return ap_fail(r->err, AP_LIMIT, "the body has more than %zu fields, and no more are taken",
                       r->limits->fields);
    if (t->n_node == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 32;
        struct ap_tape_node *grown = ap_realloc(t->nodes, t->cap, cap, sizeof(*grown));
        if (!grown)
            return ap_fail(r->err, AP_MEMORY, "no memory for the body's fields");
        t->nodes = grown;
        t->cap = cap;
    }
    *index = (uint32_t)t->n_node;
    t->nodes[t->n_node++] = *node;
    return AP_OK;
}

static ap_status read_value(struct reader *r, struct ap_tape_node *node, int depth, bool keep,
                            uint32_t *index);

static ap_status read_key(struct reader *r, struct ap_tape_node *node)
{
    ap_status status = read_string(r, &node->key_start, &node->key_end, &node->key_escaped);
    if (status != AP_OK)
        return status;
    skip_space(r);
    if (!at_byte(r, ':'))
        return wrong(r, "':'");
    r->at++;
    skip_space(r);
    return AP_OK;
}

/* What stands between the brackets; `self` is the node's own place. */
static ap_status read_children(struct reader *r, uint32_t self, bool keyed, int depth)
{
    char close = keyed ? '}' : ']';
    uint32_t last = 0, n = 0;
    ap_status status;
    r->at++;
    skip_space(r);
    while (!at_byte(r, close)) {
        struct ap_tape_node child = {0};
        uint32_t index = 0;
        if (n > 0 && !at_byte(r, ','))
            return wrong(r, keyed ? "',' or '}'" : "',' or ']'");
        r->at += n > 0;
        skip_space(r);
        if (keyed && (status = read_key(r, &child)) != AP_OK)
            return status;
        if ((status = read_value(r, &child, depth, keyed, &index)) != AP_OK)
            return status;
        if (index && last)
            r->tape->nodes[last].next = index;
        else if (index)
            r->tape->nodes[self].first = index;
        last = index ? index : last;
        n++;
        skip_space(r);
    }
    r->tape->nodes[self].n_child = n;
    r->tape->nodes[self].end = (uint32_t)++r->at;
    return AP_OK;
}

/* keep: a scalar gets a node, too. *index stays 0 where there is none. */
static ap_status read_value(struct reader *r, struct ap_tape_node *node, int depth, bool keep,
                            uint32_t *index)
{
    ap_status status;
    bool object = at_byte(r, '{');
    if (object || at_byte(r, '[')) {
        if (depth >= r->limits->depth)
            return ap_fail(r->err, AP_LIMIT,
                           "the body is nested deeper than %d, and no deeper is taken",
                           r->limits->depth);
        node->start = (uint32_t)r->at;
        node->kind = object ? AP_TAPE_OBJECT : AP_TAPE_ARRAY;
        status = push(r, node, index);
        return status == AP_OK ? read_children(r, *index, object, depth + 1) : status;
    }
    if (at_byte(r, '"')) {
        node->kind = AP_TAPE_STRING;
        status = read_string(r, &node->start, &node->end, &node->escaped);
        return status == AP_OK ? push(r, node, index) : status;
    }
    status = read_scalar(r, node);
    return status == AP_OK && keep ? push(r, node, index) : status;
}

ap_status ap_tape_read(struct ap_tape *t, const char *text, size_t n,
                       const struct ap_tape_limits *limits, struct ap_error *err)
{
    struct reader r = {t, limits, text, 0, n, err};
    struct ap_tape_node root = {0};
    uint32_t index = 0;
    *t = (struct ap_tape){.text = text, .n = n};
    if (n > INT32_MAX)
        return ap_fail(err, AP_LIMIT, "the body has %zu bytes, at most %d are taken", n, INT32_MAX);
    if (!ap_utf8_valid(text, n))
        return ap_fail(err, AP_FORMAT, "the body is not UTF-8");
    skip_space(&r);
    ap_status status = read_value(&r, &root, 0, true, &index);
    skip_space(&r);
    if (status == AP_OK && r.at != n)
        status = wrong(&r, "the end");
    if (status != AP_OK)
        ap_tape_free(t);
    return status;
}

void ap_tape_free(struct ap_tape *t)
{
    ap_free(t->nodes);
    *t = (struct ap_tape){0};
}

static uint32_t read_hex4(const char *s)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)hex_digit(s[i]);
    return value;
}

/* The character of the escape at s, behind its backslash; *n gets its bytes there. 0 for a NUL and
 * for half a pair. */
static uint32_t escaped_char(const char *s, const char *end, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    *n = 1;
    if (*s != 'u')
        return (unsigned char)to[strchr(from, *s) - from];
    uint32_t c = read_hex4(s + 1);
    *n = 5;
    if (c < 0xD800 || c > 0xDFFF)
        return c;
    if (c > 0xDBFF || end - s < 11 || s[5] != '\\' || s[6] != 'u')
        return 0;
    uint32_t low = read_hex4(s + 7);
    *n = 11;
    return low < 0xDC00 || low > 0xDFFF ? 0 : 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
}

/* The string at start … end, quotes and all, into out, which has as many bytes. */
static bool unescape(const char *text, uint32_t start, uint32_t end, char *out)
{
    const char *s = text + start + 1, *last = text + end - 1;
    while (s < last) {
        const char *backslash = memchr(s, '\\', (size_t)(last - s));
        size_t plain = (size_t)((backslash ? backslash : last) - s), n;
        memcpy(out, s, plain);
        out += plain;
        s += plain;
        if (!backslash)
            break;
        uint32_t c = escaped_char(s + 1, last, &n);
        if (c == 0)
            return false;
        out += ap_utf8_encode(c, out);
        s += 1 + n;
    }
    *out = '\0';
    return true;
}

ap_status ap_tape_text(const struct ap_tape *t, uint32_t node, char **text, struct ap_error *err)
{
    const struct ap_tape_node *v = &t->nodes[node];
    char *out = ap_calloc(v->end - v->start, 1);
    *text = NULL;
    if (!out)
        return ap_fail(err, AP_MEMORY, "no memory for a text of the body");
    if (!unescape(t->text, v->start, v->end, out)) {
        ap_free(out);
        return ap_fail(err, AP_FORMAT,
                       "the body: the string at byte %u holds a NUL or half a surrogate pair, "
                       "expected text",
                       v->start);
    }
    *text = out;
    return AP_OK;
}

/* Whether the string there reads as `text`. A NUL or half a pair is in none of ours. */
static bool reads_as(const struct ap_tape *t, uint32_t start, uint32_t end, bool escaped,
                     const char *text)
{
    char plain[256];
    size_t n = strlen(text);
    if (!escaped)
        return end - start == n + 2 && memcmp(t->text + start + 1, text, n) == 0;
    return end - start <= sizeof(plain) && unescape(t->text, start, end, plain) &&
           strcmp(plain, text) == 0;
}

bool ap_tape_is(const struct ap_tape *t, uint32_t node, const char *text)
{
    const struct ap_tape_node *v = &t->nodes[node];
    return v->kind == AP_TAPE_STRING && reads_as(t, v->start, v->end, v->escaped, text);
}

ap_status ap_tape_find(const struct ap_tape *t, uint32_t object, const char *key, uint32_t *node,
                       struct ap_error *err)
{
    *node = 0;
    if (t->nodes[object].kind != AP_TAPE_OBJECT)
        return AP_OK;
    for (uint32_t i = t->nodes[object].first; i; i = t->nodes[i].next) {
        const struct ap_tape_node *v = &t->nodes[i];
        if (!reads_as(t, v->key_start, v->key_end, v->key_escaped, key))
            continue;
        if (*node)
            return ap_fail(err, AP_FORMAT, "the body has \"%s\" twice in one object, expected once",
                           key);
        *node = i;
    }
    return AP_OK;
}
