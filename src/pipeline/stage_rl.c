/* The stages that learn from reward: align (the prompter, or several one after another: those
 * before the stage's own are frozen, or all learn jointly) and rlhf (the target itself, math.md
 * (19)). */
#include "pipeline/run_inner.h"

#include "align/environment.h"
#include "align/loops.h"
#include "align/pass_text.h"
#include "align/policy_chain.h"
#include "align/policy_lm.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { CRITIC_RANK = 16 }; /* of a critic whose policy has no adapter to copy the rank from */

/* A policy of its own: the target in rlhf, one prompter in align. */
struct rl_pass {
    char stage[32]; /* its random streams' */
    struct ap_lm *lm;
    struct ap_owned_role policy, reference;
    struct ap_adapter *critic;
    struct ap_prompts
        prompts; /* of training, then the valid ones; of a later pass those of the step */
    struct ap_text_pass text;
    struct ap_lm_policy *lm_policy;
};

struct rl {
    const char *name; /* "align", "align-2" … | "rlhf" */
    const struct ap_rl_settings *settings;
    struct rl_pass passes[AP_PROMPTERS_MAX]; /* the first n_frozen only rewrite */
    int n_pass, n_frozen;
    int n_valid;             /* prompts behind those of training */
    struct ap_target target; /* align */
    struct ap_run_reward reward;
    struct ap_policy_chain *chain; /* of several */
};

static const struct {
    const char *algorithm;
    ap_status (*loop)(struct ap_stage *stage, struct ap_policy *policy, struct ap_environment *env,
                      const struct ap_rl_settings *settings, struct ap_error *err);
} loops[] = {{"rloo", ap_rloo}, {"grpo", ap_grpo}, {"ppo", ap_ppo}};

