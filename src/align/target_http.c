/* The target over HTTP (target_http.h).
 *
 *     request i, sample k ─► body, seed ─► key ─► in the ledger? ─► else with up to `together`
 *                                                                   neighbours in one request
 * Entry point: ap_target_http. */
#include "align/target_http.h"

#include "align/chat_api.h"
#include "align/logp_http.h"
#include "base/memory.h"
#include "store/recipe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEADER_MAX = 96 };

struct target_http {
    struct ap_remote *remote;
    const struct ap_target_settings *s;
    json_t *extra;          /* of every body; NULL: nothing */
    int together;           /* of s, until the server gave fewer */
    int n_empty, n_refused; /* answers of the last calls, if all of theirs are */
};

/* A request of the client and what it owns. */
struct post {
    char *body;
    char header[HEADER_MAX];
};

struct asked { /* one call of answer */
    struct target_http *t;
    const struct ap_target_request *requests;
    int n, n_samples;
    char (*keys)[AP_LEDGER_KEY]; /* of all n · n_samples */
    struct ap_ledger_answer *answers;
    bool *there; /* the ledger had it */
    struct post *posts;
    struct ap_remote_request *asks; /* n_post */
    int n_post;
    bool fewer;  /* the server gave fewer answers than it was asked for together */
    bool thinks; /* an answer without a text has thoughts */
};

static struct ap_stream stream_of(const struct asked *a, int i)
{
    struct ap_stream stream = a->requests[i / a->n_samples].stream;
    stream.sample += (uint32_t)(i % a->n_samples);
    return stream;
}

/* ---- bodies and keys ---- */

static ap_status make_body(const struct asked *a, int request, json_t **out, struct ap_error *err)
{
    const struct ap_target_settings *s = a->t->s;
    const struct ap_target_request *r = &a->requests[request];
    const struct ap_api_request api = {
        .model = s->model,
        .context = r->context,
        .n_context = r->n_context,
        .prompt = r->prompt,
        .completions = strcmp(s->api, "completions") == 0,
        .max_new_tokens = s->max_new_tokens,
        .sampling = {s->temperature, s->top_k, s->top_p, s->min_p, s->repetition_penalty},
        .stop = s->stop,
        .n_stop = s->n_stop,
        .extra = a->t->extra};
    return ap_api_body(&api, out, err);
}

/* SHA-256 of the target's name, the body without chance, and the seed. */
static ap_status make_keys(const struct asked *a, int request, const json_t *body,
                           struct ap_error *err)
{
    char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return ap_fail(err, AP_MEMORY, "target: no memory for a request");
    for (int i = request * a->n_samples; i < (request + 1) * a->n_samples; i++) {
        const struct ap_stream stream = stream_of(a, i);
        char seed[32];
        snprintf(seed, sizeof(seed), "%" PRIu64, ap_stream_seed(&stream));
        const char *const parts[] = {a->t->s->name, text, seed};
        ap_remote_key(parts, AP_LEN(parts), a->keys[i]);
    }
    free(text);
    return AP_OK;
}

/* Where target.body takes the seed out, for servers that know none, only the key has it. */
static bool put_chance(const struct target_http *t, json_t *body, const struct ap_stream *stream,
                       int n)
{
    json_int_t seed = (json_int_t)ap_stream_seed(stream);
    if (!json_is_null(json_object_get(t->extra, "seed")) &&
        json_object_set_new(body, "seed", json_integer(seed)) != 0)
        return false;
    return n == 1 || json_object_set_new(body, "n", json_integer(n)) == 0;
}

/* Answers first … first + n − 1, of one request, as one post. */
static ap_status add_post(struct asked *a, const json_t *body, int first, int n,
                          struct ap_error *err)
{
    const struct ap_stream s = stream_of(a, first);
    struct post *p = &a->posts[a->n_post];
    json_t *seeded = json_copy((json_t *)body);
    bool fine = seeded && put_chance(a->t, seeded, &s, n);
    char *text = fine ? json_dumps(seeded, JSON_COMPACT) : NULL;
    json_decref(seeded);
    if (!text || !(p->body = ap_strdup(text))) {
        free(text);
        return ap_fail(err, AP_MEMORY, "target: no memory for a request");
    }
    free(text);
    snprintf(p->header, HEADER_MAX,
             "x-alignpro-stream: %" PRIx64 "-%" PRIx32 "-%" PRIx32 "-%" PRIx64 "-%" PRIx32, s.seed,
             s.stage, s.step, s.record, s.sample);
    a->asks[a->n_post++] = (struct ap_remote_request){
        .path = ap_api_path(strcmp(a->t->s->api, "completions") == 0),
        .body = p->body,
        .n_body = strlen(p->body),
        .header = p->header,
        .keys = a->keys + first,
        .out = a->answers + first,
        .n = n,
        .n_prompt_most = (int64_t)strlen(p->body),
        .n_answer_most = ap_api_most_tokens(body, a->t->s->max_new_tokens)};
    return AP_OK;
}

