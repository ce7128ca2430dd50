/* What each stage holds at its fullest (plan.h). The functions below follow the stage_*.c of their
 * names: a part that is opened there is added here. Entry point: ap_plan_make. */
#include "pipeline/plan.h"

#include "align/learner.h"
#include "align/policy_chain.h"
#include "align/policy_lm.h"
#include "base/memory.h"
#include "store/database.h"

#include <stdint.h>
#include <string.h>

static int larger(int a, int b)
{
    return a > b ? a : b;
}

static bool has_best_of(const struct ap_run *run)
{
    return strcmp(run->s->sft.source, "best-of-n") == 0;
}

static ap_status plan_pretrain(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_pretrain_settings *s = &p->run->s->pretrain;
    int rows = larger(s->optimiser.batch_tokens, p->facts->pretrain.longest);
    ap_status status = ap_plan_pretrained(p, s->model, err);
    if (status == AP_OK)
        status = ap_plan_tape(p, s->model, rows, 0, ap_learner_tape(&s->optimiser), err);
    ap_plan_add(p, AP_PLAN_DATA, p->facts->pretrain.bytes);
    return status;
}

static void sum_up(struct ap_plan_stage *stage)
{
    stage->sum = 0;
    for (int i = 0; i < AP_PLAN_PARTS; i++)
        stage->sum = ap_sum_bytes(stage->sum, stage->part[i]);
}

static ap_status train_reward(struct ap_planning *p, const struct ap_reward_settings *r,
                              struct ap_error *err)
{
    const struct ap_optimiser_settings *o = &p->run->s->reward_train.optimiser;
    int rows = larger(o->batch_tokens, p->facts->pairs.longest);
    struct ap_plan_learner how = {.trains = true, .with_head = strcmp(r->kind, "implicit") != 0};
    ap_status status = AP_OK;
    AP_TRY(ap_plan_model(p, r->model, err));
    AP_TRY(ap_plan_role(p, r->model, &r->adapter, how, err));
    AP_TRY(ap_plan_tape(p, r->model, rows, r->adapter.rank, ap_learner_tape(o), err));
out:
    return status;
}

/* Several are trained one after another; their models stay: the fullest on top of all of these. */
static ap_status plan_reward(struct ap_planning *p, struct ap_error *err)
{
    int n;
    const struct ap_reward_settings *r = ap_settings_rewards(p->run->s, &n);
    struct ap_plan_stage models, most;
    ap_status status = AP_OK;
    for (int i = 0; i < n; i++)
        if (ap_reward_is_trained(&r[i]))
            AP_TRY(ap_plan_model(p, r[i].model, err));
    ap_plan_add(p, AP_PLAN_DATA, p->facts->pairs.bytes);
    models = most = *p->now;
    for (int i = 0; i < n; i++) {
        if (!ap_reward_is_trained(&r[i]))
            continue;
        *p->now = models;
        AP_TRY(train_reward(p, &r[i], err));
        sum_up(p->now);
        if (p->now->sum > most.sum)
            most = *p->now;
    }
    *p->now = most;
out:
    return status;
}

static ap_status plan_best_of(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    ap_status status = AP_OK;
    AP_TRY(ap_plan_model(p, s->prompter.model, err));
    AP_TRY(ap_plan_model(p, ap_settings_target(s), err));
    AP_TRY(ap_plan_rewards(p, err));
    AP_TRY(ap_plan_generator(p, s->prompter.model, 0, 0, err));
    AP_TRY(ap_plan_generator(p, ap_settings_target(s), 0, 0, err));
    ap_plan_add(p, AP_PLAN_DATA, p->facts->best_of.bytes);
out:
    return status;
}

static ap_status plan_sft(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    const struct ap_prompter_settings *m = ap_run_prompter(p->run, ap_run_pass_of(p->now->name));
    int rows = larger(s->sft.optimiser.batch_tokens, p->facts->sft.longest);
    ap_status status = AP_OK;
    AP_TRY(ap_plan_model(p, m->model, err));
    AP_TRY(ap_plan_role(p, m->model, &m->adapter, (struct ap_plan_learner){.trains = true}, err));
    AP_TRY(
        ap_plan_tape(p, m->model, rows, m->adapter.rank, ap_learner_tape(&s->sft.optimiser), err));
    ap_plan_add(p, AP_PLAN_DATA, p->facts->sft.bytes);
out:
    return status;
}

/* ---- align and rlhf ---- */

struct rl {
    const struct ap_rl_settings *settings;
    const char *model;
    const struct ap_adapter_settings *adapter;
    const char *from; /* where policy and reference start */
    const struct ap_plan_texts *prompts;
    int max_new_tokens;
    bool frozen; /* only rewrites */
};

