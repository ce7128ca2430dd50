/* The verbs of rl_common.h. */
#include "align/rl_common.h"

#include "align/loss.h"
#include "base/memory.h"
#include "base/random.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int at_least_one(int n)
{
    return n > 1 ? n : 1;
}

static ap_status open_work(struct ap_rl_work *w, const struct ap_policy *policy,
                           const struct ap_environment *env, int max_row, struct ap_error *err)
{
    size_t max_token = 0;
    if (policy->max_tokens < 1 ||
        __builtin_mul_overflow((size_t)max_row, (size_t)policy->max_tokens, &max_token))
        return ap_fail(err, AP_INVALID, "policy: max_tokens is %d, expected at least 1",
                       policy->max_tokens);
    ap_status status = ap_rollout_init(&w->rollout, max_row, max_token, err);
    w->prompts = ap_calloc((size_t)max_row, sizeof(*w->prompts));
    w->pass = ap_calloc((size_t)env->n_prompt, sizeof(*w->pass));
    w->rows = ap_calloc((size_t)max_row, sizeof(*w->rows));
    w->advantage = ap_calloc((size_t)max_row, sizeof(*w->advantage));
    if (env->n_judge > 0)
        w->judged = ap_calloc((size_t)max_row * (size_t)env->n_judge, sizeof(*w->judged));
    if (status == AP_OK &&
        !(w->prompts && w->pass && w->rows && w->advantage && (w->judged || env->n_judge < 1)))
        status = ap_fail(err, AP_MEMORY, "rollout of %d rows: out of memory", max_row);
    return status;
}

ap_status ap_rl_open(struct ap_rl_work *w, const struct ap_stage *stage,
                     const struct ap_policy *policy, const struct ap_environment *env,
                     const struct ap_rl_settings *settings, struct ap_error *err)
{
    int max_row;
    *w = (struct ap_rl_work){0};
    if (settings->valid_every > 0 && (env->n_valid < 1 || env->n_judge < 1))
        return ap_fail(err, AP_INVALID,
                       "%s: validations every %d steps are asked for, but there are %d valid "
                       "prompts and %d judges",
                       stage->name, settings->valid_every, (int)env->n_valid, env->n_judge);
    if (env->n_prompt < 1 || settings->prompts < 1)
        return ap_fail(err, AP_INVALID, "%s: %d prompts and %d in a step, expected at least one",
                       stage->name, (int)env->n_prompt, settings->prompts);
    w->n_prompt = settings->prompts;
    if (w->n_prompt > env->n_prompt) {
        w->n_prompt = env->n_prompt;
        ap_sink_warn(stage->sink, stage->name, "%d prompts a step are asked for, but there are %d",
                     settings->prompts, (int)env->n_prompt);
    }
    if (__builtin_mul_overflow(w->n_prompt, at_least_one(settings->rewrites), &max_row))
        return ap_fail(err, AP_INVALID, "%s: %d prompts of %d rewrites are too many for one step",
                       stage->name, w->n_prompt, settings->rewrites);
    w->n_minibatch = at_least_one(settings->minibatches);
    if (w->n_minibatch > max_row)
        w->n_minibatch = max_row;
    ap_status status = open_work(w, policy, env, max_row, err);
    if (status != AP_OK)
        ap_rl_close(w);
    return status;
}

void ap_rl_close(struct ap_rl_work *w)
{
    ap_rollout_free(&w->rollout);
    ap_free(w->prompts);
    ap_free(w->pass);
    ap_free(w->rows);
    ap_free(w->advantage);
    ap_free(w->judged);
    *w = (struct ap_rl_work){0};
}

/* A permutation of its own for every (seed, stage, purpose, turn). */
static void permute(const struct ap_stage *stage, const char *purpose, int64_t turn, int32_t *index,
                    int32_t n)
{
    char name[96];
    struct ap_random random;
    snprintf(name, sizeof(name), "%s.%s", stage->name, purpose);
    struct ap_stream stream = {
        .seed = stage->seed, .stage = ap_stream_stage(name), .record = (uint64_t)turn};
    for (int32_t i = 0; i < n; i++)
        index[i] = i;
    ap_random_init(&random, &stream);
    ap_random_shuffle(&random, index, n);
}

