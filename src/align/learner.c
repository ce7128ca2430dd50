/* Roles that train (learner.h). */
#include "align/learner.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>

int ap_role_max_rank(const struct ap_role *a, const struct ap_role *b)
{
    int rank_a = a->adapter ? a->adapter->rank : 0, rank_b = b->adapter ? b->adapter->rank : 0;
    return rank_a > rank_b ? rank_a : rank_b;
}

static struct ap_param_table *trained_table(const struct ap_role *role)
{
    return role->adapter ? &role->adapter->table : &role->weights->table;
}

enum ap_tape_kind ap_learner_tape(const struct ap_optimiser_settings *settings)
{
    return settings->gradient_checkpointing ? AP_TAPE_CHECKPOINT : AP_TAPE_BACKWARD;
}

ap_status ap_learner_open(struct ap_learner *l, const struct ap_lm *lm, const struct ap_role *role,
                          const struct ap_optimiser_settings *settings, int64_t n_steps,
                          int max_row, int max_rank, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_param_table *table = trained_table(role);

    *l = (struct ap_learner){.role = *role, .base_name = lm->name};
    AP_TRY(role->adapter ? ap_adapter_set_trainable(role->adapter, err)
                         : ap_weights_set_trainable(role->weights, err));
    AP_TRY(ap_optimiser_open(&l->optimiser, role->weights->ops, &table, 1, settings, n_steps, err));
    AP_TRY(ap_tape_open(&l->tape, &role->weights->config, max_row, max_rank,
                        ap_learner_tape(settings), err));
out:
    if (status != AP_OK)
        ap_learner_close(l);
    return status;
}

void ap_learner_close(struct ap_learner *l)
{
    ap_tape_close(l->tape);
    ap_optimiser_close(l->optimiser);
    *l = (struct ap_learner){0};
}

struct ap_dropout ap_learner_dropout(const struct ap_stage *stage, int64_t step,
                                     const uint64_t *record)
{
    uint32_t name = ap_stream_stage(stage->name) ^ ap_stream_stage("dropout");
    return (struct ap_dropout){
        .stream = {.seed = stage->seed, .stage = name, .step = (uint32_t)step}, .record = record};
}

void ap_learner_zero_grad(struct ap_learner *l)
{
    ap_params_zero_grad(trained_table(&l->role));
}

/* A loss may be infinite while its gradients are not: then there is no tensor to name. */
void ap_learner_step(struct ap_learner *l, int64_t step, double loss, struct ap_update *update)
{
    if (isfinite(loss)) {
        ap_optimiser_step(l->optimiser, step, update);
        return;
    }
    *update = (struct ap_update){.skipped = true, .grad_norm = (double)NAN};
    if (ap_optimiser_finite(l->optimiser, update->bad))
        snprintf(update->bad, sizeof(update->bad), "the loss");
    ap_learner_zero_grad(l);
}

ap_status ap_learner_update(struct ap_learner *l, struct ap_stage *stage, int64_t step, double loss,
                            struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_update update = {0};
    ap_learner_step(l, step, loss, &update);
    if (update.skipped)
        return ap_stage_bad(stage, step, update.bad, err);
    ap_stage_good(stage);
    AP_TRY(ap_stage_metric(stage, step, "loss", loss, err));
    AP_TRY(ap_stage_metric(stage, step, "grad_norm", update.grad_norm, err));
    AP_TRY(ap_stage_metric(stage, step, "lr", update.lr, err));
out:
    return status;
}

ap_status ap_learner_save_result(const struct ap_learner *l, const char *folder,
                                 struct ap_error *err)
{
    return l->role.adapter ? ap_adapter_save(l->role.adapter, folder, l->base_name, err)
                           : ap_weights_save(l->role.weights, folder, err);
}

ap_status ap_learner_save(const struct ap_learner *l, const char *folder, const char *name,
                          struct ap_error *err)
{
    char optimiser[64], *path = ap_path_join(folder, name);
    snprintf(optimiser, sizeof(optimiser), "%s-optimiser", name);
    ap_status status = ap_learner_save_result(l, path, err);
    ap_free(path);
    return status == AP_OK ? ap_optimiser_save(l->optimiser, folder, optimiser, err) : status;
}

ap_status ap_learner_load(struct ap_learner *l, const char *folder, const char *name,
                          struct ap_error *err)
{
    char optimiser[64], *path = ap_path_join(folder, name);
    snprintf(optimiser, sizeof(optimiser), "%s-optimiser", name);
    ap_status status = l->role.adapter ? ap_adapter_restore(l->role.adapter, path, err)
                                       : ap_weights_restore(l->role.weights, path, err);
    ap_free(path);
    return status == AP_OK ? ap_optimiser_load(l->optimiser, folder, optimiser, err) : status;
}
