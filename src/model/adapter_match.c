/* Which linear maps of a base an adapter has, and with which rank and alpha: PEFT's rules over the
 * names of modules, "model.layers.0.self_attn.q_proj" for one (adapter.h). Entry point:
 * ap_adapter_match.
 *
 * Its regular expressions are Python's; PCRE2 reads what people write there alike, and what it
 * cannot read is refused. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "model/adapter.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "model/config_inner.h"
#include "model/module.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PATTERNS_MAX 2048
#define PATTERN_BYTES_MAX 1024
#define MATCH_STEPS_MAX 10000 /* of one expression on one name: names are short */

struct regex {
    pcre2_code *code;
    const json_t *value; /* of a pattern's key; borrowed */
};

struct regex_list {
    struct regex *all; /* n of them, owned */
    size_t n;
};

struct rules {
    const char *path;
    const json_t *targets, *exclude, *layers;  /* borrowed; NULL where off */
    struct regex_list target, excluded, layer; /* where those are expressions */
    struct regex_list ranks, alphas;           /* in the order of the file: the first counts */
    pcre2_match_data *match;                   /* owned */
    pcre2_match_context *context;              /* owned */
};

static bool is_all_linear(const json_t *targets)
{
    return json_is_string(targets) && !strcasecmp(json_string_value(targets), "all-linear");
}

/* ---- regular expressions ---- */

static ap_status compile(struct regex *r, const struct rules *rules, const char *key,
                         const char *before, const char *text, const char *after,
                         struct ap_error *err)
{
    struct ap_buffer whole = {0};
    int code = 0;
    PCRE2_SIZE at = 0;
    PCRE2_UCHAR reason[128];
    ap_status status = AP_OK;
    if (strlen(text) > PATTERN_BYTES_MAX)
        return ap_fail(err, AP_LIMIT, "%s: \"%s\": an expression of %zu bytes, expected at most %d",
                       rules->path, key, strlen(text), PATTERN_BYTES_MAX);
    AP_TRY(ap_buffer_printf(&whole, err, "%s%s%s", before, text, after));
    r->code = pcre2_compile((PCRE2_SPTR)whole.data, whole.len,
                            PCRE2_UTF | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (r->code)
        goto out;
    pcre2_get_error_message(code, reason, sizeof(reason));
    status = ap_fail(err, AP_UNSUPPORTED,
                     "%s: \"%s\": \"%.100s\" is no regular expression that is understood: %s",
                     rules->path, key, text, (const char *)reason);
out:
    ap_buffer_free(&whole);
    return status;
}

static ap_status make_list(struct regex_list *list, size_t n, const struct rules *rules,
                           const char *key, struct ap_error *err)
{
    if (n > PATTERNS_MAX)
        return ap_fail(err, AP_LIMIT, "%s: \"%s\" has %zu entries, expected at most %d",
                       rules->path, key, n, PATTERNS_MAX);
    list->all = ap_calloc(n, sizeof(*list->all));
    return list->all ? AP_OK : ap_fail(err, AP_MEMORY, "%s: out of memory", rules->path);
}

static void free_list(struct regex_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        pcre2_code_free(list->all[i].code);
    ap_free(list->all);
}

static ap_status matches(const struct rules *rules, const struct regex *r, uint32_t options,
                         const char *name, bool *out, struct ap_error *err)
{
    int code = pcre2_match(r->code, (PCRE2_SPTR)name, strlen(name), 0, options, rules->match,
                           rules->context);
    *out = code >= 0;
    if (code >= 0 || code == PCRE2_ERROR_NOMATCH)
        return AP_OK;
    return ap_fail(err, AP_LIMIT,
                   "%s: a regular expression takes too long on %s; write it without nested "
                   "repetitions",
                   rules->path, name);
}

/* ---- reading the keys ---- */

static ap_status check_texts(const json_t *list, const char *path, const char *key,
                             struct ap_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);
        if (!json_is_string(name) || strlen(json_string_value(name)) != json_string_length(name))
            return ap_config_unsupported(path, key, name, "a list of names", err);
    }
    return AP_OK;
}

/* A list of names, or one regular expression that the whole name must match. */
static ap_status read_names(struct rules *rules, const json_t *o, const char *key,
                            const json_t **names, struct regex_list *regex, struct ap_error *err)
{
    const json_t *value = json_object_get(o, key);
    *names = NULL;
    if (ap_config_is_off(value))
        return AP_OK;
    *names = value;
    if (json_is_array(value))
        return check_texts(value, rules->path, key, err);
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
        return ap_config_unsupported(rules->path, key, value,
                                     "a list of names or a regular expression", err);
    ap_status status = make_list(regex, 1, rules, key, err);
    regex->n = status == AP_OK;
    return status == AP_OK
               ? compile(&regex->all[0], rules, key, "(?:", json_string_value(value), ")", err)
               : status;
}

