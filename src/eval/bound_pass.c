/* Samples of the bound (bound_pass.h): rewrite, answer, score, weigh, write. */
#include "eval/bound_pass.h"

#include "align/kl.h"
#include "base/memory.h"
#include "text/sequence.h"

#include <math.h>

/* n_x prompts with n rewrites of K answers each. */
struct chunk {
    const struct ap_bound_pass *p;
    const struct ap_prompt *prompts, *rewriter_prompts; /* n_x */
    int n_x, n_rewrites, n_answers;                     /* of all prompts together */
    struct ap_answer *rewrites, *answers;               /* rewrites NULL without a rewriter */
    double *kl;                                         /* n_rewrites */
    double *reward, *logp, *logq;                       /* n_answers; NaN where there is none */
};

static const struct ap_prompt *prompt_of(const struct chunk *c, int rewrite)
{
    return &c->prompts[rewrite / c->p->n_rewrite];
}

static ap_status no_memory(struct ap_error *err)
{
    return ap_fail(err, AP_MEMORY, "bound: out of memory; lower run.batch or bound.answers");
}

static ap_status fill_nan(double **out, int n, struct ap_error *err)
{
    *out = ap_calloc((size_t)n, sizeof(**out));
    for (int i = 0; *out && i < n; i++)
        (*out)[i] = NAN;
    return *out ? AP_OK : no_memory(err);
}

static struct ap_target_request request(const struct chunk *c, const struct ap_prompt *x,
                                        const char *text, const char *stage, int sample)
{
    return (struct ap_target_request){.context = x->context,
                                      .n_context = x->n_context,
                                      .prompt = text,
                                      .stream = {.seed = c->p->seed,
                                                 .stage = ap_stream_stage(stage),
                                                 .record = x->record,
                                                 .sample = (uint32_t)sample}};
}

static ap_status rewrite(struct chunk *c, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_target_request *requests = ap_calloc((size_t)c->n_x, sizeof(*requests));
    struct ap_target *rewriter = c->p->rewriter;

    c->rewrites = ap_calloc((size_t)c->n_rewrites, sizeof(*c->rewrites));
    if (!requests || !c->rewrites) {
        status = no_memory(err);
        goto out;
    }
    for (int i = 0; i < c->n_x; i++) {
        const struct ap_prompt *x = &c->prompts[i];
        char *wrapped = ap_meta_prompt_apply(c->p->meta_prompt, x->x);
        requests[i] = request(c, x, wrapped, "bound.rewrite", 0);
        if (!wrapped) {
            status = no_memory(err);
            goto out;
        }
    }
    AP_TRY(rewriter->answer(rewriter->self, requests, c->n_x, c->p->n_rewrite, c->rewrites, err));
out:
    for (int i = 0; requests && i < c->n_x; i++)
        ap_free((char *)(uintptr_t)requests[i].prompt);
    ap_free(requests);
    return status;
}

/* What the target is sent: as in training, x in place of a rewrite that is empty. */
static const char *sent(const struct chunk *c, int rewrite)
{
    const char *text = c->rewrites ? c->rewrites[rewrite].text : "";
    return text[0] ? text : prompt_of(c, rewrite)->x;
}

static ap_status answer(struct chunk *c, struct ap_error *err)
{
    const int K = c->p->n_answer;
    ap_status status = AP_OK;
    struct ap_target_request *requests = ap_calloc((size_t)c->n_rewrites, sizeof(*requests));

    c->answers = ap_calloc((size_t)c->n_answers, sizeof(*c->answers));
    if (!requests || !c->answers) {
        status = no_memory(err);
        goto out;
    }
    for (int i = 0; i < c->n_rewrites; i++)
        requests[i] =
            request(c, prompt_of(c, i), sent(c, i), "bound.answer", i % c->p->n_rewrite * K);
    AP_TRY(c->p->target->answer(c->p->target->self, requests, c->n_rewrites, K, c->answers, err));
out:
    ap_free(requests);
    return status;
}

static ap_status score(struct chunk *c, struct ap_error *err)
{
    struct ap_scored *items = ap_calloc((size_t)c->n_answers, sizeof(*items));
    if (!items)
        return no_memory(err);
    for (int i = 0; i < c->n_answers; i++) {
        const struct ap_prompt *x = prompt_of(c, i / c->p->n_answer);
        items[i] = ap_scored_answer(x->context, x->n_context, x->x, &c->answers[i]);
    }
    ap_status status = ap_reward_score(c->p->reward, items, c->n_answers, c->reward, err);
    ap_free(items);
    return status;
}

