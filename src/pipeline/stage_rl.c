/* The stages that learn from reward: align (the prompter) and rlhf (the target itself, math.md
 * (19)). */
#include "pipeline/run_inner.h"

#include "align/environment.h"
#include "align/loops.h"
#include "align/policy_lm.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { CRITIC_RANK = 16 }; /* of a critic whose policy has no adapter to copy the rank from */

struct rl {
    const char *name; /* "align" | "rlhf" */
    const struct ap_rl_settings *settings;
    struct ap_lm *lm; /* of the policy */
    struct ap_owned_role policy, reference;
    struct ap_adapter *critic;
    struct ap_prompts prompts; /* of training, then n_valid others */
    int n_valid;
    struct ap_target target; /* align */
    struct ap_run_reward reward;
    struct ap_lm_policy *lm_policy;
};

static const struct {
    const char *algorithm;
    ap_status (*loop)(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                      const struct ap_rl_settings *settings, struct ap_error *err);
} loops[] = {{"rloo", ap_rloo}, {"grpo", ap_grpo}, {"ppo", ap_ppo}};

static void rl_free(struct rl *rl)
{
    ap_lm_policy_close(rl->lm_policy);
    ap_target_free(&rl->target);
    ap_run_reward_close(&rl->reward);
    ap_prompts_free(&rl->prompts);
    ap_adapter_free(rl->critic);
    ap_owned_role_free(&rl->policy);
    ap_owned_role_free(&rl->reference);
}

struct ap_adapter_settings ap_critic_adapter(const struct ap_adapter_settings *policy)
{
    struct ap_adapter_settings critic = *policy;
    if (critic.rank == 0) {
        critic.rank = CRITIC_RANK;
        critic.alpha = 2 * CRITIC_RANK;
        critic.targets = "all-linear";
    }
    return critic;
}

static ap_status open_critic(struct ap_run *run, struct rl *rl,
                             const struct ap_adapter_settings *adapter, struct ap_error *err)
{
    struct ap_adapter_settings critic = ap_critic_adapter(adapter);
    if (strcmp(rl->settings->algorithm, "ppo") != 0)
        return AP_OK;
    return ap_adapter_new(&rl->critic, rl->reference.role.weights, &critic, true,
                          ap_run_rl_seed(run, rl->settings) + 1, err);
}

static ap_status open_lm_policy(struct ap_run *run, struct rl *rl, int max_new_tokens,
                                double temperature, struct ap_error *err)
{
    const struct ap_rl_settings *s = rl->settings;
    struct ap_lm_policy_options options = {.lm = rl->lm,
                                           .prompts = &rl->prompts,
                                           .policy = rl->policy.role,
                                           .reference = rl->reference.role,
                                           .settings = s,
                                           .n_updates =
                                               (int64_t)s->steps * s->epochs * s->minibatches,
                                           .max_new_tokens = max_new_tokens,
                                           .n_slot = run->s->run.batch,
                                           .temperature = temperature,
                                           .seed = ap_run_rl_seed(run, s),
                                           .stage = rl->name};
    if (rl->critic)
        options.critic = (struct ap_role){rl->reference.role.weights, rl->critic};
    return ap_lm_policy_open(&rl->lm_policy, &options, err);
}

/* Those of training and, behind them, those of validations; all seen through the stage's noise. */
static ap_status open_prompts(struct ap_run *run, struct rl *rl, const char *meta_prompt,
                              int max_new_tokens, struct ap_error *err)
{
    const struct ap_rl_settings *s = rl->settings;
    struct ap_prompts valid = {0};
    ap_status status = AP_OK;
    AP_TRY(ap_run_prompts(run, s->path, AP_SPLIT_TRAIN, rl->lm, meta_prompt, max_new_tokens, 0,
                          &rl->prompts, err));
    AP_TRY(ap_run_valid_prompts(run, s, rl->lm, meta_prompt, max_new_tokens, &valid, err));
    rl->n_valid = valid.n;
    if (valid.n > 0)
        AP_TRY(ap_prompts_append(&rl->prompts, &valid, err));
    AP_TRY(ap_prompts_add_noise(&rl->prompts, rl->lm, meta_prompt, rl->lm->context - max_new_tokens,
                                s->noise, ap_run_rl_seed(run, s), err));
out:
    ap_prompts_free(&valid);
    return status;
}

