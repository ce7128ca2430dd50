/* A sequence classifier made from a causal model: its body copied, a fresh scalar head in the place
 * of the vocabulary head. Entry point: ap_weights_as_classifier. */
#include "model/param.h"
#include "model/weights_table.h"

/* The body's rows have the same names and shapes in both tables. */
static ap_status copy_body(struct ap_weights *to, const struct ap_weights *from,
                           struct ap_error *err)
{
    for (int i = 0; i < to->table.n; i++) {
        struct ap_param *p = &to->table.rows[i];
        if (i == to->score)
            continue;
        ap_status status = ap_param_copy(p, ap_params_find(&from->table, p->name), err);
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

ap_status ap_weights_as_classifier(struct ap_weights **out, const struct ap_weights *w,
                                   uint64_t seed, struct ap_error *err)
{
    struct ap_weights *made = NULL;
    struct ap_config config = w->config;
    ap_status status;
    *out = NULL;
    config.n_label = 1;
    AP_TRY(ap_weights_new(&made, &config, w->context, w->table.dtype, err));
    AP_TRY(copy_body(made, w, err));
    AP_TRY(ap_param_own(&made->table.rows[made->score], err));
    ap_param_fill_normal(&made->table.rows[made->score], seed, made->score,
                         config.initializer_range);
    ap_params_repack(made->ops, &made->table);
    *out = made;
    made = NULL;
out:
    ap_weights_free(made);
    return status;
}