void ap_rl_prompts(struct ap_rl_work *w, const struct ap_stage *stage, int32_t n_prompt,
                   int64_t step)
{
    const int64_t steps_per_pass = n_prompt / w->n_prompt;
    const int64_t first = step % steps_per_pass * w->n_prompt;
    permute(stage, "prompts", step / steps_per_pass, w->pass, n_prompt);
    for (int i = 0; i < w->n_prompt; i++)
        w->prompts[i] = w->pass[first + i];
}

void ap_rl_order(const struct ap_stage *stage, int64_t epoch, int32_t *rows, int n)
{
    permute(stage, "minibatches", epoch, rows, n);
}

static void fill_kl(struct ap_rollout *r)
{
    for (int i = 0; i < r->n_row; i++) {
        struct ap_rollout_row *row = &r->rows[i];
        row->kl = 0;
        for (size_t t = row->first; t < row->first + (size_t)row->n; t++)
            row->kl += ap_kl_k3(r->logp_old[t], r->logp_ref[t]);
    }
}

ap_status ap_rl_logprobs(struct ap_policy *policy, struct ap_rollout *r, int32_t *rows,
                         struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < r->n_row; i++)
        rows[i] = i;
    for (int i = 0, n; i < r->n_row; i += n) {
        n = policy->fit(policy->self, r, rows + i, r->n_row - i);
        AP_TRY(
            policy->forward(policy->self, AP_POLICY, r, rows + i, n, r->logp_old, r->entropy, err));
        AP_TRY(policy->forward(policy->self, AP_REFERENCE, r, rows + i, n, r->logp_ref, NULL, err));
    }
    fill_kl(r);
out:
    return status;
}

/* AP_NUMERIC about one token of one row. */
static ap_status bad_token(const struct ap_stage *stage, const struct ap_rollout_row *row,
                           size_t token, int64_t step, double a, const char *whose_a, double b,
                           const char *whose_b, const char *remedy, struct ap_error *err)
{
    return ap_fail(
        err, AP_NUMERIC,
        "%s: step %lld: prompt %llu, sample %d, token %zu of %d: log-probability %.9g %s "
        "and %.9g %s; %s",
        stage->name, (long long)step, (unsigned long long)row->record, row->sample,
        token - row->first, row->n, a, whose_a, b, whose_b, remedy);
}

/* The first token of the row whose two log-probabilities are not within tolerance of each other, or
 * the end. */
static size_t find_apart(const struct ap_rollout_row *row, const double *a, const double *b,
                         double tolerance)
{
    const size_t end = row->first + (size_t)row->n;
    size_t t = row->first;
    while (t < end && fabs(a[t] - b[t]) <= tolerance) /* NaN is apart from everything */
        t++;
    return t;
}

ap_status ap_rl_check_kl(const struct ap_stage *stage, const struct ap_policy *policy,
                         const struct ap_rollout *r, int64_t step, struct ap_error *err)
{
    const double tolerance = step == 0 ? policy->tolerance : DBL_MAX; /* later: only finite */
    double kl = 0;
    for (int i = 0; i < r->n_row; i++) {
        const struct ap_rollout_row *row = &r->rows[i];
        size_t t = find_apart(row, r->logp_old, r->logp_ref, tolerance);
        if (t < row->first + (size_t)row->n)
            return bad_token(stage, row, t, step, r->logp_old[t], "under the policy",
                             r->logp_ref[t], "under the reference",
                             step == 0
                                 ? "before the first update both are one model: its adapter "
                                   "or weights differ from the reference's"
                                 : "expected finite numbers: the model has diverged; lower lr",
                             err);
        kl += row->kl / r->n_row;
    }
    if (kl >= -1e-6 && (step > 0 || kl <= policy->tolerance))
        return AP_OK;
    return ap_fail(
        err, AP_NUMERIC,
        "%s: step %lld: the mean KL is %.9g, expected %s; the log-probabilities of policy "
        "and reference do not belong to the same tokens",
        stage->name, (long long)step, kl,
        step == 0 ? "0 before the first update" : "no less than -1e-6");
}

