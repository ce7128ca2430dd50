/* Taking finished stages over from other run directories (run.from), and the record beside each
 * stage by which others may take it (stage_share.h). A stage appears whole: its result is filled as
 * final.tmp and renamed, DONE comes last. Entry points: ap_share_open, ap_share_take. */
#include "pipeline/stage_share.h"

#include "base/json.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAX ((size_t)1 << 20)

enum { WHY_MAX = 320 };

/* Where a record lies: that of a normaliser in its reward's folder. */
struct place {
    char stage[48], record[32];
    const char *result; /* the file that is there when it is */
};

static struct place place_of(const char *stage)
{
    static const char normaliser[] = "normaliser";
    struct place p;
    size_t n = strlen(normaliser);
    bool is = strncmp(stage, normaliser, n) == 0;
    snprintf(p.stage, sizeof(p.stage), "%s%s", is ? "reward" : stage, is ? stage + n : "");
    snprintf(p.record, sizeof(p.record), "%s", is ? "normaliser-inputs.json" : "inputs.json");
    p.result = is ? "normaliser.json" : "DONE";
    return p;
}

static void normaliser_stage(const struct ap_reward_settings *r, char out[48])
{
    snprintf(out, 48, "normaliser%s%s", r->name ? "-" : "", r->name ? r->name : "");
}

static ap_status no_memory(const char *stage, struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "%s: no memory for its record; free some", stage);
}

/* "reward" stands for the stage of each reward that is trained; fn is called for each, or for the
 * stage itself. */
typedef ap_status (*stage_fn)(struct ap_run *run, const char *stage, void *context,
                              struct ap_error *err);

static ap_status each(struct ap_run *run, const char *stage, stage_fn fn, void *context,
                      struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    ap_status status = AP_OK;
    if (strcmp(stage, "reward") != 0)
        return fn(run, stage, context, err);
    for (int i = 0; i < n && status == AP_OK; i++)
        if (ap_reward_is_trained(&r[i]))
            status = fn(run, ap_run_reward_stage(&r[i]).name, context, err);
    return status;
}

/* ---- the record ---- */

static ap_status write_record(const struct ap_run *run, const char *stage, const json_t *record,
                              struct ap_error *err)
{
    const struct place p = place_of(stage);
    char *text = json_dumps(record, JSON_INDENT(1) | JSON_SORT_KEYS);
    ap_status status = text
                           ? ap_run_dir_write(&run->dir, p.stage, p.record, text, strlen(text), err)
                           : no_memory(stage, err);
    free(text);
    return status;
}

/* One that agrees with no other. It keeps the files as they were when this process read them, so
 * that no later one goes on with others. */
static ap_status write_changed(const struct ap_run *run, const char *stage, const char *why,
                               struct ap_error *err)
{
    json_t *record = json_pack("{s:s, s:O}", "changed", why, "files",
                               json_object_get(json_object_get(run->inputs, stage), "files"));
    ap_status status = record ? write_record(run, stage, record, err) : no_memory(stage, err);
    json_decref(record);
    return status;
}

/* NULL where there is none that can be read. */
static json_t *read_record(const char *run_dir, const char *stage)
{
    const struct place p = place_of(stage);
    const struct ap_run_dir dir = {.path = (char *)(uintptr_t)run_dir};
    char *path = ap_run_dir_path(&dir, p.stage, p.record);
    json_t *record = NULL;
    if (path && ap_file_exists(path) && ap_json_load(path, RECORD_MAX, &record, NULL) != AP_OK)
        record = NULL;
    ap_free(path);
    return record;
}

static bool has_file(const char *run_dir, const char *stage, const char *name)
{
    const struct ap_run_dir dir = {.path = (char *)(uintptr_t)run_dir};
    char *path = ap_run_dir_path(&dir, stage, name);
    bool there = path && ap_file_exists(path);
    ap_free(path);
    return there;
}

/* A stage that this one builds on, and that was made from something else than what is there now:
 * its data have changed since. */
