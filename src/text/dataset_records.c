/* Schemas whose records name a prompt and its answers outright: pairs, rewrites, prompts, Orca's
 * pairs, Alpaca's instructions, HelpSteer2's preferences. */
#include "text/dataset_reader.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

ap_status ap_dataset_keep_key(struct ap_dataset_reader *r, const json_t *o, const char *key,
                              bool required, char **out, const char *where, struct ap_error *err)
{
    const char *text = NULL;
    ap_status status = ap_json_text(o, key, where, required, &text, NULL, err);
    return status == AP_OK && text ? ap_dataset_keep(r, text, strlen(text), out, err) : status;
}

ap_status ap_dataset_read_meta(struct ap_dataset_reader *r, const json_t *o, struct ap_example *e,
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

ap_status ap_dataset_check_prompt(const struct ap_example *e, const char *where,
                                  struct ap_error *err)
{
    return *e->prompt ? AP_OK
                      : ap_fail(err, AP_FORMAT, "%s: the prompt is empty, expected a text", where);
}

/* The prompt at a key, the context ("system", "messages") and the meta. */
static ap_status read_prompt(struct ap_dataset_reader *r, const json_t *o, const char *key,
                             struct ap_example *e, const char *where, struct ap_error *err)
{
    ap_status status;
    *e = (struct ap_example){0};
    AP_TRY(ap_dataset_keep_key(r, o, key, true, &e->prompt, where, err));
    AP_TRY(ap_dataset_check_prompt(e, where, err));
    AP_TRY(ap_turns_context(r, o, "messages", e, where, err));
    AP_TRY(ap_dataset_read_meta(r, o, e, where, err));
out:
    return status;
}

static ap_status read_pair(struct ap_dataset_reader *r, const json_t *o, struct ap_example *e,
                           const char *where, struct ap_error *err)
{
    ap_status status = ap_dataset_keep_key(r, o, "chosen", true, &e->chosen, where, err);
    return status == AP_OK ? ap_dataset_keep_key(r, o, "rejected", true, &e->rejected, where, err)
                           : status;
}

ap_status ap_dataset_read_score(const json_t *o, const char *key, bool required, double *out,
                                const char *where, struct ap_error *err)
{
    ap_status status = ap_json_real(o, key, where, required, out, err);
    return status == AP_OK ? ap_dataset_check_range(key, *out, where, err) : status;
}

ap_status ap_dataset_check_range(const char *key, double value, const char *where,
                                 struct ap_error *err)
{
    enum { MOST = 1000000 };
    return !(fabs(value) > MOST)
               ? AP_OK
               : ap_fail(err, AP_FORMAT, "%s: \"%s\" is %g, expected -%d to %d; correct it", where,
                         key, value, MOST, MOST);
}

ap_status ap_dataset_read_margin(const json_t *o, double *margin, bool *tie, const char *where,
                                 struct ap_error *err)
{
    static const char *const keys[][2] = {{"score_chosen", "score_rejected"},
                                          {"chosen_score", "rejected_score"},
                                          {"chosen_rating", "rejected_rating"},
                                          {"chosen-rating", "rejected-rating"}};
    ap_status status = AP_OK;
    *tie = false;
    for (size_t i = 0; i < AP_LEN(keys); i++) {
        double chosen = NAN, rejected = NAN;
        AP_TRY(ap_dataset_read_score(o, keys[i][0], false, &chosen, where, err));
        AP_TRY(ap_dataset_read_score(o, keys[i][1], false, &rejected, where, err));
        if (isnan(chosen) || isnan(rejected))
            continue;
        if (chosen < rejected)
            return ap_fail(err, AP_FORMAT,
                           "%s: \"%s\" is %g, below \"%s\" %g; exchange the answers", where,
                           keys[i][0], chosen, keys[i][1], rejected);
        *margin = chosen - rejected;
        *tie = chosen == rejected;
        break;
    }
out:
    return status;
}

ap_status ap_pairs_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                          uint64_t number, struct ap_error *err)
{
    struct ap_example e;
    bool tie = false;
    ap_status status;
    (void)number;
    AP_TRY(read_prompt(r, o, "prompt", &e, where, err));
    AP_TRY(read_pair(r, o, &e, where, err));
    AP_TRY(ap_dataset_read_margin(o, &e.margin, &tie, where, err));
    AP_TRY(tie ? ap_dataset_drop(r, AP_DROP_TIE) : ap_dataset_add(r, &e, err));
out:
    return status;
}

