/* The table of all schemas, and which one a record is of. Entry points: ap_dataset_format_named,
 * ap_dataset_format_detect, ap_dataset_format_names. */
#include "text/dataset_reader.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* In the order of detection: a row before those that its records would fit as well. */
static const struct ap_dataset_format formats[] = {
    {.name = "ultrafeedback",
     .shape = "{instruction, completions}",
     .all = KEYS("instruction", "completions"),
     .lists = KEYS("completions"),
     .scores = ap_ultrafeedback_scores,
     .record = ap_ultrafeedback_record},
    {.name = "ultrafeedback-binarized",
     .shape = "{chosen: [messages], rejected: [messages]}",
     .all = KEYS("chosen", "rejected"),
     .lists = KEYS("chosen", "rejected"),
     .record = ap_chat_pairs_record},
    {.name = "pairs",
     .shape = "{prompt, chosen, rejected}",
     .all = KEYS("prompt", "chosen", "rejected"),
     .record = ap_pairs_record},
    {.name = "sharegpt",
     .shape = "{conversations}",
     .all = KEYS("conversations"),
     .record = ap_sharegpt_record},
    {.name = "orca",
     .shape = "{system, question, chosen, rejected}",
     .all = KEYS("chosen", "rejected"),
     .any = KEYS("question", "input"),
     .record = ap_orca_record},
    {.name = "hh-rlhf",
     .shape = "{chosen, rejected} transcripts",
     .all = KEYS("chosen", "rejected"),
     .record = ap_transcripts_record},
    {.name = "helpsteer",
     .shape = "{prompt, response, helpfulness, ...}",
     .all = KEYS("prompt", "response", "helpfulness", "correctness", "coherence", "complexity",
                 "verbosity"),
     .scores = ap_helpsteer_scores,
     .record = ap_helpsteer_record,
     .end = ap_helpsteer_end},
    {.name = "helpsteer2-preference",
     .shape = "{prompt, response_1, response_2, preference_strength}",
     .all = KEYS("prompt", "response_1", "response_2", "preference_strength"),
     .record = ap_preference_record},
    {.name = "alpaca",
     .shape = "{instruction, input, output}",
     .all = KEYS("instruction", "output"),
     .record = ap_alpaca_record},
    {.name = "rewrites",
     .shape = "{prompt, rewrite} or {prompt, response}",
     .all = KEYS("prompt"),
     .any = KEYS("rewrite", "response"),
     .record = ap_rewrites_record},
    {.name = "prompts", .shape = "{prompt}", .all = KEYS("prompt"), .record = ap_prompts_record},
    {.name = "messages",
     .shape = "{messages}",
     .all = KEYS("messages"),
     .record = ap_messages_record},
    {.name = "text", .shape = "documents", .end = ap_documents_end},
};

const struct ap_dataset_format *ap_dataset_format_named(const char *name)
{
    for (size_t i = 0; i < AP_LEN(formats); i++)
        if (!strcmp(formats[i].name, name))
            return &formats[i];
    return NULL;
}

/* words joined as "a, b or c". */
static void join(char *out, size_t n_out, const char *const *words, size_t n)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n && used < n_out; i++)
        used += (size_t)snprintf(out + used, n_out - used, "%s%s",
                                 i == 0       ? ""
                                 : i + 1 == n ? " or "
                                              : ", ",
                                 words[i]);
}

void ap_dataset_format_names(char *out, size_t n_out)
{
    const char *names[AP_LEN(formats) + 1] = {"auto"};
    for (size_t i = 0; i < AP_LEN(formats); i++)
        names[i + 1] = formats[i].name;
    join(out, n_out, names, AP_LEN(names));
}

ap_status ap_dataset_check_score(const struct ap_dataset_format *format, const char *score,
                                 struct ap_error *err)
{
    char known[256];
    size_t n = 0;
    if (!score || !strcmp(score, "auto"))
        return AP_OK;
    for (; format->scores && format->scores[n]; n++)
        if (!strcmp(format->scores[n], score))
            return AP_OK;
    if (n == 0) /* the recipe's other files are read with the same options */
        return AP_OK;
    join(known, sizeof(known), format->scores, n);
    return ap_fail(err, AP_INVALID, "data.score is \"%.64s\", expected auto or, in format %s, %s",
                   score, format->name, known);
}

/* Whether all the keys stand in the record, and (lists) hold arrays. */
static bool has_all(const json_t *o, const char *const *keys, bool lists)
{
    for (; keys && *keys; keys++) {
        const json_t *value = json_object_get(o, *keys);
        if (!value || (lists && !json_is_array(value)))
            return false;
    }
    return true;
}

static bool has_keys(const struct ap_dataset_format *format, const json_t *o)
{
    bool any = !format->any;
    for (const char *const *key = format->any; key && *key; key++)
        any = any || json_object_get(o, *key);
    return format->all && any && has_all(o, format->all, false) && has_all(o, format->lists, true);
}

ap_status ap_dataset_format_detect(const struct ap_dataset_format **out, const json_t *o,
                                   const char *where, struct ap_error *err)
{
    char keys[160] = "", shapes[512] = "";
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
                   "%.300s: a record with the keys {%s} is of no known schema, expected one of %s",
                   where, keys, shapes);
}
