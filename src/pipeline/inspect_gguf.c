/* A GGUF file from its header alone: what model it says it is, tokenizer, metadata, tensors. Entry
 * point: ap_inspect_gguf. */
#include "model/gguf.h"
#include "pipeline/inspect_tensors.h"
#include "text/template.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VALUES_SHOWN 64
#define ELEMENTS_SHOWN 4
#define TEXT_MAX 256 /* bytes of a text in JSON */

/* ---- values ---- */

static json_t *number_json(const struct ap_gguf_value *v, uint64_t i)
{
    int64_t whole;
    double real;
    if (v->element == AP_GGUF_BOOL && ap_gguf_integer(v, i, &whole))
        return json_boolean(whole != 0);
    if (ap_gguf_integer(v, i, &whole))
        return json_integer(whole);
    json_t *number = ap_gguf_real(v, i, &real) ? json_real(real) : NULL;
    return number ? number : json_null(); /* not finite */
}

/* The first elements of an array. */
static json_t *elements_json(const struct ap_gguf_value *v)
{
    json_t *first = json_array();
    struct ap_gguf_text text;
    size_t at = 0;
    for (uint64_t i = 0; i < v->n && i < ELEMENTS_SHOWN; i++)
        if (ap_gguf_next_text(v, &at, &text))
            json_array_append_new(first, ap_inspect_string(text.data, text.n, TEXT_MAX));
        else if (v->element != AP_GGUF_ARRAY)
            json_array_append_new(first, number_json(v, i));
    return first;
}

static json_t *value_json(const struct ap_gguf_value *v)
{
    struct ap_gguf_text text;
    if (ap_gguf_text(v, &text))
        return ap_inspect_string(text.data, text.n, TEXT_MAX);
    if (v->type != AP_GGUF_ARRAY)
        return number_json(v, 0);
    return json_pack("{s:s, s:I, s:o}", "array", ap_gguf_type_name(v->element), "n",
                     (json_int_t)(v->n > INT64_MAX ? INT64_MAX : v->n), "first", elements_json(v));
}

/* As text on one line: JSON's own spelling, texts without quotes. */
static void tell_value(struct ap_tell *t, const struct ap_gguf_value *v, int columns)
{
    struct ap_gguf_text text;
    if (ap_gguf_text(v, &text)) {
        ap_tell_cell(t, text.data, text.n, columns);
        return;
    }
    json_t *value = v->type == AP_GGUF_ARRAY ? elements_json(v) : number_json(v, 0);
    char *spelled = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
    char line[64] = "";
    if (v->type == AP_GGUF_ARRAY)
        snprintf(line, sizeof(line), "%" PRIu64 " %s ", v->n, ap_gguf_type_name(v->element));
    ap_tell_raw(t, "%s", line);
    if (spelled)
        ap_tell_cell(t, spelled, strlen(spelled), columns - (int)strlen(line));
    free(spelled);
    json_decref(value);
}

static void tell_values(struct ap_tell *t, const struct ap_gguf *g)
{
    json_t *all = json_object();
    ap_tell_raw(t, "\n  metadata\n");
    for (size_t i = 0; i < g->n_values && i < VALUES_SHOWN; i++) {
        const struct ap_gguf_value *v = &g->values[i];
        json_object_setn_new(all, v->key.data, v->key.n, value_json(v));
        ap_tell_raw(t, "    ");
        ap_tell_cell(t, v->key.data, v->key.n, 48);
        ap_tell_raw(t, " = ");
        tell_value(t, v, 93 - (int)(v->key.n < 48 ? v->key.n : 48));
        ap_tell_raw(t, "\n");
    }
    if (g->n_values > VALUES_SHOWN)
        ap_tell_raw(t, "    and %zu more\n", g->n_values - VALUES_SHOWN);
    ap_tell_set(t, "metadata", all);
    ap_tell_count(t, "n_metadata", g->n_values);
}

/* ---- what model it is ---- */

static bool text_of(const struct ap_gguf *g, const char *key, struct ap_gguf_text *out)
{
    const struct ap_gguf_value *v = ap_gguf_find(g, key);
    return v && ap_gguf_text(v, out);
}

/* "ARCHITECTURE.block_count"; −1 where there is none. */
static int64_t count_of(const struct ap_gguf *g, const struct ap_gguf_text *architecture,
                        const char *name)
{
    char key[320];
    int64_t n = -1;
    snprintf(key, sizeof(key), "%.*s.%s", (int)(architecture->n < 200 ? architecture->n : 200),
             architecture->data, name);
    const struct ap_gguf_value *v = ap_gguf_find(g, key);
    return v && v->type != AP_GGUF_ARRAY && ap_gguf_integer(v, 0, &n) ? n : -1;
}

static void tell_model(struct ap_tell *t, const struct ap_gguf *g)
{
    static const char *const keys[][2] = {
        {"block_count", "layers"},
        {"embedding_length", "width"},
        {"feed_forward_length", "ffn"},
        {"attention.head_count", "heads"},
        {"attention.head_count_kv", "kv heads"},
        {"context_length", "context"},
    };
    struct ap_gguf_text a = {"", 0}, name;
    char line[512];
    size_t used = 0;
    if (text_of(g, "general.name", &name))
        ap_tell_bytes(t, "name", name.data, name.n, AP_INSPECT_LINES);
    if (!text_of(g, "general.architecture", &a))
        a = (struct ap_gguf_text){"not named", strlen("not named")};
    ap_tell_bytes(t, "model", a.data, a.n, 1);
    ap_tell_set(t, "architecture", ap_inspect_string(a.data, a.n, TEXT_MAX));
    for (size_t i = 0; i < AP_LEN(keys); i++) {
        int64_t n = count_of(g, &a, keys[i][0]);
        if (n >= 0)
            used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s %" PRId64,
                                     used ? ", " : "", keys[i][1], n);
    }
    if (used)
        ap_tell_line(t, "sizes", "%s", line);
}

