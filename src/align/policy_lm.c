/* The language model as a policy (policy_lm.h): sampling, log-probabilities, gradients, updates. */
#include "align/policy_lm.h"

#include "align/learner.h"
#include "align/pack.h"
#include "align/target.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct ap_lm_policy {
    struct ap_lm_policy_options o;
    struct ap_generator *generator;
    struct ap_learner policy, critic; /* critic.tape NULL: none */
    struct ap_pack pack;
    float *a, *b;     /* max_row numbers each, between f32 models and f64 losses */
    bool critic_used; /* a value gradient is waiting */
};

struct sampled { /* one finished sample, until all are there and can be put in order */
    int32_t *ids;
    int n;
    bool ended;
};

struct sampling_call {
    struct sampled *out;
    int n_each;
    struct ap_error *err;
};

static ap_status on_generated(void *context, int request, int sample, const struct ap_generated *g)
{
    struct sampling_call *c = context;
    struct sampled *s = &c->out[request * c->n_each + sample];
    s->ids = ap_calloc((size_t)g->n, sizeof(*s->ids));
    if (!s->ids)
        return ap_fail(c->err, AP_MEMORY, "sample of %d tokens: out of memory", g->n);
    memcpy(s->ids, g->ids, (size_t)g->n * sizeof(*s->ids));
    s->n = g->n;
    s->ended = g->stop == AP_STOP_END;
    return AP_OK;
}

static ap_status add_sampled(const struct ap_lm_policy *p, struct ap_rollout *r, int32_t prompt,
                             int sample, const struct sampled *s, struct ap_error *err)
{
    char *decoded = NULL, *text;
    size_t n;
    ap_status status = ap_tokenizer_decode(
        p->o.lm->tokenizer, s->ids, (size_t)(s->ended ? s->n - 1 : s->n), true, &decoded, &n, err);
    if (status != AP_OK)
        return status;
    text = ap_strndup(decoded, n);
    ap_text_free(decoded);
    if (!text)
        return ap_fail(err, AP_MEMORY, "rewrite of %zu bytes: out of memory", n);
    return ap_rollout_add(r, prompt, p->o.prompts->items[prompt].record, sample, s->ids, s->n,
                          s->ended, ap_strip(text), err);
}

static ap_status lm_sample(void *self, const int32_t *prompts, int n, int n_each, int64_t step,
                           struct ap_rollout *r, struct ap_error *err)
{
    struct ap_lm_policy *p = self;
    ap_status status = AP_OK;
    struct ap_gen_request *requests = ap_calloc((size_t)n, sizeof(*requests));
    struct sampled *samples = ap_calloc((size_t)n * (size_t)n_each, sizeof(*samples));
    struct sampling_call call = {samples, n_each, err};
    struct ap_sampling sampling = {.temperature = p->o.temperature, .top_p = 1};

    ap_rollout_clear(r);
    r->n_each = n_each;
    if (!requests || !samples) {
        status = ap_fail(err, AP_MEMORY, "%d prompts: out of memory", n);
        goto out;
    }
    for (int i = 0; i < n; i++) {
        const struct ap_prompt *prompt = &p->o.prompts->items[prompts[i]];
        requests[i] = (struct ap_gen_request){.prompt = prompt->ids,
                                              .n_prompt = prompt->n,
                                              .n_samples = n_each,
                                              .max_new_tokens = p->o.max_new_tokens,
                                              .stream = {.seed = p->o.seed,
                                                         .stage = ap_stream_stage(p->o.stage),
                                                         .step = (uint32_t)step,
                                                         .record = prompt->record,
                                                         .sample = (uint32_t)prompt->sample}};
    }
    AP_TRY(
        ap_generate(p->generator, &p->o.policy, &sampling, requests, n, on_generated, &call, err));
    for (int i = 0; i < n * n_each; i++)
        AP_TRY(add_sampled(p, r, prompts[i / n_each], i % n_each, &samples[i], err));
out:
    for (int i = 0; samples && i < n * n_each; i++)
        ap_free(samples[i].ids);
    ap_free(samples);
    ap_free(requests);
    return status;
}

static int row_length(const struct ap_lm_policy *p, const struct ap_rollout_row *row)
{
    return p->o.prompts->items[row->prompt].n + row->n;
}

static int lm_fit(void *self, const struct ap_rollout *r, const int32_t *rows, int n_rows)
{
    struct ap_lm_policy *p = self;
    int n = 0, used = 0;
    while (n < n_rows && used + row_length(p, &r->rows[rows[n]]) <= p->pack.max_row)
        used += row_length(p, &r->rows[rows[n++]]);
    return n > 0 ? n : 1;
}

static void pack_rows(struct ap_lm_policy *p, const struct ap_rollout *r, const int32_t *rows,
                      int n_rows)
{
    ap_pack_clear(&p->pack);
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        const struct ap_prompt *prompt = &p->o.prompts->items[row->prompt];
        ap_pack_add(&p->pack, prompt->ids, prompt->n, r->ids + row->first, row->n);
    }
}

