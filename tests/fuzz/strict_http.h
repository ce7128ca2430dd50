/* A second reading of HTTP/1.1 messages (RFC 9112), for fuzz entries that hold the first one
 * against it. It takes only what no two readers can read differently, and says of the rest whether
 * somebody may take it all the same. Nothing here knows libmicrohttpd, libcurl or our own code. */
#ifndef AP_TESTS_STRICT_HTTP_H
#define AP_TESTS_STRICT_HTTP_H

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STRICT_FIELDS = 128, STRICT_LENGTH_DIGITS = 15, STRICT_CHUNK_DIGITS = 8 };

typedef enum strict_end {
    STRICT_WHOLE,
    STRICT_SHORT, /* so far it is one, and more has to come */
    STRICT_ODD,   /* not as it is written, but a reader may let it pass */
    STRICT_WRONG, /* nobody may take it */
} strict_end;

struct strict_text {
    const char *at;
    size_t n;
};

struct strict_field {
    struct strict_text name, value; /* value without white space around it */
};

struct strict_message {
    struct strict_text start; /* the first line; borrowed, as all texts but the body */
    struct strict_field fields[STRICT_FIELDS];
    size_t n_field;
    int version; /* 11 or 10 */
    int status;  /* of a reply */
    char *body;  /* without the frames of chunks; owned */
    size_t n_body;
    bool closes; /* nothing comes behind it */
};

static inline void strict_free(struct strict_message *m)
{
    free(m->body);
    *m = (struct strict_message){0};
}

static inline bool strict_is(struct strict_text text, const char *word)
{
    return text.n == strlen(word) && strncasecmp(text.at, word, text.n) == 0;
}

/* How often it is there; *value: of the last one. */
static inline int strict_count(const struct strict_message *m, const char *name,
                               struct strict_text *value)
{
    int count = 0;
    for (size_t i = 0; i < m->n_field; i++)
        if (strict_is(m->fields[i].name, name)) {
            *value = m->fields[i].value;
            count++;
        }
    return count;
}

static inline struct strict_text strict_take(struct strict_text *rest, size_t n)
{
    struct strict_text taken = {rest->at, n};
    rest->at += n;
    rest->n -= n;
    return taken;
}

static inline bool strict_has_control(struct strict_text text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

/* A line without its end; a single LF may end one (RFC 9112, 2.2), a single CR may not. What is
 * behind a NUL is not there for a reader in C. */
static inline strict_end strict_line(struct strict_text *rest, struct strict_text *line)
{
    const char *end = rest->n ? memchr(rest->at, '\n', rest->n) : NULL;
    size_t n = end ? (size_t)(end - rest->at) : rest->n;
    bool cr = n > 0 && rest->at[n - 1] == '\r';
    *line = strict_take(rest, n + (end != NULL));
    line->n = n - cr;
    if (line->n > 0 && memchr(line->at, '\0', line->n))
        return STRICT_ODD;
    if (strict_has_control(*line))
        return STRICT_WRONG;
    return !end ? STRICT_SHORT : cr ? STRICT_WHOLE : STRICT_ODD;
}

static inline bool strict_is_token(char c)
{
    return c && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                       "!#$%&'*+-.^_`|~",
                       c);
}

static inline bool strict_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline struct strict_text strict_trim(struct strict_text text)
{
    while (text.n > 0 && strict_is_blank(text.at[0]))
        strict_take(&text, 1);
    while (text.n > 0 && strict_is_blank(text.at[text.n - 1]))
        text.n--;
    return text;
}

static inline strict_end strict_read_field(struct strict_text line, struct strict_field *out)
{
    size_t n = 0;
    while (n < line.n && strict_is_token(line.at[n]))
        n++;
    if (n == 0 || n == line.n || line.at[n] != ':')
        return STRICT_WRONG;
    out->name = strict_take(&line, n);
    strict_take(&line, 1);
    out->value = strict_trim(line);
    return STRICT_WHOLE;
}

