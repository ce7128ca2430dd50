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
                put(body, "temperature", json_real(s->temperature)) &&
                put(body, "top_p", json_real(s->top_p)); /* llama.cpp's own is not 1 */
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

ap_status ap_api_extra(const char *text, const char *who, json_t **out, struct ap_error *err)
{
    char name[96];
    *out = NULL;
    snprintf(name, sizeof(name), "%s.body", who);
    return text && text[0] ? ap_json_parse(text, strlen(text), name, out, err) : AP_OK;
}

ap_status ap_api_merge(json_t *body, const json_t *extra, struct ap_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)extra, key, value)
    {
        if (json_is_null(value))
            json_object_del(body, key);
        else if (json_object_set(body, key, value) != 0)
            return no_memory(err);
    }
    return AP_OK;
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
    if (status == AP_OK)
        status = ap_api_merge(body, r->extra, err);
    if (status == AP_OK)
        *out = json_incref(body);
    json_decref(body);
    return status;
}

/* By OpenAI's newer name, too. */
int64_t ap_api_most_tokens(const json_t *body, int max_new_tokens)
{
    static const char *const names[] = {"max_tokens", "max_completion_tokens"};
    int64_t most = max_new_tokens;
    for (size_t i = 0; i < AP_LEN(names); i++) {
        int64_t n = json_integer_value(json_object_get(body, names[i]));
        most = n > most ? n : most;
    }
    return most;
}

const char *ap_api_path(bool completions)
{
    return completions ? "/completions" : "/chat/completions";
}

/* ---- replies ---- */

const char *ap_api_expected(bool completions)
{
    return completions ? "a text in choices[].text" : "a text in choices[].message.content";
}

/* As C can hold it: a NUL becomes U+FFFD. */
static ap_status put_text(struct ap_buffer *out, const json_t *value)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    const char *text = json_string_value(value), *end = text + json_string_length(value);
    ap_status status = ap_buffer_puts(out, text, NULL);
    while (status == AP_OK && (text += strlen(text)) < end) {
        text++;
        AP_TRY(ap_buffer_puts(out, replacement, NULL));
        AP_TRY(ap_buffer_puts(out, text, NULL));
    }
out:
    return status;
}

static const json_t *text_of_part(const json_t *part)
{
    const json_t *text = json_object_get(part, "text");
    return json_is_string(text) ? text : NULL;
}

/* A string, or the texts of a list of parts; what else there is of those (thoughts) is no answer.
 * NULL without memory. */
static char *copy_text(const json_t *value)
{
    struct ap_buffer out = {0};
    size_t i;
    json_t *part;
    ap_status status = ap_buffer_puts(&out, "", NULL);
    if (status == AP_OK && json_is_string(value))
        status = put_text(&out, value);
    json_array_foreach((json_t *)value, i, part)
    {
        if (status == AP_OK && text_of_part(part))
            status = put_text(&out, text_of_part(part));
    }
    if (status == AP_OK)
        return out.data;
    ap_buffer_free(&out);
    return NULL;
}

static bool is_text(const json_t *value)
{
    size_t i;
    json_t *part;
    json_array_foreach((json_t *)value, i, part)
    {
        if (text_of_part(part))
            return true;
    }
    return json_is_string(value);
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
    bool has_words = json_string_length(refusal) > 0; /* some write "" for none */
    *refused = strcmp(finish, "content_filter") == 0 || has_words;
    if (has_words)
        return refusal;
    return is_text(text) ? text : NULL;
}

/* Whether an answer may end so without a text: a reasoning model that came to its limit before its
 * answer, one that calls tools. */
static bool may_be_silent(const char *finish)
{
    return strcmp(finish, "length") == 0 || strcmp(finish, "tool_calls") == 0;
}

