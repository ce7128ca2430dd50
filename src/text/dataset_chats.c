/* Schemas made of lists of messages: {messages}, ShareGPT's {conversations}, and pairs of chats as
 * UltraFeedback's binarized form has them. A message is {role, content} or {from, value}. */
#include "text/dataset_reader.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define MESSAGES_MAX 4096

/* ---- messages ---- */

static ap_status role_named(const char **out, const char *name, const char *where,
                            struct ap_error *err)
{
    static const char *const names[][2] = {
        {"system", "system"},       {"user", "user"},         {"human", "user"},
        {"assistant", "assistant"}, {"gpt", "assistant"},     {"model", "assistant"},
        {"bot", "assistant"},       {"chatgpt", "assistant"}, {"bing", "assistant"},
        {"bard", "assistant"},
    };
    for (size_t i = 0; i < AP_LEN(names); i++) {
        if (!strcmp(name, names[i][0])) {
            *out = names[i][1];
            return AP_OK;
        }
    }
    return ap_fail(err, AP_FORMAT,
                   "%s: a message has the role \"%.32s\", expected system, user or assistant "
                   "(ShareGPT's human, gpt, model, bot, chatgpt, bing, bard too)",
                   where, name);
}

static ap_status read_message(struct ap_dataset_reader *r, const json_t *o,
                              struct ap_message *message, const char *where, struct ap_error *err)
{
    bool from = json_object_get(o, "from") && !json_object_get(o, "role");
    const char *role = NULL;
    char *content = NULL;
    ap_status status;
    AP_TRY(ap_json_text(o, from ? "from" : "role", where, true, &role, NULL, err));
    AP_TRY(role_named(&message->role, role, where, err));
    AP_TRY(ap_dataset_keep_key(r, o, from ? "value" : "content", true, &content, where, err));
    message->content = content;
out:
    return status;
}

ap_status ap_turns_room(struct ap_dataset_reader *r, struct ap_turns *t, size_t n,
                        const char *where, struct ap_error *err)
{
    *t = (struct ap_turns){0};
    if (n > MESSAGES_MAX)
        return ap_fail(err, AP_LIMIT, "%s: %zu messages are over the limit of %d", where, n,
                       MESSAGES_MAX);
    if (n)
        t->items = ap_text_pool_take(r->d->storage, n * sizeof(*t->items));
    return t->items || !n ? AP_OK
                          : ap_fail(err, AP_MEMORY, "%s: no memory for %zu messages", where, n);
}

static ap_status check_list(const json_t *o, const char *key, const char *where,
                            struct ap_error *err)
{
    const json_t *list = json_object_get(o, key);
    return !list || json_is_null(list) || json_is_array(list)
               ? AP_OK
               : ap_fail(err, AP_FORMAT, "%s: \"%s\" is no array, expected a list of messages",
                         where, key);
}

/* The list at a key, behind what the room holds already. */
static ap_status read_list(struct ap_dataset_reader *r, const json_t *o, const char *key,
                           struct ap_turns *t, const char *where, struct ap_error *err)
{
    const json_t *list = json_object_get(o, key);
    char there[1300];
    for (size_t i = 0; i < json_array_size(list); i++) {
        snprintf(there, sizeof(there), "%s: %s[%zu]", where, key, i);
        ap_status status = read_message(r, json_array_get(list, i), &t->items[t->n], there, err);
        if (status != AP_OK)
            return status;
        t->n++;
    }
    return AP_OK;
}

ap_status ap_turns_context(struct ap_dataset_reader *r, const json_t *o, const char *key,
                           struct ap_example *e, const char *where, struct ap_error *err)
{
    struct ap_turns t;
    char *system = NULL;
    ap_status status;
    AP_TRY(check_list(o, key, where, err));
    AP_TRY(ap_dataset_keep_key(r, o, "system", false, &system, where, err));
    AP_TRY(ap_turns_room(r, &t, json_array_size(json_object_get(o, key)) + (system && *system),
                         where, err));
    if (system && *system)
        t.items[t.n++] = (struct ap_message){"system", system};
    AP_TRY(read_list(r, o, key, &t, where, err));
    e->context = t.items;
    e->n_context = t.n;
out:
    return status;
}

ap_status ap_turns_prompt(struct ap_example *e, const struct ap_turns *t, const char *where,
                          struct ap_error *err)
{
    if (t->n == 0 || strcmp(t->items[t->n - 1].role, "user") != 0)
        return ap_fail(err, AP_FORMAT,
                       "%s: ends in no user turn, expected one last, or one and its answer", where);
    e->prompt = (char *)(uintptr_t)t->items[t->n - 1].content;
    e->n_context = t->n - 1;
    e->context = e->n_context ? t->items : NULL;
    return ap_dataset_check_prompt(e, where, err);
}

/* ---- one chat ---- */

