/* A language model with its text: what a role is built from. One copy of the weights serves every
 * role. */
#ifndef AP_ALIGN_LM_H
#define AP_ALIGN_LM_H

#include "alignpro/text.h"

#include "gen/generator.h"
#include "text/dataset.h"

struct ap_lm {
    char *name; /* the recipe's name for it */
    struct ap_weights *weights;
    const struct ap_tokenizer *tokenizer;
    const struct ap_template *chat;
    struct ap_tokenizer *own_tokenizer; /* NULL where both are borrowed */
    struct ap_template *own_chat;
    int32_t end[AP_EOS_MAX + 1]; /* ids that end a turn: the template's and the config's */
    int n_end;
    int context; /* positions a sequence may take */
};

/* Takes weights over, opens tokenizer and template of the folder. */
ap_status ap_lm_open(struct ap_lm **out, const char *name, struct ap_weights *weights,
                     const char *tokenizer_dir, const struct ap_template_options *options,
                     int context, struct ap_error *err);
/* The same with text that is open already; borrowed until free. from: its folder, for messages. */
ap_status ap_lm_new(struct ap_lm **out, const char *name, struct ap_weights *weights,
                    const struct ap_tokenizer *tokenizer, const struct ap_template *chat,
                    const char *from, int context, struct ap_error *err);
void ap_lm_free(struct ap_lm *lm); /* NULL is fine */

#endif
