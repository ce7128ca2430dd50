/* The schemas whose lines are records on their own: pairs, rewrites, prompts, messages; and the
 * table of all. Entry points: ap_dataset_format_named, ap_dataset_format_detect. */
#include "text/dataset_reader.h"

#include "base/error.h"

#include <string.h>

#define MESSAGES_MAX 4096

/* Required or optional text at a key, copied; *out stays NULL where it is absent. */
static ap_status keep_text(struct ap_dataset_reader *r, const json_t *o, const char *key,
                           bool required, char **out, const char *where, struct ap_error *err)
{
    const char *text = NULL;
    ap_status status = ap_json_text(o, key, where, required, &text, NULL, err);
    return status == AP_OK && text ? ap_dataset_keep(r, text, strlen(text), out, err) : status;
}

static ap_status read_message(struct ap_dataset_reader *r, const json_t *o,
                              struct ap_message *message, const char *where, struct ap_error *err)
{
    static const char *const known[] = {"system", "user", "assistant"};
    const char *role = NULL;
    char *content = NULL;
    ap_status status = ap_json_text(o, "role", where, true, &role, NULL, err);
    if (status == AP_OK)
        status = keep_text(r, o, "content", true, &content, where, err);
    if (status != AP_OK)
        return status;
    for (size_t i = 0; i < AP_LEN(known); i++) {
        if (!strcmp(role, known[i])) {
            *message = (struct ap_message){known[i], content};
            return AP_OK;
        }
    }
    return ap_fail(err, AP_FORMAT,
                   "%s: a message has the role \"%.32s\", expected system, user or assistant",
                   where, role);
}

/* e->context from the optional keys "system" and "messages". */
static ap_status read_context(struct ap_dataset_reader *r, const json_t *o, struct ap_example *e,
                              const char *where, struct ap_error *err)
{
    const json_t *list = json_object_get(o, "messages");
    size_t n = json_array_size(list);
    char *system = NULL;
    ap_status status;
    if (list && !json_is_null(list) && !json_is_array(list))
        return ap_fail(err, AP_FORMAT, "%s: \"messages\" is no array, expected a list of messages",
                       where);
    if (n > MESSAGES_MAX)
        return ap_fail(err, AP_LIMIT, "%s: %zu messages are over the limit of %d", where, n,
                       MESSAGES_MAX);
    AP_TRY(keep_text(r, o, "system", false, &system, where, err));
    if (n + (system != NULL) == 0)
        return AP_OK;
    e->context = ap_text_pool_take(r->d->storage, (n + 1) * sizeof(*e->context));
    if (!e->context)
        return ap_fail(err, AP_MEMORY, "%s: no memory for %zu messages", where, n);
    if (system)
        e->context[e->n_context++] = (struct ap_message){"system", system};
    for (size_t i = 0; i < n; i++)
        AP_TRY(read_message(r, json_array_get(list, i), &e->context[e->n_context++], where, err));
out:
    return status;
}

/* The example's "meta", kept as the JSON text that it is. */
static ap_status read_meta(struct ap_dataset_reader *r, const json_t *o, struct ap_example *e,
                           const char *where, struct ap_error *err)
{
    const json_t *meta = json_object_get(o, "meta");
    if (!meta || json_is_null(meta))
        return AP_OK;
    char *text = json_dumps(meta, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return ap_fail(err, AP_MEMORY, "%s: no memory for \"meta\"", where);
    ap_status status = ap_dataset_keep(r, text, strlen(text), &e->meta, err);
    free(text);
    return status;
}

static ap_status check_prompt(const struct ap_example *e, const char *where, struct ap_error *err)
{
    return *e->prompt ? AP_OK
                      : ap_fail(err, AP_FORMAT, "%s: the prompt is empty, expected a text", where);
}

/* Context, prompt and meta: what pairs, rewrites and prompts share. */
static ap_status read_common(struct ap_dataset_reader *r, const json_t *o, struct ap_example *e,
                             const char *where, struct ap_error *err)
{
    ap_status status;
    *e = (struct ap_example){0};
    AP_TRY(keep_text(r, o, "prompt", true, &e->prompt, where, err));
    AP_TRY(check_prompt(e, where, err));
    AP_TRY(read_context(r, o, e, where, err));
    AP_TRY(read_meta(r, o, e, where, err));
out:
    return status;
}

static ap_status pairs_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                              uint64_t number, struct ap_error *err)
{
    struct ap_example e;
    ap_status status;
    (void)number;
    AP_TRY(read_common(r, o, &e, where, err));
    AP_TRY(keep_text(r, o, "chosen", true, &e.chosen, where, err));
    AP_TRY(keep_text(r, o, "rejected", true, &e.rejected, where, err));
    AP_TRY(ap_dataset_add(r, &e, err));
out:
    return status;
}