static const char *read_choice(const json_t *choice, bool completions, struct ap_ledger_answer *out)
{
    const json_t *finish = json_object_get(choice, "finish_reason");
    const char *why = json_is_string(finish) ? json_string_value(finish) : "";
    bool refused, is_choice = json_is_object(choice);
    if (!is_choice || (!completions && !json_is_object(json_object_get(choice, "message"))))
        return "a choice is missing or holds no message";
    const json_t *text = text_of(choice, completions, why, &refused);
    if (!text && !refused && !may_be_silent(why))
        return "a choice holds no text";
    out->refused = refused;
    out->finish = ap_strdup(why);
    out->text = copy_text(text);
    return out->text && out->finish ? NULL : "no memory was left for it";
}

static int64_t count_of(const json_t *usage, const char *key)
{
    const json_t *n = json_object_get(usage, key);
    bool fine = json_is_integer(n) && json_integer_value(n) >= 0 && json_integer_value(n) < 1 << 30;
    return fine ? json_integer_value(n) : -1;
}

/* The prompt is the first answer's; what was written is shared out. What writes nothing (a reward)
 * may tell of the prompt and the total alone. */
static void share_usage(const json_t *usage, int n, struct ap_ledger_answer *out)
{
    int64_t prompt = count_of(usage, "prompt_tokens");
    int64_t written = count_of(usage, "completion_tokens");
    if (!json_object_get(usage, "completion_tokens") && count_of(usage, "total_tokens") == prompt)
        written = 0;
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
    size_t n_choice = json_array_size(choices);
    if (n_choice < 1 || n_choice > CHOICES_MAX)
        return "it has no choices";
    n = n_choice < (size_t)n ? (int)n_choice : n;
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

bool ap_api_thinks(const char *body, size_t n_body)
{
    static const char *const names[] = {"reasoning_content", "reasoning"};
    json_t *root = NULL, *choice;
    size_t k;
    bool thinks = false;
    if (ap_json_parse(body, n_body, "reply", &root, NULL) != AP_OK)
        return false;
    json_array_foreach(json_object_get(root, "choices"), k, choice)
    {
        const json_t *message = json_object_get(choice, "message");
        for (size_t i = 0; i < AP_LEN(names); i++)
            thinks = thinks || json_string_length(json_object_get(message, names[i])) > 0;
    }
    json_decref(root);
    return thinks;
}

void ap_api_usage(const char *body, size_t n_body, struct ap_ledger_answer *out)
{
    json_t *root = NULL;
    ap_status status = ap_json_parse(body, n_body, "reply", &root, NULL);
    share_usage(status == AP_OK ? json_object_get(root, "usage") : NULL, 1, out);
    json_decref(root);
}

/* Azure says it in the error, or in the error inside it. */
static bool is_filter(const json_t *error)
{
    static const char *const codes[] = {"content_filter", "content_policy_violation",
                                        "ResponsibleAIPolicyViolation"};
    const json_t *errors[] = {error, json_object_get(error, "innererror"),
                              json_object_get(error, "inner_error")};
    for (size_t i = 0; i < AP_LEN(errors) * AP_LEN(codes); i++) {
        const json_t *code = json_object_get(errors[i % AP_LEN(errors)], "code");
        if (json_is_string(code) && strcmp(json_string_value(code), codes[i / AP_LEN(errors)]) == 0)
            return true;
    }
    return false;
}

bool ap_api_refused(const char *body, size_t n_body, int n, struct ap_ledger_answer *out)
{
    json_t *root = NULL;
    if (ap_json_parse(body, n_body, "reply", &root, NULL) != AP_OK)
        return false;
    const json_t *error = json_object_get(root, "error");
    bool refused = is_filter(error);
    for (int i = 0; refused && i < n; i++) {
        out[i] = (struct ap_ledger_answer){.text = copy_text(json_object_get(error, "message")),
                                           .finish = ap_strdup("content_filter"),
                                           .refused = true};
        refused = out[i].text && out[i].finish;
        if (!refused)
            clear(out, i + 1);
    }
    json_decref(root);
    return refused;
}
