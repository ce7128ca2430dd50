/* AdamW over parameter tables (optimiser.h): the update and its guard. Not here: schedule
 * (schedule.c), files (optimiser_file.c). */
#include "train/optimiser_inner.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int count_trainable(struct ap_param_table *const *tables, int n_tables)
{
    int n = 0;
    for (int i = 0; i < n_tables; i++)
        for (int k = 0; k < tables[i]->n; k++)
            n += tables[i]->rows[k].grad != NULL;
    return n;
}

static ap_status add_row(struct ap_optimiser *o, int table, struct ap_param *param,
                         struct ap_error *err)
{
    struct ap_optimiser_row *row = &o->rows[o->n++];
    *row = (struct ap_optimiser_row){.table = table, .param = param};
    row->m = ap_calloc(param->n, sizeof(*row->m));
    row->v = ap_calloc(param->n, sizeof(*row->v));
    return row->m && row->v ? AP_OK
                            : ap_fail(err, AP_MEMORY,
                                      "optimiser state of %s, %zu numbers: out of memory; train an "
                                      "adapter of a lower rank",
                                      param->name, 2 * param->n);
}

size_t ap_optimiser_bytes(const struct ap_param_table *table)
{
    const struct ap_optimiser_row *row = NULL;
    size_t sum = 0;
    for (int i = 0; i < table->n; i++)
        sum += ap_calloc_bytes(table->rows[i].n, sizeof(*row->m)) +
               ap_calloc_bytes(table->rows[i].n, sizeof(*row->v));
    return sum;
}

static ap_status add_rows(struct ap_optimiser *o, struct ap_error *err)
{
    for (int i = 0; i < o->n_tables; i++)
        for (int k = 0; k < o->tables[i]->n; k++) {
            struct ap_param *param = &o->tables[i]->rows[k];
            ap_status status = param->grad ? add_row(o, i, param, err) : AP_OK;
            if (status != AP_OK)
                return status;
        }
    return AP_OK;
}

ap_status ap_optimiser_open(struct ap_optimiser **out, const struct ap_ops *ops,
                            struct ap_param_table *const *tables, int n_tables,
                            const struct ap_optimiser_settings *settings, int64_t n_steps,
                            struct ap_error *err)
{
    int n = count_trainable(tables, n_tables);
    *out = NULL;
    if (n == 0)
        return ap_fail(
            err, AP_INVALID,
            "optimiser: no tensor is trainable, expected at least one; give the model an "
            "adapter or make its weights trainable");
    struct ap_optimiser *o = ap_calloc(1, sizeof(*o));
    if (!o)
        return ap_fail(err, AP_MEMORY, "optimiser: out of memory");
    *o = (struct ap_optimiser){
        .ops = ops, .settings = *settings, .n_steps = n_steps, .n_tables = n_tables};
    o->tables = ap_calloc((size_t)n_tables, sizeof(struct ap_param_table *));
    o->rows = ap_calloc((size_t)n, sizeof(*o->rows));
    ap_status status = AP_MEMORY;
    if (o->tables && o->rows) {
        memcpy(o->tables, tables, (size_t)n_tables * sizeof(struct ap_param_table *));
        status = add_rows(o, err);
    } else {
        ap_fail(err, status, "optimiser of %d tensors: out of memory", n);
    }
    if (status != AP_OK) {
        ap_optimiser_close(o);
        return status;
    }
    *out = o;
    return AP_OK;
}

void ap_optimiser_close(struct ap_optimiser *o)
{
    if (!o)
        return;
    for (int i = 0; i < o->n; i++) {
        ap_free(o->rows[i].m);
        ap_free(o->rows[i].v);
    }
    ap_free(o->rows);
    ap_free(o->tables);
    ap_free(o);
}

/* Global norm of all gradients; NaN, and the tensor's name, when one of them is not finite. */
static double gradient_norm(const struct ap_optimiser *o, char bad[AP_NAME_MAX])
{
    double sum = 0;
    for (int i = 0; i < o->n; i++) {
        const struct ap_param *p = o->rows[i].param;
        double part = o->ops->sum_squares(p->grad, p->n);
        if (!isfinite(part)) {
            snprintf(bad, AP_NAME_MAX, "%s", p->name);
            return NAN;
        }
        sum += part;
    }
    return sqrt(sum);
}

bool ap_optimiser_finite(const struct ap_optimiser *o, char bad[AP_NAME_MAX])
{
    return !isnan(gradient_norm(o, bad));
}

static void step_rows(struct ap_optimiser *o, double lr, float g_scale)
{
    const struct ap_optimiser_settings *s = &o->settings;
    o->n_applied++;
    for (int i = 0; i < o->n; i++) {
        const struct ap_optimiser_row *row = &o->rows[i];
        struct ap_param *p = row->param;
        o->ops->adamw(p->own, p->grad, row->m, row->v, p->n, g_scale, lr, s->beta1, s->beta2,
                      s->eps, p->decay ? s->weight_decay : 0, o->n_applied);
    }
    for (int i = 0; i < o->n_tables; i++)
        ap_params_repack(o->ops, o->tables[i]);
}

void ap_optimiser_step(struct ap_optimiser *o, int64_t step, struct ap_update *out)
{
    const double clip = o->settings.clip;
    *out = (struct ap_update){.lr = ap_schedule_lr(&o->settings, step, o->n_steps)};
    out->grad_norm = gradient_norm(o, out->bad);
    out->skipped = isnan(out->grad_norm);
    if (!out->skipped) {
        double scale = clip > 0 ? fmin(1, clip / (out->grad_norm + 1e-6)) : 1;
        step_rows(o, out->lr, (float)scale);
    }
    for (int i = 0; i < o->n_tables; i++)
        ap_params_zero_grad(o->tables[i]);
}
