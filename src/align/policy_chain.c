/* Several policies as one (policy_chain.h): sampling goes through the passes, everything else is
 * handed to each of them over views of the loop's own columns. */
#include "align/policy_chain.h"

#include "base/file.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PASS_MAX 8

struct ap_policy_chain {
    struct ap_chain_pass passes[PASS_MAX];
    /* What each pass sampled: rows with texts, and ids, without columns. A trained pass's rows are
     * moved to their places in the loop's columns once all are there. */
    struct ap_rollout parts[PASS_MAX];
    int n_pass, n_frozen;
    struct ap_pass_input *inputs; /* max_row, for see */
    int32_t *index;               /* max_row: 0, 1, 2 … */
    int32_t *ids;                 /* of one row of the loop */
};

/* ---- sampling ---- */

/* The row of pass k − 1 that row i of pass k was made from; groups are consecutive in both. */
static int parent(const struct ap_policy_chain *c, int k, int i)
{
    return (int)((int64_t)i * c->parts[k - 1].n_row / c->parts[k].n_row);
}

static const struct ap_rollout_row *first_row(const struct ap_policy_chain *c, int k, int i)
{
    for (; k > 0; k--)
        i = parent(c, k, i);
    return &c->parts[0].rows[i];
}

/* What row i of pass k hands on: a pass that wrote nothing hands on what it was given (15). */
static const char *handed_on(const struct ap_policy_chain *c, int k, int i)
{
    const char *text = c->parts[k].rows[i].text;
    if (text && text[0])
        return text;
    return k > 0 ? handed_on(c, k - 1, parent(c, k, i)) : NULL;
}

static ap_status give(struct ap_policy_chain *c, int k, int n_prompt, struct ap_error *err)
{
    const struct ap_rollout *before = &c->parts[k - 1];
    const int each = before->n_row / n_prompt;
    for (int i = 0; i < before->n_row; i++) {
        const struct ap_rollout_row *row = &before->rows[i], *first = first_row(c, k - 1, i);
        c->inputs[i] = (struct ap_pass_input){.prompt = first->prompt,
                                              .record = first->record,
                                              .sample = i % each,
                                              .text = handed_on(c, k - 1, i),
                                              .ids = before->ids + row->first,
                                              .n = row->n};
    }
    return c->passes[k].see(c->passes[k].self, c->inputs, before->n_row, err);
}

/* Row i of the loop: the tokens of its trained passes, whose rows become views of them. */
static ap_status join(struct ap_policy_chain *c, struct ap_rollout *r, int i, int n_each,
                      struct ap_error *err)
{
    const int last = c->n_pass - 1;
    const struct ap_rollout_row *first = first_row(c, last, i);
    const char *text = handed_on(c, last, i);
    char *copy = text || c->parts[last].rows[i].text ? ap_strdup(text ? text : "") : NULL;
    bool ended = true;
    int n = 0, n_fault = 0, n_empty = 0;

    if (!copy && c->parts[last].rows[i].text)
        return ap_fail(err, AP_MEMORY, "rewrite: out of memory");
    for (int k = c->n_frozen; k < c->n_pass; k++) {
        struct ap_rollout_row *row = &c->parts[k].rows[i];
        const int32_t *ids = c->parts[k].ids + row->first;
        ended = ended && row->ended;
        n_fault += row->n_fault;
        n_empty += row->n_empty;
        row->first = r->n_token + (size_t)n;
        memcpy(c->ids + n, ids, (size_t)row->n * sizeof(*ids));
        n += row->n;
    }
    ap_status status =
        ap_rollout_add(r, first->prompt, first->record, i % n_each, c->ids, n, ended, copy, err);
    if (status == AP_OK) {
        r->rows[i].n_fault = n_fault;
        r->rows[i].n_empty = n_empty;
    }
    return status;
}

static ap_status chain_sample(void *self, const int32_t *prompts, int n, int n_each, int64_t step,
                              struct ap_rollout *r, struct ap_error *err)
{
    struct ap_policy_chain *c = self;
    ap_status status = AP_OK;
    int n_given = n;

    ap_rollout_clear(r);
    r->n_each = n_each;
    for (int k = 0; k < c->n_pass; k++) {
        struct ap_policy *policy = &c->passes[k].policy;
        if (k > 0)
            AP_TRY(give(c, k, n, err));
        AP_TRY(policy->sample(policy->self, k > 0 ? c->index : prompts, n_given,
                              k == c->n_frozen ? n_each : 1, step, &c->parts[k], err));
        n_given = c->parts[k].n_row;
    }
    for (int i = 0; i < n_given; i++)
        AP_TRY(join(c, r, i, n_each, err));
out:
    return status;
}

/* ---- learning ---- */

/* The rows of a pass in the loop's columns. */
static struct ap_rollout view_of(const struct ap_policy_chain *c, int k, const struct ap_rollout *r)
{
    struct ap_rollout view = *r;
    view.rows = c->parts[k].rows;
    return view;
}

