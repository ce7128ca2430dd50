/* The bytes of each fault of the fault server (fault_server.h), made from the right answer. */
#include "fault_server.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HUGE_HEADER_BYTES = 200000, FILLER_BYTES = 1 << 16, HUGE_BODY_FILLERS = 1025 };

static void put(struct fault_reply *r, const char *data, size_t n)
{
    if (ap_buffer_append(&r->bytes, data, n, NULL) != AP_OK)
        abort();
}

static void puts_all(struct fault_reply *r, const char *text)
{
    put(r, text, strlen(text));
}

static void put_filler(struct fault_reply *r, size_t n)
{
    char block[1024];
    memset(block, ' ', sizeof(block)); /* which JSON may have behind it */
    for (size_t left = n, now; left > 0; left -= now) {
        now = left < sizeof(block) ? left : sizeof(block);
        put(r, block, now);
    }
}

/* A reply with a head of its own; length: what Content-Length says. */
static void put_reply(struct fault_reply *r, const char *line, const char *headers,
                      const char *body, size_t length)
{
    if (ap_buffer_printf(&r->bytes, NULL,
                         "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: "
                         "%zu\r\n\r\n",
                         line, headers, length) != AP_OK)
        abort();
    puts_all(r, body);
}

static void put_error(struct fault_reply *r, const char *line, const char *headers,
                      const char *message, const char *code)
{
    char body[512];
    snprintf(body, sizeof(body),
             "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\",\"param\":null,"
             "\"code\":%s}}",
             message, code);
    put_reply(r, line, headers, body, strlen(body));
}