/* The last user turn is the prompt, an assistant turn behind it the answer. */
static ap_status read_chat(struct ap_dataset_reader *r, const json_t *o, const char *key,
                           struct ap_example *e, const char *where, struct ap_error *err)
{
    ap_status status;
    AP_TRY(ap_turns_context(r, o, key, e, where, err));
    struct ap_turns t = {e->context, e->n_context};
    if (t.n && !strcmp(t.items[t.n - 1].role, "assistant"))
        e->answer = (char *)(uintptr_t)t.items[--t.n].content;
    AP_TRY(ap_turns_prompt(e, &t, where, err));
    AP_TRY(ap_dataset_read_meta(r, o, e, where, err));
out:
    return status;
}

ap_status ap_messages_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                             uint64_t number, struct ap_error *err)
{
    struct ap_example e = {0};
    (void)number;
    ap_status status = read_chat(r, o, "messages", &e, where, err);
    return status == AP_OK ? ap_dataset_add(r, &e, err) : status;
}

/* LLaMA-Factory's ShareGPT pairs: the conversation ends in the prompt, and the two answers stand
 * beside it as one message each. */
static ap_status read_answers(struct ap_dataset_reader *r, const json_t *o, struct ap_example *e,
                              const char *where, struct ap_error *err)
{
    struct ap_message chosen = {0}, rejected = {0};
    ap_status status;
    if (!json_is_object(json_object_get(o, "chosen")))
        return AP_OK;
    AP_TRY(read_message(r, json_object_get(o, "chosen"), &chosen, where, err));
    AP_TRY(read_message(r, json_object_get(o, "rejected"), &rejected, where, err));
    e->chosen = (char *)(uintptr_t)chosen.content;
    e->rejected = (char *)(uintptr_t)rejected.content;
out:
    return status;
}

ap_status ap_sharegpt_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                             uint64_t number, struct ap_error *err)
{
    struct ap_example e = {0};
    ap_status status;
    (void)number;
    AP_TRY(read_chat(r, o, "conversations", &e, where, err));
    AP_TRY(read_answers(r, o, &e, where, err));
    AP_TRY(ap_dataset_add(r, &e, err));
out:
    return status;
}

/* ---- two chats ---- */

/* One side's whole chat: "prompt" as a list of messages stands before it; "prompt" as a text is its
 * user turn where it has none of its own. */
static ap_status read_side(struct ap_dataset_reader *r, const json_t *o, const char *key,
                           struct ap_turns *t, const char *where, struct ap_error *err)
{
    const json_t *list = json_object_get(o, key), *prompt = json_object_get(o, "prompt");
    char *text = NULL;
    ap_status status;
    AP_TRY(check_list(o, key, where, err));
    AP_TRY(ap_turns_room(r, t, json_array_size(list) + json_array_size(prompt) + 1, where, err));
    if (json_is_array(prompt)) {
        AP_TRY(read_list(r, o, "prompt", t, where, err));
    } else if (json_array_size(list) == 1) {
        AP_TRY(ap_dataset_keep_key(r, o, "prompt", true, &text, where, err));
        t->items[t->n++] = (struct ap_message){"user", text};
    }
    AP_TRY(read_list(r, o, key, t, where, err));
    if (t->n == 0 || strcmp(t->items[t->n - 1].role, "assistant") != 0)
        status = ap_fail(err, AP_FORMAT,
                         "%s: \"%s\" ends in no assistant turn, expected the answer", where, key);
out:
    return status;
}

ap_status ap_turns_pair(struct ap_dataset_reader *r, struct ap_turns *chosen,
                        const struct ap_turns *rejected, struct ap_example *e, const char *where,
                        struct ap_error *err)
{
    bool same = chosen->n == rejected->n;
    size_t n = chosen->n - 1;
    for (size_t i = 0; i < n && same; i++)
        same = !strcmp(chosen->items[i].role, rejected->items[i].role) &&
               !strcmp(chosen->items[i].content, rejected->items[i].content);
    if (!same)
        return ap_dataset_drop(r, AP_DROP_CONTEXT);
    e->chosen = (char *)(uintptr_t)chosen->items[n].content;
    e->rejected = (char *)(uintptr_t)rejected->items[n].content;
    chosen->n--;
    ap_status status = ap_turns_prompt(e, chosen, where, err);
    return status == AP_OK ? ap_dataset_add(r, e, err) : status;
}

ap_status ap_chat_pairs_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                               uint64_t number, struct ap_error *err)
{
    struct ap_example e = {0};
    struct ap_turns chosen, rejected;
    bool tie;
    ap_status status;
    (void)number;
    AP_TRY(read_side(r, o, "chosen", &chosen, where, err));
    AP_TRY(read_side(r, o, "rejected", &rejected, where, err));
    AP_TRY(ap_dataset_read_margin(o, &e.margin, &tie, where, err));
    AP_TRY(ap_dataset_read_meta(r, o, &e, where, err));
    AP_TRY(tie ? ap_dataset_drop(r, AP_DROP_TIE)
               : ap_turns_pair(r, &chosen, &rejected, &e, where, err));
out:
    return status;
}
