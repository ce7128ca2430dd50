/* The prompters of a run that is over, and a rewrite of theirs, pass by pass: what each is given,
 * what it made of it, the guards at the end. Who decodes is not here: rewriter.c one prompt after
 * another, serve_engine.c many at once. */
#ifndef AP_PIPELINE_REWRITING_H
#define AP_PIPELINE_REWRITING_H

#include "pipeline/run_past.h"

struct ap_prompters {
    struct ap_past_run past;
    struct ap_prompter_pass {
        struct ap_lm *lm;
        struct ap_owned_role role;
    } passes[AP_PROMPTERS_MAX]; /* each rewrites what the one before it wrote */
    int n_pass;
    const char *stage; /* "align", "sft"; NULL: the prompters before any training */
};

/* sets: n of "guard.KEY=VALUE", and "text.special_in_content=markup": special tokens that a message
 * spells are text without it, whatever the run was trained with, because here others write the
 * messages. n_position: most positions of a sequence; 0: what the model has. p must be closed, also
 * after an error. */
ap_status ap_prompters_open(struct ap_prompters *p, const char *run_dir, const char *const *sets,
                            size_t n_sets, int n_position, struct ap_error *err);
void ap_prompters_close(struct ap_prompters *p);
/* A generator for the prompts of a pass. */
ap_status ap_prompters_generator(const struct ap_prompters *p, int pass, int n_slot,
                                 struct ap_generator **out, struct ap_error *err);

/* A rewrite on its way. Zeroed before begin; freed by ap_draft_free. */
struct ap_draft {
    const struct ap_message *messages; /* borrowed; the last is x, the others its context */
    size_t n_message;
    char *text;            /* what the passes so far made of x; "" while there is nothing */
    bool ended;            /* each of them came to its end */
    int n_prompt, n_token; /* that they read and wrote */
};

/* AP_INVALID where the last message is none of the user's, or holds nothing but white space. */
ap_status ap_draft_begin(struct ap_draft *d, const struct ap_message *messages, size_t n_message,
                         struct ap_error *err);
void ap_draft_free(struct ap_draft *d);
/* What a pass is asked: the text so far inside its meta-prompt, after the context, as in training.
 * Where that does not fit, the oldest turns of the context are left out, a system message last of
 * all; AP_LIMIT where x alone does not fit. stream: the first pass's; sequence: freed by the
 * caller, borrowed by out. */
ap_status ap_draft_ask(const struct ap_prompters *p, int pass, struct ap_draft *d,
                       const struct ap_stream *stream, struct ap_sequence *sequence,
                       struct ap_gen_request *out, struct ap_error *err);
/* What the pass made becomes the text; where that is nothing it stays. */
ap_status ap_draft_take(const struct ap_prompters *p, int pass, struct ap_draft *d,
                        const struct ap_generated *g, struct ap_error *err);
/* After the last pass: the rewrite, or x where a guard fired. out is the caller's (ap_free its
 * text); d has no text afterwards. */
ap_status ap_draft_finish(const struct ap_prompters *p, struct ap_draft *d,
                          struct ap_rewritten *out, struct ap_error *err);

#endif
