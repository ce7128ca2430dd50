/* Bodies of OpenAI's API (chat_api.h). */
#include "align/chat_api.h"

#include "base/memory.h"

#include <string.h>

enum { CHOICES_MAX = 1024 };

/* ---- requests ---- */

static ap_status no_memory(struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "a request: no memory; free some");
}

/* Takes value. */
static bool put(json_t *o, const char *key, json_t *value)
{
    return value && json_object_set_new(o, key, value) == 0;
}

static ap_status check_text(const char *text, struct ap_error *err)
{
    json_t *value = json_string(text);
    json_decref(value);
    return value
               ? AP_OK
               : ap_fail(err, AP_FORMAT,
                         "a prompt holds bytes that are no UTF-8: '%.40s'; correct the data", text);
}

static ap_status put_messages(json_t *body, const struct ap_api_request *r, struct ap_error *err)
{
    json_t *messages = json_array();
    bool fine = put(body, "messages", messages);
    for (size_t i = 0; fine && i < r->n_context; i++)
        fine = json_array_append_new(messages, json_pack("{s:s, s:s}", "role", r->context[i].role,
                                                         "content", r->context[i].content)) == 0;
    fine = fine && json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "user",
                                                             "content", r->prompt)) == 0;
    return fine ? AP_OK : no_memory(err);
}

static ap_status put_prompt(json_t *body, const struct ap_api_request *r, struct ap_error *err)
{
    struct ap_buffer text = {0};
    ap_status status = AP_OK;
    for (size_t i = 0; i < r->n_context; i++)
        AP_TRY(ap_buffer_printf(&text, err, "%s\n", r->context[i].content));
    AP_TRY(ap_buffer_puts(&text, r->prompt, err));
    if (!put(body, "prompt", json_string(text.data)))
        status = no_memory(err);
out:
    ap_buffer_free(&text);
    return status;
}

static ap_status put_sampling(json_t *body, const struct ap_api_request *r, struct ap_error *err)
{
    const struct ap_sampling *s = &r->sampling;
    bool fine = put(body, "max_tokens", json_integer(r->max_new_tokens)) &&
                put(body, "temperature", json_real(s->temperature));
    if (s->top_p < 1)
        fine = fine && put(body, "top_p", json_real(s->top_p));
    if (s->top_k > 0)
        fine = fine && put(body, "top_k", json_integer(s->top_k));
    if (s->min_p > 0)
        fine = fine && put(body, "min_p", json_real(s->min_p));
    if (s->repetition_penalty > 0 && s->repetition_penalty != 1)
        fine = fine && put(body, "repetition_penalty", json_real(s->repetition_penalty));
    json_t *stop = r->n_stop > 0 ? json_array() : NULL;
    fine = fine && (!stop || put(body, "stop", stop));
    for (int i = 0; fine && i < r->n_stop; i++)
        fine = json_array_append_new(stop, json_string(r->stop[i])) == 0;
    return fine ? AP_OK : no_memory(err);
}

static void merge(json_t *body, const json_t *extra)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)extra, key, value)
    {
        if (json_is_null(value))
            json_object_del(body, key);
        else
            json_object_set(body, key, value);
    }
}

ap_status ap_api_body(const struct ap_api_request *r, json_t **out, struct ap_error *err)
{
    json_t *body = json_object();
    ap_status status = body ? AP_OK : no_memory(err);
    *out = NULL;
    if (status == AP_OK)
        status = check_text(r->prompt, err);
    for (size_t i = 0; status == AP_OK && i < r->n_context; i++)
        status = check_text(r->context[i].content, err);
    if (status == AP_OK && r->model[0] && !put(body, "model", json_string(r->model)))
        status = no_memory(err);
    if (status == AP_OK)
        status = r->completions ? put_prompt(body, r, err) : put_messages(body, r, err);
    if (status == AP_OK)
        status = put_sampling(body, r, err);
    if (status == AP_OK && r->extra)
        merge(body, r->extra);
    if (status == AP_OK)
        *out = json_incref(body);
    json_decref(body);
    return status;
}

const char *ap_api_path(bool completions)
{
    return completions ? "/completions" : "/chat/completions";
}

/* ---- replies ---- */

/* A text that C can hold: a NUL becomes U+FFFD. NULL without memory. */
static char *copy_text(const json_t *value)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    const char *text = json_string_value(value);
    size_t n = json_string_length(value), n_nul = 0;
    for (size_t i = 0; i < n; i++)
        n_nul += text[i] == '\0';
    char *out = ap_calloc(n + n_nul * strlen(replacement) + 1, 1), *to = out;
    for (size_t i = 0; out && i < n; i++) {
        if (text[i])
            *to++ = text[i];
        else
            to = stpcpy(to, replacement);
    }
    return out;
}

