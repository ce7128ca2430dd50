/* Which modules of a base an adapter is to have (adapter.h): made empty, or from a recipe's text.
 * By PEFT's rules it is filled in adapter_match.c. */
#include "model/adapter.h"

#include "base/memory.h"
#include "model/module.h"

#include <stdio.h>
#include <string.h>

const char *ap_lora_module(char out[AP_MODULE_NAME_MAX], int layer, int target)
{
    snprintf(out, AP_MODULE_NAME_MAX, "model.layers.%d.%s.%s", layer, ap_modules[target].parent,
             ap_modules[target].name);
    return out;
}

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

ap_status ap_adapter_plan_init(struct ap_adapter_plan *plan, const struct ap_config *config,
                               struct ap_error *err)
{
    int n = config->n_layer * AP_LORA_N;
    *plan = (struct ap_adapter_plan){.n = n,
                                     .ranks = ap_calloc((size_t)n, sizeof(int)),
                                     .alphas = ap_calloc((size_t)n, sizeof(double))};
    return plan->ranks && plan->alphas ? AP_OK : ap_fail(err, AP_MEMORY, "adapter: out of memory");
}

ap_status ap_adapter_plan_even(struct ap_adapter_plan *plan, const struct ap_config *config,
                               const struct ap_adapter_settings *s, bool with_head,
                               struct ap_error *err)
{
    bool targets[AP_LORA_N];
    ap_status status = ap_adapter_plan_init(plan, config, err);
    if (status == AP_OK)
        status = ap_lora_targets_parse(targets, config, s->targets, err);
    plan->r = s->rank;
    plan->alpha = s->alpha;
    plan->rslora = s->rslora;
    plan->dropout = s->dropout;
    plan->with_head = with_head;
    for (int i = 0; i < plan->n && status == AP_OK; i++) {
        plan->ranks[i] = targets[i % AP_LORA_N] ? s->rank : 0;
        plan->alphas[i] = s->alpha;
    }
    return status;
}

ap_status ap_adapter_plan_of(struct ap_adapter_plan *plan, const struct ap_adapter *a,
                             struct ap_error *err)
{
    ap_status status = ap_adapter_plan_init(plan, &a->config, err);
    plan->r = a->r;
    plan->alpha = a->alpha;
    plan->rslora = a->rslora;
    plan->dropout = a->dropout;
    plan->with_head = a->score >= 0;
    for (int i = 0; i < plan->n && status == AP_OK; i++) {
        plan->ranks[i] = a->a[i] < 0 ? 0 : a->table.rows[a->a[i]].shape[0];
        plan->alphas[i] = a->alphas[i];
    }
    return status;
}

void ap_adapter_plan_free(struct ap_adapter_plan *plan)
{
    ap_free(plan->ranks);
    ap_free(plan->alphas);
    *plan = (struct ap_adapter_plan){0};
}