/* Between the packed order of targets and the rows' places in a column. */
static void to_columns(const struct ap_rollout *r, const int32_t *rows, int n_rows,
                       const float *packed, double *column)
{
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        for (int t = 0; t < row->n; t++)
            column[row->first + (size_t)t] = *packed++;
    }
}

static void from_columns(const struct ap_rollout *r, const int32_t *rows, int n_rows,
                         const double *column, float *packed)
{
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        for (int t = 0; t < row->n; t++)
            *packed++ = (float)column[row->first + (size_t)t];
    }
}

static ap_status lm_forward(void *self, ap_policy_role role, const struct ap_rollout *r,
                            const int32_t *rows, int n_rows, double *logp, double *entropy,
                            struct ap_error *err)
{
    struct ap_lm_policy *p = self;
    const struct ap_role *view = role == AP_POLICY ? &p->o.policy : &p->o.reference;
    pack_rows(p, r, rows, n_rows);
    struct ap_rows packed = ap_pack_rows(&p->pack);
    ap_status status = ap_forward(p->policy.tape, view, &packed, err);
    if (status != AP_OK)
        return status;
    ap_logp_forward(p->policy.tape, view, p->pack.row, p->pack.target, p->pack.n_target,
                    p->o.temperature, p->a, entropy ? p->b : NULL);
    to_columns(r, rows, n_rows, p->a, logp);
    if (entropy)
        to_columns(r, rows, n_rows, p->b, entropy);
    return AP_OK;
}

static ap_status lm_backward(void *self, const struct ap_rollout *r, const int32_t *rows,
                             int n_rows, const double *dlogp, const double *dentropy,
                             struct ap_error *err)
{
    struct ap_lm_policy *p = self;
    (void)err;
    from_columns(r, rows, n_rows, dlogp, p->a);
    if (dentropy)
        from_columns(r, rows, n_rows, dentropy, p->b);
    ap_logp_backward(p->policy.tape, &p->o.policy, p->pack.row, p->pack.target, p->pack.n_target,
                     p->o.temperature, p->a, dentropy ? p->b : NULL);
    ap_backward(p->policy.tape, &p->o.policy);
    return AP_OK;
}

static ap_status lm_value(void *self, const struct ap_rollout *r, const int32_t *rows, int n_rows,
                          double *value, struct ap_error *err)
{
    struct ap_lm_policy *p = self;
    pack_rows(p, r, rows, n_rows);
    struct ap_rows packed = ap_pack_rows(&p->pack);
    ap_status status = ap_forward(p->critic.tape, &p->o.critic, &packed, err);
    if (status != AP_OK)
        return status;
    ap_scalar_forward(p->critic.tape, &p->o.critic, p->pack.row, p->pack.n_target, p->a);
    to_columns(r, rows, n_rows, p->a, value);
    return AP_OK;
}

static ap_status lm_value_backward(void *self, const struct ap_rollout *r, const int32_t *rows,
                                   int n_rows, const double *dvalue, struct ap_error *err)
{
    struct ap_lm_policy *p = self;
    (void)err;
    from_columns(r, rows, n_rows, dvalue, p->a);
    ap_scalar_backward(p->critic.tape, &p->o.critic, p->pack.row, p->pack.n_target, p->a);
    ap_backward(p->critic.tape, &p->o.critic);
    p->critic_used = true;
    return AP_OK;
}

/* Both or none: a critic that learnt from a step that the policy skipped would be out of step with
 * it. */
static bool lm_finite(void *self, char *out)
{
    struct ap_lm_policy *p = self;
    char bad[AP_NAME_MAX];
    if (ap_optimiser_finite(p->policy.optimiser, bad) &&
        (!p->critic_used || ap_optimiser_finite(p->critic.optimiser, bad)))
        return true;
    if (out)
        snprintf(out, sizeof(((struct ap_policy_update *)0)->bad), "%s", bad);
    return false;
}

static void lm_drop(void *self)
{
    struct ap_lm_policy *p = self;
    ap_learner_zero_grad(&p->policy);
    if (p->critic_used)
        ap_learner_zero_grad(&p->critic);
    p->critic_used = false;
}

static void lm_update(void *self, int64_t update, struct ap_policy_update *out)
{
    struct ap_lm_policy *p = self;
    struct ap_update u;
    *out = (struct ap_policy_update){.grad_norm = NAN, .value_grad_norm = NAN};
    if (p->critic_used && !lm_finite(p, out->bad)) {
        out->skipped = true;
        lm_drop(p);
        return;
    }
    ap_optimiser_step(p->policy.optimiser, update, &u); /* one alone is looked at there */
    if (u.skipped) {
        out->skipped = true;
        snprintf(out->bad, sizeof(out->bad), "%s", u.bad);
        return;
    }
    out->grad_norm = u.grad_norm;
    out->lr = u.lr;
    if (p->critic_used) {
        ap_optimiser_step(p->critic.optimiser, update, &u);
        out->value_grad_norm = u.grad_norm;
    }
    p->critic_used = false;
}

