/* Arms (arms.h): rewrite where the arm has a rewriter, guard, answer, score, write rows. */
#include "eval/arms.h"

#include "align/guard.h"
#include "align/kl.h"
#include "base/memory.h"
#include "text/sequence.h"
#include "world/world.h"

#include <math.h>
#include <stdio.h>

/* What became of a rewrite: used, or why x is sent in its place. */
struct verdict {
    ap_guard guard;
    char why[AP_GUARD_WHY_MAX];
};

/* Everything of one arm and seed: n prompts × arm->n samples. */
struct pass {
    const struct ap_eval_options *o;
    const struct ap_arm *arm;
    int64_t seed;
    int n, n_all;
    struct ap_answer *rewrites, *answers; /* n_all; rewrites NULL without a rewriter */
    struct verdict *verdicts;             /* of the rewrites */
    double *scores;                       /* [n_judge][n_all] */
    double *kl;                           /* n_all; NaN where there is none */
    double *more_kl;                      /* n_all: of the passes after the first, and */
    int *n_more_token;                    /* n_all: the tokens they wrote */
};

static ap_status ask(const struct pass *p, struct ap_target *target, const char *stage,
                     char **prompts, int n_requests, int n_samples, struct ap_answer *out,
                     struct ap_error *err)
{
    struct ap_target_request *requests = ap_calloc((size_t)n_requests, sizeof(*requests));
    if (!requests)
        return ap_fail(err, AP_MEMORY, "%d test prompts: out of memory", n_requests);
    int per_prompt = n_requests / p->n;
    for (int i = 0; i < n_requests; i++) {
        const struct ap_prompt *x = &p->o->prompts->items[i / per_prompt];
        requests[i] = (struct ap_target_request){.context = x->context,
                                                 .n_context = x->n_context,
                                                 .prompt = prompts[i],
                                                 .stream = {.seed = (uint64_t)p->seed,
                                                            .stage = ap_stream_stage(stage),
                                                            .record = x->record,
                                                            .sample = (uint32_t)(i % per_prompt)}};
    }
    ap_status status = target->answer(target->self, requests, n_requests, n_samples, out, err);
    ap_free(requests);
    return status;
}

/* x as the arm sees it. */
static const char *seen(const struct pass *p, int q)
{
    return p->o->noisy ? p->o->noisy[q] : p->o->prompts->items[q].x;
}

static ap_status rewrite(struct pass *p, struct ap_error *err)
{
    ap_status status = AP_OK;
    char **wrapped = ap_calloc((size_t)p->n, sizeof(*wrapped));

    p->rewrites = ap_calloc((size_t)p->n_all, sizeof(*p->rewrites));
    if (!wrapped || !p->rewrites) {
        status = ap_fail(err, AP_MEMORY, "%d rewrites: out of memory", p->n_all);
        goto out;
    }
    for (int i = 0; i < p->n; i++) {
        wrapped[i] = ap_meta_prompt_apply(p->arm->meta_prompt, seen(p, i));
        if (!wrapped[i]) {
            status = ap_fail(err, AP_MEMORY, "%d rewrites: out of memory", p->n_all);
            goto out;
        }
    }
    AP_TRY(ask(p, p->arm->rewriter, "eval.rewrite", wrapped, p->n, p->arm->n, p->rewrites, err));
out:
    for (int i = 0; wrapped && i < p->n; i++)
        ap_free(wrapped[i]);
    ap_free(wrapped);
    return status;
}

/* ---- further passes ---- */

/* What a pass was given and what it wrote to it, as the two roles see them. */
static ap_status add_pass_kl(struct pass *p, const struct ap_arm_pass *pass,
                             const struct ap_prompt *given, const struct ap_answer *written,
                             struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_kl_item *items = ap_calloc((size_t)p->n_all, sizeof(*items));
    double *kl = ap_calloc((size_t)p->n_all, sizeof(*kl));
    if (!items || !kl) {
        status = ap_fail(err, AP_MEMORY, "KL of %d texts: out of memory", p->n_all);
        goto out;
    }
    for (int i = 0; i < p->n_all; i++)
        items[i] =
            (struct ap_kl_item){given[i].ids, written[i].ids, given[i].n, written[i].n_token};
    AP_TRY(ap_kl_sums(&pass->kl_policy, &pass->kl_reference, items, p->n_all,
                      p->arm->kl_temperature, p->o->batch_tokens, kl, err));
    for (int i = 0; i < p->n_all; i++)
        p->more_kl[i] += kl[i];
out:
    ap_free(items);
    ap_free(kl);
    return status;
}