static ap_status train(struct ap_run *run, struct rl *rl, struct ap_error *err)
{
    struct ap_stage stage = ap_run_begin(run, rl->name);
    struct ap_text_environment text = {.prompts = &rl->prompts,
                                       .target = rl->target.self ? &rl->target : NULL,
                                       .reward = &rl->reward.reward,
                                       .n_answers = rl->settings->answers,
                                       .missing_end_penalty = rl->settings->missing_end_penalty,
                                       .seed = ap_run_rl_seed(run, rl->settings),
                                       .stage = rl->name,
                                       .n_valid = rl->n_valid};
    struct ap_policy policy = ap_lm_policy(rl->lm_policy);
    char json[192];
    size_t k = 0;
    ap_status status = ap_run_valid_judges(run, rl->settings, &rl->reward, &text, err);
    if (status != AP_OK)
        return status;
    struct ap_environment env = ap_text_environment(&text);
    stage.seed = text.seed;
    while (strcmp(loops[k].algorithm, rl->settings->algorithm) != 0) /* the recipe knows no other */
        k++;
    status = loops[k].loop(&stage, &policy, &env, rl->settings, err);
    if (status != AP_OK)
        return status;
    snprintf(json, sizeof(json),
             "{\"algorithm\": \"%s\", \"steps\": %d, \"empty\": %lld, \"kept_step\": %lld, "
             "\"ended\": \"%s\"}",
             rl->settings->algorithm, rl->settings->steps, (long long)text.n_empty,
             (long long)stage.watch.kept_step, stage.watch.ended ? stage.watch.ended : "steps");
    return ap_run_finish(run, rl->name, rl->lm, &rl->policy.role, json, err);
}

ap_status ap_run_stage_align(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_prompter_settings *p = &run->s->prompter;
    const char *from = ap_run_sft_stage(run);
    struct rl rl = {.name = "align", .settings = &run->s->align};
    struct ap_lm *target;

    AP_TRY(ap_run_lm(run, p->model, &rl.lm, err));
    AP_TRY(ap_run_lm(run, run->s->target.model, &target, err));
    AP_TRY(ap_run_role(run, rl.lm, &p->adapter, from, &rl.reference, err));
    AP_TRY(ap_run_policy(run, rl.lm, &p->adapter, from, &rl.policy, err));
    AP_TRY(open_critic(run, &rl, &p->adapter, err));
    AP_TRY(open_prompts(run, &rl, ap_run_meta_prompt(run), p->max_new_tokens, err));
    AP_TRY(ap_run_reward_open(run, true, &rl.reward, err));
    AP_TRY(ap_run_target(run, target, &(struct ap_role){target->weights, NULL}, &rl.target, err));
    AP_TRY(open_lm_policy(run, &rl, p->max_new_tokens, p->temperature, err));
    AP_TRY(train(run, &rl, err));
out:
    rl_free(&rl);
    return status;
}

ap_status ap_run_stage_rlhf(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_target_settings *t = &run->s->target;
    struct rl rl = {.name = "rlhf", .settings = &run->s->rlhf};

    if (t->temperature <= 0)
        return ap_fail(err, AP_INVALID,
                       "rlhf: target.temperature is 0, expected more: a policy that always takes "
                       "the likeliest token has nothing to learn from; raise it");
    AP_TRY(ap_run_lm(run, t->model, &rl.lm, err));
    AP_TRY(ap_run_role(run, rl.lm, &t->adapter, NULL, &rl.reference, err));
    AP_TRY(ap_run_policy(run, rl.lm, &t->adapter, NULL, &rl.policy, err));
    AP_TRY(open_critic(run, &rl, &t->adapter, err));
    AP_TRY(open_prompts(run, &rl, NULL, t->max_new_tokens, err));
    AP_TRY(ap_run_reward_open(run, true, &rl.reward, err));
    AP_TRY(open_lm_policy(run, &rl, t->max_new_tokens, t->temperature, err));
    AP_TRY(train(run, &rl, err));
out:
    rl_free(&rl);
    return status;
}
