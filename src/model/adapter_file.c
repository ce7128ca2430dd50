/* PEFT's folder of a LoRA adapter, in and out: adapter_config.json (adapter_config.c) and
 * adapter_model.safetensors. Entry points: ap_adapter_load, _save, _restore,
 * _look. */
#include "model/adapter.h"

#include "base/memory.h"
#include "model/config_inner.h"
#include "model/param.h"

#include <stdio.h>
#include <string.h>

#define CONFIG "adapter_config.json"
#define WEIGHTS "adapter_model.safetensors"
#define PICKLE "adapter_model.bin"
#define PREFIX "base_model.model."

static ap_status read_plan(struct ap_adapter_plan *plan, const char *dir,
                           const struct ap_config *base, struct ap_error *err)
{
    char *path = ap_path_join(dir, CONFIG);
    json_t *o = NULL;
    *plan = (struct ap_adapter_plan){0};
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    ap_status status = ap_json_load(path, AP_CONFIG_FILE_MAX, &o, err);
    if (status == AP_OK)
        status = ap_adapter_plan_read(plan, o, path, base, err);
    json_decref(o);
    ap_free(path);
    return status;
}

/* ---- names of tensors ---- */

/* Takes the part out of the name where it ends there or at a point. */
static void cut(char *name, const char *part)
{
    char *at = strstr(name, part);
    size_t n = strlen(part);
    if (at && (!at[n] || at[n] == '.'))
        memmove(at, at + n, strlen(at + n) + 1);
}

/* The row's name for a name as it stands in a file: PEFT saves without the adapter's own name
 * ("default"), a state_dict has it; some tools leave the prefix or the last word away. */
static void plain_name(char out[AP_NAME_MAX], const char *name)
{
    bool prefixed = !strncmp(name, PREFIX, strlen(PREFIX));
    snprintf(out, AP_NAME_MAX - sizeof(".weight"), "%s%s", prefixed ? "" : PREFIX, name);
    cut(out, ".modules_to_save");
    cut(out, ".default");
    size_t n = strlen(out), m = strlen(".weight");
    if (n < m || strcmp(out + n - m, ".weight") != 0)
        memcpy(out + n, ".weight", m + 1);
}

static ap_status place_views(const struct ap_tensor_view **views, const struct ap_param_table *t,
                             const struct ap_safetensors *f, const struct ap_tensor_view **other,
                             struct ap_error *err)
{
    char name[AP_NAME_MAX];
    for (int i = 0; i < f->n; i++) {
        plain_name(name, f->views[i].name);
        const struct ap_param *p = ap_params_find(t, name);
        if (!p) {
            *other = *other ? *other : &f->views[i];
            continue;
        }
        const struct ap_tensor_view **place = &views[p - t->rows];
        if (*place)
            return ap_fail(err, AP_FORMAT,
                           "%s: %s and %s are the same matrix, expected one of them", f->path,
                           (*place)->name, f->views[i].name);
        *place = &f->views[i];
    }
    return AP_OK;
}

/* values: into the rows; else the header alone is checked. */
static ap_status read_rows(struct ap_param_table *t, const struct ap_safetensors *f, bool values,
                           struct ap_error *err)
{
    static const char keys[] = CONFIG " with the base's config.json";
    const struct ap_tensor_view *other = NULL;
    const struct ap_tensor_view **views = ap_calloc((size_t)t->n, sizeof(struct ap_tensor_view *));
    ap_status status;
    if (!views)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", f->path);
    AP_TRY(place_views(views, t, f, &other, err));
    for (int i = 0; i < t->n; i++)
        AP_TRY(values ? ap_param_read(&t->rows[i], views[i], f->path, keys, err)
                      : ap_param_check(&t->rows[i], views[i], f->path, keys, err));
    if (other)
        status =
            ap_fail(err, AP_FORMAT, "%s: %s is a tensor too many: %s describe none of that name",
                    f->path, other->name, keys);
out:
    ap_free((void *)views);
    return status;
}

/* ---- the folder ---- */

static ap_status no_weights(const char *dir, struct ap_error *err)
{
    char *pickle = ap_path_join(dir, PICKLE);
    bool there = pickle && ap_file_exists(pickle);
    ap_free(pickle);
    if (!there)
        return AP_OK;
    return ap_fail(err, AP_UNSUPPORTED,
                   "%s: has " PICKLE ", expected " WEIGHTS ": a pickle may run any code; load it "
                   "with peft where you trust it and save it with save_pretrained",
                   dir);
}

static ap_status read_file(struct ap_param_table *t, const char *dir, bool values,
                           struct ap_error *err)
{
    struct ap_safetensors f = {0};
    char *path = ap_path_join(dir, WEIGHTS);
    ap_status status = AP_OK;
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    if (!ap_file_exists(path))
        AP_TRY(no_weights(dir, err));
    AP_TRY(ap_safetensors_open(&f, path, err));
    AP_TRY(read_rows(t, &f, values, err));
out:
    ap_safetensors_close(&f);
    ap_free(path);
    return status;
}

ap_status ap_adapter_restore(struct ap_adapter *a, const char *dir, struct ap_error *err)
{
    ap_status status = read_file(&a->table, dir, true, err);
    if (status == AP_OK)
        ap_params_repack(a->ops, &a->table);
    return status;
}

ap_status ap_adapter_look(struct ap_adapter **out, const struct ap_config *base, const char *dir,
                          struct ap_error *err)
{
    struct ap_adapter_plan plan;
    struct ap_adapter *a = NULL;
    ap_status status;
    *out = NULL;
    AP_TRY(read_plan(&plan, dir, base, err));
    AP_TRY(ap_adapter_outline(&a, base, &plan, err));
    AP_TRY(read_file(&a->table, dir, false, err));
    *out = a;
    a = NULL;
out:
    ap_adapter_plan_free(&plan);
    ap_adapter_free(a);
    return status;
}

ap_status ap_adapter_load(struct ap_adapter **out, const struct ap_weights *base, const char *dir,
                          struct ap_error *err)
{
    struct ap_adapter_plan plan;
    struct ap_adapter *a = NULL;
    ap_status status;
    *out = NULL;
    AP_TRY(read_plan(&plan, dir, &base->config, err));
    AP_TRY(ap_adapter_make(&a, &base->config, &plan, err));
    AP_TRY(ap_adapter_restore(a, dir, err));
    *out = a;
    a = NULL;
out:
    ap_adapter_plan_free(&plan);
    ap_adapter_free(a);
    return status;
}

ap_status ap_adapter_save(const struct ap_adapter *a, const char *dir, const char *base_name,
                          struct ap_error *err)
{
    char *path = ap_path_join(dir, WEIGHTS);
    ap_status status;
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    AP_TRY(ap_dir_make(dir, err));
    AP_TRY(ap_config_put(dir, CONFIG, ap_adapter_config(a, base_name), err));
    status = ap_params_write(&a->table, path, err);
out:
    ap_free(path);
    return status;
}
