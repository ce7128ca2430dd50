/* Answers that are there as a whole, and the shape of errors (exchange.h). */
#include "serve/server_inner.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <string.h>

enum { MARK_BYTES_MAX = 4096, PIECE = 16384 };

static void set_response(struct ap_exchange *e, int status, const char *type,
                         struct MHD_Response *response)
{
    if (e->response)
        MHD_destroy_response(e->response);
    e->response = response;
    e->status = status;
    e->speechless = !response;
    if (!response)
        return;
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
}

void ap_reply_static(struct ap_exchange *e, int status, const char *type, const char *text)
{
    /* the library only reads it */
    set_response(e, status, type,
                 MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                 MHD_RESPMEM_PERSISTENT));
}

static const char no_memory[] = "{\"error\": {\"message\": \"no memory\", \"type\": "
                                "\"server_error\", \"param\": null, \"code\": null}}";

void ap_reply(struct ap_exchange *e, int status, const char *type, struct ap_buffer *body)
{
    struct MHD_Response *response =
        body->data
            ? MHD_create_response_from_buffer_with_free_callback(body->len, body->data, ap_free)
            : NULL;
    if (!response) {
        ap_buffer_free(body);
        ap_reply_static(e, 500, AP_TYPE_JSON, no_memory);
        return;
    }
    *body = (struct ap_buffer){0};
    set_response(e, status, type, response);
}

void ap_reply_reader(struct ap_exchange *e, int status, const char *type,
                     MHD_ContentReaderCallback read)
{
    set_response(e, status, type,
                 MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, read, e, NULL));
}

void ap_reply_json(struct ap_exchange *e, int status, json_t *value)
{
    struct ap_buffer body = {0};
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    if (text && ap_buffer_puts(&body, text, NULL) == AP_OK)
        ap_buffer_puts(&body, "\n", NULL);
    free(text);
    json_decref(value);
    ap_reply(e, status, AP_TYPE_JSON, &body);
}

static const char *error_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 429:
        return "rate_limit_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static ap_status put_error(struct ap_buffer *out, int status, const char *code, const char *text)
{
    struct ap_error line;
    ap_fail(&line, AP_OK, "%s", text); /* one line of UTF-8 */
    ap_status status_of = ap_buffer_puts(out, "{\"error\": {\"message\": ", NULL);
    if (status_of == AP_OK)
        status_of = ap_json_put_string(out, line.text, NULL);
    if (status_of == AP_OK)
        status_of = ap_buffer_printf(
            out, NULL, ", \"type\": \"%s\", \"param\": null, \"code\": %s%s%s}}\n",
            error_type(status), code ? "\"" : "", code ? code : "null", code ? "\"" : "");
    return status_of;
}

void ap_reply_error(struct ap_exchange *e, int status, const char *code, const char *fmt, ...)
{
    char text[AP_ERROR_TEXT_MAX];
    struct ap_buffer body = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (put_error(&body, status, code, text) != AP_OK)
        ap_buffer_free(&body);
    ap_reply(e, status, AP_TYPE_JSON, &body);
}

void ap_reply_failed(struct ap_exchange *e, const struct ap_error *err)
{
    int status = err->status == AP_MEMORY ? 500 : err->status == AP_LIMIT ? 413 : 400;
    ap_reply_error(e, status, status == 413 ? "over_limit" : NULL, "%s", err->text);
}

void ap_reply_header(struct ap_exchange *e, const char *name, const char *value)
{
    if (e->response)
        MHD_add_response_header(e->response, name, value);
}

struct undone {
    int status; /* 0: it is done */
    const char *code, *text;
};

/* Whose text it is, of several: "prompt[2]: ". */
static const char *put_place(const struct ap_task *task, char out[32])
{
    const struct ap_answering *a = &task->exchange->answering;
    out[0] = '\0';
    if (task->work.end == AP_WORK_FAILED && a->n_task > (size_t)a->n && task >= a->tasks &&
        task < a->tasks + a->n_task)
        snprintf(out, 32, "prompt[%zu]: ", (size_t)(task - a->tasks) / (size_t)a->n);
    return out;
}

static struct undone why_undone(const struct ap_task *task)
{
    if (!task->taken)
        return atomic_load(&task->exchange->server->closing)
                   ? (struct undone){503, "closing", "the server is closing; ask again"}
                   : (struct undone){503, "queue_full", "too many wait already; ask again later"};
    switch (task->work.end) {
    case AP_WORK_DONE:
        return (struct undone){0};
    case AP_WORK_LATE:
        return (struct undone){504, "over_time", "it was not done within its time"};
    case AP_WORK_FAILED:
        return (struct undone){400, task->work.too_long ? "context_length_exceeded" : "failed",
                               task->work.why};
    default:
        return (struct undone){503, "closing", "the server is closing; ask again"};
    }
}

bool ap_reply_undone(struct ap_exchange *e, const struct ap_task *task)
{
    struct undone why = why_undone(task);
    char place[32];
    if (why.status == 0)
        return false;
    ap_reply_error(e, why.status, why.code, "%s%s", put_place(task, place), why.text);
    if (!task->taken)
        ap_reply_header(e, "Retry-After", "1");
    return true;
}

ap_status ap_reply_put_undone(struct ap_buffer *out, const struct ap_task *task)
{
    struct undone why = why_undone(task);
    char place[32], text[AP_WORK_WHY_MAX + sizeof(place)];
    snprintf(text, sizeof(text), "%s%s", put_place(task, place), why.text);
    return put_error(out, why.status, why.code, text);
}

/* ---- the mark ---- */

static bool is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("-._~", c);
}

/* As much of the text as has room, whole characters, percent-encoded. */
static void percent_encode(const char *text, char *out, size_t room)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = strlen(text), used = 0;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t bytes = ap_utf8_decode(text + at, n - at, &cp);
        if (used + 3 * bytes + 1 > room)
            break;
        for (size_t i = 0; i < bytes; i++, at++) {
            unsigned char c = (unsigned char)text[at];
            if (is_unreserved(c)) {
                out[used++] = (char)c;
                continue;
            }
            out[used++] = '%';
            out[used++] = digits[c >> 4];
            out[used++] = digits[c & 15];
        }
    }
    out[used] = '\0';
}

static const char *last_rewrite(const struct ap_rewriting *r)
{
    for (size_t i = r->rewrites ? r->body.n_text : 0; i > 0; i--)
        if (r->rewrites[i - 1])
            return r->rewrites[i - 1];
    return NULL;
}

void ap_reply_mark(struct ap_exchange *e)
{
    static const char *const marks[] = {
        [AP_MARK_REWRITTEN] = "rewritten", [AP_MARK_PARTLY] = "partly-rewritten",
        [AP_MARK_UNCHANGED] = "unchanged", [AP_MARK_BYPASSED] = "bypassed",
        [AP_MARK_FELL_BACK] = "fell-back",
    };
    char encoded[MARK_BYTES_MAX];
    const char *rewrite = e->rewriting.show ? last_rewrite(&e->rewriting) : NULL;
    if (e->rewriting.mark == AP_MARK_NONE)
        return;
    ap_reply_header(e, "x-alignpro", marks[e->rewriting.mark]);
    if (!rewrite)
        return;
    percent_encode(rewrite, encoded, sizeof(encoded));
    ap_reply_header(e, "x-alignpro-rewrite", encoded);
}
