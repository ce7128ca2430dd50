/* Answers of the local target, in OpenAI's shapes: what a request asks for (answer_request.c reads
 * it), the works of it, and the answer as one object; as events: answer_events.c. */
#include "serve/answering.h"

#include "serve/answer_request.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>
#include <sys/random.h>

/* ---- the answer ---- */

bool ap_answering_is_chat(const struct ap_exchange *e)
{
    return e->rewriting.kind == AP_BODY_CHAT;
}

const char *ap_answering_finish_reason(const struct ap_work *w)
{
    return w->text_ended ? "stop" : "length";
}

json_t *ap_answering_usage(const struct ap_answering *a)
{
    json_int_t n_prompt = 0, n_token = 0;
    for (size_t i = 0; i < a->n_task; i++) {
        n_token += a->tasks[i].work.n_token;
        if (i % (size_t)a->n == 0) /* a prompt is read once for its n answers */
            n_prompt += a->tasks[i].work.n_prompt;
    }
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", n_prompt, "completion_tokens", n_token,
                     "total_tokens", n_prompt + n_token);
}

json_t *ap_answering_envelope(const struct ap_exchange *e, const char *kind)
{
    const struct ap_answering *a = &e->answering;
    return json_pack("{s:s, s:s, s:I, s:s}", "id", a->id, "object", kind, "created",
                     (json_int_t)a->created, "model",
                     a->model ? a->model : e->server->engine_target);
}

static json_t *whole_choice(const struct ap_exchange *e, size_t i)
{
    const struct ap_work *w = &e->answering.tasks[i].work;
    return ap_answering_is_chat(e)
               ? json_pack("{s:i, s:{s:s, s:s}, s:n, s:s}", "index", (int)i, "message", "role",
                           "assistant", "content", w->text, "logprobs", "finish_reason",
                           ap_answering_finish_reason(w))
               : json_pack("{s:i, s:s, s:n, s:s}", "index", (int)i, "text", w->text, "logprobs",
                           "finish_reason", ap_answering_finish_reason(w));
}

static void reply_whole(struct ap_exchange *e)
{
    const struct ap_answering *a = &e->answering;
    json_t *out =
        ap_answering_envelope(e, ap_answering_is_chat(e) ? "chat.completion" : "text_completion");
    json_t *choices = json_array();
    int failed = 0;
    for (size_t i = 0; i < a->n_task; i++)
        failed |= json_array_append_new(choices, whole_choice(e, i));
    failed |= json_object_set_new(out, "choices", choices);
    failed |= json_object_set_new(out, "usage", ap_answering_usage(a));
    if (e->rewriting.show)
        failed |= json_object_set_new(out, "x_alignpro", ap_rewriting_json(e));
    if (failed) {
        json_decref(out);
        out = NULL;
    }
    ap_reply_json(e, 200, out);
}

static void step_answered(struct ap_exchange *e)
{
    const struct ap_answering *a = &e->answering;
    for (size_t i = 0; i < a->n_task; i++)
        if (ap_reply_undone(e, &a->tasks[i])) {
            ap_reply_mark(e);
            return;
        }
    reply_whole(e);
    ap_reply_mark(e);
}

/* ---- the works ---- */

static void make_id(struct ap_exchange *e)
{
    unsigned char random[12] = {0};
    ssize_t got = getrandom(random, sizeof(random), 0);
    size_t n = (size_t)snprintf(e->answering.id, sizeof(e->answering.id), "%s",
                                ap_answering_is_chat(e) ? "chatcmpl-" : "cmpl-");
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(e->answering.id + n + 2 * i, 3, "%02x", got > 0 ? random[i] : 0);
    e->answering.created = (int64_t)ap_clock_date();
}

/* What the prompter made stands where it stood. */
static ap_status place_rewrites(struct ap_exchange *e, struct ap_error *err)
{
    const struct ap_rewriting *r = &e->rewriting;
    struct ap_answering *a = &e->answering;
    a->messages = ap_calloc(r->body.n_message, sizeof(*a->messages));
    if (!a->messages)
        return ap_fail(err, AP_MEMORY, "no memory");
    memcpy(a->messages, r->body.messages, r->body.n_message * sizeof(*a->messages));
    for (size_t i = 0; i < r->body.n_text && r->rewrites; i++)
        if (r->rewrites[i])
            a->messages[r->body.texts[i].message].content = r->rewrites[i];
    return AP_OK;
}

/* Answer i is the sample i % n of prompt i / n. */
static void fill_task(struct ap_exchange *e, const struct ap_work *like, size_t i)
{
    struct ap_answering *a = &e->answering;
    struct ap_work *w = &a->tasks[i].work;
    size_t prompt = i / (size_t)a->n;
    *w = *like;
    w->messages = ap_answering_is_chat(e) ? a->messages : &a->messages[prompt];
    w->n_message = ap_answering_is_chat(e) ? e->rewriting.body.n_message : 1;
    w->stop = a->stop;
    w->n_stop = a->n_stop;
    w->deadline = ap_clock_seconds() + e->server->options.request_timeout;
    w->stream.record += prompt;
    w->stream.sample += (uint32_t)(i % (size_t)a->n);
}

void ap_answering_begin(struct ap_exchange *e)
{
    struct ap_answering *a = &e->answering;
    struct ap_work like = {0};
    struct ap_error err;
    ap_status status = ap_answer_request_read(e, &like, &err);
    if (status == AP_OK)
        status = place_rewrites(e, &err);
    if (status == AP_OK) {
        a->n_task = (ap_answering_is_chat(e) ? 1 : e->rewriting.body.n_message) * (size_t)a->n;
        a->tasks = ap_calloc(a->n_task, sizeof(*a->tasks));
        status = a->tasks ? AP_OK : ap_fail(&err, AP_MEMORY, "no memory");
    }
    if (status != AP_OK) {
        a->n_task = 0;
        ap_reply_failed(e, &err);
        return;
    }
    make_id(e);
    for (size_t i = 0; i < a->n_task; i++)
        fill_task(e, &like, i);
    if (a->stream) {
        ap_answer_events_begin(e);
        return;
    }
    e->step = step_answered;
    ap_exchange_submit(e, a->tasks, a->n_task);
}

void ap_answering_free(struct ap_exchange *e)
{
    struct ap_answering *a = &e->answering;
    for (size_t i = 0; i < a->n_task; i++) {
        ap_free(a->tasks[i].work.text);
        ap_free(a->tasks[i].work.logp);
    }
    for (int i = 0; i < a->n_stop; i++)
        ap_free(a->stop[i]);
    ap_free(a->stop);
    ap_answer_events_free(e);
    ap_free(a->tasks);
    ap_free(a->messages);
    ap_free(a->model);
}
