/* A Hugging Face model folder: what config.json says, and whether the headers of its files hold
 * that. Entry point: ap_inspect_model. */
#include "model/config_inner.h"
#include "model/param.h"
#include "model/weights_files.h"
#include "pipeline/inspect_folder.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static const char *const rope_names[] = {
    [AP_ROPE_DEFAULT] = "default", [AP_ROPE_LINEAR] = "linear",     [AP_ROPE_DYNAMIC] = "dynamic",
    [AP_ROPE_LLAMA3] = "llama3",   [AP_ROPE_LONGROPE] = "longrope",
};

/* ---- config.json ---- */

static void tell_context(struct ap_tell *t, const struct ap_config *c)
{
    char n[32];
    int n_sliding = 0;
    ap_tell_line(t, "context", "%s positions", ap_inspect_number((uint64_t)c->max_position, n));
    char more[128] = "";
    size_t used = 0;
    if (c->rope_factor > 0)
        used += (size_t)snprintf(more, sizeof(more), ", factor %g", c->rope_factor);
    if (c->rope_original > 0)
        used += (size_t)snprintf(more + used, sizeof(more) - used, ", made for %d positions",
                                 c->rope_original);
    if (c->rope_partial > 0)
        snprintf(more + used, sizeof(more) - used, ", %d of %d elements rotate",
                 ap_config_rotating(c), c->head_dim);
    ap_tell_line(t, "rope", "%s, theta %g%s", rope_names[c->rope], c->rope_theta, more);
    for (int l = 0; l < c->n_layer; l++)
        n_sliding += ap_config_window(c, l) > 0;
    if (n_sliding)
        ap_tell_line(t, "window", "%d positions in %d of %d layers", c->window, n_sliding,
                     c->n_layer);
    ap_tell_count(t, "context", (uint64_t)c->max_position);
    ap_tell_text(t, "rope", rope_names[c->rope]);
    ap_tell_set(t, "rope_theta", json_real(c->rope_theta));
    ap_tell_count(t, "window", n_sliding ? (uint64_t)c->window : 0);
    ap_tell_count(t, "window_layers", (uint64_t)n_sliding);
}

static void tell_ends(struct ap_tell *t, const struct ap_config *c)
{
    json_t *list = json_array();
    for (int i = 0; i < c->n_eos; i++)
        json_array_append_new(list, json_integer(c->eos[i]));
    ap_tell_set(t, "bos", c->bos >= 0 ? json_integer(c->bos) : json_null());
    ap_tell_set(t, "pad", c->pad >= 0 ? json_integer(c->pad) : json_null());
    ap_tell_set(t, "eos", list);
}

static void tell_config(struct ap_tell *t, const struct ap_config *c)
{
    const struct ap_family_row *f = &ap_families[c->family];
    char n[32];
    ap_tell_text(t, "family", f->model_type);
    ap_tell_text(t, "task", c->n_label ? "classifier" : "causal");
    ap_tell_line(t, "family", "%s, %s (%s)", f->model_type,
                 c->n_label ? "a sequence classifier with one label" : "a causal language model",
                 c->n_label ? f->classifier : f->causal);
    ap_tell_line(t, "sizes", "%d layers, width %d, feed-forward %d", c->n_layer, c->width,
                 c->n_ffn);
    ap_tell_line(t, "attention", "%d heads of %d, %d of keys and values%s", c->n_head, c->head_dim,
                 c->n_kv_head, c->qkv_bias ? ", with biases" : "");
    ap_tell_line(t, "vocabulary", "%s%s", ap_inspect_number((uint64_t)c->n_vocab, n),
                 c->n_label ? ""
                 : c->tied  ? ", the head tied to the embedding"
                            : ", head untied");
    const struct {
        const char *key;
        int value;
    } sizes[] = {{"layers", c->n_layer},     {"width", c->width},       {"heads", c->n_head},
                 {"kv_heads", c->n_kv_head}, {"head_dim", c->head_dim}, {"ffn", c->n_ffn},
                 {"vocabulary", c->n_vocab}};
    for (size_t i = 0; i < AP_LEN(sizes); i++)
        ap_tell_count(t, sizes[i].key, (uint64_t)sizes[i].value);
    ap_tell_set(t, "tied", json_boolean(c->tied));
    tell_context(t, c);
    tell_ends(t, c);
}

/* A family that alignpro does not read is told by the name it gives itself. */
static void tell_other_config(struct ap_tell *t, const struct ap_inspected *p)
{
    json_t *o = NULL;
    if (ap_inspect_json(p, "config.json", &o, NULL) != AP_OK)
        return;
    const char *type = json_string_value(json_object_get(o, "model_type"));
    const char *made = json_string_value(json_array_get(json_object_get(o, "architectures"), 0));
    ap_tell_line(t, "family", "%.200s%s%.200s%s", type ? type : "not named", made ? " (" : "",
                 made ? made : "", made ? ")" : "");
    ap_tell_text(t, "family", type);
    json_decref(o);
}

/* ---- files ---- */

