/* A run: its directory, the order of its stages, what each stage needs. Entry points: run.h. */
#include "pipeline/run_inner.h"

#include "pipeline/stage_share.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

/* In the order of a whole run. `wanted` says whether the recipe has the stage at all. */
struct stage_row {
    const char *name;
    ap_status (*fn)(struct ap_run *run, struct ap_error *err);
    bool (*wanted)(const struct ap_run *run);
    /* Of stages that each prompter of a list has its own of, in place of these: */
    const char *of; /* what they are called together, as the command for them is */
    int pass;
    ap_status (*pass_fn)(struct ap_run *run, int pass, struct ap_error *err);
    bool (*pass_wanted)(const struct ap_run *run, int pass);
};

static bool wants_pretrain(const struct ap_run *run)
{
    return run->s->pretrain.model[0] != '\0';
}

bool ap_run_learns_reward(const struct ap_run *run)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(run->s, &n);
    for (int i = 0; i < n; i++)
        if (ap_reward_is_trained(&r[i]))
            return true;
    return false;
}

bool ap_run_has_arm(const struct ap_run *run, const char *name)
{
    for (int i = 0; i < run->s->eval.n_arms; i++)
        if (strcmp(run->s->eval.arms[i], name) == 0)
            return true;
    return false;
}

static bool wants_rlhf(const struct ap_run *run)
{
    return run->s->has_rlhf || ap_run_has_arm(run, "rlhf");
}

static bool wants_dpo(const struct ap_run *run)
{
    return run->s->has_dpo;
}

static bool wants_ift(const struct ap_run *run)
{
    return run->s->has_ift;
}

/* Its prompter may be untrained, but the reward and both models must be there. */
static bool wants_bound(const struct ap_run *run)
{
    return run->s->prompter.model[0] && run->s->target.model[0] &&
           ap_recipe_has_reward(run->recipe);
}

bool ap_run_asks_bound(const struct ap_run *run, const char *wanted)
{
    return wanted ? strcmp(wanted, "bound") == 0 : run->s->has_bound && wants_bound(run);
}

static bool always(const struct ap_run *run)
{
    (void)run;
    return true;
}

/* The reward stands before sft because best-of-n needs it; nothing of the reward needs sft. */
#define STAGE(n, f, w)                                                                             \
    {                                                                                              \
        .name = (n), .of = (n), .fn = (f), .wanted = (w)                                           \
    }
#define SFT(n, p)                                                                                  \
    {                                                                                              \
        .name = (n), .of = "sft", .pass = (p), .pass_fn = ap_run_stage_sft,                        \
        .pass_wanted = ap_run_wants_sft                                                            \
    }
#define ALIGN(n, p)                                                                                \
    {                                                                                              \
        .name = (n), .of = "align", .pass = (p), .pass_fn = ap_run_stage_align,                    \
        .pass_wanted = ap_run_wants_align                                                          \
    }
static const struct stage_row stages[] = {
    STAGE("pretrain", ap_run_stage_pretrain, wants_pretrain),
    STAGE("reward", ap_run_stage_reward, ap_run_learns_reward),
    SFT("sft", 0),
    SFT("sft-2", 1),
    SFT("sft-3", 2),
    SFT("sft-4", 3),
    ALIGN("align", 0),
    ALIGN("align-2", 1),
    ALIGN("align-3", 2),
    ALIGN("align-4", 3),
    STAGE("rlhf", ap_run_stage_rlhf, wants_rlhf),
    STAGE("dpo", ap_run_stage_dpo, wants_dpo),
    STAGE("ift", ap_run_stage_ift, wants_ift),
    STAGE("eval", ap_run_stage_eval, always),
    STAGE("bound", ap_run_stage_bound, wants_bound),
};
#undef STAGE
#undef SFT
#undef ALIGN

static const struct stage_row *find_stage(const char *name)
{
    for (size_t i = 0; i < AP_LEN(stages); i++)
        if (strcmp(stages[i].name, name) == 0)
            return &stages[i];
    return NULL;
}

static bool is_wanted(const struct ap_run *run, const struct stage_row *row)
{
    return row->wanted ? row->wanted(run) : row->pass_wanted(run, row->pass);
}

