/* PEFT's folder of a LoRA adapter, in and out: adapter_config.json, adapter_model.safetensors. Only
 * what the code implements gets in. Entry points: ap_adapter_load, _save, _restore. */
#include "model/adapter.h"

#include "base/memory.h"
#include "model/config_inner.h"
#include "model/module.h"
#include "model/param.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CONFIG "adapter_config.json"
#define WEIGHTS "adapter_model.safetensors"

/* Keys that are read below, or that name and describe and change no number. */
static const char *const known_keys[] = {
    "peft_type",      "task_type",         "r",
    "lora_alpha",     "use_rslora",        "lora_dropout",
    "target_modules", "modules_to_save",   "bias",
    "peft_version",   "init_lora_weights", "inference_mode",
    "revision",       "auto_mapping",      "base_model_name_or_path",
    "megatron_core",  "qalora_group_size",
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

static ap_status check_fixed(const json_t *o, const char *path, struct ap_error *err)
{
    const json_t *type = json_object_get(o, "peft_type"), *bias = json_object_get(o, "bias");
    const json_t *task = json_object_get(o, "task_type");
    const json_t *init = json_object_get(o, "init_lora_weights");
    if (!is_text(type, "LORA"))
        return ap_config_unsupported(path, "peft_type", type, "\"LORA\"", err);
    if (bias && !is_text(bias, "none"))
        return ap_config_unsupported(path, "bias", bias, "\"none\"", err);
    if (task && !json_is_null(task) && !is_text(task, "CAUSAL_LM") && !is_text(task, "SEQ_CLS"))
        return ap_config_unsupported(path, "task_type", task, "\"CAUSAL_LM\" or \"SEQ_CLS\"", err);
    /* the others (pissa, olora, …) change the base weights as well */
    if (!ap_config_is_off(init) && !json_is_true(init) && !is_text(init, "gaussian"))
        return ap_config_unsupported(path, "init_lora_weights", init, "true, false or \"gaussian\"",
                                     err);
    return AP_OK;
}

static ap_status read_targets(const json_t *o, const char *path, const struct ap_config *base,
                              bool *targets, struct ap_error *err)
{
    const json_t *list = json_object_get(o, "target_modules");
    bool all = is_text(list, "all-linear");
    char names[128], expected[192];
    snprintf(expected, sizeof(expected), "\"all-linear\" or a list of %s",
             ap_module_list(base, names, sizeof(names)));
    for (int t = 0; t < AP_LORA_N; t++)
        targets[t] = all && ap_module_is_there(base, t);
    if (!all && (!json_is_array(list) || !json_array_size(list)))
        return ap_config_unsupported(path, "target_modules", list, expected, err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);
        int target = json_is_string(name)
                         ? ap_module_find(base, json_string_value(name), json_string_length(name))
                         : -1;
        if (target < 0)
            return ap_config_unsupported(path, "target_modules", name, expected, err);
        targets[target] = true;
    }
    return AP_OK;
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

static ap_status read_plan(struct ap_adapter_plan *plan, const json_t *o, const char *path,
                           const struct ap_config *base, struct ap_error *err)
{
    ap_status status;
    *plan = (struct ap_adapter_plan){0};
    AP_TRY(check_fixed(o, path, err));
    AP_TRY(refuse_features(o, path, err));
    AP_TRY(ap_config_int(o, "r", path, true, 1, 4096, &plan->rank, err));
    AP_TRY(ap_json_real(o, "lora_alpha", path, true, &plan->alpha, err));
    AP_TRY(ap_json_bool(o, "use_rslora", path, false, &plan->rslora, err));
    AP_TRY(read_targets(o, path, base, plan->targets, err));
    AP_TRY(read_saved(o, path, &plan->with_head, err));
    if (!(plan->alpha > 0) || !isfinite(plan->alpha))
        status = ap_fail(err, AP_FORMAT, "%s: lora_alpha is %g, expected a positive number", path,
                         plan->alpha);
out:
    return status;
}

static ap_status read_config(struct ap_adapter_plan *plan, const char *dir,
                             const struct ap_config *base, struct ap_error *err)
{
    char *path = ap_path_join(dir, CONFIG);
    json_t *o = NULL;
    ap_status status;
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    AP_TRY(ap_json_load(path, AP_CONFIG_FILE_MAX, &o, err));
    if (!json_is_object(o))
        status = ap_fail(err, AP_FORMAT, "%s: is a list, expected an object", path);
    else
        status = read_plan(plan, o, path, base, err);
    if (status == AP_OK && base->n_label && is_text(json_object_get(o, "task_type"), "CAUSAL_LM"))
        status =
            ap_fail(err, AP_INVALID,
                    "%s: \"task_type\" is \"CAUSAL_LM\", but the base model is a sequence "
                    "classifier, expected \"SEQ_CLS\"; use the adapter with the language model "
                    "it was trained on",
                    path);
out:
    json_decref(o);
    ap_free(path);
    return status;
}

ap_status ap_adapter_restore(struct ap_adapter *a, const char *dir, struct ap_error *err)
{
    char *path = ap_path_join(dir, WEIGHTS);
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    ap_status status = ap_params_read(&a->table, path, CONFIG " with the base's config.json", err);
    if (status == AP_OK)
        ap_params_repack(a->ops, &a->table);
    ap_free(path);
    return status;
}

ap_status ap_adapter_load(struct ap_adapter **out, const struct ap_weights *base, const char *dir,
                          struct ap_error *err)
{
    struct ap_adapter_plan plan;
    struct ap_adapter *a = NULL;
    ap_status status;
    *out = NULL;
    AP_TRY(read_config(&plan, dir, &base->config, err));
    AP_TRY(ap_adapter_make(&a, &base->config, &plan, err));
    AP_TRY(ap_adapter_restore(a, dir, err));
    *out = a;
    a = NULL;
out:
    ap_adapter_free(a);
    return status;
}

static json_t *target_list(const struct ap_adapter *a)
{
    json_t *list = json_array();
    for (int t = 0; t < AP_LORA_N; t++)
        if (a->targets[t])
            json_array_append_new(list, json_string(ap_modules[t].name));
    return list;
}

static json_t *config_object(const struct ap_adapter *a, const char *base_name)
{
    bool head = a->score >= 0, whole = a->alpha == floor(a->alpha) && a->alpha < 1e15;
    json_t *o =
        json_pack("{s:s, s:s, s:s?, s:i, s:f, s:s, s:b, s:b, s:b, s:b, s:b, s:o}", "peft_type",
                  "LORA", "task_type", head ? "SEQ_CLS" : "CAUSAL_LM", "base_model_name_or_path",
                  base_name, "r", a->rank, "lora_dropout", 0.0, "bias", "none", "use_rslora",
                  a->rslora, "use_dora", false, "fan_in_fan_out", false, "inference_mode", true,
                  "init_lora_weights", true, "target_modules", target_list(a));
    if (!o)
        return NULL;
    json_object_set_new(o, "lora_alpha",
                        whole ? json_integer((json_int_t)a->alpha) : json_real(a->alpha));
    json_object_set_new(o, "modules_to_save",
                        head ? json_pack("[s, s]", "classifier", "score") : json_null());
    return o;
}

ap_status ap_adapter_save(const struct ap_adapter *a, const char *dir, const char *base_name,
                          struct ap_error *err)
{
    char *path = ap_path_join(dir, WEIGHTS);
    ap_status status;
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    AP_TRY(ap_dir_make(dir, err));
    AP_TRY(ap_config_put(dir, CONFIG, config_object(a, base_name), err));
    status = ap_params_write(&a->table, path, err);
out:
    ap_free(path);
    return status;
}
