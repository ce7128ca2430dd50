/* Evaluation: every arm on one fixed test split, its rows into run.db. math.md section 3. What is
 * made of them: run_report.c. */
#include "pipeline/run_inner.h"

#include "align/guard.h"
#include "base/clock.h"
#include "base/memory.h"
#include "eval/arms.h"
#include "eval/noisy.h"
#include "eval/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A prompter at its three ages. */
struct eval_pass {
    struct ap_lm *lm;
    struct ap_owned_role untrained, sft, aligned;
};

/* Everything an arm may need, opened once. */
struct eval {
    struct ap_run *run;
    struct eval_pass passes[AP_PROMPTERS_MAX];
    int n_pass;
    struct ap_lm *target;
    struct ap_prompts prompts,
        rewriter_prompts; /* the same test prompts, as target and prompter see them */
    struct ap_run_reward reward;
    struct ap_judge judges[AP_JUDGES_MAX];
    int n_judge;
    struct ap_owned_role base, rlhf, dpo, ift;
};

/* What answers and what scores; the prompts stay. */
static void close_arms(struct eval *e)
{
    ap_run_reward_close(&e->reward);
    for (int i = 0; i < e->n_pass; i++) {
        ap_owned_role_free(&e->passes[i].untrained);
        ap_owned_role_free(&e->passes[i].sft);
        ap_owned_role_free(&e->passes[i].aligned);
    }
    ap_owned_role_free(&e->base);
    ap_owned_role_free(&e->rlhf);
    ap_owned_role_free(&e->dpo);
    ap_owned_role_free(&e->ift);
}

static void eval_free(struct eval *e)
{
    close_arms(e);
    ap_prompts_free(&e->prompts);
    ap_prompts_free(&e->rewriter_prompts);
}

/* The sum, a member of it by its name, or NULL for the world. */
static const struct ap_reward *judge_of(const struct ap_run_reward *r, const char *name)
{
    for (int i = 0; i < r->n; i++)
        if (r->members[i].settings->name && strcmp(r->members[i].settings->name, name) == 0)
            return &r->members[i].reward;
    return strcmp(name, "world") == 0 ? NULL : &r->reward;
}

static ap_status open_judges(struct eval *e, struct ap_error *err)
{
    const struct ap_eval_settings *s = &e->run->s->eval;
    ap_status status = ap_run_reward_open(e->run, true, &e->reward, err);
    for (int i = 0; status == AP_OK && i < ap_settings_n_scoring(e->run->s); i++) {
        if (e->n_judge == AP_JUDGES_MAX)
            return ap_fail(err, AP_LIMIT, "eval.judges: more than %d judges", AP_JUDGES_MAX);
        e->judges[e->n_judge++] =
            (struct ap_judge){s->judges[i], judge_of(&e->reward, s->judges[i])};
    }
    return status;
}

/* What the stage of an arm's name left; nothing where the recipe has no such arm. */
static ap_status open_trained(struct eval *e, const char *arm, struct ap_lm *lm,
                              const struct ap_adapter_settings *adapter, struct ap_owned_role *out,
                              struct ap_error *err)
{
    return ap_run_has_arm(e->run, arm)
               ? ap_run_trained_role(e->run, lm, adapter, "eval.arms", arm, out, err)
               : AP_OK;
}

static ap_status open_pass(struct eval *e, int k, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct eval_pass *pass = &e->passes[k];
    const struct ap_adapter_settings *a = &ap_run_prompter(e->run, k)->adapter;
    AP_TRY(ap_run_role(e->run, pass->lm, a, NULL, &pass->untrained, err));
    AP_TRY(ap_run_role(e->run, pass->lm, a, ap_run_pass_sft(e->run, k), &pass->sft, err));
    if (ap_run_has_align_arm(e->run))
        AP_TRY(ap_run_trained_role(e->run, pass->lm, a, "eval.arms", ap_run_pass_stage(k),
                                   &pass->aligned, err));
out:
    return status;
}

static ap_status open_roles(struct eval *e, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_run *run = e->run;
    const struct ap_adapter_settings *t = &run->s->target.adapter;

    for (int k = 0; k < e->n_pass; k++)
        AP_TRY(open_pass(e, k, err));
    AP_TRY(ap_run_role(run, e->target, t, NULL, &e->base, err));
    AP_TRY(open_trained(e, "rlhf", e->target, t, &e->rlhf, err));
    AP_TRY(open_trained(e, "dpo", e->target, t, &e->dpo, err));
    AP_TRY(open_trained(e, "ift", e->target, t, &e->ift, err));
out:
    return status;
}

