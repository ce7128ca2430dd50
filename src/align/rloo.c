/* RLOO, math.md (11): one visible loop. Entry point: ap_rloo. */
#include "align/loops.h"

#include "align/loss.h"
#include "align/rl_common.h"
#include "align/validate.h"

#include <math.h>

ap_status ap_rloo(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                  const struct ap_rl_settings *settings, struct ap_error *err)
{
    const struct ap_rl_settings *s = settings;
    struct ap_rl_work w = {0};
    struct ap_rollout *r = &w.rollout;
    ap_status status = AP_OK;
    int64_t step = 0;

    if (s->rewrites < 2)
        return ap_fail(
            err, AP_INVALID,
            "%s: rloo compares rewrites of one prompt, but %s.rewrites is %d; set 2 or more",
            stage->name, stage->name, s->rewrites);
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
        ap_rloo_advantage(r, stage->kl, w.advantage);

        for (int64_t epoch = step * s->epochs; epoch < (step + 1) * s->epochs; epoch++) {
            ap_rl_order(stage, epoch, w.rows, r->n_row);
            for (int b = 0, first = 0, next; b < w.n_minibatch; b++, first = next) {
                next = (int)((int64_t)r->n_row * (b + 1) / w.n_minibatch);
                const bool fresh = epoch == step * s->epochs && b == 0;
                double loss = 0, clipped = 0;
                for (int i = first, n; i < next; i += n) {
                    const int32_t *rows = w.rows + i;
                    n = policy->fit(policy->self, r, rows, next - i);
                    AP_TRY(
                        policy->forward(policy->self, AP_POLICY, r, rows, n, r->logp, NULL, err));
                    if (fresh)
                        AP_TRY(ap_rl_check_ratio(stage, policy, r, rows, n, step, err));
                    loss += ap_loss_rloo(r, rows, n, next - first, w.advantage, s->clip, &clipped);
                    ap_rl_poison(r, rows, n, loss);
                    AP_TRY(policy->backward(policy->self, r, rows, n, r->dlogp, NULL, err));
                }
                AP_TRY(ap_rl_update(stage, policy, step, epoch * w.n_minibatch + b, loss, clipped,
                                    NAN, &m, err));
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
