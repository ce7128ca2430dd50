/* Training of a reward with a scalar head, math.md (9): one visible loop. A pair's two sequences
 * always share a micro-batch, so that the loss sees both. */
#include "align/reward_train.h"

#include "align/learner.h"
#include "align/loss.h"
#include "align/pack.h"
#include "align/sft.h"
#include "base/memory.h"

#include <math.h>

struct reward_train {
    const struct ap_reward_train_options *o;
    struct ap_learner learner;
    struct ap_pack pack;
    int32_t *order;
    int32_t *last;          /* last row of each packed sequence */
    float *value;           /* per packed sequence */
    double *score, *dscore; /* per packed sequence: chosen, rejected, chosen, … */
    double *chosen, *rejected, *dchosen, *drejected; /* per packed pair */
    struct ap_dropout dropout;                       /* of the step */
    bool drops;                                      /* while training, not while testing */
};

static ap_status save(void *self, const char *folder, struct ap_error *err)
{
    struct reward_train *s = self;
    return ap_learner_save(&s->learner, folder, "policy", err);
}

static ap_status load(void *self, const char *folder, struct ap_error *err)
{
    struct reward_train *s = self;
    return ap_learner_load(&s->learner, folder, "policy", err);
}

static void pack_sequence(struct reward_train *s, const struct ap_sequence *q, uint64_t record)
{
    ap_pack_add_marked(&s->pack, q->ids, NULL, q->n, record);
    s->last[s->pack.n_seq - 1] =
        s->pack.n_row - q->n + ap_last_real(&s->o->role.weights->config, q->ids, q->n);
}

static ap_status forward(struct reward_train *s, struct ap_error *err)
{
    struct ap_rows rows = ap_pack_rows(&s->pack);
    rows.dropout = s->drops ? &s->dropout : NULL;
    ap_status status = ap_forward(s->learner.tape, &s->o->role, &rows, err);
    if (status != AP_OK)
        return status;
    ap_scalar_forward(s->learner.tape, &s->o->role, s->last, s->pack.n_seq, s->value);
    for (int q = 0; q < s->pack.n_seq; q++)
        s->score[q] = s->value[q];
    return AP_OK;
}

static void backward(struct reward_train *s)
{
    for (int q = 0; q < s->pack.n_seq; q++)
        s->value[q] = (float)s->dscore[q];
    ap_scalar_backward(s->learner.tape, &s->o->role, s->last, s->pack.n_seq, s->value);
    ap_backward(s->learner.tape, &s->o->role);
}

/* Forward, loss and backward of the packed pairs; adds to *loss and *n_right. */
static ap_status micro_batch(struct reward_train *s, double n_global, double *loss, int *n_right,
                             struct ap_error *err)
{
    int n = s->pack.n_seq / 2;
    ap_status status = n > 0 ? forward(s, err) : AP_OK;
    if (n == 0 || status != AP_OK)
        return status;
    for (int i = 0; i < n; i++) {
        s->chosen[i] = s->score[2 * i];
        s->rejected[i] = s->score[2 * i + 1];
        *n_right += s->chosen[i] > s->rejected[i];
    }
    *loss += ap_loss_bradley_terry(s->chosen, s->rejected, n, n_global, s->o->settings->margin,
                                   s->o->settings->centre, s->dchosen, s->drejected);
    for (int i = 0; i < n; i++) {
        s->dscore[2 * i] = s->dchosen[i];
        s->dscore[2 * i + 1] = s->drejected[i];
    }
    backward(s);
    ap_pack_clear(&s->pack);
    return AP_OK;
}

static ap_status train_batch(struct reward_train *s, const int32_t *index, int n, double *loss,
                             int *n_right, int64_t *n_tokens, struct ap_error *err)
{
    ap_status status = AP_OK;
    *loss = *n_right = 0;
    ap_pack_clear(&s->pack);
    for (int i = 0; i < n; i++) {
        const struct ap_pair *pair = &s->o->pairs[index[i]];
        if (!ap_pack_fits(&s->pack, pair->chosen.n + pair->rejected.n))
            AP_TRY(micro_batch(s, n, loss, n_right, err));
        pack_sequence(s, &pair->chosen, 2 * (uint64_t)index[i]);
        pack_sequence(s, &pair->rejected, 2 * (uint64_t)index[i] + 1);
        *n_tokens += pair->chosen.n + pair->rejected.n;
    }
    AP_TRY(micro_batch(s, n, loss, n_right, err));
out:
    return status;
}

