/* LoRA adapters: made, copied, made trainable, freed (weights.h, adapter.h). PEFT's folder is in
 * adapter_file.c, its rules in adapter_match.c; the arithmetic in linear.c. */
#include "model/adapter.h"

#include "base/memory.h"
#include "model/module.h"
#include "model/param.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void name_row(struct ap_param *p, int layer, int target, char matrix)
{
    char module[AP_MODULE_NAME_MAX];
    snprintf(p->name, sizeof(p->name), "base_model.model.%s.lora_%c.weight",
             ap_lora_module(module, layer, target), matrix);
}

static void add_target(struct ap_adapter *a, int at, int rank, int *row)
{
    int n_out, n_in, layer = at / AP_LORA_N, target = at % AP_LORA_N;
    ap_module_shape(&a->config, target, &n_out, &n_in);
    a->a[at] = (*row)++;
    a->b[at] = (*row)++;
    struct ap_param *p = &a->table.rows[a->a[at]], *q = &a->table.rows[a->b[at]];
    name_row(p, layer, target, 'A');
    name_row(q, layer, target, 'B');
    ap_param_describe(p, "r and the base's inputs", rank, n_in);
    ap_param_describe(q, "the base's outputs and r", n_out, rank);
    ap_param_add_part(p, rank);
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

static void add_rows(struct ap_adapter *a, const struct ap_adapter_plan *plan)
{
    int row = 0;
    for (int i = 0; i < plan->n; i++) {
        int rank = plan->ranks[i];
        a->a[i] = a->b[i] = -1;
        if (!rank)
            continue;
        a->rank = rank > a->rank ? rank : a->rank;
        a->alphas[i] = plan->alphas[i];
        a->scales[i] = (float)(plan->alphas[i] / (plan->rslora ? sqrt(rank) : rank));
        add_target(a, i, rank, &row);
    }
    if (plan->with_head)
        add_head(a, &row);
}

static ap_status check_plan(const struct ap_adapter_plan *plan, int *n_adapted,
                            struct ap_error *err)
{
    if (plan->r < 1 || plan->r > AP_LORA_RANK_MAX)
        return ap_fail(err, AP_INVALID, "adapter: rank is %d, expected 1 to %d", plan->r,
                       AP_LORA_RANK_MAX);
    if (!(plan->alpha > 0) || !isfinite(plan->alpha))
        return ap_fail(err, AP_INVALID, "adapter: alpha is %g, expected a positive number",
                       plan->alpha);
    *n_adapted = 0;
    for (int i = 0; i < plan->n; i++)
        *n_adapted += plan->ranks[i] > 0;
    if (!*n_adapted)
        return ap_fail(err, AP_INVALID, "adapter: no targets, expected \"all-linear\" or names");
    return AP_OK;
}

ap_status ap_adapter_outline(struct ap_adapter **out, const struct ap_config *config,
                             const struct ap_adapter_plan *plan, struct ap_error *err)
{
    struct ap_adapter *a = ap_calloc(1, sizeof(*a));
    size_t n = (size_t)plan->n;
    int n_adapted = 0;
    ap_status status;
    *out = NULL;
    if (!a)
        return ap_fail(err, AP_MEMORY, "adapter: out of memory");
    AP_TRY(check_plan(plan, &n_adapted, err));
    *a = (struct ap_adapter){.config = *config,
                             .score = -1,
                             .r = plan->r,
                             .alpha = plan->alpha,
                             .rslora = plan->rslora,
                             .dropout = plan->dropout,
                             .a = ap_calloc(n, sizeof(int)),
                             .b = ap_calloc(n, sizeof(int)),
                             .alphas = ap_calloc(n, sizeof(double)),
                             .scales = ap_calloc(n, sizeof(float))};
    if (!a->a || !a->b || !a->alphas || !a->scales) {
        status = ap_fail(err, AP_MEMORY, "adapter: out of memory");
        goto out;
    }
    AP_TRY(ap_ops_cpu(&a->ops, err));
    AP_TRY(ap_params_init(&a->table, 2 * n_adapted + plan->with_head, err));
    add_rows(a, plan);
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
    ap_status status = ap_adapter_outline(&a, config, plan, err);
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

ap_status ap_adapter_describe(struct ap_adapter **out, const struct ap_weights *base,
                              const struct ap_adapter_settings *settings, bool with_head,
                              struct ap_error *err)
{
    struct ap_adapter_plan plan;
    ap_status status = ap_adapter_plan_even(&plan, &base->config, settings, with_head, err);
    *out = NULL;
    if (status == AP_OK)
        status = ap_adapter_outline(out, &base->config, &plan, err);
    ap_adapter_plan_free(&plan);
    return status;
}

ap_status ap_adapter_new(struct ap_adapter **out, const struct ap_weights *base,
                         const struct ap_adapter_settings *settings, bool with_head, uint64_t seed,
                         struct ap_error *err)
{
    struct ap_adapter_plan plan;
    *out = NULL;
    ap_status status = ap_adapter_plan_even(&plan, &base->config, settings, with_head, err);
    if (status == AP_OK)
        status = ap_adapter_make(out, &base->config, &plan, err);
    ap_adapter_plan_free(&plan);
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
    struct ap_adapter_plan plan;
    *out = NULL;
    ap_status status = ap_adapter_plan_of(&plan, a, err);
    if (status == AP_OK)
        status = ap_adapter_make(out, &a->config, &plan, err);
    ap_adapter_plan_free(&plan);
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
    ap_free(a->alphas);
    ap_free(a->scales);
    ap_free(a);
}
