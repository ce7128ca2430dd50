/* A policy that is a table, over a finite world: the third implementation of policy.h, for ground
 * truth. A rewrite is `depth` tokens out of `arity`, so there are arity^depth of them; a state is a
 * prompt and the tokens so far, and holds one logit a token and one value. No approximation stands
 * between it and math.md (4).
 *
 *   depth 1: one state a prompt.   depth 2: state 0, then state 1 + first token.   … */
#ifndef AP_TESTS_ALIGN_TABULAR_H
#define AP_TESTS_ALIGN_TABULAR_H

#include "align/exact.h"
#include "align/policy.h"
#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "train/optimiser.h"

#define TABULAR_DEPTH_MAX 4

struct tabular_adam {
    double *x, *g, *m, *v;
    size_t n;
};

struct tabular {
    int n_world, arity, depth, n_state; /* prompts of the world, states of one of them */
    int32_t *seen; /* of a later pass of a chain: prompt of the world by prompt; NULL: itself */
    int n_rewrite;
    struct tabular_adam logits, values; /* [n_world, n_state, arity]; [n_world, n_state] */
    double *ref;                        /* ρ_sft's logits */
    double *logp, *logp_ref;            /* log-softmax of both, kept up to date */
    int64_t n_applied, n_updates;       /* Adam's t; the schedule's length */
    struct ap_optimiser_settings optimiser;
    double value_lr;
    uint64_t seed;
    int micro;     /* most rows of one forward */
    double lie;    /* tests of (13): added to what the reference says */
    double wobble; /* tests of (13): added to the policy in training forwards */
    int poison;    /* tests of bad steps: this many backward calls from now give NaN; −1 never */
};

static inline double *tabular_numbers(size_t n)
{
    double *x = ap_calloc(n, sizeof(*x));
    assert_non_null(x);
    return x;
}

static inline struct tabular_adam tabular_adam_new(size_t n)
{
    return (struct tabular_adam){tabular_numbers(n), tabular_numbers(n), tabular_numbers(n),
                                 tabular_numbers(n), n};
}

static inline void tabular_adam_free(struct tabular_adam *a)
{
    ap_free(a->x), ap_free(a->g), ap_free(a->m), ap_free(a->v);
}

static inline void tabular_log_softmax(const double *logits, double *logp, int n)
{
    double best = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        best = fmax(best, logits[i]);
    for (int i = 0; i < n; i++)
        sum += exp(logits[i] - best);
    for (int i = 0; i < n; i++)
        logp[i] = logits[i] - best - log(sum);
}

static inline void tabular_refresh(struct tabular *p)
{
    for (size_t i = 0; i < p->logits.n; i += (size_t)p->arity) {
        tabular_log_softmax(p->logits.x + i, p->logp + i, p->arity);
        tabular_log_softmax(p->ref + i, p->logp_ref + i, p->arity);
    }
}

/* State of env prompt `prompt` after the tokens ids[0…t−1]. */
static inline size_t tabular_state(const struct tabular *p, int32_t prompt, const int32_t *ids,
                                   int t)
{
    size_t base = 0, code = 0, width = 1;
    for (int k = 0; k < t; k++) {
        base += width;
        width *= (size_t)p->arity;
        code = code * (size_t)p->arity + (size_t)ids[k];
    }
    if (p->seen)
        prompt = p->seen[prompt];
    return (size_t)(prompt % p->n_world) * (size_t)p->n_state + base + code;
}

static inline void tabular_ids(const struct tabular *p, int rewrite, int32_t *ids)
{
    for (int t = p->depth; t-- > 0; rewrite /= p->arity)
        ids[t] = rewrite % p->arity;
}

/* ρ(·|x) over whole rewrites. */
static inline void tabular_distribution(const struct tabular *p, int x, double *rho)
{
    for (int i = 0; i < p->n_rewrite; i++) {
        int32_t ids[TABULAR_DEPTH_MAX];
        double logp = 0;
        tabular_ids(p, i, ids);
        for (int t = 0; t < p->depth; t++)
            logp += p->logp[tabular_state(p, x, ids, t) * (size_t)p->arity + (size_t)ids[t]];
        rho[i] = exp(logp);
    }
}

/* Logits so that the distribution over rewrites is rho exactly: log of every token's share of its
 * prefix. */