static ap_status rewrites_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                                 uint64_t number, struct ap_error *err)
{
    struct ap_example e;
    const char *key = json_object_get(o, "rewrite") ? "rewrite" : "response";
    ap_status status;
    (void)number;
    AP_TRY(read_common(r, o, &e, where, err));
    AP_TRY(keep_text(r, o, key, true, &e.answer, where, err));
    AP_TRY(ap_dataset_add(r, &e, err));
out:
    return status;
}

static ap_status prompts_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                                uint64_t number, struct ap_error *err)
{
    struct ap_example e;
    (void)number;
    ap_status status = read_common(r, o, &e, where, err);
    return status == AP_OK ? ap_dataset_add(r, &e, err) : status;
}

/* The context read so far is the whole chat: its last user turn becomes the prompt, an assistant
 * turn behind it the answer. */
static ap_status split_chat(struct ap_example *e, const char *where, struct ap_error *err)
{
    size_t n = e->n_context;
    if (n && !strcmp(e->context[n - 1].role, "assistant"))
        e->answer = (char *)(uintptr_t)e->context[--n].content;
    if (n == 0 || strcmp(e->context[n - 1].role, "user") != 0)
        return ap_fail(err, AP_FORMAT,
                       "%s: \"messages\" ends in no user turn, expected one last, or one and its "
                       "answer",
                       where);
    e->prompt = (char *)(uintptr_t)e->context[--n].content;
    e->n_context = n;
    if (n == 0)
        e->context = NULL;
    return check_prompt(e, where, err);
}

static ap_status messages_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                                 uint64_t number, struct ap_error *err)
{
    struct ap_example e = {0};
    ap_status status;
    (void)number;
    AP_TRY(read_context(r, o, &e, where, err));
    AP_TRY(split_chat(&e, where, err));
    AP_TRY(read_meta(r, o, &e, where, err));
    AP_TRY(ap_dataset_add(r, &e, err));
out:
    return status;
}

static const char *const pairs_keys[] = {"prompt", "chosen", "rejected", NULL};
static const char *const helpsteer_keys[] = {"prompt",      "response",  "helpfulness",
                                             "correctness", "coherence", "complexity",
                                             "verbosity",   NULL};
static const char *const prompt_keys[] = {"prompt", NULL};
static const char *const answer_keys[] = {"rewrite", "response", NULL};
static const char *const messages_keys[] = {"messages", NULL};
static const char *const no_keys[] = {NULL};

/* In the order of detection: a row before those that its records would fit as well. */
static const struct ap_dataset_format formats[] = {
    {"pairs", "{prompt, chosen, rejected}", pairs_keys, no_keys, pairs_record, NULL},
    {"helpsteer", "HelpSteer's {prompt, response, helpfulness, ...}", helpsteer_keys, no_keys,
     ap_helpsteer_record, ap_helpsteer_end},
    {"rewrites", "{prompt, rewrite} or {prompt, response}", prompt_keys, answer_keys,
     rewrites_record, NULL},
    {"prompts", "{prompt}", prompt_keys, no_keys, prompts_record, NULL},
    {"messages", "{messages}", messages_keys, no_keys, messages_record, NULL},
    {"text", "documents", NULL, NULL, NULL, ap_documents_end},
};

const struct ap_dataset_format *ap_dataset_format_named(const char *name)
{
    for (size_t i = 0; i < AP_LEN(formats); i++)
        if (!strcmp(formats[i].name, name))
            return &formats[i];
    return NULL;
}

static bool has_keys(const struct ap_dataset_format *format, const json_t *o)
{
    if (!format->all)
        return false;
    for (const char *const *key = format->all; *key; key++)
        if (!json_object_get(o, *key))
            return false;
    bool any = !*format->any;
    for (const char *const *key = format->any; *key; key++)
        any = any || json_object_get(o, *key);
    return any;
}

ap_status ap_dataset_format_detect(const struct ap_dataset_format **out, const json_t *o,
                                   const char *where, struct ap_error *err)
{
    char keys[256] = "", shapes[512] = "";
    const char *key;
    json_t *value;
    for (size_t i = 0; i < AP_LEN(formats); i++) {
        if (has_keys(&formats[i], o)) {
            *out = &formats[i];
            return AP_OK;
        }
        size_t used = strlen(shapes);
        if (formats[i].all)
            snprintf(shapes + used, sizeof(shapes) - used, "%s%s", used ? "; " : "",
                     formats[i].shape);
    }
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        size_t used = strlen(keys);
        snprintf(keys + used, sizeof(keys) - used, "%s%.40s", used ? ", " : "", key);
    }
    return ap_fail(err, AP_FORMAT,
                   "%.500s: a record with the keys {%s} is of no known schema, "
                   "expected one of %s",
                   where, keys, shapes);
}