/* ---- text ---- */

static void tell_template(struct ap_tell *t, const struct ap_gguf *g)
{
    struct ap_template known = {0};
    struct ap_gguf_text jinja;
    struct ap_error e = {0};
    if (!text_of(g, "tokenizer.chat_template", &jinja)) {
        ap_tell_line(t, "template", "none");
        ap_tell_text(t, "template", NULL);
        return;
    }
    if (!ap_tell_fine(t, ap_template_recognise(&known, jinja.data, jinja.n, &e), &e))
        return;
    const char *end = memchr(jinja.data, '\n', jinja.n);
    size_t n = end ? (size_t)(end - jinja.data) : jinja.n;
    if (known.kind)
        ap_tell_line(t, "template", "%s, recognised", known.kind->name);
    else {
        ap_tell_line(t, "template", "not one of those known, %zu bytes; it begins", jinja.n);
        ap_tell_bytes(t, "", jinja.data, n, 1);
    }
    ap_tell_text(t, "template", known.kind ? known.kind->name : "unknown");
    ap_free(known.system);
}

static void tell_text(struct ap_tell *t, const struct ap_gguf *g)
{
    struct ap_gguf_text model, pre = {"", 0};
    char n[32], line[256];
    const struct ap_gguf_value *tokens = ap_gguf_find(g, "tokenizer.ggml.tokens");
    const char *const specials[] = {"bos", "eos", "padding"};
    if (!text_of(g, "tokenizer.ggml.model", &model)) {
        ap_tell_line(t, "tokenizer", "none");
        ap_tell_set(t, "tokenizer", json_null());
        return;
    }
    text_of(g, "tokenizer.ggml.pre", &pre);
    uint64_t n_tokens = tokens && tokens->type == AP_GGUF_ARRAY ? tokens->n : 0;
    size_t used =
        (size_t)snprintf(line, sizeof(line), "%.*s%s%.*s, %s tokens",
                         (int)(model.n < 40 ? model.n : 40), model.data, pre.n ? ", words by " : "",
                         (int)(pre.n < 40 ? pre.n : 40), pre.data, ap_inspect_number(n_tokens, n));
    json_t *o =
        json_pack("{s:o, s:o, s:I}", "model", ap_inspect_string(model.data, model.n, TEXT_MAX),
                  "pre", ap_inspect_string(pre.data, pre.n, TEXT_MAX), "tokens",
                  (json_int_t)(n_tokens > INT64_MAX ? INT64_MAX : n_tokens));
    for (size_t i = 0; i < AP_LEN(specials); i++) {
        char key[64];
        int64_t id;
        snprintf(key, sizeof(key), "tokenizer.ggml.%s_token_id", specials[i]);
        const struct ap_gguf_value *v = ap_gguf_find(g, key);
        if (!v || v->type == AP_GGUF_ARRAY || !ap_gguf_integer(v, 0, &id))
            continue;
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s %s %" PRId64,
                                 strchr(line, ';') ? "," : ";", specials[i], id);
        json_object_set_new(o, specials[i], json_integer(id));
    }
    ap_tell_line(t, "tokenizer", "%s", line);
    ap_tell_set(t, "tokenizer", o);
    tell_template(t, g);
}

static ap_status add_tensors(struct ap_tensors *tensors, const struct ap_gguf *g,
                             struct ap_error *err)
{
    ap_status status = AP_OK;
    for (size_t i = 0; i < g->n_tensors && status == AP_OK; i++) {
        const struct ap_gguf_tensor *v = &g->tensors[i];
        int64_t shape[AP_GGUF_DIMS_MAX] = {0};
        for (int k = 0; k < v->n_dim; k++) /* rows first, as everywhere else */
            shape[k] = v->shape[v->n_dim - 1 - k];
        status = ap_tensors_add(tensors, v->name.data, v->name.n, v->type->name, v->n_dim, shape,
                                v->n, v->size, err);
    }
    return status;
}

ap_status ap_inspect_gguf(const struct ap_inspected *p, const struct ap_inspect_options *options,
                          struct ap_buffer *out, struct ap_error *err)
{
    struct ap_gguf g;
    struct ap_tensors tensors = {0};
    struct ap_tell t;
    char size[32];
    ap_status status = ap_gguf_open(&g, p->path, err);
    if (status != AP_OK)
        return status;
    AP_TRY(add_tensors(&tensors, &g, err));
    ap_tell_begin(&t, p->path, "gguf", "GGUF file", err);
    ap_tell_line(&t, "version", "%d", g.version);
    ap_tell_count(&t, "version", (uint64_t)g.version);
    tell_model(&t, &g);
    ap_tell_totals(&t, &tensors);
    ap_tell_line(&t, "on disk", "%s", ap_inspect_size(p->size, size));
    ap_tell_count(&t, "bytes", p->size);
    tell_text(&t, &g);
    tell_values(&t, &g);
    ap_tell_tensors(&t, &tensors);
    status = ap_tell_end(&t, options->json, out);
out:
    ap_tensors_free(&tensors);
    ap_gguf_close(&g);
    return status;
}