static ap_status plan_critic(struct ap_planning *p, const struct rl *rl, int rows,
                             struct ap_error *err)
{
    struct ap_adapter_settings critic = ap_critic_adapter(rl->adapter);
    struct ap_plan_learner how = {.trains = true, .with_head = true};
    if (strcmp(rl->settings->algorithm, "ppo") != 0)
        return AP_OK;
    ap_status status = ap_plan_role(p, rl->model, &critic, how, err);
    return status == AP_OK ? ap_plan_tape(p, rl->model, rows, critic.rank,
                                          ap_learner_tape(&rl->settings->optimiser), err)
                           : status;
}

static ap_status plan_policy(struct ap_planning *p, const struct rl *rl, struct ap_error *err)
{
    const struct ap_rl_settings *s = rl->settings;
    int longest = rl->prompts->longest + rl->max_new_tokens;
    int rows = larger(s->optimiser.batch_tokens, longest);
    size_t n_row = (size_t)s->prompts * (size_t)s->rewrites, n_token;
    struct ap_plan_learner frozen = {.from = rl->from},
                           learner = {.from = rl->from, .trains = true};
    ap_status status = AP_OK;
    AP_TRY(ap_plan_model(p, rl->model, err));
    AP_TRY(ap_plan_role(p, rl->model, rl->adapter, frozen, err));
    if (rl->frozen) {
        ap_plan_add(p, AP_PLAN_DATA, rl->prompts->bytes);
        return ap_plan_generator(p, rl->model, longest, rl->adapter->rank, err);
    }
    AP_TRY(ap_plan_role(p, rl->model, rl->adapter, learner, err));
    AP_TRY(plan_critic(p, rl, rows, err));
    AP_TRY(ap_plan_generator(p, rl->model, longest, rl->adapter->rank, err));
    AP_TRY(
        ap_plan_tape(p, rl->model, rows, rl->adapter->rank, ap_learner_tape(&s->optimiser), err));
    if (n_row > INT32_MAX || __builtin_mul_overflow(n_row, (size_t)rl->max_new_tokens, &n_token))
        ap_plan_add(p, AP_PLAN_DATA, SIZE_MAX);
    else
        ap_plan_add(p, AP_PLAN_DATA, ap_rollout_bytes((int)n_row, n_token));
    ap_plan_add(p, AP_PLAN_DATA, rl->prompts->bytes);
out:
    return status;
}

/* One prompter of a chain: a later one is given texts that are as long as may be. */
static ap_status plan_pass(struct ap_planning *p, int pass, int n_frozen, struct ap_error *err)
{
    const struct ap_rl_settings *s = &p->run->s->align;
    const struct ap_prompter_settings *m = ap_run_prompter(p->run, pass);
    const size_t n_row = (size_t)s->prompts * (size_t)s->rewrites;
    struct ap_plan_texts given = p->facts->align;
    struct rl rl = {s,      m->model,          &m->adapter,    ap_run_pass_sft(p->run, pass),
                    &given, m->max_new_tokens, pass < n_frozen};
    ap_status status = AP_OK;
    if (rl.frozen)
        rl.from = ap_run_pass_stage(pass);
    if (pass > 0) {
        AP_TRY(ap_plan_context(p, m->model, &given.longest, err));
        given.longest -= m->max_new_tokens;
        given.bytes = n_row * (sizeof(struct ap_prompt) +
                               ap_calloc_bytes((size_t)larger(given.longest, 1), sizeof(int32_t)));
    }
    AP_TRY(plan_policy(p, &rl, err));
    if (ap_run_n_passes(p->run) > 1 && n_row <= INT32_MAX)
        ap_plan_add(p, AP_PLAN_DATA, ap_policy_chain_bytes((int)n_row, m->max_new_tokens));
out:
    return status;
}

static ap_status plan_align(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    const int own = ap_run_pass_of(p->now->name);
    const int n = ap_settings_joint(s) ? ap_run_n_passes(p->run) : own + 1;
    ap_status status = AP_OK;
    for (int pass = 0; pass < n; pass++)
        AP_TRY(plan_pass(p, pass, own, err));
    AP_TRY(ap_plan_model(p, ap_settings_target(s), err));
    AP_TRY(ap_plan_rewards(p, err));
    AP_TRY(ap_plan_generator(p, ap_settings_target(s), 0, 0, err));
out:
    return status;
}

