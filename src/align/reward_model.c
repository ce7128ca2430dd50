/* Rewards that a model gives (reward.h): a scalar head, math.md (9), or the implicit reward (9a).
 */
#include "align/reward.h"

#include "align/loss.h"
#include "align/pack.h"
#include "base/memory.h"
#include "text/sequence.h"

struct model_reward {
    const struct ap_lm *lm;
    struct ap_role policy, reference; /* reference: implicit only */
    bool implicit;
    double beta, floor;
    struct ap_tape *tape;
    struct ap_pack pack;
    int *first;             /* max_row: first target of each packed sequence, implicit */
    int32_t *last;          /* max_row: last row of each, classifier */
    float *logp, *logp_ref; /* max_row */
};

static void model_free(void *self)
{
    struct model_reward *m = self;
    if (!m)
        return;
    ap_tape_close(m->tape);
    ap_pack_free(&m->pack);
    ap_free(m->first);
    ap_free(m->last);
    ap_free(m->logp);
    ap_free(m->logp_ref);
    ap_free(m);
}

static ap_status make_sequence(const struct model_reward *m, const struct ap_scored *item,
                               struct ap_sequence *s, struct ap_error *err)
{
    bool fits = false;
    int max = m->lm->context;
    ap_status status =
        m->implicit ? ap_sequence_make(s, m->lm->chat, item->context, item->n_context, item->x,
                                       item->y, max, AP_TOO_LONG_TRUNCATE, &fits, err)
                    : ap_sequence_chat(s, m->lm->chat, item->context, item->n_context, item->x,
                                       item->y, max, AP_TOO_LONG_TRUNCATE, &fits, err);
    if (status == AP_OK && !fits)
        return ap_fail(err, AP_LIMIT,
                       "reward %s: the prompt '%.60s' leaves no room for an answer in a context of "
                       "%d tokens; raise run.context or shorten the prompts",
                       m->lm->name, item->x, max);
    /* an answer that never ended must not be paid for an end token that it did not write */
    if (status == AP_OK && m->implicit && !item->ended && s->n > s->n_prompt)
        s->n--;
    return status;
}

static ap_status score_implicit(struct model_reward *m, double *out, struct ap_error *err)
{
    struct ap_pack *p = &m->pack;
    struct ap_rows rows = ap_pack_rows(p);
    ap_status status = ap_forward(m->tape, &m->policy, &rows, err);
    if (status != AP_OK)
        return status;
    ap_logp_forward(m->tape, &m->policy, p->row, p->target, p->n_target, 1, m->logp, NULL);
    status = ap_forward(m->tape, &m->reference, &rows, err);
    if (status != AP_OK)
        return status;
    ap_logp_forward(m->tape, &m->reference, p->row, p->target, p->n_target, 1, m->logp_ref, NULL);
    for (int s = 0; s < p->n_seq; s++) {
        int end = s + 1 < p->n_seq ? m->first[s + 1] : p->n_target;
        double sum = 0, unused;
        for (int i = m->first[s]; i < end; i++)
            sum += ap_implicit_reward(m->logp[i], m->logp_ref[i], m->beta, m->floor, &unused);
        out[s] = sum;
    }
    return AP_OK;
}

static ap_status score_classifier(struct model_reward *m, double *out, struct ap_error *err)
{
    struct ap_rows rows = ap_pack_rows(&m->pack);
    ap_status status = ap_forward(m->tape, &m->policy, &rows, err);
    if (status != AP_OK)
        return status;
    for (int s = 0; s < m->pack.n_seq; s++) {
        int32_t start = m->pack.start[s];
        m->last[s] = start + ap_last_real(&m->policy.weights->config, m->pack.ids + start,
                                          m->pack.start[s + 1] - start);
    }
    ap_scalar_forward(m->tape, &m->policy, m->last, m->pack.n_seq, m->logp);
    for (int s = 0; s < m->pack.n_seq; s++)
        out[s] = m->logp[s];
    return AP_OK;
}

static ap_status score_pack(struct model_reward *m, double *out, struct ap_error *err)
{
    return m->implicit ? score_implicit(m, out, err) : score_classifier(m, out, err);
}

static ap_status model_score(void *self, const struct ap_scored *items, int n, double *out,
                             struct ap_error *err)
{
    struct model_reward *m = self;
    ap_status status = AP_OK;
    struct ap_sequence s = {0};
    int done = 0;

    ap_pack_clear(&m->pack);
    for (int i = 0; i < n; i++) {
        AP_TRY(make_sequence(m, &items[i], &s, err));
        if (!ap_pack_fits(&m->pack, s.n)) {
            AP_TRY(score_pack(m, out + done, err));
            done = i;
            ap_pack_clear(&m->pack);
        }
        m->first[m->pack.n_seq] = m->pack.n_target;
        ap_pack_add_marked(&m->pack, s.ids, m->implicit ? s.trained : NULL, s.n, 0);
        ap_sequence_free(&s);
    }
    if (done < n)
        AP_TRY(score_pack(m, out + done, err));
out:
    ap_sequence_free(&s);
    return status;
}

static ap_status open_model(struct ap_reward *out, const struct ap_lm *lm,
                            const struct ap_role *policy, const struct ap_role *reference,
                            int batch_tokens, struct model_reward **opened, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct model_reward *m = ap_calloc(1, sizeof(*m));
    int max_row = batch_tokens > lm->context ? batch_tokens : lm->context;
    int rank = policy->adapter ? policy->adapter->rank : 0;

    *out = (struct ap_reward){.gain = 1};
    if (!m)
        return ap_fail(err, AP_MEMORY, "reward %s: out of memory", lm->name);
    m->lm = lm;
    m->policy = *policy;
    if (reference) {
        m->reference = *reference;
        if (reference->adapter && reference->adapter->rank > rank)
            rank = reference->adapter->rank;
    }
    m->first = ap_calloc((size_t)max_row + 1, sizeof(*m->first));
    m->last = ap_calloc((size_t)max_row + 1, sizeof(*m->last));
    m->logp = ap_calloc((size_t)max_row + 1, sizeof(*m->logp));
    m->logp_ref = ap_calloc((size_t)max_row + 1, sizeof(*m->logp_ref));
    if (!m->first || !m->last || !m->logp || !m->logp_ref) {
        status = ap_fail(err, AP_MEMORY, "reward %s: out of memory", lm->name);
        goto out;
    }
    AP_TRY(ap_pack_init(&m->pack, max_row, err));
    AP_TRY(ap_tape_open(&m->tape, &lm->weights->config, max_row, rank, AP_TAPE_FORWARD, err));
    out->self = m;
    out->score = model_score;
    out->free = model_free;
    *opened = m;
out:
    if (status != AP_OK)
        model_free(m);
    return status;
}

ap_status ap_reward_classifier(struct ap_reward *out, const struct ap_lm *lm,
                               const struct ap_role *role, int batch_tokens, struct ap_error *err)
{
    struct model_reward *m;
    return open_model(out, lm, role, NULL, batch_tokens, &m, err);
}

ap_status ap_reward_implicit(struct ap_reward *out, const struct ap_lm *lm,
                             const struct ap_role *policy, const struct ap_role *reference,
                             double beta, double floor, int batch_tokens, struct ap_error *err)
{
    struct model_reward *m;
    ap_status status = open_model(out, lm, policy, reference, batch_tokens, &m, err);
    if (status == AP_OK) {
        m->implicit = true;
        m->beta = beta;
        m->floor = floor;
    }
    return status;
}
