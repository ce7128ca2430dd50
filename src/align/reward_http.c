/* A reward behind a server (reward_http.h).
 *
 *     scalar    {"prompt", "response", "context", "ended"} ─► a number, or {"score"} or {"reward"}
 *     classify  {"messages"} ─► {"data": [{"probs": [r, …]}]}: the first
 *     pooling   {"messages"} ─► {"data": [{"data": [r, …]}]}: the last, of nested lists too
 *
 * vLLM's two endpoints are asked for what the head itself says (use_activation: false), as a
 * classifier in process gives it: their own default is its sigmoid.
 * Entry points: ap_reward_http, ap_reward_http_read. */
#include "align/reward_http.h"

#include "align/chat_api.h"
#include "base/json.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct reward {
    struct ap_remote *remote;
    const struct ap_reward_settings *s;
    json_t *extra; /* of every body; NULL: nothing */
};

/* ---- bodies ---- */

static json_t *message(const char *role, const char *content)
{
    return json_pack("{s:s, s:s}", "role", role, "content", content);
}

static json_t *messages_of(const struct ap_scored *item, bool with_answer)
{
    json_t *list = json_array();
    bool fine = list != NULL;
    for (size_t i = 0; fine && i < item->n_context; i++)
        fine = json_array_append_new(list,
                                     message(item->context[i].role, item->context[i].content)) == 0;
    if (with_answer)
        fine = fine && json_array_append_new(list, message("user", item->x)) == 0 &&
               json_array_append_new(list, message("assistant", item->y)) == 0;
    if (!fine)
        json_decref(list);
    return fine ? list : NULL;
}

static char *body_of(const struct reward *r, const struct ap_scored *item)
{
    bool scalar = strcmp(r->s->shape, "scalar") == 0;
    json_t *messages = messages_of(item, !scalar);
    json_t *body = scalar && messages
                       ? json_pack("{s:s, s:s, s:o, s:b}", "prompt", item->x, "response", item->y,
                                   "context", messages, "ended", item->ended)
                   : messages ? json_pack("{s:o, s:b}", "messages", messages, "use_activation", 0)
                              : NULL;
    bool fine =
        body &&
        (!r->s->model[0] || json_object_set_new(body, "model", json_string(r->s->model)) == 0) &&
        ap_api_merge(body, r->extra, NULL) == AP_OK;
    char *text = fine ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return text;
}

/* A scalar endpoint is the address itself. */
static const char *path_of(const char *shape)
{
    return strcmp(shape, "classify") == 0  ? "/classify"
           : strcmp(shape, "pooling") == 0 ? "/pooling"
                                           : "";
}

static ap_status put_item(const struct reward *r, const struct ap_scored *item,
                          struct ap_remote_batch *to, int i, struct ap_error *err)
{
    char *body = body_of(r, item);
    if (!body)
        return ap_fail(err, AP_FORMAT,
                       "reward: '%.40s' or its answer is no UTF-8, or no memory is left", item->x);
    ap_remote_batch_put(to, i, body, path_of(r->s->shape), "reward", r->s->http.url[0], 0);
    return AP_OK;
}

/* ---- replies ---- */

static const json_t *number_in(const json_t *root, const char *shape)
{
    if (strcmp(shape, "scalar") == 0) {
        const json_t *score = json_object_get(root, "score");
        return json_is_number(root) ? root : score ? score : json_object_get(root, "reward");
    }
    const json_t *first = json_array_get(json_object_get(root, "data"), 0);
    if (strcmp(shape, "classify") == 0)
        return json_array_get(json_object_get(first, "probs"), 0);
    const json_t *at = json_object_get(first, "data");
    while (json_is_array(at))
        at = json_array_get(at, json_array_size(at) - 1);
    return at;
}

const char *ap_reward_http_read(const char *body, size_t n_body, const char *shape, double *out)
{
    json_t *root = json_loadb(body, n_body, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    const json_t *number = number_in(root, shape);
    const char *why = !root                     ? "it is no JSON"
                      : !json_is_number(number) ? "it holds no number where its shape has one"
                                                : NULL;
    if (!why)
        *out = json_number_value(number);
    if (!why && !isfinite(*out))
        why = "its number is not finite";
    json_decref(root);
    return why;
}

static const char *expected_of(const char *shape)
{
    return strcmp(shape, "classify") == 0  ? "a number in data[0].probs[0]"
           : strcmp(shape, "pooling") == 0 ? "a number at the end of data[0].data"
                                           : "a number, {\"score\": n} or {\"reward\": n}";
}

/* In the ledger a score is its text. */
static const char *read_reply(void *context, const struct ap_remote_request *q,
                              const struct ap_client_reply *reply)
{
    const struct reward *r = context;
    struct ap_ledger_answer *out = q->out;
    double score;
    char text[32];
    const char *why = ap_reward_http_read(reply->body, reply->n_body, r->s->shape, &score);
    if (why)
        return why;
    snprintf(text, sizeof(text), "%.17g", score);
    *out = (struct ap_ledger_answer){.text = ap_strdup(text), .finish = ap_strdup("")};
    if (strcmp(r->s->shape, "scalar") != 0) /* whose server need know no tokens */
        ap_api_usage(reply->body, reply->n_body, out);
    if (out->text && out->finish)
        return NULL;
    ap_ledger_answer_free(out);
    return "no memory was left for it";
}

/* ---- scoring ---- */

static ap_status score_all(void *self, const struct ap_scored *items, int n, double *out,
                           struct ap_error *err)
{
    struct reward *r = self;
    const struct ap_remote_reader reader = {
        .context = r, .read = read_reply, .expected = expected_of(r->s->shape)};
    struct ap_remote_batch to;
    ap_status status = ap_remote_batch_open(&to, n, "reward", err);
    for (int i = 0; i < n && status == AP_OK; i++)
        status = put_item(r, &items[i], &to, i, err);
    if (status == AP_OK)
        status = ap_remote_fetch(r->remote, to.requests, n, &reader, err);
    for (int i = 0; i < n && status == AP_OK; i++)
        out[i] = strtod(to.answers[i].text, NULL);
    ap_remote_batch_free(&to);
    return status;
}

static void reward_free(void *self)
{
    struct reward *r = self;
    json_decref(r->extra);
    ap_free(r);
}

ap_status ap_reward_http(struct ap_reward *out, struct ap_remote *remote,
                         const struct ap_reward_settings *settings, struct ap_error *err)
{
    struct reward *r = ap_calloc(1, sizeof(*r));
    *out = (struct ap_reward){.gain = 1};
    if (!r)
        return ap_fail(err, AP_MEMORY, "reward: no memory");
    *r = (struct reward){remote, settings, NULL};
    ap_status status = ap_api_extra(settings->http.body, "reward", &r->extra, err);
    if (status == AP_OK)
        *out = (struct ap_reward){.self = r, .score = score_all, .free = reward_free, .gain = 1};
    else
        reward_free(r);
    return status;
}
