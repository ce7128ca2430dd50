/* Log-probabilities of a server (logp_http.h).
 *
 *     completions  prompt + answer, echo ─► Σ of the tokens that spell the answer
 *     chat         prompt alone ─► how many tokens it has
 *                  prompt, answer ─► Σ of the tokens behind that many
 * Entry points: ap_logp_http, ap_logp_read_echo, ap_logp_read_prompt. */
#include "align/logp_http.h"

#include "align/chat_api.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- replies ---- */

static const char no_logprobs[] = "it has no log-probabilities of what it read";

static const json_t *first_choice(const json_t *root)
{
    return json_array_get(json_object_get(root, "choices"), 0);
}

/* Of a reply without them: a whole answer comes from a server that has none, anything else is
 * broken and may be whole the next time. */
static const char *why_none(const json_t *root)
{
    const json_t *choice = first_choice(root);
    const json_t *content = json_object_get(json_object_get(choice, "message"), "content");
    bool whole = json_is_string(content) || json_is_string(json_object_get(choice, "text"));
    return whole ? no_logprobs : "it holds no answer";
}

/* The first token of all has no log-probability: null. */
static const char *add_number(const json_t *value, double *sum)
{
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        return "a token has no log-probability";
    *sum += json_number_value(value);
    return NULL;
}

/* A text whose tokens are read one after another. */
struct spelling {
    const char *text;
    size_t at;    /* behind what they have spelt so far */
    size_t start; /* where the last one begins, with the blanks before it */
    int n_part;   /* tokens in a row that are parts of characters, whose bytes nobody says */
    bool is_one;  /* the last token is one of the text, no begin token before it */
};

enum { CHARACTER_MAX = 4 };

static bool begins(const char *text, const char *part)
{
    return strncmp(text, part, strlen(part)) == 0;
}

/* Blanks before a word may be missing in the token or in the text: tokens are decoded alone. */
static bool spell_word(struct spelling *s, const char *token)
{
    const char *from = s->text + s->at, *word = token + strspn(token, " ");
    size_t skip = strspn(from, " "), end = skip + (size_t)(s->n_part * CHARACTER_MAX);
    if (*token && begins(from, token)) {
        skip = 0;
        word = token;
    }
    while (*word && skip < end && from[skip] && !begins(from + skip, word))
        skip++;
    if (!*word || !begins(from + skip, word))
        return false;
    s->start = s->n_part > 0 ? s->at + skip : s->at;
    s->at += skip + strlen(word);
    s->n_part = 0;
    return true;
}

static bool spell(struct spelling *s, const char *token)
{
    bool is_part = !*token || strstr(token, "\xEF\xBF\xBD");
    s->is_one = true;
    s->start = s->at;
    if (spell_word(s, token))
        return true;
    s->n_part += is_part;
    s->is_one = is_part;
    return is_part || s->at == 0;
}

static bool is_spelt(const struct spelling *s)
{
    const char *rest = s->text + s->at;
    return strlen(rest) <= (size_t)(s->n_part * CHARACTER_MAX) || !rest[strspn(rest, " ")];
}

static const char *sum_echo(const json_t *root, const char *text, size_t first, double *out)
{
    const json_t *logprobs = json_object_get(first_choice(root), "logprobs");
    const json_t *values = json_object_get(logprobs, "token_logprobs");
    const json_t *tokens = json_object_get(logprobs, "tokens");
    struct spelling s = {.text = text};
    const char *why = NULL;
    *out = 0;
    if (!json_is_array(values) || json_array_size(values) != json_array_size(tokens))
        return why_none(root);
    for (size_t i = 0; i < json_array_size(values) && text[s.at] && !why; i++) {
        const char *token = json_string_value(json_array_get(tokens, i));
        if (!token || !spell(&s, token))
            return "its tokens do not spell what it was sent";
        if (s.is_one && s.start >= first)
            why = add_number(json_array_get(values, i), out);
    }
    return why ? why : is_spelt(&s) ? NULL : "its tokens do not spell what it was sent";
}