/* Lines down to the empty one. */
static inline strict_end strict_read_fields(struct strict_text *rest, struct strict_message *m)
{
    for (;;) {
        struct strict_text line;
        strict_end end = strict_line(rest, &line);
        if (end != STRICT_WHOLE || line.n == 0)
            return end;
        if (m->n_field == STRICT_FIELDS)
            return STRICT_ODD;
        if ((end = strict_read_field(line, &m->fields[m->n_field])) != STRICT_WHOLE)
            return end;
        m->n_field++;
    }
}

/* ---- bodies ---- */

static inline void strict_append(struct strict_message *m, struct strict_text text)
{
    char *grown = realloc(m->body, m->n_body + text.n + 1);
    if (!grown)
        abort();
    memcpy(grown + m->n_body, text.at, text.n);
    m->body = grown;
    m->n_body += text.n;
    m->body[m->n_body] = '\0';
}

/* So many bytes, into the body. */
static inline strict_end strict_read_bytes(struct strict_text *rest, size_t n,
                                           struct strict_message *m)
{
    size_t there = n < rest->n ? n : rest->n;
    strict_append(m, strict_take(rest, there));
    return there == n ? STRICT_WHOLE : STRICT_SHORT;
}

static inline strict_end strict_read_number(struct strict_text text, int base, size_t most,
                                            size_t *out)
{
    char digits[32] = "", *end;
    const char *these = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";
    if (text.n == 0 || text.n >= sizeof(digits))
        return text.n ? STRICT_ODD : STRICT_WRONG;
    memcpy(digits, text.at, text.n);
    if (strspn(digits, these) != text.n)
        return STRICT_WRONG;
    *out = strtoull(digits, &end, base);
    return text.n > most ? STRICT_ODD : STRICT_WHOLE;
}

static inline strict_end strict_read_chunk_line(struct strict_text line, size_t *size)
{
    const char *semicolon = line.n ? memchr(line.at, ';', line.n) : NULL;
    if (semicolon)
        line.n = (size_t)(semicolon - line.at);
    while (line.n > 0 && strict_is_blank(line.at[line.n - 1]))
        line.n--;
    return strict_read_number(line, 16, STRICT_CHUNK_DIGITS, size);
}

/* Who asked may pass over what stands behind the number. */
static inline strict_end strict_read_chunk_size(struct strict_text *rest,
                                                const struct strict_message *m, size_t *size)
{
    struct strict_text line;
    strict_end end = strict_line(rest, &line);
    if (end == STRICT_WHOLE)
        end = strict_read_chunk_line(line, size);
    if (end == STRICT_WRONG && m->status > 0 && line.n > 0 && isxdigit((unsigned char)line.at[0]))
        end = STRICT_ODD;
    return end;
}

/* The end of the line behind a chunk. Who asked may pass over a CR too many. */
static inline strict_end strict_read_chunk_end(struct strict_text *rest,
                                               const struct strict_message *m)
{
    struct strict_text line;
    strict_end end = strict_line(rest, &line);
    size_t n = 0;
    while (n < line.n && line.at[n] == '\r')
        n++;
    if (n < line.n)
        return STRICT_WRONG;
    return end == STRICT_WRONG && m->status > 0 ? STRICT_ODD : end;
}

static inline strict_end strict_read_chunks(struct strict_text *rest, struct strict_message *m)
{
    struct strict_message trailer = {0};
    for (;;) {
        size_t size = 0;
        strict_end end = strict_read_chunk_size(rest, m, &size);
        if (end != STRICT_WHOLE)
            return end;
        if (size == 0) {
            end = strict_read_fields(rest, &trailer);
            return end == STRICT_WRONG ? STRICT_ODD : end; /* trailers are nobody's to read */
        }
        if ((end = strict_read_bytes(rest, size, m)) == STRICT_WHOLE)
            end = strict_read_chunk_end(rest, m);
        if (end != STRICT_WHOLE)
            return end;
    }
}

