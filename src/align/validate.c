/* Validations of a stage and the step that is kept (validate.h). A validation at step N comes after
 * the checkpoint of step N: one that goes on from there repeats it, to the bit. Hence best/ holds
 * two steps for a while, the best and the one that the newest checkpoint knows as the best. */
#include "align/validate.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct validation {
    double mean[AP_VALID_JUDGES_MAX]; /* by judge */
    double kl;
    double gap; /* since the first one; NaN where the reward itself picks */
};

/* The valid prompts from `first` on, as many as the rollout holds; *n: how many. */
static ap_status validate_some(struct ap_rl_work *w, struct ap_policy *policy,
                               const struct ap_environment *env, int32_t first, int32_t *n,
                               struct validation *v, struct ap_error *err)
{
    struct ap_rollout *r = &w->rollout;
    ap_status status = AP_OK;
    *n = env->n_valid - first < r->max_row ? env->n_valid - first : r->max_row;
    for (int32_t i = 0; i < *n; i++)
        w->prompts[i] = env->n_prompt + first + i;
    AP_TRY(policy->sample(policy->self, w->prompts, *n, 1, AP_VALID_STEP, r, err));
    AP_TRY(ap_rl_logprobs(policy, r, w->rows, err));
    AP_TRY(env->judge(env->self, AP_VALID_STEP, r, w->judged, err));
    for (int32_t i = 0; i < *n; i++) {
        v->kl += r->rows[i].kl / env->n_valid;
        for (int k = 0; k < env->n_judge; k++)
            v->mean[k] += w->judged[k * *n + i] / env->n_valid;
    }
out:
    return status;
}

static ap_status record(struct ap_stage *stage, const struct ap_environment *env, int64_t step,
                        const struct validation *v, struct ap_error *err)
{
    ap_status status = AP_OK;
    char name[64];
    if (!stage->db)
        return AP_OK;
    AP_TRY(ap_database_begin(stage->db, err));
    for (int k = 0; k < env->n_judge; k++) {
        snprintf(name, sizeof(name), "valid_%s", env->judges[k]);
        AP_TRY(ap_stage_metric(stage, step, name, v->mean[k], err));
    }
    AP_TRY(ap_stage_metric(stage, step, "valid_kl", v->kl, err));
    AP_TRY(ap_stage_metric(stage, step, ap_monitor_name(AP_MONITOR_GAP), v->gap, err));
    AP_TRY(ap_database_commit(stage->db, err));
out:
    return status;
}

static bool keeps_best(const struct ap_stage *stage, const struct ap_rl_settings *s)
{
    return stage->dir && s->valid_every > 0 && strcmp(s->keep, "best") == 0;
}

static ap_status save_best(const struct ap_stage *stage, const struct ap_policy *policy,
                           int64_t step, struct ap_error *err)
{
    char *folder = NULL;
    ap_status status = AP_OK;
    AP_TRY(ap_best_begin(stage->dir, stage->name, &folder, err));
    AP_TRY(policy->save(policy->self, folder, err));
    AP_TRY(ap_best_commit(stage->dir, stage->name, folder, step, stage->watch.best_saved, err));
out:
    ap_free(folder);
    return status;
}

static ap_status compare(struct ap_stage *stage, const struct ap_policy *policy,
                         const struct ap_environment *env, const struct ap_rl_settings *s,
                         int64_t step, const struct validation *v, struct ap_error *err)
{
    struct ap_stage_watch *watch = &stage->watch;
    const double now = v->mean[env->picks];
    const bool better = watch->best_step < 0 || now > watch->best;
    ap_sink_note(stage->sink, stage->name, "step %lld: %s %.4g on %d valid prompts, KL %.3g%s",
                 (long long)step, env->judges[env->picks], now, (int)env->n_valid, v->kl,
                 better ? ", the best so far" : "");
    if (better) {
        ap_status status = keeps_best(stage, s) ? save_best(stage, policy, step, err) : AP_OK;
        watch->best = now;
        watch->best_step = step;
        watch->n_worse = 0;
        return status;
    }
    watch->n_worse++;
    if (s->patience > 0 && watch->n_worse >= s->patience)
        watch->ended = "patience";
    return AP_OK;
}

/* How far the reward, the first of the judges, ran ahead of the one that picks. */
static double gap_of(struct ap_stage_watch *watch, const struct ap_environment *env,
                     const struct validation *v)
{
    const double now = v->mean[0] - v->mean[env->picks];
    if (env->picks == 0)
        return NAN;
    if (watch->best_step < 0)
        watch->first_gap = now;
    return now - watch->first_gap;
}

ap_status ap_rl_validate(struct ap_rl_work *w, struct ap_stage *stage, struct ap_policy *policy,
                         const struct ap_environment *env, const struct ap_rl_settings *settings,
                         int64_t step, struct ap_error *err)
{
    struct validation v = {0};
    ap_status status = AP_OK;
    if (settings->valid_every < 1 || (step % settings->valid_every != 0 && step < settings->steps))
        return AP_OK;
    for (int32_t first = 0, n = 0; first < env->n_valid && status == AP_OK; first += n)
        status = validate_some(w, policy, env, first, &n, &v, err);
    if (status != AP_OK)
        return ap_stage_cut(stage, status, step, policy->save, policy->self, err);
    for (int k = 0; k < env->n_judge; k++)
        if (!isfinite(v.mean[k])) {
            status = ap_fail(err, AP_NUMERIC,
                             "%s: step %lld: %s is %g on the valid prompts, expected a finite "
                             "number; lower lr",
                             stage->name, (long long)step, env->judges[k], v.mean[k]);
            goto out;
        }
    v.gap = gap_of(&stage->watch, env, &v);
    AP_TRY(record(stage, env, step, &v, err));
    AP_TRY(compare(stage, policy, env, settings, step, &v, err));
    ap_rl_passed(stage, step, AP_MONITOR_GAP, v.gap);
out:
    return status;
}

/* Nothing is said of a stage that neither validates nor ended early. */
static void tell(const struct ap_stage *stage, const struct ap_rl_settings *s, int64_t step)
{
    const struct ap_stage_watch *watch = &stage->watch;
    char why[96] = "";
    if (watch->ended)
        snprintf(why, sizeof(why), "; it ended after step %lld of %d: %s", (long long)step,
                 s->steps, watch->ended);
    if (watch->best_step >= 0)
        ap_sink_note(stage->sink, stage->name,
                     "keeps step %lld; the best on valid prompts was step %lld with %.4g%s",
                     (long long)watch->kept_step, (long long)watch->best_step, watch->best, why);
    else if (watch->ended)
        ap_sink_note(stage->sink, stage->name, "keeps step %lld%s", (long long)watch->kept_step,
                     why);
}

ap_status ap_rl_keep(struct ap_stage *stage, struct ap_policy *policy,
                     const struct ap_rl_settings *settings, int64_t step, struct ap_error *err)
{
    struct ap_stage_watch *watch = &stage->watch;
    char *folder = NULL;
    ap_status status = AP_OK;
    watch->kept_step = step;
    if (keeps_best(stage, settings) && watch->best_step >= 0) {
        AP_TRY(ap_best_folder(stage->dir, stage->name, watch->best_step, &folder, err));
        AP_TRY(policy->load(policy->self, folder, err));
        watch->kept_step = watch->best_step;
    }
    tell(stage, settings, step);
out:
    ap_free(folder);
    return status;
}
