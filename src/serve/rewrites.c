/* The texts of a body, given to the prompter, and on to the upstream or the target. Whatever goes
 * wrong with a rewrite, x itself goes on. */
#include "serve/server_inner.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>
#include <strings.h>

enum { TEXTS_MAX = 64 }; /* of one request that are rewritten: the last ones */

/* ---- what the request asks for ---- */

/* The header x-alignpro; false: it is none that is known, and the reply says so. */
static bool read_mark_header(struct ap_exchange *e)
{
    struct ap_rewriting *r = &e->rewriting;
    const char *value = ap_exchange_header(e, "x-alignpro");
    if (!value)
        return true;
    bool off = strcasecmp(value, "off") == 0, show = strcasecmp(value, "show") == 0;
    r->off = r->off || off;
    r->show = r->show || show;
    if (!off && !show)
        ap_reply_error(e, 400, NULL, "the header x-alignpro is '%.60s', expected off or show",
                       value);
    return off || show;
}

static bool read_body(struct ap_exchange *e)
{
    const struct ap_server_options *o = &e->server->options;
    struct ap_rewriting *r = &e->rewriting;
    struct ap_error err;
    if (ap_chat_body_read(&r->body, r->kind, o->rewrite, e->body.data ? e->body.data : "",
                          e->body.len, &o->json, &err) != AP_OK) {
        ap_reply_failed(e, &err);
        return false;
    }
    r->off = r->body.off;
    r->show = r->body.show;
    return read_mark_header(e);
}

/* ---- after the prompter ---- */

static void go_on(struct ap_exchange *e)
{
    if (e->server->upstream)
        ap_forward_body(e);
    else
        ap_answering_begin(e);
}

static ap_text_fate fate_of(const struct ap_rewriting *r, size_t i)
{
    if (i < r->n_over)
        return AP_TEXT_OVER_LIMIT;
    const struct ap_task *task = &r->tasks[i - r->n_over];
    if (!task->taken)
        return AP_TEXT_QUEUE_FULL;
    switch (task->work.end) {
    case AP_WORK_DONE:
        return task->work.guard && task->work.guard[0] ? AP_TEXT_GUARDED : AP_TEXT_REWRITTEN;
    case AP_WORK_LATE:
        return AP_TEXT_LATE;
    case AP_WORK_FAILED:
        return AP_TEXT_FAILED;
    default:
        return AP_TEXT_DROPPED;
    }
}

static void log_text(struct ap_exchange *e, const struct ap_task *task, ap_text_fate fate)
{
    const struct ap_work *w = &task->work;
    if (e->server->options.log_prompts)
        ap_server_note(e->server, "x: %s | y: %s | %s%s%s", w->messages[w->n_message - 1].content,
                       w->text ? w->text : "-",
                       fate == AP_TEXT_REWRITTEN ? "rewritten" : "as it is", w->why[0] ? ": " : "",
                       w->why);
}

static void step_rewritten(struct ap_exchange *e)
{
    struct ap_rewriting *r = &e->rewriting;
    r->mark = AP_MARK_UNCHANGED;
    bool fell_back = false;
    for (size_t i = 0; i < r->body.n_text; i++) {
        ap_text_fate fate = fate_of(r, i);
        atomic_fetch_add(&e->server->metrics.texts[fate], 1);
        fell_back = fell_back || fate >= AP_TEXT_LATE;
        if (fate == AP_TEXT_OVER_LIMIT)
            continue;
        struct ap_task *task = &r->tasks[i - r->n_over];
        log_text(e, task, fate);
        if (fate != AP_TEXT_REWRITTEN)
            continue;
        r->rewrites[i] = task->work.text;
        r->mark = AP_MARK_REWRITTEN;
    }
    if (fell_back)
        r->mark = r->mark == AP_MARK_REWRITTEN ? AP_MARK_PARTLY : AP_MARK_FELL_BACK;
    go_on(e);
}

/* ---- before it ---- */