/* The rewrite is what the last pass wrote; one that wrote nothing hands on what it was given, and a
 * rewrite has ended when every pass has. Tokens are those of all passes. Takes written's texts. */
static void take_pass(struct pass *p, struct ap_answer *written)
{
    for (int i = 0; i < p->n_all; i++) {
        struct ap_answer *r = &p->rewrites[i];
        r->ended = r->ended && written[i].ended;
        p->n_more_token[i] += written[i].n_token;
        if (!written[i].text[0])
            continue;
        ap_free(r->text);
        r->text = written[i].text;
        written[i].text = NULL;
    }
}

static ap_status rewrite_again(struct pass *p, int k, struct ap_error *err)
{
    ap_status status = AP_OK;
    const struct ap_arm_pass *pass = &p->arm->more[k];
    size_t n = (size_t)p->n_all;
    struct ap_prompt *given = ap_calloc(n, sizeof(*given));
    struct ap_answer *written = ap_calloc(n, sizeof(*written));
    char **wrapped = ap_calloc(n, sizeof(*wrapped)), stage[32];

    snprintf(stage, sizeof(stage), "eval.rewrite-%d", k + 2);
    if (!given || !written || !wrapped) {
        status = ap_fail(err, AP_MEMORY, "%d rewrites: out of memory", p->n_all);
        goto out;
    }
    for (int i = 0; i < p->n_all; i++) {
        const struct ap_prompt *x = &p->o->prompts->items[i / p->arm->n];
        const char *text = p->rewrites[i].text[0] ? p->rewrites[i].text : seen(p, i / p->arm->n);
        AP_TRY(ap_text_pass_prompt(&pass->text, x, text, &given[i], err));
        if (!(wrapped[i] = ap_meta_prompt_apply(pass->text.meta_prompt, text)))
            AP_TRY(ap_fail(err, AP_MEMORY, "%d rewrites: out of memory", p->n_all));
    }
    AP_TRY(ask(p, pass->rewriter, stage, wrapped, p->n_all, 1, written, err));
    if (p->arm->kl_policy.weights)
        AP_TRY(add_pass_kl(p, pass, given, written, err));
    take_pass(p, written);
out:
    for (int i = 0; i < p->n_all; i++) {
        if (given)
            ap_free(given[i].ids);
        if (wrapped)
            ap_free(wrapped[i]);
    }
    ap_answers_free(written, n);
    ap_free(given);
    ap_free(written);
    ap_free(wrapped);
    return status;
}

static ap_status rewrite_on(struct pass *p, struct ap_error *err)
{
    ap_status status = AP_OK;
    p->more_kl = ap_calloc((size_t)p->n_all, sizeof(*p->more_kl));
    p->n_more_token = ap_calloc((size_t)p->n_all, sizeof(*p->n_more_token));
    if (!p->more_kl || !p->n_more_token)
        return ap_fail(err, AP_MEMORY, "%d rewrites: out of memory", p->n_all);
    for (int k = 0; status == AP_OK && k < p->arm->n_more; k++)
        status = rewrite_again(p, k, err);
    return status;
}

/* ---- the target ---- */

static ap_status guard_rewrites(struct pass *p, struct ap_error *err)
{
    p->verdicts = ap_calloc((size_t)p->n_all, sizeof(*p->verdicts));
    if (!p->verdicts)
        return ap_fail(err, AP_MEMORY, "%d rewrites: out of memory", p->n_all);
    ap_status status = AP_OK;
    for (int i = 0; status == AP_OK && i < p->n_all; i++)
        status = ap_guard_check(p->o->guard, seen(p, i / p->arm->n), p->rewrites[i].text,
                                &p->verdicts[i].guard, p->verdicts[i].why, err);
    return status;
}

