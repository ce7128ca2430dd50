/* PEFT's adapter_config.json, in and out (adapter.h). Only what the code implements gets in; which
 * linear maps it means is in adapter_match.c. */
#include "model/adapter.h"

#include "model/config_inner.h"
#include "model/module.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Keys that are read below or by adapter_match.c, or that name and describe and change no number.
 */
static const char *const known_keys[] = {
    "peft_type",      "task_type",         "r",
    "lora_alpha",     "use_rslora",        "lora_dropout",
    "target_modules", "modules_to_save",   "bias",
    "peft_version",   "init_lora_weights", "inference_mode",
    "revision",       "auto_mapping",      "base_model_name_or_path",
    "megatron_core",  "qalora_group_size", "exclude_modules",
    "rank_pattern",   "alpha_pattern",     "layers_to_transform",
    "layers_pattern", "eva_config",        "runtime_config",
};

/* Every other key of PEFT's configuration is a feature, off by null, false, 0 or nothing in it;
 * so is what a later PEFT brings. */
static ap_status refuse_features(const json_t *o, const char *path, struct ap_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)o, key, value)
    {
        bool known = ap_config_is_off(value);
        for (size_t i = 0; i < AP_LEN(known_keys) && !known; i++)
            known = !strcmp(key, known_keys[i]);
        if (!known)
            return ap_config_unsupported(path, key, value, "null, false or empty", err);
    }
    return AP_OK;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && !strcmp(json_string_value(value), text);
}

/* These ways to begin leave the base as it is; the others (pissa, olora, corda, loftq …) change its
 * weights too, and their files mean nothing without that. */
static ap_status check_init(const json_t *init, const char *path, struct ap_error *err)
{
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    bool fine = ap_config_is_off(init) || json_is_true(init);
    for (size_t i = 0; i < AP_LEN(harmless) && !fine; i++)
        fine = is_text(init, harmless[i]);
    return fine ? AP_OK
                : ap_config_unsupported(
                      path, "init_lora_weights", init,
                      "true, false, \"gaussian\", \"eva\" or \"orthogonal\" (others change the "
                      "base's weights as well; peft makes a plain LoRA of them with "
                      "path_initial_model_for_weight_conversion)",
                      err);
}

static ap_status check_fixed(const json_t *o, const char *path, struct ap_error *err)
{
    const json_t *type = json_object_get(o, "peft_type"), *bias = json_object_get(o, "bias");
    const json_t *task = json_object_get(o, "task_type");
    if (!is_text(type, "LORA"))
        return ap_config_unsupported(path, "peft_type", type, "\"LORA\"", err);
    if (bias && !is_text(bias, "none"))
        return ap_config_unsupported(path, "bias", bias, "\"none\"", err);
    if (task && !json_is_null(task) && !is_text(task, "CAUSAL_LM") && !is_text(task, "SEQ_CLS"))
        return ap_config_unsupported(path, "task_type", task, "\"CAUSAL_LM\" or \"SEQ_CLS\"", err);
    return check_init(json_object_get(o, "init_lora_weights"), path, err);
}

/* PEFT lists "classifier" and "score" for every classifier; a Llama has the second only. */
static ap_status read_saved(const json_t *o, const char *path, bool *with_head,
                            struct ap_error *err)
{
    const json_t *list = json_object_get(o, "modules_to_save");
    *with_head = false;
    if (ap_config_is_off(list))
        return AP_OK;
    if (!json_is_array(list))
        return ap_config_unsupported(path, "modules_to_save", list, "a list", err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);
        if (is_text(name, "score"))
            *with_head = true;
        else if (!is_text(name, "classifier"))
            return ap_config_unsupported(path, "modules_to_save", name, "\"score\"", err);
    }
    return AP_OK;
}

ap_status ap_adapter_refuse(const json_t *o, const char *path, struct ap_error *err)
{
    bool with_head;
    ap_status status;
    if (!json_is_object(o))
        return ap_fail(err, AP_FORMAT, "%s: is a list, expected an object", path);
    AP_TRY(check_fixed(o, path, err));
    AP_TRY(refuse_features(o, path, err));
    AP_TRY(read_saved(o, path, &with_head, err));
out:
    return status;
}