ap_status ap_rl_check_ratio(const struct ap_stage *stage, const struct ap_policy *policy,
                            const struct ap_rollout *r, const int32_t *rows, int n_rows,
                            int64_t step, struct ap_error *err)
{
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        size_t t = find_apart(row, r->logp, r->logp_old, policy->tolerance);
        if (t < row->first + (size_t)row->n)
            return bad_token(stage, row, t, step, r->logp[t], "in the first minibatch",
                             r->logp_old[t], "after sampling",
                             "nothing was updated in between: the forward depends on its batch",
                             err);
    }
    return AP_OK;
}

/* Texts of a tabular world are not there. */
static ap_status measure_texts(const struct ap_environment *env, const struct ap_rollout *r,
                               double monitors[AP_MONITOR_COUNT], struct ap_error *err)
{
    struct ap_monitored sums = {0};
    ap_status status = AP_OK;
    for (int i = 0; status == AP_OK && i < r->n_row; i++) {
        const struct ap_rollout_row *row = &r->rows[i];
        const bool rewrites = row->answer != NULL;
        struct ap_monitor_text text = {
            .x = env->prompt_text ? env->prompt_text(env->self, row->prompt) : NULL,
            .rewrite = rewrites ? row->text : NULL,
            .answer = rewrites ? row->answer : row->text,
            .n_rewrite = row->n,
            .n_answer = rewrites ? row->n_answer : row->n,
            .ended = row->ended};
        if (text.answer)
            status = ap_monitored_add(&sums, &text, err);
    }
    for (int k = 0; k < AP_MONITOR_COUNT; k++)
        monitors[k] = ap_monitored_mean(&sums, (ap_monitor)k);
    return status;
}

ap_status ap_rl_measure(const struct ap_environment *env, const struct ap_rollout *r,
                        struct ap_rl_metrics *m, struct ap_error *err)
{
    *m = (struct ap_rl_metrics){
        .value_loss = NAN, .explained_variance = NAN, .lr = NAN, .lambda = NAN};
    for (int i = 0; i < r->n_row; i++) {
        m->reward += r->rows[i].score / r->n_row;
        m->kl += r->rows[i].kl / r->n_row;
        m->length += (double)r->rows[i].n / r->n_row;
        m->ended += (double)r->rows[i].ended / r->n_row;
    }
    for (size_t t = 0; t < r->n_token; t++)
        m->entropy += r->entropy[t] / (double)r->n_token;
    return measure_texts(env, r, m->monitors, err);
}

void ap_rl_poison(struct ap_rollout *r, const int32_t *rows, int n_rows, double loss)
{
    if (isfinite(loss))
        return;
    for (int i = 0; i < n_rows; i++)
        r->dlogp[r->rows[rows[i]].first] = NAN;
}

ap_status ap_rl_update(struct ap_stage *stage, struct ap_policy *policy, int64_t step,
                       int64_t update, double loss, double clip_fraction, double value_loss,
                       struct ap_rl_metrics *m, struct ap_error *err)
{
    struct ap_policy_update u = {0};
    char what[256];
    policy->update(policy->self, update, &u);
    m->lr = u.lr;
    if (u.skipped || !isfinite(loss)) {
        snprintf(what, sizeof(what), "%s%s%s", isfinite(loss) ? "" : "the loss",
                 !isfinite(loss) && u.skipped ? " and so the gradient of " : "",
                 u.skipped ? u.bad : "");
        return ap_stage_bad(stage, step, what, err);
    }
    ap_stage_good(stage);
    m->n_update++;
    m->loss += loss;
    m->clip_fraction += clip_fraction;
    m->grad_norm += u.grad_norm;
    m->value_loss = isnan(m->value_loss) ? value_loss : m->value_loss + value_loss;
    return AP_OK;
}

bool ap_rl_passed(struct ap_stage *stage, int64_t step, ap_monitor monitor, double value)
{
    const char *name = ap_monitor_name(monitor);
    const unsigned bit = 1U << monitor;
    if (!stage->monitor || isnan(value))
        return false;
    const struct ap_monitor_limits *l = &stage->monitor->limits[monitor];
    if (l->n > 1 && value > l->value[1]) {
        ap_sink_warn(
            stage->sink, stage->name,
            "step %lld: %s is %.4g, beyond the stop of monitor.%s, %g; the stage ends here. "
            "%s",
            (long long)step, name, value, name, l->value[1], ap_monitor_remedy(monitor));
        stage->watch.ended = name;
        return true;
    }
    if (l->n > 0 && value > l->value[0] && !(stage->watch.warned & bit)) {
        stage->watch.warned |= bit;
        ap_sink_warn(stage->sink, stage->name,
                     "step %lld: %s is %.4g, beyond the warning of monitor.%s, %g. %s",
                     (long long)step, name, value, name, l->value[0], ap_monitor_remedy(monitor));
    }
    return false;
}

