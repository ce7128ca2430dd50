/* The heads on a tape's hidden states: log-probabilities over the vocabulary, in blocks that bound
 * the memory of logits, and one scalar a row (transformer.h). Entry points: ap_logp_forward,
 * _backward, ap_greedy_forward, ap_scalar_forward, _backward. */
#include "model/tape.h"

#include <assert.h>
#include <string.h>

static void check_picked(const struct ap_tape *t, const int32_t *row, int n)
{
    for (int i = 0; i < n; i++)
        assert(row[i] >= 0 && row[i] < t->n_row);
    (void)t;
    (void)row;
}

static int block_size(const struct ap_tape *t, int n, int at)
{
    return n - at < t->block ? n - at : t->block;
}

/* logits[m,V] of m chosen rows, whose hidden states stay in picked. */
static void block_logits(struct ap_tape *t, const struct ap_param *head, const int32_t *row, int m)
{
    t->ops->gather(t->picked, t->hidden, row, m, t->config.width);
    t->ops->linear(t->logits, t->picked, head->part[0].packed, m, false);
}

void ap_logp_forward(struct ap_tape *t, const struct ap_role *role, const int32_t *row,
                     const int32_t *target, int n, double temperature, float *logp, float *entropy)
{
    const struct ap_param *head = ap_head_of(role);
    check_picked(t, row, n);
    for (int at = 0; at < n; at += t->block) {
        int m = block_size(t, n, at);
        block_logits(t, head, row + at, m);
        t->ops->logprob(logp + at, entropy ? entropy + at : NULL, t->lse, t->logits, target + at, m,
                        t->config.n_vocab, (float)temperature);
    }
}

void ap_greedy_forward(struct ap_tape *t, const struct ap_role *role, const int32_t *row, int n,
                       int32_t *best)
{
    const struct ap_param *head = ap_head_of(role);
    const size_t n_vocab = (size_t)t->config.n_vocab;
    check_picked(t, row, n);
    for (int at = 0; at < n; at += t->block) {
        int m = block_size(t, n, at);
        block_logits(t, head, row + at, m);
        for (int i = 0; i < m; i++) {
            const float *logits = t->logits + (size_t)i * n_vocab;
            size_t most = 0;
            for (size_t v = 1; v < n_vocab; v++)
                if (logits[v] > logits[most])
                    most = v;
            best[at + i] = (int32_t)most;
        }
    }
}

static void begin_dhidden(struct ap_tape *t)
{
    assert(t->kind != AP_TAPE_FORWARD);
    if (!t->has_dhidden)
        memset(t->dhidden, 0, (size_t)t->n_row * (size_t)t->config.width * sizeof(float));
    t->has_dhidden = true;
}

/* dy[m,N] of a head w[N,C] on the picked rows: += on the hidden gradient and on dw (NULL: frozen).
 */
static void head_backward(struct ap_tape *t, const struct ap_param *head, float *dw,
                          const float *dy, const int32_t *row, int m)
{
    int n_out = head->shape[0], width = t->config.width;
    t->ops->linear_dx(t->dpicked, dy, head->part[0].packed, m, false);
    t->ops->scatter_add(t->dhidden, t->dpicked, row, m, width);
    if (dw)
        t->ops->linear_dw(dw, dy, t->picked, m, n_out, width);
}

void ap_logp_backward(struct ap_tape *t, const struct ap_role *role, const int32_t *row,
                      const int32_t *target, int n, double temperature, const float *dlogp,
                      const float *dentropy)
{
    const struct ap_param *head = ap_head_of(role);
    float *dw = role->weights->trainable ? head->grad : NULL;
    check_picked(t, row, n);
    begin_dhidden(t);
    for (int at = 0; at < n; at += t->block) {
        int m = block_size(t, n, at);
        block_logits(t, head, row + at, m);
        t->ops->logprob(t->logp, dentropy ? t->entropy : NULL, t->lse, t->logits, target + at, m,
                        t->config.n_vocab, (float)temperature);
        t->ops->logprob_backward(t->logits, t->lse, dentropy ? t->entropy : NULL, target + at,
                                 dlogp + at, dentropy ? dentropy + at : NULL, m, t->config.n_vocab,
                                 (float)temperature);
        head_backward(t, head, dw, t->logits, row + at, m);
    }
}

int ap_last_real(const struct ap_config *c, const int32_t *ids, int n)
{
    int last = n - 1;
    while (last > 0 && ids[last] == c->pad)
        last--;
    return last;
}

/* The adapter's head if it has one, else the model's; its gradient where it trains. */
static const struct ap_param *scalar_head(const struct ap_role *role, float **dw)
{
    const struct ap_adapter *a = role->adapter;
    bool own = a && a->score >= 0;
    assert(own || role->weights->score >= 0);
    const struct ap_param *head =
        own ? &a->table.rows[a->score] : &role->weights->table.rows[role->weights->score];
    *dw = (own ? a->trainable : role->weights->trainable) ? head->grad : NULL;
    return head;
}

void ap_scalar_forward(struct ap_tape *t, const struct ap_role *role, const int32_t *row, int n,
                       float *value)
{
    float *dw;
    const struct ap_param *head = scalar_head(role, &dw);
    check_picked(t, row, n);
    for (int at = 0; at < n; at += t->block) {
        int m = block_size(t, n, at);
        t->ops->gather(t->picked, t->hidden, row + at, m, t->config.width);
        t->ops->linear(value + at, t->picked, head->part[0].packed, m, false);
    }
}

void ap_scalar_backward(struct ap_tape *t, const struct ap_role *role, const int32_t *row, int n,
                        const float *dvalue)
{
    float *dw;
    const struct ap_param *head = scalar_head(role, &dw);
    check_picked(t, row, n);
    begin_dhidden(t);
    for (int at = 0; at < n; at += t->block) {
        int m = block_size(t, n, at);
        t->ops->gather(t->picked, t->hidden, row + at, m, t->config.width);
        head_backward(t, head, dw, dvalue + at, row + at, m);
    }
}