static inline void tabular_set(struct tabular *p, int x, const double *rho)
{
    for (int i = 0; i < p->n_rewrite; i++) {
        int32_t ids[TABULAR_DEPTH_MAX];
        tabular_ids(p, i, ids);
        for (int t = 0; t < p->depth; t++)
            p->ref[tabular_state(p, x, ids, t) * (size_t)p->arity + (size_t)ids[t]] += rho[i];
    }
}

static inline void tabular_open(struct tabular *p, const struct ap_exact_world *w, int arity,
                                int depth, const struct ap_optimiser_settings *optimiser,
                                double value_lr, int64_t n_updates, uint64_t seed)
{
    *p = (struct tabular){.n_world = w->n_prompt, .arity = arity, .depth = depth, .seed = seed};
    p->optimiser = *optimiser;
    p->value_lr = value_lr;
    p->n_updates = n_updates;
    p->micro = INT32_MAX;
    p->poison = -1;
    p->n_rewrite = 1;
    for (int t = 0; t < depth; t++) {
        p->n_state += p->n_rewrite;
        p->n_rewrite *= arity;
    }
    assert_int_equal(p->n_rewrite, w->n_rewrite);
    assert_true(depth <= TABULAR_DEPTH_MAX);
    size_t n_states = (size_t)p->n_world * (size_t)p->n_state, n = n_states * (size_t)arity;
    p->logits = tabular_adam_new(n);
    p->values = tabular_adam_new(n_states);
    p->ref = tabular_numbers(n);
    p->logp = tabular_numbers(n);
    p->logp_ref = tabular_numbers(n);
    for (int x = 0; x < p->n_world; x++)
        tabular_set(p, x, w->rho_sft + (size_t)x * (size_t)w->n_rewrite);
    for (size_t i = 0; i < n; i++)
        p->logits.x[i] = p->ref[i] = log(p->ref[i]);
    tabular_refresh(p);
}

static inline void tabular_close(struct tabular *p)
{
    tabular_adam_free(&p->logits);
    tabular_adam_free(&p->values);
    ap_free(p->ref), ap_free(p->logp), ap_free(p->logp_ref);
}

static inline int32_t tabular_draw(struct ap_random *random, const double *logp, int n)
{
    double u = ap_random_uniform(random);
    for (int32_t i = 0; i < n - 1; i++) {
        u -= exp(logp[i]);
        if (u < 0)
            return i;
    }
    return n - 1;
}

static inline ap_status tabular_sample(void *self, const int32_t *prompts, int n, int n_each,
                                       int64_t step, struct ap_rollout *r, struct ap_error *err)
{
    struct tabular *p = self;
    ap_status status = AP_OK;
    ap_rollout_clear(r);
    r->n_each = n_each;
    for (int i = 0; i < n * n_each && status == AP_OK; i++) {
        int32_t ids[TABULAR_DEPTH_MAX], prompt = prompts[i / n_each];
        struct ap_random random;
        struct ap_stream stream = {.seed = p->seed,
                                   .stage = ap_stream_stage("tabular"),
                                   .step = (uint32_t)step,
                                   .record = (uint64_t)prompt,
                                   .sample = (uint32_t)(i % n_each)};
        ap_random_init(&random, &stream);
        for (int t = 0; t < p->depth; t++)
            ids[t] = tabular_draw(
                &random, p->logp + tabular_state(p, prompt, ids, t) * (size_t)p->arity, p->arity);
        status =
            ap_rollout_add(r, prompt, (uint64_t)prompt, i % n_each, ids, p->depth, true, NULL, err);
    }
    return status;
}

static inline int tabular_fit(void *self, const struct ap_rollout *r, const int32_t *rows,
                              int n_rows)
{
    const struct tabular *p = self;
    (void)r, (void)rows;
    return n_rows < p->micro ? n_rows : p->micro;
}

static inline double tabular_entropy(const double *logp, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum -= exp(logp[i]) * logp[i];
    return sum;
}

static inline ap_status tabular_forward(void *self, ap_policy_role role, const struct ap_rollout *r,
                                        const int32_t *rows, int n_rows, double *logp,
                                        double *entropy, struct ap_error *err)
{
    struct tabular *p = self;
    const double *table = role == AP_POLICY ? p->logp : p->logp_ref;
    const double off = role == AP_REFERENCE ? p->lie : entropy ? 0 : p->wobble;
    (void)err;
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        const int32_t *ids = r->ids + row->first;
        for (int t = 0; t < row->n; t++) {
            const double *state = table + tabular_state(p, row->prompt, ids, t) * (size_t)p->arity;
            logp[row->first + (size_t)t] = state[ids[t]] + off;
            if (entropy)
                entropy[row->first + (size_t)t] = tabular_entropy(state, p->arity);
        }
    }
    return AP_OK;
}

