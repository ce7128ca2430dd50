/* What the parts of a stage take (plan.h): each asks the function that will allocate. */
#include "pipeline/plan.h"

#include "align/asker_model.h"
#include "base/memory.h"
#include "train/optimiser.h"

#include <string.h>
#include <sys/stat.h>

void ap_plan_add(struct ap_planning *p, enum ap_plan_part part, size_t bytes)
{
    p->now->part[part] = ap_sum_bytes(p->now->part[part], bytes);
}

static ap_status model_index(const struct ap_planning *p, const char *model, int *out,
                             const struct ap_model_settings **m, struct ap_error *err)
{
    ap_status status = ap_settings_model(p->run->s, model, m, err);
    if (status == AP_OK)
        *out = (int)(*m - p->run->s->models);
    return status;
}

/* ---- weights ---- */

ap_status ap_plan_shape(struct ap_planning *p, const char *model, struct ap_weights **out,
                        struct ap_error *err)
{
    const struct ap_model_settings *m;
    struct ap_config config;
    ap_dtype dtype;
    int i;
    ap_status status = model_index(p, model, &i, &m, err);
    *out = NULL;
    if (status == AP_OK && !p->shapes[i]) {
        status = m->path[0] ? ap_config_read(&config, m->path, err)
                            : ap_config_read_file(&config, m->config, err);
        if (status == AP_OK)
            status = ap_weights_dtype(&dtype, p->run->s->run.dtype, err);
        if (status == AP_OK)
            status =
                ap_weights_describe(&p->shapes[i], &config, p->run->s->run.context, dtype, err);
    }
    if (status == AP_OK)
        *out = p->shapes[i];
    return status;
}

ap_status ap_plan_context(struct ap_planning *p, const char *model, int *out, struct ap_error *err)
{
    struct ap_weights *w;
    ap_status status = ap_plan_shape(p, model, &w, err);
    *out = status == AP_OK ? ap_run_context(p->run, w->context) : 0;
    return status;
}

enum source { RANDOM, FOLDER, RESULT }; /* made here; someone's files; a stage's result, in f32 */

static ap_status add_values(struct ap_planning *p, const struct ap_weights *w, enum source source,
                            const struct ap_model_settings *m, struct ap_error *err)
{
    size_t own = 0, mapped = 0;
    ap_status status = AP_OK;
    if (source == RANDOM) {
        own = ap_params_own_bytes(&w->table);
    } else if (source == RESULT) {
        mapped = ap_params_mapped_bytes(&w->table);
    } else {
        status = ap_weights_load_bytes(w, m->path, &own, &mapped, err);
        if (status == AP_NOT_FOUND && p->run->plan_only) {
            status = AP_OK; /* halves, as models are published */
            own = 0;
            mapped = ap_params_mapped_bytes(&w->table) / 2;
        }
    }
    ap_plan_add(p, AP_PLAN_WEIGHTS, own);
    ap_plan_add(p, AP_PLAN_MAPPED, mapped);
    return status;
}

static void add_packed(struct ap_planning *p, const struct ap_weights *w)
{
    ap_plan_add(p, AP_PLAN_WEIGHTS, ap_params_packed_bytes(w->ops, &w->table));
    ap_plan_add(p, AP_PLAN_WEIGHTS, ap_weights_rope_bytes(w));
}

static void add_training(struct ap_planning *p, const struct ap_param_table *t)
{
    ap_plan_add(p, AP_PLAN_GRADIENTS, ap_params_own_bytes(t));
    ap_plan_add(p, AP_PLAN_OPTIMISER, ap_optimiser_bytes(t));
}

ap_status ap_plan_model(struct ap_planning *p, const char *model, struct ap_error *err)
{
    const struct ap_model_settings *m;
    struct ap_weights *w;
    int i;
    if (!model[0])
        return AP_OK;
    ap_status status = model_index(p, model, &i, &m, err);
    if (status != AP_OK || (p->counted & 1u << i))
        return status;
    p->counted |= 1u << i;
    bool pretrained = strcmp(p->run->s->pretrain.model, model) == 0;
    status = ap_plan_shape(p, model, &w, err);
    if (status != AP_OK)
        return status;
    add_packed(p, w);
    return add_values(p, w, pretrained ? RESULT : m->path[0] ? FOLDER : RANDOM, m, err);
}

ap_status ap_plan_pretrained(struct ap_planning *p, const char *model, struct ap_error *err)
{
    struct ap_weights *w;
    ap_status status = ap_plan_shape(p, model, &w, err);
    if (status != AP_OK)
        return status;
    add_packed(p, w);
    add_training(p, &w->table);
    return add_values(p, w, RANDOM, NULL, err);
}

/* ---- roles ---- */

static ap_status add_adapter(struct ap_planning *p, const struct ap_weights *base,
                             const struct ap_adapter_settings *settings, struct ap_plan_learner how,
                             struct ap_error *err)
{
    struct ap_adapter *a;
    ap_status status = ap_adapter_describe(&a, base, settings, how.with_head, err);
    if (status != AP_OK)
        return status;
    ap_plan_add(p, AP_PLAN_ADAPTERS, ap_params_own_bytes(&a->table));
    ap_plan_add(p, AP_PLAN_ADAPTERS, ap_params_packed_bytes(a->ops, &a->table));
    if (how.trains)
        add_training(p, &a->table);
    ap_adapter_free(a);
    return AP_OK;
}

