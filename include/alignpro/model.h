/* One model and its text, for one-off use: scoring and generation.
 *
 * An engine owns weights, adapter, tokenizer and template; one thread at a time. */
#ifndef ALIGNPRO_MODEL_H
#define ALIGNPRO_MODEL_H

#include "alignpro/text.h"

struct ap_engine;

struct ap_engine_options {
    const char *model;   /* Hugging Face folder: causal LM or sequence classifier */
    const char *adapter; /* PEFT folder or NULL */
    const char *template_name, *template_file, *date; /* as struct ap_template_options; NULL: auto */
    int context;         /* 0: max_position_embeddings */
    int threads;         /* 0: all */
    int batch;           /* sequences decoded at once; 0: 16 */
};

/* The tokenizer is opened where the folder has one; calls that need text fail by name without it. */
ap_status ap_engine_open(struct ap_engine **out, const struct ap_engine_options *options,
                         struct ap_error *err);
void ap_engine_close(struct ap_engine *e);
bool ap_engine_is_classifier(const struct ap_engine *e);
/* NULL where the folder has none; borrowed. */
const struct ap_tokenizer *ap_engine_tokenizer(const struct ap_engine *e);
const struct ap_template *ap_engine_template(const struct ap_engine *e);

/* logp[n−1]: log p(ids[t+1] | ids[..t]), natural log. More ids than the context is AP_LIMIT. */
ap_status ap_engine_score(struct ap_engine *e, const int32_t *ids, size_t n, double *logp,
                          struct ap_error *err);
/* A classifier's raw head on the last token. */
ap_status ap_engine_classify(struct ap_engine *e, const int32_t *ids, size_t n, double *score,
                             struct ap_error *err);

struct ap_generation_options {
    int max_new_tokens; /* 0: 128 */
    double temperature; /* 0: greedy */
    int top_k;          /* 0: off */
    double top_p;       /* 0 or 1: off */
    uint64_t seed, record;
    const char *const *stop;
    size_t n_stop;
};

struct ap_generation {
    int32_t *ids; /* new tokens, the end token included; owned: ap_generation_free */
    size_t n;
    char *text;   /* without the end token and what follows a stop string; NULL without a tokenizer */
    size_t n_text;
    const char *stop; /* "end", "length", "string" */
};
/* A prompt that leaves no room is AP_LIMIT. */
ap_status ap_engine_generate(struct ap_engine *e, const int32_t *prompt, size_t n_prompt,
                             const struct ap_generation_options *options,
                             struct ap_generation *out, struct ap_error *err);
void ap_generation_free(struct ap_generation *g);

#endif