const char *ap_logp_read_echo(const char *body, size_t n_body, const char *text, size_t first,
                              double *out)
{
    json_t *root = NULL;
    if (ap_json_parse(body, n_body, "reply", &root, NULL) != AP_OK)
        return "it is no JSON";
    const char *why = sum_echo(root, text, first, out);
    json_decref(root);
    return why ? why : isfinite(*out) ? NULL : "its sum is not finite";
}

/* An entry is {id: {"logprob", …}, …}, the token that was read first. */
static const json_t *entry_logp(const json_t *entry)
{
    void *at = json_object_iter((json_t *)entry);
    return at ? json_object_get(json_object_iter_value(at), "logprob") : NULL;
}

const char *ap_logp_read_prompt(const char *body, size_t n_body, int64_t n_skip, double *out,
                                int64_t *n_token)
{
    json_t *root = NULL;
    const char *why = NULL;
    if (ap_json_parse(body, n_body, "reply", &root, NULL) != AP_OK)
        return "it is no JSON";
    const json_t *list = json_object_get(root, "prompt_logprobs");
    list = json_is_array(list) ? list : json_object_get(first_choice(root), "prompt_logprobs");
    *out = 0;
    *n_token = (int64_t)json_array_size(list);
    if (!json_is_array(list))
        why = why_none(root);
    else if (*n_token < n_skip)
        why = "it has fewer tokens than the prompt alone";
    for (int64_t i = n_skip; i < *n_token && !why; i++)
        why = add_number(entry_logp(json_array_get(list, (size_t)i)), out);
    json_decref(root);
    return why ? why : isfinite(*out) ? NULL : "its sum is not finite";
}

/* ---- requests ---- */

struct weighing { /* one round of requests: n of them */
    const struct ap_target_settings *s;
    const struct ap_target_request *requests;
    const struct ap_answer *answers;
    int n;
    bool alone;      /* chat's first round: prompts without their answers */
    int64_t *n_skip; /* chat: tokens of each prompt, filled by the first round; else its bytes */
    json_t **texts;  /* completions: prompt and answer; owned */
    const json_t *extra; /* target.body; NULL: none */
};

static bool is_echo(const struct ap_target_settings *s)
{
    return strcmp(s->api, "completions") == 0;
}

static bool put(json_t *o, const char *key, json_t *value)
{
    return value && json_object_set_new(o, key, value) == 0;
}

static bool finish_echo(const struct weighing *w, json_t *body, int i)
{
    const char *prompt = json_string_value(json_object_get(body, "prompt"));
    w->n_skip[i] = (int64_t)strlen(prompt);
    w->texts[i] = json_sprintf("%s%s", prompt, w->answers[i].text);
    return w->texts[i] && json_object_set(body, "prompt", w->texts[i]) == 0 &&
           put(body, "max_tokens", json_integer(0)) && put(body, "echo", json_true()) &&
           put(body, "logprobs", json_integer(1));
}

static bool finish_chat(const struct weighing *w, json_t *body, int i)
{
    bool fine =
        put(body, "max_tokens", json_integer(1)) && put(body, "prompt_logprobs", json_integer(0));
    if (w->alone)
        return fine;
    return fine &&
           json_array_append_new(
               json_object_get(body, "messages"),
               json_pack("{s:s, s:s}", "role", "assistant", "content", w->answers[i].text)) == 0 &&
           put(body, "add_generation_prompt", json_false()) &&
           put(body, "continue_final_message", json_true());
}

static ap_status make_body(const struct weighing *w, int i, char **text, struct ap_error *err)
{
    const struct ap_target_request *r = &w->requests[i];
    const struct ap_api_request api = {.model = w->s->model,
                                       .context = r->context,
                                       .n_context = r->n_context,
                                       .prompt = r->prompt,
                                       .completions = is_echo(w->s),
                                       .max_new_tokens = 1,
                                       .sampling = {.temperature = 1, .top_p = 1},
                                       .extra = w->extra};
    json_t *body = NULL;
    ap_status status = ap_api_body(&api, &body, err);
    json_object_del(body, "max_completion_tokens"); /* of an answer; here nothing is written */
    bool fine =
        status == AP_OK && (is_echo(w->s) ? finish_echo(w, body, i) : finish_chat(w, body, i));
    *text = fine ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (status == AP_OK && !*text)
        status = ap_fail(err, AP_FORMAT, "target: an answer is no UTF-8, or no memory is left");
    return status;
}

