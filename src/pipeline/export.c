/* Results in the formats of the field (include/alignpro/export.h). A folder is filled beside, as
 * OUT.tmp, and renamed when it is whole; a GGUF file is written so by base/file.h. */
#include "alignpro/export.h"

#include "base/json.h"
#include "base/memory.h"
#include "model/gguf_model.h"
#include "pipeline/export_source.h"
#include "text/tokenizer.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_format(const struct ap_export_options *o, const char *name)
{
    return strcmp(o->format, name) == 0;
}

/* ---- settings ---- */

static ap_status check_options(const struct ap_export_options *o, struct ap_error *err)
{
    if (!is_format(o, "peft") && !is_format(o, "hf") && !is_format(o, "gguf"))
        return ap_fail(err, AP_INVALID, "export: format is \"%.40s\", expected peft, hf or gguf",
                       o->format);
    if (!o->out[0])
        return ap_fail(err, AP_INVALID, "export: out is empty, expected a path");
    if (!o->run == !o->model)
        return ap_fail(err, AP_INVALID, "export: expected either a run or a model%s",
                       o->run ? ", found both" : "");
    if (o->stage && !o->run)
        return ap_fail(err, AP_INVALID, "export: a stage is a run's, but there is a model");
    if (o->adapter && !o->model)
        return ap_fail(err, AP_INVALID,
                       "export: an adapter goes on a model, but there is a run, which has its own");
    if (o->adapter_only && !is_format(o, "gguf"))
        return ap_fail(err, AP_INVALID,
                       "export: the adapter alone is a matter of gguf; peft is an adapter alone");
    if (o->dtype && is_format(o, "peft"))
        return ap_fail(err, AP_INVALID, "export: dtype is %.40s, but an adapter of peft is f32",
                       o->dtype);
    return AP_OK;
}

static ap_status choose_dtype(const struct ap_export_options *o, const struct ap_weights *base,
                              ap_dtype *out, struct ap_error *err)
{
    static const struct {
        const char *name;
        ap_dtype dtype;
    } rows[] = {{"f32", AP_F32}, {"f16", AP_F16}, {"bf16", AP_BF16}};
    *out = is_format(o, "hf") ? base->table.rows[base->embed].dtype
           : o->adapter_only  ? AP_F32
                              : AP_F16;
    for (size_t i = 0; o->dtype && i < AP_LEN(rows); i++)
        if (strcmp(rows[i].name, o->dtype) == 0) {
            *out = rows[i].dtype;
            return AP_OK;
        }
    return o->dtype ? ap_fail(err, AP_INVALID, "export: dtype is %.40s, expected f32, f16 or bf16",
                              o->dtype)
                    : AP_OK;
}

/* ---- the output's place ---- */

