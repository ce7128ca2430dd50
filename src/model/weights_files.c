/* Finding and opening a model's files (weights_files.h). */
#include "model/weights_files.h"

#include "base/json.h"
#include "base/memory.h"
#include "model/param.h"

#include <stdlib.h>
#include <string.h>

#define INDEX_MAX ((size_t)64 << 20) /* bytes */
#define SHARDS_MAX 4096

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

static ap_status list_shards(struct ap_weights_files *s, struct ap_error *err)
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

static ap_status read_index(struct ap_weights_files *s, const char *path, struct ap_error *err)
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

static ap_status open_file(struct ap_weights_files *s, const char *file, struct ap_error *err)
{
    char *path = ap_path_join(s->dir, file);
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", s->dir);
    ap_status status = ap_safetensors_open(&s->files[s->n], path, err);
    if (status == AP_OK)
        s->n++;
    ap_free(path);
    return status;
}

ap_status ap_weights_files_open(struct ap_weights_files *s, const char *dir, struct ap_error *err)
{
    *s = (struct ap_weights_files){.dir = dir};
    char *single = ap_path_join(dir, "model.safetensors");
    s->index = ap_path_join(dir, "model.safetensors.index.json");
    bool sharded = single && s->index && !ap_file_exists(single) && ap_file_exists(s->index);
    ap_status status = AP_OK;
    if (!single || !s->index) {
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
        goto out;
    }
    if (sharded)
        AP_TRY(read_index(s, s->index, err));
    s->files = ap_calloc(sharded ? (size_t)s->n_shards : 1, sizeof(*s->files));
    if (!s->files)
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", dir);
    else if (!sharded)
        status = open_file(s, "model.safetensors", err);
    for (int i = 0; status == AP_OK && i < s->n_shards; i++)
        status = open_file(s, s->shards[i], err);
out:
    ap_free(single);
    return status;
}

void ap_weights_files_close(struct ap_weights_files *s)
{
    for (int i = 0; i < s->n; i++)
        ap_safetensors_close(&s->files[i]);
    ap_free(s->files);
    ap_free(s->shards);
    ap_free(s->index);
    json_decref(s->map);
    *s = (struct ap_weights_files){0};
}

/* The file that has, or should have, the tensor; NULL when the index does not name it. */
static const struct ap_safetensors *file_of(const struct ap_weights_files *s, const char *tensor)
{
    const char *file = json_string_value(json_object_get(s->map, tensor));
    if (!s->map)
        return &s->files[0];
    char **shard =
        file ? bsearch(&file, s->shards, (size_t)s->n_shards, sizeof(char *), by_text) : NULL;
    return shard ? &s->files[shard - s->shards] : NULL;
}

const struct ap_tensor_view *ap_weights_files_find(const struct ap_weights_files *s,
                                                   const char *tensor, const char **path)
{
    const struct ap_safetensors *f = file_of(s, tensor);
    *path = f ? f->path : s->index;
    return f ? ap_safetensors_find(f, tensor) : NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* A head that a tied model stores all the same must be the embedding it is tied to. */
static bool is_tied_copy(const struct ap_weights_files *s, const struct ap_weights *w,
                         const struct ap_tensor_view *v, bool values)
{
    const char *path, *embed = w->table.rows[w->embed].name;
    const struct ap_tensor_view *e = ap_weights_files_find(s, embed, &path);
    return w->config.tied && !strcmp(v->name, "lm_head.weight") && e && e->dtype == v->dtype &&
           e->n == v->n && (!values || !memcmp(e->data, v->data, v->n * ap_dtype_size(v->dtype)));
}

ap_status ap_weights_files_check(const struct ap_weights_files *s, const struct ap_weights *w,
                                 const struct ap_safetensors *f, const struct ap_tensor_view *v,
                                 bool values, struct ap_error *err)
{
    const struct ap_config *c = &w->config;
    if (s->map && file_of(s, v->name) != f)
        return ap_fail(err, AP_FORMAT,
                       "%s: %s is a tensor too many: model.safetensors.index.json does not place "
                       "it there",
                       f->path, v->name);
    if (ends_with(v->name, ".rotary_emb.inv_freq") /* a buffer, which transformers skips too */
        || is_tied_copy(s, w, v, values) || ap_params_find(&w->table, v->name))
        return AP_OK;
    return ap_fail(err, AP_FORMAT,
                   "%s: %s is a tensor too many: config.json describes none of that name "
                   "(num_hidden_layers %d, attention_bias %s, mlp_bias %s, tie_word_embeddings %s, "
                   "%s)",
                   f->path, v->name, c->n_layer, c->o_bias ? "true" : "false",
                   c->mlp_bias ? "true" : "false", c->tied ? "true" : "false",
                   c->n_label ? "a classifier" : "a causal LM");
}
