/* How far prompting can get: samples of ρ_sft, of the trained prompter and of the RLHF arm on test
 * prompts, into run.db's table bounds. One policy after another, a few prompts in a transaction, so
 * that a run that was stopped goes on with the next prompts. What is made of them: run_bound.c. */
#include "pipeline/run_inner.h"

#include "base/clock.h"
#include "base/memory.h"
#include "eval/bound_pass.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_POLICY = 3 };
static const char *const policies[N_POLICY] = {"sft", "align", "rlhf"};

struct bound {
    struct ap_run *run;
    struct ap_lm *prompter, *target;
    struct ap_prompts prompts, rewriter_prompts;
    struct ap_run_reward reward;
    struct ap_owned_role sft, aligned, base, rlhf;
    int64_t done, all; /* transactions, of all policies together */
    double began;
};

static void bound_free(struct bound *b)
{
    ap_prompts_free(&b->prompts);
    ap_prompts_free(&b->rewriter_prompts);
    ap_run_reward_close(&b->reward);
    ap_owned_role_free(&b->sft);
    ap_owned_role_free(&b->aligned);
    ap_owned_role_free(&b->base);
    ap_owned_role_free(&b->rlhf);
}

bool ap_run_bound_has_align(const struct ap_run *run)
{
    return ap_recipe_has(run->recipe, "align");
}

bool ap_run_bound_has_rlhf(const struct ap_run *run)
{
    return run->s->has_rlhf;
}

int ap_bound_step(const struct ap_settings *s)
{
    int n = s->run.batch / s->bound.rewrites;
    return n > 0 ? n : 1;
}

static bool has_policy(const struct ap_run *run, int policy)
{
    return policy == 0 || (policy == 1 ? ap_run_bound_has_align(run) : ap_run_bound_has_rlhf(run));
}

static ap_status open_roles(struct bound *b, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_run *run = b->run;
    const struct ap_adapter_settings *p = &run->s->prompter.adapter, *t = &run->s->target.adapter;
    AP_TRY(ap_run_role(run, b->prompter, p, ap_run_sft_stage(run), &b->sft, err));
    AP_TRY(ap_run_role(run, b->target, t, NULL, &b->base, err));
    if (ap_run_bound_has_align(run))
        AP_TRY(ap_run_trained_role(run, b->prompter, p, "bound", "align", &b->aligned, err));
    if (ap_run_bound_has_rlhf(run))
        AP_TRY(ap_run_trained_role(run, b->target, t, "bound", "rlhf", &b->rlhf, err));
out:
    return status;
}

/* ---- under which settings the samples were made ---- */

static ap_status write_stamp(const struct ap_run *run, struct ap_buffer *out, struct ap_error *err)
{
    const struct ap_bound_settings *s = &run->s->bound;
    return ap_buffer_printf(out, err,
                            "prompts %lld rewrites %d answers %d scored %d seed %lld align %d rlhf "
                            "%d path %s\n",
                            (long long)s->prompts, s->rewrites, s->answers, s->scored,
                            (long long)s->seed, ap_run_bound_has_align(run),
                            ap_run_bound_has_rlhf(run), run->s->eval.path);
}

static bool stamp_agrees(const struct ap_run *run)
{
    struct ap_buffer now = {0};
    bool agrees = write_stamp(run, &now, NULL) == AP_OK &&
                  ap_run_stamp_agrees(run, "bound", "settings", &now) &&
                  ap_run_prompts_agree(run, "bound");
    ap_buffer_free(&now);
    return agrees;
}

bool ap_run_bound_done(const struct ap_run *run)
{
    return ap_stage_done(&run->dir, "bound") && stamp_agrees(run);
}

/* DONE goes first and the stamp comes last: a kill between them makes all of it again. */
static ap_status renew_rows(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer stamp = {0};
    char *folder = NULL;

    if (stamp_agrees(run))
        return AP_OK;
    if (!(folder = ap_run_dir_path(&run->dir, "bound", "")))
        return ap_fail(err, AP_MEMORY, "bound: out of memory");
    AP_TRY(ap_dir_remove(folder, err));
    AP_TRY(ap_database_forget_bounds(run->db, err));
    AP_TRY(ap_run_prompts_put(run, "bound", err));
    AP_TRY(write_stamp(run, &stamp, err));
    AP_TRY(ap_run_stamp_put(run, "bound", "settings", &stamp, err));
out:
    ap_buffer_free(&stamp);
    ap_free(folder);
    return status;
}

/* ---- one policy ---- */

/* The prompts are sampled in their order: what is there is the beginning. */
struct counting {
    const char *policy;
    uint64_t last;
    int n;
};

static ap_status count_prompts(void *context, const struct ap_bound_record *r)
{
    struct counting *c = context;
    if (strcmp(r->policy, c->policy) == 0 && (c->n == 0 || r->record != c->last)) {
        c->last = r->record;
        c->n++;
    }
    return AP_OK;
}

