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

ap_status ap_lm_new(struct ap_lm **out, const char *name, struct ap_weights *weights,
                    const struct ap_tokenizer *tokenizer, const struct ap_template *chat,
                    const char *from, int context, struct ap_error *err)
{
    struct ap_lm *lm = ap_calloc(1, sizeof(*lm));
    *out = NULL;
    if (!lm || !(lm->name = ap_strdup(name))) {
        ap_free(lm);
        ap_weights_free(weights);
        return ap_fail(err, AP_MEMORY, "model %s: out of memory", name);
    }
    lm->weights = weights;
    lm->context = context > 0 ? context : weights->context;
    lm->tokenizer = tokenizer;
    lm->chat = chat;
    if (ap_tokenizer_n_vocab(tokenizer) > weights->config.n_vocab) {
        ap_status status =
            ap_fail(err, AP_FORMAT,
                    "%s: tokenizer.json has %d ids, the model's vocab_size is %d: they do not "
                    "belong together",
                    from, ap_tokenizer_n_vocab(tokenizer), weights->config.n_vocab);
        ap_lm_free(lm);
        return status;
    }
    add_end(lm, ap_template_end(chat));
    for (int i = 0; i < weights->config.n_eos; i++)
        add_end(lm, weights->config.eos[i]);
    *out = lm;
    return AP_OK;
}

ap_status ap_lm_open(struct ap_lm **out, const char *name, struct ap_weights *weights,
                     const char *tokenizer_dir, const struct ap_template_options *options,
                     int context, struct ap_error *err)
{
    struct ap_tokenizer *tokenizer = NULL;
    struct ap_template *chat = NULL;
    *out = NULL;
    ap_status status = ap_tokenizer_open(&tokenizer, tokenizer_dir, err);
    if (status == AP_OK)
        status = ap_template_open(&chat, tokenizer, options, err);
    if (status == AP_OK)
        status = ap_lm_new(out, name, weights, tokenizer, chat, tokenizer_dir, context, err);
    else
        ap_weights_free(weights);
    if (status != AP_OK) {
        ap_template_close(chat);
        ap_tokenizer_close(tokenizer);
        return status;
    }
    (*out)->own_tokenizer = tokenizer;
    (*out)->own_chat = chat;
    return AP_OK;
}

void ap_lm_free(struct ap_lm *lm)
{
    if (!lm)
        return;
    ap_template_close(lm->own_chat);
    ap_tokenizer_close(lm->own_tokenizer);
    ap_weights_free(lm->weights);
    ap_free(lm->name);
    ap_free(lm);
}
