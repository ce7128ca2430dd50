/* Loading a Hugging Face folder: model.safetensors, or shards named by
 * model.safetensors.index.json. Matrices are packed straight from the map. Entry point:
 * ap_weights_load. */
#include "model/weights.h"

#include "base/memory.h"
#include "model/config_inner.h"
#include "model/param.h"
#include "model/weights_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_MAX ((size_t)64 << 20) /* bytes */
#define SHARDS_MAX 4096

/* Where the tensors of a folder are. The files belong to the weights. */
struct source {
    const char *dir;
    json_t *map;   /* tensor → file name; NULL for a single file */
    char **shards; /* file names, sorted; they borrow from map */
    int n_shards;
};

/* A shard is a file of the folder itself, whatever the index says. */
static ap_status check_shard(const char *dir, const char *tensor, const json_t *value,
                             struct ap_error *err)
{
    const char *file = json_string_value(value);
    if (!file || !*file || strlen(file) != json_string_length(value) || strchr(file, '/') ||
        file[0] == '.')
        return ap_fail(err, AP_FORMAT,
                       "%s/model.safetensors.index.json: weight_map[\"%s\"] is no plain file name",
                       dir, tensor);
    return AP_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ap_status list_shards(struct source *s, struct ap_error *err)
{
    const char *tensor;
    json_t *value;
    size_t n = 0;
    s->shards = ap_calloc(json_object_size(s->map), sizeof(char *));
    if (!s->shards)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", s->dir);
    json_object_foreach(s->map, tensor, value)
    {
        ap_status status = check_shard(s->dir, tensor, value, err);
        if (status != AP_OK)
            return status;
        s->shards[n++] = (char *)json_string_value(value);
    }
    qsort(s->shards, n, sizeof(char *), by_text);
    for (size_t i = 0; i < n; i++)
        if (!i || strcmp(s->shards[i], s->shards[s->n_shards - 1]) != 0)
            s->shards[s->n_shards++] = s->shards[i];
    if (!s->n_shards || s->n_shards > SHARDS_MAX)
        return ap_fail(err, AP_FORMAT,
                       "%s/model.safetensors.index.json: %d files in weight_map, expected 1 to %d",
                       s->dir, s->n_shards, SHARDS_MAX);
    return AP_OK;
}

static ap_status read_index(struct source *s, const char *path, struct ap_error *err)
{
    json_t *o = NULL;
    ap_status status = ap_json_load(path, INDEX_MAX, &o, err);
    if (status != AP_OK)
        return status;
    s->map = json_incref(json_object_get(o, "weight_map"));
    json_decref(o);
    if (!json_is_object(s->map))
        return ap_fail(err, AP_FORMAT, "%s: \"weight_map\" is missing or no object", path);
    return list_shards(s, err);
}

static ap_status open_file(struct ap_weights *w, const char *dir, const char *file,
                           struct ap_error *err)
{
    char *path = ap_path_join(dir, file);
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    ap_status status = ap_safetensors_open(&w->files[w->n_files], path, err);
    if (status == AP_OK)
        w->n_files++;
    ap_free(path);
    return status;
}

static ap_status open_files(struct ap_weights *w, struct source *s, struct ap_error *err)
{
    char *single = ap_path_join(s->dir, "model.safetensors");
    char *index = ap_path_join(s->dir, "model.safetensors.index.json");
    bool sharded = single && index && !ap_file_exists(single) && ap_file_exists(index);
    ap_status status = AP_OK;
    if (!single || !index) {
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", s->dir);
        goto out;
    }
    if (sharded)
        AP_TRY(read_index(s, index, err));
    w->files = ap_calloc(sharded ? (size_t)s->n_shards : 1, sizeof(*w->files));
    if (!w->files)
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", s->dir);
    else if (!sharded)
        status = open_file(w, s->dir, "model.safetensors", err);
    for (int i = 0; status == AP_OK && i < s->n_shards; i++)
        status = open_file(w, s->dir, s->shards[i], err);
out:
    ap_free(index);
    ap_free(single);
    return status;
}

/* The file that has, or should have, the tensor; NULL when the index does not name it. */
static const struct ap_safetensors *file_of(const struct ap_weights *w, const struct source *s,
                                            const char *tensor)
{
    const char *file = json_string_value(json_object_get(s->map, tensor));
    if (!s->map)
        return &w->files[0];
    char **shard =
        file ? bsearch(&file, s->shards, (size_t)s->n_shards, sizeof(char *), by_text) : NULL;
    return shard ? &w->files[shard - s->shards] : NULL;
}

/* Matrices do; norms and biases are read as floats, in place where the file's alignment allows. */
static bool stays_mapped(const struct ap_param *p, const struct ap_tensor_view *v)
{
    return p->n_dim == 2 || (v->dtype == AP_F32 && (uintptr_t)v->data % sizeof(float) == 0);
}

static ap_status take_values(struct ap_param *p, const struct ap_tensor_view *v, const char *path,
                             struct ap_error *err)
{
    if (v && stays_mapped(p, v))
        return ap_param_borrow(p, v, path, "config.json", err);
    return ap_param_read(p, v, path, "config.json", err);
}

static ap_status take_row(struct ap_weights *w, const struct source *s, struct ap_param *p,
                          struct ap_error *err)
{
    const struct ap_safetensors *f = file_of(w, s, p->name);
    if (f)
        return take_values(p, ap_safetensors_find(f, p->name), f->path, err);
    char index[AP_ERROR_TEXT_MAX / 2];
    snprintf(index, sizeof(index), "%s/model.safetensors.index.json", s->dir);
    return ap_param_check(p, NULL, index, "config.json", err);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* A head that a tied model stores all the same must be the embedding it is tied to. */
static bool is_tied_copy(const struct ap_weights *w, const struct source *s,
                         const struct ap_tensor_view *v)
{
    const char *embed = w->table.rows[w->embed].name;
    const struct ap_safetensors *f = file_of(w, s, embed);
    const struct ap_tensor_view *e = f ? ap_safetensors_find(f, embed) : NULL;
    return w->config.tied && !strcmp(v->name, "lm_head.weight") && e && e->dtype == v->dtype &&
           e->n == v->n && !memcmp(e->data, v->data, v->n * ap_dtype_size(v->dtype));
}

/* Buffers of old checkpoints (transformers skips them too) and the copy of a tied head. */
static bool is_redundant(const struct ap_weights *w, const struct source *s,
                         const struct ap_tensor_view *v)
{
    return ends_with(v->name, ".rotary_emb.inv_freq") || is_tied_copy(w, s, v);
}

static ap_status check_view(const struct ap_weights *w, const struct source *s,
                            const struct ap_safetensors *f, const struct ap_tensor_view *v,
                            struct ap_error *err)
{
    const struct ap_config *c = &w->config;
    if (s->map && file_of(w, s, v->name) != f)
        return ap_fail(err, AP_FORMAT,
                       "%s: %s is a tensor too many: model.safetensors.index.json does not place "
                       "it there",
                       f->path, v->name);
    if (is_redundant(w, s, v) || ap_params_find(&w->table, v->name))
        return AP_OK;
    return ap_fail(err, AP_FORMAT,
                   "%s: %s is a tensor too many: config.json describes none of that name "
                   "(num_hidden_layers %d, attention_bias %s, mlp_bias %s, tie_word_embeddings %s, "
                   "%s)",
                   f->path, v->name, c->n_layer, c->o_bias ? "true" : "false",
                   c->mlp_bias ? "true" : "false", c->tied ? "true" : "false",
                   c->n_label ? "a classifier" : "a causal LM");
}

/* Rows are found already; views are gone through one by one only when there are more. */
static ap_status check_no_more(const struct ap_weights *w, const struct source *s,
                               struct ap_error *err)
{
    int n = 0;
    for (int i = 0; i < w->n_files; i++)
        n += w->files[i].n;
    for (int i = 0; n != w->table.n && i < w->n_files; i++)
        for (int k = 0; k < w->files[i].n; k++) {
            ap_status status = check_view(w, s, &w->files[i], &w->files[i].views[k], err);
            if (status != AP_OK)
                return status;
        }
    return AP_OK;
}

/* What was read to be packed or compared need not stay in memory; an embedding that is looked up in
 * the file does, and is there from the start: how much memory a run has does not depend on how many
 * words it has seen. */
static void pack_rows(struct ap_weights *w)
{
    for (int i = 0; i < w->table.n; i++) {
        struct ap_param_table row = {.rows = &w->table.rows[i], .n = 1};
        ap_params_repack(w->ops, &row);
        if (row.rows->n_part)
            ap_map_release(row.rows->stored, row.rows->n * ap_dtype_size(row.rows->dtype));
    }
    for (int i = 0; i < w->n_files; i++)
        ap_map_release(w->files[i].map.data, w->files[i].map.size);
    for (int i = 0; i < w->table.n; i++) {
        const struct ap_param *p = &w->table.rows[i];
        if (!p->n_part && p->stored != p->own)
            ap_map_fetch(p->stored, p->n * ap_dtype_size(p->dtype));
    }
}

/* A context below 0: nothing to compute with. */
static ap_status load(struct ap_weights **out, const char *dir, int context, ap_dtype dtype,
                      struct ap_error *err)
{
    struct source s = {.dir = dir};
    struct ap_config config;
    struct ap_weights *w = NULL;
    ap_status status;
    *out = NULL;
    AP_TRY(ap_config_read(&config, dir, err));
    status = context < 0 ? ap_weights_describe(&w, &config, 0, dtype, err)
                         : ap_weights_new(&w, &config, context, dtype, err);
    if (status != AP_OK) {
        ap_fail_prefix(err, status, "%s", dir);
        goto out;
    }
    AP_TRY(open_files(w, &s, err));
    for (int i = 0; i < w->table.n; i++)
        AP_TRY(take_row(w, &s, &w->table.rows[i], err));
    AP_TRY(check_no_more(w, &s, err));
    if (context >= 0)
        pack_rows(w);
    *out = w;
    w = NULL;
out:
    ap_free(s.shards);
    json_decref(s.map);
    ap_weights_free(w);
    return status;
}

ap_status ap_weights_load(struct ap_weights **out, const char *dir, int context, ap_dtype dtype,
                          struct ap_error *err)
{
    return load(out, dir, context > 0 ? context : 0, dtype, err);
}

ap_status ap_weights_open(struct ap_weights **out, const char *dir, struct ap_error *err)
{
    return load(out, dir, -1, AP_F32, err);
}

ap_status ap_weights_load_bytes(const struct ap_weights *w, const char *dir, size_t *own,
                                size_t *mapped, struct ap_error *err)
{
    struct source s = {.dir = dir};
    struct ap_weights *files = ap_calloc(1, sizeof(*files)); /* nothing but the files of it */
    ap_status status =
        files ? open_files(files, &s, err) : ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    *own = *mapped = 0;
    for (int i = 0; status == AP_OK && i < w->table.n; i++) {
        const struct ap_param *p = &w->table.rows[i];
        const struct ap_safetensors *f = file_of(files, &s, p->name);
        const struct ap_tensor_view *v = f ? ap_safetensors_find(f, p->name) : NULL;
        status = ap_param_check(p, v, f ? f->path : dir, "config.json", err);
        if (status == AP_OK && stays_mapped(p, v))
            *mapped += p->n_part ? 0 : p->n * ap_dtype_size(v->dtype);
        else
            *own += ap_calloc_bytes(p->n, sizeof(float));
    }
    ap_free(s.shards);
    json_decref(s.map);
    ap_weights_free(files);
    return status;
}