/* The bound belongs to a run that asks for it, or has it. */
static bool is_shown(const struct ap_run *run, const struct stage_row *row)
{
    bool asked =
        row->fn != ap_run_stage_bound || run->s->has_bound || ap_stage_done(&run->dir, row->name);
    return asked && is_wanted(run, row);
}

const char *ap_run_stage_at(const struct ap_run *run, size_t i)
{
    for (size_t k = 0; k < AP_LEN(stages); k++)
        if (is_shown(run, &stages[k]) && i-- == 0)
            return stages[k].name;
    return NULL;
}

/* Whether `wanted` cannot run before `other` is there; both as they are called together. */
static bool needs(const struct ap_run *run, const char *wanted, const char *other)
{
    if (strcmp(other, "pretrain") == 0)
        return true;
    if (strcmp(wanted, "eval") == 0)
        return strcmp(other, "reward") == 0 || strcmp(other, "sft") == 0 ||
               (ap_run_is_align(other) ? ap_run_has_align_arm(run) : ap_run_has_arm(run, other));
    if (strcmp(wanted, "bound") == 0)
        return strcmp(other, "reward") == 0 || strcmp(other, "sft") == 0 ||
               (strcmp(other, "align") == 0 && ap_run_bound_has_align(run)) ||
               (strcmp(other, "rlhf") == 0 && ap_run_bound_has_rlhf(run));
    if (strcmp(wanted, "sft") == 0)
        return strcmp(other, "reward") == 0 && strcmp(run->s->sft.source, "best-of-n") == 0;
    if (strcmp(wanted, "align") == 0)
        return strcmp(other, "reward") == 0 || strcmp(other, "sft") == 0;
    return strcmp(wanted, "rlhf") == 0 && strcmp(other, "reward") == 0;
}

bool ap_run_includes(const struct ap_run *run, const char *wanted, const char *stage)
{
    const struct stage_row *row = find_stage(stage);
    if (!is_wanted(run, row) || (strcmp(stage, "bound") == 0 && !ap_run_asks_bound(run, wanted)) ||
        (wanted && strcmp(wanted, row->of) != 0 && !needs(run, wanted, row->of)))
        return false;
    if (!ap_stage_done(&run->dir, stage))
        return !ap_share_has(run, stage);
    if (strcmp(stage, "bound") == 0)
        return run->db && !ap_run_bound_done(run);
    return strcmp(stage, "eval") == 0 && run->db && !ap_run_eval_done(run);
}

/* ---- open, close ---- */

/* All data files are read first: a missing one is found before hours of training, and the memory of
 * every stage is sized by the same texts. */
static ap_status read_data(struct ap_run *run, struct ap_error *err)
{
    struct ap_run_path paths[AP_RUN_PATHS];
    ap_run_paths(run->s, paths);
    for (int i = 0; i < AP_RUN_PATHS; i++) {
        const struct ap_dataset *unused;
        const char *key = paths[i].key, *path = paths[i].path;
        ap_status status = path[0] ? ap_run_dataset(run, path, &unused, err) : AP_OK;
        if (status == AP_NOT_FOUND && run->plan_only) {
            ap_sink_warn(run->sink, "memory",
                         "%s: %s is not there: texts are counted as long as the context", key,
                         path);
            run->data_missing = true;
        } else if (status == AP_NOT_FOUND) {
            ap_fail_prefix(err, status, "%s", key);
            return ap_recipe_tell_variable(run->recipe, key, status, err);
        } else if (status != AP_OK) {
            return status;
        }
    }
    return AP_OK;
}

static bool trains_target(const struct stage_row *row)
{
    return row->fn == ap_run_stage_rlhf || row->fn == ap_run_stage_dpo ||
           row->fn == ap_run_stage_ift;
}

static ap_status check_wanted(const struct ap_run *run, const char *stage, struct ap_error *err)
{
    const struct stage_row *wanted = stage ? find_stage(stage) : NULL;
    if (stage && (!wanted || wanted->pass > 0))
        return ap_fail(err, AP_INVALID,
                       "'%s' is no stage, expected pretrain, reward, sft, align, rlhf, dpo, ift, "
                       "eval or bound",
                       stage);
    if (wanted && !is_wanted(run, wanted))
        return ap_fail(err, AP_INVALID, "the recipe asks for no %s; %s", stage,
                       strcmp(stage, "sft") == 0 ? "set sft.source to file or best-of-n"
                       : ap_settings_remote(run->s) && trains_target(wanted)
                           ? "it trains the target, which over HTTP is not ours to train"
                       : strcmp(stage, "bound") == 0
                           ? "the bound takes a prompter, a target and a reward"
                           : "see `alignpro help` for the keys of that section");
    return AP_OK;
}

