/* What a stage's result depends on: one table of stages, with the settings and files that reach
 * them. When in doubt a setting counts: a stage that is trained in vain costs time, one that is
 * taken over wrongly is a wrong number. Not counted, because they only bound the caches: the
 * lengths of other stages' texts (ap_run_positions). Not here: taking over (stage_take.c). Entry
 * points: ap_share_inputs, ap_share_difference. */
#include "pipeline/stage_share.h"

#include "alignpro/version.h"

#include "base/memory.h"
#include "eval/report.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What reaches a stage beside its own sections. */
#define PRETRAINS 1u /* the model that pretrain trains */
#define PROMPTER 2u  /* prompter.*, the model, of a list all of them */
#define TARGET 4u    /* target.*, its model */
#define REWARDS 8u   /* every reward with its training and its normaliser */
#define SFT 16u      /* all that reaches sft, where the recipe has that stage */
#define SAMPLES 32u  /* TARGET and REWARDS where sft.source is best-of-n */
#define ONE 64u      /* one reward alone, named after the stage */

/* Of every stage: how chats become text, how data are read and split, the numbers. */
static const char everywhere[] = "text. run.seed run.dtype run.context data.split. data.score "
                                 "data.too_long data.bad_lines data.opening data.prefer";

static const struct reach {
    const char *stage;
    const char *keys; /* "align." for all of a section */
    unsigned of;
    const char *path;  /* key of the data file that it reads; data.* where that is empty */
    const char *valid; /* key of one that it reads where there is one; NULL: none */
} table[] = {
    {"pretrain", "pretrain.", PRETRAINS, "pretrain.path", NULL},
    {"reward", "reward_train.", ONE, "reward_train.path", NULL},
    {"normaliser", "align.path", ONE | TARGET, "align.path", NULL},
    {"sft", "sft.", PROMPTER | SAMPLES, "sft.path", NULL},
    {"align", "align. monitor.", PROMPTER | SFT | TARGET | REWARDS, "align.path",
     "align.valid_path"},
    {"rlhf", "rlhf. monitor.", TARGET | REWARDS, "rlhf.path", "rlhf.valid_path"},
    {"dpo", "dpo.", TARGET, "dpo.path", NULL},
    {"ift", "ift.", TARGET, "ift.path", NULL},
};

bool ap_share_knows(const char *stage)
{
    for (size_t i = 0; i < AP_LEN(table); i++)
        if (strcmp(table[i].stage, stage) == 0)
            return true;
    return false;
}

/* ---- gathering ---- */

enum { KEYS_MAX = 128, SHARE_KEY = 160 };

struct gather {
    const struct ap_run *run;
    char keys[KEYS_MAX][SHARE_KEY]; /* a key, or with a dot at its end a section */
    int n_keys;
    json_t *settings, *files;
    json_t *commands; /* files of commands, as `files` */
    json_t *after;    /* names of the stages whose results it starts from or uses, and itself */
};

static ap_status gather_row(struct gather *g, const char *stage, const struct ap_reward_settings *r,
                            struct ap_error *err);

static ap_status add_key(struct gather *g, const char *before, const char *key, size_t n,
                         struct ap_error *err)
{
    char text[SHARE_KEY];
    snprintf(text, sizeof(text), "%s%.*s", before, (int)n, key);
    for (int i = 0; i < g->n_keys; i++)
        if (strcmp(g->keys[i], text) == 0)
            return AP_OK;
    if (g->n_keys == KEYS_MAX)
        return ap_fail(err, AP_LIMIT, "run.from: more than %d sections reach a stage", KEYS_MAX);
    memcpy(g->keys[g->n_keys++], text, sizeof(text));
    return AP_OK;
}

/* Words parted by blanks, each with `before` put before it. */
static ap_status add_keys(struct gather *g, const char *before, const char *words,
                          struct ap_error *err)
{
    ap_status status = AP_OK;
    while (*words && status == AP_OK) {
        size_t n = strcspn(words, " ");
        status = add_key(g, before, words, n, err);
        words += n + (words[n] == ' ');
    }
    return status;
}

static ap_status no_memory(struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "run.from: no memory for what a stage depends on; free some");
}

/* What a file is known by: bytes, and the hash of what it holds; of one that is too large to read
 * at every start the time of its change. Looked at once as long as it stands unchanged. A new
 * reference, or NULL. */