static inline ap_status tabular_backward(void *self, const struct ap_rollout *r,
                                         const int32_t *rows, int n_rows, const double *dlogp,
                                         const double *dentropy, struct ap_error *err)
{
    struct tabular *p = self;
    (void)err;
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        const int32_t *ids = r->ids + row->first;
        for (int t = 0; t < row->n; t++) {
            size_t at = tabular_state(p, row->prompt, ids, t) * (size_t)p->arity;
            double d = dlogp[row->first + (size_t)t];
            double dh = dentropy ? dentropy[row->first + (size_t)t] : 0;
            double h = dh != 0 ? tabular_entropy(p->logp + at, p->arity) : 0;
            for (int a = 0; a < p->arity; a++) {
                double share = exp(p->logp[at + (size_t)a]);
                p->logits.g[at + (size_t)a] +=
                    d * ((a == ids[t]) - share) - dh * share * (p->logp[at + (size_t)a] + h);
            }
        }
    }
    if (p->poison >= 0 && p->poison-- == 0)
        p->logits.g[0] = NAN;
    return AP_OK;
}

static inline ap_status tabular_value(void *self, const struct ap_rollout *r, const int32_t *rows,
                                      int n_rows, double *value, struct ap_error *err)
{
    struct tabular *p = self;
    (void)err;
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        for (int t = 0; t < row->n; t++)
            value[row->first + (size_t)t] =
                p->values.x[tabular_state(p, row->prompt, r->ids + row->first, t)];
    }
    return AP_OK;
}

static inline ap_status tabular_value_backward(void *self, const struct ap_rollout *r,
                                               const int32_t *rows, int n_rows,
                                               const double *dvalue, struct ap_error *err)
{
    struct tabular *p = self;
    (void)err;
    for (int i = 0; i < n_rows; i++) {
        const struct ap_rollout_row *row = &r->rows[rows[i]];
        for (int t = 0; t < row->n; t++)
            p->values.g[tabular_state(p, row->prompt, r->ids + row->first, t)] +=
                dvalue[row->first + (size_t)t];
    }
    return AP_OK;
}

static inline double tabular_norm(const struct tabular_adam *a)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++)
        sum += a->g[i] * a->g[i];
    return sqrt(sum);
}

static inline bool tabular_finite(void *self, char *bad)
{
    struct tabular *p = self;
    bool logits = isfinite(tabular_norm(&p->logits)), values = isfinite(tabular_norm(&p->values));
    if (bad && !(logits && values))
        snprintf(bad, 160, "%s", logits ? "table.values" : "table.logits");
    return logits && values;
}

static inline void tabular_drop(void *self)
{
    struct tabular *p = self;
    memset(p->logits.g, 0, p->logits.n * sizeof(double));
    memset(p->values.g, 0, p->values.n * sizeof(double));
}

static inline void tabular_adam_step(struct tabular_adam *a, double lr, int64_t t,
                                     const struct ap_optimiser_settings *s)
{
    for (size_t i = 0; i < a->n; i++) {
        a->m[i] += (1 - s->beta1) * (a->g[i] - a->m[i]);
        a->v[i] += (1 - s->beta2) * (a->g[i] * a->g[i] - a->v[i]);
        a->x[i] -= lr * (a->m[i] / (1 - pow(s->beta1, (double)t))) /
                   (sqrt(a->v[i] / (1 - pow(s->beta2, (double)t))) + s->eps);
    }
}

static inline void tabular_update(void *self, int64_t update, struct ap_policy_update *out)
{
    struct tabular *p = self;
    double lr = ap_schedule_lr(&p->optimiser, update, p->n_updates);
    *out = (struct ap_policy_update){.grad_norm = tabular_norm(&p->logits),
                                     .value_grad_norm = tabular_norm(&p->values),
                                     .lr = lr};
    out->skipped = !tabular_finite(p, out->bad);
    if (!out->skipped) {
        p->n_applied++;
        tabular_adam_step(&p->logits, lr, p->n_applied, &p->optimiser);
        tabular_adam_step(&p->values, p->value_lr * lr / p->optimiser.lr, p->n_applied,
                          &p->optimiser);
    }
    tabular_drop(p);
    tabular_refresh(p);
}