/* Everything that is looked at before the run directory is made. */
static ap_status prepare(struct ap_run *run, const char *wanted, struct ap_error *err)
{
    run->s = ap_recipe_settings(run->recipe);
    ap_threads_set(run->s->run.threads);
    ap_status status = check_wanted(run, wanted, err);
    if (status == AP_OK)
        status = ap_share_open(run, err);
    if (status == AP_OK)
        status = read_data(run, err);
    if (status == AP_OK)
        status = ap_run_check(run, wanted, err);
    if (status == AP_OK && !run->data_missing)
        run->n_position = ap_run_positions(run);
    return status;
}

static ap_status open_directory(struct ap_run *run, struct ap_error *err)
{
    ap_status status = ap_run_dir_open(&run->dir, run->recipe, err);
    if (status == AP_OK && run->dir.moved.len > 0)
        ap_sink_note(run->sink, "run", "%s", run->dir.moved.data);
    char *database = status == AP_OK ? ap_path_join(run->dir.path, "run.db") : NULL;
    if (status == AP_OK)
        status = database ? ap_database_open(&run->db, database, err)
                          : ap_fail(err, AP_MEMORY, "%s: out of memory", run->dir.path);
    ap_free(database);
    return status;
}

/* The plan leaves out what a directory that is there has done. One that is not there is made after
 * the plan: a recipe that does not fit leaves none that its correction would not fit. */
static ap_status plan_and_open(struct ap_run *run, const char *wanted, struct ap_buffer *text,
                               struct ap_error *err)
{
    ap_status status;
    bool there = ap_file_exists(run->s->run.dir);
    if (there && !run->plan_only) {
        status = open_directory(run, err);
        if (status == AP_OK)
            status = ap_share_check(run, err);
        return status == AP_OK ? ap_run_plan_memory(run, wanted, text, err) : status;
    }
    if (!(run->dir.path = ap_strdup(run->s->run.dir)))
        return ap_fail(err, AP_MEMORY, "run.dir: out of memory");
    status = ap_run_dir_check(&run->dir, run->recipe, err);
    if (status == AP_OK)
        status = ap_share_check(run, err);
    if (status == AP_OK)
        status = ap_run_plan_memory(run, wanted, text, err);
    ap_run_dir_close(&run->dir);
    return status == AP_OK && !run->plan_only ? open_directory(run, err) : status;
}

static ap_status open_run(struct ap_run **out, const struct ap_recipe *recipe, const char *wanted,
                          const struct ap_sink *sink, bool plan_only, struct ap_buffer *text,
                          struct ap_error *err)
{
    struct ap_run *run = ap_calloc(1, sizeof(*run));
    *out = NULL;
    if (!run)
        return ap_fail(err, AP_MEMORY, "run: out of memory");
    run->recipe = recipe;
    run->plan_only = plan_only;
    run->dir.lock.fd = -1;
    run->sink = sink;
    ap_status status = prepare(run, wanted, err);
    if (status == AP_OK)
        status = plan_and_open(run, wanted, text, err);
    if (status != AP_OK) {
        ap_run_close(run);
        return status;
    }
    *out = run;
    return AP_OK;
}

ap_status ap_run_open(struct ap_run **out, const struct ap_recipe *recipe, const char *stage,
                      const struct ap_sink *sink, struct ap_error *err)
{
    struct ap_buffer text = {0};
    ap_status status = open_run(out, recipe, stage, sink, false, &text, err);
    ap_buffer_free(&text);
    if (status == AP_OK)
        ap_run_probe_http(*out, stage);
    return status;
}

ap_status ap_run_plan(const struct ap_recipe *recipe, const char *stage, const struct ap_sink *sink,
                      char **text, struct ap_error *err)
{
    struct ap_buffer out = {0};
    struct ap_run *run = NULL;
    ap_status status = open_run(&run, recipe, stage, sink, true, &out, err);
    ap_run_close(run);
    *text = out.data;
    return status;
}