ap_status ap_adapter_plan_read(struct ap_adapter_plan *plan, const json_t *o, const char *path,
                               const struct ap_config *base, struct ap_error *err)
{
    ap_status status;
    *plan = (struct ap_adapter_plan){0};
    AP_TRY(ap_adapter_refuse(o, path, err));
    AP_TRY(ap_adapter_plan_init(plan, base, err));
    AP_TRY(ap_config_int(o, "r", path, true, 1, AP_LORA_RANK_MAX, &plan->r, err));
    AP_TRY(ap_json_real(o, "lora_alpha", path, true, &plan->alpha, err));
    AP_TRY(ap_json_bool(o, "use_rslora", path, false, &plan->rslora, err));
    AP_TRY(ap_json_real(o, "lora_dropout", path, false, &plan->dropout, err));
    AP_TRY(read_saved(o, path, &plan->with_head, err));
    if (!(plan->dropout >= 0 && plan->dropout < 1)) {
        status = ap_fail(err, AP_FORMAT, "%s: lora_dropout is %g, expected 0 or more, below 1",
                         path, plan->dropout);
        goto out;
    }
    if (!(plan->alpha > 0) || !isfinite((float)plan->alpha)) {
        status =
            ap_fail(err, AP_FORMAT, "%s: lora_alpha is %g, expected a positive number below 3e38",
                    path, plan->alpha);
        goto out;
    }
    AP_TRY(ap_adapter_match(plan, o, path, base, err));
    if (base->n_label && is_text(json_object_get(o, "task_type"), "CAUSAL_LM"))
        status =
            ap_fail(err, AP_INVALID,
                    "%s: \"task_type\" is \"CAUSAL_LM\", but the base model is a sequence "
                    "classifier, expected \"SEQ_CLS\"; use the adapter with the language model "
                    "it was trained on",
                    path);
out:
    return status;
}

/* ---- writing ---- */

/* A whole number is written as one, as PEFT does. */
static json_t *number(double value)
{
    return value == floor(value) && value < 1e15 ? json_integer((json_int_t)value)
                                                 : json_real(value);
}

/* Whether a kind of map is adapted in every layer or in none. */
static bool is_even(const struct ap_adapter *a)
{
    bool even = true;
    for (int i = AP_LORA_N; i < a->config.n_layer * AP_LORA_N; i++)
        even = even && (a->a[i] < 0) == (a->a[i % AP_LORA_N] < 0);
    return even;
}

static json_t *target_list(const struct ap_adapter *a)
{
    json_t *list = json_array();
    bool even = is_even(a);
    char name[AP_MODULE_NAME_MAX];
    for (int i = 0; i < (even ? 1 : a->config.n_layer) * AP_LORA_N; i++)
        if (a->a[i] >= 0)
            json_array_append_new(
                list, json_string(even ? ap_modules[i].name
                                       : ap_lora_module(name, i / AP_LORA_N, i % AP_LORA_N)));
    return list;
}

/* rank_pattern and alpha_pattern, by whole names: what departs from r and lora_alpha. */
static void put_patterns(json_t *o, const struct ap_adapter *a)
{
    json_t *ranks = json_object(), *alphas = json_object();
    char name[AP_MODULE_NAME_MAX];
    for (int i = 0; i < a->config.n_layer * AP_LORA_N; i++) {
        if (a->a[i] < 0)
            continue;
        int rank = a->table.rows[a->a[i]].shape[0];
        ap_lora_module(name, i / AP_LORA_N, i % AP_LORA_N);
        if (rank != a->r)
            json_object_set_new(ranks, name, json_integer(rank));
        if (a->alphas[i] != a->alpha)
            json_object_set_new(alphas, name, number(a->alphas[i]));
    }
    json_object_set_new(o, "rank_pattern", ranks);
    json_object_set_new(o, "alpha_pattern", alphas);
}

json_t *ap_adapter_config(const struct ap_adapter *a, const char *base_name)
{
    bool head = a->score >= 0;
    json_t *o =
        json_pack("{s:s, s:s, s:s?, s:i, s:f, s:s, s:b, s:b, s:b, s:b, s:b, s:o}", "peft_type",
                  "LORA", "task_type", head ? "SEQ_CLS" : "CAUSAL_LM", "base_model_name_or_path",
                  base_name, "r", a->r, "lora_dropout", a->dropout, "bias", "none", "use_rslora",
                  a->rslora, "use_dora", false, "fan_in_fan_out", false, "inference_mode", true,
                  "init_lora_weights", true, "target_modules", target_list(a));
    if (!o)
        return NULL;
    put_patterns(o, a);
    json_object_set_new(o, "lora_alpha", number(a->alpha));
    json_object_set_new(o, "modules_to_save",
                        head ? json_pack("[s, s]", "classifier", "score") : json_null());
    return o;
}
