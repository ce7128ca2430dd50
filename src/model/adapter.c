/* LoRA adapters: made, copied, made trainable, freed (weights.h, adapter.h). PEFT's folder is in
 * adapter_file.c; the arithmetic in linear.c. */
#include "model/adapter.h"

#include "base/memory.h"
#include "model/module.h"
#include "model/param.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define RANK_MAX 4096

static void name_row(struct ap_param *p, int layer, int target, char matrix)
{
    snprintf(p->name, sizeof(p->name), "base_model.model.model.layers.%d.%s.%s.lora_%c.weight",
             layer, ap_modules[target].parent, ap_modules[target].name, matrix);
}

static void add_target(struct ap_adapter *a, int layer, int target, int *row)
{
    int n_out, n_in, at = layer * AP_LORA_N + target;
    ap_module_shape(&a->config, target, &n_out, &n_in);
    a->a[at] = (*row)++;
    a->b[at] = (*row)++;
    struct ap_param *p = &a->table.rows[a->a[at]], *q = &a->table.rows[a->b[at]];
    name_row(p, layer, target, 'A');
    name_row(q, layer, target, 'B');
    ap_param_describe(p, "r and the base's inputs", a->rank, n_in);
    ap_param_describe(q, "the base's outputs and r", n_out, a->rank);
    ap_param_add_part(p, a->rank);
    ap_module_add_parts(q, &a->config, target);
}

static void add_head(struct ap_adapter *a, int *row)
{
    struct ap_param *p = &a->table.rows[*row];
    snprintf(p->name, sizeof(p->name), "base_model.model.score.weight");
    a->score = (*row)++;
    ap_param_describe(p, "one label, the base's hidden_size", 1, a->config.width);
    ap_param_add_part(p, 1);
}

static void add_rows(struct ap_adapter *a, bool with_head)
{
    int row = 0;
    for (int l = 0; l < a->config.n_layer; l++)
        for (int t = 0; t < AP_LORA_N; t++) {
            a->a[l * AP_LORA_N + t] = a->b[l * AP_LORA_N + t] = -1;
            if (a->targets[t])
                add_target(a, l, t, &row);
        }
    if (with_head)
        add_head(a, &row);
}

static ap_status check_plan(const struct ap_adapter_plan *plan, int *n_targets,
                            struct ap_error *err)
{
    if (plan->rank < 1 || plan->rank > RANK_MAX)
        return ap_fail(err, AP_INVALID, "adapter: rank is %d, expected 1 to %d", plan->rank,
                       RANK_MAX);
    if (!(plan->alpha > 0) || !isfinite(plan->alpha))
        return ap_fail(err, AP_INVALID, "adapter: alpha is %g, expected a positive number",
                       plan->alpha);
    *n_targets = 0;
    for (int t = 0; t < AP_LORA_N; t++)
        *n_targets += plan->targets[t];
    if (!*n_targets)
        return ap_fail(err, AP_INVALID, "adapter: no targets, expected \"all-linear\" or names");
    return AP_OK;
}

static ap_status describe(struct ap_adapter **out, const struct ap_config *config,
                          const struct ap_adapter_plan *plan, struct ap_error *err)
{
    struct ap_adapter *a = ap_calloc(1, sizeof(*a));
    size_t n_map = (size_t)config->n_layer * AP_LORA_N;
    int n_targets = 0;
    ap_status status;
    *out = NULL;
    if (!a)
        return ap_fail(err, AP_MEMORY, "adapter: out of memory");
    AP_TRY(check_plan(plan, &n_targets, err));
    *a = (struct ap_adapter){.config = *config,
                             .score = -1,
                             .rank = plan->rank,
                             .alpha = plan->alpha,
                             .rslora = plan->rslora,
                             .a = ap_calloc(n_map, sizeof(int)),
                             .b = ap_calloc(n_map, sizeof(int))};
    a->scale = (float)(plan->rslora ? plan->alpha / sqrt(plan->rank) : plan->alpha / plan->rank);
    memcpy(a->targets, plan->targets, sizeof(a->targets));
    if (!a->a || !a->b) {
        status = ap_fail(err, AP_MEMORY, "adapter: out of memory");
        goto out;
    }
    AP_TRY(ap_ops_cpu(&a->ops, err));
    AP_TRY(ap_params_init(&a->table, 2 * n_targets * config->n_layer + plan->with_head, err));
    add_rows(a, plan->with_head);
    *out = a;
    a = NULL;
out:
    ap_adapter_free(a);
    return status;
}