static json_t *choice_at(const json_t *choices, int i)
{
    size_t k;
    json_t *choice;
    json_array_foreach((json_t *)choices, k, choice)
    {
        json_t *index = json_object_get(choice, "index");
        if (index ? json_is_integer(index) && json_integer_value(index) == i : (int)k == i)
            return choice;
    }
    return NULL;
}

/* Where a choice keeps its text; *refused where it is a refusal's. NULL: nowhere. */
static const json_t *text_of(const json_t *choice, bool completions, const char *finish,
                             bool *refused)
{
    const json_t *message = completions ? choice : json_object_get(choice, "message");
    const json_t *text = json_object_get(message, completions ? "text" : "content");
    const json_t *refusal = completions ? NULL : json_object_get(message, "refusal");
    *refused = strcmp(finish, "content_filter") == 0 || json_is_string(refusal);
    if (json_is_string(refusal))
        return refusal;
    return json_is_string(text) ? text : NULL;
}

static const char *read_choice(const json_t *choice, bool completions, struct ap_ledger_answer *out)
{
    const json_t *finish = json_object_get(choice, "finish_reason");
    const char *why = json_is_string(finish) ? json_string_value(finish) : "";
    bool refused, is_choice = json_is_object(choice);
    if (!is_choice || (!completions && !json_is_object(json_object_get(choice, "message"))))
        return "a choice is missing or holds no message";
    const json_t *text = text_of(choice, completions, why, &refused);
    /* a reasoning model that came to its limit before its answer has no text */
    if (!text && !refused && strcmp(why, "length") != 0)
        return "a choice holds no text";
    out->refused = refused;
    out->finish = ap_strdup(why);
    out->text = text ? copy_text(text) : ap_strdup("");
    return out->text && out->finish ? NULL : "no memory was left for it";
}

static int64_t count_of(const json_t *usage, const char *key)
{
    const json_t *n = json_object_get(usage, key);
    bool fine = json_is_integer(n) && json_integer_value(n) >= 0 && json_integer_value(n) < 1 << 30;
    return fine ? json_integer_value(n) : -1;
}

/* The prompt is the first answer's; what was written is shared out. */
static void share_usage(const json_t *usage, int n, struct ap_ledger_answer *out)
{
    int64_t prompt = count_of(usage, "prompt_tokens");
    int64_t written = count_of(usage, "completion_tokens");
    for (int i = 0; i < n; i++) {
        bool told = prompt >= 0 && written >= 0;
        out[i].n_prompt = told ? (i == 0 ? prompt : 0) : -1;
        out[i].n_token = told ? written / n + (i < written % n) : -1;
    }
}

static const char *read_choices(const json_t *root, bool completions, int n,
                                struct ap_ledger_answer *out)
{
    const json_t *choices = json_object_get(root, "choices");
    const char *why = NULL;
    if (!json_is_array(choices) || json_array_size(choices) < (size_t)n ||
        json_array_size(choices) > CHOICES_MAX)
        return "it has not as many choices as were asked for";
    for (int i = 0; i < n && !why; i++) {
        const json_t *choice = choice_at(choices, i);
        why = choice ? read_choice(choice, completions, &out[i]) : "a choice is missing";
    }
    if (!why)
        share_usage(json_object_get(root, "usage"), n, out);
    return why;
}

static void clear(struct ap_ledger_answer *out, int n)
{
    for (int i = 0; i < n; i++)
        ap_ledger_answer_free(&out[i]);
}

const char *ap_api_read(const char *body, size_t n_body, bool completions, int n,
                        struct ap_ledger_answer *out)
{
    json_t *root = NULL;
    memset(out, 0, (size_t)n * sizeof(*out));
    if (ap_json_parse(body, n_body, "reply", &root, NULL) != AP_OK)
        return "it is no JSON";
    const char *why = read_choices(root, completions, n, out);
    json_decref(root);
    if (why)
        clear(out, n);
    return why;
}

bool ap_api_refused(const char *body, size_t n_body, int n, struct ap_ledger_answer *out)
{
    static const char *const codes[] = {"content_filter", "content_policy_violation",
                                        "ResponsibleAIPolicyViolation"};
    json_t *root = NULL;
    bool refused = false;
    if (ap_json_parse(body, n_body, "reply", &root, NULL) != AP_OK)
        return false;
    const json_t *e = json_object_get(root, "error"), *words = json_object_get(e, "message");
    const char *code = json_string_value(json_object_get(e, "code"));
    for (size_t i = 0; code && i < AP_LEN(codes); i++)
        refused = refused || strcmp(code, codes[i]) == 0;
    for (int i = 0; refused && i < n; i++) {
        out[i] = (struct ap_ledger_answer){.text = json_is_string(words) ? copy_text(words)
                                                                         : ap_strdup(""),
                                           .finish = ap_strdup("content_filter"),
                                           .refused = true};
        refused = out[i].text && out[i].finish;
        if (!refused)
            clear(out, i + 1);
    }
    json_decref(root);
    return refused;
}