/* Whether the word is one of a list with commas (RFC 9110, 5.6.1). */
static inline bool strict_lists(struct strict_text list, const char *word)
{
    while (list.n > 0) {
        const char *comma = memchr(list.at, ',', list.n);
        struct strict_text one = strict_take(&list, comma ? (size_t)(comma - list.at) : list.n);
        strict_take(&list, comma != NULL);
        if (strict_is(strict_trim(one), word))
            return true;
    }
    return false;
}

/* How the connection goes on. */
static inline void strict_read_connection(struct strict_message *m)
{
    bool kept = m->version == 11, closed = false;
    for (size_t i = 0; i < m->n_field; i++) {
        if (!strict_is(m->fields[i].name, "Connection"))
            continue;
        kept = kept || strict_lists(m->fields[i].value, "keep-alive");
        closed = closed || strict_lists(m->fields[i].value, "close");
    }
    m->closes = closed || !kept;
}

static inline bool strict_lengths_differ(const struct strict_message *m)
{
    struct strict_text last = {0};
    strict_count(m, "Content-Length", &last);
    for (size_t i = 0; i < m->n_field; i++)
        if (strict_is(m->fields[i].name, "Content-Length") &&
            (m->fields[i].value.n != last.n || memcmp(m->fields[i].value.at, last.at, last.n) != 0))
            return true;
    return false;
}

/* *chunked and *length (−1: not said) of a body. What a request must not say is odd in a reply
 * (RFC 9112, 6.3), but for lengths that differ or are none. */
static inline strict_end strict_read_framing(const struct strict_message *m, bool *chunked,
                                             long long *length)
{
    struct strict_text encoding = {0}, digits = {0};
    int n_encoding = strict_count(m, "Transfer-Encoding", &encoding);
    int n_length = strict_count(m, "Content-Length", &digits);
    strict_end odd = m->status > 0 ? STRICT_ODD : STRICT_WRONG;
    size_t n = 0;
    *chunked = n_encoding > 0;
    if (n_encoding > 1 || (n_encoding && n_length) || (*chunked && m->version == 10) ||
        (*chunked && !strict_is(encoding, "chunked")))
        return odd;
    strict_end end =
        n_length ? strict_read_number(digits, 10, STRICT_LENGTH_DIGITS, &n) : STRICT_WHOLE;
    *length = n_length ? (long long)n : -1;
    if (n_length > 1)
        return strict_lengths_differ(m) ? STRICT_WRONG : odd;
    return end;
}

/* ---- requests ---- */

/* METHOD SP TARGET SP HTTP/1.x */
static inline strict_end strict_read_request_line(struct strict_message *m)
{
    struct strict_text rest = m->start, method = {rest.at, 0};
    while (method.n < rest.n && strict_is_token(rest.at[method.n]))
        method.n++;
    const char *last = rest.n ? memrchr(rest.at, ' ', rest.n) : NULL;
    if (method.n == 0 || method.n == rest.n || rest.at[method.n] != ' ' ||
        last <= rest.at + method.n + 1)
        return STRICT_ODD;
    struct strict_text version = {last + 1, (size_t)(rest.at + rest.n - last - 1)};
    for (const char *c = rest.at + method.n + 1; c < last; c++)
        if (strict_is_blank(*c))
            return STRICT_ODD;
    m->version = memcmp(version.at, "HTTP/1.0", version.n < 8 ? version.n : 8) == 0 ? 10 : 11;
    if (version.n != 8 || (m->version == 11 && memcmp(version.at, "HTTP/1.1", 8) != 0))
        return STRICT_ODD;
    m->start = (struct strict_text){rest.at, (size_t)(last - rest.at)};
    return STRICT_WHOLE;
}

static inline strict_end strict_read_request_body(struct strict_text *rest,
                                                  struct strict_message *m)
{
    struct strict_text host;
    long long length = 0;
    bool chunked;
    strict_end end = strict_read_framing(m, &chunked, &length);
    int n_host = strict_count(m, "Host", &host);
    if (n_host > 1 || (n_host == 0 && m->version == 11))
        return STRICT_WRONG;
    if (end != STRICT_WHOLE)
        return end;
    strict_append(m, strict_take(rest, 0));
    return chunked ? strict_read_chunks(rest, m)
                   : strict_read_bytes(rest, length > 0 ? (size_t)length : 0, m);
}