static void fill_task(struct ap_exchange *e, size_t i)
{
    struct ap_server *s = e->server;
    const struct ap_rewriting *r = &e->rewriting;
    const struct ap_body_text *text = &r->body.texts[r->n_over + i];
    bool chat = r->kind == AP_BODY_CHAT;
    r->tasks[i].work = (struct ap_work){
        .kind = AP_WORK_REWRITE,
        .messages = chat ? r->body.messages : &r->body.messages[text->message],
        .n_message = chat ? text->message + 1 : 1,
        .deadline = ap_clock_seconds() + s->options.budget,
        .temperature = s->options.temperature,
        .top_p = 1,
        .stream = {.seed = s->options.seed,
                   .stage = ap_stream_stage("serve"),
                   .record = atomic_fetch_add(&s->n_rewrite, 1)},
    };
}

static void begin_rewrites(struct ap_exchange *e)
{
    struct ap_rewriting *r = &e->rewriting;
    r->n_over = r->body.n_text > TEXTS_MAX ? r->body.n_text - TEXTS_MAX : 0;
    size_t n = r->body.n_text - r->n_over;
    r->tasks = ap_calloc(n, sizeof(*r->tasks));
    r->rewrites = ap_calloc(r->body.n_text, sizeof(*r->rewrites));
    if (!r->tasks || !r->rewrites) {
        ap_reply_error(e, 500, NULL, "no memory");
        return;
    }
    for (size_t i = 0; i < n; i++)
        fill_task(e, i);
    e->step = step_rewritten;
    ap_exchange_submit(e, r->tasks, n);
}

static void begin(struct ap_exchange *e, ap_body_kind kind)
{
    struct ap_server *s = e->server;
    struct ap_rewriting *r = &e->rewriting;
    r->kind = kind;
    if (!s->upstream && !s->engine_target) {
        ap_reply_error(e, 501, "no_target",
                       "this server only rewrites, at /v1/rewrite; start it with --upstream or "
                       "--local-target for answers");
        return;
    }
    if (!read_body(e))
        return;
    if (!r->off && r->body.n_text > 0) {
        begin_rewrites(e);
        return;
    }
    atomic_fetch_add(&s->metrics.passes[r->off ? AP_PASS_OFF : r->body.pass], 1);
    r->mark =
        r->off || s->options.rewrite == AP_REWRITE_NONE ? AP_MARK_BYPASSED : AP_MARK_UNCHANGED;
    go_on(e);
}

void ap_rewriting_chat(struct ap_exchange *e)
{
    begin(e, AP_BODY_CHAT);
}

void ap_rewriting_completion(struct ap_exchange *e)
{
    begin(e, AP_BODY_COMPLETION);
}

/* ---- showing, freeing ---- */

static json_t *text_json(const struct ap_exchange *e, size_t i)
{
    static const char *const fates[] = {"rewritten",  "guarded",    "late",   "failed",
                                        "queue_full", "over_limit", "dropped"};
    const struct ap_rewriting *r = &e->rewriting;
    static const struct ap_work none = {.guard = NULL};
    const struct ap_work *w = i < r->n_over ? &none : &r->tasks[i - r->n_over].work;
    return json_pack("{s:i, s:s, s:s?, s:s, s:s, s:b}", "index", r->body.texts[i].at, "fate",
                     fates[fate_of(r, i)], "rewrite", r->rewrites[i], "guard",
                     w->guard ? w->guard : "", "why", w->why, "cached", w->cached);
}

json_t *ap_rewriting_json(const struct ap_exchange *e)
{
    const struct ap_rewriting *r = &e->rewriting;
    json_t *list = json_array();
    for (size_t i = 0; i < r->body.n_text && r->tasks; i++)
        json_array_append_new(list, text_json(e, i));
    return json_pack("{s:o}", "rewrites", list);
}

void ap_rewriting_free(struct ap_exchange *e)
{
    struct ap_rewriting *r = &e->rewriting;
    for (size_t i = 0; i + r->n_over < r->body.n_text && r->tasks; i++) {
        ap_free(r->tasks[i].work.text);
        ap_free(r->tasks[i].work.logp);
    }
    ap_free(r->tasks);
    ap_free(r->rewrites);
    ap_chat_body_free(&r->body);
}
