/* The prompts of a stage: each x with its context, and the ids that the policy sees for it. */
#ifndef AP_ALIGN_PROMPTS_H
#define AP_ALIGN_PROMPTS_H

#include "align/lm.h"
#include "text/sequence.h"

struct ap_prompt {
    uint64_t record;                  /* its own number: keys its random streams */
    const struct ap_message *context; /* borrowed from the data set, as is x and meta */
    size_t n_context;
    const char *x, *meta;
    int32_t *ids; /* owned: the chat with generation prompt, x inside the meta-prompt */
    int n;
};

struct ap_prompts {
    struct ap_prompt *items;
    int n;
    int64_t n_skipped; /* too long */
};

/* index[n_index] into the data set. meta_prompt NULL: x as it is (the policy is the target itself).
 * Prompts of more than max_tokens are treated as too_long says. limit: the first so many that fit;
 * 0 for all. Borrows the data set. */
ap_status ap_prompts_make(struct ap_prompts *out, const struct ap_dataset *data,
                          const int32_t *index, size_t n_index, const struct ap_lm *lm,
                          const char *meta_prompt, int max_tokens, ap_too_long too_long,
                          int64_t limit, struct ap_error *err);
void ap_prompts_free(struct ap_prompts *p);

#endif