static int chain_fit(void *self, const struct ap_rollout *r, const int32_t *rows, int n_rows)
{
    struct ap_policy_chain *c = self;
    for (int k = c->n_frozen; k < c->n_pass; k++) {
        struct ap_rollout view = view_of(c, k, r);
        n_rows = c->passes[k].policy.fit(c->passes[k].policy.self, &view, rows, n_rows);
    }
    return n_rows;
}

static ap_status chain_forward(void *self, ap_policy_role role, const struct ap_rollout *r,
                               const int32_t *rows, int n_rows, double *logp, double *entropy,
                               struct ap_error *err)
{
    struct ap_policy_chain *c = self;
    ap_status status = AP_OK;
    for (int k = c->n_frozen; status == AP_OK && k < c->n_pass; k++) {
        struct ap_policy *policy = &c->passes[k].policy;
        struct ap_rollout view = view_of(c, k, r);
        status = policy->forward(policy->self, role, &view, rows, n_rows, logp, entropy, err);
    }
    return status;
}

static ap_status chain_backward(void *self, const struct ap_rollout *r, const int32_t *rows,
                                int n_rows, const double *dlogp, const double *dentropy,
                                struct ap_error *err)
{
    struct ap_policy_chain *c = self;
    ap_status status = AP_OK;
    for (int k = c->n_frozen; status == AP_OK && k < c->n_pass; k++) {
        struct ap_policy *policy = &c->passes[k].policy;
        struct ap_rollout view = view_of(c, k, r);
        status = policy->backward(policy->self, &view, rows, n_rows, dlogp, dentropy, err);
    }
    return status;
}

static ap_status chain_value(void *self, const struct ap_rollout *r, const int32_t *rows,
                             int n_rows, double *value, struct ap_error *err)
{
    struct ap_policy_chain *c = self;
    ap_status status = AP_OK;
    for (int k = c->n_frozen; status == AP_OK && k < c->n_pass; k++) {
        struct ap_policy *policy = &c->passes[k].policy;
        struct ap_rollout view = view_of(c, k, r);
        status = policy->value(policy->self, &view, rows, n_rows, value, err);
    }
    return status;
}

static ap_status chain_value_backward(void *self, const struct ap_rollout *r, const int32_t *rows,
                                      int n_rows, const double *dvalue, struct ap_error *err)
{
    struct ap_policy_chain *c = self;
    ap_status status = AP_OK;
    for (int k = c->n_frozen; status == AP_OK && k < c->n_pass; k++) {
        struct ap_policy *policy = &c->passes[k].policy;
        struct ap_rollout view = view_of(c, k, r);
        status = policy->value_backward(policy->self, &view, rows, n_rows, dvalue, err);
    }
    return status;
}

static bool chain_finite(void *self, char *bad)
{
    struct ap_policy_chain *c = self;
    bool finite = true;
    for (int k = c->n_frozen; finite && k < c->n_pass; k++)
        finite = c->passes[k].policy.finite(c->passes[k].policy.self, bad);
    return finite;
}

static void chain_drop(void *self)
{
    struct ap_policy_chain *c = self;
    for (int k = c->n_frozen; k < c->n_pass; k++)
        c->passes[k].policy.drop(c->passes[k].policy.self);
}

/* All or none, as a policy and its critic; one alone looks itself. Each pass clips its own
 * gradient. */
static void chain_update(void *self, int64_t update, struct ap_policy_update *out)
{
    struct ap_policy_chain *c = self;
    char bad[sizeof(out->bad)];
    if (c->n_pass - c->n_frozen > 1 && !chain_finite(c, bad)) {
        *out = (struct ap_policy_update){.grad_norm = NAN, .value_grad_norm = NAN, .skipped = true};
        memcpy(out->bad, bad, sizeof(bad));
        chain_drop(c);
        return;
    }
    for (int k = c->n_frozen; k < c->n_pass; k++) {
        struct ap_policy_update one;
        c->passes[k].policy.update(c->passes[k].policy.self, update, &one);
        if (k > c->n_frozen) { /* hypot(x, 0) would do, but a chain of one keeps its NaN and bits */
            one.grad_norm = hypot(one.grad_norm, out->grad_norm);
            one.value_grad_norm = hypot(one.value_grad_norm, out->value_grad_norm);
        }
        *out = one;
    }
}

/* ---- checkpoints ---- */

static ap_status pass_folder(const struct ap_policy_chain *c, int k, const char *folder, char **out,
                             struct ap_error *err)
{
    char name[32];
    snprintf(name, sizeof(name), "pass-%d", k + 1);
    *out = k == c->n_frozen ? ap_strdup(folder) : ap_path_join(folder, name);
    return *out ? AP_OK : ap_fail(err, AP_MEMORY, "%s: out of memory", folder);
}