static bool is_empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    bool empty = dir != NULL;
    while (empty && (entry = readdir(dir)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (dir)
        closedir(dir);
    return empty;
}

static ap_status check_place(const struct ap_export_options *o, struct ap_error *err)
{
    struct stat info;
    bool file = is_format(o, "gguf");
    if (stat(o->out, &info) != 0)
        return errno == ENOENT ? AP_OK
                               : ap_fail_errno(err, errno, "%s: cannot be examined", o->out);
    if (file && S_ISDIR(info.st_mode))
        return ap_fail(err, AP_INVALID,
                       "%s: is a folder, expected the name of a file, %s/model.gguf say", o->out,
                       o->out);
    if (file ? S_ISREG(info.st_mode) && info.st_size == 0 : is_empty_folder(o->out))
        return AP_OK;
    return ap_fail(err, AP_INVALID,
                   "%s: is there already and not empty; remove it or choose another --out", o->out);
}

/* OUT.tmp, which must be new: nobody's files are overwritten. */
static ap_status begin_folder(const char *out, char **folder, struct ap_error *err)
{
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/')
        n--;
    *folder = ap_calloc(n + sizeof(".tmp"), 1);
    if (!*folder)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", out);
    snprintf(*folder, n + sizeof(".tmp"), "%.*s.tmp", (int)n, out);
    if (mkdir(*folder, 0777) == 0)
        return AP_OK;
    ap_status status =
        errno == EEXIST
            ? ap_fail(err, AP_INVALID,
                      "%s: is there, perhaps from an export that was killed; remove it", *folder)
            : ap_fail_errno(err, errno, "%s: cannot make the directory", *folder);
    ap_free(*folder);
    *folder = NULL;
    return status;
}

/* ---- what stands in a folder ---- */

/* alignpro.json: which stage it is, and what a prompter's prompts stand in. */
static ap_status put_origin(const struct ap_export_source *s, const char *folder,
                            struct ap_error *err)
{
    if (!s->stage)
        return AP_OK;
    json_t *o = json_pack("{s:s, s:s?}", "stage", s->stage, "meta_prompt", s->meta_prompt);
    char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    ap_status status = text ? ap_file_write_in(folder, "alignpro.json", text, strlen(text), err)
                            : ap_fail(err, AP_MEMORY, "%s: out of memory", folder);
    free(text);
    json_decref(o);
    return status;
}

static ap_status check_tokenizer(const struct ap_export_source *s, struct ap_error *err)
{
    struct ap_tokenizer *t = NULL;
    int n_vocab = s->base->config.n_vocab;
    ap_status status = ap_tokenizer_open(&t, s->tokenizer, err);
    if (status == AP_OK && ap_tokenizer_n_vocab(t) > n_vocab)
        status = ap_fail(err, AP_FORMAT,
                         "%s/tokenizer.json: %d tokens, expected at most %d (vocab_size in "
                         "config.json); the two files do not belong together",
                         s->tokenizer, ap_tokenizer_n_vocab(t), n_vocab);
    ap_tokenizer_close(t);
    return status;
}

static ap_status put_tokenizer(const struct ap_export_source *s, const char *folder,
                               const struct ap_sink *sink, struct ap_error *err)
{
    char *path = ap_path_join(s->tokenizer, "tokenizer.json");
    if (!path)
        return ap_fail(err, AP_MEMORY, "%s: out of memory", folder);
    ap_status status = AP_OK;
    if (ap_file_exists(path))
        status = check_tokenizer(s, err);
    else
        ap_sink_warn(sink, "export", "%s: is not there: the export has no tokenizer", path);
    ap_free(path);
    return status == AP_OK ? ap_tokenizer_copy(s->tokenizer, folder, err) : status;
}

static ap_status fill_peft(const struct ap_export_source *s, const char *folder,
                           struct ap_error *err)
{
    if (!s->weights)
        return ap_fail(err, AP_INVALID,
                       "%s: the adapter's base was made at random by the run and is in no folder "
                       "that peft could load; use --format hf",
                       s->past.run.dir.path);
    char *base = realpath(s->weights, NULL);
    if (!base)
        return ap_fail_errno(err, errno, "%s: cannot be found", s->weights);
    ap_status status = ap_adapter_save(s->lora, folder, base, err);
    free(base);
    return status;
}

/* Sampling settings that people keep in generation_config.json stay as they were. */
static ap_status keep_generation(const struct ap_export_source *s, const char *folder,
                                 struct ap_error *err)
{
    static const char name[] = "generation_config.json";
    char *from = s->weights ? ap_path_join(s->weights, name) : NULL;
    char *to = ap_path_join(folder, name);
    ap_status status = AP_OK;
    if (!to || (s->weights && !from))
        status = ap_fail(err, AP_MEMORY, "%s: out of memory", folder);
    else if (from && ap_file_exists(from))
        status = ap_file_copy(from, to, err);
    ap_free(from);
    ap_free(to);
    return status;
}

static ap_status fill_hf(const struct ap_export_source *s, const char *folder, ap_dtype dtype,
                         const struct ap_sink *sink, struct ap_error *err)
{
    struct ap_merged m;
    ap_status status = ap_merged_open(&m, s->base, s->lora, sink, err);
    if (status != AP_OK)
        return status;
    status = ap_merged_save(&m, folder, dtype, err);
    ap_merged_close(&m);
    return status == AP_OK ? keep_generation(s, folder, err) : status;
}

static ap_status export_folder(const struct ap_export_options *o, const struct ap_export_source *s,
                               ap_dtype dtype, const struct ap_sink *sink, struct ap_error *err)
{
    char *folder = NULL;
    ap_status status;
    AP_TRY(begin_folder(o->out, &folder, err));
    AP_TRY(is_format(o, "peft") ? fill_peft(s, folder, err) : fill_hf(s, folder, dtype, sink, err));
    AP_TRY(put_tokenizer(s, folder, sink, err));
    AP_TRY(put_origin(s, folder, err));
    AP_TRY(ap_dir_commit(folder, o->out, err));
    ap_free(folder);
    folder = NULL;
out:
    if (folder)
        ap_dir_remove(folder, NULL);
    ap_free(folder);
    return status;
}

/* ---- one file ---- */

static ap_status export_gguf(const struct ap_export_options *o, const struct ap_export_source *s,
                             ap_dtype dtype, const struct ap_sink *sink, struct ap_error *err)
{
    struct ap_gguf_text_key keys[2];
    struct ap_gguf_options options = {
        .name = s->name, .tokenizer = s->tokenizer, .dtype = dtype, .keys = keys, .sink = sink};
    struct ap_merged m;
    if (s->stage)
        keys[options.n_keys++] = (struct ap_gguf_text_key){"alignpro.stage", s->stage};
    if (s->meta_prompt)
        keys[options.n_keys++] = (struct ap_gguf_text_key){"alignpro.meta_prompt", s->meta_prompt};
    if (o->adapter_only)
        return ap_gguf_write_adapter(s->lora, o->out, &options, err);
    ap_status status = ap_merged_open(&m, s->base, s->lora, sink, err);
    if (status != AP_OK)
        return status;
    status = ap_gguf_write_model(&m, o->out, &options, err);
    ap_merged_close(&m);
    return status;
}

/* What was made, how large, and what must be known to use it. */
static void tell(const struct ap_export_options *o, const struct ap_export_source *s,
                 const struct ap_sink *sink)
{
    const char *what = s->lora && (is_format(o, "peft") || o->adapter_only) ? "the adapter"
                       : s->lora ? "adapter and base in one"
                                 : "the whole model";
    uint64_t size = 0, n_files;
    struct stat info;
    if (is_format(o, "gguf"))
        size = stat(o->out, &info) == 0 ? (uint64_t)info.st_size : 0;
    else if (ap_dir_size(o->out, &size, &n_files, NULL) != AP_OK)
        size = 0;
    ap_sink_note(sink, "export", "%s: %s for %s, %.1f MiB", o->out, what,
                 is_format(o, "gguf")   ? "llama.cpp"
                 : is_format(o, "peft") ? "peft"
                                        : "transformers",
                 (double)size / (1 << 20));
    if (s->meta_prompt)
        ap_sink_note(sink, "export", "a prompter (%s): give it each prompt inside \"%.200s\"",
                     s->stage, s->meta_prompt);
    if (s->pass > 0)
        ap_sink_note(
            sink, "export",
            "prompter %d of %d that rewrite one after another: export each by itself, with "
            "--stage align, --stage align-2 ...",
            s->pass, s->n_pass);
}

ap_status ap_export(const struct ap_export_options *options, const struct ap_sink *sink,
                    struct ap_error *err)
{
    struct ap_export_source s = {.past.run.dir.lock.fd = -1};
    ap_dtype dtype;
    ap_status status;
    AP_TRY(check_options(options, err));
    AP_TRY(check_place(options, err));
    AP_TRY(ap_export_source_find(&s, options, err));
    AP_TRY(ap_export_source_load(&s, err));
    AP_TRY(choose_dtype(options, s.base, &dtype, err));
    AP_TRY(is_format(options, "gguf") ? export_gguf(options, &s, dtype, sink, err)
                                      : export_folder(options, &s, dtype, sink, err));
    tell(options, &s, sink);
out:
    ap_export_source_close(&s);
    return status;
}