void ap_run_close(struct ap_run *run)
{
    if (!run)
        return;
    ap_run_remotes_close(run);
    ap_run_models_free(run);
    for (int i = 0; i < run->n_data; i++) {
        ap_dataset_free(&run->data[i].set);
        ap_free(run->data[i].path);
    }
    ap_event_file_close(&run->events);
    ap_database_close(run->db);
    ap_run_dir_close(&run->dir);
    ap_free(run->plan);
    json_decref(run->inputs);
    json_decref(run->shared);
    json_decref(run->marks);
    json_decref(run->test_mark);
    ap_free(run);
}

const char *ap_run_directory(const struct ap_run *run)
{
    return run->dir.path;
}

/* ---- stages ---- */

static void announce_skip(const struct ap_run *run, const char *stage)
{
    struct ap_event event = {
        .kind = AP_EVENT_SKIP, .stage = stage, .loss = NAN, .reward = NAN, .kl = NAN};
    ap_sink_event(run->sink, &event);
}

static ap_status run_one(struct ap_run *run, const struct stage_row *row, struct ap_error *err)
{
    ap_status status;
    bool taken, is_eval = row->fn == ap_run_stage_eval, is_bound = row->fn == ap_run_stage_bound;
    if (is_eval    ? ap_run_eval_done(run)
        : is_bound ? ap_run_bound_done(run)
                   : ap_stage_done(&run->dir, row->name)) {
        announce_skip(run, row->name);
        if (is_bound && (status = ap_run_bound_write(run, err)) != AP_OK)
            return status;
        /* their tables cost a second, and a kill or another bootstrap may have left others */
        return is_eval || is_bound ? ap_run_report(run, err) : AP_OK;
    }
    if (ap_sink_stopped(run->sink))
        return ap_fail(err, AP_INTERRUPTED,
                       "interrupted before %s; the same command goes on from there", row->name);
    status = ap_share_take(run, row->name, &taken, err);
    if (status != AP_OK || (taken && ap_stage_done(&run->dir, row->name)))
        return status == AP_OK ? ap_run_report(run, err) : status;
    status = ap_share_begin(run, row->name, err);
    if (status != AP_OK)
        return status;
    if (row->pass_fn != ap_run_stage_sft) /* which may sample with other models before it trains */
        ap_run_release_models(run, row->name);
    ap_run_watch_begin(run);
    status = row->fn ? row->fn(run, err) : row->pass_fn(run, row->pass, err);
    ap_run_watch_end(run);
    ap_run_remotes_tell(run);
    if (status == AP_OK)
        status = ap_run_report_memory(run, row->name, err);
    return status == AP_OK ? ap_run_report(run, err) : status;
}

/* An evaluation that this recipe has not is made anew, and from here on is not done: neither the
 * reports of the stages before it nor what is left after a failure take old rows for those of this
 * recipe. What only stands beside an evaluation is to find a whole one. */
static ap_status look_at_eval(struct ap_run *run, const char *stage, struct ap_error *err)
{
    if (stage && strcmp(stage, "bound") == 0)
        return ap_run_check_evaluation(run, err);
    bool anew = (!stage || strcmp(stage, "eval") == 0) && ap_stage_done(&run->dir, "eval") &&
                !ap_run_eval_done(run);
    return anew ? ap_stage_reopen(&run->dir, "eval", err) : AP_OK;
}

ap_status ap_run_stage(struct ap_run *run, const char *stage, struct ap_error *err)
{
    ap_status status = check_wanted(run, stage, err);
    bool reached = false;
    if (status == AP_OK)
        status = look_at_eval(run, stage, err);
    for (size_t i = 0; i < AP_LEN(stages) && status == AP_OK; i++) {
        bool is_it = stage && strcmp(stages[i].of, stage) == 0;
        if (reached && !is_it)
            break;
        reached = is_it;
        bool now = !stage || is_it || needs(run, stage, stages[i].of);
        if (stages[i].fn == ap_run_stage_bound)
            now = ap_run_asks_bound(run, stage);
        if (now && is_wanted(run, &stages[i]))
            status = run_one(run, &stages[i], err);
    }
    return status;
}