static json_t *mark_of(const struct ap_run *run, const char *path, const struct stat *info)
{
    char modified[48], hash[AP_REPORT_HASH_MAX];
    snprintf(modified, sizeof(modified), "%lld.%09ld", (long long)info->st_mtim.tv_sec,
             info->st_mtim.tv_nsec);
    json_t *known = json_object_get(run->marks, path);
    if (known && strcmp(json_string_value(json_object_get(known, "modified")), modified) == 0 &&
        json_integer_value(json_object_get(known, "bytes")) == (json_int_t)info->st_size)
        return json_incref(json_object_get(known, "mark"));
    json_t *mark =
        ap_run_hash_file(path, hash)
            ? json_pack("{s:I, s:s}", "bytes", (json_int_t)info->st_size, "sha256", hash)
            : json_pack("{s:I, s:s}", "bytes", (json_int_t)info->st_size, "modified", modified);
    json_object_set_new(run->marks, path,
                        json_pack("{s:s, s:I, s:O}", "modified", modified, "bytes",
                                  (json_int_t)info->st_size, "mark", mark));
    return mark;
}

json_t *ap_share_mark(const struct ap_run *run, const char *path)
{
    struct stat info;
    bool there = run->marks && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    return there ? mark_of(run, path, &info) : NULL;
}

/* A file that is not there is left out. */
static ap_status add_mark(const struct gather *g, json_t *to, const char *folder, const char *name,
                          struct ap_error *err)
{
    char *path = ap_path_join(folder, name);
    if (!path)
        return no_memory(err);
    ap_status status = AP_OK;
    json_t *mark = ap_share_mark(g->run, path);
    if (mark && json_object_set_new(to, path, mark) != 0)
        status = no_memory(err);
    ap_free(path);
    return status;
}

static ap_status add_file(const struct gather *g, const char *folder, const char *name,
                          struct ap_error *err)
{
    return add_mark(g, g->files, folder, name, err);
}

/* What is read of a model's folder or a tokenizer's. */
static ap_status add_folder(const struct gather *g, const char *folder, struct ap_error *err)
{
    static const char *const names[] = {"config.json",         "generation_config.json",
                                        "tokenizer.json",      "tokenizer_config.json",
                                        "chat_template.jinja", "special_tokens_map.json",
                                        "adapter_config.json", "model.safetensors.index.json"};
    ap_status status = AP_OK;
    const struct dirent *entry;
    for (size_t i = 0; i < AP_LEN(names) && status == AP_OK; i++)
        status = add_file(g, folder, names[i], err);
    DIR *list = status == AP_OK ? opendir(folder) : NULL;
    while (list && status == AP_OK && (entry = readdir(list)) != NULL) {
        const char *end = strrchr(entry->d_name, '.');
        if (end && strcmp(end, ".safetensors") == 0)
            status = add_file(g, folder, entry->d_name, err);
    }
    if (list)
        closedir(list);
    return status;
}

static ap_status gather_model(struct gather *g, const char *name, struct ap_error *err)
{
    const struct ap_settings *s = g->run->s;
    const struct ap_model_settings *m;
    ap_status status = AP_OK;
    char section[80], *tokenizer = NULL;
    if (!name[0] || ap_settings_model(s, name, &m, NULL) != AP_OK)
        return AP_OK; /* a section that the recipe has not */
    snprintf(section, sizeof(section), "%s.", name);
    AP_TRY(add_keys(g, "models.", section, err));
    if (!(tokenizer = ap_run_tokenizer_folder(m)))
        AP_TRY(no_memory(err));
    AP_TRY(add_folder(g, tokenizer, err));
    if (m->path[0])
        AP_TRY(add_folder(g, m->path, err));
    else
        AP_TRY(add_file(g, "", m->config, err));
out:
    ap_free(tokenizer);
    return status;
}

/* A model as the stages after pretrain find it. */
static ap_status gather_trained_model(struct gather *g, const char *name, struct ap_error *err)
{
    ap_status status = gather_model(g, name, err);
    if (status == AP_OK && name[0] && strcmp(g->run->s->pretrain.model, name) == 0)
        status = gather_row(g, "pretrain", NULL, err);
    return status;
}

/* Of a command the words that name files: a program, a script. */
static ap_status gather_command(struct gather *g, const struct ap_reward_settings *r,
                                struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < r->n_command && status == AP_OK; i++) {
        for (const char *at = r->command[i]; *at && status == AP_OK;) {
            size_t n = strcspn(at, " \t\n'\"");
            char *word = n ? ap_strndup(at, n) : NULL;
            if (n && !word)
                status = no_memory(err);
            else if (n)
                status = add_mark(g, g->commands, r->folder, word, err);
            ap_free(word);
            at += n + (at[n] != '\0');
        }
    }
    return status;
}