static bool stands_on_other(const struct ap_run *run, const json_t *here, char why[WHY_MAX])
{
    const char *stage;
    json_t *unused;
    json_object_foreach(json_object_get(here, "after"), stage, unused)
    {
        char reason[WHY_MAX / 2] = "it has no record";
        const struct place p = place_of(stage);
        if (!has_file(run->dir.path, p.stage, p.result))
            continue; /* not made yet */
        json_t *record = read_record(run->dir.path, stage);
        bool differs = !record || ap_share_difference(record, json_object_get(run->inputs, stage),
                                                      reason, sizeof(reason));
        json_decref(record);
        if (differs) {
            snprintf(why, WHY_MAX, "%s: %s", stage, reason);
            return true;
        }
    }
    return false;
}

/* The record of what a stage is made from, as it is before it begins. */
static ap_status first_record(const struct ap_run *run, const char *stage, struct ap_error *err)
{
    char why[WHY_MAX];
    const json_t *here = json_object_get(run->inputs, stage);
    return stands_on_other(run, here, why) ? write_changed(run, stage, why, err)
                                           : write_record(run, stage, here, err);
}

static ap_status begin_one(struct ap_run *run, const char *stage, void *unused,
                           struct ap_error *err)
{
    char why[WHY_MAX];
    json_t *here = json_object_get(run->inputs, stage), *before;
    (void)unused;
    if (ap_stage_done(&run->dir, stage))
        return AP_OK;
    bool begun =
        has_file(run->dir.path, stage, "ckpt") || has_file(run->dir.path, stage, "best-of-n.jsonl");
    if (!begun)
        return first_record(run, stage, err);
    if (!(before = read_record(run->dir.path, stage)))
        return write_changed(run, stage, "the stage was begun without a record", err);
    ap_status status = ap_share_difference(before, here, why, sizeof(why))
                           ? write_changed(run, stage, why, err)
                           : AP_OK;
    json_decref(before);
    return status;
}

ap_status ap_share_begin(struct ap_run *run, const char *stage, struct ap_error *err)
{
    return ap_share_knows(stage) ? each(run, stage, begin_one, NULL, err) : AP_OK;
}

ap_status ap_share_seal(const struct ap_run *run, const char *stage, struct ap_error *err)
{
    char why[WHY_MAX];
    json_t *now;
    if (!json_object_get(run->inputs, stage))
        return AP_OK;
    ap_status status = ap_share_inputs(run, stage, &now, err);
    if (status != AP_OK)
        return status;
    if (ap_share_difference(json_object_get(run->inputs, stage), now, why, sizeof(why)))
        status = write_changed(run, stage, why, err);
    json_decref(now);
    return status;
}

/* ---- what was made from other files ---- */

/* What stands between a stage that is there and going on from it: "made FROM path, which IS GONE;
 * PUT IT BACK". */
struct change {
    const char *made, *path, *now, *remedy;
};

/* Of a file that was known by another kind of mark nothing can be said. */
static bool is_other_file(const json_t *then, const json_t *now, struct change *out)
{
    bool hashed = json_object_get(then, "sha256") != NULL;
    const char *key = hashed ? "sha256" : "modified";
    const json_t *is = json_object_get(now, key);
    if (!is || json_equal((json_t *)(uintptr_t)is, json_object_get(then, key)))
        return false;
    out->now = hashed ? "holds something else now"
                      : "was written since (it is too large to be read at every start)";
    out->remedy = hashed ? "put the file back" : "where it is the same give it its time back";
    return true;
}

/* Which of them a model has is told by its index, and its folder may hold others. */
static bool is_weights(const char *path)
{
    const char *end = strrchr(path, '.');
    return end && strcmp(end, ".safetensors") == 0;
}

/* A file that came or went beside a model changes how it is read; another version of the program
 * may look at others, and so did this one before it knew commands apart. Weights that are gone are
 * left to whoever reads them. */
static bool find_change(const json_t *record, const json_t *inputs, struct change *out)
{
    json_t *mark, *then = json_object_get(record, "files"), *now = json_object_get(inputs, "files");
    bool same_program =
        json_object_get(record, "commands") &&
        json_equal(json_object_get(record, "program"), json_object_get(inputs, "program"));
    json_object_foreach(then, out->path, mark)
    {
        const json_t *other = json_object_get(now, out->path);
        *out = (struct change){"from", out->path, "is gone", "put it back"};
        if (other ? is_other_file(mark, other, out) : same_program && !is_weights(out->path))
            return true;
    }
    json_object_foreach(now, out->path, mark)
    {
        *out = (struct change){"without", out->path, "is there now", "take it away"};
        if (same_program && !json_object_get(then, out->path) && !is_weights(out->path))
            return true;
    }
    return false;
}