static ap_status read_layer_patterns(struct rules *rules, const json_t *o, struct ap_error *err)
{
    const json_t *value = json_object_get(o, "layers_pattern");
    static const char key[] = "layers_pattern", before[] = "(?:^|.*?\\.)",
                      after[] = "\\.(?P<idx>\\d+)\\.";
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    ap_status status;
    if (ap_config_is_off(value))
        return AP_OK;
    if (!json_is_array(value) && !json_is_string(value))
        return ap_config_unsupported(rules->path, key, value, "a text or a list of texts", err);
    AP_TRY(check_texts(value, rules->path, key, err));
    AP_TRY(make_list(&rules->layer, n, rules, key, err));
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_is_array(value) ? json_array_get(value, i) : value;
        AP_TRY(
            compile(&rules->layer.all[i], rules, key, before, json_string_value(text), after, err));
        rules->layer.n++;
    }
out:
    return status;
}

static ap_status read_layers(struct rules *rules, const json_t *o, struct ap_error *err)
{
    const json_t *value = json_object_get(o, "layers_to_transform");
    bool fine = json_is_integer(value) || json_is_array(value);
    if (!value || json_is_null(value) || (json_is_array(value) && !json_array_size(value)))
        return AP_OK;
    for (size_t i = 0; i < json_array_size(value); i++)
        fine = fine && json_is_integer(json_array_get(value, i));
    if (!fine)
        return ap_config_unsupported(rules->path, "layers_to_transform", value,
                                     "the number of a layer or a list of them", err);
    if (json_is_string(rules->targets))
        return ap_config_unsupported(rules->path, "layers_to_transform", value,
                                     "null where \"target_modules\" is one text", err);
    rules->layers = value;
    return read_layer_patterns(rules, o, err);
}

/* rank_pattern, alpha_pattern: {expression of the end of a name: number}. */
static ap_status read_patterns(struct rules *rules, const json_t *o, const char *key, bool whole,
                               struct regex_list *list, struct ap_error *err)
{
    json_t *patterns = json_object_get(o, key), *value;
    const char *text;
    ap_status status;
    if (ap_config_is_off(patterns))
        return AP_OK;
    if (!json_is_object(patterns))
        return ap_config_unsupported(rules->path, key, patterns, "an object", err);
    AP_TRY(make_list(list, json_object_size(patterns), rules, key, err));
    json_object_foreach(patterns, text, value)
    {
        double number = json_number_value(value);
        if (!json_is_number(value) || (whole && !json_is_integer(value)) || !(number > 0) ||
            (whole ? number > AP_LORA_RANK_MAX : !isfinite((float)number)))
            return ap_fail(err, AP_FORMAT, "%s: \"%s\": \"%.100s\" is not %s", rules->path, key,
                           text, whole ? "a rank from 1 to 4096" : "a positive number below 3e38");
        AP_TRY(compile(&list->all[list->n], rules, key, "(.*\\.)?(", text, ")$", err));
        list->all[list->n++].value = value;
    }
out:
    return status;
}

static ap_status read_rules(struct rules *rules, const json_t *o, struct ap_error *err)
{
    const json_t *targets = json_object_get(o, "target_modules");
    ap_status status = AP_OK;
    if (ap_config_is_off(targets))
        return ap_config_unsupported(rules->path, "target_modules", targets,
                                     "\"all-linear\", names or a regular expression", err);
    if (is_all_linear(targets))
        rules->targets = targets;
    else
        AP_TRY(read_names(rules, o, "target_modules", &rules->targets, &rules->target, err));
    AP_TRY(read_names(rules, o, "exclude_modules", &rules->exclude, &rules->excluded, err));
    AP_TRY(read_layers(rules, o, err));
    AP_TRY(read_patterns(rules, o, "rank_pattern", true, &rules->ranks, err));
    AP_TRY(read_patterns(rules, o, "alpha_pattern", false, &rules->alphas, err));
    rules->match = pcre2_match_data_create(64, NULL);
    rules->context = pcre2_match_context_create(NULL);
    if (!rules->match || !rules->context)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", rules->path);
    pcre2_set_match_limit(rules->context, MATCH_STEPS_MAX);
out:
    return status;
}

static void free_rules(struct rules *rules)
{
    struct regex_list *lists[] = {&rules->target, &rules->excluded, &rules->layer, &rules->ranks,
                                  &rules->alphas};
    for (size_t i = 0; i < AP_LEN(lists); i++)
        free_list(lists[i]);
    pcre2_match_data_free(rules->match);
    pcre2_match_context_free(rules->context);
}

/* ---- matching ---- */

static bool ends_with_part(const char *name, const char *part)
{
    size_t n = strlen(name), m = strlen(part);
    return n > m && name[n - m - 1] == '.' && !strcmp(name + n - m, part);
}

/* *exact: the list has the whole name. */
static ap_status is_named(const struct rules *rules, const json_t *names,
                          const struct regex_list *regex, const char *name, bool *exact, bool *out,
                          struct ap_error *err)
{
    *exact = *out = false;
    if (regex->n)
        return matches(rules, &regex->all[0], PCRE2_ENDANCHORED, name, out, err);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *listed = json_string_value(json_array_get(names, i));
        *exact |= !strcmp(listed, name);
        *out |= *exact || ends_with_part(name, listed);
    }
    return AP_OK;
}