/* trains: what its training reads; else all, as it scores. */
static ap_status gather_reward(struct gather *g, const struct ap_reward_settings *r, bool trains,
                               struct ap_error *err)
{
    ap_status status;
    char section[80];
    snprintf(section, sizeof(section), "%s.", ap_reward_section(r).name);
    AP_TRY(add_keys(g, trains ? section : "",
                    trains ? "model kind beta adapter. trained pairs" : section, err));
    AP_TRY(gather_trained_model(g, ap_reward_is_model(r) ? r->model : "", err));
    if (r->trained[0])
        AP_TRY(add_folder(g, r->trained, err));
    AP_TRY(gather_command(g, r, err));
    if (!trains && ap_reward_is_trained(r))
        AP_TRY(gather_row(g, "reward", r, err));
out:
    return status;
}

static ap_status gather_rewards(struct gather *g, struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(g->run->s, &n);
    ap_status status = AP_OK;
    for (int i = 0; i < n && status == AP_OK; i++) {
        status = gather_reward(g, &r[i], false, err);
        if (status == AP_OK && r[i].normalise)
            status = gather_row(g, "normaliser", &r[i], err);
    }
    return status;
}

static const char *path_of(const struct gather *g, const char *key)
{
    struct ap_run_path paths[AP_RUN_PATHS];
    int i = 0;
    ap_run_paths(g->run->s, paths);
    while (strcmp(paths[i].key, key) != 0) /* the table names none that is not there */
        i++;
    return paths[i].path;
}

/* An empty path: data.path, which is read by all of data.*. */
static ap_status gather_data(struct gather *g, const char *key, struct ap_error *err)
{
    const char *main = g->run->s->data.path, *path = path_of(g, key);
    ap_status status = AP_OK;
    if (!path[0] || strcmp(path, main) == 0)
        status = add_keys(g, "", "data.", err);
    path = path[0] ? path : main;
    return status == AP_OK && path[0] ? add_file(g, "", path, err) : status;
}

static ap_status gather_of(struct gather *g, unsigned of, struct ap_error *err)
{
    const struct ap_settings *s = g->run->s;
    bool samples = (of & SAMPLES) && strcmp(s->sft.source, "best-of-n") == 0;
    ap_status status = AP_OK;
    if (of & PRETRAINS)
        AP_TRY(gather_model(g, s->pretrain.model, err));
    if (of & PROMPTER) {
        AP_TRY(add_keys(g, "", "prompter.", err));
        for (int i = 0; i < ap_run_n_passes(g->run); i++)
            AP_TRY(gather_trained_model(g, ap_run_prompter(g->run, i)->model, err));
    }
    if ((of & TARGET) || samples) {
        AP_TRY(add_keys(g, "", "target.", err));
        AP_TRY(gather_trained_model(g, ap_settings_target(s), err));
    }
    if ((of & REWARDS) || samples)
        AP_TRY(gather_rewards(g, err));
    if ((of & SFT) && ap_run_sft_stage(g->run))
        AP_TRY(gather_row(g, "sft", NULL, err));
out:
    return status;
}

/* r: of the rows of ONE reward. */
static ap_status gather_row(struct gather *g, const char *stage, const struct ap_reward_settings *r,
                            struct ap_error *err)
{
    ap_status status;
    char name[64];
    size_t i = 0;
    while (strcmp(table[i].stage, stage) != 0) /* callers ask for none that is not known */
        i++;
    snprintf(name, sizeof(name), "%s%s%s", stage, r && r->name ? "-" : "",
             r && r->name ? r->name : "");
    if (json_object_set_new(g->after, name, json_true()) != 0)
        AP_TRY(no_memory(err));
    AP_TRY(add_keys(g, "", table[i].keys, err));
    AP_TRY(gather_of(g, table[i].of, err));
    if (table[i].of & ONE)
        AP_TRY(gather_reward(g, r, strcmp(stage, "reward") == 0, err));
    AP_TRY(gather_data(g, table[i].path, err));
    if (table[i].valid && path_of(g, table[i].valid)[0])
        AP_TRY(gather_data(g, table[i].valid, err));
out:
    return status;
}

/* ---- the record ---- */

static bool reaches(const struct gather *g, const char *key)
{
    for (int i = 0; i < g->n_keys; i++) {
        size_t n = strlen(g->keys[i]);
        bool section = g->keys[i][n - 1] == '.';
        if (section ? strncmp(key, g->keys[i], n) == 0 : strcmp(key, g->keys[i]) == 0)
            return true;
    }
    return false;
}

/* Where a command works is no matter of the run's fingerprint, but here it is: the same words may
 * name another program. */