static ap_status plan_rlhf(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    struct rl rl = {&s->rlhf, ap_settings_target(s), &s->target.adapter,
                    NULL,     &p->facts->rlhf,       s->target.max_new_tokens,
                    false};
    ap_status status = plan_policy(p, &rl, err);
    return status == AP_OK ? ap_plan_rewards(p, err) : status;
}

/* ---- dpo and ift: the target on examples ---- */

static ap_status plan_target(struct ap_planning *p, const struct ap_optimiser_settings *optimiser,
                             const struct ap_plan_texts *texts, struct ap_error *err)
{
    const struct ap_target_settings *t = &p->run->s->target;
    int rows = larger(optimiser->batch_tokens, texts->longest);
    ap_status status = AP_OK;
    AP_TRY(ap_plan_model(p, t->model, err));
    AP_TRY(ap_plan_role(p, t->model, &t->adapter, (struct ap_plan_learner){.trains = true}, err));
    AP_TRY(ap_plan_tape(p, t->model, rows, t->adapter.rank, ap_learner_tape(optimiser), err));
    ap_plan_add(p, AP_PLAN_DATA, texts->bytes);
out:
    return status;
}

static ap_status plan_dpo(struct ap_planning *p, struct ap_error *err)
{
    return plan_target(p, &p->run->s->dpo.optimiser, &p->facts->dpo, err);
}

static ap_status plan_ift(struct ap_planning *p, struct ap_error *err)
{
    return plan_target(p, &p->run->s->ift.optimiser, &p->facts->ift, err);
}

/* ---- eval ---- */

/* The arms whose target is one that a stage has trained. */
static const char *const trained_targets[] = {"rlhf", "dpo", "ift"};

static bool has_trained_target(const char *arm)
{
    for (size_t i = 0; i < AP_LEN(trained_targets); i++)
        if (strcmp(arm, trained_targets[i]) == 0)
            return true;
    return false;
}

/* The KL of an arm's passes is measured one pass after another: the largest tape counts. */
static ap_status plan_pass_kl(struct ap_planning *p, int n_pass, struct ap_error *err)
{
    const size_t before = p->now->part[AP_PLAN_ACTIVATIONS];
    size_t most = before;
    ap_status status = AP_OK;
    for (int pass = 0; status == AP_OK && pass < n_pass; pass++) {
        const struct ap_prompter_settings *m = ap_run_prompter(p->run, pass);
        int longest = p->facts->eval_prompter.longest + m->max_new_tokens;
        if (pass > 0)
            status = ap_plan_context(p, m->model, &longest, err);
        p->now->part[AP_PLAN_ACTIVATIONS] = before;
        if (status == AP_OK)
            status =
                ap_plan_tape(p, m->model, larger(p->run->s->align.optimiser.batch_tokens, longest),
                             m->adapter.rank, AP_TAPE_FORWARD, err);
        if (p->now->part[AP_PLAN_ACTIVATIONS] > most)
            most = p->now->part[AP_PLAN_ACTIVATIONS];
    }
    p->now->part[AP_PLAN_ACTIVATIONS] = most;
    return status;
}

/* What one arm holds beside the roles. */
static ap_status plan_arm(struct ap_planning *p, const char *arm, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    bool trained = has_trained_target(arm);
    bool rewrites = !trained && strcmp(arm, "bare") != 0 && strcmp(arm, "best-of-n-answers") != 0;
    int target = trained ? s->target.adapter.rank : 0, n_pass = ap_run_arm_passes(p->run, arm);
    int rows = s->align.optimiser.batch_tokens;
    ap_status status = AP_OK;
    for (int pass = 0; rewrites && pass < n_pass; pass++) {
        const struct ap_prompter_settings *m = ap_run_prompter(p->run, pass);
        AP_TRY(ap_plan_generator(p, m->model, 0, m->adapter.rank, err));
    }
    AP_TRY(ap_plan_generator(p, ap_settings_target(s), 0, target, err));
    if (ap_run_is_align(arm))
        AP_TRY(plan_pass_kl(p, n_pass, err));
    if (trained)
        AP_TRY(ap_plan_tape(p, ap_settings_target(s),
                            larger(rows, p->facts->eval_target.longest + s->target.max_new_tokens),
                            target, AP_TAPE_FORWARD, err));
out:
    return status;
}

/* The fullest arm: they follow one another. */
static ap_status plan_arms(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_eval_settings *s = &p->run->s->eval;
    struct ap_plan_stage roles = *p->now, most = *p->now;
    ap_status status = AP_OK;
    sum_up(&most);
    for (int i = 0; status == AP_OK && i < s->n_arms; i++) {
        *p->now = roles;
        status = plan_arm(p, s->arms[i], err);
        sum_up(p->now);
        if (p->now->sum > most.sum)
            most = *p->now;
    }
    *p->now = most;
    return status;
}