static bool has_layer(const json_t *layers, json_int_t layer)
{
    bool has = json_is_integer(layers) && json_integer_value(layers) == layer;
    for (size_t i = 0; i < json_array_size(layers) && !has; i++)
        has = json_integer_value(json_array_get(layers, i)) == layer;
    return has;
}

/* layers_pattern says where in the name the layer's number stands; without it, after its list. */
static ap_status in_layers(const struct rules *rules, const char *name, int layer, bool *out,
                           struct ap_error *err)
{
    json_int_t index = layer;
    bool found = !rules->layer.n;
    for (size_t i = 0; i < rules->layer.n && !found; i++) {
        PCRE2_UCHAR text[16];
        PCRE2_SIZE n = sizeof(text);
        ap_status status = matches(rules, &rules->layer.all[i], 0, name, &found, err);
        if (status != AP_OK)
            return status;
        if (found && pcre2_substring_copy_byname(rules->match, (PCRE2_SPTR) "idx", text, &n) == 0)
            index = strtol((const char *)text, NULL, 10);
    }
    *out = found && has_layer(rules->layers, index);
    return AP_OK;
}

static ap_status is_adapted(const struct rules *rules, const char *name, int layer, bool *out,
                            struct ap_error *err)
{
    bool exact = false, excluded = false;
    ap_status status =
        is_named(rules, rules->exclude, &rules->excluded, name, &exact, &excluded, err);
    *out = false;
    if (status != AP_OK || excluded)
        return status;
    if (is_all_linear(rules->targets)) {
        *out = layer >= 0;
        return AP_OK;
    }
    status = is_named(rules, rules->targets, &rules->target, name, &exact, out, err);
    if (status == AP_OK && *out && !exact && rules->layers && layer >= 0)
        status = in_layers(rules, name, layer, out, err);
    return status;
}

static ap_status by_pattern(const struct rules *rules, const struct regex_list *list,
                            const char *name, double *value, struct ap_error *err)
{
    bool found = false;
    for (size_t i = 0; i < list->n && !found; i++) {
        ap_status status = matches(rules, &list->all[i], 0, name, &found, err);
        if (status != AP_OK)
            return status;
        if (found)
            *value = json_number_value(list->all[i].value);
    }
    return AP_OK;
}

/* What is adapted here are the linear maps of the layers. */
static ap_status refuse_others(const struct rules *rules, struct ap_error *err)
{
    static const char *const others[] = {"lm_head", "model.embed_tokens", "score", "model.norm"};
    for (size_t i = 0; i < AP_LEN(others); i++) {
        bool adapted;
        ap_status status = is_adapted(rules, others[i], -1, &adapted, err);
        if (status != AP_OK)
            return status;
        if (adapted)
            return ap_fail(err, AP_UNSUPPORTED,
                           "%s: \"target_modules\" takes in %s, expected linear maps of the layers "
                           "only: anything else is not implemented",
                           rules->path, others[i]);
    }
    return AP_OK;
}

static ap_status none_matches(const struct rules *rules, const struct ap_config *base,
                              struct ap_error *err)
{
    char names[128], expected[256];
    snprintf(expected, sizeof(expected),
             "some of %s of the base's %d layers (the adapter may be for another kind of model)",
             ap_module_list(base, names, sizeof(names)), base->n_layer);
    return ap_config_unsupported(rules->path, "target_modules", rules->targets, expected, err);
}

static ap_status match_all(struct ap_adapter_plan *plan, const struct rules *rules,
                           const struct ap_config *base, struct ap_error *err)
{
    char name[AP_MODULE_NAME_MAX];
    bool any = false;
    ap_status status;
    for (int i = 0; i < plan->n; i++) {
        bool adapted;
        double rank = plan->r;
        plan->alphas[i] = plan->alpha;
        if (!ap_module_is_there(base, i % AP_LORA_N))
            continue;
        ap_lora_module(name, i / AP_LORA_N, i % AP_LORA_N);
        AP_TRY(is_adapted(rules, name, i / AP_LORA_N, &adapted, err));
        if (!adapted)
            continue;
        AP_TRY(by_pattern(rules, &rules->ranks, name, &rank, err));
        AP_TRY(by_pattern(rules, &rules->alphas, name, &plan->alphas[i], err));
        plan->ranks[i] = (int)rank;
        any = true;
    }
    if (!any)
        status = none_matches(rules, base, err);
out:
    return status;
}

ap_status ap_adapter_match(struct ap_adapter_plan *plan, const json_t *o, const char *path,
                           const struct ap_config *base, struct ap_error *err)
{
    struct rules rules = {.path = path};
    ap_status status = read_rules(&rules, o, err);
    if (status == AP_OK)
        status = refuse_others(&rules, err);
    if (status == AP_OK)
        status = match_all(plan, &rules, base, err);
    free_rules(&rules);
    return status;
}