/* ---- one arm ---- */

/* The target itself was trained. */
static void use_target(struct eval *e, const struct ap_owned_role *trained, struct ap_arm *arm,
                       const struct ap_role **target)
{
    double temperature = e->run->s->target.temperature;
    *target = &trained->role;
    arm->kl_policy = trained->role;
    arm->kl_reference = e->base.role;
    arm->kl_temperature = temperature > 0 ? temperature : 1;
}

/* Its prompter of a pass; NULL where x goes to the target as it is. */
static const struct ap_role *rewriter_of(const struct eval *e, const char *arm, int pass)
{
    const struct eval_pass *p = &e->passes[pass];
    if (strcmp(arm, "instruct") == 0)
        return &p->untrained.role;
    if (strcmp(arm, "sft") == 0 || strcmp(arm, "best-of-n") == 0)
        return &p->sft.role;
    return ap_run_is_align(arm) ? &p->aligned.role : NULL;
}

/* Which roles an arm is made of, but for its rewriters. */
static void describe_arm(struct eval *e, const char *name, struct ap_arm *arm,
                         const struct ap_role **target)
{
    const struct ap_settings *s = e->run->s;
    *arm = (struct ap_arm){.name = name,
                           .rewriter_prompts = &e->rewriter_prompts,
                           .meta_prompt = ap_run_meta_prompt(e->run),
                           .n = 1};
    *target = &e->base.role;
    if (strcmp(name, "best-of-n") == 0 || strcmp(name, "best-of-n-answers") == 0)
        arm->n = s->eval.n;
    else if (ap_run_is_align(name)) {
        arm->kl_policy = e->passes[0].aligned.role;
        arm->kl_reference = e->passes[0].sft.role;
        arm->kl_temperature = s->eval.temperature > 0 ? s->eval.temperature : 1;
    } else if (strcmp(name, "rlhf") == 0)
        use_target(e, &e->rlhf, arm, target);
    else if (strcmp(name, "dpo") == 0)
        use_target(e, &e->dpo, arm, target);
    else if (strcmp(name, "ift") == 0)
        use_target(e, &e->ift, arm, target);
}

/* The prompters of an arm, opened to rewrite one after another. */
struct rewriters {
    struct ap_target targets[AP_PROMPTERS_MAX];
    struct ap_arm_pass more[AP_PROMPTERS_MAX - 1];
    int n;
};

static ap_status open_rewriters(struct eval *e, const char *name, struct ap_arm *arm,
                                struct rewriters *r, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_run *run = e->run;
    for (; rewriter_of(e, name, 0) && r->n < ap_run_arm_passes(run, name); r->n++) {
        const int k = r->n;
        const struct eval_pass *pass = &e->passes[k];
        int room = pass->lm->context - ap_run_prompter(run, k)->max_new_tokens;
        AP_TRY(ap_run_pass_rewriter(e->run, k, pass->lm, rewriter_of(e, name, k),
                                    run->s->eval.temperature, run->s->run.batch, &r->targets[k],
                                    err));
        if (k > 0)
            r->more[k - 1] = (struct ap_arm_pass){.rewriter = &r->targets[k],
                                                  .text = {.lm = pass->lm,
                                                           .meta_prompt = ap_run_pass_meta(run, k),
                                                           .max_tokens = room > 1 ? room : 1},
                                                  .kl_policy = pass->aligned.role,
                                                  .kl_reference = pass->sft.role};
    }
    arm->rewriter = r->n > 0 ? &r->targets[0] : NULL;
    arm->more = r->more;
    arm->n_more = r->n > 0 ? r->n - 1 : 0;
out:
    return status;
}

static void close_rewriters(struct rewriters *r)
{
    for (int i = 0; i < AP_PROMPTERS_MAX; i++)
        ap_target_free(&r->targets[i]);
}

/* One arm under one seed at one strength of noise. */
struct round {
    const char *arm;
    int64_t seed;
    double noise;
    struct ap_noisy_name name; /* in run.db */
};

/* The k-th of all: first those without noise. False past the last. */
static bool round_at(const struct ap_eval_settings *s, int k, struct round *out)
{
    int per = s->n_seeds * s->n_arms, level = k / per;
    const double *noise = s->noise;
    int n_noise = s->n_noise;
    if (n_noise > 0 && noise[0] <= 0) /* they rise: at most the first is the arm as it is */
        noise++, n_noise--;
    if (level > n_noise)
        return false;
    *out = (struct round){.arm = s->arms[k % s->n_arms],
                          .seed = s->seeds[k % per / s->n_arms],
                          .noise = level ? noise[level - 1] : 0};
    out->name = ap_noisy_name(out->arm, out->noise);
    return true;
}

