/* Intuitive fine-tuning, math.md (21): one visible loop. Each micro-batch goes through the model
 * twice: without gradient for the greedy guesses, then with them in the inputs. Entry point:
 * ap_ift.
 */
#include "align/ift.h"

#include "align/learner.h"
#include "align/loss.h"
#include "align/pack.h"
#include "align/sft.h"
#include "base/memory.h"

#include <math.h>

struct ift {
    const struct ap_ift_options *o;
    struct ap_learner learner;
    struct ap_pack pack;
    int32_t *order;
    int *first;            /* first target of each packed sequence */
    int32_t *best, *guess; /* per target; per row */
    float *logp;
    double *logp64, *dlogp64;
    struct ap_dropout dropout; /* of the step */
};

static ap_status save(void *self, const char *folder, struct ap_error *err)
{
    struct ift *s = self;
    return ap_learner_save(&s->learner, folder, "policy", err);
}

static ap_status load(void *self, const char *folder, struct ap_error *err)
{
    struct ift *s = self;
    return ap_learner_load(&s->learner, folder, "policy", err);
}

/* The first pass: guess[row] of every trained token's own row, −1 elsewhere. */
static ap_status guess(struct ift *s, struct ap_error *err)
{
    struct ap_pack *p = &s->pack;
    struct ap_rows rows = ap_pack_rows(p);
    ap_status status = ap_forward(s->learner.tape, &s->o->role, &rows, err);
    if (status != AP_OK)
        return status;
    ap_greedy_forward(s->learner.tape, &s->o->role, p->row, p->n_target, s->best);
    for (int i = 0; i < p->n_row; i++)
        s->guess[i] = -1;
    for (int i = 0; i < p->n_target; i++)
        s->guess[p->row[i] + 1] = s->best[i];
    return AP_OK;
}

/* Both passes, loss and backward of what is packed; adds to *loss. */
static ap_status micro_batch(struct ift *s, double n_global, double *loss, struct ap_error *err)
{
    struct ap_pack *p = &s->pack;
    struct ap_tape *tape = s->learner.tape;
    ap_status status = guess(s, err);
    if (status != AP_OK)
        return status;
    struct ap_mix mix = {s->guess, s->o->frozen, (float)s->o->settings->eta};
    struct ap_rows rows = ap_pack_rows(p);
    rows.mix = &mix;
    rows.dropout = &s->dropout;
    status = ap_forward(tape, &s->o->role, &rows, err);
    if (status != AP_OK)
        return status;
    ap_logp_forward(tape, &s->o->role, p->row, p->target, p->n_target, 1, s->logp, NULL);
    for (int i = 0; i < p->n_target; i++)
        s->logp64[i] = s->logp[i];
    for (int q = 0; q < p->n_seq; q++)
        *loss += ap_loss_ift(s->logp64 + s->first[q], s->first[q + 1] - s->first[q],
                             s->o->settings->g, n_global, s->dlogp64 + s->first[q]);
    for (int i = 0; i < p->n_target; i++)
        s->logp[i] = (float)s->dlogp64[i];
    ap_logp_backward(tape, &s->o->role, p->row, p->target, p->n_target, 1, s->logp, NULL);
    ap_backward(tape, &s->o->role);
    ap_pack_clear(p);
    return AP_OK;
}

static ap_status train_batch(struct ift *s, const int32_t *index, int n, double *loss,
                             int64_t *n_tokens, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_pack *p = &s->pack;
    *loss = 0;
    ap_pack_clear(p);
    for (int i = 0; i < n; i++) {
        const struct ap_sequence *q = &s->o->sequences[index[i]];
        *n_tokens += q->n;
        if (!ap_pack_fits(p, q->n))
            AP_TRY(micro_batch(s, n, loss, err));
        s->first[p->n_seq] = p->n_target;
        ap_pack_add_marked(p, q->ids, q->trained, q->n, (uint64_t)index[i]);
        s->first[p->n_seq] = p->n_target;
    }
    AP_TRY(micro_batch(s, n, loss, err));
out:
    return status;
}

static ap_status open_ift(struct ift *s, int64_t n_steps, struct ap_error *err)
{
    const struct ap_ift_options *o = s->o;
    int max_row = o->settings->optimiser.batch_tokens;
    size_t n;
    ap_status status = AP_OK;

    for (int i = 0; i < o->n; i++)
        if (o->sequences[i].n > max_row)
            max_row = o->sequences[i].n;
    n = (size_t)max_row + 1;
    AP_TRY(ap_pack_init(&s->pack, max_row, err));
    AP_TRY(ap_learner_open(&s->learner, o->lm, &o->role, &o->settings->optimiser, n_steps, max_row,
                           ap_role_max_rank(&o->role, &o->role), err));
    s->order = ap_calloc((size_t)o->n, sizeof(*s->order));
    s->first = ap_calloc(n, sizeof(*s->first));
    s->best = ap_calloc(n, sizeof(*s->best));
    s->guess = ap_calloc(n, sizeof(*s->guess));
    s->logp = ap_calloc(n, sizeof(*s->logp));
    s->logp64 = ap_calloc(n, sizeof(*s->logp64));
    s->dlogp64 = ap_calloc(n, sizeof(*s->dlogp64));
    if (!s->order || !s->first || !s->best || !s->guess || !s->logp || !s->logp64 || !s->dlogp64)
        status = ap_fail(err, AP_MEMORY, "batch of %d tokens: out of memory", max_row);
out:
    return status;
}

static void close_ift(struct ift *s)
{
    ap_learner_close(&s->learner);
    ap_pack_free(&s->pack);
    ap_free(s->order);
    ap_free(s->first);
    ap_free(s->best);
    ap_free(s->guess);
    ap_free(s->logp);
    ap_free(s->logp64);
    ap_free(s->dlogp64);
}

ap_status ap_ift(struct ap_stage *stage, const struct ap_ift_options *o, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ift s = {.o = o};
    const int batch = o->settings->batch;
    int64_t step = 0, epoch = -1;
    int64_t n_steps = (int64_t)o->settings->epochs * ((o->n + batch - 1) / batch);

    if (o->n < 1)
        return ap_fail(err, AP_INVALID,
                       "%s: no training examples are left after the split and the length limit",
                       stage->name);
    AP_TRY(open_ift(&s, n_steps, err));
    AP_TRY(ap_stage_begin(stage, n_steps, load, &s, &step, err));
    for (; step < n_steps; step++) {
        double loss;
        int64_t n_tokens = 0;
        int first;
        int n =
            ap_epoch_batch(s.order, o->n, batch, step, stage->seed, stage->name, &epoch, &first);
        s.dropout = ap_learner_dropout(stage, step, s.pack.record);
        AP_TRY(train_batch(&s, s.order + first, n, &loss, &n_tokens, err));
        AP_TRY(ap_learner_update(&s.learner, stage, step, loss, err));
        AP_TRY(ap_stage_step(stage, step, loss, NAN, NAN, n_tokens, save, &s, err));
    }
    ap_stage_end(stage);
out:
    close_ift(&s);
    return status;
}
