/* Sums over the tokens of texts (kl.h): packed, forwarded, added up. */
#include "align/kl.h"

#include "align/learner.h"
#include "align/loss.h"
#include "align/pack.h"
#include "base/memory.h"

struct kl {
    const struct ap_role *policy, *reference; /* reference NULL: log-probabilities alone */
    double temperature;
    struct ap_tape *tape;
    struct ap_pack pack;
    float *logp, *logp_ref;
};

static ap_status logp_of(struct kl *k, const struct ap_role *role, float *logp,
                         struct ap_error *err)
{
    struct ap_rows rows = ap_pack_rows(&k->pack);
    ap_status status = ap_forward(k->tape, role, &rows, err);
    if (status == AP_OK)
        ap_logp_forward(k->tape, role, k->pack.row, k->pack.target, k->pack.n_target,
                        k->temperature, logp, NULL);
    return status;
}

static ap_status sum_pack(struct kl *k, const struct ap_kl_item *items, double *sum,
                          struct ap_error *err)
{
    const float *a = k->logp, *b = k->logp_ref;
    ap_status status = logp_of(k, k->policy, k->logp, err);
    if (status == AP_OK && k->reference)
        status = logp_of(k, k->reference, k->logp_ref, err);
    if (status != AP_OK)
        return status;
    for (int s = 0; s < k->pack.n_seq; s++) {
        sum[s] = 0;
        for (int t = 0; t < items[s].n_answer; t++)
            sum[s] += k->reference ? ap_kl_k3(*a++, *b++) : *a++;
    }
    ap_pack_clear(&k->pack);
    return AP_OK;
}

static ap_status sum_all(const struct ap_role *policy, const struct ap_role *reference,
                         const struct ap_kl_item *items, int n, double temperature,
                         int batch_tokens, double *sum, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct kl k = {.policy = policy, .reference = reference, .temperature = temperature};
    int max_row = batch_tokens, done = 0;

    for (int i = 0; i < n; i++)
        if (items[i].n_prompt + items[i].n_answer > max_row)
            max_row = items[i].n_prompt + items[i].n_answer;
    AP_TRY(ap_pack_init(&k.pack, max_row, err));
    AP_TRY(ap_tape_open(&k.tape, &policy->weights->config, max_row,
                        ap_role_max_rank(policy, reference ? reference : policy), AP_TAPE_FORWARD,
                        err));
    k.logp = ap_calloc((size_t)max_row, sizeof(*k.logp));
    k.logp_ref = ap_calloc((size_t)max_row, sizeof(*k.logp_ref));
    if (!k.logp || !k.logp_ref) {
        status = ap_fail(err, AP_MEMORY, "log-probabilities of %d texts: out of memory", n);
        goto out;
    }
    for (int i = 0; i < n; i++) {
        if (!ap_pack_fits(&k.pack, items[i].n_prompt + items[i].n_answer)) {
            AP_TRY(sum_pack(&k, items + done, sum + done, err));
            done = i;
        }
        ap_pack_add(&k.pack, items[i].prompt, items[i].n_prompt, items[i].answer,
                    items[i].n_answer);
    }
    if (done < n)
        AP_TRY(sum_pack(&k, items + done, sum + done, err));
out:
    ap_tape_close(k.tape);
    ap_pack_free(&k.pack);
    ap_free(k.logp);
    ap_free(k.logp_ref);
    return status;
}

ap_status ap_kl_sums(const struct ap_role *policy, const struct ap_role *reference,
                     const struct ap_kl_item *items, int n, double temperature, int batch_tokens,
                     double *sum, struct ap_error *err)
{
    return sum_all(policy, reference, items, n, temperature, batch_tokens, sum, err);
}

ap_status ap_logp_sums(const struct ap_role *role, const struct ap_kl_item *items, int n,
                       double temperature, int batch_tokens, double *sum, struct ap_error *err)
{
    return sum_all(role, NULL, items, n, temperature, batch_tokens, sum, err);
}
