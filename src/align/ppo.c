/* PPO with a critic, math.md (10): one visible loop. Entry point: ap_ppo. */
#include "align/loops.h"

#include "align/loss.h"
#include "align/rl_common.h"
#include "align/validate.h"

#include <math.h>

/* V of every token under the critic as it is. rows: scratch. */
static ap_status old_values(struct ap_policy *policy, struct ap_rollout *r, int32_t *rows,
                            struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; i < r->n_row; i++)
        rows[i] = i;
    for (int i = 0, n; i < r->n_row && status == AP_OK; i += n) {
        n = policy->fit(policy->self, r, rows + i, r->n_row - i);
        status = policy->value(policy->self, r, rows + i, n, r->value_old, err);
    }
    return status;
}

/* 1 − Var(G − V)/Var(G) over tokens; NaN when the returns do not vary. */
static double explained_variance(const struct ap_rollout *r)
{
    const double n = (double)r->n_token;
    double sum_g = 0, sum_e = 0, var_g = 0, var_e = 0;
    for (size_t t = 0; t < r->n_token; t++) {
        sum_g += r->returns[t];
        sum_e += r->returns[t] - r->value_old[t];
    }
    for (size_t t = 0; t < r->n_token; t++) {
        double g = r->returns[t] - sum_g / n, e = r->returns[t] - r->value_old[t] - sum_e / n;
        var_g += g * g;
        var_e += e * e;
    }
    return var_g > 0 ? 1 - var_e / var_g : NAN;
}

static double count_tokens(const struct ap_rollout *r, const int32_t *rows, int n_rows)
{
    double n = 0;
    for (int i = 0; i < n_rows; i++)
        n += r->rows[rows[i]].n;
    return n;
}

ap_status ap_ppo(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                 const struct ap_rl_settings *settings, struct ap_error *err)
{
    const struct ap_rl_settings *s = settings;
    struct ap_rl_work w = {0};
    struct ap_rollout *r = &w.rollout;
    ap_status status = AP_OK;
    int64_t step = 0;

    if (!policy->value || s->rewrites < 1)
        return ap_fail(
            err, AP_INVALID,
            "%s: ppo needs a critic and at least one rewrite, but there is %s critic and "
            "%s.rewrites is %d",
            stage->name, policy->value ? "a" : "no", stage->name, s->rewrites);
    AP_TRY(ap_rl_open(&w, stage, policy, env, s, err));
    stage->kl = s->kl;
    AP_TRY(ap_stage_begin(stage, s->steps, policy->load, policy->self, &step, err));
    AP_TRY(ap_rl_validate(&w, stage, policy, env, s, step, err));
    for (; step < s->steps && !stage->watch.ended; step++) {
        struct ap_rl_metrics m;
        ap_rl_prompts(&w, stage, env->n_prompt, step);
        AP_TRY(policy->sample(policy->self, w.prompts, w.n_prompt, s->rewrites, step, r, err));
        AP_TRY(ap_rl_logprobs(policy, r, w.rows, err));
        AP_TRY(ap_rl_check_kl(stage, policy, r, step, err));
        AP_TRY(ap_rl_score(stage, policy, env, step, r, err));
        AP_TRY(ap_rl_measure(env, r, &m, err));
        m.lambda = s->kl_target > 0 ? stage->kl : NAN;
        if (ap_rl_too_far(stage, s, step, &m)) {
            AP_TRY(ap_rl_record(stage, env, r, step, &m, err));
            break;
        }
        AP_TRY(old_values(policy, r, w.rows, err));
        ap_gae(r, stage->kl, s->gamma, s->gae_lambda);
        m.explained_variance = explained_variance(r);
        ap_whiten(r->advantage, r->n_token);

        for (int64_t epoch = step * s->epochs; epoch < (step + 1) * s->epochs; epoch++) {
            ap_rl_order(stage, epoch, w.rows, r->n_row);
            for (int b = 0, first = 0, next; b < w.n_minibatch; b++, first = next) {
                next = (int)((int64_t)r->n_row * (b + 1) / w.n_minibatch);
                const bool fresh = epoch == step * s->epochs && b == 0;
                const double n_token = count_tokens(r, w.rows + first, next - first);
                const double *dentropy = s->entropy_weight != 0 ? r->dentropy : NULL;
                struct ap_ppo_stats stats = {0};
                double loss = 0;
                for (int i = first, n; i < next; i += n) {
                    const int32_t *rows = w.rows + i;
                    n = policy->fit(policy->self, r, rows, next - i);
                    AP_TRY(policy->forward(policy->self, AP_POLICY, r, rows, n, r->logp,
                                           dentropy ? r->entropy : NULL, err));
                    if (fresh)
                        AP_TRY(ap_rl_check_ratio(stage, policy, r, rows, n, step, err));
                    loss +=
                        ap_loss_ppo_policy(r, rows, n, n_token, s->clip, s->entropy_weight, &stats);
                    ap_rl_poison(r, rows, n, loss);
                    AP_TRY(policy->backward(policy->self, r, rows, n, r->dlogp, dentropy, err));
                    AP_TRY(policy->value(policy->self, r, rows, n, r->value, err));
                    loss += ap_loss_ppo_value(r, rows, n, n_token, s->value_clip, s->value_weight,
                                              &stats);
                    AP_TRY(policy->value_backward(policy->self, r, rows, n, r->dvalue, err));
                }
                AP_TRY(ap_rl_update(stage, policy, step, epoch * w.n_minibatch + b, loss,
                                    stats.clip_fraction, stats.value_loss, &m, err));
            }
        }
        AP_TRY(ap_rl_record(stage, env, r, step, &m, err));
        if (s->kl_target > 0)
            stage->kl = ap_adaptive_kl(stage->kl, m.kl, s->kl_target, s->kl_horizon, r->n_row);
        AP_TRY(ap_stage_step(stage, step, m.loss, m.reward, m.kl, (int64_t)r->n_token, policy->save,
                             policy->self, err));
        AP_TRY(ap_rl_validate(&w, stage, policy, env, s, step + 1, err));
    }
    AP_TRY(ap_rl_keep(stage, policy, s, step, err));
    ap_stage_end(stage);
out:
    ap_rl_close(&w);
    return status;
}
