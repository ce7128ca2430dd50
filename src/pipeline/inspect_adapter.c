/* A folder of PEFT's: what its adapter is, as far as its own files say, and where the base is at
 * hand whether it fits. Entry point: ap_inspect_adapter. */
#include "model/adapter.h"
#include "pipeline/inspect_folder.h"

#include "base/file.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHTS "adapter_model.safetensors"

/* A key's value as JSON spells it; texts without quotes. */
static void tell_key(struct ap_tell *t, const json_t *o, const char *key, const char *label)
{
    const json_t *value = json_object_get(o, key);
    char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
    ap_tell_set(t, key, value ? json_deep_copy(value) : json_null());
    bool is_empty = !value || json_is_null(value) || json_is_false(value) ||
                    ((json_is_array(value) || json_is_object(value)) && text && strlen(text) == 2);
    if (json_is_string(value))
        ap_tell_bytes(t, label, json_string_value(value), json_string_length(value),
                      AP_INSPECT_LINES);
    else if (!is_empty && text)
        ap_tell_bytes(t, label, text, strlen(text), AP_INSPECT_LINES);
    free(text);
}

static void tell_targets(struct ap_tell *t, const json_t *o)
{
    const json_t *list = json_object_get(o, "target_modules");
    struct ap_buffer names = {0};
    if (!json_is_array(list)) {
        tell_key(t, o, "target_modules", "targets");
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        (void)ap_buffer_printf(&names, NULL, "%s%s", i ? ", " : "", name ? name : "(no text)");
    }
    ap_tell_set(t, "target_modules", json_deep_copy(list));
    ap_tell_bytes(t, "targets", names.len ? names.data : "", names.len, AP_INSPECT_LINES);
    ap_buffer_free(&names);
}

static void tell_rank(struct ap_tell *t, const json_t *o)
{
    double r = json_number_value(json_object_get(o, "r"));
    double alpha = json_number_value(json_object_get(o, "lora_alpha"));
    bool rslora = json_is_true(json_object_get(o, "use_rslora"));
    double scale = r > 0 ? alpha / (rslora ? sqrt(r) : r) : NAN;
    ap_tell_line(t, "rank", "%g, alpha %g, scale %g (alpha over %s)", r, alpha, scale,
                 rslora ? "the root of the rank: rsLoRA" : "the rank");
    ap_tell_set(t, "rank", json_real(r));
    ap_tell_set(t, "alpha", json_real(alpha));
    ap_tell_set(t, "scale", isfinite(scale) ? json_real(scale) : json_null());
    ap_tell_set(t, "rslora", json_boolean(rslora));
    tell_key(t, o, "rank_pattern", "ranks");
    tell_key(t, o, "alpha_pattern", "alphas");
    tell_targets(t, o);
    tell_key(t, o, "exclude_modules", "but");
    tell_key(t, o, "layers_to_transform", "layers");
    tell_key(t, o, "modules_to_save", "with");
}

static void tell_config(struct ap_tell *t, const json_t *o, const char *path)
{
    struct ap_error e = {0};
    tell_key(t, o, "peft_type", "method");
    tell_key(t, o, "task_type", "task");
    if (json_object_get(o, "r"))
        tell_rank(t, o);
    if (json_number_value(json_object_get(o, "lora_dropout")) > 0)
        tell_key(t, o, "lora_dropout", "dropout");
    ap_tell_fine(t, ap_adapter_refuse(o, path, &e), &e);
}

/* ---- the base ---- */

/* --model, or the folder that the file names, where that is one. Allocated; NULL for none. */
static char *find_base(const struct ap_inspect_options *options, const json_t *o)
{
    const char *name = options->model
                           ? options->model
                           : json_string_value(json_object_get(o, "base_model_name_or_path"));
    char *config = name && *name ? ap_path_join(name, "config.json") : NULL;
    bool there = options->model || (config && ap_file_exists(config));
    ap_free(config);
    return name && there ? ap_strdup(name) : NULL;
}

static int n_modules(const struct ap_adapter *a)
{
    int n = 0;
    for (int i = 0; i < a->config.n_layer * AP_LORA_N; i++)
        n += a->a[i] >= 0;
    return n;
}

static void tell_base(struct ap_tell *t, const struct ap_inspected *p,
                      const struct ap_inspect_options *options, const json_t *o)
{
    struct ap_config config;
    struct ap_adapter *a = NULL;
    struct ap_error e = {0};
    const char *named = json_string_value(json_object_get(o, "base_model_name_or_path"));
    char *base = find_base(options, o);
    ap_tell_text(t, "base", named);
    ap_tell_line(t, "base", "%.400s%s", named ? named : "not named",
                 base    ? ""
                 : named ? ", no folder here: compare with one by --model DIR"
                         : ": compare with one by --model DIR");
    if (base && ap_tell_fine(t, ap_config_read(&config, base, &e), &e) &&
        ap_tell_fine(t, ap_adapter_look(&a, &config, p->path, &e), &e)) {
        ap_tell_line(t, "check", "fits %s: %d modules of %d layers%s", base, n_modules(a),
                     config.n_layer, a->score >= 0 ? ", and a head" : "");
        ap_tell_count(t, "modules", (uint64_t)n_modules(a));
    }
    ap_tell_text(t, "checked_against", a ? base : NULL);
    ap_adapter_free(a);
    ap_free(base);
}

/* ---- the folder ---- */

static void tell_weights(struct ap_tell *t, const struct ap_inspected *p,
                         struct ap_tensors *tensors)
{
    struct ap_safetensors f = {0};
    struct ap_error e = {0};
    char *path = ap_path_join(p->path, WEIGHTS);
    ap_status status = path ? AP_OK : ap_fail(&e, AP_MEMORY, "%s: out of memory", p->path);
    if (path && !ap_file_exists(path) && ap_inspected_has(p, "adapter_model.bin"))
        status = ap_fail(&e, AP_UNSUPPORTED,
                         "%s: has adapter_model.bin, expected " WEIGHTS
                         ": a pickle may run any code, and is not opened",
                         p->path);
    else if (path)
        status = ap_safetensors_open(&f, path, &e);
    if (status == AP_OK)
        status = ap_tensors_add_file(tensors, &f, &e);
    if (ap_tell_fine(t, status, &e))
        ap_tell_totals(t, tensors);
    ap_safetensors_close(&f);
    ap_free(path);
}

ap_status ap_inspect_adapter(const struct ap_inspected *p, const struct ap_inspect_options *options,
                             struct ap_buffer *out, struct ap_error *err)
{
    struct ap_tell t;
    struct ap_error e = {0};
    struct ap_tensors tensors = {0};
    json_t *o = NULL;
    char *path = ap_path_join(p->path, "adapter_config.json");
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", p->path);
    ap_tell_begin(&t, p->path, "adapter", "adapter folder of PEFT", err);
    if (ap_inspected_has(p, "config.json"))
        ap_tell_line(&t, "beside it",
                     "config.json, a model's: told is the adapter, which goes "
                     "first");
    ap_tell_set(&t, "has_config", json_boolean(ap_inspected_has(p, "config.json")));
    if (ap_tell_fine(&t, ap_inspect_json(p, "adapter_config.json", &o, &e), &e)) {
        tell_config(&t, o, path);
        tell_base(&t, p, options, o);
    }
    tell_weights(&t, p, &tensors);
    ap_tell_size(&t, p->path);
    ap_tell_whole(&t, p);
    ap_tell_tensors(&t, &tensors);
    ap_tensors_free(&tensors);
    json_decref(o);
    ap_free(path);
    return ap_tell_end(&t, options->json, out);
}