static const char *sent(const struct pass *p, int i)
{
    if (p->rewrites && p->verdicts[i].guard == AP_GUARD_NONE)
        return p->rewrites[i].text;
    return seen(p, i / p->arm->n);
}

static ap_status answer(struct pass *p, struct ap_error *err)
{
    ap_status status = AP_OK;
    char **prompts = ap_calloc((size_t)p->n_all, sizeof(*prompts));

    p->answers = ap_calloc((size_t)p->n_all, sizeof(*p->answers));
    if (!prompts || !p->answers) {
        status = ap_fail(err, AP_MEMORY, "%d answers: out of memory", p->n_all);
        goto out;
    }
    for (int i = 0; i < p->n_all; i++)
        prompts[i] = (char *)sent(p, i);
    AP_TRY(ask(p, p->arm->target, "eval.answer", prompts, p->n_all, 1, p->answers, err));
out:
    ap_free(prompts);
    return status;
}

static ap_status judge_by_world(const struct pass *p, double *out, struct ap_error *err)
{
    for (int i = 0; i < p->n_all; i++) {
        const struct ap_prompt *x = &p->o->prompts->items[i / p->arm->n];
        if (!x->meta)
            return ap_fail(err, AP_INVALID,
                           "eval.judges: world scores the bundled world's prompts only; test "
                           "prompt %llu has no meta",
                           (unsigned long long)x->record);
        ap_status status =
            ap_world_score(x->meta, p->answers[i].text, p->answers[i].ended, &out[i], err);
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

static ap_status judge_by_reward(const struct pass *p, const struct ap_reward *reward, double *out,
                                 struct ap_error *err)
{
    struct ap_scored *items = ap_calloc((size_t)p->n_all, sizeof(*items));
    if (!items)
        return ap_fail(err, AP_MEMORY, "%d answers: out of memory", p->n_all);
    for (int i = 0; i < p->n_all; i++) {
        const struct ap_prompt *x = &p->o->prompts->items[i / p->arm->n];
        items[i] = ap_scored_answer(x->context, x->n_context, x->x, &p->answers[i]);
    }
    ap_status status = ap_reward_score(reward, items, p->n_all, out, err);
    ap_free(items);
    return status;
}

static ap_status judge(struct pass *p, struct ap_error *err)
{
    p->scores = ap_calloc((size_t)p->n_all * (size_t)p->o->n_judge, sizeof(*p->scores));
    if (!p->scores)
        return ap_fail(err, AP_MEMORY, "%d scores: out of memory", p->n_all);
    for (int j = 0; j < p->o->n_judge; j++) {
        const struct ap_judge *judge = &p->o->judges[j];
        double *out = p->scores + (size_t)j * (size_t)p->n_all;
        ap_status status = judge->reward ? judge_by_reward(p, judge->reward, out, err)
                                         : judge_by_world(p, out, err);
        if (status != AP_OK)
            return status;
    }
    return AP_OK;
}

/* KL of what the arm's policy wrote: its rewrites, or its answers when it is the target. */
static ap_status measure_kl(struct pass *p, struct ap_error *err)
{
    const struct ap_answer *written = p->rewrites ? p->rewrites : p->answers;
    const struct ap_prompts *prompts = p->rewrites ? p->arm->rewriter_prompts : p->o->prompts;
    struct ap_kl_item *items = ap_calloc((size_t)p->n_all, sizeof(*items));

    p->kl = ap_calloc((size_t)p->n_all, sizeof(*p->kl));
    if (!items || !p->kl) {
        ap_free(items);
        return ap_fail(err, AP_MEMORY, "KL of %d texts: out of memory", p->n_all);
    }
    ap_status status = AP_OK;
    for (int i = 0; i < p->n_all; i++) {
        const struct ap_prompt *x = &prompts->items[i / p->arm->n];
        items[i] = (struct ap_kl_item){x->ids, written[i].ids, x->n, written[i].n_token};
        p->kl[i] = NAN;
    }
    if (p->arm->kl_policy.weights)
        status = ap_kl_sums(&p->arm->kl_policy, &p->arm->kl_reference, items, p->n_all,
                            p->arm->kl_temperature, p->o->batch_tokens, p->kl, err);
    for (int i = 0; p->rewrites && i < p->n_all; i++)
        p->kl[i] += p->more_kl[i];
    ap_free(items);
    return status;
}

static ap_status write_row(const struct pass *p, int i, int sample, struct ap_error *err)
{
    const struct ap_prompt *x = &p->o->prompts->items[i / p->arm->n];
    const struct ap_answer *r = p->rewrites ? &p->rewrites[i] : NULL;
    struct ap_evaluation_record record = {.arm = p->arm->name,
                                          .seed = p->seed,
                                          .record = x->record,
                                          .sample = sample,
                                          .prompt = seen(p, i / p->arm->n),
                                          .rewrite = r ? r->text : NULL,
                                          .answer = p->answers[i].text,
                                          .n_rewrite_tokens =
                                              r ? r->n_token + p->n_more_token[i] : 0,
                                          .n_answer_tokens = p->answers[i].n_token,
                                          .rewrite_ended = r ? r->ended : true,
                                          .answer_ended = p->answers[i].ended,
                                          .kl = p->kl[i],
                                          .meta = x->meta};
    ap_status status = ap_database_evaluation(p->o->db, &record, err);
    if (status == AP_OK && r && p->verdicts[i].guard != AP_GUARD_NONE)
        status = ap_database_guard(p->o->db, p->arm->name, p->seed, x->record, sample,
                                   ap_guard_name(p->verdicts[i].guard), p->verdicts[i].why, err);
    for (int j = 0; status == AP_OK && j < p->o->n_judge; j++)
        status = ap_database_score(p->o->db, p->arm->name, p->seed, x->record, sample,
                                   p->o->judges[j].name,
                                   p->scores[(size_t)j * (size_t)p->n_all + (size_t)i], err);
    return status;
}

/* The sample that counts is written as −1; the others of best-of-n keep their number. */
static ap_status write_rows(const struct pass *p, struct ap_error *err)
{
    ap_status status = AP_OK;
    AP_TRY(ap_database_begin(p->o->db, err));
    AP_TRY(ap_database_forget(p->o->db, p->arm->name, p->seed, err));
    for (int q = 0; q < p->n; q++) {
        int best = q * p->arm->n;
        for (int k = 1; k < p->arm->n; k++)
            if (p->scores[q * p->arm->n + k] > p->scores[best])
                best = q * p->arm->n + k;
        for (int k = 0; k < p->arm->n; k++) {
            int i = q * p->arm->n + k;
            AP_TRY(write_row(p, i, i == best ? -1 : k, err));
        }
    }
    AP_TRY(ap_database_commit(p->o->db, err));
out:
    return status;
}

ap_status ap_eval_arm(const struct ap_eval_options *options, const struct ap_arm *arm, int64_t seed,
                      struct ap_error *err)
{
    ap_status status = AP_OK;
    struct pass p = {.o = options, .arm = arm, .seed = seed, .n = options->prompts->n};

    p.n_all = p.n * arm->n;
    if (arm->rewriter) {
        AP_TRY(rewrite(&p, err));
        AP_TRY(rewrite_on(&p, err));
        AP_TRY(guard_rewrites(&p, err));
    }
    AP_TRY(answer(&p, err));
    AP_TRY(judge(&p, err));
    AP_TRY(measure_kl(&p, err));
    AP_TRY(write_rows(&p, err));
out:
    ap_answers_free(p.rewrites, p.rewrites ? (size_t)p.n_all : 0);
    ap_answers_free(p.answers, p.answers ? (size_t)p.n_all : 0);
    ap_free(p.rewrites);
    ap_free(p.verdicts);
    ap_free(p.answers);
    ap_free(p.scores);
    ap_free(p.kl);
    ap_free(p.more_kl);
    ap_free(p.n_more_token);
    return status;
}