ap_status ap_rewrites_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                             uint64_t number, struct ap_error *err)
{
    struct ap_example e;
    const char *key = json_object_get(o, "rewrite") ? "rewrite" : "response";
    ap_status status;
    (void)number;
    AP_TRY(read_prompt(r, o, "prompt", &e, where, err));
    AP_TRY(ap_dataset_keep_key(r, o, key, true, &e.answer, where, err));
    AP_TRY(ap_dataset_add(r, &e, err));
out:
    return status;
}

ap_status ap_prompts_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                            uint64_t number, struct ap_error *err)
{
    struct ap_example e;
    (void)number;
    ap_status status = read_prompt(r, o, "prompt", &e, where, err);
    return status == AP_OK ? ap_dataset_add(r, &e, err) : status;
}

/* ---- Orca ---- */

/* The judge's two ratings, in the order in which the answers were shown to it. */
static ap_status read_ratings(const json_t *o, double *margin, bool *tie, const char *where,
                              struct ap_error *err)
{
    const json_t *list = json_object_get(o, "rating");
    const char *verdict = NULL;
    ap_status status = ap_json_text(o, "status", where, false, &verdict, NULL, err);
    *tie = verdict && !strcmp(verdict, "tie");
    if (status != AP_OK || !list || json_is_null(list))
        return status;
    const json_t *a = json_array_get(list, 0), *b = json_array_get(list, 1);
    if (json_array_size(list) != 2 || !json_is_number(a) || !json_is_number(b))
        return ap_fail(err, AP_FORMAT, "%s: \"rating\" is no list of two numbers; correct it",
                       where);
    *margin = fabs(json_number_value(a) - json_number_value(b));
    *tie = *tie || *margin == 0;
    return ap_dataset_check_range("rating", *margin, where, err);
}

ap_status ap_orca_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                         uint64_t number, struct ap_error *err)
{
    struct ap_example e;
    bool tie = false;
    ap_status status;
    (void)number;
    AP_TRY(
        read_prompt(r, o, json_object_get(o, "question") ? "question" : "input", &e, where, err));
    AP_TRY(read_pair(r, o, &e, where, err));
    AP_TRY(read_ratings(o, &e.margin, &tie, where, err));
    AP_TRY(tie ? ap_dataset_drop(r, AP_DROP_TIE) : ap_dataset_add(r, &e, err));
out:
    return status;
}

/* ---- HelpSteer2's preferences ---- */

ap_status ap_preference_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                               uint64_t number, struct ap_error *err)
{
    struct ap_example e = {0};
    const char *prompt = NULL;
    int64_t strength = 0; /* above 0: the second is the better one */
    ap_status status;
    (void)number;
    AP_TRY(ap_json_text(o, "prompt", where, true, &prompt, NULL, err));
    AP_TRY(ap_turns_marked(r, prompt, &e, where, err));
    AP_TRY(ap_json_int(o, "preference_strength", where, true, -3, 3, &strength, err));
    AP_TRY(ap_dataset_keep_key(r, o, strength < 0 ? "response_1" : "response_2", true, &e.chosen,
                               where, err));
    AP_TRY(ap_dataset_keep_key(r, o, strength < 0 ? "response_2" : "response_1", true, &e.rejected,
                               where, err));
    e.margin = fabs((double)strength);
    AP_TRY(strength == 0 ? ap_dataset_drop(r, AP_DROP_TIE) : ap_dataset_add(r, &e, err));
out:
    return status;
}

/* ---- Alpaca ---- */

/* The prompt is the instruction, and under it, after a blank line, the input where there is one. */
ap_status ap_alpaca_record(struct ap_dataset_reader *r, const json_t *o, const char *where,
                           uint64_t number, struct ap_error *err)
{
    struct ap_example e = {0};
    struct ap_buffer prompt = {0};
    const char *instruction = NULL, *input = "";
    ap_status status;
    (void)number;
    AP_TRY(ap_json_text(o, "instruction", where, true, &instruction, NULL, err));
    AP_TRY(ap_json_text(o, "input", where, false, &input, NULL, err));
    AP_TRY(ap_buffer_printf(&prompt, err, "%s%s%s", instruction, *input ? "\n\n" : "", input));
    AP_TRY(ap_dataset_keep(r, prompt.data, prompt.len, &e.prompt, err));
    AP_TRY(ap_dataset_check_prompt(&e, where, err));
    AP_TRY(ap_turns_context(r, o, "messages", &e, where, err));
    AP_TRY(ap_dataset_keep_key(r, o, "output", true, &e.answer, where, err));
    AP_TRY(ap_dataset_read_meta(r, o, &e, where, err));
    AP_TRY(ap_dataset_add(r, &e, err));
out:
    ap_buffer_free(&prompt);
    return status;
}
