/* Targets: text in, answers out. The local one runs our engine; others (HTTP) come behind the same
 * interface. */
#ifndef AP_ALIGN_TARGET_H
#define AP_ALIGN_TARGET_H

#include "align/lm.h"
#include "text/sequence.h"

struct ap_target_request {
    const struct ap_message *context; /* system prompt and earlier turns, borrowed */
    size_t n_context;
    const char *prompt;      /* what the target sees: x or x' */
    struct ap_stream stream; /* sample k uses stream.sample + k */
};

struct ap_answer {
    char *text;   /* owned; stripped of white space */
    bool ended;   /* had its end token, or met a stop string */
    int32_t *ids; /* owned: n_token sampled ids, the end token included; NULL where a target gives
                     none */
    int n_token;  /* -1: not known */
    bool scored;  /* it has a score whatever a reward says: a refusal under target.refusal */
    double score;
};
void ap_answers_free(struct ap_answer *answers, size_t n); /* texts and ids, not the array */

struct ap_target {
    void *self;
    /* n requests × n_samples answers, out[i·n_samples + k]; the caller frees the texts. */
    ap_status (*answer)(void *self, const struct ap_target_request *requests, int n, int n_samples,
                        struct ap_answer *out, struct ap_error *err);
    /* Log-probabilities, nats, of n whole answers to as many requests as this target draws them:
     * tokens up to the end token, stop text or limit where the answer ended. The answers may be
     * another's of the same tokens. NULL: it gives none. */
    ap_status (*logp)(void *self, const struct ap_target_request *requests,
                      const struct ap_answer *answers, int n, double *out, struct ap_error *err);
    void (*free)(void *self);
};
void ap_target_free(struct ap_target *t);

struct ap_target_options {
    int max_new_tokens;
    struct ap_sampling sampling;
    char *const *stop; /* stop strings; borrowed for the target's life */
    int n_stop;
    int n_slot;       /* sequences decoded at once */
    int batch_tokens; /* of log-probabilities at once; a longer text gets its own memory */
};

/* role on lm's text (its weights need not be lm's own); all borrowed. The prompter answers the same
 * way: its answer to x inside the meta-prompt is the rewrite. */
ap_status ap_target_local(struct ap_target *out, const struct ap_lm *lm, const struct ap_role *role,
                          const struct ap_target_options *options, struct ap_error *err);

/* What the local target is made of, for who decodes many of its answers himself. The prompt as its
 * model sees it; cut at its front where it leaves no room for max_new_tokens, or AP_LIMIT: */
ap_status ap_target_prompt(const struct ap_lm *lm, const struct ap_target_request *request,
                           int max_new_tokens, ap_too_long too_long, struct ap_sequence *out,
                           struct ap_error *err);
/* and the answer of what was decoded. It is freed by the caller, also after an error. */
ap_status ap_answer_take(struct ap_answer *out, const struct ap_lm *lm,
                         const struct ap_generated *g, struct ap_error *err);

/* How much of an answer was told while it is decoded: [begin, end) of the decoded text. Zeroed
 * before the first. */
struct ap_answer_told {
    size_t begin, end;
};
/* `text` begins with n bytes that stay. Returns how many bytes are sure to come next in the text
 * that ap_answer_take will give, and sets *piece to them, in `text`: white space that may stand at
 * an end of it waits. What was told is end - begin bytes of the answer, its first ones. */
size_t ap_answer_tell(struct ap_answer_told *told, const char *text, size_t n, const char **piece);

/* Why answers drawn so have log-probabilities that are not the model's own, one clause; NULL: they
 * are, and the local target gives them. Static. */
const char *ap_sampling_shapes(const struct ap_sampling *sampling);

/* White space off both ends, in place; returns text. */
char *ap_strip(char *text);

#endif
