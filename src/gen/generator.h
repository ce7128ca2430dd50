/* Generation: a sampler and a continuous batcher. A finished sequence makes room at once, for what
 * is there already or for what comes while others are decoded; a prompt that several samples share
 * is prefilled once and its cache copied. Tokens of a sample are a function of the model, the
 * prompt, the sampling settings and the sample's stream only: not of the batch, its order, when it
 * came, or threads. */
#ifndef AP_GEN_GENERATOR_H
#define AP_GEN_GENERATOR_H

#include "alignpro/text.h"

#include "base/random.h"
#include "model/transformer.h"

struct ap_sampling {
    double temperature;        /* 0: greedy (lowest id wins a tie); else in [0.001, 1000] */
    int top_k;                 /* 0: off */
    double top_p;              /* in (0, 1]; 1: off */
    double min_p;              /* in [0, 1], a share of the largest probability; 0: off */
    double repetition_penalty; /* of tokens that the prompt or the answer holds; 0 or 1: off */
};

typedef enum ap_stop { AP_STOP_END, AP_STOP_LENGTH, AP_STOP_STRING } ap_stop;

struct ap_gen_request {
    const int32_t *prompt; /* n_prompt ≥ 1 ids, borrowed */
    int n_prompt;
    int n_samples;           /* ≥ 1 */
    int max_new_tokens;      /* ≥ 1; cut to what the context leaves; 0 left is AP_LIMIT */
    struct ap_stream stream; /* sample i uses stream.sample + i; one uniform a token */
};

struct ap_generated {
    const int32_t *ids; /* n of them, the end token included; borrowed during the callback */
    const float *logp; /* of each, untruncated, without penalty, at the sampling temperature (1 when
                        * greedy); the bits of the training forward */
    int n;
    ap_stop stop;
    size_t n_text; /* AP_STOP_STRING: bytes of the decoded text before the stop string */
};

/* Called once per sample, as each finishes (any order). Return AP_OK to go on. */
typedef ap_status (*ap_generated_fn)(void *context, int request, int sample,
                                     const struct ap_generated *g);

struct ap_generator_options {
    int n_slot;         /* sequences decoded at once */
    int context;        /* positions a sequence may take, prompt and new tokens together */
    const int32_t *end; /* end-token ids; copied */
    int n_end;
    const struct ap_tokenizer *tokenizer; /* needed with stop strings only; borrowed */
    char *const *stop;                    /* of ap_generate; none empty; borrowed */
    int n_stop;
    int max_rank; /* largest adapter rank a role may bring */
};

struct ap_generator;
/* Memory for the shape of `config`; any role of that shape may then generate. */
ap_status ap_generator_open(struct ap_generator **out, const struct ap_config *config,
                            const struct ap_generator_options *options, struct ap_error *err);
/* Bytes of memory that it takes, caches included; SIZE_MAX when they are past counting. */
ap_status ap_generator_bytes(size_t *out, const struct ap_config *config,
                             const struct ap_generator_options *options, struct ap_error *err);
void ap_generator_close(struct ap_generator *g); /* NULL is fine */

/* Every sample of every request, begun in order; whatever was at work is over. All requests are
 * checked before the first token (AP_INVALID, AP_LIMIT); logits with NaN or Inf are AP_NUMERIC.
 * Without stop strings it allocates nothing. After an error the generator may be used again. A stop
 * string whose last characters the tokenizer's decoder holds back (byte tokens) is met one token
 * later. */
ap_status ap_generate(struct ap_generator *g, const struct ap_role *role,
                      const struct ap_sampling *sampling, const struct ap_gen_request *requests,
                      int n_requests, ap_generated_fn fn, void *context, struct ap_error *err);

/* ---- requests that come while others are decoded ---- */

/* One request with what ap_generate has for all of them, and whose it is. */
struct ap_gen_work {
    struct ap_gen_request request; /* its prompt is borrowed until the work is over */
    struct ap_sampling sampling;
    char *const *stop; /* n_stop, none empty; borrowed as the prompt is */
    int n_stop;
    bool text_wanted; /* the feed is told its text while it grows; needs the tokenizer */
    void *tag;
};

/* Where works come from and go to. The calls come from within ap_generate_step, on its thread; they
 * must not call the generator. A work is over when the last of its samples is done, when it is
 * dropped or has failed. */
struct ap_gen_feed {
    void *self;
    /* A slot is free: *out begins in it and is copied; false: there is none now. */
    bool (*next)(void *self, struct ap_gen_work *out);
    /* Asked of each work before a step: true: it is over, without a word. NULL: never. */
    bool (*drop)(void *self, void *tag);
    /* Once per sample, as each finishes; what is not AP_OK ends the step. */
    ap_status (*done)(void *self, void *tag, int sample, const struct ap_generated *g);
    /* It cannot be begun (AP_INVALID, AP_LIMIT), or its logits are not finite (AP_NUMERIC): it is
     * over, and the others go on. NULL: what fails one of them ends the step. */
    void (*failed)(void *self, void *tag, const struct ap_error *why);
    /* Of works with text_wanted, as tokens come: the first n bytes of the sample's decoded text,
     * all of it that later tokens and stop strings cannot change; more than at the last call.
     * Borrowed during it. What is behind them comes with `done` alone. NULL where no work wants it.
     */
    void (*grew)(void *self, void *tag, int sample, const char *text, size_t n);
};

/* One step: works begin in the free slots, and those at work get a token each, or a part of their
 * prompts is read. *busy false: there was nothing to do. Of one generator every step takes the same
 * role and feed until nothing is at work, or until ap_generator_stop. After an error nothing is. */
ap_status ap_generate_step(struct ap_generator *g, const struct ap_role *role,
                           const struct ap_gen_feed *feed, bool *busy, struct ap_error *err);
/* What is at work is over, without a word. */
void ap_generator_stop(struct ap_generator *g);

/* Since open: tokens decoded (sampled), prompt tokens prefilled. */
void ap_generator_counts(const struct ap_generator *g, int64_t *n_decoded, int64_t *n_prefilled);
/* Since open: forward passes. */
int64_t ap_generator_n_steps(const struct ap_generator *g);

#endif