ap_status ap_adapter_make(struct ap_adapter **out, const struct ap_config *config,
                          const struct ap_adapter_plan *plan, struct ap_error *err)
{
    struct ap_adapter *a = NULL;
    ap_status status = describe(&a, config, plan, err);
    *out = NULL;
    for (int i = 0; status == AP_OK && i < a->table.n; i++)
        status = ap_param_own(&a->table.rows[i], err);
    if (status == AP_OK)
        status = ap_params_pack_new(a->ops, &a->table, err);
    if (status != AP_OK) {
        ap_adapter_free(a);
        return status;
    }
    *out = a;
    return AP_OK;
}

/* "all-linear", or names with commas between them. */
ap_status ap_lora_targets_parse(bool targets[AP_LORA_N], const struct ap_config *config,
                                const char *text, struct ap_error *err)
{
    bool all = !strcmp(text, "all-linear");
    char list[128];
    for (int t = 0; t < AP_LORA_N; t++)
        targets[t] = all && ap_module_is_there(config, t);
    for (const char *at = all ? "" : text; *at;) {
        at += strspn(at, ", ");
        size_t n = strcspn(at, ", ");
        int target = ap_module_find(config, at, n);
        if (n && target < 0)
            return ap_fail(err, AP_INVALID,
                           "adapter: \"%.*s\" is no target, expected all-linear, or some of %s",
                           (int)(n < 80 ? n : 80), at, ap_module_list(config, list, sizeof(list)));
        if (n)
            targets[target] = true;
        at += n;
    }
    return AP_OK;
}

static ap_status plan_of(struct ap_adapter_plan *plan, const struct ap_config *config,
                         const struct ap_adapter_settings *settings, bool with_head,
                         struct ap_error *err)
{
    *plan = (struct ap_adapter_plan){.rank = settings->rank,
                                     .alpha = settings->alpha,
                                     .rslora = settings->rslora,
                                     .with_head = with_head};
    return ap_lora_targets_parse(plan->targets, config, settings->targets, err);
}

ap_status ap_adapter_describe(struct ap_adapter **out, const struct ap_weights *base,
                              const struct ap_adapter_settings *settings, bool with_head,
                              struct ap_error *err)
{
    struct ap_adapter_plan plan;
    ap_status status = plan_of(&plan, &base->config, settings, with_head, err);
    *out = NULL;
    return status == AP_OK ? describe(out, &base->config, &plan, err) : status;
}

ap_status ap_adapter_new(struct ap_adapter **out, const struct ap_weights *base,
                         const struct ap_adapter_settings *settings, bool with_head, uint64_t seed,
                         struct ap_error *err)
{
    struct ap_adapter_plan plan;
    *out = NULL;
    ap_status status = plan_of(&plan, &base->config, settings, with_head, err);
    if (status == AP_OK)
        status = ap_adapter_make(out, &base->config, &plan, err);
    if (status != AP_OK)
        return status;
    for (int i = 0; i < base->config.n_layer * AP_LORA_N; i++)
        if ((*out)->a[i] >= 0) {
            struct ap_param *a = &(*out)->table.rows[(*out)->a[i]];
            ap_param_fill_uniform(a, seed, (*out)->a[i], 1 / sqrt(a->shape[1]));
        }
    ap_params_repack((*out)->ops, &(*out)->table);
    return AP_OK;
}

ap_status ap_adapter_copy(struct ap_adapter **out, const struct ap_adapter *a, struct ap_error *err)
{
    struct ap_adapter_plan plan = {
        .rank = a->rank, .alpha = a->alpha, .rslora = a->rslora, .with_head = a->score >= 0};
    memcpy(plan.targets, a->targets, sizeof(plan.targets));
    ap_status status = ap_adapter_make(out, &a->config, &plan, err);
    if (status != AP_OK)
        return status;
    for (int i = 0; i < a->table.n; i++)
        memcpy((*out)->table.rows[i].own, a->table.rows[i].data,
               a->table.rows[i].n * sizeof(float));
    ap_params_repack(a->ops, &(*out)->table);
    return AP_OK;
}

ap_status ap_adapter_set_trainable(struct ap_adapter *a, struct ap_error *err)
{
    ap_status status = ap_params_train(&a->table, err);
    a->trainable = status == AP_OK;
    return status;
}

void ap_adapter_free(struct ap_adapter *a)
{
    if (!a)
        return;
    ap_params_free(a->ops, &a->table);
    ap_free(a->a);
    ap_free(a->b);
    ap_free(a);
}
