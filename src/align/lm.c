/* Language models with their text (lm.h). */
#include "align/lm.h"

#include "base/memory.h"

static void add_end(struct ap_lm *lm, int32_t id)
{
    for (int i = 0; i < lm->n_end; i++)
        if (lm->end[i] == id)
            return;
    if (id >= 0 && lm->n_end < (int)AP_LEN(lm->end))
        lm->end[lm->n_end++] = id;
}

ap_status ap_lm_open(struct ap_lm **out, const char *name, struct ap_weights *weights,
                     const char *tokenizer_dir, const struct ap_template_options *options,
                     int context, struct ap_error *err)
{
    ap_status status = AP_OK;
    struct ap_lm *lm = ap_calloc(1, sizeof(*lm));
    if (!lm) {
        ap_weights_free(weights);
        return ap_fail(err, AP_MEMORY, "model %s: out of memory", name);
    }
    lm->weights = weights;
    lm->context = context > 0 ? context : weights->context;
    lm->name = ap_strdup(name);
    AP_TRY(ap_tokenizer_open(&lm->tokenizer, tokenizer_dir, err));
    if (ap_tokenizer_n_vocab(lm->tokenizer) > weights->config.n_vocab) {
        status =
            ap_fail(err, AP_FORMAT,
                    "%s: tokenizer.json has %d ids, the model's vocab_size is %d: they do not "
                    "belong together",
                    tokenizer_dir, ap_tokenizer_n_vocab(lm->tokenizer), weights->config.n_vocab);
        goto out;
    }
    AP_TRY(ap_template_open(&lm->chat, lm->tokenizer, options, err));
    add_end(lm, ap_template_end(lm->chat));
    for (int i = 0; i < weights->config.n_eos; i++)
        add_end(lm, weights->config.eos[i]);
out:
    if (status != AP_OK) {
        ap_lm_free(lm);
        lm = NULL;
    }
    *out = lm;
    return status;
}

void ap_lm_free(struct ap_lm *lm)
{
    if (!lm)
        return;
    ap_template_close(lm->chat);
    ap_tokenizer_close(lm->tokenizer);
    ap_weights_free(lm->weights);
    ap_free(lm->name);
    ap_free(lm);
}