/* The answers are there, and a judge's model stands alone: the fullest of all counts. */
static ap_status plan_judges(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    struct ap_plan_stage most = *p->now;
    const struct ap_plan_stage empty = {.name = most.name};
    ap_status status = AP_OK;
    sum_up(&most);
    for (int i = 0; status == AP_OK && i < s->n_judges; i++) {
        if (!ap_run_asks_judge(s, i) || !ap_judge_model(&s->judges[i])[0])
            continue;
        *p->now = empty;
        p->counted = 0;
        status = ap_plan_asker(p, &s->judges[i], p->facts->judges[i].longest, err);
        sum_up(p->now);
        if (p->now->sum > most.sum)
            most = *p->now;
    }
    *p->now = most;
    return status;
}

static ap_status plan_eval(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    const struct ap_adapter_settings *t = &s->target.adapter;
    const int n_pass = ap_run_n_passes(p->run);
    ap_status status = AP_OK;
    for (int pass = 0; pass < n_pass; pass++)
        AP_TRY(ap_plan_model(p, ap_run_prompter(p->run, pass)->model, err));
    AP_TRY(ap_plan_model(p, ap_settings_target(s), err));
    AP_TRY(ap_plan_rewards(p, err));
    for (int pass = 0; pass < n_pass; pass++) {
        const struct ap_prompter_settings *m = ap_run_prompter(p->run, pass);
        struct ap_plan_learner sft = {.from = ap_run_pass_sft(p->run, pass)},
                               align = {.from = ap_run_pass_stage(pass)};
        AP_TRY(ap_plan_role(p, m->model, &m->adapter, sft, err));
        if (ap_run_has_align_arm(p->run))
            AP_TRY(ap_plan_role(p, m->model, &m->adapter, align, err));
    }
    for (size_t i = 0; i < AP_LEN(trained_targets); i++)
        if (ap_run_has_arm(p->run, trained_targets[i]))
            AP_TRY(ap_plan_role(p, ap_settings_target(s), t,
                                (struct ap_plan_learner){.from = trained_targets[i]}, err));
    ap_plan_add(p, AP_PLAN_DATA, p->facts->eval_target.bytes);
    ap_plan_add(p, AP_PLAN_DATA, p->facts->eval_prompter.bytes);
    AP_TRY(plan_arms(p, err));
    AP_TRY(plan_judges(p, err));
out:
    return status;
}

/* ---- bound ---- */

/* Samples in flight: one step's prompts with all of their answers. */
static size_t bound_bytes(const struct ap_settings *s)
{
    const struct ap_bound_settings *b = &s->bound;
    size_t n_rewrite = (size_t)ap_bound_step(s) * (size_t)b->rewrites;
    size_t answer = sizeof(struct ap_answer) + sizeof(struct ap_scored) + 3 * sizeof(double) +
                    (size_t)s->target.max_new_tokens * (sizeof(int32_t) + 8);
    return n_rewrite * ((size_t)b->answers * answer +
                        (size_t)s->prompter.max_new_tokens * (sizeof(int32_t) + 8));
}

/* One policy at a time: a rewriter and the target, or two targets; and who weighs their texts. */
static ap_status plan_bound_pass(struct ap_planning *p, bool rlhf, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    int prompter = s->prompter.adapter.rank, target = rlhf ? s->target.adapter.rank : 0;
    int rows = s->align.optimiser.batch_tokens, answer = s->target.max_new_tokens;
    ap_status status = AP_OK;
    AP_TRY(ap_plan_generator(p, ap_settings_target(s), 0, 0, err));
    if (rlhf)
        AP_TRY(ap_plan_generator(p, ap_settings_target(s), 0, target, err));
    else
        AP_TRY(ap_plan_generator(p, s->prompter.model, 0, prompter, err));
    if (!rlhf && ap_run_bound_has_align(p->run))
        AP_TRY(ap_plan_tape(
            p, s->prompter.model,
            larger(rows, p->facts->bound_prompter.longest + s->prompter.max_new_tokens), prompter,
            AP_TAPE_FORWARD, err));
    if (!ap_run_no_logp(p->run)) /* behind x, or behind a rewrite of it */
        AP_TRY(ap_plan_tape(
            p, ap_settings_target(s),
            larger(rows, larger(p->facts->bound_target.longest,
                                p->facts->bound_prompter.longest + s->prompter.max_new_tokens) +
                             answer),
            target, AP_TAPE_FORWARD, err));
out:
    return status;
}