/* Every number that training changes, in one order for save and load. */
static inline bool tabular_each(struct tabular *p, FILE *file, bool (*move)(FILE *, void *, size_t))
{
    struct tabular_adam *parts[] = {&p->logits, &p->values};
    bool good = move(file, &p->n_applied, sizeof(p->n_applied));
    for (int i = 0; i < 2; i++) {
        size_t n = parts[i]->n * sizeof(double);
        good = good && move(file, parts[i]->x, n) && move(file, parts[i]->m, n) &&
               move(file, parts[i]->v, n);
    }
    return good;
}

static inline bool tabular_write(FILE *file, void *data, size_t n)
{
    return fwrite(data, 1, n, file) == n;
}

static inline bool tabular_read(FILE *file, void *data, size_t n)
{
    return fread(data, 1, n, file) == n;
}

static inline ap_status tabular_save(void *self, const char *folder, struct ap_error *err)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/table", folder);
    FILE *file = fopen(path, "wb");
    bool good = file && tabular_each(self, file, tabular_write);
    if (file && fclose(file) != 0)
        good = false;
    return good ? AP_OK : ap_fail(err, AP_IO, "%s: cannot write", path);
}

static inline ap_status tabular_load(void *self, const char *folder, struct ap_error *err)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/table", folder);
    FILE *file = fopen(path, "rb");
    bool good = file && tabular_each(self, file, tabular_read);
    if (file)
        fclose(file);
    if (good)
        tabular_refresh(self);
    return good ? AP_OK : ap_fail(err, AP_IO, "%s: cannot read", path);
}

static inline struct ap_policy tabular_policy(struct tabular *p)
{
    return (struct ap_policy){.self = p,
                              .sample = tabular_sample,
                              .fit = tabular_fit,
                              .forward = tabular_forward,
                              .backward = tabular_backward,
                              .value = tabular_value,
                              .value_backward = tabular_value_backward,
                              .finite = tabular_finite,
                              .drop = tabular_drop,
                              .update = tabular_update,
                              .save = tabular_save,
                              .load = tabular_load,
                              .tolerance = 1e-9,
                              .max_tokens = p->depth};
}

/* -- the environment -- */

struct tabular_scorer {
    const struct ap_exact_world *world;
    const double *value; /* R(x, x') */
    int arity;
    int n_answers; /* K answers sampled from the target; 0: R exactly */
    uint64_t seed;
    double offset; /* added to every score */
};

static inline double tabular_sampled_score(const struct tabular_scorer *e, int64_t step,
                                           const struct ap_rollout_row *row, size_t x, size_t pair)
{
    const struct ap_exact_world *w = e->world;
    const size_t Y = (size_t)w->n_answer;
    struct ap_random random;
    struct ap_stream stream = {.seed = e->seed,
                               .stage = ap_stream_stage("tabular.answer"),
                               .step = (uint32_t)step,
                               .record = row->record,
                               .sample = (uint32_t)row->sample};
    double sum = 0;
    ap_random_init(&random, &stream);
    for (int k = 0; k < e->n_answers; k++) {
        double u = ap_random_uniform(&random);
        size_t y = 0;
        while (y + 1 < Y && (u -= w->target[pair * Y + y]) >= 0)
            y++;
        sum += w->reward[x * Y + y] / e->n_answers;
    }
    return sum;
}

static inline ap_status tabular_score(void *self, int64_t step, struct ap_rollout *r,
                                      struct ap_error *err)
{
    const struct tabular_scorer *e = self;
    (void)err;
    for (int i = 0; i < r->n_row; i++) {
        struct ap_rollout_row *row = &r->rows[i];
        size_t x = (size_t)(row->prompt % e->world->n_prompt), code = 0;
        for (int t = 0; t < row->n; t++)
            code = code * (size_t)e->arity + (size_t)r->ids[row->first + (size_t)t];
        size_t pair = x * (size_t)e->world->n_rewrite + code;
        row->score = e->offset + (e->n_answers > 0 ? tabular_sampled_score(e, step, row, x, pair)
                                                   : e->value[pair]);
    }
    return AP_OK;
}

#endif