/* A stage that is there, or begun, while a file that it was made from is another now: what is made
 * next would be of both. A command may have been mended. */
static ap_status check_one(struct ap_run *run, const char *stage, void *unused,
                           struct ap_error *err)
{
    struct change c = {0};
    const struct place p = place_of(stage);
    const char *dir = run->dir.path, *file = strcmp(p.stage, stage) == 0 ? "" : p.result;
    const char *slash = file[0] ? "/" : "";
    json_t *record = read_record(dir, stage);
    ap_status status = AP_OK;
    (void)unused;
    if (find_change(record, json_object_get(run->inputs, stage), &c))
        status =
            ap_fail(err, AP_INVALID,
                    "%s: %s/%s%s%s was made %s %s, which %s; %s, remove %s/%s%s%s and what was "
                    "made after it, or take another run.dir",
                    p.stage, dir, p.stage, slash, file, c.made, c.path, c.now, c.remedy, dir,
                    p.stage, slash, file);
    json_decref(record);
    return status;
}

ap_status ap_share_check(struct ap_run *run, struct ap_error *err)
{
    const char *stage;
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    ap_status status = AP_OK;
    for (size_t i = 0; status == AP_OK && (stage = ap_run_stage_at(run, i)) != NULL; i++)
        if (ap_share_knows(stage))
            status = each(run, stage, check_one, NULL, err);
    for (int i = 0; status == AP_OK && i < n; i++) {
        char name[48];
        normaliser_stage(&r[i], name);
        status = r[i].normalise ? check_one(run, name, NULL, err) : AP_OK;
    }
    return status;
}

/* ---- opening ---- */

static ap_status add_inputs(struct ap_run *run, const char *stage, void *unused,
                            struct ap_error *err)
{
    json_t *inputs;
    (void)unused;
    ap_status status = ap_share_inputs(run, stage, &inputs, err);
    if (status == AP_OK && json_object_set_new(run->inputs, stage, inputs) != 0)
        status = no_memory(stage, err);
    return status;
}

const char *ap_share_missing(const char *folder)
{
    static const char *const files[] = {"recipe.yaml", "run.db"};
    for (size_t i = 0; i < AP_LEN(files); i++)
        if (!has_file(folder, files[i], ""))
            return files[i];
    return NULL;
}

static ap_status check_from(const struct ap_run *run, const char *from, struct ap_error *err)
{
    const char *missing = ap_share_missing(from);
    struct stat there, here;
    if (stat(from, &there) == 0 && stat(run->s->run.dir, &here) == 0 &&
        there.st_dev == here.st_dev && there.st_ino == here.st_ino)
        return ap_fail(err, AP_INVALID,
                       "run.from: %s is this run's own directory, expected another's; leave it out",
                       from);
    if (missing)
        return ap_fail(err, AP_NOT_FOUND,
                       "run.from: %s is no run directory (it has no %s), expected what "
                       "`alignpro run RECIPE` made: a recipe's run.dir",
                       from, missing);
    return AP_OK;
}

ap_status ap_share_open(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    const char *stage;
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    if (!(run->inputs = json_object()) || !(run->marks = json_object()) ||
        !(run->shared = json_object()))
        AP_TRY(no_memory("run", err));
    run->test_mark =
        ap_share_mark(run, run->s->eval.path[0] ? run->s->eval.path : run->s->data.path);
    for (int i = 0; i < run->s->run.n_from; i++)
        AP_TRY(check_from(run, run->s->run.from[i], err));
    for (size_t i = 0; (stage = ap_run_stage_at(run, i)) != NULL; i++)
        if (ap_share_knows(stage))
            AP_TRY(each(run, stage, add_inputs, NULL, err));
    for (int i = 0; i < n; i++) {
        char name[48];
        normaliser_stage(&r[i], name);
        if (r[i].normalise)
            AP_TRY(add_inputs(run, name, NULL, err));
    }
out:
    return status;
}

/* ---- finding ---- */

/* The first folder of run.from that has it, or NULL. why: of the first one that has such a stage
 * made from something else; "" when none has it. */
