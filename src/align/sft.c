/* Supervised training, math.md (8): one visible loop. The normaliser is the number of trained
 * tokens of the whole batch, however it is cut into micro-batches. */
#include "align/sft.h"

#include "align/learner.h"
#include "align/loss.h"
#include "align/pack.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>

struct sft {
    const struct ap_sft_options *o;
    struct ap_learner learner;
    struct ap_pack pack;
    int32_t *order;
    float *logp;
    double *logp64, *dlogp64;
    struct ap_dropout dropout; /* of the step */
};

int ap_epoch_batch(int32_t *order, int n, int batch, int64_t step, uint64_t seed, const char *stage,
                   int64_t *epoch, int *first)
{
    int64_t per_epoch = (n + batch - 1) / batch, wanted = step / per_epoch;
    if (*epoch != wanted) {
        struct ap_random random;
        struct ap_stream stream = {
            .seed = seed, .stage = ap_stream_stage(stage), .record = (uint64_t)wanted};
        ap_random_init(&random, &stream);
        for (int i = 0; i < n; i++)
            order[i] = i;
        ap_random_shuffle(&random, order, n);
        *epoch = wanted;
    }
    *first = (int)(step % per_epoch) * batch;
    return n - *first < batch ? n - *first : batch;
}

static ap_status save(void *self, const char *folder, struct ap_error *err)
{
    struct sft *s = self;
    return ap_learner_save(&s->learner, folder, "policy", err);
}

static ap_status load(void *self, const char *folder, struct ap_error *err)
{
    struct sft *s = self;
    return ap_learner_load(&s->learner, folder, "policy", err);
}

/* Forward, loss and backward of what is packed; adds to *loss. */
static ap_status micro_batch(struct sft *s, double n_global, double *loss, struct ap_error *err)
{
    struct ap_pack *p = &s->pack;
    struct ap_rows rows = ap_pack_rows(p);
    rows.dropout = &s->dropout;
    ap_status status = ap_forward(s->learner.tape, &s->o->role, &rows, err);
    if (status != AP_OK)
        return status;
    ap_logp_forward(s->learner.tape, &s->o->role, p->row, p->target, p->n_target, 1, s->logp, NULL);
    for (int i = 0; i < p->n_target; i++)
        s->logp64[i] = s->logp[i];
    *loss += ap_loss_sft(s->logp64, p->n_target, n_global, s->dlogp64);
    for (int i = 0; i < p->n_target; i++)
        s->logp[i] = (float)s->dlogp64[i];
    ap_logp_backward(s->learner.tape, &s->o->role, p->row, p->target, p->n_target, 1, s->logp,
                     NULL);
    ap_backward(s->learner.tape, &s->o->role);
    ap_pack_clear(p);
    return AP_OK;
}

static ap_status train_batch(struct sft *s, const int32_t *index, int n, double *loss,
                             int64_t *n_tokens, struct ap_error *err)
{
    ap_status status = AP_OK;
    double n_global = 0;
    *loss = 0;
    for (int i = 0; i < n; i++) {
        const struct ap_sequence *q = &s->o->sequences[index[i]];
        *n_tokens += q->n;
        for (int t = 1; t < q->n; t++)
            n_global += q->trained[t];
    }
    ap_pack_clear(&s->pack);
    for (int i = 0; i < n; i++) {
        const struct ap_sequence *q = &s->o->sequences[index[i]];
        if (!ap_pack_fits(&s->pack, q->n))
            AP_TRY(micro_batch(s, n_global, loss, err));
        ap_pack_add_marked(&s->pack, q->ids, q->trained, q->n, (uint64_t)index[i]);
    }
    AP_TRY(micro_batch(s, n_global, loss, err));
out:
    return status;
}

static ap_status open_sft(struct sft *s, int64_t n_steps, struct ap_error *err)
{
    const struct ap_sft_options *o = s->o;
    int max_row = o->optimiser->batch_tokens;
    ap_status status = AP_OK;

    for (int i = 0; i < o->n; i++)
        if (o->sequences[i].n > max_row)
            max_row = o->sequences[i].n;
    AP_TRY(ap_pack_init(&s->pack, max_row, err));
    AP_TRY(ap_learner_open(&s->learner, o->lm, &o->role, o->optimiser, n_steps, max_row,
                           ap_role_max_rank(&o->role, &o->role), err));
    s->order = ap_calloc((size_t)o->n, sizeof(*s->order));
    s->logp = ap_calloc((size_t)max_row, sizeof(*s->logp));
    s->logp64 = ap_calloc((size_t)max_row, sizeof(*s->logp64));
    s->dlogp64 = ap_calloc((size_t)max_row, sizeof(*s->dlogp64));
    if (!s->order || !s->logp || !s->logp64 || !s->dlogp64)
        status = ap_fail(err, AP_MEMORY, "batch of %d tokens: out of memory", max_row);
out:
    return status;
}

static void close_sft(struct sft *s)
{
    ap_learner_close(&s->learner);
    ap_pack_free(&s->pack);
    ap_free(s->order);
    ap_free(s->logp);
    ap_free(s->logp64);
    ap_free(s->dlogp64);
}

ap_status ap_sft(struct ap_stage *stage, const struct ap_sft_options *o, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct sft s = {.o = o};
    int64_t step = 0, epoch = -1;
    int64_t n_steps = (int64_t)o->epochs * ((o->n + o->batch - 1) / o->batch);

    if (o->n < 1)
        return ap_fail(err, AP_INVALID,
                       "%s: no training examples are left after the split and the length limit",
                       stage->name);
    AP_TRY(open_sft(&s, n_steps, err));
    AP_TRY(ap_stage_begin(stage, n_steps, load, &s, &step, err));
    for (; step < n_steps; step++) {
        double loss;
        int64_t n_tokens = 0;
        int first;
        int n =
            ap_epoch_batch(s.order, o->n, o->batch, step, stage->seed, stage->name, &epoch, &first);
        s.dropout = ap_learner_dropout(stage, step, s.pack.record);
        AP_TRY(train_batch(&s, s.order + first, n, &loss, &n_tokens, err));
        AP_TRY(ap_learner_update(&s.learner, stage, step, loss, err));
        AP_TRY(ap_stage_step(stage, step, loss, NAN, NAN, n_tokens, save, &s, err));
    }
    ap_stage_end(stage);
out:
    close_sft(&s);
    return status;
}
