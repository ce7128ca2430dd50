/* What watches the stages that learn from reward: their valid prompts, and the judges on them
 * (run_inner.h, align/validate.h). */
#include "pipeline/run_inner.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

uint64_t ap_run_rl_seed(const struct ap_run *run, const struct ap_rl_settings *s)
{
    return (uint64_t)(s->seed ? s->seed : run->s->run.seed);
}

struct ap_valid_source ap_run_valid_source(const struct ap_rl_settings *s)
{
    return s->valid_path[0] ? (struct ap_valid_source){s->valid_path, AP_SPLIT_ALL}
                            : (struct ap_valid_source){s->path, AP_SPLIT_VALID};
}

/* ---- prompts ---- */

static int by_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Hashes of the training prompts, sorted. *out is allocated. */
static ap_status training_hashes(struct ap_run *run, const char *path, uint64_t **out, size_t *n,
                                 struct ap_error *err)
{
    const struct ap_dataset *d;
    int32_t *index = NULL;
    ap_status status = AP_OK;
    *out = NULL;
    *n = 0;
    AP_TRY(ap_run_dataset(run, path, &d, err));
    AP_TRY(ap_run_select(run, d, AP_SPLIT_TRAIN, true, &index, n, err));
    if (!(*out = ap_calloc(*n ? *n : 1, sizeof(**out))))
        status = ap_fail(err, AP_MEMORY, "%zu prompts: out of memory", *n);
    for (size_t i = 0; *out && i < *n; i++)
        (*out)[i] = d->examples[index[i]].hash;
    if (*out && *n)
        qsort(*out, *n, sizeof(**out), by_hash);
out:
    ap_free(index);
    return status;
}

/* Keep of index[n] what is in no training prompt; returns how many are left. */
static size_t drop_trained(const struct ap_dataset *d, int32_t *index, size_t n,
                           const uint64_t *trained, size_t n_trained)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!n_trained ||
            !bsearch(&d->examples[index[i]].hash, trained, n_trained, sizeof(*trained), by_hash))
            index[kept++] = index[i];
    return kept;
}

ap_status ap_run_valid_prompts(struct ap_run *run, const struct ap_rl_settings *s,
                               const struct ap_lm *lm, const char *meta_prompt, int max_new_tokens,
                               struct ap_prompts *out, struct ap_error *err)
{
    const struct ap_valid_source from = ap_run_valid_source(s);
    const char *shown = from.path[0] ? from.path : run->s->data.path;
    const struct ap_dataset *d;
    int32_t *index = NULL;
    uint64_t *trained = NULL;
    size_t n, n_kept, n_trained;
    ap_status status = AP_OK;

    *out = (struct ap_prompts){0};
    if (s->valid_every < 1)
        return AP_OK;
    AP_TRY(ap_run_dataset(run, from.path, &d, err));
    AP_TRY(ap_run_select(run, d, from.split, true, &index, &n, err));
    AP_TRY(training_hashes(run, s->path, &trained, &n_trained, err));
    n_kept = drop_trained(d, index, n, trained, n_trained);
    if (n_kept < n)
        ap_sink_note(run->sink, "data", "%s: %zu of %zu valid prompts are trained on and left out",
                     shown, n - n_kept, n);
    AP_TRY(ap_prompts_make(out, d, index, n_kept, lm, meta_prompt, lm->context - max_new_tokens,
                           ap_run_too_long(run), s->valid_prompts, err));
    if (out->n == 0)
        status = ap_fail(err, AP_INVALID,
                         "%s: none of its %zu valid prompts is left: %zu are trained on, %lld are "
                         "longer than the context; set data.split.valid, or valid_path to a file "
                         "of other prompts",
                         shown, n, n - n_kept, (long long)out->n_skipped);
out:
    ap_free(index);
    ap_free(trained);
    return status;
}

/* ---- judges ---- */

static void add_judge(struct ap_text_environment *env, const char *name,
                      const struct ap_reward *reward)
{
    env->judges[env->n_judge++] = (struct ap_text_judge){name, reward};
}

static bool asks_world(const struct ap_run *run, const struct ap_rl_settings *s)
{
    for (int i = 0; i < run->s->eval.n_judges; i++)
        if (strcmp(run->s->eval.judges[i], "world") == 0)
            return true;
    return strcmp(s->valid_judge, "world") == 0;
}

static bool all_have_meta(const struct ap_text_environment *env)
{
    for (int i = env->prompts->n - env->n_valid; i < env->prompts->n; i++)
        if (!env->prompts->items[i].meta)
            return false;
    return true;
}

/* The name that valid_judge stands for. */
static const char *pick(const struct ap_rl_settings *s, const struct ap_run_reward *reward)
{
    if (s->valid_judge[0])
        return s->valid_judge;
    for (int i = 0; i < reward->n; i++)
        if (reward->members[i].settings->weight == 0)
            return reward->members[i].settings->name;
    return "reward";
}

ap_status ap_run_valid_judges(struct ap_run *run, const struct ap_rl_settings *s,
                              const struct ap_run_reward *reward, struct ap_text_environment *env,
                              struct ap_error *err)
{
    const char *picked = pick(s, reward);
    if (s->valid_every < 1)
        return AP_OK;
    add_judge(env, "reward", &reward->reward);
    for (int i = 0; i < reward->n; i++)
        if (reward->members[i].settings->name)
            add_judge(env, reward->members[i].settings->name, &reward->members[i].reward);
    if (asks_world(run, s) && all_have_meta(env))
        add_judge(env, "world", NULL);
    if (strcmp(picked, "reward") == 0 && run->s->monitor.limits[AP_MONITOR_GAP].n > 0)
        ap_sink_warn(run->sink, env->stage,
                     "monitor.gap compares the reward with %s.valid_judge, which is the reward: it "
                     "stays unmeasured; name another judge",
                     env->stage);
    for (env->picks = 0; env->picks < env->n_judge; env->picks++)
        if (strcmp(env->judges[env->picks].name, picked) == 0)
            return AP_OK;
    return ap_fail(err, AP_INVALID, "%s.valid_judge: %s judges no valid prompts; name another",
                   env->stage,
                   picked); /* recipe_check.c and run_check.c let none of these through */
}