/* Every tensor that is missing, too many, of another shape or of a type that is not read. */
static void check_tensors(struct ap_tell *t, const struct ap_weights_files *s,
                          const struct ap_weights *w)
{
    struct ap_error e = {0};
    int before = t->n_problem;
    for (int i = 0; i < w->table.n; i++) {
        const char *path;
        const struct ap_tensor_view *v = ap_weights_files_find(s, w->table.rows[i].name, &path);
        if (ap_tell_fine(t, ap_param_check(&w->table.rows[i], v, path, "config.json", &e), &e))
            ap_tell_fine(t, ap_tensor_check_real(v, &e), &e);
    }
    for (int i = 0; i < s->n; i++)
        for (int k = 0; k < s->files[i].n; k++)
            ap_tell_fine(
                t, ap_weights_files_check(s, w, &s->files[i], &s->files[i].views[k], false, &e),
                &e);
    ap_tell_set(t, "as_config_says", json_boolean(t->n_problem == before));
    if (t->n_problem == before)
        ap_tell_line(t, "check", "names and shapes of all tensors are as config.json says");
}

/* What the loader takes with products of a dtype, at its whole context. */
static ap_status memory_of(const struct ap_config *c, const char *dir, ap_dtype dtype,
                           uint64_t *bytes, struct ap_error *err)
{
    struct ap_weights *w;
    size_t own, mapped;
    ap_status status = ap_weights_describe(&w, c, 0, dtype, err);
    if (status != AP_OK)
        return status;
    status = ap_weights_load_bytes(w, dir, &own, &mapped, err);
    *bytes = ap_sum_bytes(
        ap_sum_bytes(own, mapped),
        ap_sum_bytes(ap_params_packed_bytes(w->ops, &w->table), ap_weights_rope_bytes(w)));
    ap_weights_free(w);
    return status;
}

static void tell_memory(struct ap_tell *t, const struct ap_config *c, const char *dir)
{
    uint64_t f32, bf16;
    char one[32], other[32];
    if (memory_of(c, dir, AP_F32, &f32, NULL) != AP_OK ||
        memory_of(c, dir, AP_BF16, &bf16, NULL) != AP_OK)
        return; /* the reason is told as a problem */
    ap_tell_line(t, "memory", "%s as f32, %s as bf16, once loaded here", ap_inspect_size(f32, one),
                 ap_inspect_size(bf16, other));
    ap_tell_count(t, "memory_f32", f32);
    ap_tell_count(t, "memory_bf16", bf16);
}

static void tell_files(struct ap_tell *t, const struct ap_weights_files *s,
                       const struct ap_tensors *tensors)
{
    uint64_t bytes = 0;
    char size[32];
    for (int i = 0; i < s->n; i++)
        bytes += s->files[i].map.size;
    ap_tell_totals(t, tensors);
    ap_tell_count(t, "bytes", bytes);
    ap_tell_count(t, "shards", (uint64_t)s->n);
    if (s->n_shards)
        ap_tell_line(t, "on disk", "%s in %d shard%s", ap_inspect_size(bytes, size), s->n,
                     s->n == 1 ? "" : "s");
    else
        ap_tell_line(t, "on disk", "%s in model.safetensors", ap_inspect_size(bytes, size));
}

/* ---- the folder ---- */

static void tell_weights(struct ap_tell *t, const struct ap_inspected *p,
                         const struct ap_config *config, struct ap_tensors *tensors)
{
    struct ap_weights_files s;
    struct ap_weights *w = NULL;
    struct ap_error e = {0};
    if (ap_tell_fine(t, ap_weights_files_open(&s, p->path, &e), &e)) {
        for (int i = 0; i < s.n; i++)
            ap_tell_fine(t, ap_tensors_add_file(tensors, &s.files[i], &e), &e);
        tell_files(t, &s, tensors);
        if (config && ap_tell_fine(t, ap_weights_describe(&w, config, 0, AP_F32, &e), &e)) {
            tell_memory(t, config, p->path);
            check_tensors(t, &s, w);
        }
    }
    ap_weights_free(w);
    ap_weights_files_close(&s);
}

ap_status ap_inspect_model(const struct ap_inspected *p, const struct ap_inspect_options *options,
                           struct ap_buffer *out, struct ap_error *err)
{
    struct ap_tell t;
    struct ap_config config;
    struct ap_error e = {0};
    struct ap_tensors tensors = {0};
    ap_tell_begin(&t, p->path, "model", "model folder", err);
    ap_status status = ap_config_read(&config, p->path, &e);
    if (status == AP_OK)
        tell_config(&t, &config);
    else {
        tell_other_config(&t, p);
        ap_tell_problem(&t, &e);
    }
    tell_weights(&t, p, status == AP_OK ? &config : NULL, &tensors);
    ap_tell_tokenizer(&t, p, status == AP_OK ? &config : NULL);
    ap_tell_whole(&t, p);
    ap_tell_tensors(&t, &tensors);
    ap_tensors_free(&tensors);
    return ap_tell_end(&t, options->json, out);
}