static ap_status run_arm(struct eval *e, const struct round *round, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_arm arm;
    char **noisy = NULL;
    const struct ap_role *target;
    struct rewriters rewriters = {0};
    struct ap_target answerer = {0};
    struct ap_eval_options options = {.prompts = &e->prompts,
                                      .judges = e->judges,
                                      .n_judge = e->n_judge,
                                      .guard = &e->run->s->guard,
                                      .batch_tokens = e->run->s->align.optimiser.batch_tokens,
                                      .db = e->run->db,
                                      .sink = e->run->sink};

    describe_arm(e, round->arm, &arm, &target);
    arm.name = round->name.text;
    if (round->noise > 0) { /* the ids that a KL needs are those of the prompts without noise */
        arm.kl_policy = (struct ap_role){0};
        AP_TRY(ap_noisy_texts(&noisy, &e->prompts, round->noise, round->seed, err));
        options.noisy = noisy;
    }
    AP_TRY(open_rewriters(e, round->arm, &arm, &rewriters, err));
    AP_TRY(ap_run_target(e->run, e->target, target, &answerer, err));
    arm.target = &answerer;
    AP_TRY(ap_eval_arm(&options, &arm, round->seed, err));
out:
    ap_noisy_texts_free(noisy, e->prompts.n);
    close_rewriters(&rewriters);
    ap_target_free(&answerer);
    return status;
}

/* ---- under which settings the rows of run.db were made ---- */

static ap_status add_list(struct ap_buffer *out, char *const *list, int n, struct ap_error *err)
{
    ap_status status = AP_OK;
    for (int i = 0; status == AP_OK && i < n; i++)
        status = ap_buffer_printf(out, err, "%s,", list[i]);
    return status;
}

static ap_status add_guard(struct ap_buffer *out, const struct ap_guard_settings *s,
                           struct ap_error *err)
{
    ap_status status = AP_OK;
    if (!ap_guard_is_on(s))
        return AP_OK;
    AP_TRY(ap_buffer_puts(out, "guard ", err));
    AP_TRY(add_list(out, s->protect, s->n_protect, err));
    AP_TRY(ap_buffer_printf(out, err, " similarity %.17g growth %.17g length %d\n", s->similarity,
                            s->max_growth, s->max_length));
out:
    return status;
}

/* What the rows depend on; how they are resampled is no part of it. */
static ap_status write_stamp(const struct ap_run *run, struct ap_buffer *out, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_eval_settings *s = &run->s->eval;
    AP_TRY(add_list(out, s->judges, ap_settings_n_scoring(run->s), err));
    for (int i = 0; i < s->n_seeds; i++)
        AP_TRY(ap_buffer_printf(out, err, " %lld", (long long)s->seeds[i]));
    AP_TRY(ap_buffer_printf(out, err, " n %d prompts %lld temperature %.17g path %s\n", s->n,
                            (long long)s->prompts, s->temperature, s->path));
    AP_TRY(add_guard(out, &run->s->guard, err));
out:
    return status;
}

static bool stamp_agrees(const struct ap_run *run)
{
    struct ap_buffer now = {0};
    bool agrees = write_stamp(run, &now, NULL) == AP_OK &&
                  ap_run_stamp_agrees(run, "eval", "settings", &now) &&
                  ap_run_prompts_agree(run, "eval");
    ap_buffer_free(&now);
    return agrees;
}

struct arm_name {
    char arm[AP_NOISY_NAME_MAX];
    int64_t seed;
};

struct arm_names {
    struct arm_name items[AP_ARMS_MAX * AP_LIST_MAX * (1 + AP_LIST_MAX)];
    int n;
};

/* Rows come by arm and seed. */
static ap_status collect(void *context, const struct ap_evaluation_record *r)
{
    struct arm_names *names = context;
    const struct arm_name *last = names->n > 0 ? &names->items[names->n - 1] : NULL;
    if (last && last->seed == r->seed && strcmp(last->arm, r->arm) == 0)
        return AP_OK;
    if (names->n < (int)AP_LEN(names->items)) {
        snprintf(names->items[names->n].arm, sizeof(names->items[0].arm), "%s", r->arm);
        names->items[names->n++].seed = r->seed;
    }
    return AP_OK;
}

