/* The right answers of the fault server (fault_server.h): chats, completions with echoed
 * log-probabilities, rewards. Nothing here fails. */
#include "fault_server.h"

#include "base/random.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fault_text(const json_t *asked, int64_t seed, int k, char out[FAULT_TEXT])
{
    char *text = json_dumps(asked, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    snprintf(out, FAULT_TEXT, "a%016llx s%lld k%d",
             (unsigned long long)ap_hash(text ? text : "", text ? strlen(text) : 0),
             (long long)seed, k);
    free(text);
}

static const json_t *asked_of(const json_t *request)
{
    const json_t *messages = json_object_get(request, "messages");
    return messages ? messages : json_object_get(request, "prompt");
}

static int64_t seed_of(const json_t *request)
{
    const json_t *seed = json_object_get(request, "seed");
    return json_is_integer(seed) ? json_integer_value(seed) : -1;
}

bool fault_text_of(const char *body, size_t n, int k, char out[FAULT_TEXT])
{
    json_t *request = json_loadb(body, n, 0, NULL);
    bool is = request && asked_of(request);
    if (is)
        fault_text(asked_of(request), seed_of(request), k, out);
    json_decref(request);
    return is;
}

bool fault_text_in(const char *reply, size_t n, char out[FAULT_TEXT])
{
    json_t *root = json_loadb(reply, n, JSON_REJECT_DUPLICATES, NULL);
    json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    json_t *text = json_object_get(json_object_get(choice, "message"), "content");
    if (!text)
        text = json_object_get(choice, "text");
    bool is = json_is_string(text);
    if (is)
        snprintf(out, FAULT_TEXT, "%s", json_string_value(text));
    json_decref(root);
    return is;
}

double fault_reward(const char *prompt, const char *response)
{
    uint64_t mixed = ap_hash(prompt, strlen(prompt)) ^ (ap_hash(response, strlen(response)) << 1);
    return (double)(mixed % 4096) / 4096;
}

double fault_logp(const char *text, size_t i)
{
    return -(double)((ap_hash(text, strlen(text)) + 31 * i) % 512 + 1) / 64;
}

/* Tokens are characters. */
static void add_tokens(const char *text, size_t first, bool first_is_null, json_t *tokens,
                       json_t *logps, json_t *offsets)
{
    size_t n = strlen(text), step, k = first;
    for (size_t at = 0; at < n; at += step, k++) {
        uint32_t code;
        step = ap_utf8_decode(text + at, n - at, &code);
        json_array_append_new(tokens, json_stringn(text + at, step));
        json_array_append_new(logps, at == 0 && first_is_null ? json_null()
                                                              : json_real(fault_logp(text, k)));
        json_array_append_new(offsets, json_integer((json_int_t)k));
    }
}

static json_t *completion_choice(const json_t *request, const char *text, int k)
{
    const char *prompt = json_string_value(json_object_get(request, "prompt"));
    bool echo = prompt && json_is_true(json_object_get(request, "echo"));
    json_int_t most = json_integer_value(json_object_get(request, "max_tokens"));
    bool any = most > 0 || !json_object_get(request, "max_tokens");
    char *whole = NULL;
    if (asprintf(&whole, "%s%s", echo ? prompt : "", any ? text : "") < 0)
        return NULL;
    json_t *choice = json_pack("{s:i, s:s, s:s, s:n}", "index", k, "text", whole, "finish_reason",
                               any ? "stop" : "length", "logprobs");
    if (json_is_integer(json_object_get(request, "logprobs"))) {
        json_t *tokens = json_array(), *logps = json_array(), *offsets = json_array();
        add_tokens(whole, 0, echo, tokens, logps, offsets);
        json_object_set_new(choice, "logprobs",
                            json_pack("{s:o, s:o, s:o, s:n}", "tokens", tokens, "token_logprobs",
                                      logps, "text_offset", offsets, "top_logprobs"));
    }
    free(whole);
    return choice;
}

static json_t *choice_of(const json_t *request, int k, bool filtered)
{
    char text[FAULT_TEXT];
    const json_t *most = json_object_get(request, "max_tokens");
    bool limited = json_is_integer(most) && json_integer_value(most) < FAULT_COMPLETION_TOKENS;
    fault_text(asked_of(request), seed_of(request), k, text);
    if (!json_object_get(request, "messages"))
        return completion_choice(request, text, k);
    return json_pack("{s:i, s:{s:s, s:s}, s:n, s:s}", "index", k, "message", "role", "assistant",
                     "content", filtered ? "" : text, "logprobs", "finish_reason",
                     filtered  ? "content_filter"
                     : limited ? "length"
                               : "stop");
}

static json_t *choices(const json_t *request, bool filtered)
{
    json_t *n = json_object_get(request, "n"), *list = json_array();
    int many = json_is_integer(n) ? (int)json_integer_value(n) : 1;
    if (!asked_of(request)) {
        json_decref(list);
        return NULL;
    }
    for (int k = 0; k < many && k < 64; k++)
        json_array_insert_new(list, 0, choice_of(request, k, filtered)); /* "index" tells */
    char *text = json_dumps(asked_of(request), JSON_COMPACT | JSON_ENCODE_ANY);
    json_int_t n_prompt = text ? (json_int_t)strlen(text) / 4 + 1 : 1;
    free(text);
    return json_pack("{s:s, s:s, s:i, s:s, s:o, s:{s:I, s:I, s:I}}", "id", "fault-1", "object",
                     json_object_get(request, "messages") ? "chat.completion" : "text_completion",
                     "created", 1, "model", "fault", "choices", list, "usage", "prompt_tokens",
                     n_prompt, "completion_tokens", (json_int_t)FAULT_COMPLETION_TOKENS * many,
                     "total_tokens", n_prompt + (json_int_t)FAULT_COMPLETION_TOKENS * many);
}

/* What the last two messages say: what was asked, and the answer to it. */
static double reward_of_messages(const json_t *messages)
{
    size_t n = json_array_size(messages);
    const char *x = json_string_value(json_object_get(json_array_get(messages, n - 2), "content"));
    const char *y = json_string_value(json_object_get(json_array_get(messages, n - 1), "content"));
    return fault_reward(x ? x : "", y ? y : "");
}

/* Of a prompt and its response, a number under "reward"; of a conversation, as vLLM's /classify and
 * /pooling. */
static json_t *reward(const char *path, const json_t *request)
{
    const char *prompt = json_string_value(json_object_get(request, "prompt"));
    const char *response = json_string_value(json_object_get(request, "response"));
    double value = reward_of_messages(json_object_get(request, "messages"));
    if (prompt && response)
        return json_pack("{s:f}", "reward", fault_reward(prompt, response));
    if (strstr(path, "/classify"))
        return json_pack("{s:s, s:[{s:i, s:s, s:[f, f], s:i}]}", "object", "list", "data", "index",
                         0, "label", "LABEL_0", "probs", value, 1 - value, "num_classes", 2);
    return json_pack("{s:s, s:[{s:i, s:s, s:[[f], [f]]}], s:{s:i, s:i}}", "object", "list", "data",
                     "index", 0, "object", "pooling", "data", 1 - value, value, "usage",
                     "prompt_tokens", 7, "total_tokens", 7);
}

/* As vLLM says what it reads: of each character {id: {"logprob"}}, null of the first. */
static json_t *prompt_logprobs(const json_t *messages)
{
    struct ap_buffer text = {0};
    json_t *list = json_array();
    size_t k, n_ending = json_array_size(messages), step, i = 0;
    json_t *m;
    json_array_foreach((json_t *)messages, k, m)
    {
        bool open = k + 1 == n_ending &&
                    strcmp(json_string_value(json_object_get(m, "role")), "assistant") == 0;
        if (ap_buffer_printf(&text, NULL, "%s%s", json_string_value(json_object_get(m, "content")),
                             open ? "" : "\n") != AP_OK)
            abort();
    }
    for (size_t at = 0; at < text.len; at += step, i++) {
        uint32_t code;
        char id[16];
        step = ap_utf8_decode(text.data + at, text.len - at, &code);
        snprintf(id, sizeof(id), "%u", (unsigned)code);
        json_array_append_new(list, i == 0 ? json_null()
                                           : json_pack("{s:{s:f, s:i}}", id, "logprob",
                                                       fault_logp(text.data, i), "rank", 1));
    }
    ap_buffer_free(&text);
    return list;
}

char *fault_answer(const char *path, const char *body, size_t n, bool filtered)
{
    json_t *request = json_loadb(body, n, 0, NULL);
    bool scores = strstr(path, "/classify") || strstr(path, "/pooling") ||
                  json_object_get(request, "response");
    json_t *reply = !request ? NULL : scores ? reward(path, request) : choices(request, filtered);
    if (reply && json_object_get(request, "prompt_logprobs"))
        json_object_set_new(reply, "prompt_logprobs",
                            prompt_logprobs(json_object_get(request, "messages")));
    char *text = reply ? json_dumps(reply, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(reply);
    json_decref(request);
    return text;
}