static ap_status add_value(void *context, const char *key, const char *value, bool harmless,
                           struct ap_error *err)
{
    struct gather *g = context;
    const char *leaf = strrchr(key, '.');
    bool folder = strncmp(key, "reward", strlen("reward")) == 0 && strcmp(leaf, ".folder") == 0;
    if ((harmless && !folder) || !reaches(g, key))
        return AP_OK;
    return json_object_set_new(g->settings, key, json_string(value)) == 0 ? AP_OK : no_memory(err);
}

/* "reward-NAME" is the row "reward" of that reward. */
static ap_status gather_stage(struct gather *g, const char *stage, struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(g->run->s, &n);
    static const char *const of_one[] = {"reward", "normaliser"};
    for (size_t k = 0; k < AP_LEN(of_one); k++)
        for (int i = 0; i < n; i++) {
            char name[64];
            snprintf(name, sizeof(name), "%s%s%s", of_one[k], r[i].name ? "-" : "",
                     r[i].name ? r[i].name : "");
            if (strcmp(name, stage) == 0)
                return gather_row(g, of_one[k], &r[i], err);
        }
    return gather_row(g, stage, NULL, err);
}

static void gather_free(struct gather *g)
{
    if (!g)
        return;
    json_decref(g->settings);
    json_decref(g->files);
    json_decref(g->commands);
    json_decref(g->after);
    ap_free(g);
}

static ap_status gather_new(struct gather **out, const struct ap_run *run, struct ap_error *err)
{
    struct gather *g = *out = ap_calloc(1, sizeof(*g));
    if (!g)
        return no_memory(err);
    g->run = run;
    g->settings = json_object();
    g->files = json_object();
    g->commands = json_object();
    g->after = json_object();
    return g->settings && g->files && g->commands && g->after ? AP_OK : no_memory(err);
}

ap_status ap_share_model(const struct ap_run *run, const char *model, json_t **out,
                         struct ap_error *err)
{
    struct gather *g;
    ap_status status = gather_new(&g, run, err);
    if (status == AP_OK)
        status = gather_model(g, model, err);
    *out = status == AP_OK ? json_incref(g->files) : NULL;
    gather_free(g);
    return status;
}

ap_status ap_share_inputs(const struct ap_run *run, const char *stage, json_t **out,
                          struct ap_error *err)
{
    struct gather *g;
    ap_status status;
    *out = NULL;
    AP_TRY(gather_new(&g, run, err));
    AP_TRY(add_keys(g, "", everywhere, err));
    AP_TRY(gather_stage(g, stage, err));
    AP_TRY(ap_recipe_each_value(run->recipe, add_value, g, err));
    json_object_del(g->after, stage);
    *out = json_pack("{s:s, s:O, s:O, s:O, s:O}", "program", ap_version(), "settings", g->settings,
                     "files", g->files, "commands", g->commands, "after", g->after);
    if (!*out)
        status = no_memory(err);
out:
    gather_free(g);
    return status;
}

/* ---- comparing ---- */

static const char *shown(const json_t *value)
{
    const char *text = json_string_value(value);
    return text ? text : value ? "another" : "absent";
}

/* Of two objects; keys in the order of the first, then what only the second has. */
static bool differ(const json_t *there, const json_t *here, const char *what, char *out,
                   size_t size)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)here, key, value)
    {
        const json_t *other = json_object_get(there, key);
        if (other && json_equal(other, value))
            continue;
        if (json_is_string(value))
            snprintf(out, size, "%s%s is %.60s there and %.60s here", what, key, shown(other),
                     shown(value));
        else
            snprintf(out, size, "%s%s %s", what, key,
                     other ? "has changed since" : "was not there");
        return true;
    }
    json_object_foreach((json_t *)there, key, value)
    {
        if (json_object_get(here, key))
            continue;
        snprintf(out, size, "%s%s is there only", what, key);
        return true;
    }
    return false;
}

bool ap_share_difference(const json_t *there, const json_t *here, char *out, size_t size)
{
    const json_t *settings = json_object_get(there, "settings");
    const json_t *files = json_object_get(there, "files");
    const json_t *program = json_object_get(there, "program");
    if (!json_is_object(settings) || !json_is_object(files)) {
        snprintf(out, size, "what it was made from changed while it was made");
        return true;
    }
    if (!json_equal(program, json_object_get(here, "program"))) {
        snprintf(out, size, "it was made by alignpro %s", shown(program));
        return true;
    }
    return differ(settings, json_object_get(here, "settings"), "", out, size) ||
           differ(files, json_object_get(here, "files"), "", out, size) ||
           differ(json_object_get(there, "commands"), json_object_get(here, "commands"), "", out,
                  size);
}