/* The validation accuracy: forwards only. */
static ap_status accuracy_of(struct reward_train *s, double *accuracy, struct ap_error *err)
{
    ap_status status = AP_OK;
    int n_right = 0, n_valid = s->o->valid ? s->o->n_valid : 0;

    ap_pack_clear(&s->pack);
    for (int i = 0; i <= n_valid; i++) {
        const struct ap_pair *pair = &s->o->valid[i < n_valid ? i : 0];
        if (i == n_valid || !ap_pack_fits(&s->pack, pair->chosen.n + pair->rejected.n)) {
            if (s->pack.n_seq > 0)
                AP_TRY(forward(s, err));
            for (int q = 0; q < s->pack.n_seq; q += 2)
                n_right += s->score[q] > s->score[q + 1];
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

static ap_status open_train(struct reward_train *s, int64_t n_steps, struct ap_error *err)
{
    const struct ap_reward_train_options *o = s->o;
    int max_row = ap_pairs_longest(o->pairs, o->n, o->settings->optimiser.batch_tokens);
    size_t n;
    ap_status status = AP_OK;

    max_row = ap_pairs_longest(o->valid, o->n_valid, max_row);
    n = (size_t)max_row + 1;
    AP_TRY(ap_pack_init(&s->pack, max_row, err));
    AP_TRY(ap_learner_open(&s->learner, o->lm, &o->role, &o->settings->optimiser, n_steps, max_row,
                           ap_role_max_rank(&o->role, &o->role), err));
    s->order = ap_calloc((size_t)o->n, sizeof(*s->order));
    s->last = ap_calloc(n, sizeof(*s->last));
    s->value = ap_calloc(n, sizeof(*s->value));
    s->score = ap_calloc(6 * n, sizeof(*s->score));
    if (!s->order || !s->last || !s->value || !s->score) {
        status = ap_fail(err, AP_MEMORY, "batch of %d tokens: out of memory", max_row);
        goto out;
    }
    s->dscore = s->score + n;
    s->chosen = s->score + 2 * n;
    s->rejected = s->score + 3 * n;
    s->dchosen = s->score + 4 * n;
    s->drejected = s->score + 5 * n;
out:
    return status;
}

static void close_train(struct reward_train *s)
{
    ap_learner_close(&s->learner);
    ap_pack_free(&s->pack);
    ap_free(s->order);
    ap_free(s->last);
    ap_free(s->value);
    ap_free(s->score);
}

ap_status ap_reward_train(struct ap_stage *stage, const struct ap_reward_train_options *o,
                          double *accuracy, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct reward_train s = {.o = o};
    int batch = o->settings->batch;
    int64_t step = 0, epoch = -1;
    int64_t n_steps = (int64_t)o->settings->epochs * ((o->n + batch - 1) / batch);

    if (o->n < 1)
        return ap_fail(err, AP_INVALID,
                       "%s: no preference pairs are left after the split and the length limit",
                       stage->name);
    AP_TRY(open_train(&s, n_steps, err));
    AP_TRY(ap_stage_begin(stage, n_steps, load, &s, &step, err));
    s.drops = true;
    for (; step < n_steps; step++) {
        double loss;
        int n_right, first;
        int64_t n_tokens = 0;
        int n =
            ap_epoch_batch(s.order, o->n, batch, step, stage->seed, stage->name, &epoch, &first);
        s.dropout = ap_learner_dropout(stage, step, s.pack.record);
        AP_TRY(train_batch(&s, s.order + first, n, &loss, &n_right, &n_tokens, err));
        AP_TRY(ap_learner_update(&s.learner, stage, step, loss, err));
        AP_TRY(ap_stage_metric(stage, step, "accuracy", (double)n_right / n, err));
        AP_TRY(ap_stage_step(stage, step, loss, NAN, NAN, n_tokens, save, &s, err));
    }
    ap_stage_end(stage);
    s.drops = false;
    AP_TRY(accuracy_of(&s, accuracy, err));
out:
    close_train(&s);
    return status;
}
