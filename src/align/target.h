/* Targets: text in, answers out. The local one runs our engine; others (HTTP) come behind the same
 * interface. */
#ifndef AP_ALIGN_TARGET_H
#define AP_ALIGN_TARGET_H

#include "align/lm.h"

struct ap_target_request {
    const struct ap_message *context; /* system prompt and earlier turns, borrowed */
    size_t n_context;
    const char *prompt;      /* what the target sees: x or x' */
    struct ap_stream stream; /* sample k uses stream.sample + k */
};

struct ap_answer {
    char *text;   /* owned; stripped of white space */
    bool ended;   /* had its end token, or met a stop string */
    int n_token;  /* the end token included */
    double kl;    /* Σ k3 against the reference; NaN unless the caller fills it */
};
void ap_answers_free(struct ap_answer *answers, size_t n); /* the texts, not the array */

struct ap_target {
    void *self;
    /* n requests × n_samples answers, out[i·n_samples + k]; the caller frees the texts. */
    ap_status (*answer)(void *self, const struct ap_target_request *requests, int n, int n_samples,
                        struct ap_answer *out, struct ap_error *err);
    void (*free)(void *self);
};
void ap_target_free(struct ap_target *t);

struct ap_target_options {
    int max_new_tokens;
    struct ap_sampling sampling;
    char *const *stop; /* stop strings; borrowed for the target's life */
    int n_stop;
    int n_slot; /* sequences decoded at once */
    int max_rank;
};

/* lm and adapter (NULL: none) are borrowed. */
ap_status ap_target_local(struct ap_target *out, const struct ap_lm *lm, struct ap_adapter *adapter,
                          const struct ap_target_options *options, struct ap_error *err);

/* White space off both ends, in place; returns text. */
char *ap_strip(char *text);

#endif