static ap_status lm_save(void *self, const char *folder, struct ap_error *err)
{
    struct ap_lm_policy *p = self;
    ap_status status = ap_learner_save(&p->policy, folder, "policy", err);
    return status == AP_OK && p->critic.tape ? ap_learner_save(&p->critic, folder, "critic", err)
                                             : status;
}

static ap_status lm_load(void *self, const char *folder, struct ap_error *err)
{
    struct ap_lm_policy *p = self;
    ap_status status = ap_learner_load(&p->policy, folder, "policy", err);
    return status == AP_OK && p->critic.tape ? ap_learner_load(&p->critic, folder, "critic", err)
                                             : status;
}

static int longest_row(const struct ap_lm_policy_options *o)
{
    int longest = o->max_prompt;
    for (int i = 0; i < o->prompts->n && !o->max_prompt; i++)
        if (o->prompts->items[i].n > longest)
            longest = o->prompts->items[i].n;
    return longest + o->max_new_tokens;
}

static ap_status open_learners(struct ap_lm_policy *p, int max_row, struct ap_error *err)
{
    const struct ap_lm_policy_options *o = &p->o;
    struct ap_optimiser_settings critic = o->settings->optimiser;
    ap_status status =
        ap_learner_open(&p->policy, o->lm, &o->policy, &o->settings->optimiser, o->n_updates,
                        max_row, ap_role_max_rank(&o->policy, &o->reference), err);
    if (status != AP_OK || !o->critic.weights)
        return status;
    critic.lr = o->settings->value_lr > 0 ? o->settings->value_lr : critic.lr;
    return ap_learner_open(&p->critic, o->lm, &o->critic, &critic, o->n_updates, max_row,
                           ap_role_max_rank(&o->critic, &o->critic), err);
}

static ap_status open_memory(struct ap_lm_policy *p, struct ap_error *err)
{
    int longest = longest_row(&p->o), max_row = longest;
    struct ap_generator_options g = {.n_slot = p->o.n_slot,
                                     .context = longest,
                                     .end = p->o.lm->end,
                                     .n_end = p->o.lm->n_end,
                                     .max_rank = ap_role_max_rank(&p->o.policy, &p->o.policy)};
    ap_status status = AP_OK;
    AP_TRY(ap_generator_open(&p->generator, &p->o.policy.weights->config, &g, err));
    if (p->o.frozen)
        return AP_OK;
    if (p->o.settings->optimiser.batch_tokens > longest)
        max_row = p->o.settings->optimiser.batch_tokens;
    AP_TRY(ap_pack_init(&p->pack, max_row, err));
    AP_TRY(open_learners(p, max_row, err));
    p->a = ap_calloc((size_t)max_row, sizeof(*p->a));
    p->b = ap_calloc((size_t)max_row, sizeof(*p->b));
    if (!p->a || !p->b)
        status = ap_fail(err, AP_MEMORY, "batch of %d tokens: out of memory", max_row);
out:
    return status;
}

ap_status ap_lm_policy_open(struct ap_lm_policy **out, const struct ap_lm_policy_options *options,
                            struct ap_error *err)
{
    struct ap_lm_policy *p = ap_calloc(1, sizeof(*p));
    *out = NULL;
    if (!p)
        return ap_fail(err, AP_MEMORY, "policy %s: out of memory", options->lm->name);
    p->o = *options;
    ap_status status = open_memory(p, err);
    if (status != AP_OK) {
        ap_lm_policy_close(p);
        return status;
    }
    *out = p;
    return AP_OK;
}

void ap_lm_policy_close(struct ap_lm_policy *p)
{
    if (!p)
        return;
    ap_generator_close(p->generator);
    ap_learner_close(&p->policy);
    ap_learner_close(&p->critic);
    ap_pack_free(&p->pack);
    ap_free(p->a);
    ap_free(p->b);
    ap_free(p);
}

struct ap_policy ap_lm_policy(struct ap_lm_policy *p)
{
    return (struct ap_policy){
        .self = p,
        .sample = lm_sample,
        .fit = lm_fit,
        .forward = lm_forward,
        .backward = lm_backward,
        .value = p->o.critic.weights ? lm_value : NULL,
        .value_backward = p->o.critic.weights ? lm_value_backward : NULL,
        .finite = lm_finite,
        .drop = lm_drop,
        .update = lm_update,
        .save = lm_save,
        .load = lm_load,
        .tolerance = p->o.policy.weights->table.dtype == AP_BF16 ? 2e-2 : 1e-5,
        .max_tokens = p->o.max_new_tokens,
    };
}
