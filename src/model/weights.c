/* A model's weights: made at random, copied, made trainable, saved, restored, freed. Loading a
 * folder of someone else's is in weights_load.c. */
#include "model/weights.h"

#include "base/memory.h"
#include "model/param.h"
#include "model/weights_table.h"

#include <string.h>

static bool is_norm(const struct ap_weights *w, int row)
{
    bool norm = row == w->norm;
    for (int l = 0; l < w->config.n_layer && !norm; l++)
        norm = row == w->layers[l].norm1 || row == w->layers[l].norm2;
    return norm;
}

static void fill_ones(struct ap_param *p)
{
    for (size_t i = 0; i < p->n; i++)
        p->own[i] = 1;
}

ap_status ap_weights_random(struct ap_weights **out, const struct ap_config *config, int context,
                            ap_dtype dtype, uint64_t seed, struct ap_error *err)
{
    struct ap_weights *w;
    ap_status status = ap_weights_new(&w, config, context, dtype, err);
    *out = NULL;
    for (int i = 0; status == AP_OK && i < w->table.n; i++) {
        struct ap_param *p = &w->table.rows[i];
        status = ap_param_own(p, err);
        if (status == AP_OK && p->n_dim == 2)
            ap_param_fill_normal(p, seed, i, config->initializer_range);
        else if (status == AP_OK && is_norm(w, i))
            fill_ones(p);
    }
    if (status != AP_OK) {
        ap_weights_free(w);
        return status;
    }
    ap_params_repack(w->ops, &w->table);
    *out = w;
    return AP_OK;
}

ap_status ap_weights_copy(struct ap_weights **out, const struct ap_weights *w, struct ap_error *err)
{
    struct ap_weights *copy;
    ap_status status = ap_weights_new(&copy, &w->config, w->context, w->table.dtype, err);
    *out = NULL;
    if (status == AP_OK)
        status = ap_params_copy(copy->ops, &copy->table, &w->table, err);
    if (status != AP_OK) {
        ap_weights_free(copy);
        return status;
    }
    *out = copy;
    return AP_OK;
}

static void close_files(struct ap_weights *w)
{
    for (int i = 0; w->files && i < w->n_files; i++)
        ap_safetensors_close(&w->files[i]);
    ap_free(w->files);
    w->files = NULL;
    w->n_files = 0;
}

ap_status ap_weights_set_trainable(struct ap_weights *w, struct ap_error *err)
{
    ap_status status = ap_params_train(&w->table, err);
    if (status != AP_OK)
        return status;
    close_files(w);
    w->trainable = true;
    return AP_OK;
}

ap_status ap_weights_save(const struct ap_weights *w, const char *dir, struct ap_error *err)
{
    char *path = ap_path_join(dir, "model.safetensors");
    ap_status status = AP_OK;
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    AP_TRY(ap_dir_make(dir, err));
    AP_TRY(ap_config_write(&w->config, w->table.rows[w->embed].dtype, dir, err));
    status = ap_params_write(&w->table, path, err);
out:
    ap_free(path);
    return status;
}

ap_status ap_weights_restore(struct ap_weights *w, const char *dir, struct ap_error *err)
{
    char *path = ap_path_join(dir, "model.safetensors");
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    ap_status status = ap_params_read(&w->table, path, "the model in use", err);
    if (status == AP_OK) {
        ap_params_repack(w->ops, &w->table);
        close_files(w);
    }
    ap_free(path);
    return status;
}

void ap_weights_free(struct ap_weights *w)
{
    if (!w)
        return;
    ap_params_free(w->ops, &w->table);
    close_files(w);
    ap_free(w->layers);
    ap_free(w->rope_cos);
    ap_free(w->rope_sin);
    ap_free(w);
}