/* What the ledger has not, in runs of at most `together`. */
static ap_status plan_request(struct asked *a, int request, const json_t *body,
                              struct ap_error *err)
{
    const int end = (request + 1) * a->n_samples;
    ap_status status = make_keys(a, request, body, err);
    for (int i = request * a->n_samples; i < end && status == AP_OK; i++)
        if (!(a->there[i] = a->answers[i].text != NULL))
            status = ap_remote_find(a->t->remote, a->keys[i], &a->answers[i], &a->there[i], err);
    for (int i = request * a->n_samples; i < end && status == AP_OK;) {
        int n = 0;
        while (i + n < end && n < a->t->together && !a->there[i + n])
            n++;
        if (n > 0)
            status = add_post(a, body, i, n, err);
        i += n > 0 ? n : 1;
    }
    return status;
}

static ap_status plan(struct asked *a, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < a->n && status == AP_OK; i++) {
        json_t *body = NULL;
        status = make_body(a, i, &body, err);
        if (status == AP_OK)
            status = plan_request(a, i, body, err);
        json_decref(body);
    }
    return status;
}

/* ---- answers ---- */

/* Of nothing but what ap_strip takes. */
static bool is_empty(const struct ap_ledger_answer *answer)
{
    return !answer->text[strspn(answer->text, " \t\n\v\f\r")];
}

static const char *read_reply(void *context, const struct ap_remote_request *q,
                              const struct ap_client_reply *reply)
{
    struct asked *a = context;
    const char *why = ap_api_read(reply->body, reply->n_body,
                                  strcmp(a->t->s->api, "completions") == 0, q->n, q->out);
    a->fewer = a->fewer || (!why && !q->out[q->n - 1].text);
    a->thinks =
        a->thinks || (!why && is_empty(&q->out[0]) && ap_api_thinks(reply->body, reply->n_body));
    return why;
}

static bool read_rejection(void *context, const struct ap_remote_request *q,
                           const struct ap_client_reply *reply)
{
    (void)context;
    return (reply->http_status == 400 || reply->http_status == 403) &&
           ap_api_refused(reply->body, reply->n_body, q->n, q->out);
}

static void take(const struct target_http *t, struct ap_ledger_answer *from, struct ap_answer *to)
{
    double refusal = ap_target_refusal(t->s);
    *to = (struct ap_answer){.text = ap_strip(from->text),
                             .ended = strcmp(from->finish, "length") != 0,
                             .n_token = from->n_token >= 0 ? (int)from->n_token : -1,
                             .scored = from->refused && !isnan(refusal),
                             .score = refusal};
    from->text = NULL;
}

/* ---- answers that are none ---- */

enum { TELL_FROM = 8, TELL_EMPTY = 1, TELL_REFUSED = 2 };

static int count_finish(const struct asked *a, const char *finish)
{
    int n = 0;
    for (int i = 0; i < a->n * a->n_samples; i++)
        n += strcmp(a->answers[i].finish, finish) == 0;
    return n;
}

/* As far as it is known: answers from the ledger have no thoughts any more. */
static const char *why_empty(const struct asked *a)
{
    if (a->thinks)
        return "the model's thoughts (reasoning_content) are all that there is; raise "
               "target.max_new_tokens, or switch thinking off by target.body, "
               "{\"chat_template_kwargs"
               "\": {\"enable_thinking\": false}} or as the server wants it";
    if (count_finish(a, "tool_calls") > 0)
        return "the model calls tools (tool_calls), which nobody runs here; take them out of "
               "target.body or the server's settings";
    if (count_finish(a, "length") > 0)
        return "they came to their limit before they said anything (finish_reason length), as "
               "those of models that think; raise target.max_new_tokens, or switch thinking off by "
               "target.body";
    return "the server does not say why; look at what it sends";
}

/* What is the same in all answers teaches nothing, and every score would go on as if it did. */
static void tell_of_none(const struct asked *a)
{
    struct target_http *t = a->t;
    const struct ap_sink *sink = ap_remote_sink(t->remote);
    int n = a->n * a->n_samples, n_empty = 0, n_refused = 0;
    for (int i = 0; i < n; i++) {
        n_empty += is_empty(&a->answers[i]);
        n_refused += a->answers[i].refused;
    }
    t->n_refused = n_refused == n ? t->n_refused + n : 0;
    t->n_empty = n_empty == n && n_refused < n ? t->n_empty + n : 0;
    if (t->n_empty >= TELL_FROM && ap_remote_tells(t->remote, TELL_EMPTY))
        ap_sink_warn(sink, "target", "all of %d answers are empty: %s", t->n_empty, why_empty(a));
    if (t->n_refused >= TELL_FROM && ap_remote_tells(t->remote, TELL_REFUSED))
        ap_sink_warn(sink, "target",
                     "all of %d answers are refusals by a content filter, worth target.refusal "
                     "(%s) each; look at the server's filter and at the system prompt",
                     t->n_refused, t->s->refusal);
}