static void rl_free(struct rl *rl)
{
    ap_policy_chain_close(rl->chain);
    ap_target_free(&rl->target);
    ap_run_reward_close(&rl->reward);
    for (int i = 0; i < rl->n_pass; i++) {
        ap_lm_policy_close(rl->passes[i].lm_policy);
        ap_prompts_free(&rl->passes[i].prompts);
        ap_adapter_free(rl->passes[i].critic);
        ap_owned_role_free(&rl->passes[i].policy);
        ap_owned_role_free(&rl->passes[i].reference);
    }
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

static ap_status open_critic(struct ap_run *run, const struct rl *rl, struct rl_pass *pass,
                             const struct ap_adapter_settings *adapter, struct ap_error *err)
{
    struct ap_adapter_settings critic = ap_critic_adapter(adapter);
    if (strcmp(rl->settings->algorithm, "ppo") != 0)
        return AP_OK;
    return ap_adapter_new(&pass->critic, pass->reference.role.weights, &critic, true,
                          ap_run_rl_seed(run, rl->settings) + 1, err);
}

/* max_prompt: of prompts that change from step to step, else 0. */
static ap_status open_lm_policy(struct ap_run *run, const struct rl *rl, struct rl_pass *pass,
                                int max_prompt, int max_new_tokens, double temperature,
                                struct ap_error *err)
{
    const struct ap_rl_settings *s = rl->settings;
    struct ap_lm_policy_options options = {.lm = pass->lm,
                                           .prompts = &pass->prompts,
                                           .policy = pass->policy.role,
                                           .reference = pass->reference.role,
                                           .settings = s,
                                           .n_updates =
                                               (int64_t)s->steps * s->epochs * s->minibatches,
                                           .max_prompt = max_prompt,
                                           .frozen = pass < rl->passes + rl->n_frozen,
                                           .max_new_tokens = max_new_tokens,
                                           .n_slot = run->s->run.batch,
                                           .temperature = temperature,
                                           .seed = ap_run_rl_seed(run, s),
                                           .stage = pass->stage};
    if (pass->critic)
        options.critic = (struct ap_role){pass->reference.role.weights, pass->critic};
    return ap_lm_policy_open(&pass->lm_policy, &options, err);
}

static ap_status open_chain(struct rl *rl, struct ap_error *err)
{
    struct ap_chain_pass passes[AP_PROMPTERS_MAX];
    int max_row;
    for (int i = 0; i < rl->n_pass; i++)
        passes[i] = (struct ap_chain_pass){ap_lm_policy(rl->passes[i].lm_policy), ap_text_pass_see,
                                           &rl->passes[i].text};
    if (__builtin_mul_overflow(rl->settings->prompts, rl->settings->rewrites, &max_row))
        return ap_fail(err, AP_LIMIT, "%s: %d prompts of %d rewrites are too many for one step",
                       rl->name, rl->settings->prompts, rl->settings->rewrites);
    return ap_policy_chain_open(&rl->chain, passes, rl->n_pass, rl->n_frozen, max_row, err);
}

/* The results of the passes that were trained, the first one's, which says that all are there,
 * last. */
static ap_status finish(struct ap_run *run, const struct rl *rl, const struct ap_stage *stage,
                        int64_t n_empty, struct ap_error *err)
{
    ap_status status = AP_OK;
    char json[192];
    snprintf(json, sizeof(json),
             "{\"algorithm\": \"%s\", \"steps\": %d, \"empty\": %lld, \"kept_step\": %lld, "
             "\"ended\": \"%s\"}",
             rl->settings->algorithm, rl->settings->steps, (long long)n_empty,
             (long long)stage->watch.kept_step, stage->watch.ended ? stage->watch.ended : "steps");
    for (int i = rl->n_pass - 1; status == AP_OK && i >= rl->n_frozen; i--)
        status = ap_run_finish(run, i == rl->n_frozen ? rl->name : ap_run_pass_stage(i),
                               rl->passes[i].lm, &rl->passes[i].policy.role, json, err);
    return status;
}

/* Those of training and, behind them, those of validations; all seen through the stage's noise. */
static ap_status open_prompts(struct ap_run *run, struct rl *rl, const char *meta_prompt,
                              int max_new_tokens, struct ap_error *err)
{
    const struct ap_rl_settings *s = rl->settings;
    struct rl_pass *pass = &rl->passes[0];
    struct ap_prompts valid = {0};
    ap_status status = AP_OK;
    AP_TRY(ap_run_prompts(run, s->path, AP_SPLIT_TRAIN, pass->lm, meta_prompt, max_new_tokens, 0,
                          &pass->prompts, err));
    AP_TRY(ap_run_valid_prompts(run, s, pass->lm, meta_prompt, max_new_tokens, &valid, err));
    rl->n_valid = valid.n;
    if (valid.n > 0)
        AP_TRY(ap_prompts_append(&pass->prompts, &valid, err));
    AP_TRY(ap_prompts_add_noise(&pass->prompts, pass->lm, meta_prompt,
                                pass->lm->context - max_new_tokens, s->noise,
                                ap_run_rl_seed(run, s), err));
out:
    ap_prompts_free(&valid);
    return status;
}

static ap_status train(struct ap_run *run, struct rl *rl, struct ap_error *err)
{
    struct ap_stage stage = ap_run_begin(run, rl->name);
    struct ap_text_environment text = {.prompts = &rl->passes[0].prompts,
                                       .target = rl->target.self ? &rl->target : NULL,
                                       .reward = &rl->reward.reward,
                                       .n_answers = rl->settings->answers,
                                       .missing_end_penalty = rl->settings->missing_end_penalty,
                                       .seed = ap_run_rl_seed(run, rl->settings),
                                       .stage = rl->name,
                                       .n_valid = rl->n_valid};
    struct ap_policy policy =
        rl->chain ? ap_policy_chain(rl->chain) : ap_lm_policy(rl->passes[0].lm_policy);
    size_t k = 0;
    ap_status status = ap_run_valid_judges(run, rl->settings, &rl->reward, &text, err);
    if (status != AP_OK)
        return status;
    struct ap_environment env = ap_text_environment(&text);
    stage.seed = text.seed;
    while (strcmp(loops[k].algorithm, rl->settings->algorithm) != 0) /* the recipe knows no other */
        k++;
    status = loops[k].loop(&stage, &policy, &env, rl->settings, err);
    return status == AP_OK ? finish(run, rl, &stage, text.n_empty, err) : status;
}

/* ---- align ---- */

static void name_pass(const struct rl *rl, int k, struct rl_pass *pass)
{
    if (k < rl->n_frozen)
        snprintf(pass->stage, sizeof(pass->stage), "%s.pass-%d", rl->name, k + 1);
    else
        snprintf(pass->stage, sizeof(pass->stage), "%s", ap_run_pass_stage(k));
}

/* What a pass rewrites: prompts of the data set, or what the pass before writes in each step. */
static ap_status open_pass_prompts(struct ap_run *run, struct rl *rl, int k, struct ap_error *err)
{
    struct rl_pass *pass = &rl->passes[k];
    const char *meta = ap_run_pass_meta(run, k);
    int room = pass->lm->context - ap_run_prompter(run, k)->max_new_tokens;
    pass->text = (struct ap_text_pass){&rl->passes[0].prompts, &pass->prompts, pass->lm, meta,
                                       room > 1 ? room : 1};
    if (k > 0)
        return AP_OK;
    return open_prompts(run, rl, meta, ap_run_prompter(run, k)->max_new_tokens, err);
}

static ap_status open_pass(struct ap_run *run, struct rl *rl, int k, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct rl_pass *pass = &rl->passes[k];
    const struct ap_prompter_settings *p = ap_run_prompter(run, k);
    const char *from = ap_run_pass_sft(run, k);

    name_pass(rl, k, pass);
    AP_TRY(ap_run_lm(run, p->model, &pass->lm, err));
    if (k < rl->n_frozen) {
        AP_TRY(ap_run_role(run, pass->lm, &p->adapter, ap_run_pass_stage(k), &pass->policy, err));
    } else {
        AP_TRY(ap_run_role(run, pass->lm, &p->adapter, from, &pass->reference, err));
        AP_TRY(ap_run_policy(run, pass->lm, &p->adapter, from, &pass->policy, err));
        AP_TRY(open_critic(run, rl, pass, &p->adapter, err));
    }
    AP_TRY(open_pass_prompts(run, rl, k, err));
out:
    return status;
}

ap_status ap_run_stage_align(struct ap_run *run, int pass, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct rl rl = {.name = ap_run_pass_stage(pass), .settings = &run->s->align};
    struct ap_lm *target;

    rl.n_pass = ap_settings_joint(run->s) ? ap_run_n_passes(run) : pass + 1;
    rl.n_frozen = pass;
    for (int k = 0; k < rl.n_pass; k++)
        AP_TRY(open_pass(run, &rl, k, err));
    AP_TRY(ap_run_target_lm(run, &target, err));
    AP_TRY(ap_run_reward_open(run, true, &rl.reward, err));
    AP_TRY(ap_run_target(run, target, &(struct ap_role){target ? target->weights : NULL, NULL},
                         &rl.target, err));
    for (int k = 0; k < rl.n_pass; k++) {
        const struct ap_prompter_settings *p = ap_run_prompter(run, k);
        AP_TRY(open_lm_policy(run, &rl, &rl.passes[k], k > 0 ? rl.passes[k].text.max_tokens : 0,
                              p->max_new_tokens, p->temperature, err));
    }
    if (rl.n_pass > 1)
        AP_TRY(open_chain(&rl, err));
    AP_TRY(train(run, &rl, err));
out:
    rl_free(&rl);
    return status;
}

/* ---- rlhf ---- */

ap_status ap_run_stage_rlhf(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_target_settings *t = &run->s->target;
    struct rl rl = {.name = "rlhf", .settings = &run->s->rlhf, .n_pass = 1};
    struct rl_pass *pass = &rl.passes[0];

    if (t->temperature <= 0)
        return ap_fail(err, AP_INVALID,
                       "rlhf: target.temperature is 0, expected more: a policy that always takes "
                       "the likeliest token has nothing to learn from; raise it");
    snprintf(pass->stage, sizeof(pass->stage), "%s", rl.name);
    AP_TRY(ap_run_lm(run, t->model, &pass->lm, err));
    AP_TRY(ap_run_role(run, pass->lm, &t->adapter, NULL, &pass->reference, err));
    AP_TRY(ap_run_policy(run, pass->lm, &t->adapter, NULL, &pass->policy, err));
    AP_TRY(open_critic(run, &rl, pass, &t->adapter, err));
    AP_TRY(open_prompts(run, &rl, NULL, t->max_new_tokens, err));
    AP_TRY(ap_run_reward_open(run, true, &rl.reward, err));
    AP_TRY(open_lm_policy(run, &rl, pass, 0, t->max_new_tokens, t->temperature, err));
    AP_TRY(train(run, &rl, err));
out:
    rl_free(&rl);
    return status;
}