static ap_status chain_save(void *self, const char *folder, struct ap_error *err)
{
    struct ap_policy_chain *c = self;
    ap_status status = AP_OK;
    for (int k = c->n_frozen; status == AP_OK && k < c->n_pass; k++) {
        char *at;
        status = pass_folder(c, k, folder, &at, err);
        if (status == AP_OK)
            status = ap_dir_make(at, err);
        if (status == AP_OK)
            status = c->passes[k].policy.save(c->passes[k].policy.self, at, err);
        ap_free(at);
    }
    return status;
}

static ap_status chain_load(void *self, const char *folder, struct ap_error *err)
{
    struct ap_policy_chain *c = self;
    ap_status status = AP_OK;
    for (int k = c->n_frozen; status == AP_OK && k < c->n_pass; k++) {
        char *at;
        status = pass_folder(c, k, folder, &at, err);
        if (status == AP_OK)
            status = c->passes[k].policy.load(c->passes[k].policy.self, at, err);
        ap_free(at);
    }
    return status;
}

/* ---- open, close ---- */

size_t ap_policy_chain_bytes(int max_row, int max_tokens)
{
    size_t n = (size_t)max_row;
    return ap_calloc_bytes(n, sizeof(struct ap_rollout_row)) +
           ap_calloc_bytes(n * (size_t)max_tokens, sizeof(int32_t)) +
           ap_calloc_bytes(n, sizeof(struct ap_pass_input) + sizeof(int32_t));
}

static ap_status open_part(struct ap_rollout *r, int max_row, int max_tokens, struct ap_error *err)
{
    size_t max_token;
    *r = (struct ap_rollout){.max_row = max_row};
    if (max_row < 1 || max_tokens < 1 ||
        __builtin_mul_overflow((size_t)max_row, (size_t)max_tokens, &max_token))
        return ap_fail(err, AP_INVALID, "chain: %d rows of %d tokens, expected at least one",
                       max_row, max_tokens);
    r->max_token = max_token;
    r->rows = ap_calloc((size_t)max_row, sizeof(*r->rows));
    r->ids = ap_calloc(max_token, sizeof(*r->ids));
    return r->rows && r->ids ? AP_OK
                             : ap_fail(err, AP_MEMORY, "chain: %d rows: out of memory", max_row);
}

ap_status ap_policy_chain_open(struct ap_policy_chain **out, const struct ap_chain_pass *passes,
                               int n_pass, int n_frozen, int max_row, struct ap_error *err)
{
    ap_status status = AP_OK;
    size_t n_id = 0;
    struct ap_policy_chain *c = ap_calloc(1, sizeof(*c));
    *out = NULL;
    if (!c)
        return ap_fail(err, AP_MEMORY, "chain: out of memory");
    if (n_pass < 1 || n_pass > PASS_MAX || n_frozen < 0 || n_frozen >= n_pass)
        AP_TRY(ap_fail(err, AP_INVALID,
                       "chain: %d passes of which %d frozen, expected 1 to %d and one that trains",
                       n_pass, n_frozen, PASS_MAX));
    memcpy(c->passes, passes, (size_t)n_pass * sizeof(*passes));
    c->n_pass = n_pass;
    c->n_frozen = n_frozen;
    for (int k = 0; k < n_pass; k++) {
        AP_TRY(open_part(&c->parts[k], max_row, passes[k].policy.max_tokens, err));
        n_id += (size_t)passes[k].policy.max_tokens;
    }
    c->ids = ap_calloc(n_id, sizeof(*c->ids));
    c->inputs = ap_calloc((size_t)max_row, sizeof(*c->inputs));
    c->index = ap_calloc((size_t)max_row, sizeof(*c->index));
    if (!c->ids || !c->inputs || !c->index)
        AP_TRY(ap_fail(err, AP_MEMORY, "chain: %d rows: out of memory", max_row));
    for (int i = 0; i < max_row; i++)
        c->index[i] = i;
    *out = c;
    return AP_OK;
out:
    ap_policy_chain_close(c);
    return status;
}

void ap_policy_chain_close(struct ap_policy_chain *c)
{
    if (!c)
        return;
    for (int k = 0; k < c->n_pass; k++)
        ap_rollout_free(&c->parts[k]);
    ap_free(c->inputs);
    ap_free(c->index);
    ap_free(c->ids);
    ap_free(c);
}

struct ap_policy ap_policy_chain(struct ap_policy_chain *c)
{
    struct ap_policy policy = {.self = c,
                               .sample = chain_sample,
                               .fit = chain_fit,
                               .forward = chain_forward,
                               .backward = chain_backward,
                               .value = chain_value,
                               .value_backward = chain_value_backward,
                               .finite = chain_finite,
                               .drop = chain_drop,
                               .update = chain_update,
                               .save = chain_save,
                               .load = chain_load};
    for (int k = c->n_frozen; k < c->n_pass; k++) {
        const struct ap_policy *one = &c->passes[k].policy;
        policy.tolerance = fmax(policy.tolerance, one->tolerance);
        policy.max_tokens += one->max_tokens;
        if (!one->value)
            policy.value = NULL, policy.value_backward = NULL;
    }
    return policy;
}