static ap_status plan_bound(struct ap_planning *p, struct ap_error *err)
{
    const struct ap_settings *s = p->run->s;
    const struct ap_adapter_settings *a = &s->prompter.adapter, *t = &s->target.adapter;
    struct ap_plan_stage roles, rewriting;
    ap_status status = AP_OK;
    AP_TRY(ap_plan_model(p, s->prompter.model, err));
    AP_TRY(ap_plan_model(p, ap_settings_target(s), err));
    AP_TRY(ap_plan_rewards(p, err));
    AP_TRY(ap_plan_role(p, s->prompter.model, a,
                        (struct ap_plan_learner){.from = ap_run_sft_stage(p->run)}, err));
    if (ap_run_bound_has_align(p->run))
        AP_TRY(
            ap_plan_role(p, s->prompter.model, a, (struct ap_plan_learner){.from = "align"}, err));
    if (ap_run_bound_has_rlhf(p->run))
        AP_TRY(ap_plan_role(p, ap_settings_target(s), t, (struct ap_plan_learner){.from = "rlhf"},
                            err));
    ap_plan_add(p, AP_PLAN_DATA, p->facts->bound_target.bytes);
    ap_plan_add(p, AP_PLAN_DATA, p->facts->bound_prompter.bytes);
    ap_plan_add(p, AP_PLAN_DATA, bound_bytes(s));
    roles = *p->now;
    AP_TRY(plan_bound_pass(p, false, err));
    if (ap_run_bound_has_rlhf(p->run)) {
        rewriting = *p->now;
        *p->now = roles;
        AP_TRY(plan_bound_pass(p, true, err));
        sum_up(&rewriting);
        sum_up(p->now);
        if (rewriting.sum > p->now->sum)
            *p->now = rewriting;
    }
out:
    return status;
}

/* ---- all of them ---- */

/* In the order of a run. `stage`: whose presence decides. */
static const struct row {
    const char *name, *stage;
    ap_status (*fn)(struct ap_planning *p, struct ap_error *err);
} rows[] = {
    {"pretrain", "pretrain", plan_pretrain},
    {"reward", "reward", plan_reward},
    {"best-of-n", "sft", plan_best_of},
    {"sft", "sft", plan_sft},
    {"sft-2", "sft-2", plan_sft},
    {"sft-3", "sft-3", plan_sft},
    {"sft-4", "sft-4", plan_sft},
    {"align", "align", plan_align},
    {"align-2", "align-2", plan_align},
    {"align-3", "align-3", plan_align},
    {"align-4", "align-4", plan_align},
    {"rlhf", "rlhf", plan_rlhf},
    {"dpo", "dpo", plan_dpo},
    {"ift", "ift", plan_ift},
    {"eval", "eval", plan_eval},
    {"bound", "bound", plan_bound},
};
_Static_assert(AP_LEN(rows) <= AP_PLAN_STAGES, "AP_PLAN_STAGES");

static ap_status plan_one(struct ap_planning *p, const struct row *row, struct ap_plan *plan,
                          struct ap_error *err)
{
    p->now = &plan->stages[plan->n];
    *p->now = (struct ap_plan_stage){.name = row->name};
    p->counted = 0;
    ap_status status = row->fn(p, err);
    if (status != AP_OK)
        return status;
    ap_plan_add(p, AP_PLAN_PROCESS, p->facts->process);
    ap_plan_add(p, AP_PLAN_PROCESS, AP_DATABASE_CACHE);
    sum_up(p->now);
    if (p->now->sum > plan->peak) {
        plan->peak = p->now->sum;
        plan->at = plan->n;
    }
    plan->n++;
    return AP_OK;
}

ap_status ap_plan_make(const struct ap_run *run, const struct ap_settings *s, const char *wanted,
                       struct ap_plan *plan, struct ap_error *err)
{
    struct ap_run under = *run; /* the same run under these settings; borrows everything */
    struct ap_planning p = {.run = &under, .facts = &plan->facts};
    ap_status status = AP_OK;
    under.s = s;
    plan->n = plan->at = 0;
    plan->peak = plan->facts.process;
    for (size_t i = 0; status == AP_OK && i < AP_LEN(rows); i++)
        if (ap_run_includes(run, wanted, rows[i].stage) &&
            (strcmp(rows[i].name, "best-of-n") != 0 || has_best_of(run)))
            status = plan_one(&p, &rows[i], plan, err);
    for (int i = 0; i < AP_MODELS_MAX; i++)
        ap_weights_free(p.shapes[i]);
    return status;
}