static ap_status show_step(struct bound *b, enum ap_event_kind kind, struct ap_error *err)
{
    struct ap_event event = {.kind = kind,
                             .stage = "bound",
                             .step = b->done,
                             .n_steps = b->all,
                             .loss = NAN,
                             .reward = NAN,
                             .kl = NAN,
                             .seconds = ap_clock_seconds() - b->began};
    ap_sink_event(b->run->sink, &event);
    if (kind == AP_EVENT_STEP && b->done < b->all && ap_sink_stopped(b->run->sink))
        return ap_fail(err, AP_INTERRUPTED,
                       "bound: interrupted after %lld of %lld steps; the same command goes on "
                       "from there",
                       (long long)b->done, (long long)b->all);
    return AP_OK;
}

static int n_steps(int n_prompt, int step)
{
    return (n_prompt + step - 1) / step;
}

static ap_status sample(struct bound *b, const struct ap_bound_pass *pass, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct counting there = {.policy = pass->policy};
    const int n = b->prompts.n, step = ap_bound_step(b->run->s);
    AP_TRY(ap_database_each_bound(b->run->db, count_prompts, &there, err));
    b->done += n_steps(there.n, step);
    for (int first = there.n; first < n; first += step) {
        AP_TRY(ap_bound_pass(pass, first, n - first < step ? n - first : step, err));
        b->done++;
        AP_TRY(show_step(b, AP_EVENT_STEP, err));
    }
out:
    return status;
}

static ap_status run_policy(struct bound *b, int policy, struct ap_error *err)
{
    struct ap_run *run = b->run;
    const struct ap_settings *s = run->s;
    const struct ap_owned_role *writer = policy == 1 ? &b->aligned : &b->sft;
    struct ap_target rewriter = {0}, target = {0}, rlhf = {0};
    struct ap_bound_pass pass = {.policy = policies[policy],
                                 .target = policy == 2 ? &rlhf : &target,
                                 .bare = &target,
                                 .prompts = &b->prompts,
                                 .rewriter_prompts = &b->rewriter_prompts,
                                 .meta_prompt = ap_run_meta_prompt(run),
                                 .reward = &b->reward.reward,
                                 .kl_temperature = s->prompter.temperature,
                                 .batch_tokens = s->align.optimiser.batch_tokens,
                                 .n_rewrite = s->bound.rewrites,
                                 .n_answer = s->bound.answers,
                                 .n_scored = policy == 0 ? s->bound.scored : 0,
                                 .seed = (uint64_t)s->bound.seed,
                                 .db = run->db};
    ap_status status = AP_OK;

    AP_TRY(ap_run_target(run, b->target, &b->base.role, &target, err));
    if (policy == 2) { /* as many answers to x as those of the rewrites that are weighed */
        AP_TRY(ap_run_target(run, b->target, &b->rlhf.role, &rlhf, err));
        pass.n_rewrite = 1;
        pass.n_answer = pass.n_scored = s->bound.rewrites * s->bound.scored;
    } else {
        AP_TRY(ap_run_rewriter(run, b->prompter, &writer->role, s->prompter.temperature,
                               s->run.batch, &rewriter, err));
        pass.rewriter = &rewriter;
    }
    if (policy == 1) {
        pass.kl_policy = b->aligned.role;
        pass.kl_reference = b->sft.role;
    }
    AP_TRY(sample(b, &pass, err));
out:
    ap_target_free(&rewriter);
    ap_target_free(&target);
    ap_target_free(&rlhf);
    return status;
}

/* ---- the stage ---- */

ap_status ap_run_stage_bound(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct bound b = {.run = run, .began = ap_clock_seconds()};
    char json[64];

    AP_TRY(ap_run_lm(run, run->s->prompter.model, &b.prompter, err));
    AP_TRY(ap_run_target_lm(run, &b.target, err));
    AP_TRY(ap_run_test_prompts(run, b.target, b.prompter, run->s->bound.prompts, &b.prompts,
                               &b.rewriter_prompts, err));
    AP_TRY(ap_run_reward_open(run, true, &b.reward, err));
    AP_TRY(open_roles(&b, err));
    AP_TRY(renew_rows(run, err));
    for (int i = 0; i < N_POLICY; i++)
        b.all += has_policy(run, i) ? n_steps(b.prompts.n, ap_bound_step(run->s)) : 0;
    AP_TRY(show_step(&b, AP_EVENT_BEGIN, err));
    for (int i = 0; i < N_POLICY; i++)
        if (has_policy(run, i))
            AP_TRY(run_policy(&b, i, err));
    AP_TRY(show_step(&b, AP_EVENT_END, err));
    AP_TRY(ap_run_bound_write(run, err));
    snprintf(json, sizeof(json), "{\"prompts\": %d}", b.prompts.n);
    AP_TRY(ap_stage_finish(&run->dir, "bound", json, err));
out:
    bound_free(&b);
    return status;
}