static ap_status asked_open(struct asked *a, struct ap_error *err)
{
    size_t n = (size_t)a->n * (size_t)a->n_samples;
    a->keys = ap_calloc(n, sizeof(*a->keys));
    a->answers = ap_calloc(n, sizeof(*a->answers));
    a->there = ap_calloc(n, sizeof(*a->there));
    a->posts = ap_calloc(n, sizeof(*a->posts));
    a->asks = ap_calloc(n, sizeof(*a->asks));
    return a->keys && a->answers && a->there && a->posts && a->asks
               ? AP_OK
               : ap_fail(err, AP_MEMORY, "target: no memory for %zu requests", n);
}

static void asked_free(struct asked *a)
{
    for (int i = 0; a->answers && i < a->n * a->n_samples; i++)
        ap_ledger_answer_free(&a->answers[i]);
    for (int i = 0; a->posts && i < a->n_post; i++)
        ap_free(a->posts[i].body);
    ap_free(a->keys);
    ap_free(a->answers);
    ap_free(a->there);
    ap_free(a->posts);
    ap_free(a->asks);
}

/* Whether some are not there yet: from a server that gave fewer than it was asked for the rest is
 * asked for one by one from now on; of others that share the ledger a part came meanwhile. */
static bool lacks(struct asked *a)
{
    int n_missing = 0;
    for (int i = 0; i < a->n * a->n_samples; i++)
        n_missing += !a->answers[i].text;
    for (int i = 0; i < a->n_post; i++)
        ap_free(a->posts[i].body);
    a->n_post = 0;
    if (n_missing == 0)
        return false;
    if (!a->fewer)
        return true;
    ap_sink_warn(ap_remote_sink(a->t->remote), "target",
                 "the server gives fewer answers than the %d that it is asked for together; the "
                 "others are asked for one by one; set target.together: 1",
                 a->t->together);
    a->t->together = 1;
    a->fewer = false;
    return true;
}

static ap_status http_answer(void *self, const struct ap_target_request *requests, int n,
                             int n_samples, struct ap_answer *out, struct ap_error *err)
{
    struct target_http *t = self;
    struct asked a = {.t = t, .requests = requests, .n = n, .n_samples = n_samples};
    const struct ap_remote_reader reader = {
        .context = &a,
        .read = read_reply,
        .rejected = read_rejection,
        .expected = ap_api_expected(strcmp(t->s->api, "completions") == 0)};
    ap_status status;
    memset(out, 0, (size_t)n * (size_t)n_samples * sizeof(*out));
    AP_TRY(asked_open(&a, err));
    do {
        AP_TRY(plan(&a, err));
        if (a.n_post > 0)
            AP_TRY(ap_remote_ask(t->remote, a.asks, a.n_post, &reader, err));
    } while (lacks(&a));
    tell_of_none(&a);
    for (int i = 0; i < n * n_samples; i++)
        take(t, &a.answers[i], &out[i]);
out:
    asked_free(&a);
    return status;
}

static ap_status http_logp(void *self, const struct ap_target_request *requests,
                           const struct ap_answer *answers, int n, double *out,
                           struct ap_error *err)
{
    struct target_http *t = self;
    return ap_logp_http(t->remote, t->s, requests, answers, n, out, err);
}

static void http_free(void *self)
{
    struct target_http *t = self;
    json_decref(t->extra);
    ap_free(t);
}

const char *ap_target_http_no_logp(const struct ap_target_settings *s)
{
    const struct ap_sampling sampling = {s->temperature, s->top_k, s->top_p, s->min_p,
                                         s->repetition_penalty};
    if (!s->logprobs)
        return "the target's server is not asked for them (target.logprobs)";
    if (s->temperature != 1)
        return "a server's are at temperature 1, target.temperature is another";
    return ap_sampling_shapes(&sampling);
}

ap_status ap_target_http(struct ap_target *out, struct ap_remote *remote,
                         const struct ap_target_settings *settings, struct ap_error *err)
{
    struct target_http *t = ap_calloc(1, sizeof(*t));
    *out = (struct ap_target){0};
    if (!t)
        return ap_fail(err, AP_MEMORY, "target: no memory");
    t->remote = remote;
    t->s = settings;
    t->together = settings->together;
    ap_status status = ap_api_extra(settings->http.body, "target", &t->extra, err);
    if (status != AP_OK) {
        http_free(t);
        return status;
    }
    *out = (struct ap_target){t, http_answer, ap_target_http_no_logp(settings) ? NULL : http_logp,
                              http_free};
    return AP_OK;
}