/* What run.db has rows of. Allocated (ap_free), also after an error. */
static ap_status read_names(const struct ap_run *run, struct arm_names **out, struct ap_error *err)
{
    *out = ap_calloc(1, sizeof(**out));
    return *out ? ap_database_each_evaluation(run->db, collect, *out, err)
                : ap_fail(err, AP_MEMORY, "eval: out of memory");
}

/* Rows that other settings or other prompts made are dropped before any new one is written. */
static ap_status renew_rows(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_buffer stamp = {0};
    struct arm_names *names = NULL;

    if (stamp_agrees(run))
        return AP_OK;
    AP_TRY(read_names(run, &names, err));
    for (int i = 0; i < names->n; i++)
        AP_TRY(ap_database_forget(run->db, names->items[i].arm, names->items[i].seed, err));
    AP_TRY(ap_run_prompts_put(run, "eval", err));
    AP_TRY(write_stamp(run, &stamp, err));
    AP_TRY(ap_run_stamp_put(run, "eval", "settings", &stamp, err));
out:
    ap_buffer_free(&stamp);
    ap_free(names);
    return status;
}

/* ---- which arms are there already ---- */

static bool is_there(const struct arm_names *names, const struct round *round)
{
    for (int i = 0; i < names->n; i++)
        if (names->items[i].seed == round->seed &&
            strcmp(names->items[i].arm, round->name.text) == 0)
            return true;
    return false;
}

bool ap_run_eval_done(const struct ap_run *run)
{
    struct arm_names *names = NULL;
    struct round round;
    bool done = ap_stage_done(&run->dir, "eval") && stamp_agrees(run) &&
                read_names(run, &names, NULL) == AP_OK;
    for (int k = 0; done && round_at(&run->s->eval, k, &round); k++)
        done = is_there(names, &round);
    ap_free(names);
    return done && ap_run_judges_done(run);
}

static ap_status run_arms(struct eval *e, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_eval_settings *s = &e->run->s->eval;
    struct arm_names *names = NULL;
    struct round round;
    int64_t step = 0, n_steps = 0;
    while (round_at(s, (int)n_steps, &round))
        n_steps++;
    double began = ap_clock_seconds();
    struct ap_event event = {.kind = AP_EVENT_BEGIN,
                             .stage = "eval",
                             .n_steps = n_steps,
                             .loss = NAN,
                             .reward = NAN,
                             .kl = NAN};

    AP_TRY(read_names(e->run, &names, err));
    ap_sink_event(e->run->sink, &event);
    event.kind = AP_EVENT_STEP;
    for (int k = 0; round_at(s, k, &round); k++) {
        if (!is_there(names, &round))
            AP_TRY(run_arm(e, &round, err));
        event.step = ++step;
        event.seconds = ap_clock_seconds() - began;
        ap_sink_event(e->run->sink, &event);
        if (step < n_steps && ap_sink_stopped(e->run->sink)) {
            status = ap_fail(err, AP_INTERRUPTED,
                             "eval: interrupted after %lld of %lld arms; the same command goes "
                             "on from there",
                             (long long)step, (long long)n_steps);
            goto out;
        }
    }
    event.kind = AP_EVENT_END;
    ap_sink_event(e->run->sink, &event);
out:
    ap_free(names);
    return status;
}

/* ---- the stage ---- */

ap_status ap_run_stage_eval(struct ap_run *run, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct eval e = {.run = run, .n_pass = ap_run_n_passes(run)};
    char json[64];

    for (int k = 0; k < e.n_pass; k++)
        AP_TRY(ap_run_lm(run, ap_run_prompter(run, k)->model, &e.passes[k].lm, err));
    AP_TRY(ap_run_target_lm(run, &e.target, err));
    AP_TRY(ap_run_test_prompts(run, e.target, e.passes[0].lm, run->s->eval.prompts, &e.prompts,
                               &e.rewriter_prompts, err));
    AP_TRY(open_judges(&e, err));
    AP_TRY(open_roles(&e, err));
    AP_TRY(renew_rows(run, err));
    AP_TRY(run_arms(&e, err));
    close_arms(&e);
    AP_TRY(ap_run_judges(run, &e.prompts, err));
    AP_TRY(ap_run_eval_events(run, err)); /* before DONE: a kill between them makes both again */
    snprintf(json, sizeof(json), "{\"prompts\": %d}", e.prompts.n);
    AP_TRY(ap_stage_finish(&run->dir, "eval", json, err));
out:
    eval_free(&e);
    return status;
}
