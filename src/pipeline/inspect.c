/* What a path is, and who tells about it. Entry point: ap_inspect (include/alignpro/inspect.h). */
#include "pipeline/inspect_inner.h"

#include "base/file.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_MAX ((uint64_t)100000000) /* bytes: the format's own limit */

bool ap_inspected_has(const struct ap_inspected *p, const char *name)
{
    char *path = p->is_folder ? ap_path_join(p->path, name) : NULL;
    bool has = path && ap_file_exists(path);
    ap_free(path);
    return has;
}

/* ---- the kinds ---- */

static bool is_gguf(const struct ap_inspected *p)
{
    return !p->is_folder && !memcmp(p->magic, "GGUF", 4);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* By its name, or where a header's length and its bracket stand at the front, as in no text. */
static bool is_safetensors(const struct ap_inspected *p)
{
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | (unsigned char)p->magic[i];
    return !p->is_folder && (ends_with(p->path, ".safetensors") ||
                             (p->magic[8] == '{' && length >= 2 && length <= HEADER_MAX));
}

static bool is_run(const struct ap_inspected *p)
{
    return ap_inspected_has(p, "recipe.yaml") &&
           (ap_inspected_has(p, "run.db") || ap_inspected_has(p, "lock"));
}

static bool is_checkpoint(const struct ap_inspected *p)
{
    return ap_inspected_has(p, "stage.json") || ap_inspected_has(p, "policy-optimiser.safetensors");
}

static bool is_adapter(const struct ap_inspected *p)
{
    return ap_inspected_has(p, "adapter_config.json");
}

static bool is_model(const struct ap_inspected *p)
{
    return ap_inspected_has(p, "config.json") || ap_inspected_has(p, "model.safetensors") ||
           ap_inspected_has(p, "model.safetensors.index.json");
}

static bool is_tokenizer(const struct ap_inspected *p)
{
    return ap_inspected_has(p, "tokenizer.json") || ap_inspected_has(p, "tokenizer_config.json");
}

static bool is_stage(const struct ap_inspected *p)
{
    return ap_inspected_has(p, "ckpt") || ap_inspected_has(p, "final") ||
           ap_inspected_has(p, "final.tmp") || ap_inspected_has(p, "DONE");
}

static bool is_file(const struct ap_inspected *p)
{
    return !p->is_folder;
}

static bool is_database(const struct ap_inspected *p)
{
    static const char begins[] = "SQLite format 3"; /* its NUL too */
    _Static_assert(sizeof(begins) <= sizeof(p->magic), "magic");
    return memcmp(p->magic, begins, sizeof(begins)) == 0;
}

static ap_status refuse_database(const struct ap_inspected *p,
                                 const struct ap_inspect_options *options, struct ap_buffer *out,
                                 struct ap_error *err)
{
    (void)options;
    (void)out;
    return ap_fail(
        err, AP_UNSUPPORTED,
        "%s: is an SQLite database; a run's is told with its run: inspect the folder, or "
        "ask it with sqlite3",
        p->path);
}

static bool is_recipe(const struct ap_inspected *p)
{
    return !p->is_folder && (ends_with(p->path, ".yaml") || ends_with(p->path, ".yml"));
}

static ap_status refuse_recipe(const struct ap_inspected *p,
                               const struct ap_inspect_options *options, struct ap_buffer *out,
                               struct ap_error *err)
{
    if (options->format) /* data, as the user says */
        return ap_inspect_data(p, options, out, err);
    return ap_fail(err, AP_UNSUPPORTED,
                   "%s: is YAML, as recipes are; `alignpro run %s --dry-run` checks a recipe and "
                   "tells its stages, `alignpro help KEY` what a key means",
                   p->path, p->path);
}

/* In the order of asking: a row before those that its paths would fit as well. */
static const struct {
    const char *name;
    bool (*fits)(const struct ap_inspected *p);
    ap_inspect_fn tell;
} kinds[] = {
    {"run directory", is_run, ap_inspect_run},
    {"checkpoint", is_checkpoint, ap_inspect_checkpoint},
    {"adapter", is_adapter, ap_inspect_adapter},
    {"model", is_model, ap_inspect_model},
    {"tokenizer", is_tokenizer, ap_inspect_tokenizer},
    {"stage", is_stage, ap_inspect_stage},
    {"gguf", is_gguf, ap_inspect_gguf},
    {"safetensors", is_safetensors, ap_inspect_safetensors},
    {"database", is_database, refuse_database},
    {"recipe", is_recipe, refuse_recipe},
    {"data set", is_file, ap_inspect_data},
};

/* ---- asking ---- */

static ap_status look(struct ap_inspected *p, struct ap_error *err)
{
    struct stat st;
    int fd;
    if (stat(p->path, &st) != 0)
        return ap_fail_errno(err, errno, "%s: cannot look at it", p->path);
    p->is_folder = S_ISDIR(st.st_mode);
    p->size = (uint64_t)st.st_size;
    if (p->is_folder)
        return AP_OK;
    ap_status status = ap_file_open(&fd, p->path, err);
    if (status != AP_OK)
        return status;
    if (read(fd, p->magic, sizeof(p->magic)) < 0)
        status = ap_fail_errno(err, errno, "%s: cannot read", p->path);
    close(fd);
    return status;
}

/* What the folder holds, and what would have been known. */
static ap_status refuse_folder(const struct ap_inspected *p, struct ap_error *err)
{
    enum { SHOWN = 5 };
    char names[512] = "";
    int n = 0;
    const struct dirent *entry;
    DIR *list = opendir(p->path);
    if (!list)
        return ap_fail_errno(err, errno, "%s: cannot list", p->path);
    while ((entry = readdir(list)) != NULL) {
        size_t used = strlen(names);
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (n++ < SHOWN)
            snprintf(names + used, sizeof(names) - used, "%s%.60s", used ? ", " : "",
                     entry->d_name);
    }
    closedir(list);
    return ap_fail(err, AP_UNSUPPORTED,
                   "%s: a folder of no known kind, with %s%s; expected a model (config.json), an "
                   "adapter (adapter_config.json), a tokenizer (tokenizer.json), a run directory "
                   "(recipe.yaml and run.db), a stage or checkpoint of one, or a file: GGUF, "
                   "safetensors or data",
                   p->path, n ? names : "nothing in it", n > SHOWN ? " and more" : "");
}

ap_status ap_inspect(const char *path, const struct ap_inspect_options *options, char **text,
                     struct ap_error *err)
{
    struct ap_inspected p = {.path = path};
    struct ap_buffer out = {0};
    *text = NULL;
    ap_status status = look(&p, err);
    if (status != AP_OK)
        return status;
    size_t i = 0;
    while (i < AP_LEN(kinds) && !kinds[i].fits(&p))
        i++;
    if (i == AP_LEN(kinds))
        return refuse_folder(&p, err);
    status = kinds[i].tell(&p, options, &out, err);
    if (status == AP_OK || (status == AP_FORMAT && out.len))
        *text = out.data;
    else
        ap_buffer_free(&out);
    return status;
}