/* All weights anew: a copy that trains, or a stage's result. */
static ap_status add_weights(struct ap_planning *p, const struct ap_weights *base,
                             struct ap_plan_learner how, struct ap_error *err)
{
    struct ap_config config = base->config;
    struct ap_weights *w;
    config.n_label = how.with_head ? 1 : config.n_label;
    ap_status status = ap_weights_describe(&w, &config, base->context, base->table.dtype, err);
    if (status != AP_OK)
        return status;
    add_packed(p, w);
    if (how.trains)
        add_training(p, &w->table);
    status = add_values(p, w, how.trains ? RANDOM : RESULT, NULL, err);
    ap_weights_free(w);
    return status;
}

ap_status ap_plan_role(struct ap_planning *p, const char *model,
                       const struct ap_adapter_settings *adapter, struct ap_plan_learner how,
                       struct ap_error *err)
{
    struct ap_weights *w;
    if (!model[0])
        return AP_OK;
    ap_status status = ap_plan_shape(p, model, &w, err);
    if (status != AP_OK || (!how.from && !how.trains))
        return status;
    return adapter->rank > 0 ? add_adapter(p, w, adapter, how, err) : add_weights(p, w, how, err);
}

/* ---- passes ---- */

ap_status ap_plan_tape(struct ap_planning *p, const char *model, int max_row, int max_rank,
                       enum ap_tape_kind kind, struct ap_error *err)
{
    struct ap_weights *w;
    size_t bytes = 0;
    if (!model[0])
        return AP_OK;
    ap_status status = ap_plan_shape(p, model, &w, err);
    if (status == AP_OK)
        status = ap_tape_bytes(&bytes, &w->config, max_row, max_rank, kind, err);
    ap_plan_add(p, AP_PLAN_ACTIVATIONS, bytes);
    return status;
}

ap_status ap_plan_generator(struct ap_planning *p, const char *model, int context, int max_rank,
                            struct ap_error *err)
{
    struct ap_weights *w;
    size_t bytes = 0;
    struct ap_generator_options options = {
        .n_slot = p->run->s->run.batch, .context = context, .max_rank = max_rank};
    if (!model[0])
        return AP_OK;
    ap_status status = ap_plan_shape(p, model, &w, err);
    if (status == AP_OK && context == 0)
        options.context = ap_run_context(p->run, w->context);
    if (status == AP_OK)
        status = ap_generator_bytes(&bytes, &w->config, &options, err);
    ap_plan_add(p, AP_PLAN_CACHES, bytes);
    return status;
}

ap_status ap_plan_asker(struct ap_planning *p, const struct ap_judge_settings *j, int n,
                        struct ap_error *err)
{
    struct ap_weights *w;
    size_t bytes = 0;
    const struct ap_asker_model_options how = {j->max_new_tokens, ap_run_judge_slots(p->run->s)};
    struct ap_generator_options options = {.n_slot = how.n_slot};
    ap_status status = AP_OK;
    AP_TRY(ap_plan_model(p, j->model, err));
    AP_TRY(ap_plan_shape(p, j->model, &w, err));
    options.context = ap_asker_model_positions(&how, ap_run_judge_context(p->run, w->context), n);
    AP_TRY(ap_generator_bytes(&bytes, &w->config, &options, err));
    ap_plan_add(p, AP_PLAN_CACHES, bytes);
out:
    return status;
}

/* ---- the reward ---- */

/* A reward trained elsewhere: a classifier's folder, or an adapter's, whose file is as large as its
 * values. */
static ap_status add_trained(struct ap_planning *p, const char *folder,
                             const struct ap_weights *base, struct ap_error *err)
{
    const struct ap_model_settings m = {.path = (char *)(uintptr_t)folder};
    struct ap_config config;
    struct ap_weights *w = NULL;
    struct stat info;
    char *path = ap_path_join(folder, "adapter_model.safetensors");
    bool is_adapter = path && stat(path, &info) == 0;
    ap_free(path);
    if (is_adapter) {
        ap_plan_add(p, AP_PLAN_ADAPTERS, 2 * (size_t)info.st_size);
        return AP_OK;
    }
    ap_status status = ap_config_read(&config, folder, err);
    if (status == AP_OK)
        status = ap_weights_describe(&w, &config, base->context, base->table.dtype, err);
    if (status != AP_OK)
        return status;
    add_packed(p, w);
    status = add_values(p, w, FOLDER, &m, err);
    ap_weights_free(w);
    return status;
}

static ap_status add_reward(struct ap_planning *p, const struct ap_reward_settings *r,
                            struct ap_error *err)
{
    int rows = p->run->s->reward_train.optimiser.batch_tokens, context;
    struct ap_reward_stage stage = ap_run_reward_stage(r);
    struct ap_plan_learner how = {.from = stage.name,
                                  .with_head = strcmp(r->kind, "classifier") == 0};
    struct ap_weights *base;
    ap_status status = AP_OK;
    AP_TRY(ap_plan_model(p, r->model, err));
    AP_TRY(ap_plan_shape(p, r->model, &base, err));
    AP_TRY(r->trained[0] ? add_trained(p, r->trained, base, err)
                         : ap_plan_role(p, r->model, &r->adapter, how, err));
    AP_TRY(ap_plan_context(p, r->model, &context, err));
    AP_TRY(ap_plan_tape(p, r->model, rows > context ? rows : context, r->adapter.rank,
                        AP_TAPE_FORWARD, err));
out:
    return status;
}

ap_status ap_plan_rewards(struct ap_planning *p, struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(p->run->s, &n);
    ap_status status = AP_OK;
    for (int i = 0; status == AP_OK && i < n; i++)
        if (ap_reward_is_model(&r[i]))
            status = add_reward(p, &r[i], err);
    return status;
}
