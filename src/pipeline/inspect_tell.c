/* Telling a report (inspect_tell.h). */
#include "pipeline/inspect_tell.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEMS_SHOWN 12
#define PROBLEM_LINES 12

static void keep(struct ap_tell *t, ap_status status)
{
    if (t->status == AP_OK)
        t->status = status;
}

void ap_tell_begin(struct ap_tell *t, const char *path, const char *kind, const char *shown,
                   struct ap_error *err)
{
    *t = (struct ap_tell){.path = path, .err = err, .o = json_object()};
    ap_tell_text(t, "kind", kind);
    ap_tell_text(t, "path", path);
    ap_tell_set(t, "problems", json_array());
    ap_tell_set(t, "unsupported", json_array());
    ap_tell_cell(t, path, strlen(path), AP_INSPECT_COLUMNS);
    ap_tell_raw(t, "\n");
    ap_tell_line(t, "kind", "%s", shown);
}

static void write_json(struct ap_tell *t, struct ap_buffer *out)
{
    char *text = json_dumps(t->o, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
    keep(t, text ? ap_buffer_printf(out, t->err, "%s\n", text)
                 : ap_fail(t->err, AP_MEMORY, "%s: no memory for its report", t->path));
    free(text);
}

ap_status ap_tell_end(struct ap_tell *t, bool json, struct ap_buffer *out)
{
    if (t->n_problem > PROBLEMS_SHOWN)
        ap_tell_line(t, "", "and %d more", t->n_problem - PROBLEMS_SHOWN);
    ap_tell_count(t, "n_problems", (uint64_t)t->n_problem);
    if (t->status == AP_OK && json)
        write_json(t, out);
    else if (t->status == AP_OK)
        keep(t, ap_buffer_append(out, t->text.data, t->text.len, t->err));
    if (t->status == AP_OK && t->n_problem)
        keep(t, ap_fail(t->err, AP_FORMAT, "%s%s", t->first.text,
                        t->n_problem > 1 ? " (the first of several problems)" : ""));
    ap_buffer_free(&t->text);
    json_decref(t->o);
    return t->status;
}

/* ---- text ---- */

void ap_tell_bytes(struct ap_tell *t, const char *label, const char *text, size_t n, int lines)
{
    if (t->status == AP_OK)
        keep(t, ap_inspect_put(&t->text, 2, label, text, n, lines, t->err));
}

void ap_tell_line(struct ap_tell *t, const char *label, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    ap_tell_bytes(t, label, text, strlen(text), 8);
}

void ap_tell_raw(struct ap_tell *t, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (t->status == AP_OK)
        keep(t, ap_buffer_puts(&t->text, text, t->err));
}

void ap_tell_cell(struct ap_tell *t, const char *text, size_t n, int columns)
{
    if (t->status == AP_OK)
        keep(t, ap_inspect_put_cell(&t->text, text, n, columns, t->err));
}

/* ---- JSON ---- */

void ap_tell_set(struct ap_tell *t, const char *key, json_t *value)
{
    if (!t->o || !value || json_object_set_new(t->o, key, value) != 0)
        keep(t, ap_fail(t->err, AP_MEMORY, "%s: no memory for its report", t->path));
}

void ap_tell_text(struct ap_tell *t, const char *key, const char *text)
{
    ap_tell_set(t, key, text ? ap_inspect_string(text, strlen(text), SIZE_MAX) : json_null());
}

void ap_tell_count(struct ap_tell *t, const char *key, uint64_t n)
{
    ap_tell_set(t, key, json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n));
}

/* ---- problems ---- */

void ap_tell_problem(struct ap_tell *t, const struct ap_error *e)
{
    bool unsupported = e->status == AP_UNSUPPORTED;
    json_t *list = json_object_get(t->o, unsupported ? "unsupported" : "problems");
    if (e->status == AP_MEMORY) {
        keep(t, ap_fail(t->err, AP_MEMORY, "%s", e->text));
        return;
    }
    if (!unsupported && t->n_problem++ == 0)
        t->first = *e;
    if (json_array_size(list) >= PROBLEMS_SHOWN)
        return;
    json_array_append_new(list, ap_inspect_string(e->text, strlen(e->text), SIZE_MAX));
    ap_tell_bytes(t, unsupported ? "unsupported" : "PROBLEM", e->text, strlen(e->text),
                  PROBLEM_LINES);
}

bool ap_tell_fine(struct ap_tell *t, ap_status status, const struct ap_error *e)
{
    if (status != AP_OK)
        ap_tell_problem(t, e);
    return status == AP_OK;
}