static void put_waiting(struct fault_reply *r, fault_kind kind, const struct fault_config *config)
{
    char header[96] = "Retry-After: 0\r\n";
    if (kind == FAULT_WAIT_SECONDS)
        snprintf(header, sizeof(header), "Retry-After: %d\r\n", config->retry_after);
    else if (kind == FAULT_WAIT_DATE)
        strcpy(header, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n");
    else if (kind == FAULT_WAIT_BAD)
        strcpy(header, "Retry-After: -99999999999999999999 soon\r\n");
    put_error(r, "429 Too Many Requests", header, "Rate limit reached", "\"rate_limit_exceeded\"");
}

/* What has a status of its own; false: it has none. */
static bool put_status(struct fault_reply *r, fault_kind kind, const char *bearer,
                       const struct fault_config *config)
{
    static const char page[] = "<html><body><h1>502 Bad Gateway</h1></body></html>";
    char text[300];
    snprintf(text, sizeof(text), "Incorrect API key provided: %.200s.", bearer);
    switch (kind) {
    case FAULT_WAIT_NOW:
    case FAULT_WAIT_SECONDS:
    case FAULT_WAIT_DATE:
    case FAULT_WAIT_BAD:
        put_waiting(r, kind, config);
        return true;
    case FAULT_E408:
        put_error(r, "408 Request Timeout", "", "too slow", "null");
        return true;
    case FAULT_E409:
        put_error(r, "409 Conflict", "", "in use", "null");
        return true;
    case FAULT_E425:
        put_error(r, "425 Too Early", "", "too early", "null");
        return true;
    case FAULT_E500:
        put_error(r, "500 Internal Server Error", "", "the server had an error", "null");
        return true;
    case FAULT_E502:
        put_reply(r, "502 Bad Gateway", "", page, strlen(page));
        return true;
    case FAULT_E503:
        put_error(r, "503 Service Unavailable", "", "overloaded", "null");
        return true;
    case FAULT_E400:
        put_error(r, "400 Bad Request", "", "max_tokens is too large: 99999", "\"invalid_value\"");
        return true;
    case FAULT_E400_FILTER:
        put_error(r, "400 Bad Request", "", "The prompt triggered the content filter",
                  "\"content_filter\"");
        return true;
    case FAULT_E401_ECHO:
        put_error(r, "401 Unauthorized", "", text, "\"invalid_api_key\"");
        return true;
    case FAULT_E302:
        put_reply(r, "302 Found", "Location: /elsewhere\r\n", "{}", 2);
        return true;
    default:
        return false;
    }
}

/* A whole reply of 200 whose body is no answer; false: the kind is none of these. */
static bool put_nonsense(struct fault_reply *r, fault_kind kind, const char *answer, uint64_t turn)
{
    static const char *const bad[] = {"{\"choices\":[{\"message\":{\"content\":\"a", "not json",
                                      "{\"choices\":[]}}", "[[[[[[[[", "\"text\""};
    static const char *const types[] = {
        "{\"choices\":{\"message\":{\"content\":\"a\"}}}",
        "{\"choices\":[7]}",
        "{\"choices\":[{\"message\":\"a\",\"text\":5}]}",
        "{\"choices\":[{\"message\":{\"content\":[\"a\"]},\"text\":{}}]}",
        "[]",
        "{\"choices\":[null],\"usage\":[]}"};
    const char *body = NULL;
    switch (kind) {
    case FAULT_EMPTY:
        body = "";
        break;
    case FAULT_BAD_JSON:
        body = bad[turn % AP_LEN(bad)];
        break;
    case FAULT_NO_CHOICES:
        body = "{\"object\":\"chat.completion\",\"usage\":{\"total_tokens\":1}}";
        break;
    case FAULT_EMPTY_CHOICES:
        body = "{\"choices\":[],\"usage\":{\"total_tokens\":1}}";
        break;
    case FAULT_NULL_CONTENT:
        body = "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null},"
               "\"text\":null,\"finish_reason\":\"stop\"}]}";
        break;
    case FAULT_WRONG_TYPES:
        body = types[turn % AP_LEN(types)];
        break;
    default:
        break;
    }
    if (body)
        put_reply(r, "200 OK", "", body, strlen(body));
    if (kind == FAULT_BAD_UTF8 || kind == FAULT_NUL) {
        static const char *const bytes[] = {"\xff\xfe", "\xc0\xaf", "\xed\xa0\x80", "\xe2\x82"};
        char *at = NULL, *copy = strdup(answer);
        const char *in = bytes[turn % AP_LEN(bytes)];
        if (copy && ((at = strstr(copy, " k")) || (at = strchr(copy, '"'))))
            memcpy(at + 1, in, strlen(in));
        put_reply(r, "200 OK", "", copy ? copy : "", strlen(answer));
        if (kind == FAULT_NUL && at)
            memset(strstr(r->bytes.data, in), '\0', 1);
        free(copy);
        body = answer;
    }
    return body != NULL;
}

/* The answer behind other framing than Content-Length; false: the kind is none of these. */
static bool put_framed(struct fault_reply *r, fault_kind kind, const char *answer, uint64_t turn)
{
    static const char *const lengths[] = {"5z", "FFFFFFFFFFFFFFFFFF", "-5", ""};
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t n = strlen(answer), half = n / 2;
    switch (kind) {
    case FAULT_CHUNKED:
    case FAULT_CHUNK_CUT:
    case FAULT_CHUNK_BAD:
        puts_all(r, head);
        if (ap_buffer_printf(&r->bytes, NULL, "%zx\r\n%.*s\r\n", half, (int)half, answer) != AP_OK)
            abort();
        if (kind == FAULT_CHUNK_CUT)
            r->after = FAULT_CLOSE;
        if (kind == FAULT_CHUNK_BAD)
            puts_all(r, lengths[turn % AP_LEN(lengths)]);
        else if (ap_buffer_printf(&r->bytes, NULL, "%zx", n - half) != AP_OK)
            abort();
        if (ap_buffer_printf(&r->bytes, NULL, "\r\n%s\r\n%s", answer + half,
                             kind == FAULT_CHUNK_CUT ? "" : "0\r\n\r\n") != AP_OK)
            abort();
        if (kind == FAULT_CHUNK_BAD)
            r->after = FAULT_CLOSE;
        return true;
    case FAULT_HTTP10:
        puts_all(r, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n");
        puts_all(r, answer);
        r->after = FAULT_CLOSE;
        return true;
    case FAULT_CONTINUED:
        puts_all(r, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n");
        put_reply(r, "200 OK", "", answer, n);
        return true;
    case FAULT_GARBAGE:
        put(r, "\x16\x03\x01\0\xff\xfe no http\r\n\r\n{}", 21);
        r->after = FAULT_CLOSE;
        return true;
    case FAULT_LENGTH_BAD:
        if (ap_buffer_printf(&r->bytes, NULL,
                             turn % 2 ? "HTTP/1.1 200 OK\r\nContent-Length: %zux\r\n\r\n%s"
                                      : "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
                                        "Content-Length: %zu\r\n\r\n%s",
                             n, answer) != AP_OK)
            abort();
        r->after = FAULT_CLOSE;
        return true;
    default:
        return false;
    }
}

/* Too much; false: the kind is none of these. */
static bool put_huge(struct fault_reply *r, fault_kind kind, const char *answer)
{
    char header[64];
    switch (kind) {
    case FAULT_HUGE_BODY:
        put_reply(r, "200 OK", "", answer,
                  strlen(answer) + (size_t)FILLER_BYTES * HUGE_BODY_FILLERS);
        break;
    case FAULT_ENDLESS_BODY:
        puts_all(r, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        break;
    case FAULT_ENDLESS_HEADERS:
        puts_all(r, "HTTP/1.1 200 OK\r\n");
        break;
    case FAULT_HUGE_HEADER:
        puts_all(r, "HTTP/1.1 200 OK\r\nX-Filler: ");
        put_filler(r, HUGE_HEADER_BYTES);
        snprintf(header, sizeof(header), "\r\nContent-Length: %zu\r\n\r\n", strlen(answer));
        puts_all(r, header);
        puts_all(r, answer);
        r->after = FAULT_CLOSE;
        return true;
    default:
        return false;
    }
    r->after = FAULT_REPEAT;
    r->again = r->bytes.len;
    r->n_again = kind == FAULT_HUGE_BODY ? HUGE_BODY_FILLERS - 1 : INT64_MAX;
    for (int i = 0; kind == FAULT_ENDLESS_HEADERS && i < 1000; i++)
        puts_all(r, "X-Filler: 0123456789012345678901234567890123456789\r\n");
    if (kind == FAULT_ENDLESS_BODY)
        puts_all(r, "10000\r\n");
    if (kind != FAULT_ENDLESS_HEADERS)
        put_filler(r, FILLER_BYTES);
    if (kind == FAULT_ENDLESS_BODY)
        puts_all(r, "\r\n");
    return true;
}

/* The answer itself, and where it ends too early. */
static void put_answer(struct fault_reply *r, fault_kind kind, const char *answer, uint64_t turn)
{
    static const char other[] =
        "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"another's\"},"
        "\"text\":\"another's\",\"finish_reason\":\"stop\"}]}";
    size_t n = strlen(answer);
    put_reply(r, "200 OK", "", answer, kind == FAULT_LENGTH_SHORT ? n - 1 - turn % (n - 1) : n);
    size_t head = r->bytes.len - n;
    r->n_send = r->bytes.len;
    if (kind == FAULT_SPLICED) {
        put_reply(r, "200 OK", "", other, strlen(other));
        r->n_send = r->bytes.len;
    }
    if (kind == FAULT_LENGTH_SHORT || kind == FAULT_SPLICED)
        r->after = turn % 2 ? FAULT_CLOSE : FAULT_KEEP;
    if (kind == FAULT_RESET_READ || kind == FAULT_STALL)
        r->n_send = 0;
    if (kind == FAULT_RESET_BODY || kind == FAULT_STALL_BODY || kind == FAULT_CUT)
        r->n_send = head + turn % n;
    if (kind == FAULT_CUT_HEAD)
        r->n_send = 1 + turn % (head - 1);
    if (kind == FAULT_RESET_READ || kind == FAULT_RESET_BODY)
        r->after = FAULT_RESET;
    if (kind == FAULT_STALL || kind == FAULT_STALL_BODY)
        r->after = FAULT_HANG;
    if (kind == FAULT_CUT || kind == FAULT_CUT_HEAD || kind == FAULT_CLOSED_AFTER)
        r->after = FAULT_CLOSE;
    if (kind == FAULT_DRIP)
        r->piece = r->bytes.len / 8 + 1;
}

void fault_reply_make(struct fault_reply *out, fault_kind kind, const char *path, const char *body,
                      size_t n, const char *bearer, uint64_t turn,
                      const struct fault_config *config)
{
    *out = (struct fault_reply){.after = FAULT_KEEP};
    char *answer = fault_answer(path, body, n, kind == FAULT_FILTERED);
    if (!answer)
        put_error(out, "400 Bad Request", "", "the fault server cannot read this", "null");
    else if (!put_status(out, kind, bearer, config) && !put_nonsense(out, kind, answer, turn) &&
             !put_framed(out, kind, answer, turn) && !put_huge(out, kind, answer))
        put_answer(out, kind, answer, turn);
    if (out->after != FAULT_RESET && out->after != FAULT_HANG && out->n_send == 0)
        out->n_send = out->bytes.len;
    free(answer);
}
