/* The prompts of a stage: each x with its context, and the ids that the policy sees for it. */
#ifndef AP_ALIGN_PROMPTS_H
#define AP_ALIGN_PROMPTS_H

#include "align/lm.h"
#include "text/sequence.h"

struct ap_prompt {
    uint64_t record;                  /* its own number: keys its random streams, */
    int sample;                       /* from this sample on; 0 but in a chain (pass_text.h) */
    const struct ap_message *context; /* borrowed from the data set, as is x and meta */
    size_t n_context;
    const char *x, *meta;
    char *noisy;  /* owned: x as the policy sees it, ap_prompts_add_noise; NULL: as it is */
    int32_t *ids; /* owned: the chat with generation prompt, x inside the meta-prompt */
    int n;
};

struct ap_prompts {
    struct ap_prompt *items;
    int n;
    int64_t n_skipped; /* too long */
};

/* index[n_index] into the data set. lm NULL: whoever sees them is not here; no ids, and none is
 * too long. meta_prompt NULL: x as it is (the policy is the target itself).
 * Prompts of more than max_tokens are treated as too_long says. limit: the first so many that fit;
 * 0 for all. Borrows the data set. */
ap_status ap_prompts_make(struct ap_prompts *out, const struct ap_dataset *data,
                          const int32_t *index, size_t n_index, const struct ap_lm *lm,
                          const char *meta_prompt, int max_tokens, ap_too_long too_long,
                          int64_t limit, struct ap_error *err);
/* Let the policy see x through noise of that strength (text/noise.h), drawn once for each record
 * from (seed, record). lm, meta_prompt and max_tokens as they were made with; where the noisy text
 * has more tokens than that, x stays as it is. */
ap_status ap_prompts_add_noise(struct ap_prompts *p, const struct ap_lm *lm,
                               const char *meta_prompt, int max_tokens, double strength,
                               uint64_t seed, struct ap_error *err);
/* Put more's prompts behind p's; more is empty afterwards. */
ap_status ap_prompts_append(struct ap_prompts *p, struct ap_prompts *more, struct ap_error *err);
/* x as the policy sees it. Borrowed. */
const char *ap_prompt_seen(const struct ap_prompt *p);
void ap_prompts_free(struct ap_prompts *p);

#endif
