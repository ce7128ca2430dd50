/* What a language model is given in a later pass of a chain (policy_chain.h): the text of the pass
 * before, inside its own meta-prompt, in the same chat. */
#ifndef AP_ALIGN_PASS_TEXT_H
#define AP_ALIGN_PASS_TEXT_H

#include "align/policy_chain.h"
#include "align/prompts.h"

struct ap_text_pass {
    const struct ap_prompts *from; /* the environment's prompts */
    struct ap_prompts *prompts; /* of the pass's policy: filled by each call, freed by the caller */
    const struct ap_lm *lm;
    const char *meta_prompt;
    int max_tokens; /* what is longer is cut at its front, as the target's prompts are */
};

/* ap_chain_pass.see; self: a struct ap_text_pass. */
ap_status ap_text_pass_see(void *self, const struct ap_pass_input *inputs, int n,
                           struct ap_error *err);
/* The same for one text, which is borrowed; NULL: x as the policy sees it. Into a zeroed prompt
 * whose ids the caller frees. */
ap_status ap_text_pass_prompt(const struct ap_text_pass *pass, const struct ap_prompt *from,
                              const char *text, struct ap_prompt *out, struct ap_error *err);

#endif