bool ap_rl_too_far(struct ap_stage *stage, const struct ap_rl_settings *settings, int64_t step,
                   const struct ap_rl_metrics *m)
{
    const int n = (int)strcspn(stage->name, "-"); /* align-2 has the keys of align */
    for (int k = 0; k < AP_MONITOR_COUNT; k++)
        if (ap_rl_passed(stage, step, (ap_monitor)k, m->monitors[k]))
            return true;
    if (settings->kl_stop <= 0 || m->kl <= settings->kl_stop)
        return false;
    ap_sink_warn(stage->sink, stage->name,
                 "step %lld: the KL of %.3g nats passed %.*s.kl_stop, %.3g; the stage ends here. A "
                 "larger %.*s.kl or a lower lr goes less far",
                 (long long)step, m->kl, n, stage->name, settings->kl_stop, n, stage->name);
    stage->watch.ended = "kl_stop";
    return true;
}

static ap_status record_rows(const struct ap_stage *stage, const struct ap_environment *env,
                             const struct ap_rollout *r, int64_t step, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < r->n_row && status == AP_OK; i++) {
        const struct ap_rollout_row *row = &r->rows[i];
        const char *prompt = env->prompt_text ? env->prompt_text(env->self, row->prompt) : "";
        struct ap_rollout_record record = {.stage = stage->name,
                                           .step = step,
                                           .record = row->record,
                                           .sample = row->sample,
                                           .prompt = prompt ? prompt : "",
                                           .rewrite = row->answer ? row->text : NULL,
                                           .answer = row->answer ? row->answer : row->text,
                                           .reward = row->score,
                                           .kl = row->kl,
                                           .ended = row->ended};
        status = ap_database_rollout(stage->db, &record, err);
    }
    return status;
}

static void sums_to_means(struct ap_rl_metrics *m)
{
    const double n = m->n_update > 0 ? (double)m->n_update : (double)NAN; /* nothing was measured */
    m->loss /= n;
    m->clip_fraction /= n;
    m->grad_norm /= n;
    m->value_loss /= n;
}

ap_status ap_rl_score(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                      int64_t step, struct ap_rollout *r, struct ap_error *err)
{
    ap_status status = env->score(env->self, step, r, err);
    return status == AP_OK ? AP_OK
                           : ap_stage_cut(stage, status, step, policy->save, policy->self, err);
}

ap_status ap_rl_record(struct ap_stage *stage, const struct ap_environment *env,
                       const struct ap_rollout *r, int64_t step, struct ap_rl_metrics *m,
                       struct ap_error *err)
{
    sums_to_means(m);
    const struct {
        const char *name;
        double value;
    } metrics[] = {{"reward", m->reward},
                   {"kl", m->kl},
                   {"entropy", m->entropy},
                   {"length", m->length},
                   {"ended", m->ended},
                   {"loss", m->loss},
                   {"clip_fraction", m->clip_fraction},
                   {"grad_norm", m->grad_norm},
                   {"lr", m->lr},
                   {"value_loss", m->value_loss},
                   {"explained_variance", m->explained_variance},
                   {"lambda", m->lambda},
                   {"skipped", (double)stage->n_skipped}};
    ap_status status = AP_OK;
    if (!stage->db)
        return AP_OK;
    AP_TRY(ap_database_begin(stage->db, err));
    AP_TRY(record_rows(stage, env, r, step, err));
    for (size_t i = 0; i < AP_LEN(metrics); i++)
        AP_TRY(ap_stage_metric(stage, step, metrics[i].name, metrics[i].value, err));
    for (int k = 0; k < AP_MONITOR_COUNT; k++)
        AP_TRY(ap_stage_metric(stage, step, ap_monitor_name((ap_monitor)k), m->monitors[k], err));
    AP_TRY(ap_database_commit(stage->db, err));
out:
    return status;
}
