/* /v1/rewrite and /v1/score: one question to the engine, one JSON object back. */
#include "serve/server_inner.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"

#include <math.h>

/* ---- reading ---- */

/* The scanner's limits first: jansson's own are wide. */
static ap_status read_request(struct ap_exchange *e, struct ap_error *err)
{
    struct ap_tape tape;
    const char *text = e->body.data ? e->body.data : "";
    ap_status status = ap_tape_read(&tape, text, e->body.len, &e->server->options.json, err);
    if (status != AP_OK)
        return status;
    ap_tape_free(&tape);
    status = ap_json_parse(text, e->body.len, "the body", &e->asking.request, err);
    if (status == AP_OK && !json_is_object(e->asking.request))
        status = ap_fail(err, AP_FORMAT, "the body is no JSON object");
    return status;
}

static ap_status read_message(const json_t *from, struct ap_message *to, struct ap_error *err)
{
    ap_status status = ap_json_text(from, "role", "messages", true, &to->role, NULL, err);
    return status == AP_OK
               ? ap_json_text(from, "content", "messages", true, &to->content, NULL, err)
               : status;
}

/* {"messages"} or {"prompt"}; the messages borrow from the request. */
static ap_status read_messages(struct ap_exchange *e, size_t *n, struct ap_error *err)
{
    const json_t *request = e->asking.request, *list = json_object_get(request, "messages");
    const char *prompt = NULL;
    ap_status status = ap_json_text(request, "prompt", "the body", !list, &prompt, NULL, err);
    if (status != AP_OK)
        return status;
    if ((list && prompt) || (list && json_array_size(list) == 0))
        return ap_fail(err, AP_FORMAT,
                       "the body: expected \"prompt\", a text, or \"messages\", an array with at "
                       "least one");
    *n = list ? json_array_size(list) : 1;
    e->asking.messages = ap_calloc(*n, sizeof(*e->asking.messages));
    if (!e->asking.messages)
        return ap_fail(err, AP_MEMORY, "no memory");
    if (!list)
        e->asking.messages[0] = (struct ap_message){"user", prompt};
    for (size_t i = 0; list && i < *n && status == AP_OK; i++)
        status = read_message(json_array_get(list, i), &e->asking.messages[i], err);
    return status;
}

static ap_status read_sampling(const struct ap_exchange *e, struct ap_work *w, struct ap_error *err)
{
    const json_t *request = e->asking.request;
    int64_t seed = (int64_t)w->stream.seed;
    ap_status status =
        ap_json_real(request, "temperature", "the body", false, &w->temperature, err);
    if (status == AP_OK)
        status = ap_json_int(request, "seed", "the body", false, INT64_MIN, INT64_MAX, &seed, err);
    w->stream.seed = (uint64_t)seed;
    if (status == AP_OK && !(w->temperature >= 0 && w->temperature <= 1000))
        status =
            ap_fail(err, AP_FORMAT, "\"temperature\" is %g, expected 0 to 1000", w->temperature);
    return status;
}

static ap_status read_answer(const struct ap_exchange *e, struct ap_work *w, struct ap_error *err)
{
    const json_t *request = e->asking.request;
    w->ended = true;
    ap_status status = ap_json_text(request, "answer", "the body", true, &w->answer, NULL, err);
    return status == AP_OK ? ap_json_bool(request, "ended", "the body", false, &w->ended, err)
                           : status;
}

/* ---- answering ---- */

static void step_rewritten(struct ap_exchange *e)
{
    const struct ap_work *w = &e->asking.task.work;
    if (ap_reply_undone(e, &e->asking.task))
        return;
    ap_reply_json(e, 200,
                  json_pack("{s:s, s:b, s:s, s:s, s:b, s:i, s:i, s:s?}", "rewrite", w->text,
                            "ended", w->text_ended, "guard", w->guard ? w->guard : "", "why",
                            w->why, "cached", w->cached, "n_prompt", w->n_prompt, "n_token",
                            w->n_token, "model", e->server->engine_model));
}

static void step_scored(struct ap_exchange *e)
{
    const struct ap_work *w = &e->asking.task.work;
    if (ap_reply_undone(e, &e->asking.task))
        return;
    json_t *score = isfinite(w->score) ? json_real(w->score) : json_null();
    ap_reply_json(e, 200,
                  json_pack("{s:o, s:s?}", "score", score, "reward", e->server->engine_reward));
}

static void begin(struct ap_exchange *e, ap_work_kind kind)
{
    const struct ap_server_options *o = &e->server->options;
    struct ap_work *w = &e->asking.task.work;
    struct ap_error err;
    bool rewrite = kind == AP_WORK_REWRITE;
    *w = (struct ap_work){
        .kind = kind,
        .deadline = ap_clock_seconds() + o->request_timeout,
        .temperature = rewrite ? o->temperature : 0,
        .top_p = 1,
        .stream = {.seed = o->seed, .stage = ap_stream_stage("serve")},
    };
    ap_status status = read_request(e, &err);
    if (status == AP_OK)
        status = read_messages(e, &w->n_message, &err);
    if (status == AP_OK)
        status = rewrite ? read_sampling(e, w, &err) : read_answer(e, w, &err);
    if (status != AP_OK) {
        ap_reply_failed(e, &err);
        return;
    }
    w->messages = e->asking.messages;
    e->step = rewrite ? step_rewritten : step_scored;
    ap_exchange_submit(e, &e->asking.task, 1);
}

void ap_asking_rewrite(struct ap_exchange *e)
{
    if (e->server->engine_model)
        begin(e, AP_WORK_REWRITE);
    else
        ap_reply_error(e, 501, "no_prompter", "this server has no prompter");
}

void ap_asking_score(struct ap_exchange *e)
{
    if (e->server->engine_reward)
        begin(e, AP_WORK_SCORE);
    else
        ap_reply_error(e, 501, "no_reward", "this server has no reward to score with");
}

void ap_asking_free(struct ap_exchange *e)
{
    ap_free(e->asking.task.work.text);
    ap_free(e->asking.task.work.logp);
    ap_free(e->asking.messages);
    json_decref(e->asking.request);
}
