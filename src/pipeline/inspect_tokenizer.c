/* A tokenizer in a folder, alone or beside a model, and what several kinds of folders tell alike
 * (inspect_folder.h). Entry points: ap_inspect_tokenizer, ap_tell_tokenizer. */
#include "pipeline/inspect_folder.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/template.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <string.h>

#define JSON_FILE_MAX ((size_t)16 << 20) /* bytes */

/* ---- tokenizer and template ---- */

static const char *kind_of(const struct ap_tokenizer *k)
{
    if (k->pretokenizer.byte_level)
        return "BPE of bytes";
    return k->bpe.byte_fallback ? "BPE of characters, bytes for others" : "BPE of characters";
}

static void tell_special(struct ap_tell *t, const struct ap_tokenizer *k, const char *name,
                         int32_t id, json_t *into)
{
    const char *text = id >= 0 ? ap_tokenizer_spelling(k, id) : NULL;
    if (!text)
        return;
    ap_tell_line(t, "", "%s %d %.100s", name, id, text);
    json_object_set_new(
        into, name,
        json_pack("{s:i, s:o}", "id", id, "text", ap_inspect_string(text, strlen(text), 256)));
}

static void tell_template(struct ap_tell *t, const struct ap_tokenizer *k)
{
    struct ap_template *chat = NULL;
    struct ap_error e = {0};
    const char *jinja = k->chat_template;
    ap_status status = ap_template_open(&chat, k, &(struct ap_template_options){0}, &e);
    ap_tell_text(t, "template", status == AP_OK ? chat->kind->name : NULL);
    ap_tell_set(t, "template_in_folder", json_boolean(jinja != NULL));
    if (status == AP_OK)
        ap_tell_line(t, "template", "%s", jinja ? chat->kind->name : "none: plain");
    else if (jinja && status == AP_UNSUPPORTED) {
        ap_tell_line(t, "template", "not one of those known, %zu bytes; it begins", strlen(jinja));
        ap_tell_bytes(t, "", jinja, strcspn(jinja, "\n"), 1);
    } else
        ap_tell_line(t, "template", "none that can be used: %s", e.text);
    ap_template_close(chat);
}

static void tell_vocabulary(struct ap_tell *t, const struct ap_tokenizer *k,
                            const struct ap_config *config)
{
    char n[32];
    int added = 0;
    struct ap_error e = {0};
    json_t *o = json_object();
    for (int32_t id = 0; id < k->vocab.n; id++)
        added += (k->vocab.entry[id].flags & AP_VOCAB_ADDED) != 0;
    ap_tell_line(t, "tokenizer", "%s, %s tokens, %d of them added", kind_of(k),
                 ap_inspect_number((uint64_t)k->vocab.n, n), added);
    tell_special(t, k, "bos", k->bos, o);
    tell_special(t, k, "eos", k->eos, o);
    json_object_update_new(
        o, json_pack("{s:s, s:i, s:i}", "model", kind_of(k), "tokens", k->vocab.n, "added", added));
    ap_tell_set(t, "tokenizer", o);
    if (config && k->vocab.n > config->n_vocab) {
        ap_fail(&e, AP_FORMAT,
                "%s: has %d tokens, expected at most %d (vocab_size in config.json); the tokenizer "
                "belongs to another model",
                k->where, k->vocab.n, config->n_vocab);
        ap_tell_problem(t, &e);
    }
}

void ap_tell_tokenizer(struct ap_tell *t, const struct ap_inspected *p,
                       const struct ap_config *config)
{
    struct ap_tokenizer *k = NULL;
    struct ap_error e = {0};
    if (!ap_inspected_has(p, "tokenizer.json")) {
        ap_tell_line(t, "tokenizer", "none (no tokenizer.json)");
        ap_tell_set(t, "tokenizer", json_null());
        return;
    }
    if (ap_tell_fine(t, ap_tokenizer_open(&k, p->path, &e), &e)) {
        tell_vocabulary(t, k, config);
        tell_template(t, k);
    }
    ap_tokenizer_close(k);
}

/* ---- folders ---- */

void ap_tell_size(struct ap_tell *t, const char *folder)
{
    uint64_t bytes, n;
    char size[32], number[32];
    struct ap_error e = {0};
    if (!ap_tell_fine(t, ap_dir_size(folder, &bytes, &n, &e), &e))
        return;
    ap_tell_line(t, "on disk", "%s in %s file%s", ap_inspect_size(bytes, size),
                 ap_inspect_number(n, number), n == 1 ? "" : "s");
    ap_tell_count(t, "bytes", bytes);
    ap_tell_count(t, "files", n);
}

void ap_tell_whole(struct ap_tell *t, const struct ap_inspected *p)
{
    const char *slash = strrchr(p->path, '/'), *name = slash ? slash + 1 : p->path;
    bool whole = ap_inspected_has(p, "DONE");
    bool is_result = !strcmp(name, "final") || !strcmp(name, "final.tmp");
    if (!whole && !is_result)
        return;
    ap_tell_line(t, "result", "%s",
                 whole ? "of a run's stage, whole (DONE is there)"
                       : "of a run's stage, not whole: DONE is missing");
    ap_tell_set(t, "whole", json_boolean(whole));
}

ap_status ap_inspect_json(const struct ap_inspected *p, const char *name, json_t **out,
                          struct ap_error *err)
{
    char *path = ap_path_join(p->path, name);
    ap_status status = path ? ap_json_load(path, JSON_FILE_MAX, out, err)
                            : ap_fail(err, AP_MEMORY, "%s: out of memory", p->path);
    if (status == AP_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        status = ap_fail(err, AP_FORMAT, "%s: is a list, expected an object", path);
    }
    ap_free(path);
    return status;
}

const char *ap_inspect_result(const char *folder, char out[96])
{
    struct ap_inspected p = {.path = folder, .is_folder = true};
    json_t *o = NULL;
    bool head = false;
    out[0] = '\0';
    if (ap_inspect_json(&p, "adapter_config.json", &o, NULL) == AP_OK) {
        const json_t *saved = json_object_get(o, "modules_to_save");
        for (size_t i = 0; i < json_array_size(saved); i++) {
            const char *name = json_string_value(json_array_get(saved, i));
            head = head || (name && !strcmp(name, "score"));
        }
        snprintf(out, 96, "adapter of rank %lld%s",
                 (long long)json_integer_value(json_object_get(o, "r")),
                 head ? ", with a head" : "");
    } else if (ap_inspect_json(&p, "config.json", &o, NULL) == AP_OK) {
        const char *name =
            json_string_value(json_array_get(json_object_get(o, "architectures"), 0));
        head = name && strstr(name, "SequenceClassification");
        snprintf(out, 96, "whole model%s", head ? ", with a head" : "");
    }
    json_decref(o);
    return out;
}

ap_status ap_inspect_tokenizer(const struct ap_inspected *p,
                               const struct ap_inspect_options *options, struct ap_buffer *out,
                               struct ap_error *err)
{
    struct ap_tell t;
    ap_tell_begin(&t, p->path, "tokenizer", "tokenizer alone, no model (config.json is not there)",
                  err);
    ap_tell_tokenizer(&t, p, NULL);
    ap_tell_size(&t, p->path);
    return ap_tell_end(&t, options->json, out);
}
