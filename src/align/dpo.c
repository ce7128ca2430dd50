/* DPO, math.md (20): one visible loop. A pair's two sequences always share a micro-batch, so that
 * the loss sees both. Entry point: ap_dpo. */
#include "align/dpo.h"

#include "align/learner.h"
#include "align/pack.h"
#include "align/sft.h"
#include "base/memory.h"

#include <math.h>

struct dpo {
    const struct ap_dpo_options *o;
    struct ap_learner learner;
    struct ap_pack pack;
    int32_t *order;
    int *first; /* first target of each packed sequence: chosen, rejected, chosen, … */
    float *logp, *logp_ref; /* per target */
    double *sums;           /* the memory of the six below */
    double *chosen, *rejected, *chosen_ref, *rejected_ref, *dchosen, *drejected; /* per pair */
    struct ap_dropout dropout;                                                   /* of the step */
    bool drops; /* while training, not while testing */
};

/* Of one step. */
struct totals {
    double loss, margin; /* margin: β times the gap of the log-ratios, summed over pairs */
    double n_chosen;     /* trained tokens of the chosen answers */
    int n_pair, n_right;
    int64_t n_tokens;
};

static ap_status save(void *self, const char *folder, struct ap_error *err)
{
    struct dpo *s = self;
    return ap_learner_save(&s->learner, folder, "policy", err);
}

static ap_status load(void *self, const char *folder, struct ap_error *err)
{
    struct dpo *s = self;
    return ap_learner_load(&s->learner, folder, "policy", err);
}

static void pack_sequence(struct dpo *s, const struct ap_sequence *q, uint64_t record)
{
    s->first[s->pack.n_seq] = s->pack.n_target;
    ap_pack_add_marked(&s->pack, q->ids, q->trained, q->n, record);
    s->first[s->pack.n_seq] = s->pack.n_target;
}

static double sum_of(const struct dpo *s, const float *logp, int sequence)
{
    double sum = 0;
    for (int i = s->first[sequence]; i < s->first[sequence + 1]; i++)
        sum += logp[i];
    return sum;
}

/* The packed pairs under both roles. Of the two forwards the policy's is the one that stays for the
 * backward. */
static ap_status forward(struct dpo *s, struct ap_error *err)
{
    struct ap_pack *p = &s->pack;
    struct ap_rows rows = ap_pack_rows(p);
    struct ap_tape *tape = s->learner.tape;
    ap_status status = ap_forward(tape, &s->o->reference, &rows, err);
    if (status != AP_OK)
        return status;
    ap_logp_forward(tape, &s->o->reference, p->row, p->target, p->n_target, 1, s->logp_ref, NULL);
    rows.dropout = s->drops ? &s->dropout : NULL;
    status = ap_forward(tape, &s->o->role, &rows, err);
    if (status != AP_OK)
        return status;
    ap_logp_forward(tape, &s->o->role, p->row, p->target, p->n_target, 1, s->logp, NULL);
    for (int i = 0; i < p->n_seq / 2; i++) {
        s->chosen[i] = sum_of(s, s->logp, 2 * i);
        s->rejected[i] = sum_of(s, s->logp, 2 * i + 1);
        s->chosen_ref[i] = sum_of(s, s->logp_ref, 2 * i);
        s->rejected_ref[i] = sum_of(s, s->logp_ref, 2 * i + 1);
    }
    return AP_OK;
}

static void backward(struct dpo *s)
{
    struct ap_pack *p = &s->pack;
    struct ap_tape *tape = s->learner.tape;
    for (int q = 0; q < p->n_seq; q++)
        for (int i = s->first[q]; i < s->first[q + 1]; i++)
            s->logp[i] = (float)(q % 2 ? s->drejected[q / 2] : s->dchosen[q / 2]);
    ap_logp_backward(tape, &s->o->role, p->row, p->target, p->n_target, 1, s->logp, NULL);
    ap_backward(tape, &s->o->role);
}

/* The gap of the i-th packed pair's log-ratios. */
static double gap_of(const struct dpo *s, int i)
{
    return s->chosen[i] - s->chosen_ref[i] - (s->rejected[i] - s->rejected_ref[i]);
}

/* Forward, loss and backward of the packed pairs; adds to t. */
static ap_status micro_batch(struct dpo *s, struct totals *t, struct ap_error *err)
{
    const struct ap_dpo_pairs pairs = {s->chosen, s->rejected, s->chosen_ref, s->rejected_ref};
    int n = s->pack.n_seq / 2;
    ap_status status = n > 0 ? forward(s, err) : AP_OK;
    if (n == 0 || status != AP_OK)
        return status;
    for (int i = 0; i < n; i++) {
        t->n_right += gap_of(s, i) > 0;
        t->margin += s->o->weights.beta * gap_of(s, i);
    }
    t->loss +=
        ap_loss_dpo(&pairs, n, t->n_pair, t->n_chosen, &s->o->weights, s->dchosen, s->drejected);
    backward(s);
    ap_pack_clear(&s->pack);
    return AP_OK;
}