/* In the ledger: the sum, or of a prompt alone its tokens. */
static const char *read_reply(void *context, const struct ap_remote_request *q,
                              const struct ap_client_reply *reply)
{
    const struct weighing *w = context;
    struct ap_ledger_answer *out = q->out;
    double sum = 0;
    int64_t n_token = 0;
    char text[40];
    const char *why =
        is_echo(w->s)
            ? ap_logp_read_echo(reply->body, reply->n_body, json_string_value(w->texts[q->index]),
                                (size_t)w->n_skip[q->index], &sum)
            : ap_logp_read_prompt(reply->body, reply->n_body, w->alone ? 1 : w->n_skip[q->index],
                                  &sum, &n_token);
    if (why)
        return why;
    snprintf(text, sizeof(text), "%.17g", w->alone ? (double)n_token : sum);
    *out = (struct ap_ledger_answer){.text = ap_strdup(text), .finish = ap_strdup("")};
    ap_api_usage(reply->body, reply->n_body, out);
    if (out->text && out->finish)
        return NULL;
    ap_ledger_answer_free(out);
    return "no memory was left for it";
}

static ap_status weigh(struct weighing *w, struct ap_remote *remote, double *out,
                       struct ap_error *err)
{
    const struct ap_remote_reader reader = {
        .context = w,
        .read = read_reply,
        .expected = is_echo(w->s) ? "choices[0].logprobs of the prompt" : "prompt_logprobs",
        .hopeless = no_logprobs,
        .remedy = "set target.logprobs: false, or ask a server that has them"};
    struct ap_remote_batch to;
    ap_status status = ap_remote_batch_open(&to, w->n, "target", err);
    for (int i = 0; i < w->n && status == AP_OK; i++) {
        char *text;
        status = make_body(w, i, &text, err);
        if (status == AP_OK)
            ap_remote_batch_put(&to, i, text, ap_api_path(is_echo(w->s)), "logp", w->s->name, 1);
    }
    if (status == AP_OK)
        status = ap_remote_fetch(remote, to.requests, w->n, &reader, err);
    for (int i = 0; i < w->n && status == AP_OK; i++)
        out[i] = strtod(to.answers[i].text, NULL);
    ap_remote_batch_free(&to);
    return status;
}

ap_status ap_logp_http(struct ap_remote *remote, const struct ap_target_settings *settings,
                       const struct ap_target_request *requests, const struct ap_answer *answers,
                       int n, double *out, struct ap_error *err)
{
    struct weighing w = {.s = settings, .requests = requests, .answers = answers, .n = n};
    json_t *extra = NULL;
    ap_status status = AP_OK;
    w.n_skip = ap_calloc((size_t)n, sizeof(*w.n_skip));
    w.texts = ap_calloc((size_t)n, sizeof(*w.texts));
    if (!w.n_skip || !w.texts)
        AP_TRY(ap_fail(err, AP_MEMORY, "target: no memory for %d answers", n));
    AP_TRY(ap_api_extra(settings->http.body, "target", &extra, err));
    w.extra = extra;
    if (!is_echo(settings)) {
        w.alone = true;
        AP_TRY(weigh(&w, remote, out, err));
        for (int i = 0; i < n; i++)
            w.n_skip[i] = (int64_t)out[i];
        w.alone = false;
    }
    AP_TRY(weigh(&w, remote, out, err));
out:
    for (int i = 0; w.texts && i < n; i++)
        json_decref(w.texts[i]);
    json_decref(extra);
    ap_free(w.texts);
    ap_free(w.n_skip);
    return status;
}
