/* Reading what is asked of the local target (answer_request.h). */
#include "serve/answer_request.h"

#include "base/json.h"
#include "base/memory.h"

#include <string.h>
#include <sys/random.h>

enum { N_MAX = 128, STOPS_MAX = 16, TOKENS_MAX = 1 << 20 };

static const char where[] = "the body";

static ap_status unsupported(const char *what, struct ap_error *err)
{
    return ap_fail(err, AP_FORMAT, "the local target does not take \"%s\"; leave it out", what);
}

static bool is_something(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_number(value) && json_number_value(value) == 0) &&
           !(json_is_array(value) && json_array_size(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0);
}

/* Fields that would change an answer, and that the target has nothing for. */
static ap_status refuse_unsupported(const struct ap_exchange *e, const json_t *request,
                                    struct ap_error *err)
{
    static const char *const fields[] = {
        "tools",  "functions",    "logit_bias",       "logprobs",         "echo",
        "suffix", "top_logprobs", "presence_penalty", "frequency_penalty"};
    for (size_t i = 0; i < AP_LEN(fields); i++)
        if (is_something(json_object_get(request, fields[i])))
            return unsupported(fields[i], err);
    const json_t *format = json_object_get(request, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (format && !json_is_null(format) && (!type || strcmp(type, "text") != 0))
        return unsupported("response_format", err);
    if (json_number_value(json_object_get(request, "best_of")) > 1)
        return unsupported("best_of", err);
    if (e->rewriting.body.n_unsaid > 0 && e->rewriting.kind == AP_BODY_COMPLETION)
        return ap_fail(err, AP_FORMAT,
                       "\"prompt\" holds what is no text: token ids are not taken; give text");
    if (e->rewriting.body.n_unsaid > 0)
        return ap_fail(err, AP_FORMAT,
                       "the local target reads texts of the roles system, user and assistant only; "
                       "%zu of what is here are none",
                       e->rewriting.body.n_unsaid);
    return AP_OK;
}

static ap_status read_real(const json_t *request, const char *key, double min, double max,
                           double *out, struct ap_error *err)
{
    ap_status status = ap_json_real(request, key, where, false, out, err);
    if (status == AP_OK && !(*out >= min && *out <= max))
        status = ap_fail(err, AP_FORMAT, "\"%s\" is %g, expected %g to %g", key, *out, min, max);
    return status;
}

static ap_status read_int(const json_t *request, const char *key, int min, int max, int *out,
                          struct ap_error *err)
{
    int64_t value = *out;
    ap_status status = ap_json_int(request, key, where, false, min, max, &value, err);
    *out = (int)value;
    return status;
}

static ap_status read_sampling(const json_t *request, struct ap_work *w, struct ap_error *err)
{
    ap_status status;
    w->temperature = w->top_p = 1;
    AP_TRY(read_real(request, "temperature", 0, 1000, &w->temperature, err));
    AP_TRY(read_real(request, "top_p", 0, 1, &w->top_p, err));
    AP_TRY(read_real(request, "min_p", 0, 1, &w->min_p, err));
    AP_TRY(read_real(request, "repetition_penalty", 0, 1000, &w->repetition_penalty, err));
    AP_TRY(read_int(request, "top_k", 0, INT32_MAX, &w->top_k, err));
    AP_TRY(read_int(request, "max_tokens", 1, TOKENS_MAX, &w->max_new_tokens, err));
    AP_TRY(read_int(request, "max_completion_tokens", 1, TOKENS_MAX, &w->max_new_tokens, err));
    if (w->temperature > 0 && w->temperature < 0.001)
        AP_TRY(ap_fail(err, AP_FORMAT, "\"temperature\" is %g, expected 0 or at least 0.001",
                       w->temperature));
    if (w->top_p == 0)
        AP_TRY(ap_fail(err, AP_FORMAT, "\"top_p\" is 0, expected more"));
out:
    return status;
}

static ap_status add_stop(struct ap_answering *a, const json_t *value, struct ap_error *err)
{
    const char *text = json_string_value(value);
    if (!text || !text[0] || strlen(text) != json_string_length(value))
        return ap_fail(err, AP_FORMAT, "\"stop\" holds what is no text, or an empty one");
    if (!(a->stop[a->n_stop] = ap_strdup(text)))
        return ap_fail(err, AP_MEMORY, "no memory");
    a->n_stop++;
    return AP_OK;
}

static ap_status read_stop(struct ap_answering *a, const json_t *request, struct ap_error *err)
{
    const json_t *stop = json_object_get(request, "stop");
    ap_status status = AP_OK;
    if (!stop || json_is_null(stop))
        return AP_OK;
    size_t n = json_is_array(stop) ? json_array_size(stop) : 1;
    if (n > STOPS_MAX)
        return ap_fail(err, AP_FORMAT, "\"stop\" has %zu texts, expected at most %d", n,
                       (int)STOPS_MAX);
    if (!(a->stop = ap_calloc(n, sizeof(*a->stop))))
        return ap_fail(err, AP_MEMORY, "no memory");
    if (!json_is_array(stop))
        return add_stop(a, stop, err);
    for (size_t i = 0; i < n && status == AP_OK; i++)
        status = add_stop(a, json_array_get(stop, i), err);
    return status;
}

/* ---- the random stream ---- */

/* One of the five numbers and the '-' behind it; the last one has none. */
static bool read_hex(const char **at, uint64_t max, bool last, uint64_t *out)
{
    static const char digits[] = "0123456789abcdef";
    const char *from = *at;
    *out = 0;
    for (const char *digit; **at && (digit = strchr(digits, **at)) != NULL; (*at)++) {
        if (*out > max >> 4)
            return false;
        *out = *out << 4 | (uint64_t)(digit - digits);
    }
    if (*at == from || **at != (last ? '\0' : '-'))
        return false;
    *at += !last;
    return true;
}

static bool read_stream_header(const char *text, struct ap_stream *stream)
{
    uint64_t seed, stage, step, record, sample;
    if (!read_hex(&text, UINT64_MAX, false, &seed) || !read_hex(&text, UINT32_MAX, false, &stage) ||
        !read_hex(&text, UINT32_MAX, false, &step) ||
        !read_hex(&text, UINT64_MAX, false, &record) || !read_hex(&text, UINT32_MAX, true, &sample))
        return false;
    *stream = (struct ap_stream){seed, (uint32_t)stage, (uint32_t)step, record, (uint32_t)sample};
    return true;
}

static ap_status read_stream(const struct ap_exchange *e, const json_t *request,
                             struct ap_stream *stream, bool *cuts, struct ap_error *err)
{
    const char *header = ap_exchange_header(e, "x-alignpro-stream");
    int64_t seed;
    if (header) {
        *cuts = true; /* it is a run that asks: it gets what it would get in its own process */
        if (read_stream_header(header, stream))
            return AP_OK;
        return ap_fail(err, AP_FORMAT,
                       "x-alignpro-stream is '%s', expected SEED-STAGE-STEP-RECORD-SAMPLE, five "
                       "lower-case hex numbers",
                       header);
    }
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return ap_fail(err, AP_IO, "no random numbers");
    ap_status status = ap_json_int(request, "seed", where, false, INT64_MIN, INT64_MAX, &seed, err);
    *stream = (struct ap_stream){.seed = (uint64_t)seed, .stage = ap_stream_stage("serve")};
    return status;
}

/* ---- all of it ---- */

static ap_status read_shape(struct ap_exchange *e, const json_t *request, struct ap_error *err)
{
    struct ap_answering *a = &e->answering;
    const json_t *options = json_object_get(request, "stream_options");
    const char *model = NULL;
    size_t n_prompt = e->rewriting.kind == AP_BODY_CHAT ? 1 : e->rewriting.body.n_message;
    ap_status status;
    a->n = 1;
    AP_TRY(read_int(request, "n", 1, N_MAX, &a->n, err));
    AP_TRY(ap_json_bool(request, "stream", where, false, &a->stream, err));
    if (options && !json_is_null(options))
        AP_TRY(ap_json_bool(options, "include_usage", "stream_options", false, &a->usage, err));
    AP_TRY(ap_json_text(request, "model", where, false, &model, NULL, err));
    if (model && !(a->model = ap_strdup(model)))
        AP_TRY(ap_fail(err, AP_MEMORY, "no memory"));
    if (n_prompt == 0)
        AP_TRY(ap_fail(err, AP_FORMAT, "there is no prompt"));
    if (n_prompt * (size_t)a->n > AP_WORKS_MAX)
        AP_TRY(ap_fail(err, AP_FORMAT, "%zu prompts with n = %d are too many answers, at most %d",
                       n_prompt, a->n, AP_WORKS_MAX));
out:
    return status;
}

ap_status ap_answer_request_read(struct ap_exchange *e, struct ap_work *like, struct ap_error *err)
{
    json_t *request = NULL;
    ap_status status;
    *like = (struct ap_work){.kind = AP_WORK_ANSWER};
    AP_TRY(ap_json_parse(e->body.data, e->body.len, where, &request, err));
    AP_TRY(refuse_unsupported(e, request, err));
    AP_TRY(read_shape(e, request, err));
    AP_TRY(read_sampling(request, like, err));
    AP_TRY(read_stop(&e->answering, request, err));
    AP_TRY(read_stream(e, request, &like->stream, &like->cuts, err));
out:
    json_decref(request);
    return status;
}