static ap_status train_batch(struct dpo *s, const int32_t *index, int n, struct totals *t,
                             struct ap_error *err)
{
    ap_status status = AP_OK;
    *t = (struct totals){.n_pair = n};
    for (int i = 0; i < n; i++) {
        const struct ap_sequence *chosen = &s->o->pairs[index[i]].chosen;
        for (int k = 1; k < chosen->n; k++)
            t->n_chosen += chosen->trained[k];
    }
    ap_pack_clear(&s->pack);
    for (int i = 0; i < n; i++) {
        const struct ap_pair *pair = &s->o->pairs[index[i]];
        if (!ap_pack_fits(&s->pack, pair->chosen.n + pair->rejected.n))
            AP_TRY(micro_batch(s, t, err));
        pack_sequence(s, &pair->chosen, 2 * (uint64_t)index[i]);
        pack_sequence(s, &pair->rejected, 2 * (uint64_t)index[i] + 1);
        t->n_tokens += pair->chosen.n + pair->rejected.n;
    }
    AP_TRY(micro_batch(s, t, err));
out:
    return status;
}

/* The validation accuracy: forwards only. */
static ap_status accuracy_of(struct dpo *s, double *accuracy, struct ap_error *err)
{
    ap_status status = AP_OK;
    int n_right = 0, n_valid = s->o->valid ? s->o->n_valid : 0;

    ap_pack_clear(&s->pack);
    for (int i = 0; i <= n_valid; i++) {
        const struct ap_pair *pair = &s->o->valid[i < n_valid ? i : 0];
        if (i == n_valid || !ap_pack_fits(&s->pack, pair->chosen.n + pair->rejected.n)) {
            if (s->pack.n_seq > 0)
                AP_TRY(forward(s, err));
            for (int k = 0; k < s->pack.n_seq / 2; k++)
                n_right += gap_of(s, k) > 0;
            ap_pack_clear(&s->pack);
        }
        if (i < n_valid) {
            pack_sequence(s, &pair->chosen, 0);
            pack_sequence(s, &pair->rejected, 0);
        }
    }
out:
    *accuracy = n_valid > 0 ? (double)n_right / n_valid : NAN;
    return status;
}

static ap_status open_dpo(struct dpo *s, int64_t n_steps, struct ap_error *err)
{
    const struct ap_dpo_options *o = s->o;
    int max_row = ap_pairs_longest(o->pairs, o->n, o->optimiser->batch_tokens);
    size_t n;
    ap_status status = AP_OK;

    max_row = ap_pairs_longest(o->valid, o->n_valid, max_row);
    n = (size_t)max_row + 1;
    AP_TRY(ap_pack_init(&s->pack, max_row, err));
    AP_TRY(ap_learner_open(&s->learner, o->lm, &o->role, o->optimiser, n_steps, max_row,
                           ap_role_max_rank(&o->role, &o->reference), err));
    s->order = ap_calloc((size_t)o->n, sizeof(*s->order));
    s->first = ap_calloc(n, sizeof(*s->first));
    s->logp = ap_calloc(n, sizeof(*s->logp));
    s->logp_ref = ap_calloc(n, sizeof(*s->logp_ref));
    s->sums = ap_calloc(6 * n, sizeof(*s->sums));
    if (!s->order || !s->first || !s->logp || !s->logp_ref || !s->sums) {
        status = ap_fail(err, AP_MEMORY, "batch of %d tokens: out of memory", max_row);
        goto out;
    }
    s->chosen = s->sums;
    s->rejected = s->sums + n;
    s->chosen_ref = s->sums + 2 * n;
    s->rejected_ref = s->sums + 3 * n;
    s->dchosen = s->sums + 4 * n;
    s->drejected = s->sums + 5 * n;
out:
    return status;
}

static void close_dpo(struct dpo *s)
{
    ap_learner_close(&s->learner);
    ap_pack_free(&s->pack);
    ap_free(s->order);
    ap_free(s->first);
    ap_free(s->logp);
    ap_free(s->logp_ref);
    ap_free(s->sums);
}

ap_status ap_dpo(struct ap_stage *stage, const struct ap_dpo_options *o, double *accuracy,
                 struct ap_error *err)
{
    ap_status status = AP_OK;
    struct dpo s = {.o = o, .drops = true};
    int64_t step = 0, epoch = -1;
    int64_t n_steps = (int64_t)o->epochs * ((o->n + o->batch - 1) / o->batch);

    if (o->n < 1)
        return ap_fail(err, AP_INVALID,
                       "%s: no preference pairs are left after the split and the length limit",
                       stage->name);
    AP_TRY(open_dpo(&s, n_steps, err));
    AP_TRY(ap_stage_begin(stage, n_steps, load, &s, &step, err));
    for (; step < n_steps; step++) {
        struct totals t;
        int first;
        int n =
            ap_epoch_batch(s.order, o->n, o->batch, step, stage->seed, stage->name, &epoch, &first);
        s.dropout = ap_learner_dropout(stage, step, s.pack.record);
        AP_TRY(train_batch(&s, s.order + first, n, &t, err));
        AP_TRY(ap_learner_update(&s.learner, stage, step, t.loss, err));
        AP_TRY(ap_stage_metric(stage, step, "accuracy", (double)t.n_right / n, err));
        AP_TRY(ap_stage_metric(stage, step, "margin", t.margin / n, err));
        AP_TRY(ap_stage_step(stage, step, t.loss, NAN, NAN, t.n_tokens, save, &s, err));
    }
    ap_stage_end(stage);
    s.drops = false;
    AP_TRY(accuracy_of(&s, accuracy, err));
out:
    close_dpo(&s);
    return status;
}