static const char *find(const struct ap_run *run, const char *stage, char why[WHY_MAX])
{
    const json_t *here = json_object_get(run->inputs, stage);
    const struct place p = place_of(stage);
    why[0] = '\0';
    if (run->s->run.n_from > 0 && stands_on_other(run, here, why))
        return NULL;
    for (int i = 0; i < run->s->run.n_from; i++) {
        const char *from = run->s->run.from[i];
        char reason[WHY_MAX] = "it has no record of what it was made from (inputs.json)";
        bool is_stage = strcmp(p.stage, stage) == 0;
        if (!has_file(from, p.stage, p.result) || (is_stage && !has_file(from, stage, "final")))
            continue;
        json_t *there = read_record(from, stage);
        bool differs = !there || ap_share_difference(there, here, reason, sizeof(reason));
        json_decref(there);
        if (!differs)
            return from;
        if (!why[0])
            snprintf(why, WHY_MAX, "%s: %s", from, reason);
    }
    return NULL;
}

static ap_status count_missing(struct ap_run *run, const char *stage, void *context,
                               struct ap_error *err)
{
    char why[WHY_MAX];
    (void)err;
    *(int *)context += !ap_stage_done(&run->dir, stage) && !find(run, stage, why);
    return AP_OK;
}

/* A list's later prompters have stages that are not in the table: all of a list's are trained. */
static bool may_take(const struct ap_run *run, const char *stage)
{
    bool of_list =
        run->s->n_prompters > 1 && (strcmp(stage, "sft") == 0 || strcmp(stage, "align") == 0);
    return run->s->run.n_from > 0 && ap_share_knows(stage) && !of_list;
}

/* Looked up once: a plan that seeks changes asks hundreds of times. */
bool ap_share_has(const struct ap_run *run, const char *stage)
{
    int n_missing = 0;
    const json_t *known = json_object_get(run->shared, stage);
    if (!may_take(run, stage))
        return false;
    if (known)
        return json_is_true(known);
    each((struct ap_run *)(uintptr_t)run, stage, count_missing, &n_missing, NULL);
    json_object_set_new(run->shared, stage, json_boolean(n_missing == 0));
    return n_missing == 0;
}

/* ---- taking over ---- */

/* A second name for the file where the file system can, else a copy. */
static ap_status link_file(const char *from, const char *to, struct ap_error *err)
{
    struct ap_map map;
    if (unlink(to) != 0 && errno != ENOENT)
        return ap_fail_errno(err, errno, "%s: cannot be replaced", to);
    if (link(from, to) == 0)
        return AP_OK;
    ap_status status = ap_map_open(&map, from, err);
    if (status != AP_OK)
        return status;
    status = ap_file_write(to, map.data, map.size, err);
    ap_map_close(&map);
    return status;
}

/* DONE is left out: committing writes it. */
static ap_status link_files(const char *from, const char *to, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct dirent *entry;
    DIR *list = opendir(from);
    if (!list)
        return ap_fail_errno(err, errno, "%s: cannot list", from);
    while (status == AP_OK && (errno = 0, entry = readdir(list)) != NULL) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "DONE") == 0)
            continue;
        char *source = ap_path_join(from, entry->d_name), *copy = ap_path_join(to, entry->d_name);
        status = source && copy ? link_file(source, copy, err) : no_memory(from, err);
        ap_free(source);
        ap_free(copy);
    }
    if (status == AP_OK && errno)
        status = ap_fail_errno(err, errno, "%s: cannot list", from);
    closedir(list);
    return status;
}

static ap_status link_in_stage(const struct ap_run *run, const char *from, const char *stage,
                               const char *name, struct ap_error *err)
{
    const struct ap_run_dir dir = {.path = (char *)(uintptr_t)from};
    char *source = ap_run_dir_path(&dir, stage, name);
    char *copy = ap_run_dir_path(&run->dir, stage, name);
    ap_status status = source && copy ? link_file(source, copy, err) : no_memory(stage, err);
    ap_free(source);
    ap_free(copy);
    return status;
}

static ap_status take_final(const struct ap_run *run, const char *from, const char *stage,
                            struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_run_dir dir = {.path = (char *)(uintptr_t)from};
    char *folder = NULL, *source = ap_run_dir_path(&dir, stage, "final");
    if (!source)
        AP_TRY(no_memory(stage, err));
    AP_TRY(ap_final_begin(&run->dir, stage, &folder, err));
    AP_TRY(link_files(source, folder, err));
    AP_TRY(ap_final_commit(&run->dir, stage, folder, err));
out:
    ap_free(folder);
    ap_free(source);
    return status;
}