/* The next request, off *rest. m->start is then "METHOD TARGET". m is to be freed, whatever comes
 * back. */
static inline strict_end strict_request(struct strict_text *rest, struct strict_message *m)
{
    *m = (struct strict_message){0};
    while (rest->n >= 2 && memcmp(rest->at, "\r\n", 2) == 0)
        strict_take(rest, 2);
    strict_end end = strict_line(rest, &m->start);
    if (end == STRICT_WRONG) /* who reads no more than the path may let that pass */
        return STRICT_ODD;
    if (end == STRICT_WHOLE)
        end = strict_read_request_line(m);
    if (end == STRICT_WHOLE)
        end = strict_read_fields(rest, m);
    if (end != STRICT_WHOLE)
        return end;
    strict_read_connection(m);
    return strict_read_request_body(rest, m);
}

static inline bool strict_method_is(const struct strict_message *m, const char *method)
{
    size_t n = strlen(method);
    return m->start.n > n && memcmp(m->start.at, method, n) == 0 && m->start.at[n] == ' ';
}

/* ---- replies ---- */

/* HTTP/1.x SP 3DIGIT SP … */
static inline strict_end strict_read_status_line(struct strict_message *m)
{
    const char *c = m->start.at;
    if (m->start.n < 13 || memcmp(c, "HTTP/1.", 7) != 0 || (c[7] != '0' && c[7] != '1') ||
        c[8] != ' ' || c[12] != ' ')
        return STRICT_ODD;
    for (int i = 9; i < 12; i++) {
        if (c[i] < '0' || c[i] > '9')
            return STRICT_ODD;
        m->status = 10 * m->status + c[i] - '0';
    }
    m->version = c[7] == '1' ? 11 : 10;
    return m->status >= 100 ? STRICT_WHOLE : STRICT_ODD;
}

/* Without a length it ends with the connection, which *rest does. */
static inline strict_end strict_read_reply_body(struct strict_text *rest, bool to_head,
                                                struct strict_message *m)
{
    long long length;
    bool chunked;
    strict_append(m, strict_take(rest, 0));
    if (to_head || m->status < 200 || m->status == 204 || m->status == 304)
        return STRICT_WHOLE;
    strict_end end = strict_read_framing(m, &chunked, &length);
    if (end != STRICT_WHOLE)
        return end;
    if (chunked)
        return strict_read_chunks(rest, m);
    m->closes = m->closes || length < 0;
    return strict_read_bytes(rest, length < 0 ? rest->n : (size_t)length, m);
}

/* The next reply, off *rest, be it of 1xx. to_head: it answers HEAD. A head that is wrong is odd:
 * nobody but who asked is there to be deceived. */
static inline strict_end strict_reply(struct strict_text *rest, bool to_head,
                                      struct strict_message *m)
{
    *m = (struct strict_message){0};
    strict_end end = strict_line(rest, &m->start);
    if (end == STRICT_WHOLE)
        end = strict_read_status_line(m);
    if (end == STRICT_WHOLE)
        end = strict_read_fields(rest, m);
    if (end != STRICT_WHOLE)
        return end == STRICT_WRONG ? STRICT_ODD : end;
    strict_read_connection(m);
    return strict_read_reply_body(rest, to_head, m);
}

/* The same, of the last one behind replies of 1xx, none of which may change the protocol. */
static inline strict_end strict_final_reply(struct strict_text *rest, bool to_head,
                                            struct strict_message *m)
{
    strict_end end = strict_reply(rest, to_head, m);
    while (end == STRICT_WHOLE && m->status < 200) {
        if (m->status == 101)
            return STRICT_ODD;
        strict_free(m);
        end = strict_reply(rest, to_head, m);
    }
    return end;
}

#endif
