/* Any bytes as an adapter_config.json: refused in one line, or a plan of ranks and alphas in range.
 *
 * fuzz: model */
#include "model/adapter.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plan(const struct ap_adapter_plan *plan)
{
    int n = 0;
    for (int i = 0; i < plan->n; i++) {
        n += plan->ranks[i] > 0;
        if (plan->ranks[i] < 0 || plan->ranks[i] > AP_LORA_RANK_MAX ||
            (plan->ranks[i] && !(plan->alphas[i] > 0)))
            abort();
    }
    if (!n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_error err = {0};
    struct ap_config base = {.n_layer = 2};
    struct ap_adapter_plan plan;
    json_t *o = NULL;
    ap_status status = ap_json_parse((const char *)data, size, "fuzz", &o, &err);
    if (status == AP_OK) {
        status = ap_adapter_plan_read(&plan, o, "fuzz", &base, &err);
        if (status == AP_OK)
            check_plan(&plan);
        ap_adapter_plan_free(&plan);
    }
    if (status != AP_OK && (!err.text[0] || strchr(err.text, '\n')))
        abort();
    json_decref(o);
    return 0;
}
