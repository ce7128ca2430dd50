/* One model and its text, for one-off use: scoring and generation.
 *
 * An engine owns weights, adapter, tokenizer and template; one thread at a time. Its working memory
 * grows with the longest sequence it was given. */
#ifndef ALIGNPRO_MODEL_H
#define ALIGNPRO_MODEL_H

#include "alignpro/api.h"
#include "alignpro/text.h"

AP_API_BEGIN

struct ap_engine;

struct ap_engine_options {
    const char *model;   /* Hugging Face folder: causal LM or sequence classifier */
    const char *adapter; /* PEFT folder or NULL */
    struct ap_template_options chat;
    int context;       /* most tokens of a sequence, which longrope's factors go by; 0:
                        * max_position_embeddings, for longrope the original length */
    int threads;       /* 0: all */
    const char *dtype; /* of the arithmetic: "f32" (NULL too) or "bf16" */
};

/* A folder without a tokenizer, or with one that cannot be read, opens all the same: calls that
 * need text say so by name. */
ap_status ap_engine_open(struct ap_engine **out, const struct ap_engine_options *options,
                         struct ap_error *err);
void ap_engine_close(struct ap_engine *e); /* NULL is fine */
/* Whether the model, or its adapter, has a scalar head. */
bool ap_engine_is_classifier(const struct ap_engine *e);
/* Most tokens of a sequence. */
int ap_engine_context(const struct ap_engine *e);
/* Borrowed until close; or the reason why there is none. */
ap_status ap_engine_tokenizer(const struct ap_engine *e, const struct ap_tokenizer **out,
                              struct ap_error *err);
ap_status ap_engine_template(const struct ap_engine *e, const struct ap_template **out,
                             struct ap_error *err);

/* logp[n−1]: log p(ids[t+1] | ids[..t]), natural log. n ≥ 1; ids outside the vocabulary are
 * AP_INVALID, more of them than the context is AP_LIMIT, a classifier AP_INVALID. */
ap_status ap_engine_score(struct ap_engine *e, const int32_t *ids, size_t n, double *logp,
                          struct ap_error *err);
/* A classifier's raw head on the last token. */
ap_status ap_engine_classify(struct ap_engine *e, const int32_t *ids, size_t n, double *score,
                             struct ap_error *err);

struct ap_generation_options {
    int max_new_tokens;        /* 0: 128; cut to what the context leaves */
    double temperature;        /* 0: greedy */
    int top_k;                 /* 0: off */
    double top_p;              /* 0 or 1: off */
    double min_p;              /* tokens of at least this share of the likeliest one's; 0: off */
    double repetition_penalty; /* of tokens of the prompt and the answer so far; 0 or 1: off */
    uint64_t seed; /* with record: the random stream. The same two, prompt and settings give the
                    * same tokens */
    uint64_t record;
    const char *const *stop; /* n_stop strings that end a text; they need a tokenizer */
    size_t n_stop;
};

struct ap_generation {
    int32_t *ids; /* new tokens, the end token included; owned: ap_generation_free */
    size_t n;
    char *text; /* without the end token and what follows a stop string; NULL without a tokenizer */
    size_t n_text;
    const char *stop; /* "end", "length", "string"; static */
};
/* Ends at an end token of config.json, generation_config.json or the template, a stop string, or
 * max_new_tokens. A prompt that leaves no room is AP_LIMIT. */
ap_status ap_engine_generate(struct ap_engine *e, const int32_t *prompt, size_t n_prompt,
                             const struct ap_generation_options *options, struct ap_generation *out,
                             struct ap_error *err);
void ap_generation_free(struct ap_generation *g);

AP_API_END

#endif