/* What the stage said of itself, and where it was taken from. */
static ap_status take_done(const struct ap_run *run, const char *from, const char *stage,
                           struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_run_dir dir = {.path = (char *)(uintptr_t)from};
    char *path = ap_run_dir_path(&dir, stage, "DONE"), *text = NULL;
    json_t *done = NULL;
    if (!path)
        AP_TRY(no_memory(stage, err));
    AP_TRY(ap_json_load(path, RECORD_MAX, &done, err));
    if (json_object_set_new(done, "taken_from", json_string(from)) != 0 ||
        !(text = json_dumps(done, 0)))
        AP_TRY(no_memory(stage, err));
    AP_TRY(ap_stage_finish(&run->dir, stage, text, err));
out:
    free(text);
    json_decref(done);
    ap_free(path);
    return status;
}

struct copied {
    struct ap_database *db;
    const char *stage;
    struct ap_error *err;
};

static ap_status copy_metric(void *context, const char *stage, int64_t step, const char *name,
                             double value)
{
    const struct copied *c = context;
    return strcmp(stage, c->stage) == 0
               ? ap_database_metric(c->db, stage, step, name, value, c->err)
               : AP_OK;
}

/* The curves of the report. */
static ap_status take_metrics(const struct ap_run *run, const char *from, const char *stage,
                              struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_database *db = NULL;
    char *path = ap_path_join(from, "run.db");
    struct copied copied = {run->db, stage, err};
    if (!path)
        AP_TRY(no_memory(stage, err));
    AP_TRY(ap_database_open_read(&db, path, err));
    AP_TRY(ap_database_begin(run->db, err));
    AP_TRY(ap_database_rewind(run->db, stage, 0, err));
    AP_TRY(ap_database_each_metric(db, copy_metric, &copied, err));
    AP_TRY(ap_database_commit(run->db, err));
out:
    ap_database_close(db);
    ap_free(path);
    return status;
}

static ap_status take_one(struct ap_run *run, const char *stage, void *context,
                          struct ap_error *err)
{
    ap_status status = AP_OK;
    char why[WHY_MAX];
    if (ap_stage_done(&run->dir, stage))
        return AP_OK;
    const char *from = find(run, stage, why);
    if (!from) {
        *(bool *)context = false;
        if (why[0])
            ap_sink_note(run->sink, stage, "is not taken over: %s", why);
        return AP_OK;
    }
    AP_TRY(take_final(run, from, stage, err));
    if (has_file(from, stage, "best-of-n.jsonl"))
        AP_TRY(link_in_stage(run, from, stage, "best-of-n.jsonl", err));
    AP_TRY(write_record(run, stage, json_object_get(run->inputs, stage), err));
    AP_TRY(take_metrics(run, from, stage, err));
    AP_TRY(take_done(run, from, stage, err));
    ap_sink_note(run->sink, stage, "taken from %s", from);
out:
    return status;
}

ap_status ap_share_take(struct ap_run *run, const char *stage, bool *taken, struct ap_error *err)
{
    *taken = may_take(run, stage);
    return *taken ? each(run, stage, take_one, taken, err) : AP_OK;
}

/* ---- normalisers ---- */

ap_status ap_share_take_normaliser(struct ap_run *run, const struct ap_reward_settings *r,
                                   bool *taken, struct ap_error *err)
{
    ap_status status = AP_OK;
    char stage[48], why[WHY_MAX];
    normaliser_stage(r, stage);
    const struct place p = place_of(stage);
    const char *from = find(run, stage, why);
    *taken = from != NULL;
    if (!from)
        return AP_OK;
    AP_TRY(write_record(run, stage, json_object_get(run->inputs, stage), err));
    AP_TRY(link_in_stage(run, from, p.stage, "normaliser.json", err));
    ap_sink_note(run->sink, p.stage, "its normaliser is taken from %s", from);
out:
    return status;
}

ap_status ap_share_keep_normaliser(const struct ap_run *run, const struct ap_reward_settings *r,
                                   struct ap_error *err)
{
    char stage[48];
    normaliser_stage(r, stage);
    ap_status status = first_record(run, stage, err);
    return status == AP_OK ? ap_share_seal(run, stage, err) : status;
}