static ap_status measure_kl(struct chunk *c, struct ap_error *err)
{
    const struct ap_bound_pass *p = c->p;
    struct ap_kl_item *items = ap_calloc((size_t)c->n_rewrites, sizeof(*items));
    if (!items)
        return no_memory(err);
    for (int i = 0; i < c->n_rewrites; i++) {
        const struct ap_prompt *x = &c->rewriter_prompts[i / p->n_rewrite];
        items[i] = (struct ap_kl_item){x->ids, c->rewrites[i].ids, x->n, c->rewrites[i].n_token};
    }
    ap_status status = ap_kl_sums(&p->kl_policy, &p->kl_reference, items, c->n_rewrites,
                                  p->kl_temperature, p->batch_tokens, c->kl, err);
    ap_free(items);
    return status;
}

/* Log-probabilities of the scored answers, from what was sent or from x. */
static ap_status weigh(struct chunk *c, struct ap_target *target, bool from_x, double *out,
                       struct ap_error *err)
{
    const int n = c->p->n_scored, n_all = c->n_rewrites * n;
    ap_status status = AP_OK;
    struct ap_target_request *requests = ap_calloc((size_t)n_all, sizeof(*requests));
    struct ap_answer *answers = ap_calloc((size_t)n_all, sizeof(*answers)); /* views */
    double *logp = ap_calloc((size_t)n_all, sizeof(*logp));

    if (!requests || !answers || !logp) {
        status = no_memory(err);
        goto out;
    }
    for (int i = 0; i < n_all; i++) {
        const struct ap_prompt *x = prompt_of(c, i / n);
        requests[i] = request(c, x, from_x ? x->x : sent(c, i / n), "bound.answer", 0);
        answers[i] = c->answers[i / n * c->p->n_answer + i % n];
    }
    AP_TRY(target->logp(target->self, requests, answers, n_all, logp, err));
    for (int i = 0; i < n_all; i++)
        out[i / n * c->p->n_answer + i % n] = logp[i];
out:
    ap_free(requests);
    ap_free(answers);
    ap_free(logp);
    return status;
}

static ap_status write_rows(const struct chunk *c, struct ap_error *err)
{
    const struct ap_bound_pass *p = c->p;
    ap_status status;
    AP_TRY(ap_database_begin(p->db, err));
    for (int i = 0; i < c->n_answers; i++) {
        int rewrite = i / p->n_answer;
        AP_TRY(ap_database_bound(p->db,
                                 &(struct ap_bound_record){.policy = p->policy,
                                                           .record = prompt_of(c, rewrite)->record,
                                                           .rewrite = rewrite % p->n_rewrite,
                                                           .answer = i % p->n_answer,
                                                           .reward = c->reward[i],
                                                           .kl = c->kl[rewrite],
                                                           .logp = c->logp[i],
                                                           .logq = c->logq[i],
                                                           .ended = c->answers[i].ended},
                                 err));
    }
    AP_TRY(ap_database_commit(p->db, err));
out:
    return status;
}

static void chunk_free(struct chunk *c)
{
    ap_answers_free(c->rewrites, c->rewrites ? (size_t)c->n_rewrites : 0);
    ap_answers_free(c->answers, c->answers ? (size_t)c->n_answers : 0);
    ap_free(c->rewrites);
    ap_free(c->answers);
    ap_free(c->kl);
    ap_free(c->reward);
    ap_free(c->logp);
    ap_free(c->logq);
}

ap_status ap_bound_pass(const struct ap_bound_pass *p, int first, int n, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct chunk c = {.p = p,
                      .prompts = p->prompts->items + first,
                      .rewriter_prompts = p->rewriter_prompts->items + first,
                      .n_x = n,
                      .n_rewrites = n * p->n_rewrite,
                      .n_answers = n * p->n_rewrite * p->n_answer};

    AP_TRY(fill_nan(&c.kl, c.n_rewrites, err));
    AP_TRY(fill_nan(&c.reward, c.n_answers, err));
    AP_TRY(fill_nan(&c.logp, c.n_answers, err));
    AP_TRY(fill_nan(&c.logq, c.n_answers, err));
    if (p->rewriter)
        AP_TRY(rewrite(&c, err));
    AP_TRY(answer(&c, err));
    AP_TRY(score(&c, err));
    if (p->kl_policy.weights)
        AP_TRY(measure_kl(&c, err));
    if (p->n_scored > 0 && p->target->logp && p->bare->logp) {
        AP_TRY(weigh(&c, p->target, false, c.logp, err));
        AP_TRY(weigh(&c, p->bare, true, c.logq, err));
    }
    AP_TRY(write_rows(&c, err));
out:
    chunk_free(&c);
    return status;
}
